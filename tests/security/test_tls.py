# SPDX-License-Identifier: Apache-2.0
"""Every way in which a TLS peer can be the wrong one, on every platform at once: refused with its
reason, tried again visibly, and nothing is sent to it, least of all a password.

One bridge has a route for each case; the peers are scripted and keep all that they are sent."""

import subprocess
import warnings

import pytest
from brokers import make_pki
from brokers.pki import SERVER_NAMES, _certificate

from security.peer import Peer, tls_context
from support.bridge import Bridge, command
from support.config import config
from support.wait import until

CANARY = "c4n4ry-of-tls"
SINKS = {"kafka": {"topic": "x"}, "amqp091": {"queue": "x"}, "amqp10": {"address": "x"},
         "redis": {"stream": "x"}}
# Of a machine that still allows everything: the bridge does not.
LAX = """openssl_conf = conf
[conf]
ssl_conf = ssl
[ssl]
system_default = all
[all]
MinProtocol = TLSv1
CipherString = ALL:@SECLEVEL=0
"""
# What the platform's client says first where everything is right.
FIRST = {"kafka": b"\x00\x12", "amqp091": b"AMQP\x00\x00\x09\x01", "amqp10": b"AMQP\x03\x01",
         "redis": b"AUTH"}
AMQP_HEADERS = {"amqp091": b"AMQP\x00\x00\x09\x01", "amqp10": b"AMQP\x03\x01\x00\x00"}
# The words of which one has to stand in the reason.
CASES = {
    "name": ("does not carry the name", "broker's name", "hostname", "host name"),
    "authority": ("not trusted", "unable to get local issuer", "certificate"),
    "expired": ("expired",),
    "not yet": ("not yet valid", "not valid yet"),
    "self-signed": ("self-signed", "self signed"),
    "old": ("version", "protocol", "alert", "cipher"),
    "plain": ("tls port", "speak tls", "wrong version", "wrong ssl version", "plaintext", "tls failed",
              "handshake"),
}


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    made = make_pki(tmp_path_factory.mktemp("pki"))
    _certificate(made.dir, "notyet", "localhost", SERVER_NAMES, "serverAuth",
                 ("20400101000000Z", "20410101000000Z"))
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30",
                    "-keyout", "selfsigned.key", "-out", "selfsigned.pem", "-subj", "/CN=localhost",
                    "-addext", f"subjectAltName={SERVER_NAMES}"],
                   cwd=made.dir, check=True, capture_output=True)
    return made


def has_tls(platform):
    return "with TLS" in command("backends", platform)[1] if platform == "redis" else True


def endpoint(platform, port, tls):
    if platform == "kafka":
        return {"backend": "kafka", "brokers": f"127.0.0.1:{port}", **({"tls": tls} if tls else {}),
                "sasl": {"mechanism": "PLAIN", "username": "shop", "password": CANARY}}
    scheme = {"amqp091": "amqp", "amqp10": "amqp10", "redis": "redis"}[platform] + ("s" if tls else "")
    return {"backend": platform, "uri": f"{scheme}://shop:{CANARY}@127.0.0.1:{port}",
            **({"tls": tls} if tls else {})}


def peer_of(case, platform, pki):
    context = {"name": "wrongname", "expired": "expired", "not yet": "notyet",
               "self-signed": "selfsigned"}.get(case, "server")
    if case == "plain":
        return Peer(greeting=AMQP_HEADERS.get(platform, b"-ERR speak up\r\n"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return Peer(tls_context(pki.dir / f"{context}.pem", pki.dir / f"{context}.key",
                                old=case == "old"))


class Table:
    """A bridge with a route for each (case, platform), and the peers of them."""

    def __init__(self, tmp_path, pki, platforms):
        self.peers, endpoints, routes = {}, {"m": {"backend": "memory", "store": "here"}}, []
        for platform in platforms:
            for case in (*CASES, "right"):
                name = f"{platform}-{case.replace(' ', '-')}"
                peer = self.peers[case, platform] = peer_of(case, platform, pki)
                ca = pki.other_ca if case == "authority" else pki.ca
                endpoints[name] = endpoint(platform, peer.port, {"ca": str(ca)})
                routes.append({"name": name, "from": {"endpoint": "m", "stream": "x"},
                               "to": {"endpoint": name, "create": False, **SINKS[platform]}})
        lax = tmp_path / "openssl.cnf"
        lax.write_text(LAX)
        self.bridge = Bridge(tmp_path, config("tls", endpoints, routes),
                             env={"OPENSSL_CONF": str(lax)})
        self.bridge.start()

    def told(self, case, platform):
        """The line that says why this one is refused."""
        route = f"route={platform}-{case.replace(' ', '-')} "
        for line in list(self.bridge.run.log):
            if route in line + " " and 'action="keeps trying"' in line and any(
                    word in line.lower() for word in CASES[case]):
                return line
        return None

    def end(self):
        self.bridge.end()
        for peer in self.peers.values():
            peer.end()


@pytest.fixture(scope="module")
def table(tmp_path_factory, pki):
    made = Table(tmp_path_factory.mktemp("tls"), pki, [p for p in SINKS if has_tls(p)])
    yield made
    made.end()


@pytest.mark.parametrize("platform", SINKS)
@pytest.mark.parametrize("case", CASES)
def test_the_wrong_peer_is_refused_and_sent_nothing(case, platform, table):
    if (case, platform) not in table.peers:
        pytest.skip("this hiredis has no TLS: the refusal is tested below")
    peer, run = table.peers[case, platform], table.bridge.run
    until(lambda: table.told(case, platform), 30, f"{platform}: {CASES[case]}", detail=run.tail)
    until(lambda: peer.connections >= 2, 20, "it is tried again", detail=run.tail)
    assert not any(peer.inside), peer.inside
    assert CANARY.encode() not in peer.everything
    assert b"AUTH" not in peer.everything and b"PLAIN" not in peer.everything
    assert not any(CANARY in line for line in run.log)
    assert run.running


@pytest.mark.parametrize("platform", SINKS)
def test_the_right_peer_is_spoken_to(platform, table):
    """So that silence above means something."""
    if ("right", platform) not in table.peers:
        pytest.skip("this hiredis has no TLS")
    peer = table.peers["right", platform]
    until(lambda: any(FIRST[platform] in data for data in peer.inside), 20, "the first words",
          detail=table.bridge.run.tail)
    assert not peer.failures


def test_all_of_them_wait_visibly(table):
    routes = table.bridge.run.counters()["routes"]
    assert len(routes) == len(table.peers)
    assert all(route["delivered"] == 0 for route in routes.values())


def test_redis_without_tls_says_so(tmp_path):
    if has_tls("redis"):
        pytest.skip("this hiredis has TLS")
    path = tmp_path / "redis.conf"
    path.write_text(config("redis", {"r": endpoint("redis", 1, {"ca": "ca.pem"}),
                                     "m": {"backend": "memory", "store": "x"}}, [
        {"name": "r", "from": {"endpoint": "m", "stream": "x"},
         "to": {"endpoint": "r", "stream": "x"}}]))
    code, out, err = command("check", path)
    assert code == 2 and "no TLS" in out + err and "hiredis_ssl" in out + err, out + err
    assert CANARY not in out + err


@pytest.mark.parametrize("platform", SINKS)
def test_a_tls_port_without_the_option(platform, pki, tmp_path, ending):
    """The reverse: nothing is said in clear but a greeting, and the reason is told."""
    peer = ending(Peer(tls_context(pki.server, pki.server_key)))
    bridge = ending(Bridge(tmp_path, config("plain", {
        "m": {"backend": "memory", "store": "x"}, "r": endpoint(platform, peer.port, None)}, [
        {"name": "r", "from": {"endpoint": "m", "stream": "x"},
         "to": {"endpoint": "r", **SINKS[platform]}}])))
    run = bridge.start()
    run.wait_logged("keeps trying", "route=r", seconds=30)
    assert run.running and not any(CANARY in line for line in run.log)


def test_a_server_that_wants_tls_within_amqp_1_0(tmp_path, ending):
    """It answers with the header of TLS (AMQP 1.0, 5.2.1): refused, and the password stays here."""
    peer = ending(Peer(greeting=b"AMQP\x02\x01\x00\x00"))
    bridge = ending(Bridge(tmp_path, config("header", {
        "m": {"backend": "memory", "store": "x"}, "r": endpoint("amqp10", peer.port, None)}, [
        {"name": "r", "from": {"endpoint": "m", "stream": "x"},
         "to": {"endpoint": "r", "address": "x"}}])))
    run = bridge.start()
    line = run.wait_logged("keeps trying", "route=r", seconds=30)
    assert "tls" in line.lower() or "header" in line.lower() or "protocol" in line.lower(), line
    until(lambda: peer.connections >= 2, 20, "it is tried again", detail=run.tail)
    assert CANARY.encode() not in peer.everything and CANARY not in "\n".join(run.log)
