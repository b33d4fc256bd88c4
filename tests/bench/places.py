# SPDX-License-Identifier: Apache-2.0
"""Where messages are in a measurement: brokers, the streams on them, and who fills them."""

import contextlib
import re
from collections import defaultdict, namedtuple

from brokers import (ArtemisBroker, ClassicBroker, KafkaBroker, RabbitBroker, RedisBroker,
                     free_port)
from support import clients
from support.sides import Amqp10Side, KafkaSide, RabbitSide
from support.redis_side import RedisSide

import halves

PARTITIONS = 4
MESSAGE_MAX = 8 << 20

# count messages of size bytes with that many headers besides their key
Load = namedtuple("Load", "count size headers", defaults=(256, 0))
# How a raw program is called: program, verb, address, stream.
Call = namedtuple("Call", "program verb address stream options", defaults=((),))


class FarKafka(KafkaBroker):
    """With a second listener: a client that comes by it is sent to `far_host`, for the proxy before
    it."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.behind, self.far_port, self.far_host = free_port(), free_port(), "127.0.0.1"

    def _further_listener(self):
        return self.behind, f"{self.far_host}:{self.far_port}"


class Platform:
    """platform: as the bridge calls it. has_bare: its raw halves also work without their client
    library's calls."""

    has_bare = True

    def far_port(self, host):
        """Where a proxy is to connect, and where it has to listen so that clients pass it."""
        return self.broker.port, free_port()


class Kafka(Platform):
    """keeps: a stream that was read can be read again, by another group."""

    name, platform, keeps, has_bare = "kafka", "kafka", True, False

    def __init__(self, broker):
        self.broker, self.side = broker, KafkaSide(broker, PARTITIONS)
        self.endpoint = self.side.endpoint

    @staticmethod
    def start(options, workdir):
        return FarKafka(options.kafka, workdir, config={"message.max.bytes": MESSAGE_MAX})

    def far_port(self, host):
        if host != self.broker.far_host:
            self.broker.far_host = host
            self.broker.stop()
            self.broker.start()
        return self.broker.behind, self.broker.far_port

    def describe(self):
        return f"Kafka {self.broker.version}"

    def make(self, name, partitions=PARTITIONS):
        clients.create_topic(self.broker.bootstrap, name, partitions)
        return {"topic": name}

    def drop(self, place, load):
        clients.delete_topic(self.broker.bootstrap, place["topic"])

    def read(self, place):
        return Call("raw_kafka", "consume", self.broker.bootstrap, place["topic"])

    def write(self, place):
        return Call("raw_kafka", "produce", self.broker.bootstrap, place["topic"])

    def source(self, place):
        return {"topic": place["topic"]}

    sink = source


class Kafka2(Kafka):
    """Another cluster."""

    name = "kafka2"


def rabbit_version(broker):
    """As it says at its start: its own tool takes seconds to ask."""
    found = re.search(r"RabbitMQ (\d[\w.]*)", broker.log_since_start())
    return found[1] if found else "?"


class Rabbit(Platform):
    name, platform, keeps = "rabbitmq", "amqp091", False

    def __init__(self, broker):
        self.broker, self.side = broker, RabbitSide(broker)
        self.endpoint = self.side.endpoint

    @staticmethod
    def start(options, workdir):
        return RabbitBroker(workdir, plugins=("rabbitmq_shovel",) if options.peers else ())

    def describe(self):
        return f"RabbitMQ {rabbit_version(self.broker)}"

    def make(self, name):
        clients.declare_queue(self.broker.uri, name)
        return {"queue": name}

    def drop(self, place, load):
        clients.delete_queue(self.broker.uri, place["queue"])

    def read(self, place):
        return Call("raw_amqp091", "consume", self.broker.address, place["queue"])

    def write(self, place):
        return Call("raw_amqp091", "publish", self.broker.address, place["queue"])

    def source(self, place):
        return {"queue": place["queue"]}

    sink = source


class Amqp10(Platform):
    platform, keeps = "amqp10", False

    def __init__(self, broker):
        self.broker, self.side = broker, Amqp10Side(broker)
        self.endpoint = self.side.endpoint

    def make(self, name):
        return self.side.make(name)

    def drop(self, place, load):
        """There is no cheap way to delete a queue here: it is read until it is empty."""
        if load is not None:
            halves.run(self.read(place), load)

    def _call(self, verb, place):
        login = f"{self.broker.username}:{self.broker.password}@{self.broker.address}"
        options = ("capability=1",) if place["capability"] else ()
        return Call("raw_amqp10", verb, login, place["address"], options)

    def read(self, place):
        return self._call("receive", place)

    def write(self, place):
        return self._call("send", place)

    def source(self, place):
        return {"address": place["address"]}

    sink = source


class Artemis(Amqp10):
    name = "artemis"

    @staticmethod
    def start(options, workdir):
        return ArtemisBroker(workdir)

    def describe(self):
        return f"Artemis {self.broker.version}"


class Classic(Amqp10):
    name = "classic"

    @staticmethod
    def start(options, workdir):
        return ClassicBroker(workdir)

    def describe(self):
        return f"ActiveMQ Classic {self.broker.version}"


class Rabbit4(Amqp10):
    """RabbitMQ 4 by AMQP 1.0."""

    name = "rabbitmq4"

    @staticmethod
    def start(options, workdir):
        return RabbitBroker(workdir, release="trixie", amqp10=True)

    def describe(self):
        return f"RabbitMQ {rabbit_version(self.broker)} (AMQP 1.0)"

    def drop(self, place, load):
        clients.delete_queue(self.broker.uri, place["address"].removeprefix("/queues/"))


class Redis(Platform):
    name, platform, keeps = "redis", "redis", True

    def __init__(self, broker):
        self.broker, self.side = broker, RedisSide(broker)
        self.endpoint = self.side.endpoint

    @staticmethod
    def start(options, workdir):
        # A rewrite of its file in the middle of a run would be measured too.
        return RedisBroker(workdir, config={"auto-aof-rewrite-percentage": 0})

    def describe(self):
        return "Redis " + self.broker.call("INFO", "server").partition("redis_version:")[2].split()[0]

    def make(self, name):
        return {"stream": name}

    def drop(self, place, load):
        self.broker.call("UNLINK", place["stream"])

    def read(self, place):
        return Call("raw_redis", "read", self.broker.address, place["stream"])

    def write(self, place):
        return Call("raw_redis", "add", self.broker.address, place["stream"])

    def source(self, place):
        return {"stream": place["stream"]}

    sink = source


KINDS = {kind.name: kind for kind in (Kafka, Rabbit, Artemis, Redis, Rabbit4, Classic)}
OTHERS = {Kafka2.name: Kafka2}  # no part of pairs
USUAL = ("kafka", "rabbitmq", "artemis", "redis")


class Places:
    """The platforms of a run, by name, and their filled streams."""

    def __init__(self, options, workdir, names):
        self.options, self.workdir = options, workdir
        self._names, self._stack = names, contextlib.ExitStack()
        self.by_name = {}
        self._serial = 0
        self._kept = {}
        self._spare = defaultdict(list)

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            for name in self._names:
                kind = {**KINDS, **OTHERS}[name]
                broker = stack.enter_context(kind.start(self.options, self.workdir))
                self.by_name[name] = kind(broker)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception):
        self._stack.close()

    def new(self, name, what):
        self._serial += 1
        return self.by_name[name].make(f"bench.{what}.{self._serial}")

    def serial(self):
        self._serial += 1
        return self._serial

    def filled(self, name, load):
        """A stream with exactly this load in it, as the raw half writes it. One that is taken away
        by reading is the caller's, one that is kept is everybody's."""
        if (name, load) in self._kept:
            return self._kept[name, load]
        if self._spare[name, load]:
            return self._spare[name, load].pop()
        place = self.fresh(name, load)
        if self.by_name[name].keeps:
            self._kept[name, load] = place
        return place

    def fresh(self, name, load):
        """One that is the caller's."""
        place = self.new(name, "source")
        halves.run(self.by_name[name].write(place), load)
        return place

    def written(self, name, load, place):
        """A raw half wrote it: it may be a source later."""
        if self.by_name[name].keeps or len(self._spare[name, load]) >= 2:
            self.by_name[name].drop(place, load)
        else:
            self._spare[name, load].append(place)

    def clear(self):
        """Gives up what was kept for others to read: it is much, of all loads together."""
        for (name, load), place in self._kept.items():
            self.by_name[name].drop(place, load)
        for (name, load), streams in self._spare.items():
            for place in streams:
                self.by_name[name].drop(place, load)
        self._kept.clear()
        self._spare.clear()

    def forget(self, name, place):
        """A stream whose messages were all read."""
        self.by_name[name].drop(place, None)

    def read(self, name, place, load):
        """A source was read to its end. Queues that are empty now go; the others are kept."""
        if name in ("rabbitmq", "rabbitmq4"):
            self.by_name[name].drop(place, None)
