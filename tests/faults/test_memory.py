# SPDX-License-Identifier: Apache-2.0
"""Peak memory at default settings, with a backlog and a sink slower than its source."""

import pytest

from support.clients import queue_depth
from support.pair import Pair
from support.wait import until

PEAK_KIB = 48 * 1024
PREFETCH = 2000  # of a queue, by default

pytestmark = pytest.mark.usefixtures("only_as_released")


@pytest.mark.parametrize("messages", [100_000, pytest.param(1_000_000, marks=pytest.mark.long)])
def test_kafka_backlog_to_a_slower_rabbit(messages, kafka3, rabbit, fresh, tmp_path, dice, ending,
                                          counts):
    pair = ending(Pair("to_rabbit", kafka3, rabbit, fresh, tmp_path, dice, live=False))
    kafka3.tool("org.apache.kafka.tools.ProducerPerformance", "--topic", pair.topic,
                "--num-records", str(messages), "--record-size", "256", "--throughput", "-1",
                "--producer-props", f"bootstrap.servers={kafka3.bootstrap}", "acks=all",
                timeout=300)
    bridge = ending(pair.bridge())
    bridge.start()
    bridge.ready()

    def done():
        bridge.check()
        counters = bridge.run.counters()
        assert bridge.run.peak_rss_kib() <= PEAK_KIB
        return counters.total("delivered") >= messages
    until(done, 300, f"{messages} delivered", interval=0.2, detail=bridge.run.tail)
    peak = bridge.run.peak_rss_kib()
    assert bridge.run.terminate() == 0
    assert queue_depth(rabbit.uri, pair.queue) == messages
    rabbit.ctl("purge_queue", pair.queue)
    counts(messages=messages, **{"peak RSS MiB": f"{peak / 1024:.1f}"})
    assert peak <= PEAK_KIB


@pytest.mark.parametrize("messages", [30_000, pytest.param(300_000, marks=pytest.mark.long)])
def test_rabbit_backlog_to_a_kafka_that_stands_still(messages, kafka3, rabbit, fresh, tmp_path,
                                                     dice, ending, counts):
    """Frozen for a while, then slow: the window has to fill and hold."""
    pair = ending(Pair("to_kafka", kafka3, rabbit, fresh, tmp_path, dice, live=False, rate=0,
                       count=messages))
    pair.feeder.start().wait(240)
    bridge = ending(pair.bridge())
    bridge.start()
    bridge.ready()
    until(lambda: bridge.run.counters().total("delivered") > 1000, 30, "some delivered",
          detail=bridge.run.tail)
    kafka3.pause()
    try:
        until(lambda: bridge.run.counters().total("in_flight") >= PREFETCH, 20, "a full window",
              detail=bridge.run.tail)
    finally:
        kafka3.resume()
    verdict = pair.stream.finish(poll=bridge.check)
    peak = bridge.run.peak_rss_kib()
    counts(messages=messages, **{"peak RSS MiB": f"{peak / 1024:.1f}"})
    verdict.assert_kept(duplicates_max=10_000)
    assert peak <= PEAK_KIB


@pytest.mark.parametrize("size, number", [(1_000_000, 200)])
def test_large_messages_stay_within_the_budget_of_bytes(size, number, kafka3, rabbit, fresh,
                                                        tmp_path, dice, ending, counts):
    pair = ending(Pair("to_rabbit", kafka3, rabbit, fresh, tmp_path, dice, live=False,
                       partitions=1))
    kafka3.tool("org.apache.kafka.tools.ProducerPerformance", "--topic", pair.topic,
                "--num-records", str(number), "--record-size", str(size), "--throughput", "-1",
                "--producer-props", f"bootstrap.servers={kafka3.bootstrap}", "acks=all",
                "max.request.size=2000000", timeout=120)
    bridge = ending(pair.bridge())
    bridge.start()
    bridge.ready()
    until(lambda: bridge.run.counters().total("delivered") >= number, 120, "all delivered",
          interval=0.1, detail=bridge.run.tail)
    peak = bridge.run.peak_rss_kib()
    rabbit.ctl("purge_queue", pair.queue)
    counts(messages=number, **{"peak RSS MiB": f"{peak / 1024:.1f}"})
    assert bridge.run.terminate() == 0
    assert peak <= 2 * PEAK_KIB, "1 MB messages: a window of bytes, not of messages"
