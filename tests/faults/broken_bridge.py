# SPDX-License-Identifier: Apache-2.0
"""A small bridge for testing the oracle: right with "after", deliberately wrong with "early".

"early" acknowledges at the source when a message is handed to the client library of the sink,
which is what many bridges do; "after" acknowledges when the sink has confirmed.

    python broken_bridge.py '{"ack": "early", "rabbit": URI, "queue": Q,
                              "kafka": BOOTSTRAP, "topic": T, "direction": "to_kafka"}'
"""

import json
import sys
import threading
from collections import deque

import pika
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from support.publish import RabbitPublisher, rabbit_parameters

PREFETCH = 2000
ROOM = 4000
EARLY_BATCH_S = 0.05


class Frontier:
    """Tokens in the order in which they were taken; done ones leave from the front."""

    def __init__(self):
        self._tokens = deque()
        self._done = set()

    def take(self, token):
        self._tokens.append(token)

    def done(self, token):
        """Mark; the last token of the prefix that is complete now, or None."""
        self._done.add(token)
        last = None
        while self._tokens and self._tokens[0] in self._done:
            last = self._tokens.popleft()
            self._done.discard(last)
        return last


def to_kafka(spec):
    producer = KafkaProducer(bootstrap_servers=spec["kafka"], acks="all", linger_ms=1000 * EARLY_BATCH_S,
                             enable_idempotence=True, key_serializer=str.encode)
    frontier, lock = Frontier(), threading.Lock()
    early = spec["ack"] == "early"

    def arrived(channel, method, properties, body):
        tag = method.delivery_tag
        if early:
            channel.basic_ack(tag)
            producer.send(spec["topic"], body, key=method.routing_key)
            return
        with lock:
            frontier.take(tag)
        future = producer.send(spec["topic"], body, key=method.routing_key)
        future.add_callback(lambda _: confirmed(channel, tag))

    def confirmed(channel, tag):
        with lock:
            last = frontier.done(tag)
        if last:
            connection.ioloop.add_callback_threadsafe(
                lambda: channel.basic_ack(last, multiple=True))

    def consume(channel):
        channel.basic_qos(prefetch_count=PREFETCH)
        channel.basic_consume(spec["queue"], arrived)

    connection = pika.SelectConnection(
        rabbit_parameters(spec["rabbit"]),
        on_open_callback=lambda made: made.channel(on_open_callback=consume),
        on_close_callback=lambda _, error: sys.exit(str(error)))
    connection.ioloop.start()


def to_rabbit(spec):
    early = spec["ack"] == "early"
    consumer = KafkaConsumer(bootstrap_servers=spec["kafka"], group_id="broken." + spec["topic"],
                             enable_auto_commit=False, auto_offset_reset="earliest",
                             max_poll_records=500)
    # Assigned by hand: a killed member of a group would have to time out first.
    consumer.assign([TopicPartition(spec["topic"], number)
                     for number in consumer.partitions_for_topic(spec["topic"])])
    frontiers, positions = {}, {}

    def confirmed(names):
        for partition, offset in names:
            last = frontiers[partition].done((partition, offset))
            if last:
                positions[partition] = last[1] + 1

    def pump():
        if publisher.ready and publisher.outstanding < ROOM:
            for partition, messages in consumer.poll(timeout_ms=1).items():
                take(partition.partition, messages)
        if positions:
            consumer.commit_async({TopicPartition(spec["topic"], number): offset_of(offset)
                                   for number, offset in positions.items()})
            positions.clear()
        publisher.loop.call_later(0.001, pump)

    def take(partition, messages):
        if early:
            positions[partition] = messages[-1].offset + 1
            publisher.loop.call_later(EARLY_BATCH_S, lambda: send(partition, messages))
            return
        for message in messages:
            frontiers.setdefault(partition, Frontier()).take((partition, message.offset))
        send(partition, messages)

    def send(partition, messages):
        for message in messages:
            publisher.send((partition, message.offset), "", spec["queue"], message.value,
                           pika.BasicProperties(delivery_mode=2))

    publisher = RabbitPublisher(spec["rabbit"], lambda: None,
                                (lambda names: None) if early else confirmed)
    publisher.loop.call_later(0, pump)
    publisher.loop.start()


def offset_of(offset):
    from kafka.structs import OffsetAndMetadata
    return OffsetAndMetadata(offset, "", -1)


if __name__ == "__main__":
    the_spec = json.loads(sys.argv[1])
    {"to_kafka": to_kafka, "to_rabbit": to_rabbit}[the_spec["direction"]](the_spec)
