# SPDX-License-Identifier: Apache-2.0
"""What is wrong at the start is said in one line a change of state, and mends by itself."""

import pytest
from brokers import free_port

from support.bridge import Bridge
from support.clients import (create_topic, declare_queue, delete_topic, produce, publish,
                             queue_depth, rabbit_channel, read_topic, take)
from support.config import config, kafka_endpoint, rabbit_endpoint
from support.wait import settled, until

# Attempts come with backoff; a line for each would be several in this time.
WATCH_S = 6


def route(topic, queue, direction="to_rabbit"):
    ends = [{"endpoint": "k", "topic": topic}, {"endpoint": "r", "queue": queue}]
    if direction != "to_rabbit":
        ends.reverse()
    return {"name": "mend", "from": ends[0], "to": ends[1]}


def _quiet_after(run, seconds=WATCH_S):
    """The log settles: nothing is repeated with each attempt."""
    settled(lambda: len(run.log), 4, seconds + 25, "the log repeats itself:\n" + run.tail())


def test_a_wrong_rabbit_password_is_told_once_and_mended(kafka3, rabbit, fresh, tmp_path, ending):
    topic, queue = fresh("topic"), fresh("queue")
    produce(kafka3.bootstrap, topic, [{"value": b"x"}])
    secret = tmp_path / "secret"
    secret.write_text("wrong-secret\n")
    user = fresh("user").replace(".", "-")
    rabbit.ctl("add_user", user, "right-secret")
    rabbit.ctl("set_permissions", user, ".*", ".*", ".*")
    bridge = ending(Bridge(tmp_path, config(fresh("bridge"), {
        "k": kafka_endpoint(kafka3),
        "r": {"backend": "amqp091", "uri": f"amqp://127.0.0.1:{rabbit.port}/", "username": user,
              "password": f"file:{secret}"}}, [route(topic, queue)])))
    run = bridge.start()
    line = run.wait_logged("ACCESS_REFUSED")
    assert "level=error" in line or "level=warn" in line
    _quiet_after(run)
    assert sum("ACCESS_REFUSED" in text for text in run.log) == 1, run.tail()
    assert run.running and not any("secret" in text.replace(str(secret), "") for text in run.log)
    secret.write_text("right-secret\n")
    assert take(rabbit.uri, queue, 1, 40)[0][2] == b"x"
    assert run.terminate() == 0


@pytest.mark.parametrize("side", ["kafka", "rabbit"])
def test_a_broker_that_is_not_there_is_told_once(side, kafka3, rabbit, fresh, tmp_path, ending):
    topic, queue = fresh("topic"), fresh("queue")
    produce(kafka3.bootstrap, topic, [{"value": b"x"}])
    nobody = f"127.0.0.1:{free_port()}"
    endpoints = {"k": kafka_endpoint(kafka3), "r": rabbit_endpoint(rabbit)}
    if side == "kafka":
        endpoints["k"] = {"backend": "kafka", "brokers": nobody}
    else:
        endpoints["r"] = {"backend": "amqp091", "uri": f"amqp://guest:guest@{nobody}/"}
    name = fresh("bridge")
    bridge = ending(Bridge(tmp_path, config(name, endpoints, [route(topic, queue)])))
    run = bridge.start()
    run.wait_logged(nobody.rsplit(":", 1)[1])
    _quiet_after(run)
    told = sum(nobody in text for text in run.log)
    assert told <= 2, run.tail()
    assert run.running
    bridge.reload(config(name, {"k": kafka_endpoint(kafka3), "r": rabbit_endpoint(rabbit)},
                         [route(topic, queue)]))
    assert take(rabbit.uri, queue, 1, 30)[0][2] == b"x"
    assert run.terminate() == 0


def test_a_missing_source_queue_is_waited_for(kafka3, rabbit, fresh, tmp_path, ending):
    topic, queue = fresh("topic"), fresh("queue")
    bridge = ending(Bridge(tmp_path, config(
        fresh("bridge"), {"k": kafka_endpoint(kafka3), "r": rabbit_endpoint(rabbit)},
        [route(topic, queue, "to_kafka")])))
    run = bridge.start()
    run.wait_logged(queue)
    _quiet_after(run)
    assert queue_depth(rabbit.uri, queue) is None, "the bridge made its own source"
    declare_queue(rabbit.uri, queue)
    publish(rabbit.uri, "", queue, [(b"x", None)])
    assert read_topic(kafka3.bootstrap, topic, 1, 45)[0].value == b"x"
    assert run.terminate() == 0


def test_a_missing_source_topic_is_waited_for(kafka, rabbit, fresh, tmp_path, ending):
    topic, queue = fresh("topic"), fresh("queue")
    bridge = ending(Bridge(tmp_path, config(
        fresh("bridge"), {"k": kafka_endpoint(kafka), "r": rabbit_endpoint(rabbit)},
        [route(topic, queue)])))
    run = bridge.start()
    run.wait_logged(topic)
    _quiet_after(run)
    create_topic(kafka.bootstrap, topic, 2)
    produce(kafka.bootstrap, topic, [{"value": b"x"}])
    assert take(rabbit.uri, queue, 1, 60)[0][2] == b"x"
    assert run.terminate() == 0


def test_a_forbidden_queue_is_waited_for(kafka3, rabbit, fresh, tmp_path, ending):
    """Not allowed to write: the destination's fault, so no dead letter and no loss."""
    topic, queue, dead = fresh("topic"), fresh("queue"), fresh("dead")
    produce(kafka3.bootstrap, topic, [{"value": b"x"}])
    create_topic(kafka3.bootstrap, dead, 1)
    declare_queue(rabbit.uri, queue)
    user = fresh("user").replace(".", "-")
    rabbit.ctl("add_user", user, "pw")
    rabbit.ctl("set_permissions", user, "", "", "")
    bridge = ending(Bridge(tmp_path, config(fresh("bridge"), {
        "k": kafka_endpoint(kafka3),
        "r": {"backend": "amqp091", "uri": f"amqp://{user}:pw@127.0.0.1:{rabbit.port}/"}},
        [{**route(topic, queue), "dead_letter": {"endpoint": "k", "topic": dead}}])))
    run = bridge.start()
    run.wait_logged("ACCESS_REFUSED")
    _quiet_after(run)
    assert sum("ACCESS_REFUSED" in text for text in run.log) == 1, run.tail()
    assert not run.logged("connected again"), run.tail()
    counters = run.counters()
    assert counters["routes"]["mend"]["state"] == "running"
    assert counters.total("dead_lettered") == 0
    rabbit.ctl("set_permissions", user, ".*", ".*", ".*")
    assert take(rabbit.uri, queue, 1, 45)[0][2] == b"x"
    run.wait_logged("connected again")
    assert run.terminate() == 0


def test_a_memory_alarm_blocks_and_goes_by(kafka3, rabbit, fresh, tmp_path, ending):
    """connection.blocked: the bridge says so, waits, and loses nothing."""
    topic, queue = fresh("topic"), fresh("queue")
    create_topic(kafka3.bootstrap, topic, 1)
    declare_queue(rabbit.uri, queue)
    bridge = ending(Bridge(tmp_path, config(
        fresh("bridge"), {"k": kafka_endpoint(kafka3), "r": rabbit_endpoint(rabbit)},
        [route(topic, queue)])))
    run = bridge.start()
    produce(kafka3.bootstrap, topic, [{"value": b"before"}])
    assert take(rabbit.uri, queue, 1)[0][2] == b"before"
    rabbit.ctl("set_vm_memory_high_watermark", "absolute", "1MB")
    try:
        produce(kafka3.bootstrap, topic, [{"value": b"%d" % n} for n in range(3000)])
        run.wait_logged("blocked")
        _quiet_after(run)
        assert run.counters()["routes"]["mend"]["state"] == "running"
    finally:
        rabbit.ctl("set_vm_memory_high_watermark", "0.4")
    found = [body for _, _, body in take(rabbit.uri, queue, 3000, 60)]
    assert found == [b"%d" % n for n in range(3000)]
    assert run.terminate() == 0


def test_a_message_too_large_for_the_topic_is_dead_lettered_alone(kafka3, rabbit, fresh, tmp_path,
                                                                  ending):
    topic, queue, dead = fresh("topic"), fresh("queue"), fresh("dead")
    create_topic(kafka3.bootstrap, topic, 1, {"max.message.bytes": "20000"})
    create_topic(kafka3.bootstrap, dead, 1)
    declare_queue(rabbit.uri, queue)
    bodies = [b"s%d" % n * 100 for n in range(1000)]
    bodies[500:500] = [b"L" * 50_000]
    with rabbit_channel(rabbit.uri) as channel:
        for body in bodies:
            channel.basic_publish("", queue, body)
    bridge = ending(Bridge(tmp_path, config(
        fresh("bridge"), {"k": kafka_endpoint(kafka3), "r": rabbit_endpoint(rabbit)},
        [{**route(topic, queue, "to_kafka"), "dead_letter": {"endpoint": "k", "topic": dead}}])))
    run = bridge.start("--drain")
    assert run.wait(60) == 0, run.tail()
    assert run.last_counters().total("dead_lettered") == 1
    assert run.last_counters().total("delivered") == 1000
    # What was in company of the large one is sent again, in order.
    found = [record.value for record in read_topic(kafka3.bootstrap, topic, None)]
    assert list(dict.fromkeys(found)) == bodies[:500] + bodies[501:]
    buried = read_topic(kafka3.bootstrap, dead, 1)[0]
    assert buried.value == b"L" * 50_000
    assert any(b"large" in (value or b"").lower() or b"size" in (value or b"").lower()
               for _, value in buried.headers), buried.headers


def test_a_sink_topic_that_vanishes_is_made_again(kafka3, rabbit, fresh, tmp_path, ending):
    topic, queue = fresh("topic"), fresh("queue")
    declare_queue(rabbit.uri, queue)
    bridge = ending(Bridge(tmp_path, config(
        fresh("bridge"), {"k": kafka_endpoint(kafka3), "r": rabbit_endpoint(rabbit)},
        [route(topic, queue, "to_kafka")])))
    run = bridge.start()
    publish(rabbit.uri, "", queue, [(b"one", None)])
    assert read_topic(kafka3.bootstrap, topic, 1)[0].value == b"one"
    delete_topic(kafka3.bootstrap, topic)
    publish(rabbit.uri, "", queue, [(b"two", None)])
    until(lambda: run.counters().total("delivered") == 2, 60, "delivered again", interval=0.2,
          detail=run.tail)
    assert b"two" in [record.value for record in read_topic(kafka3.bootstrap, topic, 1)]
    assert run.terminate() == 0
