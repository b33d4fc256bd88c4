# SPDX-License-Identifier: Apache-2.0
"""Queues and a durable topic of ActiveMQ Classic and Artemis, moved by their JMS messages.

A JMS client sends messages of every body type; a JMS client, a RabbitMQ client and a Kafka client
judge what arrives.
"""

import json

from brokers import ArtemisBroker, ClassicBroker, KafkaBroker, RabbitBroker
from demo import applications
from proton import Message
from support.amqp10_link import send_all
from support.clients import create_topic, read_topic, take
from support.jms import Jms, plain

COUNT, PRICES, KEYS = 300, 1_000, 10


def sends(stage, who, jms, queue, count):
    sent = jms.send(queue, count=count)
    kinds = sorted({message["kind"] for message in sent})
    stage.screen.text(f"{len(sent):,} messages to queue {queue} of {who}: {', '.join(kinds)}")
    return sent


def send_prices(broker, prices):
    """To the topic, with JMSXGroupID."""
    messages = [Message(body=body, inferred=True, durable=True, group_id=f"DE{number % KEYS:06d}")
                for number, body in enumerate(prices)]
    send_all({**applications.amqp10_place(broker, "topic://PRICES"), "capability": ""},
             [message.encode() for message in messages])


def native(message):
    """The body as another platform shows it, or None where only its JSON tells."""
    if message["kind"] == "text":
        return (message["body"] or "").encode()
    if message["kind"] == "bytes":
        return bytes.fromhex(message["body"])
    return None


def show(stage, deliveries):
    stage.screen.step("What a RabbitMQ application sees: the last two messages")
    for _, properties, body in deliveries[-2:]:
        for name, value in sorted((properties.headers or {}).items()):
            if not name.startswith("x-opt-"):
                stage.screen.text(f"header  {name}: {value!r}")
        stage.screen.text(f"type {properties.type}, correlation-id {properties.correlation_id}, "
                          f"priority {properties.priority}, content-type {properties.content_type}")
        stage.screen.text(f"body    {body!r}", cut=True)
        stage.screen.text("")


def is_json(body):
    try:
        return json.loads(body) is not None
    except ValueError:
        return False


def by_id(messages):
    """By JMSMessageID: Artemis hands messages of a higher priority out first."""
    return {message["JMSMessageID"]: {**plain(message), "JMSReplyTo": reply_to(message)}
            for message in messages}


def reply_to(message):
    """Classic writes the names of queues in its own form."""
    return (message["JMSReplyTo"] or "").replace("queue://", "")


def same_bodies(sent, deliveries):
    """Text and bytes as they are; maps, lists as JSON; every property under its name."""
    right = 0
    arrived = {properties.message_id: (properties, body) for _, properties, body in deliveries}
    for message in sent:
        properties, body = arrived[message["JMSMessageID"]]
        wanted = native(message)
        headers = properties.headers or {}
        named = {name for name in message["properties"] if not name.startswith("JMS")}
        if message["kind"] in ("map", "stream"):
            good = is_json(body)
        else:
            good = wanted is None or wanted == body
        right += good and named <= set(headers)
    return right


def play(stage, count=COUNT, prices=PRICES):
    classic, artemis, rabbit, kafka = stage.brokers(
        classic=ClassicBroker, artemis=ArtemisBroker, rabbit=RabbitBroker,
        kafka=lambda folder: KafkaBroker(workdir=folder))
    create_topic(kafka.bootstrap, "prices", 3)
    old, new = Jms(classic), Jms(artemis)
    bridge = stage.bridge("activemq-migration.conf", {
        "127.0.0.1:5674": classic.address, "127.0.0.1:5673": artemis.address,
        "127.0.0.1:5672": rabbit.address, "127.0.0.1:9092": kafka.bootstrap})
    stage.screen.step("Applications send to the old brokers")
    orders = sends(stage, "Classic", old, "ORDERS", count)
    invoices = sends(stage, "Artemis", new, "INVOICES", count)
    stage.start(bridge)
    bridge.run.wait_logged("connected", "route=prices", "endpoint=classic", seconds=30)
    quotes = [b'{"key":%d,"bid":%d}' % (number % KEYS, number) for number in range(prices)]
    send_prices(classic, quotes)
    total = len(orders) + len(invoices) + prices
    stage.arrive(lambda: bridge.run.counters().total("delivered"), total, "moved")
    dead = bridge.run.counters().total("dead_lettered")
    stage.stop(bridge)
    arrived = new.receive("ORDERS", len(orders))
    found = by_id(arrived)
    same = sum(found.get(name) == message for name, message in by_id(orders).items())
    deliveries = take(rabbit.uri, "invoices", len(invoices))
    records = read_topic(kafka.bootstrap, "prices", prices)
    values = [record.value for record in records]
    keyed = sum(record.key == f"DE{json.loads(record.value)['key']:06d}".encode()
                for record in records)
    right = same_bodies(invoices, deliveries)
    show(stage, deliveries)
    return [("JMS messages, Classic to Artemis", len(arrived), len(arrived) == len(orders)),
            ("  the same in every JMS field", same, same == len(orders)),
            ("JMS messages, Artemis to RabbitMQ", len(deliveries),
             len(deliveries) == len(invoices)),
            ("  text, bytes and properties right", right, right == len(invoices)),
            ("durable topic to Kafka", len(values), sorted(values) == sorted(quotes)),
            ("  JMSXGroupID is the key", keyed, keyed == prices),
            ("  in order by key", "yes" if applications.in_order(values) else "no",
             applications.in_order(values)),
            ("dead letters", dead, dead == 0)]
