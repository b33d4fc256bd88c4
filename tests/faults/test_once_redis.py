# SPDX-License-Identifier: Apache-2.0
"""Effectively once into Redis: an entry and its position are stored by one script."""

import pytest
from brokers import RedisBroker

from support.bridge import Bridge
from support.config import config
from support.pair import columns, sizes
from support.redis_side import RedisSide
from support.route import Route, kill_rounds, stop_and_judge, wait_arrived, zombie_rounds
from support.sides import KafkaSide, RabbitSide
from support.wait import until

ONCE = {"delivery": "effectively-once"}
# A server's own name changes when it is started anew: the endpoint has one that stays.
LASTING = {"identity": "shop"}


def _route(source, sink, fresh, tmp_path, dice, ending, rate=4000, **more):
    changed = {"a": LASTING} if source.platform == "redis" else {}
    route = ending(Route(source, sink, fresh, tmp_path, dice, rate=rate, endpoints=changed,
                         **{**ONCE, **more}))
    return route, ending(route.bridge())


@pytest.fixture
def source_of(kafka3, redis, request):
    def find(name):
        if name == "stream":
            return RabbitSide(request.getfixturevalue("rabbit"), **{"x-queue-type": "stream"})
        return KafkaSide(kafka3) if name == "kafka" else RedisSide(redis)
    return find


def _judged(route, bridge, counts, **more):
    verdict = stop_and_judge(route, bridge)
    counts(**more, **columns(verdict))
    verdict.assert_kept(duplicates_max=0)


@pytest.mark.parametrize("rounds, each", sizes((3, 1000), (50, 3000)))
@pytest.mark.parametrize("source", ["kafka", "redis",
                                    pytest.param("stream", marks=pytest.mark.long)])
def test_killed_under_load(source, rounds, each, source_of, redis, fresh, tmp_path, dice, ending,
                           counts):
    ends = {"from": {"start": "earliest"}} if source == "stream" else None
    route, bridge = _route(source_of(source), RedisSide(redis), fresh, tmp_path, dice, ending,
                           ends=ends)
    route.feeder.start()
    bridge.start()
    kill_rounds(route, bridge, rounds, each, dice)
    wait_arrived(route.stream, route.stream.arrived + each, bridge)
    _judged(route, bridge, counts, rounds=rounds)


@pytest.mark.long
@pytest.mark.parametrize("source", ["kafka", "redis"])
def test_over_a_zombie(source, source_of, redis, fresh, tmp_path, dice, ending, counts):
    """A process that stood still until another took over goes on with what it has in hand."""
    rounds = 5
    route, first = _route(source_of(source), RedisSide(redis), fresh, tmp_path, dice, ending,
                          rate=2000)
    second = ending(route.bridge("second"))
    route.feeder.start()
    first.start()
    zombie_rounds(route, first, second, rounds, dice)
    _judged(route, first, counts, rounds=rounds)


@pytest.mark.long
def test_partitions_change_hands(kafka3, redis, fresh, tmp_path, dice, ending, counts):
    """Two processes share a topic, and one or the other is killed or stopped: what both have in
    hand of a partition meets in the same stream."""
    rounds = 6
    route, first = _route(KafkaSide(kafka3), RedisSide(redis), fresh, tmp_path, dice, ending,
                          rate=2000, lanes=2)
    second = ending(route.bridge("second"))
    route.feeder.start()
    first.start()
    second.start()
    wait_arrived(route.stream, 500, first)
    for number in range(rounds):
        wait_arrived(route.stream, route.stream.arrived + dice.randrange(1000, 3000), first)
        route.stream.fault()
        if number % 2:
            first.run.kill()
        else:
            first.run.terminate()
        first.start()
        first, second = second, first
    _judged(route, first, counts, rounds=rounds)


@pytest.fixture
def small(tmp_path):
    server = RedisBroker(tmp_path, config={"maxmemory-policy": "noeviction"})
    server.start()
    yield server
    server.close()


@pytest.mark.parametrize("rounds", [pytest.param(12, id="short"),
                                    pytest.param(300, id="full", marks=pytest.mark.long)])
def test_refused_in_the_middle(rounds, kafka3, small, fresh, tmp_path, dice, ending, counts):
    """Some are refused for memory while those behind them are on their way: what would be stored
    out of its turn would make a repeat of the ones before it. The script is forgotten, too."""
    route, bridge = _route(KafkaSide(kafka3), RedisSide(small), fresh, tmp_path, dice, ending,
                           rate=12_000, retry={"initial": "10ms", "max": "50ms"})
    route.feeder.start()
    bridge.start()
    wait_arrived(route.stream, 1000, bridge)
    for number in range(rounds):
        small.call("CONFIG", "SET", "maxmemory", "1")
        until(lambda: int(_stat(small, "errorstat_OOM")) > number, 10, "something is refused",
              interval=0.0005)
        small.call("CONFIG", "SET", "maxmemory", "0")
        if number % 4 == 0:
            small.call("SCRIPT", "FLUSH")
        wait_arrived(route.stream, route.stream.arrived + 200, bridge)
    assert int(_stat(small, "errorstat_MBRIDGEGAP")) > 0, "nothing was behind what was refused"
    assert int(_stat(small, "errorstat_NOSCRIPT")) > 0
    _judged(route, bridge, counts, rounds=rounds)


def _stat(server, name):
    """How often a server has answered with that error."""
    for line in server.call("INFO", "errorstats").splitlines():
        if line.startswith(f"{name}:count="):
            return line.split("=")[1]
    return 0


@pytest.mark.parametrize("rounds", [pytest.param(2, id="short"),
                                    pytest.param(30, id="full", marks=pytest.mark.long)])
def test_server_killed_under_load(rounds, kafka3, small, fresh, tmp_path, dice, ending, counts):
    """appendfsync always: an entry and its position are there after kill -9, or neither is."""
    route, bridge = _route(KafkaSide(kafka3), RedisSide(small), fresh, tmp_path, dice, ending)
    route.feeder.start()
    bridge.start()
    for _ in range(rounds):
        wait_arrived(route.stream, route.stream.arrived + dice.randrange(300, 1500), bridge)
        route.stream.fault()
        small.kill()
        small.restart_after_kill()
    wait_arrived(route.stream, route.stream.arrived + 500, bridge)
    _judged(route, bridge, counts, rounds=rounds)


def _bodies(redis, stream):
    return [int(flat[flat.index("body") + 1])
            for _, flat in redis.call("XRANGE", stream, "-", "+")]


def test_one_stream_of_the_wrong_type(redis, fresh, tmp_path, ending):
    """What a message chose and cannot have is its own fault; the streams of others go on."""
    source, sink, dead = fresh("from"), fresh("to"), fresh("dead")
    redis.call("SET", f"{sink}.bad", "no stream")
    for number in range(300):
        redis.call("XADD", source, "*", "kind", "bad" if number % 3 == 0 else "good", "body",
                   number)
    here = {"backend": "redis", "uri": redis.uri}
    bridge = ending(Bridge(tmp_path, config(
        fresh("bridge"), {"a": {**here, **LASTING}, "b": here},
        [{"name": "sort", "from": {"endpoint": "a", "stream": source},
          "to": {"endpoint": "b", "stream": f"{sink}.${{header.kind}}"},
          "dead_letter": {"endpoint": "b", "stream": dead}, **ONCE}])))
    bridge.start()
    until(lambda: redis.call("XLEN", dead) == 100 and redis.call("XLEN", f"{sink}.good") == 200,
          20, "all have arrived", detail=bridge.run.tail)
    assert bridge.run.terminate() == 0
    assert _bodies(redis, dead) == [number for number in range(300) if number % 3 == 0]
    assert _bodies(redis, f"{sink}.good") == [number for number in range(300) if number % 3]


def test_a_dead_letter_goes_first(redis, small, fresh, tmp_path, ending):
    """What is stored says that all before it is done with, so nothing is until the dead letter of
    what was rejected is: or that would be taken for a repeat after a crash, and be nowhere."""
    source, sink, dead = fresh("from"), fresh("to"), fresh("dead")
    redis.call("XADD", source, "*", "body", 1)
    redis.call("XADD", source, "*", "body", 2, *(word for n in range(4000) for word in (n, n)))
    redis.call("XADD", source, "*", "body", 3)
    small.call("XADD", dead, "*", "body", 0)
    small.call("ACL", "SETUSER", "default", "-xadd")
    here = {"backend": "redis", "uri": redis.uri}
    bridge = ending(Bridge(tmp_path, config(
        fresh("bridge"), {"a": {**here, **LASTING}, "b": here,
                          "d": {"backend": "redis", "uri": small.uri}},
        [{"name": "first", "from": {"endpoint": "a", "stream": source},
          "to": {"endpoint": "b", "stream": sink}, "dead_letter": {"endpoint": "d", "stream": dead},
          **ONCE}])))
    bridge.start()
    bridge.run.wait_logged("dead letter", "forbidden")
    until(lambda: _bodies(redis, sink), 10, "the first arrives", detail=bridge.run.tail)
    assert _bodies(redis, sink) == [1]
    bridge.run.kill()
    bridge.start()
    bridge.run.wait_logged("dead letter", "forbidden")
    assert _bodies(redis, sink) == [1]
    small.call("ACL", "SETUSER", "default", "+xadd")
    until(lambda: redis.call("XLEN", sink) == 2, 20, "the rest arrives", detail=bridge.run.tail)
    assert bridge.run.terminate() == 0
    assert _bodies(redis, sink) == [1, 3] and small.call("XLEN", dead) == 2


def test_a_name_that_does_not_last(redis, fresh, tmp_path, ending):
    source, sink = fresh("from"), fresh("to")
    here = {"backend": "redis", "uri": redis.uri}
    redis.call("XADD", source, "*", "body", 1)
    for number, extra in enumerate(({}, LASTING)):
        bridge = ending(Bridge(tmp_path, config(
            fresh(f"bridge{number}"), {"a": {**here, **extra}, "b": here},
            [{"name": "named", "from": {"endpoint": "a", "stream": source},
              "to": {"endpoint": "b", "stream": sink}, **ONCE}])))
        bridge.start()
        until(lambda: redis.call("XLEN", sink) == number + 1, 20, "it arrives",
              detail=bridge.run.tail)
        assert bridge.run.terminate() == 0
        assert bool(bridge.run.logged("called otherwise", "identity")) == (not extra)


def test_set_back_too_far(redis, fresh, tmp_path, ending):
    """A source that was created anew has positions that were stored before: after as many as a route
    could have had open it blocks and says so, until the position is deleted."""
    source, sink = fresh("from"), fresh("to")
    here = {"backend": "redis", "uri": redis.uri}
    name = fresh("bridge")
    field, key = f"redis:4:shop:-1:{source}", f"mbridge:positions:{{{sink}}}:mbridge.{name}.again"
    redis.call("HSET", key, field, f"{1 << 40:020}-{0:020}")
    redis.call("EVAL", "for i = 1, 12000 do redis.call('XADD', KEYS[1], i .. '-0', 'body', i) end",
               1, source)
    bridge = ending(Bridge(tmp_path, config(
        name, {"a": {**here, **LASTING}, "b": here},
        [{"name": "again", "from": {"endpoint": "a", "stream": source},
          "to": {"endpoint": "b", "stream": sink}, **ONCE}])))
    bridge.start()
    bridge.run.wait_logged("created anew", "HDEL", key, field)
    assert redis.call("XLEN", sink) == 0
    assert redis.call("HDEL", key, field) == 1
    until(lambda: redis.call("XLEN", sink) == 2000, 20, "the rest arrives", detail=bridge.run.tail)
    assert bridge.run.terminate() == 0
