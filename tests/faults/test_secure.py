# SPDX-License-Identifier: Apache-2.0
"""TLS by chain and name, mutual TLS, SASL; what is refused is refused with its reason."""

import base64
import contextlib
import json
import socket
import time

import pytest
from brokers import KafkaBroker, RabbitBroker, make_pki

from support.bridge import Bridge
from support.clients import create_topic, produce, take
from support.config import config, kafka_endpoint, rabbit_endpoint
from support.wait import settled, until

CERTIFICATE = ("certificate verify failed", "certificate_verify_failed",
               "unable to get local issuer", "self-signed", "self signed",
               "certificate signature failure")
NAME = ("name", "host")
LOGIN = ("credential", "authentication", "access_refused", "password", "log in", "login")


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    """Secure brokers of this module, each started when it is first asked for."""
    workdir = tmp_path_factory.mktemp("secure")
    pki = make_pki(workdir / "pki")
    with contextlib.ExitStack() as stack:
        made = {}

        def get(kind, certificate="server", version="3.9.1"):
            name = (kind, certificate, version)
            if name not in made:
                made[name] = (
                    KafkaBroker(version=version, workdir=workdir, secure=True,
                                certificate=certificate, pki=pki) if kind == "kafka" else
                    RabbitBroker(workdir=workdir, tls=True, certificate=certificate, pki=pki))
                made[name].start()
                stack.callback(made[name].stop)
            return made[name]
        get.pki = pki
        yield get


def sasl_kafka(broker, pki, mechanism="PLAIN", username="admin", password="secret-admin"):
    return {"backend": "kafka", "brokers": broker.sasl_ssl_bootstrap, "tls": {"ca": str(pki.ca)},
            "sasl": {"mechanism": mechanism, "username": username, "password": password}}


def mutual_kafka(broker, pki):
    return {"backend": "kafka", "brokers": broker.ssl_bootstrap,
            "tls": {"ca": str(pki.ca), "cert": str(pki.client), "key": str(pki.client_key)}}


def tls_rabbit(broker, pki, host="127.0.0.1", **tls):
    return {"backend": "amqp091", "uri": f"amqps://guest:guest@{host}:{broker.tls_port}/",
            "tls": {"ca": str(pki.ca), **tls}}


@pytest.fixture
def bridged(fresh, tmp_path, ending):
    """bridged(kafka, kafka endpoint, rabbit, rabbit endpoint): a message waits in Kafka."""
    def start(kafka, to_kafka, rabbit, to_rabbit):
        topic, queue = fresh("topic"), fresh("queue")
        create_topic(kafka.bootstrap, topic, 1)
        produce(kafka.bootstrap, topic, [{"value": b"x"}])
        bridge = ending(Bridge(tmp_path, config(
            fresh("bridge"), {"k": to_kafka, "r": to_rabbit},
            [{"name": "safe", "from": {"endpoint": "k", "topic": topic},
              "to": {"endpoint": "r", "queue": queue}}])))
        bridge.queue = queue
        bridge.start()
        return bridge
    return start


def arrives(bridge, rabbit, seconds=30):
    assert take(rabbit.uri, bridge.queue, 1, seconds)[0][2] == b"x"
    assert bridge.run.terminate() == 0, bridge.run.tail()


def refused(bridge, *reasons):
    """Each group of reasons: one of its words stands in one line of the log."""
    run = bridge.run

    def told():
        return next((line for line in list(run.log)
                     if all(any(word in line.lower() for word in group) for group in reasons)),
                    None)
    line = until(told, 25, f"a line with {reasons}", detail=run.tail)
    settled(lambda: len(run.log), 4, 30, "the log repeats itself:\n" + run.tail())
    assert run.running
    assert run.counters().total("delivered") == 0
    assert not any("secret" in text or "guest:guest" in text for text in run.log), run.tail()
    return line


@pytest.mark.parametrize("mechanism, user, password", [
    ("PLAIN", "admin", "secret-admin"), ("SCRAM-SHA-256", "alice", "secret-alice")])
def test_kafka_over_sasl_ssl(mechanism, user, password, fleet, rabbit, bridged):
    kafka = fleet("kafka")
    bridge = bridged(kafka, sasl_kafka(kafka, fleet.pki, mechanism, user, password), rabbit,
                     rabbit_endpoint(rabbit))
    arrives(bridge, rabbit)


def _part(claims):
    return base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()


def test_kafka_by_a_token_from_a_file(fleet, rabbit, bridged, tmp_path):
    kafka = fleet("kafka")
    now = int(time.time())
    token = tmp_path / "token"
    token.write_text("no token yet")
    endpoint = sasl_kafka(kafka, fleet.pki)
    endpoint["sasl"] = {"mechanism": "OAUTHBEARER", "oauth": {"token_file": str(token)}}
    bridge = bridged(kafka, endpoint, rabbit, rabbit_endpoint(rabbit))
    bridge.run.wait_logged("token", seconds=20)
    token.write_text(_part({"alg": "none"}) + "."
                     + _part({"sub": "alice", "iat": now, "exp": now + 3600}) + ".")
    arrives(bridge, rabbit)


def test_kafka_over_mutual_tls(fleet, rabbit, bridged):
    kafka = fleet("kafka")
    arrives(bridged(kafka, mutual_kafka(kafka, fleet.pki), rabbit, rabbit_endpoint(rabbit)),
            rabbit)


def test_kafka_refuses_a_client_without_a_certificate(fleet, rabbit, bridged):
    kafka = fleet("kafka")
    endpoint = mutual_kafka(kafka, fleet.pki)
    del endpoint["tls"]["cert"], endpoint["tls"]["key"]
    refused(bridged(kafka, endpoint, rabbit, rabbit_endpoint(rabbit)),
            ("certificate", "handshake", "ssl", "tls"))


def test_kafka_4_over_sasl_ssl(fleet, rabbit, bridged):
    kafka = fleet("kafka", version="4.3.1")
    arrives(bridged(kafka, sasl_kafka(kafka, fleet.pki), rabbit, rabbit_endpoint(rabbit)), rabbit)


def test_scram_on_kafka_4_works_or_the_message_names_the_library(fleet, rabbit, bridged):
    kafka = fleet("kafka", version="4.3.1")
    bridge = bridged(kafka, sasl_kafka(kafka, fleet.pki, "SCRAM-SHA-256", "alice", "secret-alice"),
                     rabbit, rabbit_endpoint(rabbit))

    def settled_somehow():
        line = bridge.run.logged("librdkafka", "scram", "kafka 4")
        return line or bridge.run.counters().total("delivered")
    bridge.ready()
    outcome = until(settled_somehow, 30, "delivery, or the reason", detail=bridge.run.tail)
    if outcome == 1:
        arrives(bridge, rabbit)
    else:
        assert "2.0.2" in outcome or "older" in outcome or "newer" in outcome, outcome


def test_a_wrong_kafka_password_is_told_and_mended(fleet, rabbit, bridged, tmp_path):
    kafka = fleet("kafka")
    secret = tmp_path / "kafka.password"
    secret.write_text("secret-wrong")
    bridge = bridged(kafka, sasl_kafka(kafka, fleet.pki, password=f"file:{secret}"), rabbit,
                     rabbit_endpoint(rabbit))
    refused(bridge, LOGIN)
    secret.write_text("secret-admin\n")
    arrives(bridge, rabbit, 60)


def test_kafka_with_a_wrong_ca_is_refused(fleet, rabbit, bridged):
    kafka = fleet("kafka")
    endpoint = sasl_kafka(kafka, fleet.pki)
    endpoint["tls"]["ca"] = str(fleet.pki.other_ca)
    refused(bridged(kafka, endpoint, rabbit, rabbit_endpoint(rabbit)), CERTIFICATE)


def test_kafka_with_a_wrong_name_is_refused(fleet, rabbit, bridged):
    kafka = fleet("kafka", certificate="wrongname")
    refused(bridged(kafka, sasl_kafka(kafka, fleet.pki), rabbit, rabbit_endpoint(rabbit)),
            ("certificate", "verif", "ssl"), NAME)


def test_kafka_with_an_expired_certificate_is_refused(fleet, rabbit, bridged):
    kafka = fleet("kafka", certificate="expired")
    refused(bridged(kafka, sasl_kafka(kafka, fleet.pki), rabbit, rabbit_endpoint(rabbit)),
            ("expired", "certificate verify failed"))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_rabbit_over_tls(host, fleet, kafka3, bridged):
    try:
        socket.getaddrinfo(host, None)
    except socket.gaierror:
        pytest.skip(f"{host} has no address on this machine")
    rabbit = fleet("rabbit")
    arrives(bridged(kafka3, kafka_endpoint(kafka3), rabbit, tls_rabbit(rabbit, fleet.pki, host)),
            rabbit)


def test_rabbit_with_a_client_certificate(fleet, kafka3, bridged):
    rabbit = fleet("rabbit")
    arrives(bridged(kafka3, kafka_endpoint(kafka3), rabbit, tls_rabbit(
        rabbit, fleet.pki, cert=str(fleet.pki.client), key=str(fleet.pki.client_key))), rabbit)


def test_rabbit_with_a_wrong_ca_is_refused(fleet, kafka3, bridged):
    rabbit = fleet("rabbit")
    endpoint = tls_rabbit(rabbit, fleet.pki)
    endpoint["tls"]["ca"] = str(fleet.pki.other_ca)
    refused(bridged(kafka3, kafka_endpoint(kafka3), rabbit, endpoint),
            ("certificate",) + CERTIFICATE)


def test_rabbit_with_a_wrong_name_is_refused(fleet, kafka3, bridged):
    rabbit = fleet("rabbit", certificate="wrongname")
    refused(bridged(kafka3, kafka_endpoint(kafka3), rabbit, tls_rabbit(rabbit, fleet.pki)),
            ("certificate", "verif", "tls"), NAME)


def test_rabbit_by_another_server_name(fleet, kafka3, bridged):
    """The name of the certificate can be given where it is not the host's."""
    rabbit = fleet("rabbit", certificate="wrongname")
    arrives(bridged(kafka3, kafka_endpoint(kafka3), rabbit,
                    tls_rabbit(rabbit, fleet.pki, server_name="other.example")), rabbit)


def test_rabbit_with_an_expired_certificate_is_refused(fleet, kafka3, bridged):
    rabbit = fleet("rabbit", certificate="expired")
    refused(bridged(kafka3, kafka_endpoint(kafka3), rabbit, tls_rabbit(rabbit, fleet.pki)),
            ("expired",))


def test_unsafe_no_verify_is_by_choice(fleet, kafka3, bridged):
    rabbit = fleet("rabbit", certificate="wrongname")
    arrives(bridged(kafka3, kafka_endpoint(kafka3), rabbit,
                    tls_rabbit(rabbit, fleet.pki, unsafe_no_verify=True)), rabbit)
