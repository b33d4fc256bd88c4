# SPDX-License-Identifier: Apache-2.0
"""Entries that go to Redis in transactions: under load alone, and nothing lost where the server
takes none, or takes one not."""

import pytest
from brokers import RedisBroker
from brokers.redis_broker import RedisCluster

from support.bridge import Bridge
from support.config import config
from support.redis_side import client
from support.wait import until

COUNT = 20_000
BODY = "x" * 250


def _fill(broker, stream, count=COUNT, **fields):
    with client(broker.uri) as server:
        for first in range(0, count, 1000):
            with server.pipeline(transaction=False) as pipe:
                for number in range(first, min(first + 1000, count)):
                    pipe.execute_command("XADD", stream, "*", "body", f"{number:06d}{BODY}", *(
                        word for name, of in fields.items() for word in (name, of(number))))
                pipe.execute()


def _numbers(node, stream):
    with client(node.uri) as server:
        return [int(fields[b"body"][:6]) for _, fields in server.xrange(stream)]


def _last_of_each(numbers):
    """In the order that is promised where a sink refuses something of what is under way."""
    return list(dict.fromkeys(reversed(numbers)))[::-1]


def _calls(broker, command):
    """How often it was executed; refused ones are none."""
    return sum(int(line.partition("calls=")[2].partition(",")[0])
               for line in broker.call("INFO", "commandstats").splitlines()
               if line.startswith(f"cmdstat_{command}:"))


def _route(source_broker, fresh, workdir, ending, endpoint, route=None, **sink):
    source = fresh("source")
    bridge = ending(Bridge(workdir, config(
        fresh("bridge"), {"r": _to(source_broker), "d": endpoint},
        [{"name": "in", "from": {"endpoint": "r", "stream": source},
          "to": {"endpoint": "d", **sink}, **(route or {})}])))
    bridge.source = source
    return bridge


@pytest.fixture
def target(tmp_path):
    with RedisBroker(tmp_path, config={"maxmemory-policy": "noeviction"}) as broker:
        yield broker


def _to(broker, **more):
    return {"backend": "redis", "uri": broker.uri, **more}


def _drained(bridge, count=COUNT, seconds=60):
    until(lambda: bridge.run.counters().total("delivered") >= count, seconds, f"{count} arrive",
          detail=bridge.run.tail)


def test_a_backlog_goes_in_transactions(redis, target, fresh, tmp_path, ending):
    stream = fresh("sink")
    bridge = _route(redis, fresh, tmp_path, ending, _to(target), stream=stream)
    _fill(redis, bridge.source)
    bridge.start()
    bridge.ready()
    _drained(bridge)
    assert COUNT / 500 <= _calls(target, "multi") <= COUNT / 100
    assert _calls(target, "exec") == _calls(target, "multi")
    assert _numbers(target, stream) == list(range(COUNT))


def test_what_comes_one_by_one_goes_so(redis, target, fresh, tmp_path, ending):
    bridge = _route(redis, fresh, tmp_path, ending, _to(target), stream=fresh("sink"))
    bridge.start()
    bridge.ready()
    for number in range(100):
        redis.call("XADD", bridge.source, "*", "body", number)
    _drained(bridge, 100)
    assert _calls(target, "multi") == 0 and _calls(target, "xadd") == 100


def test_none_by_choice(redis, target, fresh, tmp_path, ending):
    stream = fresh("sink")
    bridge = _route(redis, fresh, tmp_path, ending, _to(target), stream=stream, batch=1)
    _fill(redis, bridge.source)
    bridge.start()
    bridge.ready()
    _drained(bridge)
    assert _calls(target, "multi") == 0
    assert _numbers(target, stream) == list(range(COUNT))


@pytest.mark.parametrize("forbidden", ["multi", "exec"])
def test_a_user_who_may_not_have_any(forbidden, redis, target, fresh, tmp_path, ending):
    """What MULTI was to hold is done at once; what EXEC was to do, by itself."""
    target.call("ACL", "SETUSER", "fred", "reset", "on", ">secret", "~*", "+@all", f"-{forbidden}")
    uri = f"redis://fred:secret@127.0.0.1:{target.port}/0"
    stream = fresh("sink")
    bridge = _route(redis, fresh, tmp_path, ending, {"backend": "redis", "uri": uri},
                    stream=stream)
    _fill(redis, bridge.source)
    bridge.start()
    bridge.ready()
    _drained(bridge)
    assert _numbers(target, stream) == list(range(COUNT))
    assert _calls(target, forbidden) == 0 and _calls(target, "multi") < 10
    assert not any("refused" in line for line in bridge.run.log), bridge.run.tail()


def test_full_memory_in_the_middle(redis, target, fresh, tmp_path, ending):
    """The server takes no transaction any more; each entry is refused by itself, and waited for."""
    stream = fresh("sink")
    bridge = _route(redis, fresh, tmp_path, ending, _to(target), stream=stream)
    _fill(redis, bridge.source)
    used = int(target.call("INFO", "memory").partition("used_memory:")[2].split()[0])
    target.call("CONFIG", "SET", "maxmemory", str(used + (3 << 20)))
    bridge.start()
    bridge.ready()
    bridge.run.wait_logged("OOM")
    there = target.call("XLEN", stream)
    assert 0 < there < COUNT
    target.call("CONFIG", "SET", "maxmemory", "0")
    _drained(bridge)
    until(lambda: bridge.run.counters().total("in_flight") == 0, 10, "nothing is under way")
    assert _last_of_each(_numbers(target, stream)) == list(range(COUNT))
    assert bridge.run.counters().conserved()


def test_some_streams_of_many_are_forbidden(redis, target, fresh, tmp_path, ending):
    """One entry that is not allowed takes its transaction along; the others arrive, once mended."""
    prefix = fresh("t")
    target.call("ACL", "SETUSER", "fred", "reset", "on", ">secret", f"~{prefix}.[0-8]", "+@all")
    uri = f"redis://fred:secret@127.0.0.1:{target.port}/0"
    bridge = _route(redis, fresh, tmp_path, ending, {"backend": "redis", "uri": uri},
                    stream=prefix + ".${header.to}")
    _fill(redis, bridge.source, to=lambda number: number % 10)
    bridge.start()
    bridge.ready()
    bridge.run.wait_logged("NOPERM")
    target.call("ACL", "SETUSER", "fred", f"~{prefix}.*")
    _drained(bridge)
    for end in range(10):
        # What was sent behind the transaction, and was stored at once, has come again behind it.
        numbers = _last_of_each(_numbers(target, f"{prefix}.{end}"))
        assert numbers == list(range(end, COUNT, 10))


def test_another_type_within_a_transaction(redis, target, fresh, tmp_path, ending):
    """What EXEC refuses of it is that message's matter alone."""
    prefix, dead = fresh("t"), fresh("dead")
    bridge = _route(redis, fresh, tmp_path, ending, _to(target), stream=prefix + ".${header.to}",
                    route={"dead_letter": {"endpoint": "d", "stream": dead}})
    target.call("SET", f"{prefix}.9", "a string")
    _fill(redis, bridge.source, to=lambda number: number % 10)
    bridge.start()
    bridge.ready()
    until(lambda: target.call("XLEN", dead) == COUNT // 10, 60, "one of ten is dead",
          detail=bridge.run.tail)
    until(lambda: bridge.run.counters().total("in_flight") == 0, 10, "nothing is under way")
    for end in range(9):
        assert _numbers(target, f"{prefix}.{end}") == list(range(end, COUNT, 10))


@pytest.mark.parametrize("delivery, again_max", [("at-least-once", 3 * 10_000),
                                                 ("effectively-once", 0)])
def test_killed_in_the_middle(delivery, again_max, redis, fresh, tmp_path, dice, ending):
    """The server, kill -9, in the middle of transactions: the whole of one, or nothing."""
    stream = fresh("sink")
    with RedisBroker(tmp_path) as target:
        bridge = _route(redis, fresh, tmp_path, ending, _to(target), stream=stream,
                        route={"delivery": delivery})
        _fill(redis, bridge.source, 5 * COUNT)
        bridge.start()
        bridge.ready()
        for _ in range(3):
            goal = (target.call("XLEN", stream) or 0) + dice.randrange(1000, COUNT)
            until(lambda: target.call("XLEN", stream) >= goal, 30, f"{goal} arrive",
                  interval=0.005, detail=bridge.run.tail)
            target.kill()
            target.restart_after_kill()
        _drained(bridge, 5 * COUNT)
        until(lambda: bridge.run.counters().total("in_flight") == 0, 10, "nothing is under way")
        numbers = _numbers(target, stream)
        assert list(dict.fromkeys(numbers)) == list(range(5 * COUNT))
        assert len(numbers) - 5 * COUNT <= again_max
        assert _calls(target, "exec") > 20


def test_a_slot_moves_under_a_backlog(redis, fresh, tmp_path, ending):
    stream = fresh("sink")
    with RedisCluster(tmp_path) as cluster:
        bridge = _route(redis, fresh, tmp_path, ending,
                        {"backend": "redis", "uri": cluster.uri, "cluster": True}, stream=stream)
        _fill(redis, bridge.source, 5 * COUNT)
        bridge.start()
        bridge.ready()
        slot = cluster.slot(stream)
        for _ in range(2):
            source = cluster.owner(slot)
            there = source.call("XLEN", stream)
            until(lambda: source.call("XLEN", stream) >= there + COUNT // 2, 30, "some arrive",
                  interval=0.005, detail=bridge.run.tail)
            target = next(node for node in cluster.masters() if node.port != source.port)
            cluster.migrate(slot, target)
        _drained(bridge, 5 * COUNT)
        until(lambda: bridge.run.counters().total("in_flight") == 0, 10, "nothing is under way")
        numbers = _numbers(cluster.owner(slot), stream)
        assert list(dict.fromkeys(numbers)) == list(range(5 * COUNT))
        assert sum(_calls(node, "exec") for node in cluster.masters()) > 20
