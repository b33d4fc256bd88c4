# SPDX-License-Identifier: Apache-2.0
"""An AMQP 1.0 container that answers as a test says: outcomes by message, redirects, refusals.

Messages of address "in" are handed out in order, each until it is accepted. What is sent to any
other address is answered by its property "fate" (FATES) the first time, and accepted when it comes
again; `taken` has (address, body) of what was accepted, `seen` how often each body came.
"""

import threading
from collections import Counter

from proton import Condition, Delivery, Message, Terminus, symbol
from proton.handlers import MessagingHandler
from proton.reactor import Container

CONDITIONS = {"rejected": "amqp:decode-error", "rejected full": "amqp:resource-limit-exceeded",
              "rejected forbidden": "amqp:unauthorized-access", "rejected plainly": None}
# What is the destination's fault is tried again; what is the message's goes to the dead letters.
TRIED_AGAIN = ("rejected full", "rejected forbidden", "rejected plainly", "released", "modified",
               "modified undeliverable", "settled silently")
ENDINGS = ("ends the link", "ends the session")  # at every attempt
FATES = ("accepted", "received first", "rejected", *TRIED_AGAIN, *ENDINGS)


class Peer(MessagingHandler):
    """redirect: (port, how), how "connection" or "link": all that comes is sent there.

    window_bytes: of each session, for what comes. closed: gives no credit before open() is called.
    """

    def __init__(self, messages=(), redirect=None, window_bytes=None, closed=False):
        super().__init__(auto_accept=False, prefetch=0)
        self._window_bytes, self._closed = window_bytes, threading.Event()
        if closed:
            self._closed.set()
        self.taken, self.seen, self.connections = [], Counter(), 0
        self._redirect = redirect
        self._waiting = list(messages)
        self._under_way = {}
        self._listening = threading.Event()
        self.port = None
        self._container = Container(self)
        self._thread = threading.Thread(target=self._container.run, daemon=True)

    def __enter__(self):
        self._thread.start()
        assert self._listening.wait(10)
        return self

    def __exit__(self, *_):
        self._container.stop()
        self._thread.join(10)

    def open(self):
        self._closed.clear()

    @property
    def under_way(self):
        """How many of its messages were sent and not accepted so far."""
        return len(self._under_way)

    @property
    def unsettled(self):
        """How many of its messages nobody has accepted so far."""
        return len(self._waiting) + len(self._under_way)

    @property
    def uri(self):
        return f"amqp10://127.0.0.1:{self.port}"

    def on_start(self, event):
        acceptor = event.container.listen("127.0.0.1:0")
        self.port = acceptor._selectable._delegate.getsockname()[1]
        self._listening.set()

    def on_connection_opened(self, event):
        self.connections += 1
        if self._redirect and self._redirect[1] == "connection":
            event.connection.condition = self._there("connection")
            event.connection.close()

    def _there(self, what):
        port, _ = self._redirect
        return Condition(f"amqp:{what}:redirect", "it is elsewhere", {
            symbol("network-host"): "127.0.0.1", symbol("hostname"): "elsewhere",
            symbol("port"): port})

    def on_session_opening(self, event):
        if self._window_bytes:
            event.session.incoming_capacity = self._window_bytes

    def _give_credit(self, link):
        if self._closed.is_set():
            self._container.schedule(0.05, Later(lambda: self._give_credit(link)))
        else:
            link.flow(1000)

    def on_link_opening(self, event):
        link = event.link
        if self._redirect and self._redirect[1] == "link":
            # A refusal: an attach without a terminus, and then the reason.
            (link.target if link.is_receiver else link.source).type = Terminus.UNSPECIFIED
            event.container.schedule(0, Later(lambda: self._refuse(link)))
            return
        link.source.copy(link.remote_source)
        link.target.copy(link.remote_target)
        if link.is_receiver:
            self._give_credit(link)

    def _refuse(self, link):
        link.condition = self._there("link")
        link.close()

    def on_sendable(self, event):
        while event.sender.credit > 0 and self._waiting:
            message = self._waiting.pop(0)
            self._under_way[event.sender.send(message)] = message

    def on_accepted(self, event):
        self._under_way.pop(event.delivery, None)

    def on_disconnected(self, event):
        # What was not accepted is there again, in its order.
        self._waiting = list(self._under_way.values()) + self._waiting
        self._under_way.clear()

    def on_message(self, event):
        address, body = event.link.remote_target.address, event.message.body
        body = bytes(body) if isinstance(body, memoryview) else body
        fate = (event.message.properties or {}).get("fate", "accepted")
        self.seen[address, body] += 1
        event.link.flow(1)
        if address == "dead" or fate == "accepted" or (
                self.seen[address, body] > 1 and fate not in ENDINGS):
            self._settle(event, Delivery.ACCEPTED)
        elif fate in ENDINGS:
            ended = event.link if fate == "ends the link" else event.link.session
            ended.condition = Condition("amqp:internal-error", "over this message")
            ended.close()
        elif fate == "received first":
            event.delivery.update(Delivery.RECEIVED)
            event.container.schedule(0.2, Later(lambda: self._settle(event, Delivery.ACCEPTED,
                                                                     address, body)))
            return
        elif fate == "settled silently":
            event.delivery.settle()
        elif fate.startswith("rejected"):
            if CONDITIONS[fate]:
                event.delivery.local.condition = Condition(CONDITIONS[fate], "as was asked")
            self._settle(event, Delivery.REJECTED)
        elif fate == "released":
            self._settle(event, Delivery.RELEASED)
        else:
            event.delivery.local.failed = True
            event.delivery.local.undeliverable = "undeliverable" in fate
            self._settle(event, Delivery.MODIFIED)
        if event.delivery.local_state == Delivery.ACCEPTED:
            self.taken.append((address, body))

    def _settle(self, event, state, address=None, body=None):
        event.delivery.update(state)
        event.delivery.settle()
        if address is not None:
            self.taken.append((address, body))


class Later(MessagingHandler):
    def __init__(self, what):
        super().__init__()
        self._what = what

    def on_timer_task(self, event):
        self._what()


def messages_of(fates):
    return [Message(body=f"{number} {fate}", durable=True, properties={"fate": fate})
            for number, fate in enumerate(fates)]


def numbered(count, size=0):
    return [Message(body=b"%08d" % number + b"x" * size, durable=True, inferred=True)
            for number in range(count)]
