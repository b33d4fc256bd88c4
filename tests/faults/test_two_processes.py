# SPDX-License-Identifier: Apache-2.0
"""Two processes of one configuration: a standby takes over, a topic is shared."""

import time

import pytest

from support.pair import STRAGGLERS_S, WINDOW, Pair, columns, wait_taken_over
from support.route import both_take
from support.wait import until

TAKEOVER_S = 10.0
HANDOVER_S = 12.0


def test_a_standby_takes_over_a_queue(kafka3, rabbit, fresh, tmp_path, dice, ending, counts):
    pair = ending(Pair("to_kafka", kafka3, rabbit, fresh, tmp_path, dice, rate=2500))
    active, standby = ending(pair.bridge("first")), ending(pair.bridge("second"))
    pair.feeder.start()
    active.start()
    pair.stream.wait_ended(500, poll=active.check)
    standby.start()
    standby.run.wait_logged("standing by")
    assert not active.run.logged("standing by"), active.run.tail()

    times = []
    for _ in range(2):
        pair.stream.wait_ended(pair.stream.ended + dice.randrange(1000, 4000))
        assert standby.run.counters().total("received") == 0
        killed = time.monotonic()
        active.run.kill()
        pair.stream.fault()
        times.append(wait_taken_over(pair.stream, killed, TAKEOVER_S, standby))
        active, standby = standby, active
        standby.start()
        standby.run.wait_logged("standing by")
    pair.feeder.stop()
    verdict = pair.stream.finish(poll=active.check)
    counts(**columns(verdict), **{"slowest takeover s": f"{max(times):.2f}"})
    verdict.assert_kept(per_fault_max=WINDOW)
    assert max(times) <= TAKEOVER_S, times


@pytest.mark.parametrize("kafka", [pytest.param("3.9.1", marks=pytest.mark.long), "4.3.1"],
                         indirect=True)
def test_two_share_a_topic_and_one_leaves_in_order(kafka, rabbit, fresh, tmp_path, dice, ending,
                                                   counts):
    pair = ending(Pair("to_rabbit", kafka, rabbit, fresh, tmp_path, dice, rate=2500))
    first, second = ending(pair.bridge("first")), ending(pair.bridge("second"))
    pair.feeder.start()
    first.start()
    pair.stream.wait_ended(500, poll=first.check)
    second.start()
    second.ready()
    until(both_take(first, second), 30, "both take messages",
          detail=lambda: first.run.tail() + second.run.tail())
    pair.stream.wait_ended(pair.stream.ended + 5000, poll=second.check)
    for bridge in (first, second):
        bridge.check()
        assert not bridge.run.logged("fenced"), bridge.run.tail()

    began = time.monotonic()
    assert first.run.terminate() == 0, first.run.tail()
    left = time.monotonic()
    pair.stream.destination.mark(left + STRAGGLERS_S)

    def every_key():
        pair.stream.update()
        second.check()
        return len(pair.stream.destination.newest) == 50
    until(every_key, HANDOVER_S + 30, "messages of every key", detail=second.run.tail)
    taken = max(pair.stream.destination.newest.values()) - left
    pair.feeder.stop()
    verdict = pair.stream.finish(poll=second.check)
    counts(**columns(verdict), **{"stop s": f"{left - began:.2f}", "handover s": f"{taken:.2f}"})
    verdict.assert_kept(duplicates_max=0)
    assert taken <= HANDOVER_S


def test_two_share_a_topic_and_one_is_killed(kafka3, rabbit, fresh, tmp_path, dice, ending,
                                             counts):
    pair = ending(Pair("to_rabbit", kafka3, rabbit, fresh, tmp_path, dice, rate=2500))
    first, second = ending(pair.bridge("first")), ending(pair.bridge("second"))
    pair.feeder.start()
    first.start()
    second.start()
    first.ready()
    second.ready()
    until(both_take(first, second), 30, "both take messages",
          detail=lambda: first.run.tail() + second.run.tail())
    first.run.kill()
    pair.stream.fault()
    pair.stream.wait_ended(pair.stream.ended + 2000, poll=second.check)
    first.start()
    first.ready()
    until(both_take(first, second), 45, "both take messages again",
          detail=lambda: first.run.tail() + second.run.tail())
    pair.feeder.stop()
    verdict = pair.stream.finish(poll=second.check)
    counts(**columns(verdict))
    verdict.assert_kept(duplicates_max=WINDOW)
