# SPDX-License-Identifier: Apache-2.0
"""Small synchronous helpers over pika and kafka-python, for set-up and for single messages."""

import time
from contextlib import contextmanager

import pika
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import NewTopic
from kafka.errors import (CoordinatorLoadInProgressError, TopicAlreadyExistsError,
                          UnknownTopicOrPartitionError)
from kafka.record.default_records import DefaultRecordBatchBuilder

from support.publish import rabbit_parameters
from support.wait import until


@contextmanager
def rabbit_channel(uri):
    connection = pika.BlockingConnection(rabbit_parameters(uri))
    try:
        yield connection.channel()
    finally:
        if connection.is_open:
            connection.close()


def declare_queue(uri, queue, arguments=None, bind=()):
    """A durable queue. bind: (exchange, routing key) pairs; the exchanges are topic ones."""
    with rabbit_channel(uri) as channel:
        channel.queue_declare(queue, durable=True, arguments=arguments)
        for exchange, routing_key in bind:
            channel.exchange_declare(exchange, "topic", durable=True)
            channel.queue_bind(queue, exchange, routing_key)


def delete_queue(uri, queue):
    with rabbit_channel(uri) as channel:
        channel.queue_delete(queue)


def queue_depth(uri, queue):
    """Ready messages; None if there is no such queue."""
    with rabbit_channel(uri) as channel:
        try:
            return channel.queue_declare(queue, passive=True).method.message_count
        except pika.exceptions.ChannelClosedByBroker:
            return None


def publish(uri, exchange, routing_key, messages):
    """messages: (body, BasicProperties) pairs; each is confirmed."""
    with rabbit_channel(uri) as channel:
        channel.confirm_delivery()
        for body, properties in messages:
            channel.basic_publish(exchange, routing_key, body, properties, mandatory=True)


def take(uri, queue, number, seconds=20):
    """`number` messages as (method, properties, body), in order."""
    taken = []
    end = time.monotonic() + seconds
    if number > 0:  # RabbitMQ 3 ends a connection that gets from a queue whose leader is not up
        until(lambda: queue_depth(uri, queue), seconds, f"a message in {queue}")
    with rabbit_channel(uri) as channel:
        while len(taken) < number:
            try:
                method, properties, body = channel.basic_get(queue, auto_ack=True)
            except pika.exceptions.ChannelClosedByBroker:
                channel = channel.connection.channel()
                method = None
            if method is not None:
                taken.append((method, properties, body))
                continue
            if time.monotonic() > end:
                raise AssertionError(f"{len(taken)} of {number} messages in {queue}: {taken}")
            time.sleep(0.05)
    return taken


def create_topic(bootstrap, topic, partitions=1, config=None):
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        admin.create_topics([NewTopic(topic, partitions, 1, topic_configs=config or {})])
    except TopicAlreadyExistsError:
        pass
    finally:
        admin.close()


def delete_topic(bootstrap, topic):
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        admin.delete_topics([topic])
    except UnknownTopicOrPartitionError:
        pass
    finally:
        admin.close()


class _Null(bytes):
    """Stands for a null header value on the way to the encoder, which alone can write it:
    KafkaProducer refuses None."""


def _let_headers_be_null(builder=DefaultRecordBatchBuilder):
    write = builder.append

    def append(self, offset, timestamp, key, value, headers, *rest, **options):
        headers = [(name, None if isinstance(item, _Null) else item) for name, item in headers]
        return write(self, offset, timestamp, key, value, headers, *rest, **options)
    builder.append = append


_let_headers_be_null()


def produce(bootstrap, topic, records, **options):
    """records: dicts of KafkaProducer.send (value, key, headers, partition, timestamp_ms)."""
    producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all", **options)
    try:
        futures = [producer.send(topic, **{
            **record, "headers": [(name, _Null() if value is None else value)
                                  for name, value in record.get("headers", [])]})
            for record in records]
        return [future.get(30) for future in futures]
    finally:
        producer.close(timeout=10)


def read_topic(bootstrap, topic, number, seconds=30, **options):
    """The first `number` records of a topic, or all that are there now (None), per partition in
    order."""
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, group_id=None,
                             enable_auto_commit=False, auto_offset_reset="earliest", **options)
    end = time.monotonic() + seconds
    records = []
    try:
        while not (partitions := consumer.partitions_for_topic(topic)):
            assert time.monotonic() < end, f"no topic {topic}"
            time.sleep(0.1)
        topics = [TopicPartition(topic, part) for part in sorted(partitions)]
        consumer.assign(topics)
        consumer.seek_to_beginning(*topics)
        if number is None:
            number = sum(consumer.end_offsets(topics).values())
        while len(records) < number:
            for batch in consumer.poll(timeout_ms=200).values():
                records.extend(batch)
            assert time.monotonic() < end, f"{len(records)} of {number} records in {topic}"
    finally:
        consumer.close()
    return records


def committed(bootstrap, group):
    """The sum of the positions that a group has stored. A broker that has just started loads them
    first, and kafka-python gives up on that."""
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)

    def listed():
        try:
            return admin.list_group_offsets(group)
        except CoordinatorLoadInProgressError:
            return None
    try:
        offsets = until(listed, 30, "the group's positions are loaded")[group]
    finally:
        admin.close()
    return sum(max(0, entry.offset) for entry in offsets.values())
