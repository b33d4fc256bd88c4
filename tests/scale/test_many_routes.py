# SPDX-License-Identifier: Apache-2.0
"""A thousand routes in one process: few threads, bounded memory, no work while there is none, and a
busy route does not pay for the quiet ones. The figures stand in the table of counts."""

import pytest

from many import Many, cpu_s, descriptors, peak_mib, raise_files, rss_mib, threads
from support.clients import rabbit_channel
from support.redis_side import client

RSS_MAX_MIB = 256
THREADS_MAX = 40  # workers, connectors and the program's own
IDLE_CPU_MAX = 0.02
IDLE_CPU_A_CONNECTION = 0.00008  # heartbeats, and blocking reads that come back empty
WAKEUPS_MAX = 20
BUSY_MESSAGES = 2_000_000

MEMORY = {"m": {"backend": "memory"}}


@pytest.fixture(autouse=True)
def files():
    raise_files()


def generated(number, count=1):
    return {"from": {"endpoint": "m", "generate": {"count": count, "size": 256}},
            "to": {"endpoint": "m", "discard": True}}


def judge(row, wakeups_max=WAKEUPS_MAX, cpu_max=IDLE_CPU_MAX):
    assert row["RSS MiB"] <= RSS_MAX_MIB, row
    assert row["threads"] <= THREADS_MAX, row
    assert row["idle CPU %"] <= cpu_max * 100, row
    assert row["wakeups/s"] <= wakeups_max, row


@pytest.mark.parametrize("number", (1, pytest.param(10, marks=pytest.mark.long),
                                    pytest.param(100, marks=pytest.mark.long), 1000))
def test_memory_to_memory(number, tmp_path, ending, counts):
    """What grows with the number of routes, and by how much."""
    many = ending(Many(tmp_path, MEMORY, number, generated))
    many.start()
    many.wait_delivered(number)
    row = many.measure()
    changed = range(0, number, max(number // 10, 1))
    row["reload s"] = round(many.reload(changed, window={"messages": 500}), 2)
    row["stop s"] = round(many.stop(), 2)
    counts(**row)
    judge(row)


def busy_ns(workdir, number, ending):
    """Processor time a message of one busy route among number - 1 that have nothing to do."""
    workdir.mkdir()
    many = ending(Many(workdir, MEMORY, number,
                       lambda n: generated(n, 1 if n else 2_000_000_000)))
    many.start()
    first, cpu = many.delivered().total("delivered"), cpu_s(many.pid)
    many.wait_delivered(first + BUSY_MESSAGES)
    last, spent = many.delivered().total("delivered"), cpu_s(many.pid) - cpu
    many.stop()
    return spent * 1e9 / (last - first)


def test_a_busy_route_among_quiet_ones(tmp_path, ending, counts):
    """By processor time, as the machine may be busy: 999 others may not double what a message of
    the core alone costs, some ten nanoseconds. A worker that looks at all of its lanes costs 40
    times as much."""
    alone = busy_ns(tmp_path / "alone", 1, ending)
    among = busy_ns(tmp_path / "among", 1000, ending)
    counts(**{"alone ns": round(alone, 1), "among 1,000 ns": round(among, 1)})
    assert among < 2 * alone + 20


class Streams:
    """Pairs of streams on a Redis, and a message for each."""

    def __init__(self, broker, fresh):
        self.uri, self._name = broker.uri, fresh("many")
        self.endpoints = {"e": {"backend": "redis", "uri": broker.uri}}

    def route(self, n):
        return {"from": {"endpoint": "e", "stream": f"{self._name}.from.{n}"},
                "to": {"endpoint": "e", "stream": f"{self._name}.to.{n}"}}

    def make(self, number):
        with client(self.uri) as server:
            pipeline = server.pipeline(transaction=False)
            for n in range(number):
                pipeline.execute_command("XADD", f"{self._name}.from.{n}", "*", "body", "x" * 256)
            pipeline.execute()


class Queues:
    """Pairs of queues on a RabbitMQ, and a message for each."""

    def __init__(self, broker, fresh):
        self.uri, self._name = broker.uri, fresh("many")
        self.endpoints = {"e": {"backend": "amqp091", "uri": broker.uri}}

    def make(self, number):
        with rabbit_channel(self.uri) as channel:
            for n in range(number):
                channel.queue_declare(f"{self._name}.from.{n}", durable=True)
                channel.queue_declare(f"{self._name}.to.{n}", durable=True)
                channel.basic_publish("", f"{self._name}.from.{n}", b"x" * 256)

    def route(self, n):
        return {"from": {"endpoint": "e", "queue": f"{self._name}.from.{n}"},
                "to": {"endpoint": "e", "queue": f"{self._name}.to.{n}"}}


def cases():
    for name in ("redis", "rabbitmq"):
        for number in (100, 1000):
            everyday = (name, number) == ("redis", 100)
            yield pytest.param(name, number, id=f"{name}-{number}",
                               marks=() if everyday else pytest.mark.long)


@pytest.mark.parametrize("name, number", list(cases()))
def test_many_connections(name, number, brokers, fresh, tmp_path, ending, counts):
    """Each route with connections of its own: all carry their message, and rest afterwards."""
    ends = Streams(brokers.redis(), fresh) if name == "redis" else Queues(brokers.rabbit(), fresh)
    ends.make(number)
    many = ending(Many(tmp_path, ends.endpoints, number, ends.route))
    many.start(60 + number / 5)
    many.wait_delivered(number)
    row = many.measure()
    row["peak MiB"] = round(peak_mib(many.pid), 1)
    row["stop s"] = round(many.stop(120), 2)
    counts(**row)
    judge(row, WAKEUPS_MAX + 2 * number, IDLE_CPU_MAX + IDLE_CPU_A_CONNECTION * number)


@pytest.mark.long
def test_two_hundred_routes_of_kafka(kafka3, fresh, tmp_path, ending, counts):
    """librdkafka has threads and buffers of its own for each client: what a route costs."""
    from support.clients import create_topic

    topics = [fresh(f"kafka.{n}") for n in range(4)]
    for topic in topics:
        create_topic(kafka3.bootstrap, topic, 4)
    many = ending(Many(tmp_path, {"k": {"backend": "kafka", "brokers": kafka3.bootstrap},
                                  "m": {"backend": "memory"}}, 200, lambda n: {
        "from": {"endpoint": "k", "topic": topics[n % 4]},
        "to": {"endpoint": "m", "discard": True}}))
    many.start(300)
    row = {"routes": 200, "RSS MiB": round(rss_mib(many.pid), 1), "threads": threads(many.pid),
           "fds": descriptors(many.pid), "start s": round(many.started, 1)}
    row["stop s"] = round(many.stop(120), 2)
    counts(**row)
    assert row["RSS MiB"] <= 512, row
