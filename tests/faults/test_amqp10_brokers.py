# SPDX-License-Identifier: Apache-2.0
"""AMQP 1.0 on its brokers: refusals, addresses that come and go, stops, standby, silence."""

import time

import pytest

from brokers.other_release import host_release, unavailable
from support.amqp10_codec import decode_message, encode_message
from support.amqp10_link import Link, send_all, take_all
from support.bridge import Bridge
from support.clients import declare_queue, delete_queue, queue_depth, rabbit_channel
from support.config import config
from support.feed import Feeder
from support.oracle import Stream
from support.pair import WINDOW, columns
from support.sides import Amqp10Side
from support.wait import settled, until

BROKERS = ("artemis", "classic", "rabbitmq3", "rabbitmq4")
FULL = """<address-setting match="full.#"><max-size-messages>200</max-size-messages>
<address-full-policy>FAIL</address-full-policy></address-setting>"""


def text_message(text, **properties):
    return encode_message({
        "header": {"durable": ["boolean", True]},
        "application-properties": [[["string", name], ["string", value]]
                                   for name, value in properties.items()],
        "body": [["data", text.encode().hex()]]})


def texts_of(encoded):
    return [bytes.fromhex(part[1]).decode() for data in encoded
            for part in decode_message(data)["body"]]


@pytest.fixture(params=BROKERS)
def side(request, brokers):
    if request.param == "rabbitmq4" and host_release() != "trixie" and unavailable():
        pytest.skip(unavailable())
    if request.param == "rabbitmq3":
        return Amqp10Side(brokers.rabbit())
    return brokers.side(request.param)


@pytest.fixture
def rabbit4(brokers):
    if host_release() != "trixie" and unavailable():
        pytest.skip(unavailable())
    return brokers.side("rabbitmq4")


def bridged(tmp_path, fresh, side, source, to, name="bridge", more=None, **route):
    endpoints = {"a": side.endpoint, **(more or {})}
    return Bridge(tmp_path, config(fresh("bridge"), endpoints, [
        {"name": "pair", "from": {"endpoint": "a", **source}, "to": {"endpoint": "a", **to},
         **route}]), name)


def drain(place, wanted, seconds=90):
    """Takes until all texts of `wanted` have come; others may come besides, again."""
    missing, end = set(wanted), time.monotonic() + seconds
    with Link(place, receiver=True) as link:
        while missing:
            assert time.monotonic() < end, f"{len(missing)} texts are missing: {min(missing)}"
            link.step(0.2)
            missing -= set(texts_of(link.take_arrived()))


def retries(bridge):
    bridge.ready()
    return sum(bridge.run.counters()["routes"]["pair"]["retries"].values())


def test_a_full_queue_is_waited_for(rabbit4, fresh, tmp_path, ending):
    """RabbitMQ 4 rejects without a condition."""
    side, uri = rabbit4, rabbit4.broker.uri
    source, queue = side.make(fresh("from")), fresh("full")
    declare_queue(uri, queue, {"x-max-length": 100, "x-overflow": "reject-publish"})
    send_all(source, [text_message(str(number)) for number in range(300)])
    there = {**source, "address": f"/queues/{queue}"}
    dead = side.make(fresh("dead"))
    bridge = ending(bridged(tmp_path, fresh, side, side.source(source), side.sink(there),
                            dead_letter={"endpoint": "a", **side.sink(dead)}))
    bridge.start()
    until(lambda: retries(bridge) > 0, 30, "a refusal", detail=bridge.run.tail)
    assert queue_depth(uri, queue) <= 110
    drain(there, map(str, range(300)))
    assert bridge.run.terminate() == 0, bridge.run.tail()
    assert bridge.run.last_counters().total("dead_lettered") == 0
    assert queue_depth(uri, dead["address"].removeprefix("/queues/")) == 0


def test_a_full_address_is_waited_for(brokers, fresh, tmp_path, ending):
    """Artemis rejects with a condition that is about the address."""
    side = Amqp10Side(brokers.artemis("full", addresses=FULL))
    source, there = side.make(fresh("from")), side.make(fresh("full.to"))
    send_all(source, [text_message(str(number)) for number in range(500)])
    bridge = ending(bridged(tmp_path, fresh, side, side.source(source), side.sink(there)))
    bridge.start()
    until(lambda: retries(bridge) > 0, 30, "a refusal", detail=bridge.run.tail)
    drain(there, map(str, range(500)))
    assert bridge.run.terminate() == 0, bridge.run.tail()
    assert bridge.run.last_counters().total("dead_lettered") == 0


@pytest.mark.parametrize("form", ["/queues/{}", "/exchanges/amq.direct/{}"])
def test_unroutable_by_template_is_dead_lettered(form, rabbit4, fresh, tmp_path, ending):
    """A queue that is missing ends a session, no route releases: other messages go on."""
    side = rabbit4
    source, dead = side.make(fresh("from")), side.make(fresh("dead"))
    there = {name: fresh(name) for name in ("one", "two")}
    for queue in there.values():
        declare_queue(side.broker.uri, queue, bind=[])
        bind(side.broker.uri, queue)
    names = [list(there.values())[number % 3] if number % 3 < 2 else fresh(f"no{number % 5}")
             for number in range(300)]
    send_all(source, [text_message(str(number), queue=name) for number, name in enumerate(names)])
    bridge = ending(bridged(
        tmp_path, fresh, side, side.source(source),
        {"address": form.format("${header.queue}"), "create": False},
        dead_letter={"endpoint": "a", **side.sink(dead)}))
    bridge.start()
    for queue in there.values():
        assert texts_of(take_all({**source, "address": f"/queues/{queue}"}, 100)) == [
            str(number) for number, name in enumerate(names) if name == queue]
    assert sorted(map(int, texts_of(take_all(dead, 100)))) == list(range(2, 300, 3))
    assert bridge.run.terminate() == 0, bridge.run.tail()
    counters = bridge.run.last_counters()
    assert counters.conserved() and counters.total("dead_lettered") == 100


def bind(uri, queue):
    with rabbit_channel(uri) as channel:
        channel.queue_bind(queue, "amq.direct", queue)


def test_more_addresses_than_links(side, fresh, tmp_path, ending):
    """A template with 300 addresses: links are closed and opened as they are needed."""
    source, stem = side.make(fresh("from")), fresh("many")
    places = [side.make(f"{stem}.{number}") for number in range(300)]
    send_all(source, [text_message(f"{turn} {number}", place=place["address"])
                      for turn in range(3) for number, place in enumerate(places)])
    bridge = ending(bridged(tmp_path, fresh, side, side.source(source),
                            {"address": "${header.place}", "create": False}))
    bridge.start()
    bridge.ready()
    until(lambda: bridge.run.counters()["routes"]["pair"]["delivered"] >= 900, 120,
          "900 delivered", detail=bridge.run.tail)
    for number in (0, 1, 100, 299):
        assert texts_of(take_all(places[number], 3)) == [f"{turn} {number}" for turn in range(3)]
    assert bridge.run.terminate() == 0, bridge.run.tail()
    assert bridge.run.last_counters().total("received") == 900


def test_a_queue_that_is_deleted_is_made_again(rabbit4, fresh, tmp_path, ending):
    side, uri = rabbit4, rabbit4.broker.uri
    source, there = side.make(fresh("from")), side.make(fresh("to"))
    queue = there["address"].removeprefix("/queues/")
    bridge = ending(bridged(tmp_path, fresh, side, side.source(source), side.sink(there)))
    bridge.start()
    for turn in range(3):
        send_all(source, [text_message(f"{turn} {number}") for number in range(100)])
        until(lambda: (queue_depth(uri, queue) or 0) >= 100, 30, "a queue with 100 messages",
              detail=bridge.run.tail)
        delete_queue(uri, queue)
    assert bridge.run.terminate() == 0, bridge.run.tail()
    assert bridge.run.last_counters().total("delivered") == 300


def test_a_source_queue_that_is_deleted_is_waited_for(rabbit4, fresh, tmp_path, ending):
    side, uri = rabbit4, rabbit4.broker.uri
    source, there = side.make(fresh("from")), side.make(fresh("to"))
    queue = source["address"].removeprefix("/queues/")
    bridge = ending(bridged(tmp_path, fresh, side, side.source(source), side.sink(there)))
    bridge.start()
    send_all(source, [text_message("before")])
    assert texts_of(take_all(there, 1)) == ["before"]
    delete_queue(uri, queue)
    bridge.run.wait_logged("missing", "role=source")
    declare_queue(uri, queue)
    send_all(source, [text_message("after")])
    assert texts_of(take_all(there, 1)) == ["after"]


@pytest.mark.parametrize("name", ["artemis", "classic"])
def test_a_durable_subscription_keeps_what_is_published_meanwhile(name, brokers, fresh, tmp_path,
                                                                  ending):
    side = brokers.side(name)
    there, topic = side.make(fresh("to")), fresh("topic")
    place = {**there, "address": f"topic://{topic}" if name == "classic" else topic,
             "capability": "topic"}
    bridge = ending(bridged(tmp_path, fresh, side, {
        "address": place["address"], "capabilities": ["topic"],
        "durable_subscription": "mirror"}, side.sink(there)))
    for turn in range(3):
        bridge.start()
        bridge.run.wait_logged("connected", "role=source")
        texts = [f"{turn} while up {number}" for number in range(50)]
        send_all(place, list(map(text_message, texts)))
        drain(there, texts)
        assert bridge.run.terminate() == 0, bridge.run.tail()
        texts = [f"{turn} meanwhile {number}" for number in range(50)]
        send_all(place, list(map(text_message, texts)))
        bridge.start()
        drain(there, texts)
        bridge.run.kill()


def test_a_second_process_stands_by(side, fresh, tmp_path, ending):
    if side.name == "rabbitmq3":
        pytest.skip("its plug-in has no means to keep a second consumer away; the log says so")
    source, there = side.make(fresh("from")), side.make(fresh("to"))
    pair = [ending(bridged(tmp_path, fresh, side, side.source(source), side.sink(there), name))
            for name in ("first", "second")]
    for bridge in pair:
        bridge.start()
        bridge.run.wait_logged("connected" if bridge is pair[0] else "standing by", "role=source")
    for stop in ("terminate", "kill"):
        send_all(source, [text_message(str(number)) for number in range(200)])
        assert texts_of(take_all(there, 200)) == [str(number) for number in range(200)]
        assert pair[1].run.counters().total("received") == 0
        getattr(pair[0].run, stop)()
        send_all(source, [text_message(str(number)) for number in range(200)])
        assert texts_of(take_all(there, 200)) == [str(number) for number in range(200)]
        pair[0].start()
        pair.reverse()
        pair[1].run.wait_logged("standing by")


def stream_of(side, fresh, tmp_path, dice, ending, count, rate, more=None):
    source, there = side.make(fresh("from")), side.make(fresh("to"))
    feeder = Feeder(tmp_path, "load", dice.randrange(1 << 30), count, keys=50, rate=rate, **source)
    stream = ending(Stream(tmp_path, feeder, there))
    endpoint = {**side.endpoint, **(more or {})}
    bridge = ending(Bridge(tmp_path, config(fresh("bridge"), {"a": endpoint}, [
        {"name": "pair", "from": {"endpoint": "a", **side.source(source)},
         "to": {"endpoint": "a", **side.sink(there)}}])))
    return feeder, stream, bridge


def test_stopped_in_order_under_load(side, fresh, tmp_path, dice, ending, counts):
    feeder, stream, bridge = stream_of(side, fresh, tmp_path, dice, ending, 3000, 500)
    feeder.start()
    for turn in range(4):
        bridge.start()
        until(lambda: stream.arrived >= 600 * (turn + 1), 60, "messages move",
              detail=bridge.run.tail)
        assert bridge.run.terminate() == 0, bridge.run.tail()
        assert bridge.run.last_counters().conserved()
        stream.fault()
    bridge.start()
    verdict = stream.finish(poll=bridge.check)
    counts(broker=side.name, **columns(verdict))
    assert bridge.run.terminate() == 0, bridge.run.tail()
    verdict.assert_kept(duplicates_max=0)


def test_a_broker_that_is_killed(brokers, fresh, tmp_path, dice, ending, counts):
    side = brokers.side("artemis")
    feeder, stream, bridge = stream_of(side, fresh, tmp_path, dice, ending, 3000, 500)
    bridge.start()
    feeder.start()
    until(lambda: stream.arrived >= 1000, 60, "messages move", detail=bridge.run.tail)
    stream.fault()
    side.broker.kill()
    side.broker.restart_after_kill()
    verdict = stream.finish(poll=bridge.check)
    counts(**columns(verdict))
    verdict.assert_kept(per_fault_max=2 * WINDOW)
    assert bridge.run.terminate() == 0, bridge.run.tail()


def test_a_broker_that_falls_silent(brokers, fresh, tmp_path, dice, ending, counts):
    """Two heartbeats of silence end a connection; what came with the broker's return counts."""
    side = brokers.side("artemis")
    feeder, stream, bridge = stream_of(side, fresh, tmp_path, dice, ending, 3000, 500,
                                       {"heartbeat": "1s"})
    bridge.start()
    feeder.start()
    until(lambda: stream.arrived >= 1000, 60, "messages move", detail=bridge.run.tail)
    stream.fault()
    began = time.monotonic()
    side.broker.pause()
    try:
        bridge.run.wait_logged("two heartbeats", seconds=20)
        assert time.monotonic() - began >= 1.5
    finally:
        side.broker.resume()
    verdict = stream.finish(poll=bridge.check)
    counts(**columns(verdict))
    verdict.assert_kept(per_fault_max=2 * WINDOW)
    assert bridge.run.terminate() == 0, bridge.run.tail()


@pytest.mark.parametrize("size", [1 << 20, 24 << 20], ids=["1 MiB", "24 MiB"])
def test_large_messages(size, brokers, fresh, tmp_path, ending, monkeypatch):
    """Larger than what proton may hold for a session at once."""
    monkeypatch.setattr("support.amqp10_link.SESSION_BYTES", 256 << 20)
    side = brokers.side("artemis")
    source, there = side.make(fresh("from")), side.make(fresh("to"))
    bridge = ending(bridged(tmp_path, fresh, side, side.source(source), side.sink(there),
                            window={"bytes": "1MiB"}))
    bridge.start()
    texts = [f"{number:02}" + "x" * size for number in range(3)]
    send_all(source, [text_message(text) for text in texts])
    assert texts_of(take_all(there, 3, 120)) == texts
    assert bridge.run.terminate() == 0, bridge.run.tail()
    assert settled(lambda: bridge.run.last_counters().total("delivered"), 0.1, 5, "counters") == 3


def test_a_message_that_the_sink_says_is_too_large(side, fresh, tmp_path, ending):
    source, there, dead = (side.make(fresh(name)) for name in ("from", "to", "dead"))
    bridge = ending(bridged(tmp_path, fresh, side, side.source(source),
                            {**side.sink(there), "max_message_size": "10KiB"},
                            dead_letter={"endpoint": "a", **side.sink(dead)}))
    bridge.start()
    send_all(source, [text_message("small"), text_message("x" * 20_000), text_message("last")])
    assert texts_of(take_all(there, 2)) == ["small", "last"]
    assert texts_of(take_all(dead, 1)) == ["x" * 20_000]


def test_a_link_that_is_left_open_is_idle(side, fresh, tmp_path, ending):
    """Nothing comes for a while: heartbeats keep the connection, and no time is used up."""
    source, there = side.make(fresh("from")), side.make(fresh("to"))
    side_endpoint = {**side.endpoint, "heartbeat": "1s"}
    bridge = ending(Bridge(tmp_path, config(fresh("bridge"), {"a": side_endpoint}, [
        {"name": "pair", "from": {"endpoint": "a", **side.source(source)},
         "to": {"endpoint": "a", **side.sink(there)}}])))
    bridge.start()
    bridge.run.wait_logged("connected", "role=source")
    known = len(bridge.run.log)
    with Link(there) as link:
        end = time.monotonic() + 6
        while time.monotonic() < end:
            link.step(0.2)
    assert len(bridge.run.log) == known, bridge.run.tail()
    send_all(source, [text_message("still there")])
    assert texts_of(take_all(there, 1)) == ["still there"]


def test_a_pattern_of_queues(brokers, fresh, tmp_path, ending):
    """Artemis tells which there are; a queue that comes later is found when it is looked again."""
    side, stem = brokers.side("artemis"), fresh("shop")
    for number in range(3):
        send_all(side.make(f"{stem}.{number}"), [text_message(f"{number}")] * 10)
    bridge = ending(bridged(
        tmp_path, fresh, side, {"addresses": f"^{stem}\\.[0-9]+", "discover": "1s"},
        {"address": "copy.${stream}"}))
    bridge.start()
    for number in range(3):
        assert texts_of(take_all(side.make(f"copy.{stem}.{number}"), 10)) == [f"{number}"] * 10
    send_all(side.make(f"{stem}.3"), [text_message("3")] * 10)
    assert texts_of(take_all(side.make(f"copy.{stem}.3"), 10)) == ["3"] * 10
    assert bridge.run.terminate() == 0, bridge.run.tail()
    assert bridge.run.last_counters().total("delivered") == 40
