# SPDX-License-Identifier: Apache-2.0
"""The sink refuses: full queue, no route, no queue. A failure is answered by its cause."""

import pytest

from support.clients import (declare_queue, delete_queue, queue_depth, rabbit_channel)
from support.feed import REGIONS, region_of
from support.pair import WINDOW, Pair, columns
from support.wait import settled, until

FULL = 1000


def _sizes(short, full):
    return [short, pytest.param(full, marks=pytest.mark.long)]


@pytest.mark.parametrize("messages", _sizes(8_000, 50_000))
def test_a_full_queue_is_waited_for(messages, kafka3, rabbit, fresh, tmp_path, dice, ending,
                                    counts):
    pair = ending(Pair("to_rabbit", kafka3, rabbit, fresh, tmp_path, dice, count=messages, rate=0,
                       live=False, dead=True,
                       queue_arguments={"x-max-length": FULL, "x-overflow": "reject-publish"}))
    bridge = ending(pair.bridge())
    pair.feeder.start().wait()
    bridge.start()
    until(lambda: (queue_depth(rabbit.uri, pair.queue) or 0) >= FULL, 30, "a full queue",
          detail=bridge.run.tail)

    def refused():
        counters = bridge.run.counters()
        return sum(counters["routes"][pair.name]["retries"].values()) > 0 and counters
    counters = until(refused, 15, "the refusal is counted", detail=bridge.run.tail)
    assert counters["routes"][pair.name]["state"] == "running"
    assert counters.total("dead_lettered") == 0
    assert queue_depth(rabbit.uri, pair.queue) <= FULL + 100
    bridge.check()

    verdict = pair.stream.finish(poll=bridge.check, stall=40)
    counts(**columns(verdict))
    assert verdict.dead_lettered == 0
    verdict.assert_kept(order="last")
    assert bridge.run.terminate() == 0
    assert bridge.run.last_counters().total("dead_lettered") == 0


@pytest.mark.parametrize("messages", _sizes(20_000, 100_000))
def test_unroutable_by_template_is_dead_lettered(messages, kafka3, rabbit, fresh, tmp_path, dice,
                                                 ending, counts):
    bound = ("eu", "us")
    exchange = fresh("shop")
    pair = ending(Pair("to_rabbit", kafka3, rabbit, fresh, tmp_path, dice, count=messages, rate=0,
                       dead=True, to={"endpoint": "r", "exchange": exchange,
                                      "routing_key": "orders.${header.region}"}))
    declare_queue(rabbit.uri, pair.queue,
                  bind=[(exchange, f"orders.{region}") for region in bound])
    pair.feeder.start().wait()
    bridge = ending(pair.bridge())
    bridge.start()
    verdict = pair.stream.finish(poll=bridge.check)
    counts(**columns(verdict))
    verdict.assert_kept(duplicates_max=0)

    expected = {tuple(name) for name in pair.feeder.ledger() if region_of(*name) not in bound}
    assert 0 < len(expected) < messages and len(set(REGIONS) - set(bound)) == 2
    delivered, dead = (watch.seen for watch in pair.stream._watches)
    assert dead == expected
    assert not delivered & dead
    assert bridge.run.terminate() == 0, bridge.run.tail()
    counters = bridge.run.last_counters()
    assert counters.conserved()
    assert counters.total("dead_lettered") == len(expected)
    assert counters.total("delivered") == messages - len(expected)


def test_a_missing_template_value_is_dead_lettered(kafka3, rabbit, fresh, tmp_path, dice, ending):
    exchange = fresh("shop")
    pair = ending(Pair("to_rabbit", kafka3, rabbit, fresh, tmp_path, dice, count=500, rate=0,
                       dead=True, to={"endpoint": "r", "exchange": exchange,
                                      "routing_key": "orders.${header.absent}"}))
    declare_queue(rabbit.uri, pair.queue, bind=[(exchange, "#")])
    pair.feeder.start().wait()
    bridge = ending(pair.bridge())
    bridge.start()
    verdict = pair.stream.finish(poll=bridge.check)
    verdict.assert_kept(duplicates_max=0)
    assert verdict.dead_lettered == 500 and verdict.distinct == 0


def test_a_rejected_message_without_dead_letter_stops_its_route(
        kafka3, rabbit, fresh, tmp_path, dice, ending):
    exchange = fresh("shop")
    pair = ending(Pair("to_rabbit", kafka3, rabbit, fresh, tmp_path, dice, count=100, rate=0,
                       to={"endpoint": "r", "exchange": exchange,
                           "routing_key": "orders.${header.region}"}))
    declare_queue(rabbit.uri, pair.queue, bind=[(exchange, "orders.eu")])
    pair.feeder.start().wait()
    bridge = ending(pair.bridge())
    bridge.start()
    assert bridge.run.wait(30) == 1, bridge.run.tail()


@pytest.mark.parametrize("create", [True, False], ids=["recreated", "waited for"])
def test_a_sink_queue_deleted_between_messages(create, kafka3, rabbit, fresh, tmp_path, dice,
                                               ending, counts):
    """What had been confirmed into the queue was collected; all later messages arrive too."""
    options = {} if create else {"create": False}
    pair = ending(Pair("to_rabbit", kafka3, rabbit, fresh, tmp_path, dice, rate=2000, dead=True))
    pair._route_extra["to"] = {"endpoint": "r", "queue": pair.queue, **options}
    bridge = ending(pair.bridge())
    bridge.start()
    pair.feeder.start()
    for _ in range(3):
        pair.stream.wait_ended(pair.stream.ended + 1000, poll=bridge.check)
        _freeze(pair, rabbit)
        delete_queue(rabbit.uri, pair.queue)
        _thaw(pair)
        if not create:
            until(lambda: sum(bridge.run.counters()["routes"][pair.name]["retries"].values()), 20,
                  "the missing queue is noticed", detail=bridge.run.tail)
            assert queue_depth(rabbit.uri, pair.queue) is None
            declare_queue(rabbit.uri, pair.queue)
    pair.feeder.stop()
    verdict = pair.stream.finish(poll=bridge.check)
    counts(**columns(verdict))
    assert verdict.dead_lettered == 0
    verdict.assert_kept(order="last")


def _freeze(pair, rabbit):
    """Stop the feeder and wait until all that it sent has been collected."""
    pair.feeder.pause()
    known = settled(lambda: pair.feeder.confirmed, 0.5, 20, "the feeder rests")
    pair.stream.wait_ended(known)
    until(lambda: queue_depth(rabbit.uri, pair.queue) == 0, 10, "an empty queue")


def _thaw(pair):
    pair.feeder.resume()


@pytest.mark.parametrize("rounds", _sizes(1, 5))
def test_a_sink_queue_deleted_under_load(rounds, kafka3, rabbit, fresh, tmp_path, dice, ending,
                                         counts):
    """Messages that the broker had confirmed into the deleted queue went with it: for each key
    one run without a gap a deletion, at most the window. Nothing else may be missing."""
    pair = ending(Pair("to_rabbit", kafka3, rabbit, fresh, tmp_path, dice, rate=3000, dead=True))
    bridge = ending(pair.bridge())
    bridge.start()
    pair.feeder.start()
    purged = 0
    for _ in range(rounds):
        pair.stream.wait_ended(pair.stream.ended + dice.randrange(1000, 3000), poll=bridge.check)
        with rabbit_channel(rabbit.uri) as channel:
            purged += channel.queue_delete(pair.queue).method.message_count
        pair.stream.fault()
        pair.stream.wait_ended(pair.stream.ended + 2000, poll=bridge.check)
    pair.feeder.stop()
    verdict = pair.stream.finish(poll=bridge.check)
    counts(rounds=rounds, purged=purged, **columns(verdict))
    assert verdict.corrupt == verdict.unknown == verdict.dead_lettered == 0
    missing = {}
    seen = pair.stream.destination.seen
    for key, sequence in pair.feeder.ledger():
        if (key, sequence) not in seen:
            missing.setdefault(key, []).append(sequence)
    for key, sequences in missing.items():
        sequences.sort()
        runs = 1 + sum(1 for a, b in zip(sequences, sequences[1:]) if b != a + 1)
        assert runs <= rounds, f"key {key}: {sequences}"
    assert verdict.lost <= rounds * WINDOW


def test_a_source_queue_deleted_and_made_again(kafka3, rabbit, fresh, tmp_path, dice, ending,
                                               counts):
    pair = ending(Pair("to_kafka", kafka3, rabbit, fresh, tmp_path, dice, rate=2000))
    bridge = ending(pair.bridge())
    bridge.start()
    pair.feeder.start()
    for _ in range(2):
        pair.stream.wait_ended(pair.stream.ended + 1000, poll=bridge.check)
        _freeze(pair, rabbit)
        known = len(bridge.run.log)
        delete_queue(rabbit.uri, pair.queue)
        bridge.run.wait_logged(pair.queue, start=known)
        bridge.check()
        declare_queue(rabbit.uri, pair.queue, bind=[(pair.exchange, "#")])
        _thaw(pair)
    pair.stream.wait_ended(pair.stream.ended + 1000, poll=bridge.check)
    pair.feeder.stop()
    verdict = pair.stream.finish(poll=bridge.check)
    counts(**columns(verdict))
    verdict.assert_kept(duplicates_max=0)
