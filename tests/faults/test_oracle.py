# SPDX-License-Identifier: Apache-2.0
"""The oracle itself: it passes a right bridge and catches one that acknowledges too early."""

import json
import os
import sys
from pathlib import Path

import pytest

from support.bridge import Run
from support.clients import create_topic, declare_queue
from support.feed import Feeder
from support.oracle import Stream
from support.pair import ENDLESS
from support.wait import until

HERE = Path(__file__).resolve().parent
ROUNDS = 3


class PythonBridge:
    def __init__(self, **spec):
        self._spec = spec
        self._run = None

    def start(self):
        path = os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])
        self._run = Run([sys.executable, str(HERE / "broken_bridge.py"), json.dumps(self._spec)],
                        env={**os.environ, "PYTHONPATH": path})

    def check(self):
        assert self._run.running, self._run.tail()

    def kill(self):
        self._run.kill()

    def end(self):
        if self._run and self._run.running:
            self._run.kill()


@pytest.mark.parametrize("ack, direction", [
    ("after", "to_rabbit"), ("early", "to_kafka"),
    *[pytest.param(*case, marks=pytest.mark.long)
      for case in (("after", "to_kafka"), ("early", "to_rabbit"))]])
def test_the_oracle_tells_a_right_bridge_from_one_that_acks_early(
        ack, direction, kafka3, rabbit, tmp_path, fresh, dice, ending, counts):
    topic, queue = fresh("topic"), fresh("queue")
    create_topic(kafka3.bootstrap, topic, partitions=4)
    declare_queue(rabbit.uri, queue)
    in_kafka = {"bootstrap": kafka3.bootstrap, "topic": topic}
    in_rabbit = {"uri": rabbit.uri, "queue": queue}
    source, sink = (in_kafka, in_rabbit) if direction == "to_rabbit" else (in_rabbit, in_kafka)

    bridge = ending(PythonBridge(direction=direction, ack=ack, kafka=kafka3.bootstrap,
                                 topic=topic, rabbit=rabbit.uri, queue=queue))
    feeder = Feeder(tmp_path, "s", dice.randrange(1 << 30), ENDLESS, keys=20, rate=3000,
                    **source)
    stream = ending(Stream(tmp_path, feeder, sink))
    feeder.start()
    for _ in range(ROUNDS):
        bridge.start()
        stream.wait_ended(stream.ended + dice.randrange(500, 1500), poll=bridge.check)
        stream.fault()
        bridge.kill()
    bridge.start()
    feeder.stop()
    verdict = stream.finish(stall=8 if ack == "early" else 20)
    counts(rounds=ROUNDS, confirmed=verdict.confirmed, lost=verdict.lost,
           corrupt=verdict.corrupt, disorder=verdict.disorder, duplicates=verdict.duplicates)
    if ack == "early":
        assert verdict.lost > 0, f"the oracle missed the loss\n{verdict}"
        assert any(problem.startswith("lost") for problem in verdict.problems())
    else:
        verdict.assert_kept(per_fault_max=10_000)


@pytest.mark.parametrize("side", ["kafka", "rabbit"])
def test_a_feeder_outlives_its_broker_and_keeps_its_books(side, kafka3, rabbit, tmp_path, fresh,
                                                          dice, ending, counts):
    """Judged at the source itself: the ledger is true, and what was sent again is noted."""
    name = fresh("source")
    if side == "kafka":
        broker, where = kafka3, {"bootstrap": kafka3.bootstrap, "topic": name}
        create_topic(kafka3.bootstrap, name, partitions=4)
    else:
        broker, where = rabbit, {"uri": rabbit.uri, "queue": name}
        declare_queue(rabbit.uri, name)
    feeder = Feeder(tmp_path, "s", dice.randrange(1 << 30), 20_000, keys=20, rate=3000, **where)
    stream = ending(Stream(tmp_path, feeder, where, live=False))
    feeder.start()
    for wanted in (2000, 8000):
        until(lambda: feeder.confirmed >= wanted, 60, f"{wanted} confirmed")
        broker.kill()
        broker.restart_after_kill()
    verdict = stream.finish()
    counts(confirmed=verdict.confirmed, lost=verdict.lost, disorder=verdict.disorder,
           duplicates=verdict.duplicates, again=len(feeder.attempts()))
    verdict.assert_kept(duplicates_max=0)
    assert verdict.confirmed == 20_000
