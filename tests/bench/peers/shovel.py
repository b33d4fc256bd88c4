# SPDX-License-Identifier: Apache-2.0
"""RabbitMQ's Shovel: it runs inside the broker, so its processor time and memory are not to be
told from the broker's."""

import json

PREFETCH = 1000
NAME = "bench"


class Shovel:
    """Looks like a process to whoever measures it."""

    def __init__(self, broker, settings):
        self._broker = broker
        broker.ctl("set_parameter", "shovel", NAME, json.dumps(settings))

    def cpu_s(self):
        return None

    def rss_mib(self):
        return None

    def tail(self):
        return self._broker.ctl("eval", "rabbit_shovel_status:status().")[-600:]

    def end(self):
        self._broker.ctl("clear_parameter", "shovel", NAME)


def _uri(end):
    login = f"{end.broker.username}:{end.broker.password}"
    return f"amqp://{login}@{end.broker.address}"


def command(source, sink, streams, serial, workdir):
    settings = {"ack-mode": "on-confirm", "reconnect-delay": 1, "src-uri": _uri(source),
                "src-prefetch-count": PREFETCH, "dest-uri": _uri(sink)}
    if source.name == "rabbitmq":
        settings |= {"src-protocol": "amqp091", "src-queue": streams[0]["queue"]}
    else:  # without the prefix Artemis would make an address that drops what nobody awaits
        settings |= {"src-protocol": "amqp10", "src-address": f"queue://{streams[0]['address']}"}
    if sink.name == "rabbitmq":
        settings |= {"dest-protocol": "amqp091", "dest-queue": streams[1]["queue"],
                     "dest-publish-properties": {"delivery_mode": 2}}
    else:
        settings |= {"dest-protocol": "amqp10", "dest-address": f"queue://{streams[1]['address']}"}
    return Shovel((source if source.name == "rabbitmq" else sink).broker, settings)


def note(source, sink):
    notes = ["loses what cannot be routed", "its processor time is the broker's"]
    if source == "artemis":
        notes.append("drops headers")
    return ", ".join(notes)
