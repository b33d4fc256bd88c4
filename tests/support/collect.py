# SPDX-License-Identifier: Apache-2.0
"""Collectors: processes that drain a destination and write down each arrival, live."""

import json
import signal
import sys
import time
from pathlib import Path

from support import record
from support.body import DEEP, Bodies
from support.feed import region_of, spawn

BATCH = 200


class Notes:
    def __init__(self, spec):
        self._bodies = Bodies(spec["seed"], spec["stream"])
        self._checks_headers = spec["headers"]
        self._writer = record.Writer(spec["arrivals"], record.ARRIVAL)

    def add(self, body, lane, redelivered, region):
        """region: the header of that name; where headers are checked, it belongs to the message."""
        key, sequence, intact = self._bodies.read(body)
        if key is None:
            key, sequence = record.NO_KEY, 0
        elif self._checks_headers:
            text = region.decode(errors="replace") if isinstance(region, bytes) else region
            intact = intact and text == region_of(key, sequence)
        self._writer.add(time.monotonic(), key, sequence, lane, intact, redelivered)

    def flush(self):
        self._writer.flush()


def collect_rabbit(spec):
    """Acknowledges on arrival: only for a broker that is not killed meanwhile."""
    import pika
    from support.publish import rabbit_parameters

    notes = Notes(spec)
    waiting = 0

    def arrived(channel, method, properties, body):
        nonlocal waiting
        notes.add(body, 0, method.redelivered, (properties.headers or {}).get("region"))
        waiting += 1
        if waiting >= BATCH:
            waiting = 0
            notes.flush()

    def flush():
        notes.flush()
        connection.ioloop.call_later(0.02, flush)

    def closed(channel, reason):
        """The queue is not there (yet, or any more): look again."""
        if connection.is_open:
            connection.ioloop.call_later(0.1, start)

    def start():
        connection.channel(on_open_callback=consume)

    def consume(channel):
        channel.add_on_close_callback(closed)
        channel.add_on_cancel_callback(lambda frame: channel.close())
        channel.basic_consume(spec["queue"], arrived, auto_ack=True)

    connection = pika.SelectConnection(
        rabbit_parameters(spec["uri"]), on_open_callback=lambda _: start(),
        on_open_error_callback=lambda connection, error: sys.exit(f"open: {error}"),
        on_close_callback=lambda connection, error: sys.exit(f"closed: {error}"))
    connection.ioloop.call_later(0, flush)
    connection.ioloop.start()


def collect_kafka(spec):
    from kafka import KafkaConsumer, TopicPartition

    notes = Notes(spec)
    consumer = KafkaConsumer(bootstrap_servers=spec["bootstrap"], group_id=None,
                             enable_auto_commit=False, auto_offset_reset="earliest",
                             isolation_level="read_committed", fetch_max_wait_ms=50,
                             max_poll_records=5000)
    while not (partitions := consumer.partitions_for_topic(spec["topic"])):
        time.sleep(0.1)
    topics = [TopicPartition(spec["topic"], number) for number in partitions]
    consumer.assign(topics)
    consumer.seek_to_beginning(*topics)
    while True:
        for topic, messages in consumer.poll(timeout_ms=50).items():
            for message in messages:
                notes.add(message.value, topic.partition, False,
                          dict(message.headers).get("region"))
        notes.flush()


def collect_amqp10(spec):
    from support import amqp10_stream

    amqp10_stream.collect(spec, Notes(spec))


def collect_redis(spec):
    from support import redis_side

    redis_side.collect(spec, Notes(spec))


def collect_of(spec):
    """The loop of the platform that a place is on."""
    loops = {"topic": collect_kafka, "amqp10": collect_amqp10, "redis": collect_redis}
    return next((loop for name, loop in loops.items() if name in spec), collect_rabbit)


class Collector:
    """A collector process and the arrivals it has written down."""

    def __init__(self, workdir, name, feeder, headers=False, **where):
        """headers: whether they have to be as they were fed. where: a place of support/sides.py
        (uri and queue, bootstrap and topic, …)."""
        self.path = str(Path(workdir) / f"{name}.arrivals")
        self._spec = {"stream": feeder.bodies.stream, "seed": feeder.bodies.seed,
                      "arrivals": self.path, "headers": headers, **where}
        self._log = Path(workdir) / f"{name}.collector.log"
        self._process = None

    def start(self):
        self._process = spawn("support.collect", self._spec, self._log)
        return self

    @property
    def count(self):
        self.check()
        return record.count(self.path, record.ARRIVAL)

    def arrivals(self, start=0):
        return [arrival._replace(key=None, sequence=None) if arrival.key == record.NO_KEY
                else arrival
                for arrival in record.read(self.path, record.ARRIVAL, record.Arrival, start)]

    def check(self):
        code = self._process.poll()
        assert code is None, f"collector ended ({code}): {self._log.read_text()[-2000:]}"

    def end(self):
        if self._process and self._process.poll() is None:
            self._process.kill()
            self._process.wait()


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    sys.setrecursionlimit(DEEP)
    spec = json.loads(sys.argv[1])
    collect_of(spec)(spec)


if __name__ == "__main__":
    main()
