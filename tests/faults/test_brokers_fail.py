# SPDX-License-Identifier: Apache-2.0
"""A broker is killed and started again under load; the bridge goes on without help."""

import pytest

from support.pair import DIRECTIONS, WINDOW, Pair, columns
from support.wait import until

RECOVER_S = 45


@pytest.mark.parametrize("kafka, rounds", [
    ("4.3.1", 1), *[pytest.param(version, 5, marks=pytest.mark.long)
                    for version in ("3.9.1", "4.3.1")]], indirect=["kafka"])
@pytest.mark.parametrize("side", ["kafka", "rabbit"])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_broker_killed_under_load(direction, side, rounds, kafka, rabbit, fresh, tmp_path, dice,
                                  ending, counts):
    pair = ending(Pair(direction, kafka, rabbit, fresh, tmp_path, dice, live=False, rate=3000))
    broker = kafka if side == "kafka" else rabbit
    bridge = ending(pair.bridge())
    bridge.start()
    pair.feeder.start()

    def moves_by(number):
        before = delivered()
        until(lambda: delivered() >= before + number, RECOVER_S, f"{number} more delivered",
              interval=0.2, detail=bridge.run.tail)

    def delivered():
        bridge.check()
        return bridge.run.counters(10).total("delivered")

    bridge.ready()
    # RabbitMQ confirms a declaration before it is on disk: a queue that is younger than two seconds
    # may be gone after kill -9, with all that was confirmed into it.
    rabbit.ctl("eval", "mnesia:sync_log().")
    for _ in range(rounds):
        moves_by(dice.randrange(1000, 5000))
        broker.kill()
        pair.stream.fault()
        until(lambda: bridge.run.running, 1, "the bridge outlives its broker")
        broker.restart_after_kill()
    moves_by(3000)
    pair.feeder.stop()
    verdict = pair.stream.finish(poll=bridge.check)
    counts(rounds=rounds, **columns(verdict))
    assert verdict.lost == verdict.corrupt == verdict.unknown == 0, verdict
    # Arrival times are those of the later collection: all duplicates together are bounded.
    verdict.assert_kept(duplicates_max=rounds * WINDOW)
    assert bridge.run.terminate() == 0, bridge.run.tail()


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("side", ["kafka", "rabbit"])
@pytest.mark.parametrize("seconds", [pytest.param(120, marks=pytest.mark.long)])
def test_broker_frozen_past_its_timeouts(direction, side, seconds, kafka, rabbit, fresh, tmp_path,
                                         dice, ending, counts):
    """SIGSTOP past heartbeat and session timeouts: connections stay open and answer nothing."""
    pair = ending(Pair(direction, kafka, rabbit, fresh, tmp_path, dice, live=False, rate=2000,
                       count=40_000))
    broker = kafka if side == "kafka" else rabbit
    bridge = ending(pair.bridge())
    bridge.start()
    pair.feeder.start()
    bridge.ready()
    until(lambda: bridge.run.counters().total("delivered") > 2000, 30, "some delivered")
    known = len(bridge.run.log)
    broker.pause()
    pair.stream.fault()
    try:
        until(lambda: len(bridge.run.log) > known, seconds, "the bridge notices",
              detail=bridge.run.tail)
    finally:
        broker.resume()
    verdict = pair.stream.finish(poll=bridge.check, stall=60)
    counts(**columns(verdict))
    verdict.assert_kept(duplicates_max=2 * WINDOW)
