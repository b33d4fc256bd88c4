# SPDX-License-Identifier: Apache-2.0
"""Each broker starts, outlives kill -9 and a restart, and leaves nothing behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from brokers import (ArtemisBroker, BrokerError, BrokerJ, ClassicBroker, KafkaBroker, RabbitBroker,
                     RedisBroker, make_pki, wait_until)
from brokers.guardian import start_time
from brokers.other_release import host_release, unavailable
from brokers.process import free_port, is_gone, port_is_open
from support.redis_side import RedisSide
from support.sides import Amqp10Side, KafkaSide, RabbitSide

TESTS = Path(__file__).resolve().parents[1]
OTHER_RELEASE = "bookworm" if host_release() == "trixie" else "trixie"
MAKERS = {
    "kafka-3.9.1": lambda **options: KafkaBroker("3.9.1", **options),
    "kafka-4.3.1": lambda **options: KafkaBroker("4.3.1", **options),
    "rabbitmq": lambda **options: RabbitBroker(amqp10=True, **options),
    "rabbitmq-other-release": lambda **options: RabbitBroker(amqp10=True, release=OTHER_RELEASE,
                                                             **options),
    "redis": RedisBroker,
    "artemis": ArtemisBroker,
    "classic": ClassicBroker,
    "broker-j": BrokerJ,
}
LONG = ("rabbitmq-other-release", "broker-j")
BODIES = [b"", b"confirmed", bytes(range(256)) * 200]


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.long) if name in LONG else name
                        for name in MAKERS])
def make(request):
    if "other" in request.param and unavailable():
        pytest.skip(unavailable())
    return MAKERS[request.param]


def sides_of(broker):
    """All the protocols that a broker speaks."""
    if isinstance(broker, KafkaBroker):
        return [KafkaSide(broker, partitions=1)]
    if isinstance(broker, RedisBroker):
        return [RedisSide(broker)]
    return ([RabbitSide(broker)] if isinstance(broker, RabbitBroker) else []) + [
        Amqp10Side(broker)]


def confirmed(platform, body):
    """A durable message in the platform's normal form."""
    body = body.hex()
    return {"kafka": {"key": None, "value": body, "headers": [], "timestamp": 1},
            "amqp091": {"routing_key": "k", "properties": {"delivery_mode": 2}, "headers": None,
                        "body": body},
            "amqp10": {"header": {"durable": ["boolean", True]},
                       "body": [["data", body]]},
            "redis": {"fields": [[b"body".hex(), body]]}}[platform]


def bodies_in(platform, messages):
    held = {"kafka": lambda message: message["value"], "amqp091": lambda message: message["body"],
            "amqp10": lambda message: message["body"][0][1],
            "redis": lambda message: message["fields"][0][1]}[platform]
    return [bytes.fromhex(held(message)) for message in messages]


def processes_below(directory):
    """The pids of all processes that mention a directory in their arguments."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if str(directory).encode() in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def test_life_of_a_broker(make):
    """What it confirmed is there after `kill -9`; port and data stay; nothing is left behind."""
    broker = make().start()
    workdir, port, first = broker.workdir, broker.port, broker.pid
    began = start_time(first)
    assert port_is_open(port)
    places = [(side, side.make(f"kept.{side.platform}")) for side in sides_of(broker)]
    for side, place in places:
        side.put(place, [confirmed(side.platform, body) for body in BODIES])
    broker.kill()
    assert not port_is_open(port) and is_gone(first, began)
    broker.restart_after_kill()
    assert broker.port == port and broker.pid != first
    for side, place in places:
        found = side.take(place, len(BODIES))
        assert bodies_in(side.platform, found) == BODIES, side.platform
    broker.stop()
    assert not port_is_open(port)
    broker.start()
    broker.close()
    assert processes_below(workdir) == []
    assert not workdir.exists()


def test_a_given_workdir_is_kept(tmp_path):
    with RabbitBroker(tmp_path) as rabbit:
        assert rabbit.log_path.is_relative_to(tmp_path)
    assert rabbit.log_path.exists()


def test_a_broker_that_dies_shows_its_log(tmp_path):
    rabbit = RabbitBroker(tmp_path, config={"no_such_setting": "1"})
    with pytest.raises(BrokerError, match="no_such_setting"):
        rabbit.start()
    assert processes_below(tmp_path) == []


def test_pause_and_resume(tmp_path):
    def state():
        return Path(f"/proc/{rabbit.pid}/stat").read_text().rpartition(")")[2].split()[0]
    with RabbitBroker(tmp_path) as rabbit:
        rabbit.pause()
        wait_until(lambda: state() == "T", 5, "stopped")
        rabbit.resume()
        wait_until(lambda: state() != "T", 5, "running")
        assert rabbit.ctl("list_queues") == ""


def test_a_run_that_is_killed_leaves_no_broker(tmp_path):
    program = ("import sys, time\n"
               f"sys.path.insert(0, {str(TESTS)!r})\n"
               "from brokers import RabbitBroker\n"
               f"RabbitBroker({str(tmp_path)!r}).start()\n"
               "print('ready', flush=True)\n"
               "time.sleep(600)\n")
    for number in (signal.SIGTERM, signal.SIGKILL):
        run = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
        try:
            assert run.stdout.readline() == "ready\n"
            assert processes_below(tmp_path)
        finally:
            run.send_signal(number)
            run.wait(30)
            run.stdout.close()
        wait_until(lambda: not processes_below(tmp_path), 15, f"all gone after {number.name}")


def test_ports_are_not_given_twice():
    ports = {free_port() for _ in range(50)}
    assert len(ports) == 50


def test_certificates(tmp_path):
    pki = make_pki(tmp_path / "pki")

    def accepted(certificate, authority, *checks):
        return subprocess.run(["openssl", "verify", "-CAfile", authority, *checks, certificate],
                              capture_output=True).returncode == 0
    assert accepted(pki.server, pki.ca, "-verify_hostname", "localhost")
    assert accepted(pki.server, pki.ca, "-verify_ip", "127.0.0.1")
    assert accepted(pki.client, pki.ca, "-purpose", "sslclient")
    assert not accepted(pki.server, pki.other_ca)
    assert not accepted(pki.wrongname, pki.ca, "-verify_hostname", "localhost")
    assert not accepted(pki.expired, pki.ca)
    assert accepted(pki.expired, pki.ca, "-no_check_time")


def test_wait_until_keeps_its_deadline():
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        wait_until(lambda: False, 0.2, "never")
    assert time.monotonic() - began < 2
