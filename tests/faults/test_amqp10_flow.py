# SPDX-License-Identifier: Apache-2.0
"""Windows and credit: a peer that takes little at a time, and one that takes nothing for a while."""

import time

import pytest
from proton import Message

from faults.amqp10_peer import Peer, numbered
from support.bridge import Bridge
from support.config import config
from support.wait import until

FRAME = 64 * 1024
MIB = 1 << 20


def route_of(peer, **more):
    return config("flow", {"p": {"backend": "amqp10", "uri": peer.uri, "heartbeat": "2s"}},
                  [{"name": "pair", "from": {"endpoint": "p", "address": "in"},
                    "to": {"endpoint": "p", "address": "out", "create": False}, **more}])


def arrived(peer):
    return [int(body[:8]) for _, body in peer.taken]


def test_a_session_window_that_is_always_full(tmp_path, ending):
    """Many more messages than the peer's window holds frames: all come once and in order."""
    count = 500
    with Peer(numbered(count), window_bytes=4 * FRAME) as peer:
        bridge = ending(Bridge(tmp_path, route_of(peer)))
        bridge.start()
        until(lambda: len(peer.taken) >= count, 60, f"{count} messages",
              detail=lambda: f"{len(peer.taken)}\n{bridge.run.tail()}")
        assert bridge.run.terminate() == 0, bridge.run.tail()
        assert arrived(peer) == list(range(count))
        assert bridge.run.last_counters().conserved()


def test_what_nobody_takes_waits_outside(tmp_path, ending):
    """While the sink takes nothing, the source's input is bounded in bytes, and neither heartbeats
    nor messages are lost."""
    count, size, window = 96, 128 * 1024, MIB
    with Peer(numbered(count, size), closed=True) as peer:
        bridge = ending(Bridge(tmp_path, route_of(peer, window={"bytes": "1MiB"})))
        bridge.start()

        def received():
            return bridge.run.counters()["routes"]["pair"]["bytes_wire"]["in"]

        until(lambda: bridge.run.logged("connected", "role=source"), 30, "a source")
        until(lambda: received() >= window, 30, "a full window")
        end = time.monotonic() + 5  # longer than it takes to be taken for dead
        while time.monotonic() < end:
            assert received() < window + 3 * MIB
            time.sleep(0.2)
        assert peer.connections == 2, bridge.run.tail()
        peer.open()
        until(lambda: len(peer.taken) >= count, 60, f"{count} messages",
              detail=lambda: f"{len(peer.taken)}\n{bridge.run.tail()}")
        assert bridge.run.terminate() == 0, bridge.run.tail()
        assert arrived(peer) == list(range(count))


@pytest.mark.parametrize("window", (1, 100))
def test_what_is_sent_ahead_is_within_the_window(window, tmp_path, ending):
    """No more than the window is without an answer, whatever the credit: so many may come again.
    What becomes free is used, to the end."""
    count = 5 * window
    with Peer(numbered(count), closed=True) as peer:
        bridge = ending(Bridge(tmp_path, route_of(peer, window={"messages": window})))
        bridge.start()
        bridge.ready()
        until(lambda: bridge.run.counters()["routes"]["pair"]["in_flight"] >= window, 30,
              "a full window", detail=bridge.run.tail)
        end = time.monotonic() + 1
        while time.monotonic() < end:
            assert peer.under_way <= window, bridge.run.tail()
            time.sleep(0.02)
        peer.open()
        until(lambda: len(peer.taken) >= count, 30, f"{count} messages", detail=bridge.run.tail)
        assert bridge.run.terminate() == 0, bridge.run.tail()
        assert arrived(peer) == list(range(count))


def test_values_count_in_the_window(tmp_path, ending):
    """Text as an AMQP value is memory like bytes are, though the body has no bytes of its own."""
    size, window = 64 * 1024, MIB
    values = [Message(body=f"{number:08d}" + "x" * size, durable=True) for number in range(64)]
    with Peer(values, closed=True) as peer:
        bridge = ending(Bridge(tmp_path, route_of(peer, window={"bytes": "1MiB"})))
        bridge.start()

        def route():
            return bridge.run.counters()["routes"]["pair"]

        until(lambda: bridge.run.logged("connected", "role=source"), 30, "a source")
        until(lambda: route()["in_flight_bytes"] >= window, 30, "a full window", detail=route)
        assert route()["in_flight"] < len(values)
        peer.open()
        until(lambda: len(peer.taken) >= len(values), 60, "all of them", detail=bridge.run.tail)
        assert bridge.run.terminate() == 0, bridge.run.tail()
