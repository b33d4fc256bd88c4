# SPDX-License-Identifier: Apache-2.0
"""Faults on the wire, in a random order that the seed repeats; and acknowledgement order."""

import struct
import time

import pytest

from support.clients import committed, produce, publish, read_topic
from support.config import config
from support.pair import DIRECTIONS, WINDOW, Pair, columns
from support.proxy import ProxiedKafka, Proxy
from support.wait import until
from support.wire import KINDS, RECOVER_S, Wire
from support.wirewatch import Kafka

FETCH = 1  # the API's key


@pytest.fixture(scope="module")
def proxied_kafka(tmp_path_factory):
    with ProxiedKafka("3.9.1", tmp_path_factory.mktemp("proxied")) as broker:
        yield broker
        broker.proxy.end()


@pytest.mark.parametrize("faults", [8, pytest.param(40, marks=pytest.mark.long)])
@pytest.mark.parametrize("side", ["kafka", "rabbit"])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_faults_on_the_wire(direction, side, faults, proxied_kafka, rabbit, fresh, tmp_path, dice,
                            ending, counts):
    pair = ending(Pair(direction, proxied_kafka, rabbit, fresh, tmp_path, dice, rate=2000))
    if side == "kafka":
        proxy = proxied_kafka.proxy
        endpoints = {"k": {"backend": "kafka", "brokers": proxied_kafka.proxied},
                     "r": pair.endpoints["r"]}
    else:
        proxy = ending(Proxy(rabbit.port))
        endpoints = {"k": pair.endpoints["k"], "r": {
            "backend": "amqp091", "uri": f"amqp://guest:guest@127.0.0.1:{proxy.port}/"}}
    bridge = ending(pair.bridge(text=config(fresh("bridge"), endpoints, [pair.route()])))
    bridge.start()
    bridge.ready()
    pair.feeder.start()

    def delivered():
        bridge.check()
        return bridge.run.counters(15).total("delivered")
    wire = Wire(proxy, delivered, dice)
    kinds = list(KINDS) + [dice.choice(KINDS) for _ in range(faults - len(KINDS))]
    dice.shuffle(kinds)
    print("faults:", *kinds)
    try:
        for kind in kinds:
            before = delivered()
            wanted = before + dice.randrange(300, 2000)
            until(lambda: delivered() >= wanted, RECOVER_S, f"recovery before {kind}",
                  interval=0.1, detail=bridge.run.tail)
            pair.stream.fault()
            getattr(wire, kind)()
        before = delivered()
        until(lambda: delivered() > before + 500, RECOVER_S, "recovery at the end", interval=0.1,
              detail=bridge.run.tail)
    finally:
        proxy.heal()
    pair.feeder.stop()
    verdict = pair.stream.finish(poll=bridge.check)
    counts(faults=len(kinds), **columns(verdict))
    verdict.assert_kept(per_fault_max=WINDOW)
    assert bridge.run.terminate() == 0, bridge.run.tail()
    assert bridge.run.last_counters().conserved()


def _in_flight(bridge, number):
    until(lambda: bridge.run.counters().total("in_flight") >= number, 20, f"{number} in flight",
          detail=bridge.run.tail)


def test_a_queue_is_acknowledged_only_after_kafka_answered(kafka3, rabbit, fresh, tmp_path, dice,
                                                           ending):
    pair = ending(Pair("to_kafka", kafka3, rabbit, fresh, tmp_path, dice, live=False,
                       partitions=1))
    bridge = ending(pair.bridge())
    bridge.start()
    publish(rabbit.uri, "", pair.queue, [(b"first", None)])
    assert read_topic(kafka3.bootstrap, pair.topic, 1)[0].value == b"first"
    kafka3.pause()
    try:
        publish(rabbit.uri, "", pair.queue, [(b"%d" % n, None) for n in range(300)])
        _in_flight(bridge, 300)
        held = rabbit.ctl("list_queues", "name", "messages")
        assert f"{pair.queue}\t300" in held
    finally:
        kafka3.resume()
    until(lambda: f"{pair.queue}\t0" in rabbit.ctl("list_queues", "name", "messages"), 30,
          "all acknowledged", interval=0.5, detail=bridge.run.tail)
    assert len(read_topic(kafka3.bootstrap, pair.topic, 301)) == 301


def test_kafka_is_committed_only_after_rabbit_confirmed(kafka3, rabbit, fresh, tmp_path, dice,
                                                        ending):
    group = fresh("group")
    pair = ending(Pair("to_rabbit", kafka3, rabbit, fresh, tmp_path, dice, live=False,
                       partitions=1))
    pair._route_extra["from"] = {"endpoint": "k", "topic": pair.topic, "group": group}
    bridge = ending(pair.bridge())
    bridge.start()
    produce(kafka3.bootstrap, pair.topic, [{"value": b"first"}])
    until(lambda: committed(kafka3.bootstrap, group) == 1, 30, "a first commit",
          detail=bridge.run.tail)
    rabbit.pause()
    try:
        produce(kafka3.bootstrap, pair.topic, [{"value": b"%d" % n} for n in range(300)])
        _in_flight(bridge, 300)
        assert committed(kafka3.bootstrap, group) == 1
    finally:
        rabbit.resume()
    until(lambda: committed(kafka3.bootstrap, group) == 301, 60, "all committed", interval=0.2,
          detail=bridge.run.tail)


class Fetches:
    """How much a fetch may bring at most, by the requests that pass; each takes a while."""

    def __init__(self, delay_s):
        self.most = []
        self._delay_s, self._frames = delay_s, {}

    def __call__(self, link, way, data):
        if way != "up":
            return
        time.sleep(self._delay_s)
        for frame in self._frames.setdefault(link, Kafka.Frames()).add(data):
            kind, version, _, name = struct.unpack_from(">hhih", frame, 4)
            if kind == FETCH:
                at = 14 + max(0, name) + (version >= 12) + (12 if version < 15 else 8)
                self.most += struct.unpack_from(">i", frame, at)


@pytest.mark.parametrize("delay_s, most", [(0, 1 << 20), (0.03, 2 << 20)], ids=["near", "far"])
def test_a_fetch_brings_more_over_a_long_path(delay_s, most, proxied_kafka, rabbit, fresh, tmp_path,
                                              dice, ending):
    pair = ending(Pair("to_rabbit", proxied_kafka, rabbit, fresh, tmp_path, dice, rate=500))
    endpoints = {"k": {"backend": "kafka", "brokers": proxied_kafka.proxied},
                 "r": pair.endpoints["r"]}
    bridge = ending(pair.bridge(text=config(fresh("bridge"), endpoints, [pair.route()])))
    pair.feeder.start()
    found = []
    try:
        for _ in range(5):  # a machine that is busy may make what is near look far
            proxied_kafka.proxy.watch = fetches = Fetches(delay_s)
            bridge.start()
            pair.stream.wait_ended(pair.stream.ended + 100, poll=bridge.check)
            assert bridge.run.terminate() == 0, bridge.run.tail()
            found.append(set(fetches.most))
            if found[-1] == {most}:
                break
    finally:
        proxied_kafka.proxy.watch = None
    assert found[-1] == {most}
    pair.feeder.stop()
    bridge.start()
    pair.stream.finish(poll=bridge.check).assert_kept(duplicates_max=0)
