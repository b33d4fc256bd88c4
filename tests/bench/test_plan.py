# SPDX-License-Identifier: Apache-2.0
"""Which pairs, and how many rounds, each part of `./dev bench` does. Measures nothing."""

import pytest
import run
import throughput


def pairs(part, *arguments):
    mine = run.of_part(part, run.parse(arguments))
    return mine, {(cell.source, cell.sink) for cell in throughput.cells_of(part, mine)}


def test_without_options_all_pairs_are_measured_three_times():
    mine, cells = pairs("pairs")
    assert len(cells) == 16 and mine.rounds == 3 and not mine.bare


def test_full_measures_the_halves_by_hand_of_pairs_alone():
    assert pairs("pairs", "--full")[0].bare
    assert not pairs("sizes", "--full", "--bare")[0].bare


@pytest.mark.parametrize("part", ("sizes", "headers", "lanes", "distance"))
def test_full_measures_a_ring_where_there_are_many_variants(part):
    mine, cells = pairs(part, "--full")
    assert len(cells) == len(run.RING) and mine.rounds == 1
    for end in zip(*cells):  # each platform is a source, and a sink, of one of them
        assert set(end) == {"kafka", "rabbitmq", "artemis", "redis"}


def test_nothing_is_added_on_one_platform_so_its_cost_is_not_measured():
    _, cells = pairs("provenance", "--full")
    assert len(cells) == len(run.RING) - 1 and ("kafka", "kafka") not in cells


def test_what_is_asked_for_goes_before_the_plan():
    mine, cells = pairs("sizes", "--full", "--rounds", "5", "--pair", "redis-redis")
    assert cells == {("redis", "redis")} and mine.rounds == 5
