# SPDX-License-Identifier: Apache-2.0
"""The feeder's and the collector's loops on AMQP 1.0; they outlive their broker's restart."""

import time
from collections import OrderedDict

from support.amqp10_codec import decode_message, encode_message
from support.amqp10_link import Broken, Link
from support.body import key_name

RECONNECT_S = 0.25
CREDIT = 500


def attached(place, **options):
    """A link, tried until there is one: its broker may be down, or the queue not made yet."""
    while True:
        try:
            return Link(place, **options)
        except (Broken, TimeoutError):
            time.sleep(RECONNECT_S)


def encoded(key, sequence, region, body):
    return encode_message({
        "header": {"durable": ["boolean", True]},
        "properties": {"group-id": ["string", key_name(key)]},
        "application-properties": [[["string", "region"], ["string", region]]],
        "body": [["data", body.hex()]]})


class Outbox:
    """What was sent and not confirmed; sent again, in order, on a new link."""

    def __init__(self, place, plan, books, region_of):
        self._place, self._plan, self._books, self._region_of = place, plan, books, region_of
        self.unresolved = OrderedDict()  # tag → (key, sequence)
        self._tag = 0
        self._link = attached(place)

    def send(self, name, body=None):
        self._tag += 1
        self.unresolved[str(self._tag)] = name
        self._link.send(str(self._tag), encoded(*name, self._region_of(*name),
                                                body or self._plan.bodies.make(*name)))

    @property
    def room(self):
        return self._link.credit

    def step(self):
        try:
            self._link.step(0.002)
        except Broken:
            self._settle()
            self._start_again()
            return
        self._settle()
        if self._link.refused:
            self._link.abandon()
            self._start_again()

    def _settle(self):
        """The ledger is in the order in which the broker answered."""
        names = [self.unresolved.pop(tag) for tag in self._link.accepted if tag in self.unresolved]
        self._link.accepted.clear()
        if names:
            self._books.confirmed(names)

    def _start_again(self):
        self._link = attached(self._place)
        again = list(self.unresolved.values())
        self.unresolved.clear()
        self._books.again(again)
        while again:
            while again and self._link.credit > 0:
                self.send(again.pop(0))
            try:
                self._link.step(0.01)
            except Broken:
                again = list(self.unresolved.values()) + again
                self.unresolved.clear()
                self._link = attached(self._place)

    def close(self):
        self._link.close()


def feed(spec, switches, plan, books, region_of, window, slice_max):
    outbox = Outbox(spec, plan, books, region_of)
    while not (plan.done and not outbox.unresolved):
        wanted = min(outbox.room, window - len(outbox.unresolved), plan.allowance(), slice_max)
        for _ in range(max(0, wanted)):
            key, sequence, body = plan.make()
            outbox.send((key, sequence), body)
        outbox.step()
    outbox.close()


def _region(message):
    for name, value in message.get("application-properties", []):
        if name[-1] == "region":
            return bytes.fromhex(value[1]) if value[0] == "binary" else value[-1]
    return None


def collect(spec, notes):
    """Accepts on arrival: only for a broker that is not killed meanwhile."""
    while True:
        link = attached(spec, receiver=True, window=CREDIT)
        try:
            while True:
                link.step(0.05)
                for data in link.take_arrived():
                    message = decode_message(data)
                    body = b"".join(bytes.fromhex(part) for kind, part in message["body"]
                                    if kind == "data")
                    before = message.get("header", {}).get("delivery-count", ["uint", 0])
                    notes.add(body, 0, before[1] > 0, _region(message))
                notes.flush()
        except Broken:
            link.abandon()
