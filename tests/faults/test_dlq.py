# SPDX-License-Identifier: Apache-2.0
"""Dead letters that one can work with: seen without being taken, and sent again as they came."""

import json
import subprocess

import pytest

from pairs.test_round_trip import UNPASSABLE, compare, described, limits_of
from support import corpus
from support.bridge import Bridge, Run, program
from support.clients import (create_topic, declare_queue, produce, publish, queue_depth,
                             rabbit_channel, take)
from support.config import config, kafka_endpoint, rabbit_endpoint
from support.sides import KafkaSide, RabbitSide
from support.wait import until

NAMES = ("kafka", "rabbitmq", "artemis", "redis")
EVERYDAY = [("rabbitmq", "kafka"), ("kafka", "rabbitmq"), ("redis", "artemis"),
            ("artemis", "redis")]
OTHERS = [(near, dead) for near in NAMES for dead in NAMES if (near, dead) not in EVERYDAY]
# What the first step does to a message is none of its dead letter's.
REFUSING = [{"step": "set-header", "name": "changed", "value": "yes"},
            {"step": "require-header", "header": "never-there"}]
SAMPLE = 120


def pairs(listed, *marks):
    return [pytest.param(*pair, id="-".join(pair), marks=marks) for pair in listed]


class StreamSide(RabbitSide):
    def sink(self, place):
        return {**super().sink(place), "queue_type": "stream"}


@pytest.fixture
def side_of(brokers):
    def find(name):
        if name == "kafka":
            return KafkaSide(brokers.kafka(), 1, **{"max.message.bytes": "4000000"})
        if name == "stream":
            return StreamSide(brokers.rabbit(), **{"x-queue-type": "stream"})
        return brokers.side(name)
    return find


class Dlq:
    """A route whose messages are all refused, until it is mended."""

    def __init__(self, near, dead, fresh, workdir, **route):
        self.near, self.dead, self._workdir, self._route = near, dead, workdir, route
        self._name = fresh("bridge")
        self.there, self.back = near.make(fresh("there")), near.make(fresh("back"))
        self.buried = dead.make(fresh("dead"))
        self.route = {"name": "orders", "from": {"endpoint": "a", **near.source(self.there)},
                      "to": {"endpoint": "a", **near.mirror(self.back)},
                      "dead_letter": {"endpoint": "d", **dead.sink(self.buried)}, **route}
        self.path = workdir / "mended.conf"
        self.path.write_text(self.text())

    def text(self, **more):
        return config(self._name, {"a": self.near.endpoint, "d": self.dead.endpoint},
                      [{**self.route, **more}], drain_idle="1s")

    def bury(self, messages, ending):
        self.near.put(self.there, messages)
        bridge = ending(Bridge(self._workdir, self.text(steps=REFUSING), "refusing"))
        assert bridge.start("--drain").wait(60) == 0, bridge.run.tail()
        assert bridge.run.last_counters().total("dead_lettered") == len(messages)

    def run(self, *arguments, code=0, path=None):
        done = subprocess.run([program(), "dlq", *map(str, arguments), str(path or self.path)],
                              capture_output=True, text=True, timeout=90)
        assert done.returncode == code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def list(self, *arguments):
        return [json.loads(line) for line in
                self.run("list", "--json", *arguments).stdout.splitlines()]

    def replay(self, *arguments, code=0):
        done = self.run("replay", "--json", *arguments, code=code)
        return json.loads(done.stdout.splitlines()[-1])


def _is_made_durable(path, expected, found):
    """A queue of dead letters keeps its messages over a restart, and a message that says nothing of
    it cannot be told from one that asks for it."""
    return path in ("properties.delivery_mode", "header.durable") and expected is None


def _is_promoted(path, expected, found):
    """A header of that name says it too: docs/dead-letters.md."""
    section, _, name = path.partition(".")
    return section == "properties" and expected is None and \
        name.replace("_", "-") in corpus.PROMOTED


def judged(platform, expected, found):
    rules = {**UNPASSABLE.get(platform, {}), "durable": (_is_made_durable, ""),
             "promoted": (_is_promoted, "")}
    wrong = {path: [case for case in cases if not any(
        explains(path, *case[1:]) for explains, _ in rules.values())]
        for path, cases in compare(platform, expected, found).items()}
    wrong = {path: cases for path, cases in wrong.items() if cases}
    assert not wrong, described(wrong)


@pytest.mark.parametrize("near, dead", pairs(EVERYDAY) + pairs(OTHERS, pytest.mark.long))
def test_what_is_replayed_is_what_came(near, dead, side_of, fresh, tmp_path, dice, ending, counts):
    """Listed twice without being taken, then sent again: the same message, field by field, as the
    platform's own client sees it."""
    near, dead = side_of(near), side_of(dead)
    dlq = Dlq(near, dead, fresh, tmp_path)
    whole = corpus.corpus(near.platform, 600, dice, large=False, **limits_of(near))
    messages = dice.sample(whole, SAMPLE)
    control = near.make(fresh("control"))
    near.put(control, messages)
    dlq.bury(messages, ending)
    for _ in range(2):
        listed = dlq.list()
        assert [letter["number"] for letter in listed] == list(range(1, SAMPLE + 1))
        assert {(letter["route"], letter["reason"]) for letter in listed} == \
            {("orders", "header-missing")}
        assert {letter["origin"]["endpoint"] for letter in listed} == {"a"}
    assert dlq.list("--reason", "other") == []
    assert len(dlq.list("--limit", 7)) == 7
    assert dlq.replay() == {"replayed": SAMPLE, "rejected_again": 0, "passed_over": 0,
                            "expired": 0}
    expected, found = (near.take(place, SAMPLE, 30) for place in (control, dlq.back))
    counts(A=near.name, dead=dead.name, messages=SAMPLE, replayed=len(found))
    judged(near.platform, expected, found)
    assert dlq.replay()["replayed"] == 0


class Queues:
    """A route from a queue to one whose name the message says; dead letters anywhere."""

    def __init__(self, rabbit, dead, fresh, workdir, **more):
        self.rabbit, self.dead = rabbit, dead
        self.source, self.sink = fresh("source"), fresh("sink")
        self.buried = dead.make(fresh("dead"))
        declare_queue(rabbit.uri, self.source)
        self.name, self._workdir = fresh("bridge"), workdir
        self.path = workdir / "queues.conf"
        self.path.write_text(config(
            self.name, {"a": rabbit_endpoint(rabbit), "d": dead.endpoint},
            [{"name": "orders", "from": {"endpoint": "a", "queue": self.source},
              "to": {"endpoint": "a", "queue": "${header.to}", "create": False},
              "dead_letter": {"endpoint": "d", **dead.sink(self.buried)}, **more}],
            drain_idle="1s"))

    def bury(self, number, to=None, headers=None):
        import pika
        headers = {"to": to or self.sink} if headers is None else headers
        publish(self.rabbit.uri, "", self.source, [
            (b"%d" % index, pika.BasicProperties(headers=headers)) for index in range(number)])
        run = Run([program(), "run", "--drain", str(self.path)])
        assert run.wait(90) == 0, run.tail()
        return run.last_counters()

    def bodies(self, number, queue=None):
        return [int(body) for _, _, body in take(self.rabbit.uri, queue or self.sink, number)]

    run, list, replay = Dlq.run, Dlq.list, Dlq.replay


EACH = [pytest.param(name, id=name) for name in (*NAMES, "stream")]
# The queue, where nothing may be acknowledged past what is left, has a test of its own every day.
KAFKA_DAILY = [pytest.param(name, id=name, marks=[] if name == "kafka" else pytest.mark.long)
               for name in (*NAMES, "stream")]


@pytest.mark.parametrize("name", KAFKA_DAILY)
def test_filters_limits_and_what_is_refused_again(name, side_of, rabbit, fresh, tmp_path, counts):
    """What is not wanted stays. What is refused again comes back with a count, and the run ends."""
    dlq = Queues(rabbit, side_of(name), fresh, tmp_path)
    other = fresh("other")
    dlq.bury(10)
    dlq.bury(5, to=other)
    assert len(dlq.list("--reason", "unroutable")) == 15
    assert len(dlq.list("--stream", "nowhere")) == 0
    result = dlq.replay("--limit", 4, code=1)
    assert result["replayed"] == 0 and result["rejected_again"] == 4
    again = [letter for letter in dlq.list() if letter["count"] > 1]
    assert [letter["count"] for letter in again] == [2] * 4
    assert {letter["origin"]["stream"] for letter in again} == {dlq.source}
    declare_queue(rabbit.uri, dlq.sink)
    assert dlq.replay("--reason", "none")["replayed"] == 0
    result = dlq.replay(code=1)
    assert result["replayed"] == 10 and result["rejected_again"] == 5
    counts(dead=name, **result)
    assert sorted(dlq.bodies(10)) == list(range(10))
    assert queue_depth(rabbit.uri, dlq.sink) == 0
    declare_queue(rabbit.uri, other)
    assert dlq.replay("--stream", dlq.source)["replayed"] >= 5
    assert sorted(dlq.bodies(5, other)) == list(range(5))


def test_order_of_what_is_left_in_a_queue(side_of, rabbit, fresh, tmp_path):
    dlq = Queues(rabbit, side_of("rabbitmq"), fresh, tmp_path)
    dlq.bury(3)
    declare_queue(rabbit.uri, dlq.sink)
    dlq.bury(3, to=fresh("other"))
    wanted = [letter["number"] for letter in dlq.list()]
    assert wanted == [1, 2, 3, 4, 5, 6]
    assert dlq.replay("--limit", 2) == {"replayed": 2, "rejected_again": 0, "passed_over": 4,
                                        "expired": 0}
    assert dlq.bodies(2) == [0, 1]
    left = [json.loads(dlq.run("show", "--json", number).stdout)["message"]
            for number in range(1, 5)]
    assert [message["body"] for message in left] == ["2", "0", "1", "2"]
    assert left[0]["properties"]["routing_key"] == dlq.source


def test_what_is_left_stands_before_what_is_sent(side_of, rabbit, fresh, tmp_path):
    """Acknowledging what is behind it does not take it away."""
    dlq = Queues(rabbit, side_of("rabbitmq"), fresh, tmp_path)
    dlq.bury(3, headers={})
    dlq.bury(3)
    assert [letter["reason"] for letter in dlq.list()] == ["template"] * 3 + ["unroutable"] * 3
    declare_queue(rabbit.uri, dlq.sink)
    assert dlq.replay("--reason", "unroutable") == {"replayed": 3, "rejected_again": 0,
                                                    "passed_over": 3, "expired": 0}
    assert dlq.bodies(3) == [0, 1, 2]
    assert [letter["reason"] for letter in dlq.list()] == ["template"] * 3


@pytest.mark.long
@pytest.mark.parametrize("name", EACH)
def test_a_killed_replay_goes_on(name, side_of, rabbit, fresh, tmp_path, dice, counts):
    """kill -9 in the middle, three times: nothing is lost, and what comes twice was under way."""
    number, window = 6000, 100
    dlq = Queues(rabbit, side_of(name), fresh, tmp_path, window={"messages": window},
                 rate={"messages": 1500})
    assert dlq.bury(number)["routes"]["orders"]["dead_lettered"] == number
    declare_queue(rabbit.uri, dlq.sink)
    for _ in range(3):
        before = queue_depth(rabbit.uri, dlq.sink)
        run = Run([program(), "dlq", "replay", str(dlq.path)])
        until(lambda: queue_depth(rabbit.uri, dlq.sink) > before + dice.randrange(50, 400), 40,
              "some are replayed", detail=run.tail)
        run.kill()
    dlq.replay()
    there = queue_depth(rabbit.uri, dlq.sink)
    bodies = dlq.bodies(there)
    counts(dead=name, messages=number, arrived=there, twice=there - number)
    assert set(bodies) == set(range(number))
    assert there - number <= 3 * window


def test_errors_are_clear(rabbit, side_of, fresh, tmp_path):
    dlq = Queues(rabbit, side_of("rabbitmq"), fresh, tmp_path)
    plain = dlq.path.read_text()

    def said(text, *arguments):
        dlq.path.write_text(text)
        return dlq.run(*arguments, code=2).stderr

    assert 'no route "order" (did you mean "orders"?)' in said(plain, "list", "--route", "order")
    assert "no route has a dead_letter" in said(config(
        dlq.name, {"a": rabbit_endpoint(rabbit)},
        [{"name": "orders", "from": {"endpoint": "a", "queue": "x"},
          "to": {"endpoint": "a", "queue": "y"}}]), "list")
    changing = plain.replace(f'queue = "{dlq.buried["queue"]}"', 'queue = "dead.${stream}"')
    assert "changes from message to message" in said(changing, "list")
    exchange = plain.replace(f'queue = "{dlq.buried["queue"]}"', 'exchange = "dead"')
    assert "only a queue can be read back" in said(exchange, "replay")
    assert "--since takes a time" in said(plain, "list", "--since", "yesterday")
    assert "dlq takes list, show or replay" in dlq.run("lost", code=2).stderr


@pytest.mark.long
@pytest.mark.parametrize("name", EACH)
def test_looking_often_takes_nothing(name, side_of, rabbit, fresh, tmp_path):
    """More often than a broker's limit of deliveries (10 in Artemis): all are there, in order."""
    dlq = Queues(rabbit, side_of(name), fresh, tmp_path)
    dlq.bury(20)
    first = dlq.list()
    for _ in range(15):
        again = dlq.list()
        assert [letter["at"] for letter in again] == [letter["at"] for letter in first]
    declare_queue(rabbit.uri, dlq.sink)
    assert dlq.replay()["replayed"] == 20
    assert sorted(dlq.bodies(20)) == list(range(20))


def test_the_names_are_those_of_the_origin(side_of, kafka3, rabbit, fresh, tmp_path):
    """Groups of the pattern, stream, partition and key of where it came from, with two routes that
    share one stream of dead letters."""
    tag, dead = fresh("shop"), side_of("redis")
    topics = [f"{tag}.eu", f"{tag}.us"]
    buried = dead.make(fresh("dead"))
    for topic in topics:
        create_topic(kafka3.bootstrap, topic, 2)
        produce(kafka3.bootstrap, topic, [
            {"value": b"%d" % partition, "key": b"k", "partition": partition}
            for partition in range(2)])
    queues = {(topic, part): f"{topic}/{topic.rpartition('.')[2]}/{part}/k"
              for topic in topics for part in range(2)}
    for queue in queues.values():
        declare_queue(rabbit.uri, queue)
    pattern = "^" + tag.replace(".", "\\.") + "\\.(.*)"
    endpoints = {"k": kafka_endpoint(kafka3), "r": rabbit_endpoint(rabbit), "d": dead.endpoint}
    routes = [{"name": name, "from": {"endpoint": "k", "topics": [pattern]},
               "to": {"endpoint": "r", "queue": "${stream}/${match.1}/${partition}/${key}"},
               "dead_letter": {"endpoint": "d", **dead.sink(buried)}}
              for name in ("first", "second")]
    name = fresh("bridge")
    path = tmp_path / "refusing.conf"
    path.write_text(config(name, endpoints, [{**route, "steps": REFUSING} for route in routes],
                           drain_idle="1s"))
    run = Run([program(), "run", "--drain", str(path)])
    assert run.wait(60) == 0, run.tail()
    dlq = Queues.__new__(Queues)
    dlq.path = tmp_path / "mended.conf"
    dlq.path.write_text(config(name, endpoints, routes, drain_idle="1s"))
    assert len(dlq.list()) == 8
    assert len(dlq.list("--route", "second")) == 4
    assert "several routes" in dlq.run("replay", code=2).stderr
    assert dlq.replay("--route", "second", "--dry-run") is not None
    assert dlq.replay("--route", "second")["replayed"] == 4
    for (topic, part), queue in queues.items():
        assert queue_depth(rabbit.uri, queue) == 1
        (_, properties, body), = take(rabbit.uri, queue, 1)
        assert body == b"%d" % part
        assert properties.headers["x-opt-mbridge-id"].endswith(f"/{topic}/{part}/offset:0")
        assert not [name for name in properties.headers if name.startswith("mbridge.dead")]


def test_poison_of_a_quorum_queue(side_of, rabbit, fresh, tmp_path):
    dlq = Queues(rabbit, side_of("rabbitmq"), fresh, tmp_path, poison={"deliveries": 3})
    source = dlq.source + ".quorum"
    declare_queue(rabbit.uri, source, {"x-queue-type": "quorum", "x-delivery-limit": 50})
    dlq.path.write_text(dlq.path.read_text().replace(f'"{dlq.source}"', f'"{source}"'))
    dlq.source = source
    declare_queue(rabbit.uri, dlq.sink)
    import pika
    publish(rabbit.uri, "", source, [(b"7", pika.BasicProperties(headers={"to": dlq.sink}))])
    with rabbit_channel(rabbit.uri) as channel:
        for _ in range(3):
            method = None
            while method is None:
                method, _, _ = channel.basic_get(source)
            channel.basic_nack(method.delivery_tag, requeue=True)
    dlq.bury(2)
    assert [letter["reason"] for letter in dlq.list()] == ["poison"]
    assert sorted(dlq.bodies(2)) == [0, 1]
    assert dlq.replay()["replayed"] == 1
    assert dlq.bodies(1) == [7]


@pytest.mark.long
def test_more_than_a_queue_can_hold_back(side_of, rabbit, fresh, tmp_path):
    """70,000 in a queue: the first 65,535 are seen, and a filter that wants none of them ends with
    an error; all stay."""
    number, dead = 70_000, side_of("rabbitmq")
    buried = dead.make(fresh("dead"))
    dlq = Queues.__new__(Queues)
    dlq.path = tmp_path / "many.conf"
    dlq.path.write_text(config(
        fresh("bridge"), {"m": {"backend": "memory"}, "a": rabbit_endpoint(rabbit)},
        [{"name": "many", "from": {"endpoint": "m", "generate": {"count": number}},
          "to": {"endpoint": "a", "queue": fresh("sink")}, "steps": REFUSING,
          "dead_letter": {"endpoint": "a", **dead.sink(buried)}}], drain_idle="1s"))
    run = Run([program(), "run", "--drain", str(dlq.path)])
    assert run.wait(120) == 0, run.tail()
    until(lambda: queue_depth(rabbit.uri, buried["queue"]) == number, 20, "all are buried")
    done = dlq.run("list")
    assert len(done.stdout.splitlines()) == 65_535 and "the queue holds more" in done.stderr
    until(lambda: queue_depth(rabbit.uri, buried["queue"]) == number, 20, "all are back")
    done = dlq.run("replay", "--reason", "nothing", code=1)
    assert "stand in front" in done.stderr
    until(lambda: queue_depth(rabbit.uri, buried["queue"]) == number, 20, "all are back")


def test_there_are_none_yet(redis, tmp_path):
    """A stream that no dead letter has made is no error, and not waited for; a broker is one."""
    dlq = Queues.__new__(Queues)
    dlq.path = tmp_path / "none.conf"

    def write(uri):
        dlq.path.write_text(config("none", {"r": {"backend": "redis", "uri": uri}}, [
            {"name": "orders", "from": {"endpoint": "r", "stream": "none.from"},
             "to": {"endpoint": "r", "stream": "none.to"},
             "dead_letter": {"endpoint": "r", "stream": "none.dead"}}]))
    write(redis.uri)
    assert dlq.list() == []
    assert dlq.replay()["replayed"] == 0
    write("redis://127.0.0.1:1")
    for verb in ("list", "replay"):
        assert "Connection refused" in dlq.run(verb, code=1).stderr


def test_no_message_rules_the_terminal(side_of, rabbit, fresh, tmp_path):
    dlq = Queues(rabbit, side_of("rabbitmq"), fresh, tmp_path)
    evil = "\x1b[2J\u009b2J\x7f\nforged line"
    dlq.bury(1, headers={"evil\x1b[0m": evil, "to": evil})  # as every RabbitMQ hands them out
    for arguments in (["list"], ["show", 1]):
        shown = dlq.run(*arguments).stdout
        assert not [c for c in shown if c not in "\n\t" and (ord(c) < 32 or 127 <= ord(c) < 160)]
        assert not [line for line in shown.splitlines() if line.startswith("forged")]
    message = json.loads(dlq.run("show", "--json", 1).stdout)["message"]
    assert message["headers"] == [{"name": name, "type": "string", "value": evil}
                                  for name in ("evil\x1b[0m", "to")]
