# SPDX-License-Identifier: Apache-2.0
"""AMQP 0-9-1 beyond a plain queue: exchanges and templates, properties, quorum queues, and a
second broker."""

import pika
import pytest

from support.bridge import Bridge
from support.clients import declare_queue, publish, queue_depth, rabbit_channel, take
from support.config import config, rabbit_endpoint
from support.wait import until

PLAIN = pika.BasicProperties(delivery_mode=2)


@pytest.fixture
def start(rabbit, fresh, tmp_path, ending):
    """start(source, sink, …) runs a route of that name between queues of one RabbitMQ."""
    def run(source, sink, endpoints=None, start=True, **route):
        bridge = ending(Bridge(tmp_path, config(
            fresh("bridge"), {"r": rabbit_endpoint(rabbit), **(endpoints or {})},
            [{"name": "one", "from": {"endpoint": "r", **source},
              "to": {"endpoint": "r", **sink}, **route}])))
        if start:
            bridge.start()
        return bridge
    return run


def degraded(bridge):
    return bridge.run.counters()["routes"]["one"]["degraded"]


def test_an_exchange_by_templates(start, rabbit, fresh):
    source, exchange = fresh("source"), fresh("shop")
    queues = {region: fresh(region) for region in ("eu", "us")}
    declare_queue(rabbit.uri, source)
    for region, queue in queues.items():
        declare_queue(rabbit.uri, queue, bind=[(exchange, f"orders.{region}.*")])
    for number in range(20):
        publish(rabbit.uri, "", source, [(b"%d" % number, pika.BasicProperties(
            delivery_mode=2, type="created", headers={"region": ("eu", "us")[number % 2]}))])
    start({"queue": source}, {"exchange": exchange,
                              "routing_key": "orders.${header.region}.${subject}"})
    for count, (region, queue) in enumerate(queues.items()):
        found = take(rabbit.uri, queue, 10)
        assert [int(body) for _, _, body in found] == list(range(count, 20, 2))
        assert {method.routing_key for method, _, _ in found} == {f"orders.{region}.created"}


def test_a_message_goes_on_with_its_own_routing_key(start, rabbit, fresh):
    source, inner, outer = fresh("source"), fresh("inner"), fresh("outer")
    target = fresh("target")
    declare_queue(rabbit.uri, source, bind=[(inner, "#")])
    declare_queue(rabbit.uri, target, bind=[(outer, "a.*")])
    publish(rabbit.uri, inner, "a.b", [(b"x", PLAIN)])
    start({"queue": source}, {"exchange": outer})
    assert take(rabbit.uri, target, 1)[0][0].routing_key == "a.b"


def test_priority_and_expiration_are_the_brokers(start, rabbit, fresh):
    """A queue with priorities orders what arrives; a message that expires there is gone."""
    source, target = fresh("source"), fresh("target")
    declare_queue(rabbit.uri, source)
    declare_queue(rabbit.uri, target, {"x-max-priority": 10})
    publish(rabbit.uri, "", source, [
        (b"low", pika.BasicProperties(delivery_mode=2, priority=1)),
        (b"gone", pika.BasicProperties(delivery_mode=2, priority=5, expiration="60000")),
        (b"high", pika.BasicProperties(delivery_mode=2, priority=9))])
    start({"queue": source}, {"queue": target})
    until(lambda: queue_depth(rabbit.uri, target) == 3, 20, "three messages")
    found = take(rabbit.uri, target, 3)
    assert [body for _, _, body in found] == [b"high", b"gone", b"low"]
    assert found[1][1].expiration == "60000" and found[1][1].priority == 5


def test_what_no_queue_takes_waits(start, rabbit, fresh):
    source, exchange, target = fresh("source"), fresh("shop"), fresh("target")
    declare_queue(rabbit.uri, source)
    with rabbit_channel(rabbit.uri) as channel:
        channel.exchange_declare(exchange, "topic", durable=True)
    publish(rabbit.uri, "", source, [(b"%d" % number, PLAIN) for number in range(10)])
    bridge = start({"queue": source}, {"exchange": exchange, "routing_key": "fixed"})
    bridge.run.wait_logged("unroutable")
    declare_queue(rabbit.uri, target, bind=[(exchange, "fixed")])
    assert [int(body) for _, _, body in take(rabbit.uri, target, 10)] == list(range(10))


def test_a_user_id_of_another_is_left_out_and_counted(start, rabbit, fresh):
    source, target = fresh("source"), fresh("target")
    rabbit.ctl("add_user", "other", "secret")
    rabbit.ctl("set_permissions", "other", ".*", ".*", ".*")
    declare_queue(rabbit.uri, source)
    publish(rabbit.uri.replace("guest:guest", "other:secret"), "", source, [
        (b"x", pika.BasicProperties(delivery_mode=2, user_id="other", app_id="till"))])
    bridge = start({"queue": source}, {"queue": target})
    properties = take(rabbit.uri, target, 1)[0][1]
    assert properties.user_id is None and properties.app_id == "till"
    until(lambda: degraded(bridge) == {"user-id": 1}, 10, "one degraded message",
          detail=bridge.run.tail)
    bridge.run.terminate()

    publish(rabbit.uri.replace("guest:guest", "other:secret"), "", source, [
        (b"y", pika.BasicProperties(delivery_mode=2, user_id="other"))])
    strict = start({"queue": source}, {"queue": target}, fidelity="strict")
    assert strict.run.wait(20) == 1
    assert strict.run.logged("user-id"), strict.run.tail()
    assert queue_depth(rabbit.uri, source) == 1
    rabbit.ctl("delete_user", "other")


@pytest.mark.parametrize("release", [None, "trixie"], ids=["rabbit3", "rabbit4"])
def test_quorum_queues_on_both_sides(release, brokers, fresh, tmp_path, ending):
    rabbit = brokers.rabbit() if release is None else brokers.rabbit(which=release, release=release)
    source, target = fresh("source"), fresh("target")
    declare_queue(rabbit.uri, source, {"x-queue-type": "quorum"})
    publish(rabbit.uri, "", source, [(b"%d" % number, PLAIN) for number in range(500)])
    with rabbit_channel(rabbit.uri) as channel:  # handed out before, and given back
        for _ in range(3):
            method, _, _ = channel.basic_get(source)
            channel.basic_reject(method.delivery_tag, requeue=True)
            until(lambda: queue_depth(rabbit.uri, source) == 500, 10, "the message is back")
    bridge = ending(Bridge(tmp_path, config(
        fresh("bridge"), {"r": rabbit_endpoint(rabbit)},
        [{"name": "one", "from": {"endpoint": "r", "queue": source},
          "to": {"endpoint": "r", "queue": target, "queue_type": "quorum"}}])))
    bridge.start()
    found = take(rabbit.uri, target, 500)
    assert sorted(int(body) for _, _, body in found) == list(range(500))
    # How often the last queue handed it out is no part of the message.
    assert all((properties.headers or {}).get("x-delivery-count", 0) == 0
               for _, properties, _ in found)
    assert bridge.run.terminate() == 0
    assert queue_depth(rabbit.uri, source) == 0
    kinds = dict(line.split("\t") for line in
                 rabbit.ctl("list_queues", "name", "type").splitlines() if "\t" in line)
    assert "quorum" in kinds[target]


def test_a_clean_stop_repeats_nothing_of_a_quorum_queue(start, rabbit, fresh):
    source, target = fresh("source"), fresh("target")
    declare_queue(rabbit.uri, source, {"x-queue-type": "quorum"})
    publish(rabbit.uri, "", source, [(b"%d" % number, PLAIN) for number in range(3000)])
    bridge = start({"queue": source}, {"queue": target})
    for goal in (300, 1200):
        until(lambda: (queue_depth(rabbit.uri, target) or 0) >= goal, 20, f"{goal} messages",
              detail=bridge.run.tail)
        assert bridge.run.terminate() == 0
        bridge.start()
    found = [int(body) for _, _, body in take(rabbit.uri, target, 3000)]
    assert sorted(found) == list(range(3000))
    assert bridge.run.terminate() == 0
    assert queue_depth(rabbit.uri, target) == 0


def test_properties_that_are_no_utf8_go_through(start, rabbit, fresh):
    """A long string of Latin-1 stays one, between two queues."""
    source, target = fresh("source"), fresh("target")
    declare_queue(rabbit.uri, source)
    publish(rabbit.uri, "", source, [(b"x", pika.BasicProperties(
        delivery_mode=2, cluster_id="c", headers={"latin": _Latin("grüß")}))])
    start({"queue": source}, {"queue": target})
    properties = take(rabbit.uri, target, 1)[0][1]
    assert properties.cluster_id == "c"
    # pika gives bytes for a long string that is no UTF-8, and for tag x.
    assert bytes(properties.headers["latin"]) == "grüß".encode("latin-1")


class _Latin(str):
    """Encoded by pika as a long string, whose bytes are Latin-1."""

    def encode(self, *_):
        return super().encode("latin-1")
