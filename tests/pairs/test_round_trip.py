# SPDX-License-Identifier: Apache-2.0
"""A → B → A gives back the same message, for every cross pair, judged by A's own client.

What is expected is what A's broker gives to A's client without a bridge in between: brokers change
messages, too. What the bridge can't carry stands in UNPASSABLE by name, and nowhere else.
"""

import json
from collections import defaultdict

import pytest

from brokers.other_release import host_release, unavailable
from support import corpus, normal
from support.bridge import ROOT, Bridge
from support.config import config
from support.sides import KafkaSide

PLATFORMS = {"kafka": "kafka", "rabbitmq": "amqp091", "artemis": "amqp10", "classic": "amqp10",
             "rabbitmq4": "amqp10", "rabbitmq4-091": "amqp091", "redis": "redis"}
EVERYDAY = ("kafka", "rabbitmq", "artemis", "redis")
# RabbitMQ since 3.13 changes the order of headers.
PAIRS = [*((one, other) for one in EVERYDAY for other in EVERYDAY if one != other),
         ("kafka", "rabbitmq4-091"), ("artemis", "rabbitmq4-091"), ("redis", "rabbitmq4-091")]
LONG_PAIRS = [(one, other) for one in PLATFORMS for other in PLATFORMS
              if PLATFORMS[one] != PLATFORMS[other]]
SAMPLE, FULL = 200, 2000
TOPIC_LIMIT = {"max.message.bytes": "4000000"}
SAMPLES_SHOWN = 3

# Where the message is, which the route decides: not the message.
ROUTED = {"amqp091": ("exchange",)}


def _has_nul(path, expected, found):
    return "headers[name" in path


def _is_no_text(path, expected, found):
    """Of a header or within one: tag S with bytes that are no text came back as x."""
    def as_x(value):
        if isinstance(value, list) and len(value) == 2 and value[0] == "S":
            data = bytes.fromhex(value[1])
            if b"\0" in data or data.decode(errors="replace").encode() != data:
                return ["x", value[1]]
        return [as_x(item) for item in value] if isinstance(value, list) else value
    return as_x(expected) == found


def _is(wanted):
    return lambda path, expected, found: path == wanted


# By A: {name: (which differences it explains, why it can't pass)}. docs/fidelity.md has these names.
UNPASSABLE = {
    "kafka": {
        "header name with NUL": (_has_nul, "the client library ends names at the first NUL"),
    },
    "amqp091": {
        "cluster-id": (_is("properties.cluster_id"), "reserved by 0-9-1; the envelope has no place"),
        "tag S that is no text": (_is_no_text, "bytes are bytes: it comes back with tag x"),
    },
}


def test_what_cannot_pass_is_documented():
    text = (ROOT / "docs/fidelity.md").read_text()
    listed = text.partition("<!-- unpassable: begin -->")[2].partition("<!-- unpassable: end")[0]
    for names in UNPASSABLE.values():
        for name in names:
            assert f"| {name} |" in listed


@pytest.fixture
def side_of(brokers):
    def find(name):
        if name == "kafka":
            return KafkaSide(brokers.kafka(), 1, **TOPIC_LIMIT)
        if name.startswith("rabbitmq4") and host_release() != "trixie" and unavailable():
            pytest.skip(unavailable())
        return brokers.side(name)
    return find


def limits_of(side):
    """What A's own broker asks of messages."""
    return {"user": getattr(side.broker, "username", ""),
            "refuses": getattr(side, "refuses", lambda message: False)}


def identity(platform, message):
    plain = normal.plain(platform, message)
    return {name: value for name, value in plain.items() if name not in ROUTED.get(platform, ())}


def known(platform, messages):
    plain = [identity(platform, message) for message in messages]
    return {corpus.tag(platform, message): message for message in plain}


def compare(platform, expected, found):
    """{path: [(tag, expected, found), …]}"""
    theirs, ours = known(platform, expected), known(platform, found)
    wrong = defaultdict(list)
    for tag, message in theirs.items():
        if tag not in ours:
            wrong["missing"].append((tag, message, None))
            continue
        for path, one, other in normal.differences(message, ours[tag]):
            wrong[path].append((tag, one, other))
    for tag in ours:
        if tag not in theirs:
            wrong["unknown"].append((tag, None, ours[tag]))
    return wrong


def described(wrong):
    lines = []
    for path, cases in sorted(wrong.items(), key=lambda entry: -len(entry[1])):
        lines.append(f"{path}: {len(cases)}")
        lines += [f"    {str(tag):.40}: {json.dumps(one):.120} → {json.dumps(other):.120}"
                  for tag, one, other in cases[:SAMPLES_SHOWN]]
    return "\n".join(lines)


def travel(near, far, messages, fresh, workdir, ending):
    """The messages as A's client sees them at home, and after A → B → A."""
    control, there, middle, back = (side.make(fresh(name)) for side, name in (
        (near, "control"), (near, "there"), (far, "middle"), (near, "back")))
    near.put(control, messages)
    near.put(there, messages)
    bridge = ending(Bridge(workdir, config(
        fresh("bridge"), {"a": near.endpoint, "b": far.endpoint},
        [{"name": "out", "from": {"endpoint": "a", **near.source(there)},
          "to": {"endpoint": "b", **far.sink(middle)}},
         {"name": "home", "from": {"endpoint": "b", **far.source(middle)},
          "to": {"endpoint": "a", **near.mirror(back)}}])))
    bridge.start()
    expected = near.take(control, len(messages), 60)
    try:
        found = near.take(back, len(messages), 60)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{bridge.run.tail()}") from error
    assert bridge.run.terminate() == 0, bridge.run.tail()
    if near.platform == "amqp091":
        check_counted(expected, bridge.run.last_counters())
    return expected, found


def _holds_odd_text(value):
    """A value with tag S, here or within, that is no UTF-8."""
    if isinstance(value, dict):
        return any(map(_holds_odd_text, value.values()))
    if not isinstance(value, list):
        return False
    if len(value) == 2 and value[0] == "S" and isinstance(value[1], str):
        data = bytes.fromhex(value[1])
        return data.decode(errors="replace").encode() != data
    return any(map(_holds_odd_text, value))


def check_counted(expected, counters):
    """What RabbitMQ's messages lose on the way out is counted by its name."""
    degraded = counters["routes"]["out"]["degraded"]
    assert degraded.get("other-property", 0) == sum(
        "cluster_id" in message["properties"] for message in expected), degraded
    assert degraded.get("headers", 0) == sum(
        map(_holds_odd_text, (message.get("headers") for message in expected))), degraded


def judge(pair, expected, found, counts):
    platform = PLATFORMS[pair[0]]
    wrong = compare(platform, expected, found)
    rules = UNPASSABLE.get(platform, {})
    open_cases, excused = defaultdict(list), set()
    for path, cases in wrong.items():
        for tag, one, other in cases:
            if any(explains(path, one, other) for explains, _ in rules.values()):
                excused.add(tag)
            else:
                open_cases[path].append((tag, one, other))
    counts(**{"A": pair[0], "B": pair[1], "messages": len(expected), "came back": len(found),
              "differ": len({tag for cases in open_cases.values() for tag, *_ in cases}),
              "unpassable": len(excused)})
    assert not open_cases, described(open_cases)


def pair_ids(pairs):
    return ["-".join((*pair, pair[0])) for pair in pairs]


@pytest.mark.parametrize("pair", PAIRS, ids=pair_ids(PAIRS))
def test_there_and_back(pair, side_of, fresh, tmp_path, dice, ending, counts):
    near, far = map(side_of, pair)
    whole = corpus.corpus(near.platform, FULL, dice, large=False, **limits_of(near))
    messages = dice.sample(whole, SAMPLE)
    judge(pair, *travel(near, far, messages, fresh, tmp_path, ending), counts)


@pytest.mark.long
@pytest.mark.parametrize("pair", LONG_PAIRS, ids=pair_ids(LONG_PAIRS))
def test_the_whole_corpus_there_and_back(pair, side_of, fresh, tmp_path, dice, ending, counts):
    near, far = map(side_of, pair)
    messages = corpus.corpus(near.platform, FULL, dice, **limits_of(near))
    judge(pair, *travel(near, far, messages, fresh, tmp_path, ending), counts)
