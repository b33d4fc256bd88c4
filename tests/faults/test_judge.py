# SPDX-License-Identifier: Apache-2.0
"""The judge finds each violation in a synthetic history, and nothing in a good one."""

import pytest

from support.body import Bodies
from support.judge import Verdict, judge
from support.record import Arrival


def history(*items, lane=0):
    return [Arrival(float(index), key, sequence, lane, True, False)
            for index, (key, sequence) in enumerate(items)]


GOOD = [(key, sequence) for sequence in range(20) for key in range(3)]


def test_a_good_history_is_kept():
    verdict = judge(GOOD, history(*GOOD))
    assert verdict.problems(duplicates_max=0, per_fault_max=0) == []
    assert (verdict.confirmed, verdict.distinct, verdict.lost) == (60, 60, 0)


def test_one_lost_message_is_found_by_name():
    verdict = judge(GOOD, history(*[item for item in GOOD if item != (1, 7)]))
    assert verdict.lost == 1
    assert verdict.offenders["lost"] == [(1, 7)]
    assert any(text.startswith("lost: 1") for text in verdict.problems())


def test_a_dead_lettered_message_is_not_lost():
    verdict = judge(GOOD, history(*GOOD[1:]), dead=history(GOOD[0]))
    assert verdict.problems(duplicates_max=0) == []
    assert verdict.dead_lettered == 1


def test_a_message_in_both_streams_is_no_loss():
    verdict = judge(GOOD, history(*GOOD), dead=history(GOOD[0]))
    assert verdict.lost == 0


def test_what_arrived_without_a_confirm_is_no_fault():
    assert judge(GOOD[:-1], history(*GOOD)).problems(duplicates_max=0) == []


def test_a_corrupt_arrival_is_found_and_counts_as_lost():
    bad = history(*GOOD)
    bad[10] = bad[10]._replace(intact=False)
    verdict = judge(GOOD, bad)
    assert (verdict.corrupt, verdict.lost) == (1, 1)


def test_an_arrival_that_names_no_message_is_found():
    bad = history(*GOOD) + [Arrival(99.0, None, None, 0, False, False)]
    verdict = judge(GOOD, bad)
    assert verdict.unknown == 1
    assert verdict.problems()


def test_duplicates_are_counted_and_given_to_their_fault():
    arrived = GOOD[:30] + GOOD[20:30] + GOOD[30:] + GOOD[55:]
    verdict = judge(GOOD, history(*arrived), faults=[29.5, 65.0])
    assert verdict.duplicates == 15
    assert verdict.duplicates_by_fault == [0, 10, 5]
    assert verdict.problems(per_fault_max=10) == []
    assert verdict.problems(per_fault_max=9)
    assert verdict.problems(duplicates_max=14)


def test_a_collector_that_lags_books_duplicates_later():
    verdict = Verdict(duplicates_by_fault=[0, 0, 15])
    assert verdict.problems(so_far_max=8) == []
    assert verdict.problems(so_far_max=7)
    assert verdict.problems(per_fault_max=8)
    assert Verdict(duplicates_by_fault=[0, 9, 0, 0]).problems(so_far_max=8)


def test_what_the_feeder_sent_twice_is_no_duplicate_of_the_bridge():
    verdict = judge(GOOD, history(*(GOOD + [GOOD[-1]])), attempts={GOOD[-1]: 2})
    assert verdict.duplicates == 0


def test_a_repeated_window_keeps_the_order_of_first_occurrences():
    verdict = judge(GOOD, history(*(GOOD[:40] + GOOD[12:])))
    assert verdict.disorder == 0
    assert verdict.duplicates == 28


def test_two_swapped_messages_of_a_key_are_found():
    bad = list(GOOD)
    bad[9], bad[12] = bad[12], bad[9]
    verdict = judge(GOOD, history(*bad))
    assert verdict.disorder == 1
    assert verdict.offenders["disorder"] == [(0, 4, 3)]


def test_swapped_messages_of_two_keys_are_no_disorder():
    fine = list(GOOD)
    fine[9], fine[10] = fine[10], fine[9]
    assert judge(GOOD, history(*fine)).problems(duplicates_max=0) == []


def test_last_occurrences_can_hold_where_first_ones_do_not():
    arrived = [(0, 0), (0, 2), (0, 1), (0, 2), (0, 3)]
    verdict = judge([(0, n) for n in range(4)], history(*arrived))
    assert verdict.problems(order="first")
    assert verdict.problems(order="last") == []
    worse = judge([(0, n) for n in range(4)], history((0, 0), (0, 2), (0, 1), (0, 3)))
    assert worse.problems(order="last")


def test_a_key_in_two_lanes_is_found():
    verdict = judge(GOOD, history(*GOOD[:30], lane=0) + history(*GOOD[30:], lane=1))
    assert verdict.moved == 30
    assert verdict.problems()
    assert judge(GOOD, history(*GOOD[:30], lane=0)
                 + history(*GOOD[30:], lane=1)).problems(order=None) == []


@pytest.mark.parametrize("seed", [1, 2])
def test_bodies_are_made_again_from_their_names(seed):
    bodies = Bodies(seed, "orders")
    again = Bodies(seed, "orders")
    other = Bodies(seed + 1, "orders")
    sizes = set()
    for sequence in range(500):
        body = bodies.make(sequence % 7, sequence)
        sizes.add(len(body))
        assert again.read(body) == (sequence % 7, sequence, True)
        assert other.read(body)[2] is False
    assert len(sizes) > 100


def test_every_flipped_byte_of_a_body_is_found():
    bodies = Bodies(3, "orders")
    body = bodies.make(4, 123)
    for index in range(len(body)):
        bad = bytearray(body)
        bad[index] ^= 0x20
        key, sequence, intact = bodies.read(bytes(bad))
        assert not intact, index
    assert bodies.read(None) == (None, None, False)
    assert bodies.read(b"") == (None, None, False)
    assert bodies.read(body[:-1])[2] is False
