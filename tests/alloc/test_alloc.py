# SPDX-License-Identifier: Apache-2.0
"""Allocations fail over whole runs on real brokers: no crash, nothing lost, and it is said.

Only what the bridge and its modules ask for themselves fails (tests/alloc/fail_malloc.c), and in a
long run what rabbitmq-c asks for, too. The other client libraries are left alone, as they do not
outlive it: librdkafka and OpenSSL abort by design, proton uses new objects without looking
(pn_record, pn_list, pn_data), and so does hiredis 0.14 its buffer once it has been written
(redisBufferWrite)."""

import time
from pathlib import Path

import pytest

from support.harassed import Harassed, preload
from support.redis_side import RedisSide

SIDES = ("rabbitmq", "artemis", "kafka")
MESSAGES = 20
# Each platform is a source and a sink once; with them the library that outlives it.
PAIRS = {("redis", "redis"): "", ("kafka", "rabbitmq"): "librabbitmq",
         ("rabbitmq", "artemis"): "librabbitmq", ("artemis", "kafka"): ""}
SWEEP_S = 280  # of a pair; all four stay below twenty minutes
LOOK_EVERY = 50
LEAKS = Path(__file__).with_name("leaks.supp")


def _sweep(pair, dice, rounds, objects=""):
    """Runs in which one allocation fails, or each k-th; the places are drawn over the whole run."""
    library = preload("fail_malloc.so")
    pair.put(MESSAGES)
    _, report = pair.run(LD_PRELOAD=library, MBRIDGE_FAIL_AT="0", MBRIDGE_FAIL_OBJECTS=objects)
    total = int(report.split()[0])
    assert total > 100, report
    for number in range(rounds):
        pair.put(MESSAGES)
        every = dice.randrange(total // 3, total) if number % 3 == 2 else 0
        pair.run(LD_PRELOAD=library, MBRIDGE_FAIL_AT=str(dice.randrange(1, total + 1)),
                 MBRIDGE_FAIL_EVERY=str(every), MBRIDGE_FAIL_OBJECTS=objects)
    return total


def _pair(direction, name, brokers, redis, fresh, workdir):
    ends = [brokers.side(name), RedisSide(redis)]
    if direction == "to":
        ends.reverse()
    return Harassed(*ends, redis, fresh, workdir)


def _cases():
    for name in SIDES:
        for direction in ("from", "to"):
            everyday = (name, direction) in (("rabbitmq", "from"), ("artemis", "to"))
            yield pytest.param(name, direction, 4 if everyday else 40, id=f"{name}-{direction}",
                               marks=() if everyday else pytest.mark.long)
            yield pytest.param(name, direction, 400, id=f"{name}-{direction}-full",
                               marks=pytest.mark.long)


@pytest.mark.parametrize("name, direction, rounds", list(_cases()))
def test_allocations_fail(name, direction, rounds, brokers, redis, fresh, tmp_path, dice, counts):
    pair = _pair(direction, name, brokers, redis, fresh, tmp_path)
    total = _sweep(pair, dice, rounds)
    counts(rounds=rounds, allocations=total, lost=0, duplicates=pair.assert_kept(),
           **{"exit 0": pair.endings.get(0, 0), "exit 1": pair.endings.get(1, 0)})


@pytest.mark.long
def test_allocations_of_rabbitmq_c_fail(brokers, redis, fresh, tmp_path, dice, counts):
    pair = _pair("to", "rabbitmq", brokers, redis, fresh, tmp_path)
    total = _sweep(pair, dice, 200, "librabbitmq")
    counts(rounds=200, allocations=total, lost=0, duplicates=pair.assert_kept())


@pytest.mark.long
def test_allocations_fail_effectively_once(brokers, redis, fresh, tmp_path, dice, counts):
    pair = Harassed(RedisSide(redis), brokers.side("kafka"), redis, fresh, tmp_path,
                    delivery="effectively-once")
    total = _sweep(pair, dice, 100)
    duplicates = pair.assert_kept()
    counts(rounds=100, allocations=total, lost=0, duplicates=duplicates,
           **{"exit 0": pair.endings.get(0, 0), "exit 1": pair.endings.get(1, 0)})
    assert duplicates == 0


def _side(name, brokers, redis):
    return RedisSide(redis) if name == "redis" else brokers.side(name)


def _fail(pair, at, objects):
    """A run in which the n-th allocation fails, of ours or of these libraries. The library's own
    losses are its own matter."""
    pair.put(MESSAGES)
    return pair.run(LD_PRELOAD=preload("fail_malloc.so"), MBRIDGE_FAIL_AT=str(at),
                    MBRIDGE_FAIL_OBJECTS=objects, LSAN_OPTIONS=f"suppressions={LEAKS}")


def _whole_run(names, brokers, redis, fresh, workdir):
    """A pair, and how many allocations a run of it asks for, from its opening to its end."""
    pair = Harassed(*(_side(name, brokers, redis) for name in names), redis, fresh, workdir)
    began = time.monotonic()
    _, report = _fail(pair, 0, PAIRS[names])
    return pair, int(report.split()[0]), time.monotonic() - began


def test_an_allocation_of_some_pair_fails(brokers, redis, fresh, tmp_path, dice, counts):
    names = dice.choice(list(PAIRS))
    pair, total, _ = _whole_run(names, brokers, redis, fresh, tmp_path)
    for _ in range(2):
        _fail(pair, dice.randrange(1, total + 1), PAIRS[names])
    counts(pair="-".join(names), allocations=total, lost=0, duplicates=pair.assert_kept())


@pytest.mark.long
@pytest.mark.parametrize("names", PAIRS, ids="-".join)
def test_each_allocation_fails(names, brokers, redis, fresh, tmp_path, dice, counts):
    """The n-th one of a run fails, for each n, or for each k-th where that would take too long."""
    pair, total, seconds = _whole_run(names, brokers, redis, fresh, tmp_path)
    stride = int(total * seconds / SWEEP_S) + 1
    first = dice.randrange(1, stride + 1)
    places = list(range(first, total + 1, stride))
    end = time.monotonic() + 2 * SWEEP_S
    for number, at in enumerate(places, 1):
        _fail(pair, at, PAIRS[names])
        if number % LOOK_EVERY == 0:
            pair.assert_kept()
        if time.monotonic() > end:  # slower than the first run said
            places = places[:number]
            break
    counts(pair="-".join(names), allocations=total, **{
        "failed": f"{len(places)}: {first}, {first + stride}, …, {places[-1]}", "lost": 0},
        duplicates=pair.assert_kept(), **{"exit 0": pair.endings.get(0, 0),
                                          "exit 1": pair.endings.get(1, 0)})
