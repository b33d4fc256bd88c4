# SPDX-License-Identifier: Apache-2.0
"""The platforms as ends of a route: any side may be source or destination of a pair.

A side stands for one running broker:

    platform            the backend's name: kafka, amqp091, amqp10, redis
    name                of the broker in tables: kafka, rabbitmq, artemis, …
    endpoint            its members in a configuration
    make(name)          makes an empty stream and returns its place, a JSON-able dict; a feeder and
                        a collector take it as it is (Feeder(…, **place), Collector(…, **place))
    source(place)       the members of `from` that name it, without `endpoint`
    sink(place)         the same for `to`
    mirror(place)       the same for a sink that adds nothing which the message does not say
    put(place, messages), take(place, number, seconds)
                        messages in the platform's normal form (support/corpus.py), each confirmed

support/redis_side.py has RedisSide, and feed(spec, switches) and collect(spec, notes) for the
feeder's and the collector's processes, called where a place has the member "redis".
"""

import time

from support import normal
from support.amqp10_link import Link, send_all, take_all
from support.clients import create_topic, declare_queue, produce, rabbit_channel, read_topic
from support.config import kafka_endpoint, rabbit_endpoint
from support.publish import publish_all

PARTITIONS = 4


class KafkaSide:
    platform = "kafka"

    def __init__(self, broker, partitions=PARTITIONS, **settings):
        self.broker, self.name = broker, "kafka"
        self.partitions, self._settings = partitions, settings
        self.endpoint = kafka_endpoint(broker)

    def make(self, name):
        create_topic(self.broker.bootstrap, name, self.partitions, self._settings)
        return {"bootstrap": self.broker.bootstrap, "topic": name}

    def source(self, place):
        return {"topic": place["topic"]}

    sink = mirror = source

    def put(self, place, messages):
        produce(place["bootstrap"], place["topic"],
                [normal.to_kafka(message) for message in messages], max_request_size=1 << 24)

    def take(self, place, number, seconds=30):
        return [normal.of_kafka(record) for record in
                read_topic(place["bootstrap"], place["topic"], number, seconds)]


class RabbitSide:
    """AMQP 0-9-1. As a source the messages come through an exchange, with their routing keys."""

    platform = "amqp091"

    def __init__(self, broker, **arguments):
        self.broker, self.name = broker, "rabbitmq"
        self._arguments = arguments
        self.endpoint = rabbit_endpoint(broker)

    def make(self, name):
        declare_queue(self.broker.uri, name, self._arguments or None, bind=[(f"{name}.x", "#")])
        return {"uri": self.broker.uri, "queue": name, "exchange": f"{name}.x"}

    def source(self, place):
        return {"queue": place["queue"]}

    sink = source

    def mirror(self, place):
        return {"exchange": place["exchange"], "persistent": False}

    def put(self, place, messages):
        publish_all(place["uri"], [
            (place["exchange"], message["routing_key"], *normal.to_rabbit(message))
            for message in messages])

    def take(self, place, number, seconds=30):
        return [normal.of_rabbit(*taken) for taken in
                take_all_rabbit(place["uri"], place["queue"], number, seconds)]


def take_all_rabbit(uri, queue, number, seconds):
    """The next `number` messages as (method, properties, body)."""
    taken, end = [], time.monotonic() + seconds
    with rabbit_channel(uri) as channel:
        channel.basic_qos(prefetch_count=200)
        for method, properties, body in channel.consume(queue, inactivity_timeout=0.2):
            if method is not None:
                taken.append((method, properties, body))
                channel.basic_ack(method.delivery_tag)
            if len(taken) == number:
                channel.cancel()
                return taken
            assert time.monotonic() < end, f"{len(taken)} of {number} messages in {queue}"


def _has_other_names(value):
    """Whether a map has names that are no strings."""
    return value[0] == "map" and any(name[0] != "string" or _has_other_names(item)
                                     for name, item in value[1])


class Amqp10Side:
    """AMQP 1.0 on one of the brokers that speak it; `shapes` has their addresses."""

    platform = "amqp10"

    def __init__(self, broker):
        self.broker = broker
        self.name = broker.name
        if broker.name == "rabbitmq":
            self.name = f"rabbitmq{broker.version.split('.')[0]}"
        self.endpoint = {
            "backend": "amqp10", "uri": f"amqp10://127.0.0.1:{broker.port}",
            "username": broker.username, "password": broker.password}

    def make(self, name):
        place = self._place(name)
        if self.broker.name == "rabbitmq":
            declare_queue(self.broker.uri, name)
        else:
            with Link(place, receiver=True):  # makes the queue where brokers make them
                pass
        return place

    def _place(self, name):
        shape = {"artemis": ("{}", "queue"), "classic": ("queue://{}", ""),
                 "broker-j": ("{}", ""), "rabbitmq3": ("/amq/queue/{}", ""),
                 "rabbitmq4": ("/queues/{}", "")}[self.name]
        login = f"{self.broker.username}:{self.broker.password}"
        return {"amqp10": f"amqp://{login}@127.0.0.1:{self.broker.port}",
                "address": shape[0].format(name), "capability": shape[1]}

    def source(self, place):
        return {"address": place["address"]}

    sink = source

    def mirror(self, place):
        return {"address": place["address"], "persistent": False, "trust_user_id": True}

    def refuses(self, message):
        """RabbitMQ 4.0 ends the session for these values of annotations; Classic casts properties
        of JMS's own names, and the names in maps, to text."""
        if self.name == "classic":
            values = [value for kind, value in message["body"] if kind == "value"]
            values += [value for _, value in message.get("message-annotations", [])]
            return any(map(_has_other_names, values)) or any(
                "JMS" in str(name) and value[0] != "string"
                for name, value in message.get("application-properties", []))
        return self.name == "rabbitmq4" and any(
            value[0] in ("null", "described") or value[0].startswith("decimal")
            or value[0] in ("float", "double") and value[1][:3] in ("7f8", "7fc", "7ff")
            for _, value in message.get("message-annotations", []))

    def put(self, place, messages):
        send_all(place, [normal.to_amqp10(message) for message in messages])

    def take(self, place, number, seconds=30):
        return [normal.of_amqp10(data) for data in take_all(place, number, seconds)]
