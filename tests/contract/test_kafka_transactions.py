# SPDX-License-Identifier: Apache-2.0
"""Transactions of the Kafka sink, killed, stopped and contested, as a read-committed consumer sees it."""

import os
import select
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from test_contract_brokers import build_dir
from support.clients import create_topic
from support.pair import columns
from support.route import Route, stop_and_judge, wait_arrived
from support.wait import until

OK, DISCONNECTED, INVALID, REJECTED = 0, 2, 3, 9
LONG = "transaction_timeout=2m"  # who waited for it would be seen to
MOMENT = 30  # seconds, on a busy machine


class Answer:
    def __init__(self, line):
        status, ms, self.text = line.rstrip("\n").split(" ", 2)
        self.status, self.ms = int(status), int(ms)

    def __repr__(self):
        return f"{self.status} after {self.ms} ms: {self.text}"


class Driver:
    """A process with one sink (drive_transactions.c)."""

    def __init__(self, kafka, topic, group, *sink, timeout_ms=20000):
        build = build_dir()
        program = build / "tests" / "drive_transactions"
        if not program.exists():
            pytest.skip(f"{program} is not built")
        self._process = subprocess.Popen(
            [program, "--module", build / "lib" / "mbridge" / "kafka.so", "--group", group,
             "--endpoint", f"brokers={kafka.bootstrap}", "--sink", f"topic={topic}",
             *(word for setting in sink for word in ("--sink", setting)),
             "--timeout", str(timeout_ms)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def ask(self, command):
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()

    def answer(self, seconds=60):
        ready, _, _ = select.select([self._process.stdout], [], [], seconds)
        line = self._process.stdout.readline() if ready else ""
        assert line, f"no answer; stderr: {self.end()}"
        return Answer(line)

    def do(self, *commands):
        """The answer to the last one; all must succeed."""
        for command in commands:
            answer = self.tell(command)
            assert answer.status == OK, f"{command}: {answer}"
        return answer

    def tell(self, command):
        self.ask(command)
        return self.answer()

    def signal(self, number):
        self._process.send_signal(number)

    def end(self):
        if self._process.poll() is None:
            self._process.kill()
        _, errors = self._process.communicate()
        return errors


@pytest.fixture
def place(kafka, request):
    """A topic, a group, and drivers on them."""
    yield from make_place(kafka, request)


@pytest.fixture
def place3(kafka3, request):
    yield from make_place(kafka3, request)


def make_place(kafka, request):
    name = f"once-{os.getpid()}-{request.node.name.split('[')[0]}-{kafka.version}"
    create_topic(kafka.bootstrap, name)
    place = Place(kafka, name)
    yield place
    place.end()


class Place:
    def __init__(self, kafka, topic):
        self.kafka, self.topic, self.drivers = kafka, topic, []

    def driver(self, *sink, **options):
        driver = Driver(self.kafka, self.topic, f"mbridge.{self.topic}", *sink, **options)
        self.drivers.append(driver)
        return driver

    def end(self):
        for driver in self.drivers:
            driver.end()

    def committed(self, count, seconds=10, more_ms=0):
        """Waits for count numbers; whatever is there after more_ms."""
        consumer = KafkaConsumer(bootstrap_servers=self.kafka.bootstrap, group_id=None,
                                 isolation_level="read_committed", fetch_max_wait_ms=50)
        scope = TopicPartition(self.topic, 0)
        numbers = []
        try:
            consumer.assign([scope])
            consumer.seek_to_beginning(scope)

            def read():
                for records in consumer.poll(timeout_ms=100).values():
                    numbers.extend(int(record.value.split()[1]) for record in records)
                return len(numbers) >= count

            until(read, seconds, f"{count} numbers in {self.topic}", detail=lambda: numbers)
            end = time.monotonic() + more_ms / 1000
            while time.monotonic() < end:
                read()
        finally:
            consumer.close()
        return numbers


def test_killed_in_a_transaction(place):
    """None of it is seen, and the next instance ends it at once: no waiting for the time limit."""
    first = place.driver(LONG)
    assert first.do("open", "load").text == "none"
    first.do("begin", "send 0 10", "store 9", "commit", "begin", "send 10 10")
    first.signal(signal.SIGKILL)
    begun = time.monotonic()
    second = place.driver(LONG)
    assert second.do("open", "load").text == "9"
    second.do("begin", "send 10 10", "store 19", "commit")
    assert place.committed(20) == list(range(20))
    assert time.monotonic() - begun < MOMENT


def test_stopped_and_awake_again(place):
    """The one that took its positions over need not wait for it, and it cannot write any more."""
    first = place.driver(LONG)
    first.do("open", "load", "begin", "send 0 5", "store 4", "commit")
    first.do("begin", "send 5 5", "store 9")
    first.signal(signal.SIGSTOP)
    begun = time.monotonic()
    second = place.driver(LONG)
    assert second.do("open", "load").text == "4"
    second.do("begin", "send 5 5", "store 9", "commit")
    assert time.monotonic() - begun < MOMENT
    first.signal(signal.SIGCONT)
    answer = first.tell("commit")
    assert answer.status == DISCONNECTED and answer.text.startswith("fenced"), answer
    for command in ("begin", "send 10 1", "load", "abort"):
        assert first.tell(command).status == DISCONNECTED
    # Its next instance takes the positions over in turn.
    assert first.do("close", "open", "load").text == "9"
    first.do("begin", "send 10 5", "store 14", "commit")
    answer = second.tell("begin")
    assert answer.status == DISCONNECTED or second.tell("send 10 5").status == DISCONNECTED
    assert place.committed(15, more_ms=300) == list(range(15))


def test_stopped_with_more_in_hand(place):
    """That it has told of itself once more since does not mean that another has its name."""
    first = place.driver(LONG)
    first.do("open", "load", "scopes 3", "begin", "send 0 5", "store 4")
    first.signal(signal.SIGSTOP)
    second = place.driver(LONG)
    assert second.do("open", "load").text == "none"
    second.do("begin", "send 0 5", "store 4", "commit")
    first.signal(signal.SIGCONT)
    assert first.tell("commit").status == DISCONNECTED
    assert place.committed(5, more_ms=300) == list(range(5))


def test_same_name_again(place):
    """What a killed instance had is taken over without harm to the one that has its name now."""
    old = [place.driver(), place.driver()]
    for driver in old:
        driver.do("open")
    old[1].do("load", "begin", "send 0 5", "store 4", "commit")
    for driver in old:
        driver.end()
    new = [place.driver(), place.driver()]
    for driver in new:
        driver.do("open")  # in this order: the second has the name of the second again
    new[1].do("begin", "send 5 5")
    assert new[0].do("load").text == "4"
    new[1].do("commit")
    new[0].do("begin", "send 10 5", "store 14", "commit")
    assert place.committed(15, more_ms=300) == list(range(15))


def test_let_go(place):
    """Who took over what was let go of leaves the other alone, which has more to do."""
    first, second = place.driver(), place.driver()
    first.do("open", "load", "begin", "send 0 5", "release 4", "commit")
    second.do("open")
    first.do("begin", "send 5 5")
    assert second.do("load").text == "4"
    first.do("commit")
    second.do("begin", "send 10 5", "store 9", "commit")
    assert first.do("load").text == "9"
    assert place.committed(15, more_ms=300) == list(range(15))
    assert second.tell("begin").status == DISCONNECTED or \
        second.tell("send 15 1").status == DISCONNECTED


def killed_while_it_runs(place, dice, rounds):
    """Whenever it is killed: as many messages as the position says, each once."""
    position = -1
    for _ in range(rounds):
        driver = place.driver()
        text = driver.do("open", "load").text
        loaded = -1 if text == "none" else int(text)
        assert loaded >= position
        numbers = place.committed(loaded + 1)
        assert numbers == list(range(loaded + 1))
        driver.ask(f"run {loaded + 1}")
        time.sleep(dice.random() * 0.25)
        driver.end()
        position = loaded
    driver = place.driver()
    loaded = int(driver.do("open", "load").text)
    assert loaded > 0
    assert place.committed(loaded + 1, more_ms=300) == list(range(loaded + 1))


def test_killed_anywhere(place3, dice):
    killed_while_it_runs(place3, dice, 5)


@pytest.mark.long
def test_killed_anywhere_often(place, dice):
    killed_while_it_runs(place, dice, 100)


def contested(place, rounds):
    """Of several that take the same positions at once one at most can write; it may happen that
    they all fence each other off."""
    drivers = [place.driver() for _ in range(3)]
    done, history = 0, []
    with ThreadPoolExecutor(len(drivers)) as pool:
        list(pool.map(lambda driver: driver.do("open"), drivers))
        for _ in range(rounds):
            loaded = list(pool.map(lambda driver: driver.tell("load"), drivers))
            first = min([int(answer.text) for answer in loaded
                         if answer.status == OK and answer.text != "none"], default=-1) + 1

            def write(driver, answer, first=first):
                if answer.status != OK:
                    return False
                commands = ("begin", f"send {first} 5", f"store {first + 4}", "commit")
                return all(driver.tell(command).status == OK for command in commands)

            wrote = list(pool.map(write, drivers, loaded))
            history.append((wrote, loaded))
            assert sum(wrote) <= 1, history
            done += sum(wrote)
            for driver, good in zip(drivers, wrote):
                if not good:
                    driver.do("close", "open")
    winner = place.driver()
    assert winner.do("open", "load").text == (str(done * 5 - 1) if done else "none")
    winner.do("begin", f"send {done * 5} 5", f"store {done * 5 + 4}", "commit")
    assert place.committed(done * 5 + 5, more_ms=300) == list(range(done * 5 + 5))


def test_contested(place3):
    contested(place3, 4)


@pytest.mark.long
def test_contested_often(place):
    contested(place, 100)


def test_many_positions(place, record_property):
    """10000 records are read at a start in a moment."""
    driver = place.driver()
    driver.do("open", "scopes 1000", "fill 1000 10")
    assert driver.do("scopes 1000").text == "9"
    driver.do("close", "open")
    answer = driver.do("scopes 1000")
    assert answer.text == "9"
    record_property("load_ms", answer.ms)
    print(f"10000 records of 1000 scopes: {answer.ms} ms")
    assert answer.ms < 5000


def test_refused_within_a_transaction(kafka, place):
    topic = f"{place.topic}-small"
    create_topic(kafka.bootstrap, topic, config={"max.message.bytes": "5000"})
    driver = Driver(kafka, topic, topic)
    place.drivers.append(driver)
    driver.do("open", "load", "begin")
    answer = driver.do("send 0 1 20000")
    assert answer.text.startswith("cause="), answer
    driver.do("send 1 3")  # they complete, whatever becomes of them
    driver.do("store 3")
    assert driver.tell("commit").status == REJECTED

    def sent_again():
        """librdkafka 2.0 leaves a gap in its sequence numbers once, and mends it by an abort."""
        driver.do("abort", "begin", "send 1 3", "store 3")
        return driver.tell("commit").status == OK

    assert sent_again() or sent_again()
    assert driver.do("load").text == "3"


@pytest.mark.parametrize("partitions, config, reason", [
    (8, {"cleanup.policy": "delete"}, "compact"), (2, {"cleanup.policy": "compact"}, "partitions")])
def test_unfit_topic(kafka3, partitions, config, reason):
    topic = f"once-{os.getpid()}-{reason}"
    create_topic(kafka3.bootstrap, topic)
    create_topic(kafka3.bootstrap, f"{topic}-positions", partitions, config)
    driver = Driver(kafka3, topic, topic, f"positions_topic={topic}-positions")
    try:
        answer = driver.tell("open")
        assert answer.status == INVALID and reason in answer.text, answer
    finally:
        driver.end()


def test_out_of_turn(place):
    driver = place.driver()
    driver.do("open", "abort")
    assert driver.tell("commit").status == INVALID
    assert driver.tell("store 1").status == INVALID
    driver.do("begin")
    assert driver.tell("begin").status == INVALID
    assert driver.tell("load").status == INVALID
    driver.do("commit", "begin", "post 0 5", "abort", "begin", "send 0 5", "commit")
    assert place.committed(5, more_ms=300) == list(range(5))


@pytest.mark.long
def test_broker_away(brokers):
    """A broker that does not answer: commit says in time that it does not know."""
    kafka = brokers.kafka("3.9.1", which="stopped")
    topic = f"once-{os.getpid()}-away"
    create_topic(kafka.bootstrap, topic)
    driver = Driver(kafka, topic, topic, timeout_ms=6000)
    try:
        until(lambda: driver.tell("open").status == OK, 20, "the sink opens")
        driver.do("load", "begin", "send 0 5", "store 4")
        kafka.pause()
        try:
            answer = driver.tell("commit")
            assert answer.status in (DISCONNECTED, REJECTED) and answer.ms < 9000, answer
            answer = driver.tell("abort")
            assert answer.status == DISCONNECTED and answer.ms < 9000, answer
            answer = driver.do("close")
            assert answer.ms < 9000
        finally:
            kafka.resume()
        until(lambda: driver.tell("open").status == OK, 20, "the sink opens again")
        text = driver.do("load").text
        assert text in ("none", "4")
        if text == "none":
            driver.do("begin", "send 0 5", "store 4", "commit")
        assert Place(kafka, topic).committed(5, more_ms=300) == list(range(5))
    finally:
        driver.end()


def test_copy_of_what_is_decided(place3, fresh):
    """A copy ends at the first transaction that is open, and behind what was aborted."""
    kafka = place3.kafka
    tails = {"committed": (), "aborted": ("begin", "send 5 5", "abort"),
             "open": ("begin", "send 5 5")}
    copies = []
    for tail, commands in tails.items():
        topic, there = fresh(tail), fresh(f"{tail}-copy")
        create_topic(kafka.bootstrap, topic)
        create_topic(kafka.bootstrap, there)
        driver = Driver(kafka, topic, topic, LONG)
        place3.drivers.append(driver)
        driver.do("open", "begin", "send 0 5", "commit", *commands)
        copies.append((there, subprocess.Popen(
            [build_dir() / "bin" / "mbridge", "copy", f"kafka://{kafka.bootstrap}/{topic}",
             f"kafka://{kafka.bootstrap}/{there}"], stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True)))
    for there, copy in copies:
        _, errors = copy.communicate(timeout=60)
        assert copy.returncode == 0, errors
        assert Place(kafka, there).committed(5, more_ms=100) == list(range(5))


def instances(bootstrap, name):
    """The transactional ids of a bridge, from what they tell of themselves."""
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, group_id=None,
                             isolation_level="read_committed", fetch_max_wait_ms=50)
    scopes = [TopicPartition("mbridge.positions", number) for number in range(8)]
    found = set()
    try:
        consumer.assign(scopes)
        consumer.seek_to_beginning(*scopes)
        ends = consumer.end_offsets(scopes)

        def read():
            for records in consumer.poll(timeout_ms=100).values():
                found.update(record.value.decode().split(" ", 3)[3] for record in records
                             if record.key.startswith(b"/") and name.encode() in record.key)
            return all(consumer.position(scope) >= end for scope, end in ends.items())

        until(read, 20, "the topic of positions is read")
    finally:
        consumer.close()
    return sorted(found)


@pytest.mark.long
@pytest.mark.parametrize("instance", ["auto", ""], ids=["static", "dynamic"])
def test_lanes_are_fenced_off(instance, brokers, fresh, tmp_path, dice, ending, counts):
    """One lane or both, over and over: they come back, and nothing is there twice."""
    kafka = brokers.side("kafka")
    route = ending(Route(kafka, kafka, fresh, tmp_path, dice, rate=1000, lanes=2,
                         ends={"from": {"instance": instance}}, delivery="effectively-once"))
    bridge = ending(route.bridge())
    route.feeder.start()
    bridge.start()
    wait_arrived(route.stream, 2000, bridge)
    names = instances(kafka.broker.bootstrap, route.bridge_name)
    assert len(names) == 2
    for number in range(6):
        route.stream.fault()
        for name in names if number % 2 else names[number // 2 % 2:][:1]:
            other = KafkaProducer(bootstrap_servers=kafka.broker.bootstrap, transactional_id=name)
            other.init_transactions()
            other.close()
        wait_arrived(route.stream, route.stream.arrived + 3000, bridge)
    bridge.run.kill()
    bridge.start()
    wait_arrived(route.stream, route.stream.arrived + 3000, bridge)
    verdict = stop_and_judge(route, bridge)
    counts(instance=instance or "dynamic", **columns(verdict))
    verdict.assert_kept(duplicates_max=0)
