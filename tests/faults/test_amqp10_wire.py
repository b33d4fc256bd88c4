# SPDX-License-Identifier: Apache-2.0
"""Faults on the wire of an AMQP 1.0 source or sink, in a random order that the seed repeats."""

import pytest

from brokers.other_release import host_release, unavailable
from support.bridge import Bridge
from support.config import config
from support.feed import Feeder
from support.oracle import Stream
from support.pair import ENDLESS, WINDOW, columns
from support.proxy import Proxy
from support.wait import until
from support.wire import KINDS, RECOVER_S, Wire


@pytest.fixture(params=["artemis", "rabbitmq4"])
def side(request, brokers):
    if request.param == "rabbitmq4" and host_release() != "trixie" and unavailable():
        pytest.skip(unavailable())
    return brokers.side(request.param)


@pytest.mark.parametrize("faults", [8, pytest.param(40, marks=pytest.mark.long)])
@pytest.mark.parametrize("end", ["source", "sink"])
def test_faults_on_the_wire(end, faults, side, fresh, tmp_path, dice, ending, counts):
    source, there = side.make(fresh("from")), side.make(fresh("to"))
    proxy = ending(Proxy(side.broker.port))
    feeder = Feeder(tmp_path, "load", dice.randrange(1 << 30), ENDLESS, keys=50, rate=1500,
                    **source)
    stream = ending(Stream(tmp_path, feeder, there))
    through = {**side.endpoint, "uri": f"amqp10://127.0.0.1:{proxy.port}", "heartbeat": "1s"}
    endpoints = {"p": through, "d": side.endpoint}
    first, last = ("p", "d") if end == "source" else ("d", "p")
    bridge = ending(Bridge(tmp_path, config(fresh("bridge"), endpoints, [
        {"name": "pair", "from": {"endpoint": first, **side.source(source)},
         "to": {"endpoint": last, **side.sink(there)}}])))
    bridge.start()
    bridge.ready()
    feeder.start()

    def delivered():
        bridge.check()
        return bridge.run.counters(15).total("delivered")
    wire = Wire(proxy, delivered, dice)
    kinds = list(KINDS) + [dice.choice(KINDS) for _ in range(faults - len(KINDS))]
    dice.shuffle(kinds)
    print("faults:", *kinds)
    try:
        for kind in kinds:
            wanted = delivered() + dice.randrange(300, 1500)
            until(lambda: delivered() >= wanted, RECOVER_S, f"recovery before {kind}",
                  interval=0.1, detail=bridge.run.tail)
            stream.fault()
            getattr(wire, kind)()
    finally:
        proxy.heal()
    feeder.stop()
    verdict = stream.finish(poll=bridge.check)
    counts(broker=side.name, end=end, faults=len(kinds), **columns(verdict))
    verdict.assert_kept(per_fault_max=2 * WINDOW)
    assert bridge.run.terminate() == 0, bridge.run.tail()
