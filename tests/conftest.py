# SPDX-License-Identifier: Apache-2.0
"""Brokers for a whole session, names for each test, and the table of counts at the end."""

import contextlib
import json
import os
import random
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from support.bridge import program  # noqa: E402

KAFKAS = ("3.9.1", "4.3.1")
ROWS = pytest.StashKey()


def pytest_addoption(parser):
    parser.addoption("--seed", type=int, default=None, help="seed of the random tests")
    parser.addoption("--counts", default=None, help="also write the table of counts to this file, and beside it as .json")


def pytest_configure(config):
    config.stash[ROWS] = []
    seed = config.getoption("--seed")
    config.seed = seed if seed is not None else int(os.environ.get("MBRIDGE_SEED")
                                                    or random.randrange(1 << 30))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Marks as long what long.txt names."""
    lines = (Path(__file__).parent / "long.txt").read_text(encoding="utf-8").splitlines()
    slow = tuple(line for line in lines if line and not line.startswith("#"))
    for item in items:
        if item.nodeid.startswith(slow):
            item.add_marker(pytest.mark.long)


def pytest_report_header(config):
    return f"seed: {config.seed} (repeat with --seed {config.seed})"


@pytest.fixture(scope="session")
def seed(request):
    return request.config.seed


@pytest.fixture
def dice(seed, request):
    """A generator of its own for each test, so that a test alone repeats itself too."""
    return random.Random(f"{seed}/{request.node.nodeid}")


class Brokers:
    """Starts a broker when it is first asked for; all are stopped with the session."""

    def __init__(self, workdir):
        self._workdir = workdir
        self._running = {}
        self._stack = contextlib.ExitStack()

    def _get(self, name, make):
        if name not in self._running:
            broker = make()
            broker.start()
            self._stack.callback(broker.stop)
            self._running[name] = broker
        return self._running[name]

    def kafka(self, version=KAFKAS[0], which="a", **options):
        from brokers import KafkaBroker
        return self._get(f"kafka-{version}-{which}", lambda: KafkaBroker(
            version=version, workdir=self._workdir, **options))

    def rabbit(self, which="a", **options):
        """release: of another Debian; skips, and says why, where this machine cannot have it."""
        from brokers import RabbitBroker
        from brokers.other_release import host_release, unavailable
        if options.get("release") not in (None, host_release()) and unavailable():
            pytest.skip(unavailable())
        return self._get(f"rabbit-{which}", lambda: RabbitBroker(
            workdir=self._workdir, **{"amqp10": True, **options}))

    def artemis(self, which="a", **options):
        from brokers import ArtemisBroker
        return self._get(f"artemis-{which}", lambda: ArtemisBroker(
            workdir=self._workdir, **options))

    def classic(self, which="a", **options):
        from brokers import ClassicBroker
        return self._get(f"classic-{which}", lambda: ClassicBroker(
            workdir=self._workdir, **options))

    def redis(self, which="a", **options):
        from brokers import RedisBroker
        return self._get(f"redis-{which}", lambda: RedisBroker(workdir=self._workdir, **options))

    def side(self, name):
        """A platform as the end of a route (support/sides.py), on a broker of the session."""
        from support import sides
        if name == "redis":
            from support.redis_side import RedisSide
            return RedisSide(self.redis())
        return {
            "kafka": lambda: sides.KafkaSide(self.kafka()),
            "rabbitmq": lambda: sides.RabbitSide(self.rabbit()),
            "artemis": lambda: sides.Amqp10Side(self.artemis()),
            "classic": lambda: sides.Amqp10Side(self.classic()),
            "rabbitmq4": lambda: sides.Amqp10Side(self.rabbit("trixie", release="trixie")),
            "rabbitmq4-091": lambda: sides.RabbitSide(self.rabbit("trixie", release="trixie")),
        }[name]()

    def stop(self):
        self._stack.close()


@pytest.fixture(scope="session")
def brokers(tmp_path_factory):
    fleet = Brokers(tmp_path_factory.mktemp("brokers"))
    yield fleet
    fleet.stop()


@pytest.fixture(params=KAFKAS, ids=[f"kafka{version.split('.')[0]}" for version in KAFKAS])
def kafka(request, brokers):
    """Each of the Kafka versions in turn."""
    return brokers.kafka(request.param)


@pytest.fixture
def kafka3(brokers):
    return brokers.kafka(KAFKAS[0])


@pytest.fixture
def rabbit(brokers):
    return brokers.rabbit()


@pytest.fixture
def artemis(brokers):
    return brokers.artemis()


@pytest.fixture
def redis(brokers):
    return brokers.redis()


@pytest.fixture
def only_as_released():
    """For tests of what the bridge's memory is: a sanitizer's own is not the bridge's."""
    path = Path(program())
    if path.exists() and b"__asan_init" in path.read_bytes():
        pytest.skip("a sanitizer's own memory is not the bridge's")


@pytest.fixture
def fresh(request, dice):
    """Names that no other test uses on the same brokers: fresh('orders')."""
    tag = f"{dice.randrange(1 << 24):06x}"
    return lambda name: f"{name}.{tag}"


@pytest.fixture
def ending():
    """ending(thing) has thing.end() called after the test, however it ends."""
    with contextlib.ExitStack() as stack:
        def register(thing):
            stack.callback(thing.end)
            return thing
        yield register


@pytest.fixture
def counts(request):
    """counts(rounds=3, lost=0, …) adds a row to the table at the end of the run."""
    def add(**columns):
        request.config.stash[ROWS].append((request.node.name, columns))
    return add


def markdown(rows):
    """A table for all tests with the same columns."""
    tables = {}
    for test, columns in rows:
        tables.setdefault(tuple(columns), []).append((test, columns))
    lines = []
    for names, members in tables.items():
        lines += ["", "| " + " | ".join(("test", *names)) + " |", "|---" * (len(names) + 1) + "|"]
        lines += [f"| {test} | " + " | ".join(str(columns[name]) for name in names) + " |"
                  for test, columns in members]
    return "\n".join(lines[1:])


def pytest_terminal_summary(terminalreporter, config):
    rows = config.stash[ROWS]
    if not rows:
        return
    table = markdown(rows)
    terminalreporter.section("counts")
    terminalreporter.write_line(table)
    if config.getoption("--counts"):
        path = Path(config.getoption("--counts"))
        path.write_text(table + "\n")
        path.with_suffix(".json").write_text(json.dumps(
            [{"test": test, **columns} for test, columns in rows], indent=1) + "\n")
