# SPDX-License-Identifier: Apache-2.0
"""Invariant I8, seen on the wire: nothing is acknowledged at its source before its sink has
confirmed it.

Proxies (support/proxy.py) show what passes at both ends; a parser for each platform finds in it
which message was sent, confirmed, handed out and acknowledged. A message is known by its body. Where
a source acknowledges positions (Kafka, Redis), what was there is read afterwards: Record.violations.
"""

import re
import struct
import threading

from support.amqp10_codec import Malformed, Reader

ACCEPTED = 0x24


class Record:
    """What was confirmed and acknowledged, in one order over all connections."""

    def __init__(self, stream):
        self.pattern = re.compile(rb"mbt1\|" + stream.encode() + rb"\|(\d+)\|(\d+)\|")
        self._lock = threading.Lock()
        self._events = []

    def names(self, data):
        return [(int(key), int(sequence)) for key, sequence in self.pattern.findall(data)]

    def confirmed(self, name):
        with self._lock:
            self._events.append(("confirmed", name))

    def acknowledged(self, what):
        """A message's name, or a position that resolve() knows."""
        with self._lock:
            self._events.append(("acknowledged", what))

    def violations(self, resolve=lambda what: [what]):
        """(messages acknowledged, those of them that were not confirmed before)."""
        confirmed, checked, early = set(), set(), []
        for kind, what in self._events:
            if kind == "confirmed":
                confirmed.add(what)
                continue
            for name in resolve(what):
                if name not in checked:
                    checked.add(name)
                    if name not in confirmed:
                        early.append(name)
        return len(checked), early


class Cut:
    """The bytes of one way as units: a subclass says how long the next one is."""

    def __init__(self):
        self.data = bytearray()

    def add(self, data):
        self.data += data
        while (size := self.size()) and len(self.data) >= size:
            unit = bytes(self.data[:size])
            del self.data[:size]
            yield unit


class Kafka:
    """Produce requests and their answers; offset commits, as (topic, partition, offset)."""

    class Frames(Cut):
        def size(self):
            return 4 + struct.unpack_from(">I", self.data)[0] if len(self.data) >= 4 else 0

    def __init__(self, record, ends):
        self._record, self._ends = record, ends
        self._ways = {"up": self.Frames(), "down": self.Frames()}
        self._under_way = {}

    def see(self, way, data):
        for frame in self._ways[way].add(data):
            if way == "up":
                self._request(frame)
            else:
                for name in self._under_way.pop(frame[4:8], ()):
                    self._record.confirmed(name)

    def _request(self, frame):
        kind, version = struct.unpack_from(">hh", frame, 4)
        if kind == 0 and "sink" in self._ends:
            self._under_way[frame[8:12]] = self._record.names(frame)
        elif kind == 8 and "source" in self._ends:
            for position in Commit(frame, version).positions():
                self._record.acknowledged(position)


class Commit:
    """A request OffsetCommit, version 2 … 9."""

    def __init__(self, frame, version):
        self._frame, self._version, self._at = frame, version, 12
        self._flexible = version >= 8

    def _take(self, form):
        value = struct.unpack_from(form, self._frame, self._at)[0]
        self._at += struct.calcsize(form)
        return value

    def _varint(self):
        value = shift = 0
        while True:
            byte = self._take(">B")
            value |= (byte & 0x7f) << shift
            shift += 7
            if byte < 0x80:
                return value

    def _text(self, flexible=None):
        flexible = self._flexible if flexible is None else flexible
        size = self._varint() - 1 if flexible else self._take(">h")
        text = self._frame[self._at:self._at + max(0, size)]
        self._at += max(0, size)
        return text.decode()

    def _count(self):
        return self._varint() - 1 if self._flexible else self._take(">i")

    def _tags(self):
        if self._flexible:
            assert self._varint() == 0, "tagged fields"

    def positions(self):
        self._text(flexible=False)  # the client's id, in any version
        self._tags()
        self._text()
        self._take(">i")
        self._text()
        if self._version >= 7:
            self._text()
        if self._version <= 4:
            self._take(">q")
        for _ in range(self._count()):
            topic = self._text()
            for _ in range(self._count()):
                partition, offset = self._take(">i"), self._take(">q")
                if self._version >= 6:
                    self._take(">i")
                self._text()
                self._tags()
                yield topic, partition, offset
            self._tags()


class Amqp091:
    """Tags of deliveries and of publishes, each by its channel."""

    class Frames(Cut):
        def size(self):
            if self.data[:4] == b"AMQP":
                return 8
            return 8 + struct.unpack_from(">I", self.data, 3)[0] if len(self.data) >= 7 else 0

    DELIVER, PUBLISH, ACK = (60, 60), (60, 40), (60, 80)

    def __init__(self, record, ends):
        self._record = record
        self._ways = {"up": self.Frames(), "down": self.Frames()}
        # What carries bodies one way is settled by acks of the other one.
        self._bodies = "down" if "source" in ends else "up"
        self._tell = record.acknowledged if "source" in ends else record.confirmed
        self._tags, self._current, self._published = {}, {}, {}

    def see(self, way, data):
        for frame in self._ways[way].add(data):
            if frame[:4] == b"AMQP":
                continue
            kind, channel = struct.unpack_from(">BH", frame)
            if kind == 3 and way == self._bodies:
                self._body(channel, frame)
            elif kind == 1:
                self._method(way, channel, frame)

    def _method(self, way, channel, frame):
        method = struct.unpack_from(">HH", frame, 7)
        if way == self._bodies and method == self.DELIVER:
            at = 12 + frame[11]
            self._current[channel] = struct.unpack_from(">Q", frame, at)[0]
        elif way == self._bodies and method == self.PUBLISH:
            self._published[channel] = self._published.get(channel, 0) + 1
            self._current[channel] = self._published[channel]
        elif way != self._bodies and method == self.ACK:
            tag, multiple = struct.unpack_from(">QB", frame, 11)
            self._settle(channel, tag, multiple & 1)

    def _body(self, channel, frame):
        tag = self._current.pop(channel, None)
        names = self._record.names(frame)
        if tag is not None and names:
            self._tags.setdefault(channel, {})[tag] = names[0]

    def _settle(self, channel, tag, multiple):
        tags = self._tags.get(channel, {})
        for each in ([held for held in tags if held <= tag] if multiple else [tag]):
            if each in tags:
                self._tell(tags.pop(each))


class Amqp10:
    """Transfers, and the dispositions that accept them."""

    class Frames(Cut):
        def size(self):
            if self.data[:4] == b"AMQP":
                return 8
            return struct.unpack_from(">I", self.data)[0] if len(self.data) >= 4 else 0

    TRANSFER, DISPOSITION = 0x14, 0x15

    def __init__(self, record, ends):
        self._record = record
        self._ways = {"up": self.Frames(), "down": self.Frames()}
        self._bodies = "down" if "source" in ends else "up"
        self._tell = record.acknowledged if "source" in ends else record.confirmed
        self._deliveries = {}

    def see(self, way, data):
        for frame in self._ways[way].add(data):
            if frame[:4] == b"AMQP" or frame[5] != 0 or len(frame) <= 4 * frame[4]:
                continue
            try:
                performative = Reader(frame[4 * frame[4]:]).value()
            except Malformed:
                continue
            code, fields = performative[1][1], performative[2][1]
            if way == self._bodies and code == self.TRANSFER:
                names = self._record.names(frame)
                if names and len(fields) > 1 and fields[1] != ["null"]:
                    self._deliveries[fields[1][1]] = names[0]
            elif way != self._bodies and code == self.DISPOSITION:
                self._disposition(fields)

    def _disposition(self, fields):
        first = fields[1][1]
        last = fields[2][1] if len(fields) > 2 and fields[2] != ["null"] else first
        state = fields[4] if len(fields) > 4 else ["null"]
        if state[0] != "described" or state[1][1] != ACCEPTED:
            return
        for delivery in range(first, last + 1):
            if delivery in self._deliveries:
                self._tell(self._deliveries.pop(delivery))


EXEC = ["in place of messages"]


class Redis:
    """XADD and its replies, within a transaction those of EXEC; XACK, as (stream, id)."""

    def __init__(self, record, ends):
        self._record, self._ends = record, ends
        self._data = {"up": b"", "down": b""}
        self._waiting = []  # for each command its messages, until it is answered
        self._queued = []  # of a transaction, until EXEC is answered

    def see(self, way, data):
        if way == "down" and "sink" not in self._ends:
            return
        self._data[way] += data
        at = 0
        while (unit := _resp(self._data[way], at)) is not None:
            value, at = unit
            if way == "up":
                self._command(value)
            elif self._waiting:
                self._answer(value)
        self._data[way] = self._data[way][at:]

    def _command(self, words):
        name = words[0].upper()
        if "sink" in self._ends:
            self._waiting.append(self._record.names(b" ".join(words)) if name == b"XADD" else
                                 EXEC if name == b"EXEC" else [])
        if "source" in self._ends and name == b"XACK":
            for identity in words[3:]:
                self._record.acknowledged((words[1], identity))

    def _answer(self, value):
        names = self._waiting.pop(0)
        if names is EXEC:
            for queued, result in zip(self._queued, value if isinstance(value, list) else []):
                self._tell(queued, result)
            self._queued.clear()
        elif value == "QUEUED":
            self._queued.append(names)
        else:
            self._tell(names, value)

    def _tell(self, names, value):
        for name in names:
            if isinstance(value, bytes):
                self._record.confirmed(name)


def _resp(data, at):
    """(value, where it ends), or None where it is not complete. Errors are of class Exception."""
    end = data.find(b"\r\n", at)
    if end < 0:
        return None
    kind, text, after = data[at:at + 1], data[at + 1:end], end + 2
    if kind in b"$":
        size = int(text)
        if size < 0:
            return None, after
        return (data[after:after + size], after + size + 2) if len(data) >= after + size + 2 \
            else None
    if kind in b"*~%":
        values = []
        for _ in range(max(0, int(text)) * (2 if kind == b"%" else 1)):
            item = _resp(data, after)
            if item is None:
                return None
            values.append(item[0])
            after = item[1]
        return values, after
    return Exception(text) if kind == b"-" else text.decode(errors="replace"), after


PARSERS = {"kafka": Kafka, "amqp091": Amqp091, "amqp10": Amqp10, "redis": Redis}


def watch(proxy, platform, record, *ends):
    """Shows a proxy's connections to one parser each."""
    parsers, lock = {}, threading.Lock()

    def see(link, way, data):
        with lock:
            if link not in parsers:
                parsers[link] = PARSERS[platform](record, ends)
            parsers[link].see(way, data)
    proxy.watch = see
