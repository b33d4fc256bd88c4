# SPDX-License-Identifier: Apache-2.0
"""Publishing to RabbitMQ with pipelined confirms, resending in order after a disconnect."""

import time
from collections import deque

import pika

RECONNECT_S = 0.25
WINDOW = 200


def rabbit_parameters(uri):
    parameters = pika.URLParameters(uri)
    parameters.heartbeat = 20
    parameters.socket_timeout = 5
    parameters.blocked_connection_timeout = None
    return parameters


class RabbitPublisher:
    """Keeps each message until the broker confirmed it.

    Items are (name, exchange, routing_key, body, properties). After a disconnect or a nack
    everything unresolved is sent again from the first, before anything new.

    on_ready()           may send now
    on_confirmed(names)  in the order in which they were sent
    on_again(names)      these are sent once more
    """

    def __init__(self, uri, on_ready, on_confirmed, on_again=None):
        self._parameters = rabbit_parameters(uri)
        self._on_ready = on_ready
        self._on_confirmed = on_confirmed
        self._on_again = on_again or (lambda names: None)
        self._unresolved = deque()
        self._resolved = set()
        self._tag_first = 1
        self._channel = None
        self._stopping = False
        self._connection = None
        self._connect()
        self.loop = self._connection.ioloop

    @property
    def outstanding(self):
        return len(self._unresolved)

    @property
    def ready(self):
        return self._channel is not None

    def send(self, name, exchange, routing_key, body, properties):
        item = (name, exchange, routing_key, body, properties)
        self._unresolved.append(item)
        self._publish(item)

    def stop(self):
        self._stopping = True
        if self._connection.is_open:
            self._connection.close()
        else:
            self.loop.stop()

    def _publish(self, item):
        self._channel.basic_publish(item[1], item[2], item[3], item[4], mandatory=True)

    def _connect(self):
        loop = self._connection.ioloop if self._connection else None
        self._connection = pika.SelectConnection(
            self._parameters, on_open_callback=self._opened,
            on_open_error_callback=self._failed, on_close_callback=self._failed,
            custom_ioloop=loop)

    def _opened(self, connection):
        connection.channel(on_open_callback=self._channel_open)

    def _channel_open(self, channel):
        channel.add_on_close_callback(self._channel_closed)
        channel.confirm_delivery(self._answer, callback=lambda frame: self._start(channel))

    def _start(self, channel):
        self._channel = channel
        self._tag_first = 1
        self._resolved.clear()
        again = list(self._unresolved)
        self._on_again([item[0] for item in again])
        for item in again:
            self._publish(item)
        self._on_ready()

    def _channel_closed(self, channel, reason):
        self._channel = None
        if self._connection.is_open and not self._stopping:
            self._connection.close()

    def _failed(self, connection, reason):
        self._channel = None
        if self._stopping:
            self.loop.stop()
        else:
            connection.ioloop.call_later(RECONNECT_S, self._connect)

    def _answer(self, frame):
        method = frame.method
        if method.NAME == "Basic.Nack":
            self._connection.close()
            return
        if method.multiple:
            self._resolved.update(range(self._tag_first, method.delivery_tag + 1))
        else:
            self._resolved.add(method.delivery_tag)
        names = []
        while self._tag_first in self._resolved:
            self._resolved.discard(self._tag_first)
            self._tag_first += 1
            names.append(self._unresolved.popleft()[0])
        if names:
            self._on_confirmed(names)


def publish_all(uri, messages, seconds=120):
    """messages: (exchange, routing_key, body, properties). Returns when all are confirmed."""
    left = deque(enumerate(messages))
    end = time.monotonic() + seconds

    def pump():
        while left and publisher.ready and publisher.outstanding < WINDOW:
            number, message = left.popleft()
            publisher.send(number, *message)
        if not left and not publisher.outstanding:
            publisher.stop()
        elif time.monotonic() > end:
            raise AssertionError(f"{len(left) + publisher.outstanding} messages not confirmed")
        else:
            publisher.loop.call_later(0.002, pump)

    publisher = RabbitPublisher(uri, lambda: None, lambda names: None)
    publisher.loop.call_later(0, pump)
    publisher.loop.start()
