# SPDX-License-Identifier: Apache-2.0
"""Thousands of streams by a pattern, on one route: found, read, and at rest afterwards."""

import re
import time

import pytest

from many import cpu_s, raise_files, rss_mib, threads
from support.bridge import Bridge
from support.clients import create_topic
from support.config import config
from support.redis_side import client
from support.wait import until

EACH = 2
RSS_MAX_MIB = 128


def run(workdir, endpoints, source, ending, **bridge):
    made = ending(Bridge(workdir, config("pattern", {**endpoints, "m": {"backend": "memory"}}, [
        {"name": "pattern", "from": {"endpoint": "e", **source},
         "to": {"endpoint": "m", "discard": True}}], **bridge)))
    made.start()
    made.ready()
    return made


def delivered(bridge):
    return bridge.run.counters(seconds=30).total("delivered")


def judge(bridge, streams, filled, counts, began):
    until(lambda: delivered(bridge) >= EACH * filled, 60 + streams / 50,
          f"{EACH * filled} messages", 0.2, bridge.run.tail)
    took = time.monotonic() - began
    cpu = cpu_s(bridge.run.pid)
    size = len(bridge.run.lines[-1])
    time.sleep(3)  # what is measured is this time
    row = {"streams": streams, "read in s": round(took, 2),
           "RSS MiB": round(rss_mib(bridge.run.pid), 1), "threads": threads(bridge.run.pid),
           "idle CPU %": round((cpu_s(bridge.run.pid) - cpu) / 3 * 100, 2),
           "bytes of counters": size}
    counts(**row)
    assert row["RSS MiB"] <= RSS_MAX_MIB, row
    # The counters are of routes: streams do not make them longer.
    assert size < 4096, row
    assert bridge.run.terminate(60) == 0, bridge.run.tail()


def test_streams_of_redis(redis, fresh, tmp_path, ending, counts):
    """As many as a route reads there: a command names them all."""
    raise_files()
    name, streams = fresh("pattern"), 250
    with client(redis.uri) as server:
        pipeline = server.pipeline(transaction=False)
        for n in range(streams * EACH):
            pipeline.execute_command("XADD", f"{name}.{n % streams}", "*", "body", "x" * 200)
        pipeline.execute()
    began = time.monotonic()
    bridge = run(tmp_path, {"e": {"backend": "redis", "uri": redis.uri}},
                 {"streams": [f"^{re.escape(name)}\\..*"]}, ending)
    judge(bridge, streams, streams, counts, began)


@pytest.mark.long
@pytest.mark.parametrize("topics, filled", [(2000, 2000), (10_000, 500)])
def test_topics_of_kafka(topics, filled, kafka3, fresh, tmp_path, ending, counts):
    """filled: topics that have messages. One broker is slow with so many."""
    from kafka import KafkaProducer
    from kafka.admin import KafkaAdminClient, NewTopic

    name = fresh("pattern")
    create_topic(kafka3.bootstrap, f"{name}.0", 1)
    admin = KafkaAdminClient(bootstrap_servers=kafka3.bootstrap, request_timeout_ms=120_000)
    for first in range(1, topics, 500):
        admin.create_topics([NewTopic(f"{name}.{n}", 1, 1)
                             for n in range(first, min(first + 500, topics))],
                            timeout_ms=120_000)
    admin.close()
    producer = KafkaProducer(bootstrap_servers=kafka3.bootstrap, linger_ms=50,
                             max_block_ms=120_000)
    for n in range(0, topics, topics // filled):
        for _ in range(EACH):
            producer.send(f"{name}.{n}", b"x" * 200)
    producer.flush()
    producer.close()
    began = time.monotonic()
    bridge = run(tmp_path, {"e": {"backend": "kafka", "brokers": kafka3.bootstrap}},
                 {"topics": [f"^{re.escape(name)}\\..*"]}, ending)
    judge(bridge, topics, filled, counts, began)
