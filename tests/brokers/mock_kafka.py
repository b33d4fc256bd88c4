# SPDX-License-Identifier: Apache-2.0
"""librdkafka's mock cluster as a process: a Kafka without a JVM, in memory, for demo and tests."""

import os
import subprocess
from pathlib import Path

from .install import REPOSITORY
from .process import Broker, BrokerError, spawn

BUILDS = ("release", "debug", "asan", "tsan")


def find_mock_kafka():
    """The mock_kafka program: $MBRIDGE_MOCK_KAFKA, else that of the first build that has it."""
    places = [Path(os.environ["MBRIDGE_MOCK_KAFKA"])] if "MBRIDGE_MOCK_KAFKA" in os.environ else [
        REPOSITORY / "build" / build / "tests" / "demo" / "mock_kafka" for build in BUILDS]
    for place in places:
        if place.exists():
            return place
    raise BrokerError("there is no mock_kafka: build the project first (./dev build)")


class MockKafka(Broker):
    """topics: {name: partitions}. feed: a file of records for the first topic, as mock_kafka.c says.

    The first `burst` of the records are produced at the start, the others, `rate` a second, from
    go() on. All is in memory: kill() loses it, and a start after it has another port.
    """

    name = "mock-kafka"
    start_timeout = 20

    def __init__(self, workdir=None, topics=None, feed=None, burst=1000, rate=1000,
                 program=None, detached=False):
        super().__init__(workdir, detached)
        self._program = program or find_mock_kafka()
        self._topics = dict(topics or {"orders": 4})
        self._feed = [] if feed is None else ["--feed", feed, "--burst", burst, "--rate", rate]
        self.bootstrap = None

    def _launch(self):
        arguments = [f"{topic}:{partitions}" for topic, partitions in self._topics.items()]
        # It ends when its standard input does, so that it can't outlive us.
        return spawn([self._program, *self._feed, *arguments], self.log_path,
                     detached=self._detached, stdin=subprocess.PIPE)

    def _ready(self):
        for line in self.log_since_start().splitlines():
            word, _, value = line.partition(" ")
            if word == "bootstrap":
                self.bootstrap = value.strip()
                self.port = int(self.bootstrap.rpartition(":")[2])
                return True
        return False

    def go(self):
        """Starts the paced part of the feed."""
        self._child.stdin.write(b"go\n")
        self._child.stdin.flush()

    def delivered(self):
        """How many of the fed records the cluster has acknowledged."""
        counts = [line.split()[1] for line in self.log_since_start().splitlines()
                  if line.startswith("delivered ") and line.count(" ") == 1]
        return int(counts[-1]) if counts else 0
