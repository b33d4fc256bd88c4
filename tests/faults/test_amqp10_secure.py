# SPDX-License-Identifier: Apache-2.0
"""TLS and log-in over AMQP 1.0; what is refused is refused with its reason."""

import contextlib
import socket

import pytest
from brokers import ArtemisBroker, RabbitBroker, make_pki

from support.amqp10_codec import decode_message, encode_message
from support.amqp10_link import send_all, take_all
from support.bridge import Bridge, command
from support.config import config
from support.sides import Amqp10Side
from support.wait import settled, until

MESSAGE = encode_message({"header": {"durable": ["boolean", True]}, "body": [["data", "78"]]})
EXTERNAL = {"auth_mechanisms.1": "EXTERNAL", "auth_mechanisms.2": "PLAIN",
            "ssl_cert_login_from": "common_name"}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    """Secure brokers of this module, each started when it is first asked for."""
    workdir = tmp_path_factory.mktemp("secure")
    pki = make_pki(workdir / "pki")
    with contextlib.ExitStack() as stack:
        made = {}

        def get(certificate="server"):
            if certificate not in made:
                made[certificate] = ArtemisBroker(workdir=workdir, tls=True, pki=pki,
                                                  certificate=certificate)
                made[certificate].start()
                stack.callback(made[certificate].stop)
            return made[certificate]
        get.pki = pki
        yield get


def endpoint_of(broker, pki, host="127.0.0.1", log_in="admin:admin@", **tls):
    return {"backend": "amqp10", "uri": f"amqp10s://{log_in}{host}:{broker.tls_port}",
            "tls": {"ca": str(pki.ca), **tls}}


@pytest.fixture
def bridged(fresh, tmp_path, ending):
    """bridged(broker, endpoint): a message waits in its queue."""
    def start(broker, endpoint):
        side = Amqp10Side(broker)
        source, there = side.make(fresh("from")), side.make(fresh("to"))
        send_all(source, [MESSAGE])
        bridge = ending(Bridge(tmp_path, config(fresh("bridge"), {"a": endpoint}, [
            {"name": "safe", "from": {"endpoint": "a", **side.source(source)},
             "to": {"endpoint": "a", **side.sink(there)}}])))
        bridge.there = there
        bridge.start()
        return bridge
    return start


def arrives(bridge):
    assert decode_message(take_all(bridge.there, 1)[0])["body"] == [["data", "78"]]
    assert bridge.run.terminate() == 0, bridge.run.tail()


def refused(bridge, *words):
    """A line of the log has all words; the reason is told once, and nothing secret with it."""
    run = bridge.run
    line = until(lambda: run.logged(*words), 25, f"a line with {words}", detail=run.tail)
    settled(lambda: len(run.log), 3, 30, "the log repeats itself:\n" + run.tail())
    assert run.running
    assert run.counters().total("delivered") == 0
    assert not any("admin:admin" in text or "secret" in text for text in run.log), run.tail()
    return line


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_chain_and_a_name_that_are_right(host, fleet, bridged):
    try:
        socket.getaddrinfo(host, None)
    except socket.gaierror:
        pytest.skip(f"{host} has no address on this machine")
    broker = fleet()
    arrives(bridged(broker, endpoint_of(broker, fleet.pki, host)))


def test_another_authority(fleet, bridged):
    broker = fleet()
    refused(bridged(broker, endpoint_of(broker, fleet.pki, ca=str(fleet.pki.other_ca))),
            "reason=tls", "certificate is not trusted")


def test_the_systems_authorities(fleet, bridged):
    broker = fleet()
    endpoint = endpoint_of(broker, fleet.pki)
    endpoint["tls"] = True
    refused(bridged(broker, endpoint), "reason=tls", "certificate is not trusted")


def test_another_name(fleet, bridged):
    broker = fleet("wrongname")
    refused(bridged(broker, endpoint_of(broker, fleet.pki)),
            "reason=tls", "does not carry the name", "tls.server_name")


def test_a_name_that_is_given(fleet, bridged):
    broker = fleet("wrongname")
    arrives(bridged(broker, endpoint_of(broker, fleet.pki, server_name="other.example")))


def test_a_certificate_that_has_expired(fleet, bridged):
    broker = fleet("expired")
    refused(bridged(broker, endpoint_of(broker, fleet.pki)), "reason=tls", "expired")


def test_no_verification_by_choice(fleet, bridged):
    broker = fleet("expired")
    arrives(bridged(broker, endpoint_of(broker, fleet.pki, unsafe_no_verify=True)))


def test_a_port_without_tls(fleet, bridged):
    broker = fleet()
    endpoint = endpoint_of(broker, fleet.pki)
    endpoint["uri"] = endpoint["uri"].replace(str(broker.tls_port), str(broker.port))
    refused(bridged(broker, endpoint), "handshake", "is it a TLS port?")


def test_a_wrong_password(rabbit, bridged):
    endpoint = {"backend": "amqp10", "uri": f"amqp10://guest:secret@127.0.0.1:{rabbit.port}"}
    refused(bridged(rabbit, endpoint), "reason=auth", "refused the log-in")


def test_anonymous(fleet, bridged):
    broker = fleet()
    arrives(bridged(broker, endpoint_of(broker, fleet.pki, log_in="")))


@pytest.mark.parametrize("member", ["username", "sasl"])
def test_a_log_in_beside_the_uri(member, fleet, bridged):
    broker = fleet()
    log_in = {"username": "admin", "password": "admin"}
    more = log_in if member == "username" else {"sasl": {"mechanism": "PLAIN", **log_in}}
    arrives(bridged(broker, {**endpoint_of(broker, fleet.pki, log_in=""), **more}))


def test_a_certificate_logs_in(fleet, bridged, tmp_path, ending):
    broker = RabbitBroker(workdir=tmp_path, tls=True, pki=fleet.pki, amqp10=True, config=EXTERNAL,
                          plugins=("rabbitmq_auth_mechanism_ssl",))
    broker.end = broker.stop
    ending(broker).start()
    broker.ctl("add_user", "bridge", "unused")
    broker.ctl("set_permissions", "bridge", ".*", ".*", ".*")
    arrives(bridged(broker, endpoint_of(broker, fleet.pki, log_in="",
                                        cert=str(fleet.pki.client),
                                        key=str(fleet.pki.client_key))))


@pytest.mark.parametrize("members, words", [
    ({"uri": "http://127.0.0.1"}, ["the scheme must be amqp10"]),
    ({"uri": "amqp10://127.0.0.1/queue"}, ["address"]),
    ({"host": "127.0.0.1:0"}, ["port"]),
    ({"sasl": {"mechanism": "PLAIN"}}, ["needs a user name"]),
    ({"sasl": {"mechanism": "EXTERNAL"}}, ["tls.cert"]),
    ({"tls": {"key": "/x"}}, ["tls.key needs tls.cert"]),
], ids=["scheme", "path", "port", "user", "certificate", "key"])
def test_an_endpoint_that_cannot_be(members, words, tmp_path):
    path = tmp_path / "wrong.conf"
    path.write_text(config("wrong", {"a": {"backend": "amqp10", **members}}, [
        {"name": "r", "from": {"endpoint": "a", "address": "x"},
         "to": {"endpoint": "a", "address": "y"}}]))
    code, found, _ = command("check", path)
    assert code == 2
    assert all(word in found for word in words), found
