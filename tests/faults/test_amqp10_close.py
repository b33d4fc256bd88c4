# SPDX-License-Identifier: Apache-2.0
"""A clean stop while the peer reads nothing for a while: what was delivered stays acknowledged."""

import signal
import time

import pytest

from faults.amqp10_peer import Peer, numbered
from support.bridge import Bridge
from support.config import config
from support.proxy import Proxy
from support.wait import until

COUNT = 200
BUSY_S = 5
WARNED = "the broker does not answer to the end of the sessions"


def stop_unread(peer, tmp_path, ending):
    """A bridge that was told to stop when all is delivered and nothing of that has been read by the
    source's peer, and the proxy that holds it up."""
    proxy = ending(Proxy(peer.port))
    ends = {"p": {"backend": "amqp10", "uri": f"amqp10://127.0.0.1:{proxy.port}"},
            "q": {"backend": "amqp10", "uri": peer.uri}}
    bridge = ending(Bridge(tmp_path, config("close", ends, [{
        "name": "pair", "from": {"endpoint": "p", "address": "in"},
        "to": {"endpoint": "q", "address": "out", "create": False}}])))
    bridge.start()
    bridge.ready()
    until(lambda: bridge.run.counters()["routes"]["pair"]["in_flight"] >= COUNT, 30,
          "all of them in flight", detail=bridge.run.tail)
    proxy.freeze("up")
    peer.open()
    until(lambda: len(peer.taken) >= COUNT, 30, "all of them delivered", detail=bridge.run.tail)
    bridge.run.signal(signal.SIGTERM)
    return bridge, proxy


def test_a_busy_peer_reads_the_last_acknowledgements(tmp_path, ending):
    with Peer(numbered(COUNT), closed=True) as peer:
        bridge, proxy = stop_unread(peer, tmp_path, ending)
        end = time.monotonic() + BUSY_S
        while time.monotonic() < end:
            assert bridge.run.running, bridge.run.tail()
            time.sleep(0.1)
        assert peer.unsettled == COUNT
        proxy.heal()
        assert bridge.run.wait(20) == 0
        until(lambda: peer.unsettled == 0, 10, "all of them acknowledged", detail=bridge.run.tail)
        assert not bridge.run.logged(WARNED), bridge.run.tail()


@pytest.mark.long
def test_a_peer_that_reads_nothing_is_not_waited_for(tmp_path, ending):
    """Ten seconds, and it is said that messages may come again."""
    with Peer(numbered(COUNT), closed=True) as peer:
        bridge, _ = stop_unread(peer, tmp_path, ending)
        bridge.run.wait(20)
        assert bridge.run.logged(WARNED), bridge.run.tail()
        assert peer.unsettled == COUNT
