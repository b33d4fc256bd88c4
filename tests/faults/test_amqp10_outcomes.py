# SPDX-License-Identifier: Apache-2.0
"""Every outcome that a peer can give, and where it can send us: against a scripted container."""

import pytest

from faults.amqp10_peer import ENDINGS, FATES, TRIED_AGAIN, Peer, messages_of
from support.bridge import Bridge
from support.config import config
from support.wait import until


def route_of(peer, **more):
    endpoints = {"p": {"backend": "amqp10", "uri": peer.uri}}
    route = {"name": "pair", "from": {"endpoint": "p", "address": "in"},
             "to": {"endpoint": "p", "address": "out", "create": False},
             "dead_letter": {"endpoint": "p", "address": "dead", "create": False},
             "retry": {"initial": "50ms", "max": "200ms"}, **more}
    return config("outcomes", endpoints, [route])


def run_until(bridge, peer, count, ending):
    bridge.start()
    until(lambda: len({body for _, body in peer.taken}) == count, 30, f"{count} messages settled",
          detail=lambda: f"{peer.taken}\n{bridge.run.tail()}")
    assert bridge.run.terminate() == 0, bridge.run.tail()
    counters = bridge.run.last_counters()
    assert counters.conserved()
    return counters


@pytest.mark.parametrize("fate", FATES)
def test_an_outcome(fate, tmp_path, ending):
    """Accepted is delivered; the message's fault is dead-lettered; all else is tried again."""
    fates = ["accepted"] * 5 + [fate] + ["accepted"] * 5
    with Peer(messages_of(fates)) as peer:
        bridge = ending(Bridge(tmp_path, route_of(peer)))
        counters = run_until(bridge, peer, len(fates), ending)
        dead = [body for address, body in peer.taken if address == "dead"]
        refused = fate in ("rejected", *ENDINGS)
        assert dead == ([f"5 {fate}"] if refused else [])
        assert counters.total("dead_lettered") == len(dead)
        retries = sum(counters["routes"]["pair"]["retries"].values())
        assert (retries > 0) == (fate in (*TRIED_AGAIN, *ENDINGS))
        first = list(dict.fromkeys(body for _, body in peer.taken))
        last = list(dict.fromkeys(body for _, body in peer.taken[::-1]))[::-1]
        assert sorted(first) == sorted(last)
        if fate in TRIED_AGAIN:
            assert [int(body.split()[0]) for body in last] == sorted(
                int(body.split()[0]) for body in last)


@pytest.mark.parametrize("fate", ["released", "modified undeliverable"])
def test_unroutable_where_the_message_chose(fate, tmp_path, ending):
    with Peer(messages_of(["accepted", fate, "accepted"])) as peer:
        to = {"endpoint": "p", "address": "out.${header.fate}", "create": False}
        bridge = ending(Bridge(tmp_path, route_of(peer, to=to)))
        counters = run_until(bridge, peer, 3, ending)
        assert [body for address, body in peer.taken if address == "dead"] == [f"1 {fate}"]
        assert counters.total("dead_lettered") == 1


@pytest.mark.parametrize("how", ["connection", "link"])
def test_a_redirect_is_followed_once(how, tmp_path, ending):
    with Peer(messages_of(["accepted"] * 3)) as there, Peer(redirect=(there.port, how)) as here:
        bridge = ending(Bridge(tmp_path, route_of(here)))
        run_until(bridge, there, 3, ending)
        assert here.connections > 0 and not here.taken


@pytest.mark.parametrize("how", ["connection", "link"])
def test_a_redirect_that_is_not_to_be_followed(how, tmp_path, ending):
    with Peer() as there, Peer(redirect=(there.port, how)) as here:
        text = route_of(here).replace('backend = "amqp10";',
                                      'backend = "amqp10"; follow_redirects = false;')
        bridge = ending(Bridge(tmp_path, text))
        bridge.start()
        bridge.run.wait_logged("redirect", str(there.port))
        assert there.connections == 0


def test_two_peers_that_redirect_to_each_other(tmp_path, ending):
    """It ends: once for each attempt."""
    with Peer(redirect=(1, "connection")) as one, Peer(
            redirect=(one.port, "connection")) as other:
        one._redirect = (other.port, "connection")
        bridge = ending(Bridge(tmp_path, route_of(one)))
        bridge.start()
        bridge.run.wait_logged("redirect")
        assert one.connections + other.connections < 100
