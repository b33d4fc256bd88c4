# SPDX-License-Identifier: Apache-2.0
"""The bridge with backends that are broken on purpose: the oracle has to catch each of them."""

from pathlib import Path

import pytest

from support.bridge import Bridge, program
from support.clients import committed
from support.pair import DIRECTIONS, Pair, columns
from support.wait import until

ROUNDS = 3
FULL = 300
STALL_S = 4


def broken(pair, fault):
    """The route of a pair on modules with that fault."""
    folder = Path(program()).resolve().parent.parent / "tests/decorated" / fault
    assert (folder / "kafka.so").exists() and (folder / "amqp091.so").exists(), folder
    return Bridge(pair.workdir, pair.config(), env={"MBRIDGE_MODULES": str(folder)})


@pytest.mark.parametrize("fault, direction", [
    ("early_ack", "to_rabbit"), ("early_ack", "to_kafka"), ("ack_at_poll", "to_kafka")])
def test_acknowledging_too_early_is_caught(fault, direction, kafka3, rabbit, fresh, tmp_path, dice,
                                           ending, counts):
    """A small window makes commits frequent, so that a kill is seldom too late for one."""
    pair = ending(Pair(direction, kafka3, rabbit, fresh, tmp_path, dice, rate=3000,
                       window={"messages": 400}))
    if direction == "to_kafka":  # what does not linger would be stored before a kill finds it
        pair._route_extra["to"] = {"endpoint": "k", "topic": pair.topic, "linger": "200ms"}
    bridge = ending(broken(pair, fault))
    pair.feeder.start()
    for _ in range(ROUNDS):
        bridge.start()
        pair.stream.wait_ended(pair.stream.ended + dice.randrange(500, 1500), poll=bridge.check)
        bridge.run.kill()
        pair.stream.fault()
    bridge.start()
    pair.feeder.stop()
    verdict = pair.stream.finish(stall=STALL_S, poll=bridge.check)
    counts(rounds=ROUNDS, **columns(verdict))
    assert verdict.lost > 0, f"the oracle missed the loss\n{verdict}"
    assert any(problem.startswith("lost") for problem in verdict.problems())


@pytest.mark.parametrize("fault", ["ignore_failures", "ack_at_poll"])
def test_acknowledging_what_the_sink_refused_is_caught(fault, kafka3, rabbit, fresh, tmp_path,
                                                       dice, ending, counts):
    pair = ending(Pair("to_rabbit", kafka3, rabbit, fresh, tmp_path, dice, count=5000, rate=0,
                       live=False,
                       queue_arguments={"x-max-length": FULL, "x-overflow": "reject-publish"}))
    group = fresh("group")
    pair._route_extra["from"] = {"endpoint": "k", "topic": pair.topic, "group": group}
    bridge = ending(broken(pair, fault))
    pair.feeder.start().wait()
    bridge.start()
    bridge.ready()
    until(lambda: bridge.run.counters().total("received") == 5000, 30, "all taken",
          detail=bridge.run.tail)
    until(lambda: committed(kafka3.bootstrap, group) == 5000, 20, "all acknowledged",
          interval=0.2, detail=bridge.run.tail)
    bridge.run.kill()
    bridge.start()
    verdict = pair.stream.finish(stall=STALL_S, poll=bridge.check)
    counts(**columns(verdict))
    assert verdict.lost > 0, f"the oracle missed the loss\n{verdict}"


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("fault, found", [("drop", "lost"), ("swap", "disorder")])
def test_dropping_and_swapping_are_caught(fault, found, direction, kafka3, rabbit, fresh, tmp_path,
                                          dice, ending, counts):
    pair = ending(Pair(direction, kafka3, rabbit, fresh, tmp_path, dice, count=5000, keys=5,
                       rate=0))
    bridge = ending(broken(pair, fault))
    pair.feeder.start().wait()
    bridge.start()
    verdict = pair.stream.finish(stall=STALL_S, poll=bridge.check)
    counts(**columns(verdict))
    problems = verdict.problems(duplicates_max=0)
    assert [problem.split(":")[0] for problem in problems] == [found], verdict
