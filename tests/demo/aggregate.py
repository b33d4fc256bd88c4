# SPDX-License-Identifier: Apache-2.0
"""Events of Kafka, RabbitMQ, ActiveMQ and Redis into one Kafka topic, each with its origin."""

from collections import Counter

import pika
from brokers import ArtemisBroker, KafkaBroker, RabbitBroker, RedisBroker
from demo import applications
from support.clients import create_topic, declare_queue, produce, publish, read_topic

EACH, KEYS = 1_000, 10
ORIGINS = {"shop/shop.orders": "kafka", "rabbit/events": "rabbit",
           "mq/EVENTS": "activemq", "cache/events:web": "redis"}


def body(platform, number):
    return b'{"from":"%s","key":%d,"bid":%d}' % (platform.encode(), number % KEYS, number)


def play(stage, each=EACH):
    kafka, rabbit, artemis, redis = stage.brokers(
        kafka=lambda folder: KafkaBroker(workdir=folder),
        rabbit=RabbitBroker, artemis=ArtemisBroker, redis=RedisBroker)
    create_topic(kafka.bootstrap, "shop.orders", 3)
    create_topic(kafka.bootstrap, "shop.internal.audit", 1)
    create_topic(kafka.bootstrap, "all.events", 1)
    declare_queue(rabbit.uri, "application", bind=[("events", "#")])
    redis_client = applications.redis(redis)
    redis_client.xadd("events:web", {"body": body("redis", 0)})
    bridge = stage.bridge("aggregate.conf", {
        "127.0.0.1:9092": kafka.bootstrap, "127.0.0.1:5672": rabbit.address,
        "127.0.0.1:5673": artemis.address, "127.0.0.1:6379": redis.address})
    stage.start(bridge)
    applications.rabbit_queue_appears(rabbit, "mbridge.collector.all-events")
    stage.screen.step(f"Each platform's application sends {each:,} events")
    produce(kafka.bootstrap, "shop.orders", [
        {"key": b"%d" % (number % KEYS), "value": body("kafka", number)} for number in range(each)])
    produce(kafka.bootstrap, "shop.internal.audit", [{"value": b"not for the archive"}])
    publish(rabbit.uri, "events", "orders.eu", [
        (body("rabbit", number), pika.BasicProperties(delivery_mode=2)) for number in range(each)])
    applications.amqp10_send(artemis, "EVENTS",
                        [body("activemq", number) for number in range(each)])
    for number in range(1, each):
        redis_client.xadd("events:web", {"body": body("redis", number)})
    stage.arrive(lambda: bridge.run.counters().total("delivered"), len(ORIGINS) * each,
                 "in all.events")
    stage.stop(bridge)
    records = read_topic(kafka.bootstrap, "all.events", None)
    origins = Counter(dict(record.headers)["origin"].decode() for record in records)
    stage.screen.step("What a Kafka application sees: the first message of each origin")
    for origin in ORIGINS:
        first = next((r for r in records if dict(r.headers)["origin"].decode() == origin), None)
        if first is not None:
            stage.screen.text(f"origin {origin:38} key {first.key}  {first.value.decode()}", cut=True)
    rows = [("events in all.events", len(records), len(records) == len(ORIGINS) * each)]
    for origin, platform in ORIGINS.items():
        values = [r.value for r in records if dict(r.headers)["origin"].decode() == origin]
        whole = sorted(values) == sorted(body(platform, number) for number in range(each))
        rows += [(f"origin {origin}", origins[origin], whole),
                 ("  in order by key", "yes" if applications.in_order(values) else "no",
                  applications.in_order(values))]
    rows.append(("of the excluded topic", sum(b"not for" in r.value for r in records),
                 not any(b"not for" in r.value for r in records)))
    return rows
