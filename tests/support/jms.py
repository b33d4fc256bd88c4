# SPDX-License-Identifier: Apache-2.0
"""A JMS client (Qpid JMS, in Java): tests/java/Jms.java, compiled the first time it is used."""

import hashlib
import json
import shutil
import subprocess
from pathlib import Path

from brokers.install import cache_dir, ensure_packages, locked, maven_libs

CLIENT_VERSION = "2.6.1"
LOGGER_VERSION = "1.7.36"
SOURCE = Path(__file__).resolve().parents[1] / "java" / "Jms.java"
DESERIALIZE = "jms.deserializationPolicy.allowList=java"
# What a run's own clock and names put into a message.
HOP_LOCAL = ("JMSDestination",)


def libraries():
    return maven_libs(f"qpid-jms-{CLIENT_VERSION}", [
        ("org.apache.qpid", "qpid-jms-client", CLIENT_VERSION),
        ("org.slf4j", "slf4j-nop", LOGGER_VERSION)])


def _compiled():
    """The directory with the program's classes."""
    key = hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:12]
    classes = cache_dir() / f"jms-{key}"
    libs = libraries()
    if not shutil.which("javac"):
        ensure_packages("java")
    with locked("jms"):
        if not classes.is_dir():
            staging = classes.with_suffix(".new")
            shutil.rmtree(staging, ignore_errors=True)
            done = subprocess.run(["javac", "-Xlint:all", "-encoding", "UTF-8", "-cp",
                                   f"{libs}/*", "-d", staging, SOURCE], capture_output=True,
                                  text=True)
            assert done.returncode == 0, done.stderr
            staging.rename(classes)
    return classes


class Jms:
    """Sends to and receives from queues of a broker that speaks AMQP 1.0, as JSON-able dicts."""

    def __init__(self, broker):
        self._uri = (f"amqp://127.0.0.1:{broker.port}?jms.username={broker.username}"
                     f"&jms.password={broker.password}&{DESERIALIZE}")
        self._classes = f"{_compiled()}:{libraries()}/*"

    def send(self, queue, seed=1, count=0, seconds=120):
        """Messages of every kind and `count` random ones; what was sent, in order."""
        return self._run(seconds, "send", queue, seed, count)

    def receive(self, queue, number, seconds=30):
        return self._run(seconds + 20, "receive", queue, number, seconds)

    def order(self, queue, key, body):
        """One message with the properties region and amount, correlation id c-17, type created."""
        return self._run(60, "order", queue, key, body)[0]

    def _run(self, limit, command, queue, *numbers):
        done = subprocess.run(
            ["java", "-Xms32m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
             "-XX:-UsePerfData", "-cp", self._classes, "Jms", command, self._uri, queue,
             *map(str, numbers)],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=limit)
        assert done.returncode == 0, f"{command}: {done.stderr[-3000:]}\n{done.stdout[-500:]}"
        return [json.loads(line) for line in done.stdout.splitlines()]


def plain(message):
    """Without what each hop sets anew."""
    return {name: value for name, value in message.items() if name not in HOP_LOCAL}
