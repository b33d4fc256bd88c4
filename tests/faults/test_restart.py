# SPDX-License-Identifier: Apache-2.0
"""The bridge is killed, or stopped in order, again and again under load."""

import pytest

from support.pair import DIRECTIONS, RESUME_S, WINDOW, Pair, columns, rounds_of, sizes
from support.wait import until

@pytest.mark.parametrize("rounds, messages", sizes((3, 20_000), (20, 100_000)))
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_killed_under_load(direction, rounds, messages, kafka, rabbit, fresh, tmp_path, dice,
                           ending, counts):
    pair = ending(Pair(direction, kafka, rabbit, fresh, tmp_path, dice))
    bridge = ending(pair.bridge())
    times = rounds_of(pair, bridge, rounds, messages, dice, lambda: bridge.run.kill())
    verdict = pair.stream.finish(poll=bridge.check)
    counts(rounds=rounds, **columns(verdict), **{"slowest resume s": f"{max(times):.2f}"})
    verdict.assert_kept(per_fault_max=WINDOW)
    assert max(times) <= RESUME_S, f"moved again after {[f'{t:.2f}' for t in times]} s"


@pytest.mark.parametrize("rounds, messages", sizes((3, 20_000), (20, 100_000)))
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_stopped_in_order_under_load(direction, rounds, messages, kafka, rabbit, fresh, tmp_path,
                                     dice, ending, counts):
    pair = ending(Pair(direction, kafka, rabbit, fresh, tmp_path, dice))
    bridge = ending(pair.bridge())
    codes = []
    times = rounds_of(pair, bridge, rounds, messages, dice,
                    lambda: codes.append(bridge.run.terminate()))
    verdict = pair.stream.finish(poll=bridge.check)
    codes.append(bridge.run.terminate())
    counts(rounds=rounds, **columns(verdict), **{"slowest resume s": f"{max(times):.2f}"})
    assert codes == [0] * (rounds + 1), bridge.run.tail()
    verdict.assert_kept(duplicates_max=0)
    for run in bridge.runs:
        assert run.last_counters().conserved(), run.last_counters()
        assert run.last_counters().total("in_flight") == 0
    delivered = sum(run.last_counters().total("delivered") for run in bridge.runs)
    assert delivered == verdict.arrived


@pytest.mark.parametrize("rounds, messages", sizes((3, 45_000), (15, 250_000)))
@pytest.mark.parametrize("stop", ["kill", "terminate"])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_ended_with_a_full_window(direction, stop, rounds, messages, kafka3, rabbit, fresh,
                                  tmp_path, dice, ending, counts):
    """A backlog keeps the window as full as it gets. A stop in order empties the window, so the
    backlog has to hold one more for each round."""
    pair = ending(Pair(direction, kafka3, rabbit, fresh, tmp_path, dice, count=messages, rate=0))
    bridge = ending(pair.bridge())
    pair.feeder.start().wait(240)
    for _ in range(rounds):
        bridge.start()
        bridge.ready()
        target = dice.randrange(1, messages // (4 * rounds))
        until(lambda: bridge.run.counters().total("delivered") >= target, 30,
              f"{target} delivered", interval=0.001, detail=bridge.run.tail)
        assert getattr(bridge.run, stop)() in (None, 0), bridge.run.tail()
        pair.stream.fault()
    bridge.start()
    verdict = pair.stream.finish(poll=bridge.check)
    counts(rounds=rounds, **columns(verdict))
    verdict.assert_kept(duplicates_max=rounds * WINDOW if stop == "kill" else 0)
