# SPDX-License-Identifier: Apache-2.0
"""The contract suite on the backends that need a broker, with real ones."""

import os
import subprocess
from pathlib import Path

import pytest

from brokers import BrokerJ

ROOT = Path(__file__).resolve().parents[2]


def build_dir():
    """The build tree of the bridge under test."""
    bridge = os.environ.get("MBRIDGE")
    return Path(bridge).resolve().parent.parent if bridge else ROOT / "build" / "release"


def run_suite(module, *arguments, timeout=600):
    build = build_dir()
    program = build / "tests" / "test_contract"
    path = build / "lib" / "mbridge" / f"{module}.so"
    if not program.exists():
        pytest.skip(f"{program} is not built")
    assert path.exists(), f"{path} is missing"
    done = subprocess.run([program, "--module", path, *arguments], capture_output=True, text=True,
                          timeout=timeout)
    assert done.returncode == 0, done.stdout + done.stderr


def each(option, *settings):
    return [part for setting in settings for part in (option, setting)]


WAITS = ["--timeout", "20000", "--quiet", "1500"]


def test_kafka(kafka):
    run_suite("kafka", *WAITS, "--timeout", "60000",  # rebalances, on a busy machine
              *each("--endpoint", f"brokers={kafka.bootstrap}"),
              *each("--source", "topic={stream}"),
              *each("--sink", "topic={stream}"),
              "--bad-endpoint", "brokers=127.0.0.1:1",
              "--carries", "headers,header-order,key,empty-key,null-body,duplicate-headers")


def run_redis(redis, *arguments):
    run_suite("redis", *WAITS,
              *each("--endpoint", f"uri={redis.uri}"),
              *each("--source", "stream={stream}"),
              *each("--sink", "stream={stream}"),
              "--bad-endpoint", "uri=redis://127.0.0.1:1/0", "--partitions", "1",
              "--carries", "headers,header-order,key,duplicate-headers", *arguments)


@pytest.mark.long
def test_redis(redis):
    run_redis(redis)


def test_redis_deduplicates(redis):
    run_redis(redis, "--case", "deduplicate")


@pytest.mark.long
def test_amqp091_stream(rabbit):
    """A stream keeps no lists among the headers: the sidecar has them, which is another test's."""
    run_suite("amqp091", *WAITS,
              *each("--endpoint", f"uri={rabbit.uri}"),
              *each("--source", "queue={stream}", "start=earliest"),
              *each("--sink", "queue={stream}", "queue_type=stream"),
              "--bad-endpoint", "uri=amqp://guest:wrong@127.0.0.1:1/%2F",
              "--carries", "properties")


@pytest.mark.long
def test_amqp091_quorum(rabbit):
    run_suite("amqp091", *WAITS,
              *each("--endpoint", f"uri={rabbit.uri}"),
              *each("--source", "queue={stream}"),
              *each("--sink", "queue={stream}", "queue_type=quorum"),
              "--bad-endpoint", "uri=amqp://guest:wrong@127.0.0.1:1/%2F",
              "--carries", "headers,typed-headers,properties,redelivered")


def test_amqp091_queue(rabbit):
    run_suite("amqp091", *WAITS,
              *each("--endpoint", f"uri={rabbit.uri}"),
              *each("--source", "queue={stream}"),
              *each("--sink", "queue={stream}"),
              "--bad-endpoint", "uri=amqp://guest:wrong@127.0.0.1:1/%2F",
              "--carries", "headers,typed-headers,properties,redelivered")


def run_amqp10(uri, prefix, *arguments, carries="headers"):
    run_suite("amqp10", *WAITS, "--timeout", "60000",
              *each("--endpoint", f"uri={uri}"),
              *each("--source", f"address={prefix}{{stream}}"),
              *each("--sink", f"address={prefix}{{stream}}"),
              "--bad-endpoint", "uri=amqp://guest:wrong@127.0.0.1:1",
              "--carries", carries, *arguments)


def test_amqp10_artemis(artemis):
    run_amqp10(artemis.uri, "")


@pytest.mark.long
def test_amqp10_rabbitmq3(rabbit):
    run_amqp10(rabbit.amqp10_uri, "/queue/")


@pytest.mark.long
def test_amqp10_rabbitmq4(brokers):
    # It adds annotations, so that headers are not what was sent.
    broker = brokers.rabbit("trixie", release="trixie")
    run_amqp10(broker.amqp10_uri, "/queues/", carries="")


@pytest.mark.long
def test_amqp10_classic(brokers):
    # By default it hands out 200 messages at most before the first is acknowledged.
    paging = '<policyEntry queue=">" maxPageSize="4096"/>'
    broker = brokers.classic("paging", policies=paging)
    run_amqp10(broker.uri, "queue://", "--any-stream", carries="headers,redelivered")


@pytest.mark.long
def test_amqp10_broker_j(tmp_path):
    with BrokerJ(workdir=tmp_path) as broker:
        run_amqp10(broker.uri, "", "--any-stream", carries="headers,redelivered")
