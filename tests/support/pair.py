# SPDX-License-Identifier: Apache-2.0
"""A judged route between Kafka and RabbitMQ in either direction, at default settings."""

import time

import pytest

from support.bridge import Bridge
from support.clients import create_topic, declare_queue
from support.config import config, kafka_endpoint, rabbit_endpoint
from support.feed import Feeder
from support.oracle import Stream
from support.wait import until

DIRECTIONS = ("to_rabbit", "to_kafka")
WINDOW = 10_000
ENDLESS = 1 << 30
RESUME_S = 3.0  # after a kill, messages move again

# An arrival this long after a restart can only be the new process's: what the killed one had
# on the wire is through by then.
STRAGGLERS_S = 0.25


class Pair:
    """Names, brokers' streams, feeder, collector and configuration of one route."""

    def __init__(self, direction, kafka, rabbit, fresh, workdir, dice, *, count=ENDLESS, keys=50,
                 rate=4000, partitions=4, live=True, name="load", queue_arguments=None,
                 dead=False, **route):
        self.direction, self.kafka, self.rabbit = direction, kafka, rabbit
        self.workdir, self.name = workdir, name
        self.topic, self.queue = fresh(f"{name}.topic"), fresh(f"{name}.queue")
        self.exchange = fresh(f"{name}.exchange")
        self._bridge_name = fresh("bridge")
        self._route_extra = route
        create_topic(kafka.bootstrap, self.topic, partitions)
        self.in_kafka = {"bootstrap": kafka.bootstrap, "topic": self.topic}
        self.in_rabbit = {"uri": rabbit.uri, "queue": self.queue}
        self.dead_topic = fresh(f"{name}.dead") if dead else None
        if direction == "to_rabbit":
            declare_queue(rabbit.uri, self.queue, queue_arguments)
            source, sink = self.in_kafka, self.in_rabbit
        else:
            declare_queue(rabbit.uri, self.queue, queue_arguments, bind=[(self.exchange, "#")])
            source, sink = {"uri": rabbit.uri, "exchange": self.exchange}, self.in_kafka
        in_dead = None
        if dead:
            create_topic(kafka.bootstrap, self.dead_topic, 1)
            in_dead = {"bootstrap": kafka.bootstrap, "topic": self.dead_topic}
        self.feeder = Feeder(workdir, name, dice.randrange(1 << 30), count, keys=keys, rate=rate,
                             **source)
        self.stream = Stream(workdir, self.feeder, sink, in_dead, live=live)

    @property
    def endpoints(self):
        return {"k": kafka_endpoint(self.kafka), "r": rabbit_endpoint(self.rabbit)}

    def route(self, **more):
        from_kafka = {"endpoint": "k", "topic": self.topic}
        in_queue = {"endpoint": "r", "queue": self.queue}
        source, sink = ((from_kafka, in_queue) if self.direction == "to_rabbit"
                        else (in_queue, from_kafka))
        dead = {"dead_letter": {"endpoint": "k", "topic": self.dead_topic}} \
            if self.dead_topic else {}
        return {"name": self.name, "from": source, "to": sink, **dead, **self._route_extra,
                **more}

    def config(self, *more_routes, **bridge):
        return config(self._bridge_name, self.endpoints, [self.route(), *more_routes], **bridge)

    def bridge(self, name="bridge", text=None):
        return Bridge(self.workdir, text or self.config(), name)

    def end(self):
        self.stream.end()


def wait_resumed(stream, since, seconds, bridge):
    """Until messages move again after a start at `since`; how long that took."""
    watch = stream.destination
    watch.mark(since + STRAGGLERS_S)

    def resumed():
        watch.update()
        bridge.check()
        return watch.resumed
    at = until(resumed, seconds + 30, "messages move again", interval=0.01,
               detail=bridge.run.tail)
    return at - since


def wait_taken_over(stream, killed, seconds, standby):
    """Until the standby has the source and messages move again; how long after `killed`. Its own
    log says so first: what the killed process had sent may arrive late."""
    standby.run.wait_logged("connected", "role=source", seconds=seconds + 30)
    connected = time.monotonic()
    return connected - killed + wait_resumed(stream, connected, seconds, standby)


def sizes(short, full):
    """Parameters of a test that is short every day, and long by choice."""
    return [pytest.param(*short, id="short"),
            pytest.param(*full, id="full", marks=pytest.mark.long)]


def rounds_of(pair, bridge, rounds, messages, dice, stop):
    """Start, wait until it moves, let some pass, stop; the times to move again."""
    times = []
    pair.feeder.start()
    for number in range(rounds + 1):
        began = time.monotonic()
        bridge.start()
        times.append(wait_resumed(pair.stream, began, RESUME_S, bridge))
        if number == rounds:
            break
        target = pair.stream.ended + dice.randrange(50, 3000)
        pair.stream.wait_ended(target, poll=bridge.check)
        stop()
        pair.stream.fault()
    until(lambda: pair.feeder.confirmed >= messages, 120, f"{messages} messages fed")
    pair.feeder.stop()
    return times[1:]


def columns(verdict):
    """The counts that go into the table."""
    return {"confirmed": verdict.confirmed, "lost": verdict.lost, "corrupt": verdict.corrupt,
            "disorder": verdict.disorder, "duplicates": verdict.duplicates,
            "most per fault": max(verdict.duplicates_by_fault, default=0),
            "dead": verdict.dead_lettered}
