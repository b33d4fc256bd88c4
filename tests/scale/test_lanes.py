# SPDX-License-Identifier: Apache-2.0
"""More lanes and more processes divide the work, and lose nothing when they come and go."""

import pytest

from support.pair import WINDOW, columns
from support.redis_side import RedisSide
from support.route import Route, both_take, stop_and_judge, wait_arrived
from support.sides import KafkaSide
from support.wait import until

LANES = 4


def rounds_of_two(route, first, second, rounds, dice):
    """Two processes share the source; in turn one of them is killed, or stopped in order, and comes
    back."""
    for bridge in (first, second):
        bridge.start()
        bridge.ready()
    wait_arrived(route.stream, 500, first)
    for number in range(rounds):
        until(both_take(first, second), 60, "both take messages",
              detail=lambda: first.run.tail() + second.run.tail())
        wait_arrived(route.stream, route.stream.arrived + dice.randrange(500, 1500), second)
        route.stream.fault()
        if number % 2 == 0:
            first.run.kill()
        else:
            assert first.run.terminate() == 0, first.run.tail()
        wait_arrived(route.stream, route.stream.arrived + 500, second)
        first.start()
        first.ready()
        first, second = second, first
    assert second.run.terminate() == 0, second.run.tail()
    return first


def play(route, rounds, dice, ending, counts, order):
    first, second = ending(route.bridge("first")), ending(route.bridge("second"))
    route.feeder.start()
    verdict = stop_and_judge(route, rounds_of_two(route, first, second, rounds, dice))
    counts(lanes=LANES, processes=2, rounds=rounds, **columns(verdict))
    verdict.assert_kept(per_fault_max=2 * LANES * WINDOW, order=order)


@pytest.mark.parametrize("rounds", (2, pytest.param(20, marks=pytest.mark.long)))
def test_a_topic_of_kafka(rounds, kafka3, redis, fresh, tmp_path, dice, ending, counts):
    """Partitions go from lane to lane; each key keeps its order."""
    route = ending(Route(KafkaSide(kafka3, partitions=12), RedisSide(redis), fresh, tmp_path, dice,
                         rate=2000, lanes=LANES))
    play(route, rounds, dice, ending, counts, "first")


@pytest.mark.long
@pytest.mark.parametrize("rounds", (2, 20))
def test_a_queue_without_order(rounds, brokers, redis, fresh, tmp_path, dice, ending, counts):
    """All lanes of both processes consume at the same time."""
    route = ending(Route(brokers.side("rabbitmq"), RedisSide(redis), fresh, tmp_path, dice,
                         rate=2000, lanes=LANES, order="none"))
    play(route, rounds, dice, ending, counts, None)
