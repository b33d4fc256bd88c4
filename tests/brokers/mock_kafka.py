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
    """topics: {name: partitions}. feed: a file of records that the program produces, see its help.

    All is in memory: kill() loses it, and a start after it has another port.
    """

    name = "mock-kafka"
    start_timeout = 20

    def __init__(self, workdir=None, topics=None, feed=None, program=None, detached=False):
        super().__init__(workdir, detached)
        self._program = program or find_mock_kafka()
        self._topics = dict(topics or {"orders": 4})
        self._feed = feed
        self.bootstrap = None

    def _launch(self):
        arguments = [f"{topic}:{partitions}" for topic, partitions in self._topics.items()]
        if self._feed is not None:
            arguments = ["--feed", str(self._feed), *arguments]
        # It ends when its standard input does, so that it can't outlive us.
        return spawn([self._program, *arguments], self.log_path, detached=self._detached,
                     stdin=subprocess.PIPE)

    def _ready(self):
        for line in self.log_since_start().splitlines():
            word, _, value = line.partition(" ")
            if word == "bootstrap":
                self.bootstrap = value.strip()
                self.port = int(self.bootstrap.rpartition(":")[2])
                return True
        return False
