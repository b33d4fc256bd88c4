# SPDX-License-Identifier: Apache-2.0
"""The commands that end: run --drain, copy, backends, and exit codes."""

import json
import re

import pytest

from support.bridge import Run, command, program
from support.clients import create_topic, declare_queue, produce, queue_depth, read_topic
from support.config import config, kafka_endpoint, rabbit_endpoint
from support.feed import Feeder
from support.oracle import Stream
from support.pair import DIRECTIONS, Pair
from support.wait import until

pytestmark = pytest.mark.usefixtures("tmp_path")


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_drain_ends_when_the_source_is_empty(direction, kafka3, rabbit, fresh, tmp_path, dice,
                                             ending):
    pair = ending(Pair(direction, kafka3, rabbit, fresh, tmp_path, dice, count=5000, rate=0))
    pair.feeder.start().wait()
    bridge = ending(pair.bridge())
    bridge.start("--drain")
    assert bridge.run.wait(60) == 0, bridge.run.tail()
    counters = bridge.run.last_counters()
    assert counters.conserved() and counters.total("delivered") == 5000
    pair.stream.finish().assert_kept(duplicates_max=0)
    bridge.start("--drain")
    assert bridge.run.wait(60) == 0, bridge.run.tail()
    assert bridge.run.last_counters().total("received") == 0


def test_a_log_that_is_not_read_to_its_end_is_not_drained(kafka3, rabbit, fresh, tmp_path, dice,
                                                          ending):
    """However soon it is called quiet: before the first fetch is answered there is nothing yet."""
    pair = ending(Pair("to_rabbit", kafka3, rabbit, fresh, tmp_path, dice, count=500, rate=0))
    pair.feeder.start().wait()
    bridge = ending(pair.bridge(text=pair.config(drain_idle="1ms")))
    bridge.start("--drain")
    assert bridge.run.wait(60) == 0, bridge.run.tail()
    assert bridge.run.last_counters().total("delivered") == 500
    pair.stream.finish().assert_kept(duplicates_max=0)


def test_drain_ends_under_a_live_producer(kafka3, rabbit, fresh, tmp_path, dice, ending):
    """It notes the end positions at its start, so that it needs no silence."""
    pair = ending(Pair("to_rabbit", kafka3, rabbit, fresh, tmp_path, dice, rate=2000))
    pair.feeder.start()
    until(lambda: pair.feeder.confirmed > 3000, 30, "some messages")
    known = pair.feeder.confirmed
    bridge = ending(pair.bridge())
    bridge.start("--drain")
    assert bridge.run.wait(60) == 0, bridge.run.tail()
    assert not pair.feeder.done
    assert bridge.run.last_counters().total("delivered") >= known
    pair.feeder.stop()
    pair.feeder.wait()
    bridge.start("--drain")
    assert bridge.run.wait(60) == 0, bridge.run.tail()
    pair.stream.finish().assert_kept(duplicates_max=0)


def _urls(kafka, rabbit, topic, queue, group=None):
    group = f"?group={group}" if group else ""
    return (f"kafka://{kafka.bootstrap}/{topic}{group}",
            f"amqp://guest:guest@127.0.0.1:{rabbit.port}/?queue={queue}")


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_copy_moves_everything_and_a_rerun_nothing(direction, kafka3, rabbit, fresh, tmp_path,
                                                   dice, ending):
    topic, queue = fresh("topic"), fresh("queue")
    create_topic(kafka3.bootstrap, topic, 3)
    declare_queue(rabbit.uri, queue)
    urls = _urls(kafka3, rabbit, topic, queue)
    places = ({"bootstrap": kafka3.bootstrap, "topic": topic},
              {"uri": rabbit.uri, "queue": queue})
    if direction == "to_kafka":
        urls, places = urls[::-1], places[::-1]
    feeder = Feeder(tmp_path, "copied", dice.randrange(1 << 30), 5000, **places[0])
    feeder.start().wait()
    stream = ending(Stream(tmp_path, feeder, places[1]))
    code, out, err = command("copy", *urls)
    assert code == 0, err
    assert "guest:guest" not in out + err
    assert re.search(r"\b5,?000\b", out), out  # the result; logs and progress are on stderr
    again, _, err = command("copy", *urls)
    assert again == 0, err
    verdict = stream.finish()
    verdict.assert_kept(duplicates_max=0, order="first" if direction == "to_rabbit" else None)


def test_copy_stops_at_its_limit_and_goes_on_from_there(kafka3, rabbit, fresh):
    topic, queue = fresh("topic"), fresh("queue")
    create_topic(kafka3.bootstrap, topic, 1)
    produce(kafka3.bootstrap, topic, [{"value": b"%d" % number} for number in range(1000)])
    urls = _urls(kafka3, rabbit, topic, queue)
    for total in (100, 200):
        code, _, err = command("copy", "--limit", 100, *urls)
        assert code == 0, err
        assert queue_depth(rabbit.uri, queue) == total
    code, _, err = command("copy", *urls)
    assert code == 0, err
    assert queue_depth(rabbit.uri, queue) == 1000


def test_copy_follows_until_it_is_stopped(kafka3, rabbit, fresh, ending):
    topic, queue = fresh("topic"), fresh("queue")
    create_topic(kafka3.bootstrap, topic, 1)
    declare_queue(rabbit.uri, queue)
    run = Run([program(), "copy", "--follow", *_urls(kafka3, rabbit, topic, queue)])
    try:
        for total in (1, 2, 3):
            produce(kafka3.bootstrap, topic, [{"value": b"x"}])
            until(lambda: queue_depth(rabbit.uri, queue) == total, 15, f"message {total}",
                  detail=run.tail)
        assert run.terminate() == 0, run.tail()
    finally:
        if run.running:
            run.kill()


def test_copy_hides_its_passwords_from_the_process_list(kafka3, rabbit, fresh):
    topic, queue = fresh("topic"), fresh("queue")
    create_topic(kafka3.bootstrap, topic, 1)
    run = Run([program(), "copy", "--follow", *_urls(kafka3, rabbit, topic, queue)])
    try:
        def words():
            with open(f"/proc/{run.pid}/cmdline", "rb") as file:
                return file.read()
        until(lambda: b"copy" in words() and b"guest:guest" not in words(), 5, "no password",
              detail=run.tail)
    finally:
        run.kill()


@pytest.mark.parametrize("arguments", [
    (), ("frobnicate",), ("run",), ("run", "--frob", "x"), ("copy", "kafka://h/t"),
    ("copy", "kafka://127.0.0.1:1/t", "gopher://h/x"), ("copy", "--limit", "x", "a", "b"),
    ("run", "/nowhere/at/all.conf"), ("check", "/nowhere/at/all.conf"), ("backends", "carrier")])
def test_wrong_usage_ends_with_2_and_a_word(arguments):
    code, out, err = command(*arguments, seconds=20)
    assert code == 2, err
    # What `check` finds is its result, and goes to stdout.
    assert (out if arguments[:1] == ("check",) else err).strip()


def test_help_and_version():
    for word in ("--help", "--version"):
        code, out, _ = command(word)
        assert code == 0 and out.strip()


def test_backends_lists_what_is_there():
    code, out, err = command("backends")
    assert code == 0, err
    for name in ("kafka", "amqp091", "memory"):
        assert re.search(rf"\b{name}\b", out), out
    for name, option in (("kafka", "brokers"), ("amqp091", "prefetch"), ("memory", "generate")):
        code, out, err = command("backends", name)
        assert code == 0, err
        assert option in out


def test_backends_speaks_json():
    code, out, err = command("backends", "--json")
    assert code == 0, err
    json.loads(out)


def test_one_source_to_two_sinks_and_two_sources_to_one(kafka3, rabbit, fresh, tmp_path, ending):
    from support.bridge import Bridge
    topics = [fresh("a"), fresh("b")]
    queues = [fresh("x"), fresh("y")]
    for topic in topics:
        create_topic(kafka3.bootstrap, topic, 1)
        produce(kafka3.bootstrap, topic, [{"value": f"{topic}/{n}".encode()} for n in range(500)])
    for queue in queues:
        declare_queue(rabbit.uri, queue)
    back = fresh("all")
    bridge = ending(Bridge(tmp_path, config(
        fresh("bridge"), {"k": kafka_endpoint(kafka3), "r": rabbit_endpoint(rabbit)},
        [{"name": "fan", "from": {"endpoint": "k", "topics": topics},
          "to": [{"endpoint": "r", "queue": queue} for queue in queues]}])))
    bridge.start("--drain")
    assert bridge.run.wait(60) == 0, bridge.run.tail()
    assert [queue_depth(rabbit.uri, queue) for queue in queues] == [1000, 1000]
    counters = bridge.run.last_counters()["routes"]["fan"]
    assert counters["delivered"] == counters["received"] == 1000
    bridge.write(config(
        fresh("bridge"), {"k": kafka_endpoint(kafka3), "r": rabbit_endpoint(rabbit)},
        [{"name": "join", "from": [{"endpoint": "r", "queue": queue} for queue in queues],
          "to": {"endpoint": "k", "topic": back}}]))
    bridge.start("--drain")
    assert bridge.run.wait(60) == 0, bridge.run.tail()
    values = [record.value for record in read_topic(kafka3.bootstrap, back, 2000)]
    assert len(values) == 2000 and len(set(values)) == 1000
