# SPDX-License-Identifier: Apache-2.0
"""Effectively once into a cluster: the position lies in its stream's slot, and moves with it."""

import pytest
from brokers.redis_broker import RedisCluster

from support.bridge import Bridge
from support.config import config
from support.wait import until

pytestmark = pytest.mark.long

COUNT = 20_000
RATE = 4000
ONCE = {"delivery": "effectively-once"}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with RedisCluster(tmp_path_factory.mktemp("cluster")) as fleet:
        yield fleet


def _numbers(cluster, stream):
    node = cluster.owner(cluster.slot(stream))
    return [int(flat[flat.index("body") + 1])
            for _, flat in node.call("XRANGE", stream, "-", "+", timeout=60)]


def _length(cluster, stream):
    return cluster.owner(cluster.slot(stream)).call("XLEN", stream)


def _filled(redis, fresh, count):
    stream = fresh("from")
    redis.call("EVAL", "for i = 0, ARGV[1] - 1 do redis.call('XADD', KEYS[1], '*', 'body', i) end",
               1, stream, count)
    return stream


def _bridge(cluster, redis, fresh, workdir, ending, source, stream, **sink):
    bridge = ending(Bridge(workdir, config(
        fresh("bridge"),
        {"r": {"backend": "redis", "uri": redis.uri, "identity": "shop"},
         "c": {"backend": "redis", "uri": cluster.uri, "cluster": True}},
        [{"name": "in", "from": {"endpoint": "r", "stream": source},
          "to": {"endpoint": "c", "stream": stream, **sink}, "rate": {"messages": RATE},
          **ONCE}])))
    bridge.start()
    return bridge


def _reaches(cluster, bridge, stream, count):
    until(lambda: _length(cluster, stream) >= count, 120, f"{count} have arrived",
          detail=bridge.run.tail)


def test_slots_move(cluster, redis, fresh, tmp_path, ending):
    """One key after the other: in between neither node has both, and nothing is stored."""
    stream = fresh("to")
    bridge = _bridge(cluster, redis, fresh, tmp_path, ending, _filled(redis, fresh, COUNT), stream)
    slot = cluster.slot(stream)
    for number in range(1, 5):
        _reaches(cluster, bridge, stream, number * COUNT // 8)
        owner = cluster.owner(slot)
        target = next(node for node in cluster.masters() if node.port != owner.port)
        cluster.migrate(slot, target, pause=0.2)
    _reaches(cluster, bridge, stream, COUNT)
    assert bridge.run.terminate() == 0
    assert _numbers(cluster, stream) == list(range(COUNT))


def test_a_master_dies(tmp_path, redis, fresh, ending):
    """With wait_replicas what was confirmed is at the replica that takes over, and its position."""
    with RedisCluster(tmp_path / "cluster") as cluster:
        stream = fresh("to")
        bridge = _bridge(cluster, redis, fresh, tmp_path, ending, _filled(redis, fresh, COUNT),
                         stream, wait_replicas=1)
        for number in range(1, 3):
            _reaches(cluster, bridge, stream, number * COUNT // 4)
            owner = cluster.owner(cluster.slot(stream))
            owner.kill()
            until(lambda: cluster.owner(cluster.slot(stream)).port != owner.port, 60,
                  "a new master", interval=0.1)
            owner.restart_after_kill()
        _reaches(cluster, bridge, stream, COUNT)
        assert bridge.run.terminate() == 0
        assert _numbers(cluster, stream) == list(range(COUNT))


def test_streams_of_all_names(cluster, redis, fresh, tmp_path, ending):
    """Whatever a name says to a cluster, the key of its positions is in the same slot."""
    tag, source = fresh("to"), fresh("from")
    kinds = ["plain.{}", "{{{}}}.tag", "behind.{{{}}}", "{{}}empty.{}", "close}}.{}", "open{{.{}",
             "{{{{{}}}}}", "two.{{{}}}.{{tags}}"]
    names = [kind.format(tag) for kind in kinds]
    for number in range(50 * len(names)):
        redis.call("XADD", source, "*", "body", number, "to", names[number % len(names)])
    bridge = _bridge(cluster, redis, fresh, tmp_path, ending, source, "${header.to}")
    for name in names:
        until(lambda: _length(cluster, name) >= 50, 60, f"all of {name}", interval=0.1,
              detail=bridge.run.tail)
    assert bridge.run.terminate() == 0
    for index, name in enumerate(names):
        assert _numbers(cluster, name) == list(range(index, 50 * len(names), len(names)))
