# SPDX-License-Identifier: Apache-2.0
"""A second broker of AMQP 0-9-1, Qpid Broker-J: it announces no publisher confirms."""

import pika
import pytest

from brokers import BrokerJ
from support.bridge import Bridge
from support.clients import declare_queue, take
from support.config import config, rabbit_endpoint


@pytest.fixture(scope="module")
def broker_j(tmp_path_factory):
    broker = BrokerJ(workdir=tmp_path_factory.mktemp("broker-j"))
    broker.start()
    yield broker
    broker.stop()


def _endpoint(broker):
    return {"backend": "amqp091", "host": "127.0.0.1", "port": broker.port, "vhost": "default",
            "username": broker.username, "password": broker.password}


def _publish(broker, queue, bodies):
    """Without confirms: the close of the channel says that all is there."""
    connection = pika.BlockingConnection(pika.ConnectionParameters(
        "127.0.0.1", broker.port, "default",
        pika.PlainCredentials(broker.username, broker.password)))
    channel = connection.channel()
    channel.queue_declare(queue, durable=True)
    for body in bodies:
        channel.basic_publish("", queue, body, pika.BasicProperties(
            delivery_mode=2, message_id=body.decode(), headers={"n": int(body)}))
    channel.close()
    connection.close()


def test_it_is_a_source(broker_j, rabbit, fresh, tmp_path, ending):
    source, target = fresh("source"), fresh("target")
    _publish(broker_j, source, [b"%d" % number for number in range(200)])
    declare_queue(rabbit.uri, target)
    bridge = ending(Bridge(tmp_path, config(
        fresh("bridge"), {"j": _endpoint(broker_j), "r": rabbit_endpoint(rabbit)},
        [{"name": "in", "from": {"endpoint": "j", "queue": source},
          "to": {"endpoint": "r", "queue": target}}])))
    bridge.start()
    found = take(rabbit.uri, target, 200)
    assert [int(body) for _, _, body in found] == list(range(200))
    assert [properties.headers["n"] for _, properties, _ in found] == list(range(200))
    assert [properties.message_id for _, properties, _ in found][:2] == ["0", "1"]
    assert bridge.run.terminate() == 0
    bridge.start("--drain")
    assert bridge.run.wait(40) == 0, bridge.run.tail()
    assert bridge.run.last_counters().total("received") == 0


def test_it_is_refused_as_a_sink(broker_j, rabbit, fresh, tmp_path, ending):
    source = fresh("source")
    declare_queue(rabbit.uri, source)
    bridge = ending(Bridge(tmp_path, config(
        fresh("bridge"), {"j": _endpoint(broker_j), "r": rabbit_endpoint(rabbit)},
        [{"name": "out", "from": {"endpoint": "r", "queue": source},
          "to": {"endpoint": "j", "queue": fresh("target")}}])))
    bridge.start()
    bridge.run.wait_logged("no publisher confirms", seconds=30)
