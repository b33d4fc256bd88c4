# SPDX-License-Identifier: Apache-2.0
"""A cluster whose slots and masters move, and masters that Sentinel replaces."""

import pytest
from brokers.redis_broker import RedisCluster, RedisSentinels

from support.bridge import Bridge
from support.config import config
from support.wait import until

COUNT = 300


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with RedisCluster(tmp_path_factory.mktemp("cluster")) as fleet:
        yield fleet


@pytest.fixture
def sentinels(tmp_path):
    with RedisSentinels(tmp_path) as fleet:
        yield fleet


def _in_cluster(cluster, stream, command, *words):
    return cluster.owner(cluster.slot(stream)).call(command, stream, *words)


def _bodies(entries):
    return [dict(zip(flat[::2], flat[1::2])).get("body") for _, flat in entries]


def _numbers(cluster, stream):
    return [int(body) for body in _bodies(_in_cluster(cluster, stream, "XRANGE", "-", "+"))]


def _first_of_each(numbers):
    return list(dict.fromkeys(numbers))


def _to_cluster(cluster, redis, fresh, workdir, ending, stream=None, **sink):
    source, stream = fresh("source"), stream or fresh("stream")
    bridge = ending(Bridge(workdir, config(
        fresh("bridge"), {"r": {"backend": "redis", "uri": redis.uri},
                          "c": {"backend": "redis", "uri": cluster.uri, "cluster": True}},
        [{"name": "in", "from": {"endpoint": "r", "stream": source},
          "to": {"endpoint": "c", "stream": stream, **sink}}])))
    bridge.source, bridge.stream = source, stream
    return bridge


def _from_cluster(cluster, redis, fresh, workdir, ending, **source):
    sink = fresh("sink")
    bridge = ending(Bridge(workdir, config(
        fresh("bridge"), {"r": {"backend": "redis", "uri": redis.uri},
                          "c": {"backend": "redis", "uri": cluster.uri, "cluster": True}},
        [{"name": "out", "from": {"endpoint": "c", **source},
          "to": {"endpoint": "r", "stream": sink}}])))
    bridge.sink = sink
    return bridge


def _other_master(cluster, stream):
    owner = cluster.owner(cluster.slot(stream))
    return next(node for node in cluster.masters() if node.port != owner.port)


def test_each_stream_goes_to_its_node(cluster, redis, fresh, tmp_path, ending):
    """A templated destination: streams on all masters, over one sink."""
    prefix = fresh("spread")
    bridge = _to_cluster(cluster, redis, fresh, tmp_path, ending, prefix + ".${header.to}")
    bridge.start()
    for number in range(COUNT):
        redis.call("XADD", bridge.source, "*", "body", number, "to", number % 20)
    names = [f"{prefix}.{number}" for number in range(20)]
    assert len({cluster.owner(cluster.slot(name)).port for name in names}) == 3

    def all_there():
        return sum(_in_cluster(cluster, name, "XLEN") for name in names) == COUNT
    until(all_there, 60, "all arrive", detail=bridge.run.tail)
    for number, name in enumerate(names):
        assert _numbers(cluster, name) == list(range(number, COUNT, 20))


def test_streams_of_several_nodes_are_read(cluster, redis, fresh, tmp_path, ending):
    prefix = fresh("gather")
    names = [f"{prefix}.{number}" for number in range(12)]
    for number, name in enumerate(names):
        _in_cluster(cluster, name, "XADD", "*", "body", number)
    bridge = _from_cluster(cluster, redis, fresh, tmp_path, ending, streams=[f"{prefix}.*"])
    bridge.start()
    until(lambda: redis.call("XLEN", bridge.sink) == 12, 60, "all arrive", detail=bridge.run.tail)
    _in_cluster(cluster, names[3], "XADD", "*", "body", "late")
    until(lambda: redis.call("XLEN", bridge.sink) == 13, 30, "the late one arrives",
          detail=bridge.run.tail)


def test_a_slot_moves_under_the_sink(cluster, redis, fresh, tmp_path, ending):
    """MOVED and ASK are followed: nothing is lost, doubled, or out of order."""
    bridge = _to_cluster(cluster, redis, fresh, tmp_path, ending)
    bridge.start()
    sent = 0

    def send(number):
        nonlocal sent
        for _ in range(number):
            redis.call("XADD", bridge.source, "*", "body", sent)
            sent += 1
    send(COUNT)
    slot = cluster.slot(bridge.stream)
    until(lambda: _in_cluster(cluster, bridge.stream, "XLEN") == sent, 60, "the first arrive",
          detail=bridge.run.tail)
    for _ in range(2):
        target = _other_master(cluster, bridge.stream)
        # The old owner has lost the key, and says ASK until the slot is given away.
        source = cluster.owner(slot)
        ids = source.call("CLUSTER", "MYID"), target.call("CLUSTER", "MYID")
        target.call("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[0])
        source.call("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[1])
        source.call("MIGRATE", "127.0.0.1", target.port, bridge.stream, 0, 10000)
        send(COUNT)
        until(lambda: bridge.run.counters().total("delivered") == sent, 60, "asked for",
              detail=bridge.run.tail)
        for node in [target, source, *cluster.masters()]:
            node.call("CLUSTER", "SETSLOT", slot, "NODE", ids[1])
        send(COUNT)
        until(lambda: bridge.run.counters().total("delivered") == sent, 60, "moved to",
              detail=bridge.run.tail)
    assert _numbers(cluster, bridge.stream) == list(range(sent))
    assert bridge.run.counters().conserved()


def test_a_slot_moves_under_the_source(cluster, redis, fresh, tmp_path, ending):
    stream = fresh("stream")
    _in_cluster(cluster, stream, "XADD", "*", "body", 0)
    bridge = _from_cluster(cluster, redis, fresh, tmp_path, ending, stream=stream)
    bridge.start()
    sent = 1
    for _ in range(2):
        until(lambda: redis.call("XLEN", bridge.sink) >= sent, 60, "all arrive",
              detail=bridge.run.tail)
        cluster.migrate(cluster.slot(stream), _other_master(cluster, stream))
        for number in range(sent, sent + 50):
            _in_cluster(cluster, stream, "XADD", "*", "body", number)
        sent += 50

    def arrived():
        return _first_of_each(int(body) for body in _bodies(
            redis.call("XRANGE", bridge.sink, "-", "+")))
    until(lambda: len(arrived()) == sent, 60, "all arrive", detail=bridge.run.tail)
    assert arrived() == list(range(sent))


@pytest.mark.parametrize("direction", ["in", "out"])
def test_a_master_dies(direction, tmp_path, redis, fresh, ending):
    """kill -9 of the master that has the stream: its replica takes over, the bridge follows."""
    with RedisCluster(tmp_path / "cluster") as cluster:
        stream = fresh("stream")
        _in_cluster(cluster, stream, "XADD", "*", "body", 0)
        if direction == "in":
            bridge = _to_cluster(cluster, redis, fresh, tmp_path, ending, stream, wait_replicas=1)
        else:
            bridge = _from_cluster(cluster, redis, fresh, tmp_path, ending, stream=stream)
        bridge.start()

        def put(first, last):
            for number in range(first, last):
                if direction == "in":
                    redis.call("XADD", bridge.source, "*", "body", number)
                else:
                    node = cluster.owner(cluster.slot(stream))
                    node.call("XADD", stream, "*", "body", number)
                    node.call("WAIT", 1, 5000)

        def arrived():
            if direction == "in":
                return _first_of_each(_numbers(cluster, stream))
            return _first_of_each(int(body) for body in _bodies(
                redis.call("XRANGE", bridge.sink, "-", "+")))
        put(1, COUNT)
        until(lambda: len(arrived()) == COUNT, 60, "the first arrive", detail=bridge.run.tail)
        owner = cluster.owner(cluster.slot(stream))
        owner.kill()
        if direction == "in":
            put(COUNT, 2 * COUNT)
            owner_now = until(lambda: _replaced(cluster, stream, owner), 60, "a new master")
            # Without a replica WAIT would never end: the old one comes back as one.
            owner.restart_after_kill()
        else:
            owner_now = until(lambda: _replaced(cluster, stream, owner), 60, "a new master")
            owner.restart_after_kill()
            put(COUNT, 2 * COUNT)
        assert owner_now.port != owner.port
        until(lambda: len(arrived()) == 2 * COUNT, 90, "all arrive", detail=bridge.run.tail)
        assert arrived() == list(range(2 * COUNT))


def _replaced(cluster, stream, old):
    node = cluster.owner(cluster.slot(stream))
    return node if node.port != old.port else None


def test_a_member_needs_cluster(cluster, redis, fresh, tmp_path, ending):
    """Without cluster = true a redirection is told, not followed."""
    stream = fresh("stream")
    other = _other_master(cluster, stream)
    bridge = _to_cluster(cluster, redis, fresh, tmp_path, ending, stream)
    bridge.write(bridge.path.read_text().replace(cluster.uri, other.uri)
                 .replace("cluster = true;", ""))
    redis.call("XADD", bridge.source, "*", "body", 1)
    bridge.start()
    bridge.run.wait_logged("MOVED")


@pytest.mark.parametrize("direction", ["in", "out"])
def test_sentinel_replaces_the_master(direction, sentinels, redis, fresh, tmp_path, ending):
    plain, stream = fresh("plain"), fresh("stream")
    watched = {"backend": "redis", "sentinel": {"master": sentinels.master,
                                                "nodes": sentinels.nodes}}
    ends = [{"endpoint": "r", "stream": plain}, {"endpoint": "s", "stream": stream}]
    if direction == "out":
        ends.reverse()
    bridge = ending(Bridge(tmp_path, config(
        fresh("bridge"), {"r": {"backend": "redis", "uri": redis.uri}, "s": watched},
        [{"name": "watched", "from": ends[0], "to": ends[1]}])))
    bridge.start()

    def master():
        return sentinels.server(sentinels.master_port())

    def put(first, last):
        for number in range(first, last):
            if direction == "in":
                redis.call("XADD", plain, "*", "body", number)
            else:
                server = master()
                server.call("XADD", stream, "*", "body", number)
                server.call("WAIT", 1, 5000)

    def arrived():
        server, name = (master(), stream) if direction == "in" else (redis, plain)
        return _first_of_each(int(body) for body in _bodies(
            server.call("XRANGE", name, "-", "+")))
    put(0, COUNT)
    until(lambda: len(arrived()) == COUNT, 60, "the first arrive", detail=bridge.run.tail)
    old = master()
    until(lambda: old.call("WAIT", 1, 5000) == 1, 30, "the replica has all")
    old.kill()
    if direction == "in":
        put(COUNT, 2 * COUNT)
    new = sentinels.wait_master(old.port, seconds=60)
    if direction == "out":
        for number in range(COUNT, 2 * COUNT):
            new.call("XADD", stream, "*", "body", number)
    until(lambda: len(arrived()) == 2 * COUNT, 90, "all arrive", detail=bridge.run.tail)
    assert arrived() == list(range(2 * COUNT))
    assert bridge.run.running
