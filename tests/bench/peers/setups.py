# SPDX-License-Identifier: Apache-2.0
"""Each alternative's settings for a route, made as like the bridge's as it lets us: persistent and
confirmed, the source acknowledged after the confirm, no compression.

strict keeps the order of messages; fast is what it reaches when it need not. Notes say where it
is less than it seems: these were seen in tests of their own, with faults, or are its documentation's.
"""

import json
from collections import namedtuple
from pathlib import Path

from . import install, mirror, shovel

HERE = Path(__file__).resolve().parent
PREFETCH = 2000
NO_BODY = "carries no body: its field has another name"  # so it is not the same work

# command(source, sink, streams, serial, workdir): what to start. safe: keeps order and loses nothing.
Peer = namedtuple("Peer", "name installed hint handles command note safe")


def _amqp(end):
    return end.broker.uri.rpartition("/")[0] + "/"


# ---- Bento ----

def _bento_input(source, stream, group):
    if source.name == "kafka":
        return {"kafka_franz": {
            "seed_brokers": [source.broker.bootstrap], "topics": [stream["topic"]],
            "consumer_group": group, "start_from_oldest": True, "checkpoint_limit": 4096,
            "commit_period": "1s", "fetch_max_wait": "100ms", "auto_replay_nacks": True}}
    if source.name == "rabbitmq":
        return {"amqp_0_9": {"urls": [_amqp(source)], "queue": stream["queue"], "auto_ack": False,
                             "prefetch_count": PREFETCH}}
    if source.name == "artemis":
        return {"amqp_1": {"urls": [f"amqp://{source.broker.address}"], "credit": PREFETCH,
                           "source_address": f"queue://{stream['address']}", "read_header": True,
                           "sasl": _sasl(source)}}
    return {"redis_streams": {
        "url": f"redis://{source.broker.address}", "streams": [stream["stream"]],
        "body_key": "body", "consumer_group": group, "client_id": "one", "limit": 1000,
        "start_from_oldest": True, "commit_period": "1s", "timeout": "1s"}}


def _sasl(end):
    return {"mechanism": "plain", "user": end.broker.username, "password": end.broker.password}


def _bento_output(source, sink, stream, fast):
    # Of Kafka and Redis these are batches, of the AMQP ones messages that wait for their confirm.
    batches = {"max_in_flight": 10 if fast else 1, "batching": {"count": 1000, "period": "5ms"}}
    messages = {"max_in_flight": 1024 if fast else 1}
    own = {"metadata": {"exclude_prefixes": ["kafka_", "amqp_", "redis_stream"]}}
    if sink.name == "kafka":
        key = {"kafka": "kafka_key", "redis": "key"}.get(source.name, "x_opt_mbridge_key")
        return {"kafka_franz": {
            "seed_brokers": [sink.broker.bootstrap], "topic": stream["topic"],
            "key": '${! metadata("%s") }' % key, "idempotent_write": True, "compression": "none",
            "metadata": {"include_patterns": ["^x[-_]"]}, "max_message_bytes": "16MB", **batches}}
    if sink.name == "rabbitmq":
        return {"amqp_0_9": {"urls": [_amqp(sink)], "exchange": "", "key": stream["queue"],
                             "persistent": True, "mandatory": True, **messages, **own}}
    if sink.name == "artemis":
        return {"amqp_1": {"urls": [f"amqp://{sink.broker.address}"],
                           "target_address": f"queue://{stream['address']}", "sasl": _sasl(sink),
                           **messages, **own}}
    return {"redis_streams": {"url": f"redis://{sink.broker.address}", "stream": stream["stream"],
                              "body_key": "body", "max_length": 0, **batches, **own}}


def _bento(fast):
    def command(source, sink, streams, serial, workdir):
        path = Path(workdir) / "bento.json"  # which is YAML too
        path.write_text(json.dumps({
            "http": {"enabled": False}, "logger": {"level": "WARN"}, "pipeline": {"threads": 1},
            "shutdown_timeout": "5s",
            "input": _bento_input(source, streams[0], f"bento{serial}"),
            "output": _bento_output(source, sink, streams[1], fast)}))
        return [install.bento(), "-c", path]
    return command


def _bento_note(fast):
    def note(source, sink):
        notes = ["disorders keys"] if fast else []
        if fast and sink == "rabbitmq":
            notes.append("loses what cannot be routed")
        if sink == "artemis":
            notes.append("not durable: it has no option for that")
        return ", ".join(notes)
    return note


# ---- mq-bridge ----

def _mq_input(source, stream, group):
    if source.name == "kafka":
        return {"kafka": {"url": source.broker.bootstrap, "topic": stream["topic"],
                          "group_id": group}}
    if source.name == "rabbitmq":
        return {"amqp": {"url": source.broker.uri.replace("%2F", "%2f"), "queue": stream["queue"],
                         "prefetch_count": 4096}}
    return {"redis_streams": {"url": f"redis://{source.broker.address}", "stream": stream["stream"],
                              "group": group, "consumer_name": "one", "read_from_start": True,
                              "internal_buffer_size": 4096}}


def _mq_output(sink, stream):
    if sink.name == "kafka":
        return {"kafka": {"url": sink.broker.bootstrap, "topic": stream["topic"],
                          "create_topic": False, "partition_key": "x-opt-mbridge-key",
                          "producer_options": [["compression.type", "none"]]}}
    if sink.name == "rabbitmq":
        return {"amqp": {"url": sink.broker.uri.replace("%2F", "%2f"), "queue": stream["queue"],
                         "no_declare_queue": True}}
    return {"redis_streams": {"url": f"redis://{sink.broker.address}", "stream": stream["stream"]}}


def _mq_bridge(fast):
    def command(source, sink, streams, serial, workdir):
        output = _mq_output(sink, streams[1])
        output["middlewares"] = [{"retry": {"max_attempts": 1_000_000}}]
        return [install.mq_bridge(), HERE / "mq_bridge.py", json.dumps({
            "input": _mq_input(source, streams[0], f"mq{serial}"), "output": output,
            "batch_size": 1024, "required_delivery": "at_least_once",
            "concurrency": 4 if fast else 1})]
    return command


def _mq_note(fast):
    def note(source, sink):
        notes = ["disorders keys"] if fast else []
        if source == "kafka":
            notes.append("drops the key")
        if source == "redis":
            notes.append(NO_BODY)
        return ", ".join(notes)
    return note


def _nothing(source, sink):
    return ""


def shovel_home():
    """It comes with RabbitMQ."""
    return Path("/usr/lib/rabbitmq")


INSTALL = "./dev bench --install-peers"
EVERYWHERE = ("kafka", "rabbitmq", "artemis", "redis")
NOT_AMQP10 = ("kafka", "rabbitmq", "redis")
PEERS = (
    Peer("Bento strict", install.bento, INSTALL, (EVERYWHERE, EVERYWHERE), _bento(False),
         _bento_note(False), True),
    Peer("Bento fast", install.bento, INSTALL, (EVERYWHERE, EVERYWHERE), _bento(True),
         _bento_note(True), False),
    Peer("mq-bridge strict", install.mq_bridge, INSTALL, (NOT_AMQP10, NOT_AMQP10),
         _mq_bridge(False), _mq_note(False), True),
    Peer("mq-bridge fast", install.mq_bridge, INSTALL, (NOT_AMQP10, NOT_AMQP10), _mq_bridge(True),
         _mq_note(True), False),
    Peer("MirrorMaker 2 strict", install.mirror_libs, INSTALL, (("kafka",), ("kafka2",)),
         mirror.command(False), _nothing, True),
    Peer("MirrorMaker 2 fast", install.mirror_libs, INSTALL, (("kafka",), ("kafka2",)),
         mirror.command(True), _nothing, True),
    Peer("Shovel", shovel_home, "install RabbitMQ", (("rabbitmq", "artemis"), ("rabbitmq",)),
         shovel.command, shovel.note, False),
    Peer("Shovel", shovel_home, "install RabbitMQ", (("rabbitmq",), ("artemis",)),
         shovel.command, shovel.note, False),
)
