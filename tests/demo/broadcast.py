# SPDX-License-Identifier: Apache-2.0
"""One topic to RabbitMQ, ActiveMQ, Redis and a second Kafka; a region that is away delays only itself.

The second Kafka is down when the bridge starts, and comes up when everybody else is served.
"""

from brokers import ArtemisBroker, KafkaBroker, RabbitBroker, RedisBroker
from demo import applications
from support.clients import create_topic, produce, read_topic

TOPIC, PARTITIONS, KEYS, MESSAGES = "prices", 4, 20, 5_000


def play(stage, messages=MESSAGES):
    events, remote, rabbit, artemis, redis = stage.brokers(
        events=lambda folder: KafkaBroker(workdir=folder),
        remote=lambda folder: KafkaBroker(workdir=folder),
        rabbit=RabbitBroker, artemis=ArtemisBroker, redis=RedisBroker)
    create_topic(events.bootstrap, TOPIC, PARTITIONS)
    bodies = [b'{"isin":"DE%06d","bid":%d}' % (number % KEYS, number) for number in range(messages)]
    produce(events.bootstrap, TOPIC,
            [{"key": b"DE%06d" % (number % KEYS), "value": body} for number, body in enumerate(bodies)])
    stage.screen.step("The remote region goes down")
    remote.stop()
    bridge = stage.bridge("broadcast.conf", {
        "127.0.0.1:9092": events.bootstrap, "127.0.0.1:9093": remote.bootstrap,
        "127.0.0.1:5672": rabbit.address, "127.0.0.1:5673": artemis.address,
        "127.0.0.1:6379": redis.address})
    stage.start(bridge)
    redis_length = applications.redis_length(redis)
    stage.arrive(lambda: redis_length("events:prices"), messages, "in Redis, route local")
    stage.arrive(lambda: redis_length("regions:prices"), messages,
                 "in Redis, beside the region that is away")
    stage.screen.step("The remote region comes back")
    remote.start()
    confirmed = applications.confirmed(bridge, "regions", "remote")
    stage.arrive(confirmed, messages, "confirmed by the remote region")
    stage.stop(bridge)
    arrived = {
        "RabbitMQ queue prices": applications.rabbit_bodies(rabbit, "prices", messages),
        "ActiveMQ queue PRICES": applications.amqp10_bodies(artemis, "PRICES", messages),
        "Redis stream events:prices": applications.redis_bodies(redis, "events:prices"),
        "Redis stream regions:prices": applications.redis_bodies(redis, "regions:prices"),
        "remote Kafka topic prices": [
            record.value for record in read_topic(remote.bootstrap, TOPIC, messages)]}
    rows = [("messages in the topic", messages, True)]
    for where, got in arrived.items():
        rows += [(where, len(got), sorted(got) == sorted(bodies)),
                 ("  in order by key", "yes" if applications.in_order(got) else "no",
                  applications.in_order(got))]
    return rows
