# SPDX-License-Identifier: Apache-2.0
"""Peers that claim more than they send, or send without an end: each is left with a reason, tried
again, and the memory of the bridge stays where it was. All platforms at once, one bridge."""

import struct

import pytest

from security.peer import Peer
from support.bridge import Bridge
from support.config import config
from support.wait import until

RSS_MAX_KIB = 400 << 10
HUGE = 0x7fffffff
SINKS = {"kafka": {"topic": "x"}, "amqp091": {"queue": "x"}, "amqp10": {"address": "x"},
         "redis": {"stream": "x"}}


def frame(kind, payload, channel=0, size=None):
    """Of AMQP 0-9-1."""
    claimed = len(payload) if size is None else size
    return struct.pack(">BHI", kind, channel, claimed) + payload + b"\xce"


def long_text(text):
    return struct.pack(">I", len(text)) + text


START = frame(1, struct.pack(">HHBB", 10, 10, 0, 9) + long_text(b"") + long_text(b"PLAIN")
              + long_text(b"en_US"))


def amqp091(*answers):
    """Answers to the header, then to each frame."""
    left = {}

    def answer(data):
        if data.startswith(b"AMQP"):
            left["at"] = 0
        at = left.get("at", len(answers))
        left["at"] = at + 1
        return answers[at] if at < len(answers) else None
    return answer


def sasl(body, size=None, offset=2):
    """A frame of AMQP 1.0's SASL layer."""
    return struct.pack(">IBBH", 8 + len(body) if size is None else size, offset, 1, 0) + body


# A list of one: an array of so many symbols of no width at all (0x45 is the empty list).
MECHANISMS = b"\x00\x53\x40\xd0" + struct.pack(">II", 14, 1) + b"\xf0" + struct.pack(
    ">II", 5, 0xffffffff) + b"\x45"
HEADER = b"AMQP\x03\x01\x00\x00"
DEEP = b"\x00\x53\x40" + b"\xc0\xff\x01" * 20000

PEERS = {
    "amqp091-frame-of-2-gib": {"answer": amqp091(frame(1, b"", size=0x80000000))},
    "amqp091-frame-of-4-gib": {"answer": amqp091(frame(1, b"", size=0xffffffff))},
    "amqp091-table-of-2-gib": {"answer": amqp091(frame(
        1, struct.pack(">HHBBI", 10, 10, 0, 9, HUGE)))},
    "amqp091-without-end": {"answer": amqp091(START), "flood": b"\x01" * 65536},
    "redis-bulk-of-2-gib": {"answer": lambda data: b"$2147483647\r\n", "flood": b"x" * 65536},
    "redis-array-of-2-gib": {"answer": lambda data: b"*2147483647\r\n:1\r\n"},
    "redis-array-of-100-million": {"answer": lambda data: b"*100000000\r\n:1\r\n"},
    "redis-nested": {"answer": lambda data: b"*1\r\n" * 100000},
    "redis-line-without-end": {"answer": lambda data: b"+", "flood": b"x" * 65536},
    "redis-replies-without-end": {"answer": lambda data: b"+OK\r\n", "flood": b"+OK\r\n" * 8192},
    "amqp10-frame-of-4-gib": {"greeting": HEADER + sasl(b"", size=0xffffffff)},
    "amqp10-frame-of-4-bytes": {"greeting": HEADER + sasl(b"", size=4)},
    "amqp10-offset-behind-the-frame": {"greeting": HEADER + sasl(b"\x00" * 8, offset=255)},
    "amqp10-array-of-4-billion": {"greeting": HEADER + sasl(MECHANISMS)},
    "amqp10-nested": {"greeting": HEADER + sasl(DEEP)},
    "amqp10-without-end": {"greeting": HEADER, "answer": lambda data: sasl(b"", 0x10000000),
                           "flood": b"\x00" * 65536},
    "kafka-response-of-2-gib": {"answer": lambda data: struct.pack(">I", HUGE),
                                "flood": b"\x00" * 65536},
    "kafka-response-of-4-gib": {"answer": lambda data: struct.pack(">I", 0xffffffff)},
    "kafka-arrays-of-2-gib": {"answer": lambda data: struct.pack(
        ">IIhI", 200, struct.unpack(">I", data[8:12])[0], 0, HUGE) + b"\x7f" * 190},
}
# They are left when the time for a log-in is over.
SLOW = ("redis-line-without-end", "kafka-response-of-4-gib")


def endpoint(platform, port):
    if platform == "kafka":
        return {"backend": "kafka", "brokers": f"127.0.0.1:{port}"}
    scheme = {"amqp091": "amqp", "amqp10": "amqp10", "redis": "redis"}[platform]
    return {"backend": platform, "uri": f"{scheme}://shop:word@127.0.0.1:{port}"}


@pytest.fixture(scope="module")
def besieged(tmp_path_factory):
    peers = {name: Peer(**how) for name, how in PEERS.items()}
    endpoints = {name: endpoint(name.partition("-")[0], peer.port) for name, peer in peers.items()}
    bridge = Bridge(tmp_path_factory.mktemp("hostile"), config(
        "hostile", {"m": {"backend": "memory", "store": "x"}, **endpoints},
        [{"name": name, "from": {"endpoint": "m", "stream": "x"},
          "to": {"endpoint": name, "create": False, **SINKS[name.partition("-")[0]]}}
         for name in peers]))
    bridge.peers = peers
    bridge.start()
    yield bridge
    bridge.end()
    for peer in peers.values():
        peer.end()


@pytest.mark.parametrize("name", [
    pytest.param(name, marks=pytest.mark.long) if name in SLOW else name for name in PEERS])
def test_a_hostile_peer_is_left_and_tried_again(name, besieged):
    run = besieged.run
    run.wait_logged(f"route={name} ", "keeps trying", seconds=40)
    until(lambda: besieged.peers[name].connections >= 2, 30, "it is tried again", detail=run.tail)
    assert run.running


def test_memory_stays_bounded(besieged):
    assert besieged.run.peak_rss_kib() < RSS_MAX_KIB
    assert besieged.run.counters().total("delivered") == 0
