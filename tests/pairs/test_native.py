# SPDX-License-Identifier: Apache-2.0
"""What applications see: an order sent by a native client, looked at by those of the other platforms.

kcat, pika, a JMS client and redis-cli, at the defaults of both: nobody has to know of the bridge.
"""

import json
import os
import subprocess
import time

import pika
import pytest

from support.bridge import Bridge
from support.clients import publish, rabbit_channel
from support.config import config
from support.jms import Jms

KEY, BODY = "order-17", '{"id":17,"city":"Zürich"}'
PLATFORMS = ("kafka", "rabbitmq", "artemis", "redis")
PAIRS = [(one, other) for one in PLATFORMS for other in PLATFORMS if one != other]
SECONDS = 20
SHOWN_MAX = 40


def run(*words, data=None, env=None):
    done = subprocess.run([str(word) for word in words], input=data, capture_output=True,
                          timeout=60, env={**os.environ, **(env or {})})
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return done.stdout.decode(errors="replace")  # a sidecar is bytes


def kcat(side, place, *words, data=None):
    return run("kcat", "-q", "-b", side.broker.bootstrap, "-t", place["topic"], *words, data=data)


def redis_cli(side, *words):
    return run("redis-cli", "--json", "-h", "127.0.0.1", "-p", side.broker.port, *words,
               env={"LC_ALL": "C.UTF-8"})


def send_kafka(side, place):
    headers = {"region": "eu", "amount": "42", "content-type": "application/json",
               "message-id": "m-17", "correlation-id": "c-17", "subject": "created"}
    kcat(side, place, "-P", "-k", KEY,
         *(word for name, value in headers.items() for word in ("-H", f"{name}={value}")),
         data=BODY.encode())


def send_rabbit(side, place):
    publish(place["uri"], place["exchange"], KEY, [(BODY.encode(), pika.BasicProperties(
        content_type="application/json", message_id="m-17", correlation_id="c-17",
        type="created", delivery_mode=2, headers={"region": "eu", "amount": 42}))])


def send_jms(side, place):
    Jms(side.broker).order(place["address"], KEY, BODY)


def send_redis(side, place):
    redis_cli(side, "XADD", place["stream_key"], "*", "key", KEY, "body", BODY, "region", "eu",
              "amount", "42", "content-type", "application/json", "message-id", "m-17",
              "correlation-id", "c-17", "subject", "created")


def until_seen(look, what):
    end = time.monotonic() + SECONDS
    while not (seen := look()):
        assert time.monotonic() < end, f"nothing in {what}"
        time.sleep(0.05)
    return seen


def seen_kafka(side, place):
    record = json.loads(until_seen(
        lambda: kcat(side, place, "-C", "-o", "beginning", "-c", "1", "-e", "-J"), place))
    flat = record.get("headers", [])
    return {"key": record["key"], "body": record["payload"],
            "headers": dict(zip(flat[::2], flat[1::2]))}


def seen_rabbit(side, place):
    with rabbit_channel(place["uri"]) as channel:
        method, properties, body = until_seen(
            lambda: (got := channel.basic_get(place["queue"], auto_ack=True))[0] and got, place)
    headers = dict(properties.headers or {})
    for name in ("content_type", "message_id", "correlation_id", "type"):
        if getattr(properties, name) is not None:
            headers[{"type": "subject"}.get(name, name.replace("_", "-"))] = getattr(properties,
                                                                                     name)
    key = headers.pop("x-opt-mbridge-key", b"")
    return {"key": key.decode() if isinstance(key, bytes) else key, "body": body.decode(),
            "headers": headers}


def seen_jms(side, place):
    [message] = Jms(side.broker).receive(place["address"], 1, SECONDS)
    headers = {name: value[1] for name, value in message["properties"].items()}
    for name, header in (("JMSMessageID", "message-id"), ("JMSCorrelationID", "correlation-id"),
                         ("JMSType", "subject")):
        if message[name] is not None:
            headers[header] = message[name].removeprefix("ID:AMQP_NO_PREFIX:")
    body = message["body"]
    if message["kind"] == "bytes":
        body = bytes.fromhex(body).decode()
    return {"key": headers.get("JMSXGroupID", ""), "body": body, "headers": headers,
            "kind": message["kind"]}


def seen_redis(side, place):
    reply = json.loads(until_seen(lambda: (text := redis_cli(
        side, "XRANGE", place["stream_key"], "-", "+")) != "[]\n" and text, place))
    flat = reply[0][1]
    fields = dict(zip(flat[::2], flat[1::2]))
    return {"key": fields.pop("key", ""), "body": fields.pop("body"), "headers": fields}


SEND = {"kafka": send_kafka, "rabbitmq": send_rabbit, "artemis": send_jms, "redis": send_redis}
SEEN = {"kafka": seen_kafka, "rabbitmq": seen_rabbit, "artemis": seen_jms, "redis": seen_redis}
CLIENTS = {"kafka": "kcat", "rabbitmq": "pika", "artemis": "JMS", "redis": "redis-cli"}


def carried(name):
    return name.startswith(("mbridge.", "x-opt-mbridge-", "_mbridge"))


@pytest.mark.parametrize("pair", PAIRS, ids=[f"{one}-{other}" for one, other in PAIRS])
def test_native_clients_see_natural_values(pair, brokers, fresh, tmp_path, ending, counts):
    source, sink = (brokers.side(name) for name in pair)
    where, there = source.make(fresh("from")), sink.make(fresh("to"))
    bridge = ending(Bridge(tmp_path, config(
        fresh("bridge"), {"a": source.endpoint, "b": sink.endpoint},
        [{"name": "pair", "from": {"endpoint": "a", **source.source(where)},
          "to": {"endpoint": "b", **sink.sink(there)}}])))
    SEND[pair[0]](source, where)
    bridge.start()
    seen = SEEN[pair[1]](sink, there)
    headers = {name: value for name, value in seen["headers"].items() if not carried(name)}
    counts(**{"sent by": CLIENTS[pair[0]], "seen by": CLIENTS[pair[1]], "key": seen["key"],
              "body": seen["body"],
              "headers": ", ".join(f"{name}={value!s:.{SHOWN_MAX}}"
                                   for name, value in sorted(headers.items()))})

    assert seen["body"] == BODY
    assert headers["region"] == "eu"
    assert headers["correlation-id"] == "c-17" and headers["subject"] == "created"
    # A number where both platforms have numbers, else its digits.
    typed = {"rabbitmq", "artemis"}
    assert headers["amount"] == (42 if set(pair) == typed else "42")
    if "artemis" != pair[0]:  # JMS sets its own id, and has no content type
        assert headers["message-id"] == "m-17"
    if "artemis" not in pair:
        assert headers["content-type"] == "application/json"
    if pair == ("artemis", "redis"):  # a group is a key where there are partitions
        assert headers["group-id"] == KEY
    elif pair[1] in ("kafka", "redis"):
        assert seen["key"] == KEY
