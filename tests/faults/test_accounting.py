# SPDX-License-Identifier: Apache-2.0
"""received = delivered + dead-lettered + filtered + released + expired + in flight, at any time.

The bridge checks its own books when a lane has closed (tests/unit/test_counters.c plants miscounts);
here they are read from outside, while sources and sinks come and go."""

import pytest
from brokers import RedisBroker

from support.bridge import Bridge
from support.config import Raw, config
from support.redis_side import client
from support.wait import until

MESSAGES = 3000
MISCOUNT = "do not account for every message"


def put(broker, stream, number):
    """Every third one is filtered, every fifth one of the others rejected."""
    with client(broker.uri) as server:
        pipeline = server.pipeline(transaction=False)
        for count in range(number):
            fields = {"body": b"%d" % count}
            if count % 3 != 0:
                fields["kept"] = "yes"
            if count % 5 != 0:
                fields["right"] = "yes"
            pipeline.execute_command("XADD", stream, "*",
                                     *(part for pair in fields.items() for part in pair))
        pipeline.execute()


def expected(number):
    filtered = sum(count % 3 == 0 for count in range(number))
    dead = sum(count % 3 != 0 and count % 5 == 0 for count in range(number))
    return filtered, dead, number - filtered - dead


STEPS = Raw('( { step = "filter"; header = "kept"; }, '
            '{ step = "require-header"; header = "right"; } )')


@pytest.fixture
def own_redis(tmp_path):
    """A server that may be killed; what it has answered is on its disk."""
    broker = RedisBroker(tmp_path / "own")
    broker.start()
    yield broker
    broker.close()


def routes(fresh, **more):
    return [{"name": "books", "from": {"endpoint": "a", "stream": fresh("from")},
             "to": ({"endpoint": "b", "stream": fresh("one")},
                    {"endpoint": "b", "stream": fresh("two")}),
             "dead_letter": {"endpoint": "b", "stream": fresh("dead")},
             "retry": {"initial": "20ms", "max": "100ms"}, "steps": STEPS,
             "window": {"messages": 200}, "rate": {"messages": 1500}, **more}]


def watched(bridge, condition, seconds, seen):
    """Reads the counters again and again until the condition; each time they balance."""
    def look():
        counters = bridge.run.counters()
        assert counters.conserved(), counters
        seen.append(counters["routes"]["books"])
        return condition(seen[-1])
    until(look, seconds, "the counters come so far", interval=0.005, detail=bridge.run.tail)


def test_books_balance_while_the_source_dies_under_load(redis, own_redis, fresh, tmp_path, ending,
                                                       counts):
    """What was under way when the connection went is released, and received once more."""
    filtered, dead, delivered = expected(MESSAGES)
    route = routes(fresh)
    bridge = ending(Bridge(tmp_path, config(
        fresh("bridge"), {"a": {"backend": "redis", "uri": own_redis.uri},
                          "b": {"backend": "redis", "uri": redis.uri}}, route)))
    put(own_redis, route[0]["from"]["stream"], MESSAGES)
    bridge.start()
    bridge.ready()
    seen = []
    for part in (1, 2):
        watched(bridge, lambda now: now["received"] >= part * MESSAGES // 4, 20, seen)
        own_redis.kill()
        own_redis.restart_after_kill()
    watched(bridge, lambda now: now["in_flight"] == 0 and now["filtered"] >= filtered
            and now["dead_lettered"] >= dead and now["delivered"] >= delivered, 30, seen)
    assert bridge.run.terminate() == 0
    last = bridge.run.last_counters()
    assert last.conserved() and last.total("in_flight") == 0
    assert bridge.run.logged(MISCOUNT) is None
    now = last["routes"]["books"]
    assert now["filtered"] == now["filtered_by"]["step"]
    # What comes again comes as a whole: beyond the messages there are only those.
    again = now["received"] - now["released"] - MESSAGES
    assert 0 <= again <= 2 * 200, now
    counts(readings=len(seen), received=now["received"], delivered=now["delivered"],
           released=now["released"])
    assert len(seen) > 20 and any(one["in_flight"] > 0 for one in seen)


def test_books_balance_where_sinks_read_apart(redis, fresh, tmp_path, ending):
    """Each sink has books of its own; they are checked by themselves, and together."""
    route = routes(fresh, isolate_sinks=True)
    route[0].pop("dead_letter"), route[0].pop("steps")
    bridge = ending(Bridge(tmp_path, config(
        fresh("bridge"), {"a": {"backend": "redis", "uri": redis.uri},
                          "b": {"backend": "redis", "uri": redis.uri}}, route)))
    put(redis, route[0]["from"]["stream"], 1000)
    bridge.start()
    bridge.ready()
    seen = []
    watched(bridge, lambda now: now["delivered"] == 2000, 30, seen)
    assert bridge.run.terminate() == 0
    last = bridge.run.last_counters()
    assert last.conserved() and bridge.run.logged(MISCOUNT) is None
    assert [sink["delivered"] for sink in last["routes"]["books"]["sinks"]] == [1000, 1000]


def test_a_stop_that_leaves_something_open_says_how_much(redis, own_redis, fresh, tmp_path, ending):
    """The sink's server is silent: nothing is confirmed, all of it is given back."""
    route = routes(fresh, rate={"messages": 100_000})
    bridge = ending(Bridge(tmp_path, config(
        fresh("bridge"), {"a": {"backend": "redis", "uri": redis.uri},
                          "b": {"backend": "redis", "uri": own_redis.uri}}, route,
        stop_timeout="1s")))
    put(redis, route[0]["from"]["stream"], 1)
    bridge.start()
    bridge.run.wait_logged("connected", "source")
    own_redis.pause()
    try:
        put(redis, route[0]["from"]["stream"], 500)
        seen = []
        watched(bridge, lambda now: now["in_flight"] >= 50, 20, seen)
        assert bridge.run.terminate() == 1
    finally:
        own_redis.resume()
    last = bridge.run.last_counters()
    assert last.conserved() and last.total("in_flight") == 0, last
    assert last.total("released") > 0 and last.total("delivered") == 0
    assert bridge.run.logged("stopped before all that was sent was confirmed")
    assert bridge.run.logged(MISCOUNT) is None
