# SPDX-License-Identifier: Apache-2.0
"""One AMQP 1.0 connection with one link that carries encoded messages as they are.

The protocol is Qpid Proton's, the loop our own: a link is served by step(), in the caller's thread.
A place is a dict {amqp10: URI, address: …, capability: "queue" or ""}.
"""

import select
import socket
import time
from urllib.parse import unquote, urlsplit

from proton import (UNDESCRIBED, Array, Collector, Connection, Data, Delivery, Endpoint, Event,
                    Transport, symbol)

READ_BYTES = 1 << 16
SESSION_BYTES = 1 << 20
SESSION_IN_BYTES = 1 << 25  # has to hold the largest message whole
FRAME_BYTES = 1 << 16
OPEN_S = 15


class Broken(ConnectionError):
    """The connection or its link has ended."""


class Link:
    """accepted: tags of a sender's deliveries; refused: those with their outcomes and reasons."""

    def __init__(self, place, receiver=False, window=500):
        self.place = place
        self.accepted, self.refused, self.arrived = [], [], []
        self._window = window if receiver else 0
        self._broken = None
        self._collector = Collector()
        self._connection = Connection()
        self._connection.collect(self._collector)
        self._transport = Transport()
        self._socket = self._connect(urlsplit(place["amqp10"]))
        session = self._connection.session()
        session.incoming_capacity = SESSION_IN_BYTES
        self._connection.open()
        session.open()
        self.link = self._attach(session, receiver)
        self._wait(lambda: self.link.state & Endpoint.REMOTE_ACTIVE, OPEN_S)
        far = self.link.remote_source if receiver else self.link.remote_target
        if not far.address:
            # An attach that is about to be refused has no terminus; the detach says why.
            self._wait(lambda: False, OPEN_S)

    def _connect(self, uri):
        self._transport.max_frame_size = FRAME_BYTES
        sasl = self._transport.sasl()
        sasl.allow_insecure_mechs = True
        if uri.username:
            self._connection.user = unquote(uri.username)
            self._connection.password = unquote(uri.password or "")
            sasl.allowed_mechs("PLAIN")
        else:
            sasl.allowed_mechs("ANONYMOUS")
        self._connection.container = f"mbridge-tests-{id(self)}-{time.monotonic_ns()}"
        self._connection.hostname = uri.hostname
        self._transport.bind(self._connection)
        try:
            connected = socket.create_connection((uri.hostname, uri.port), timeout=OPEN_S)
        except OSError as error:
            raise Broken(str(error)) from error
        connected.setblocking(False)
        return connected

    def _attach(self, session, receiver):
        link = (session.receiver if receiver else session.sender)(f"link-{time.monotonic_ns()}")
        end = link.source if receiver else link.target
        end.address = self.place["address"]
        if self.place.get("capability"):
            end.capabilities.put_py_array(
                Array(UNDESCRIBED, Data.SYMBOL, symbol(self.place["capability"])))
        link.open()
        if receiver:
            link.flow(self._window)
        return link

    @property
    def credit(self):
        return self.link.credit if self.link.session.outgoing_bytes < SESSION_BYTES else 0

    def send(self, tag, data):
        self.link.delivery(tag)
        self.link.stream(data)
        self.link.advance()

    def step(self, seconds=0.0):
        """Serves the connection; waits for the broker up to `seconds` if there is nothing to do."""
        self._transport.tick(time.monotonic())
        self._dispatch()
        writing = self._transport.pending() > 0
        readable, writable, _ = select.select(
            [self._socket], [self._socket] if writing else [], [], 0 if self._broken else seconds)
        try:
            if writable:
                self._transport.pop(self._socket.send(self._transport.peek(READ_BYTES)))
            if readable:
                room = self._transport.capacity()
                data = self._socket.recv(min(room, READ_BYTES)) if room > 0 else b""
                if not data:
                    raise Broken(self._broken or "the broker closed the connection")
                self._transport.push(data)
        except OSError as error:
            raise Broken(self._broken or str(error)) from error
        self._dispatch()
        if self._broken:
            raise Broken(self._broken)

    def close(self):
        """In order: what was settled before is on its way before the connection ends."""
        try:
            if not self._broken:
                self.link.session.close()
                self._wait(lambda: self.link.session.state & Endpoint.REMOTE_CLOSED, 5)
                self._connection.close()
                self._wait(lambda: self._connection.state & Endpoint.REMOTE_CLOSED, 5)
        except (Broken, TimeoutError):
            pass
        finally:
            self.abandon()

    def abandon(self):
        self._socket.close()

    def __enter__(self):
        return self

    def __exit__(self, kind, *rest):
        self.close() if kind is None else self.abandon()

    def _wait(self, condition, seconds):
        end = time.monotonic() + seconds
        try:
            while not condition():
                if time.monotonic() > end:
                    raise TimeoutError(f"AMQP 1.0: no answer within {seconds} s: {self.place}")
                self.step(0.1)
        except BaseException:
            self.abandon()
            raise

    def _dispatch(self):
        while (event := self._collector.peek()) is not None:
            kind = event.type
            if kind == Event.DELIVERY:
                self._delivery(event.delivery)
            elif kind in (Event.LINK_REMOTE_CLOSE, Event.LINK_REMOTE_DETACH):
                self._ended(event.link)
            elif kind == Event.SESSION_REMOTE_CLOSE:
                self._ended(event.session)
            elif kind == Event.CONNECTION_REMOTE_CLOSE:
                self._ended(event.connection)
            elif kind == Event.TRANSPORT_ERROR:
                self._broken = self._broken or str(self._transport.condition)
            self._collector.pop()

    def _ended(self, endpoint):
        if endpoint.state & Endpoint.LOCAL_ACTIVE:
            self._broken = f"ended by the broker: {endpoint.remote_condition}"

    def _delivery(self, delivery):
        if delivery.link.is_receiver:
            if delivery.readable and not delivery.partial:
                # Left to the caller to settle: what he has not written down stays with the broker.
                self.arrived.append((delivery, delivery.link.recv(delivery.pending)))
                delivery.link.advance()
        elif delivery.updated and delivery.remote_state:
            if delivery.remote_state == Delivery.ACCEPTED:
                self.accepted.append(delivery.tag)
            else:
                self.refused.append((delivery.tag, str(delivery.remote_state),
                                     str(delivery.remote.condition)))
            delivery.settle()

    def take_arrived(self):
        """What has come since, accepted: (encoded message, delivered before) in order."""
        taken, self.arrived = self.arrived, []
        for delivery, _ in taken:
            delivery.update(Delivery.ACCEPTED)
            delivery.settle()
        if taken:
            self.link.flow(len(taken))
        return [data for _, data in taken]


def send_all(place, messages, seconds=60, link=None):
    """Sends encoded messages in order; returns when the broker has accepted each."""
    end = time.monotonic() + seconds
    with Link(place) as link:
        unsent, settled = list(enumerate(messages))[::-1], 0
        while settled < len(messages):
            while unsent and link.credit > 0:
                number, data = unsent.pop()
                link.send(str(number), data)
            link.step(0.2)
            settled += len(link.accepted)
            link.accepted.clear()
            assert not link.refused, f"refused: messages {link.refused}"
            assert time.monotonic() < end, f"{settled} of {len(messages)} accepted"


def take_all(place, number, seconds=20):
    """The next `number` encoded messages of a place."""
    end = time.monotonic() + seconds
    taken = []
    with Link(place, receiver=True, window=min(number, 200)) as link:
        while len(taken) < number:
            link.step(0.2)
            taken += link.take_arrived()
            assert time.monotonic() < end, f"{len(taken)} of {number} messages in {place}"
    return taken
