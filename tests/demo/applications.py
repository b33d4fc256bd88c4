# SPDX-License-Identifier: Apache-2.0
"""What applications of each platform see, with clients that share no code with the bridge."""

import json

from brokers import wait_until
from proton import Message
from support.amqp10_link import send_all, take_all
from support.clients import queue_depth, take

import redis as redis_py


def redis(broker):
    return redis_py.Redis(host="127.0.0.1", port=broker.port)


def redis_length(broker):
    """A reading of a stream's length."""
    client = redis(broker)
    return client.xlen


def redis_bodies(broker, stream):
    return [fields[b"body"] for _, fields in redis(broker).xrange(stream)]


def rabbit_bodies(broker, queue, number):
    return [body for _, _, body in take(broker.uri, queue, number)]


def rabbit_queue_appears(broker, queue, seconds=30):
    wait_until(lambda: queue_depth(broker.uri, queue) is not None, seconds, f"queue {queue}")


def amqp10_place(broker, address):
    return {"amqp10": f"amqp://{broker.username}:{broker.password}@127.0.0.1:{broker.port}",
            "address": address, "capability": "queue"}


def amqp10_send(broker, address, bodies):
    messages = [Message(body=body, inferred=True, durable=True) for body in bodies]
    send_all(amqp10_place(broker, address), [message.encode() for message in messages])


def amqp10_bodies(broker, address, number):
    bodies = []
    for data in take_all(amqp10_place(broker, address), number, 30):
        message = Message()
        message.decode(data)
        bodies.append(bytes(message.body))
    return bodies


def confirmed(bridge, route, endpoint):
    """A reading of what the sink of that endpoint has confirmed."""
    return lambda: bridge.run.counters()["routes"][route]["confirmed"].get(endpoint, 0)


def in_order(bodies):
    """JSON bodies with "bid", counted up; "isin" or "key" is what order is kept by."""
    latest = {}
    for body in dict.fromkeys(bodies):
        event = json.loads(body)
        key = event.get("isin", event.get("key"))
        if latest.get(key, -1) > event["bid"]:
            return False
        latest[key] = event["bid"]
    return True
