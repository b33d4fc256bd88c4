# SPDX-License-Identifier: Apache-2.0
"""Bad configurations: every mistake at once, each with its line and a suggestion."""

import random
import re

import pytest

from support.bridge import command

GOOD = '''bridge = { name = "shop"; };
endpoints = {
  k = { backend = "kafka"; brokers = "127.0.0.1:9"; };
  r = { backend = "amqp091"; uri = "amqp://guest:hunter2@127.0.0.1:9/"; };
};
routes = (
  { name = "orders";
    from = { endpoint = "k"; topic = "orders"; };
    to = { endpoint = "r"; queue = "orders"; }; }
);
'''


def check(tmp_path, text):
    """(exit code, {line: [messages]} , all that was printed)"""
    path = tmp_path / "bad.conf"
    path.write_text(text)
    code, out, err = command("check", path, seconds=20)
    found = {}
    for line in (out + err).splitlines():
        match = re.match(rf"{re.escape(str(path))}:(\d+): (.*)", line)
        if match:
            found.setdefault(int(match.group(1)), []).append(match.group(2))
    return code, found, out + err


def test_a_good_file_is_good(tmp_path):
    code, found, text = check(tmp_path, GOOD)
    assert code == 0, text


def test_all_mistakes_are_told_at_once(tmp_path):
    text = '''bridge = { name = "shop"; log_levle = "info"; stop_timeout = "ten"; };
endpoints = {
  k = { backend = "kafka"; broker = "127.0.0.1:9092"; };
  rabbit = { backend = "amqp091"; uri = "amqp://127.0.0.1:5672/"; heartbeat = "soon"; };
  x = { backend = "kafak"; };
  p = { backend = "kafka"; brokers = 5; };
};
routes = (
  { name = "orders";
    from = { endpoint = "k"; topik = "orders"; };
    to = { endpoint = "rabit"; queue = "orders"; }; },
  { name = "second";
    from = { endpoint = "rabbit"; queue = "q"; prefetch = 3000000000; };
    to = { endpoint = "k"; topic = "t"; };
    windw = { messages = 10; }; },
  { name = "third";
    from = { endpoint = "rabbit"; queue = "q"; prefetch = "many"; };
    to = { topic = "t"; };
    delivery = "exactly-twice"; },
  { name = "fourth";
    from = { endpoint = "rabbit"; queue = "q"; };
    lanes = -1; },
  { name = "fourth";
    from = { endpoint = "rabbit"; queue = "q"; };
    to = { endpoint = "k"; topic = "t"; };
    window = { messages = 0; bytes = "12 parsecs"; }; }
);
endpionts = { };
'''
    code, found, printed = check(tmp_path, text)
    assert code == 2, printed
    expected = {1: ["log_levle", "stop_timeout"], 3: ["broker"], 4: ["heartbeat"], 5: ["kafak"],
                6: ["brokers"], 10: ["topik"], 11: ["rabit"], 13: ["prefetch"], 15: ["windw"],
                17: ["prefetch"], 18: ["endpoint"], 19: ["exactly-twice"], 22: ["lanes"],
                26: ["messages", "bytes"], 28: ["endpionts"]}
    for line, words in expected.items():
        for word in words:
            assert any(word in message for message in found.get(line, [])), \
                f"line {line} does not speak of {word!r}:\n{printed}"
    for line, suggestion in {1: "log_level", 3: "brokers", 5: "kafka", 10: "topic", 11: "rabbit",
                             15: "window", 19: "at-least-once", 28: "endpoints"}.items():
        told = " ".join(found[line])
        if line != 19:
            assert re.search(rf"did you mean .?{suggestion}\b", told), f"line {line}: {told}"
        else:
            assert suggestion in told
    # The route without a sink, and the name that stands twice.
    assert any("to" in message for line in range(20, 23) for message in found.get(line, []))
    assert any("fourth" in message for line in range(23, 24) for message in found.get(line, []))


@pytest.mark.parametrize("old, new, line, word", [
    ('brokers = "127.0.0.1:9"', 'brokers = ""', 3, "brokers"),
    ('brokers = "127.0.0.1:9";', '', 3, "brokers"),
    ('backend = "kafka"; ', '', 3, "backend"),
    ('topic = "orders"', 'topic = 5', 8, "topic"),
    ('topic = "orders"', 'topic = "orders"; group = ("a","b")', 8, "group"),
    ('topic = "orders"', 'topic = "orders"; start = "yesterdy"', 8, "start"),
    ('topic = "orders"', 'topics = "^(unclosed"', 8, "topics"),
    ('topic = "orders"', 'topic = "orders"; topics = ("a")', 8, "topic"),
    ('topic = "orders"; ', '', 8, "topic"),
    ('queue = "orders"; ', '', 9, "queue"),
    ('queue = "orders"', 'queue = "${header.}"', 9, "header"),
    ('queue = "orders"', 'queue = "${nonsense}"', 9, "nonsense"),
    ('queue = "orders"', 'queue = "${stream"', 9, "${"),
    ('queue = "orders"', 'queue = "a"; exchange = "b"', 9, "exchange"),
    ('amqp://guest:hunter2@127.0.0.1:9/', 'http://127.0.0.1/', 4, "http"),
    ('amqp://guest:hunter2@127.0.0.1:9/', 'amqp://127.0.0.1:99999/', 4, "port"),
    # The text is not repeated: with a / unescaped in it, a password stands where the port does.
    ('uri = "', 'heartbeat = 99999999999999999999; uri = "', 4, ""),
    ('uri = "', 'heartbeat = -5; uri = "', 4, "heartbeat"),
    ('uri = "', 'uri = "amqp://a/"; uri = "', 4, ""),
    ('brokers = "', 'never = ("^ord.*"); brokers = "', 8, "never"),
    ('brokers = "', 'properties = ("enable.auto.commit=true"); brokers = "', 3,
     "enable.auto.commit"),
    ('brokers = "', 'properties = ("enable.idempotence=false"); brokers = "', 3,
     "enable.idempotence"),
    ('brokers = "', 'properties = ("no.such.property=1"); brokers = "', 3, "no.such.property"),
    ('brokers = "', 'sasl = { mechanism = "SCRAM-SHA-257"; }; brokers = "', 3, "SCRAM-SHA-257"),
    ('name = "orders";', 'name = "orders"; lanes = 3000000000;', 7, "lanes"),
    ('name = "orders";', 'name = "orders"; steps = ( { nosuchstep = 1; } );', 7, "step"),
    ('routes = (', 'routes = "x"; r2 = (', 6, "routes"),
    ('name = "orders";', 'name = "orders"; delivery = "effectively-once";', 7, "effectively"),
])
def test_one_mistake_is_told_where_it_is(tmp_path, old, new, line, word):
    assert old in GOOD
    code, found, printed = check(tmp_path, GOOD.replace(old, new, 1))
    assert code == 2, printed
    near = found.get(line, []) + found.get(line - 1, [])
    assert any(word in message for message in near), printed
    assert "hunter2" not in printed


def test_a_secret_that_is_not_there_is_a_warning(tmp_path):
    """It is read at each connect: `run` waits for it as it waits for a right password."""
    code, found, printed = check(tmp_path, GOOD.replace(
        'uri = "', 'password = "file:/nowhere/at/all"; uri = "', 1))
    assert code == 0, printed
    assert any("warning" in message and "/nowhere/at/all" in message for message in found[4])
    assert "hunter2" not in printed


def test_lanes_on_one_ordered_queue_are_refused_with_the_reason(tmp_path):
    text = GOOD.replace('from = { endpoint = "k"; topic = "orders"; }',
                        'from = { endpoint = "r"; queue = "q"; }')
    text = text.replace('to = { endpoint = "r"; queue = "orders"; }',
                        'lanes = 4; to = { endpoint = "k"; topic = "t"; }')
    code, _, printed = check(tmp_path, text)
    assert code == 2 and "order" in printed and "lanes" in printed, printed
    code, _, printed = check(tmp_path, text.replace("lanes = 4;", 'lanes = 4; order = "none";'))
    assert code == 0, printed


@pytest.mark.parametrize("text", ["", "bridge = {", "routes = ();", "\x01\x02", "a = 1; a = 2;",
                                  "bridge = { name = \"x\" }; endpoints = { }; routes = ( );",
                                  "@include \"/nowhere\"", "x = \"" + "y" * 100_000 + "\";"])
def test_broken_files_are_refused(tmp_path, text):
    code, _, printed = check(tmp_path, text)
    assert code == 2 and printed.strip(), printed
    assert len(printed) < 10_000


def test_run_refuses_a_bad_file_in_the_same_words(tmp_path):
    path = tmp_path / "bad.conf"
    path.write_text(GOOD.replace("topic =", "topik ="))
    code, out, err = command("run", path, seconds=20)
    assert code == 2 and f"{path}:8: " in out + err and "topik" in out + err


@pytest.mark.parametrize("number", [300, pytest.param(10_000, marks=pytest.mark.long)])
def test_mutants_never_crash_the_check(tmp_path, dice, number):
    """A signal or a hang is a fault; refusing or accepting a mutant is not."""
    pieces = re.findall(r"\w+|\W", GOOD)
    for index in range(number):
        text = _mutant(dice, list(pieces))
        path = tmp_path / "mutant.conf"
        path.write_text(text)
        code, out, err = command("check", path, seconds=20)
        assert code in (0, 2), f"mutant {index}, exit {code}:\n{text}\n{out}{err}"
        assert code == 0 or (out + err).strip(), f"mutant {index} refused without a word:\n{text}"


def _mutant(dice: random.Random, pieces):
    words = ['"', "{", "}", "(", ")", ";", "=", "0", "-1", "1.5", "true", "99999999999999999999",
             "\n", "#", "/*", "${", "kafka", "x" * 300, "[1,2]", "1L", "null", "%s%n", "\x7f"]
    for _ in range(dice.randrange(1, 5)):
        at = dice.randrange(len(pieces))
        what = dice.randrange(4)
        if what == 0:
            del pieces[at]
        elif what == 1:
            pieces.insert(at, dice.choice(words))
        elif what == 2:
            pieces[at] = dice.choice(words)
        else:
            other = dice.randrange(len(pieces))
            pieces[at], pieces[other] = pieces[other], pieces[at]
    return "".join(pieces)
