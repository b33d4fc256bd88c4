# SPDX-License-Identifier: Apache-2.0
"""The brokers of a battery: sides by name, a second broker where both ends are of one platform,
proxies before them, and that all are well again after each case."""

import contextlib
import os
import signal

from brokers.other_release import host_release, unavailable
from support.proxy import ProxiedKafka, Proxy
from support.redis_side import RedisSide
from support.sides import Amqp10Side, KafkaSide, RabbitSide

PLATFORMS = ("kafka", "rabbitmq", "artemis", "redis")
EXTRA = ("classic", "rabbitmq4")  # AMQP 1.0 on other brokers, for chosen cases
KAFKA_VERSION = "3.9.1"
# Addresses that refuse, or give no credit, instead of paging once that many messages are there.
LIMITS = "".join(
    f'<address-setting match="{name}.#"><max-size-messages>200</max-size-messages>'
    f"<address-full-policy>{policy}</address-full-policy></address-setting>"
    for name, policy in (("full", "FAIL"), ("block", "BLOCK")))
# By default Artemis moves a message to its own dead-letter address when it was handed out ten times,
# and a connection that is cut counts as once for all that was on its way (docs/delivery.md).
ATTEMPTS = ('<address-setting match="from.#"><max-delivery-attempts>-1</max-delivery-attempts>'
            "</address-setting>")


class Absent(Exception):
    """This machine has no such broker."""


class Fleet:
    """brokers: the brokers of a session (tests/conftest.py)."""

    def __init__(self, brokers, workdir):
        self._brokers, self._workdir = brokers, workdir
        self._stack = contextlib.ExitStack()
        self._proxied = None
        self._proxies, self._used = [], {}
        self.spoilt = False  # a broker is not as it should be: the next row has others

    def side(self, name, which="a"):
        """The platform as an end of a route. which: "a", or "b" for another broker of its kind."""
        if name == "kafka":
            return self._note(KafkaSide(self._brokers.kafka(KAFKA_VERSION, which)))
        if name == "rabbitmq":
            return self._note(RabbitSide(self._brokers.rabbit(which)))
        if name == "redis":
            return self._note(RedisSide(self._brokers.redis(which)))
        if name == "artemis":
            return self._note(Amqp10Side(self._brokers.artemis(which, addresses=ATTEMPTS)))
        if name == "classic":
            return self._note(Amqp10Side(self._brokers.classic(which)))
        if host_release() != "trixie" and unavailable():
            raise Absent(unavailable())
        which = "trixie" if which == "a" else f"trixie-{which}"
        return self._note(Amqp10Side(self._brokers.rabbit(which, release="trixie")))

    def pair(self, names, apart=False):
        """Both ends. apart: on two brokers, also where they are of one platform."""
        source, sink = names
        return self.side(source), self.side(sink, "b" if apart and source == sink else "a")

    def special(self, name, which, **options):
        """A side on a broker with options of its own."""
        make = {"kafka": lambda: KafkaSide(self._brokers.kafka(KAFKA_VERSION, which, **options)),
                "redis": lambda: RedisSide(self._brokers.redis(which, **options)),
                "artemis": lambda: Amqp10Side(self._brokers.artemis(which, **options))}
        return self._note(make[name]())

    def proxied(self, name):
        """(side, what its endpoint has instead, the proxy)."""
        if name == "kafka":
            if self._proxied is None:
                self._proxied = self._stack.enter_context(
                    ProxiedKafka(KAFKA_VERSION, self._workdir))
                self._stack.callback(self._proxied.proxy.end)
            self._proxied.proxy.heal()
            return (self._note(KafkaSide(self._proxied)), {"brokers": self._proxied.proxied},
                    self._proxied.proxy)
        side = self.side(name)
        proxy = Proxy(side.broker.port)
        self._proxies.append(proxy)
        here = f"127.0.0.1:{side.broker.port}"
        uri = side.endpoint["uri"].replace(here, f"127.0.0.1:{proxy.port}")
        return side, {"uri": uri}, proxy

    def _note(self, side):
        self._used[id(side.broker)] = side.broker
        return side

    def heal(self):
        """All brokers run again, whatever a case that failed has left; proxies are gone."""
        while self._proxies:
            self._proxies.pop().end()
        for broker in self._used.values():
            if broker.pid is None:
                broker.start()
            else:
                os.kill(broker.pid, signal.SIGCONT)

    def end(self):
        self._stack.close()
