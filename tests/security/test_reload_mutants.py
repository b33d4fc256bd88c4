# SPDX-License-Identifier: Apache-2.0
"""A configuration with mistakes, reloaded under load: refused with a line, and the route goes on as
if nothing had been; or it loads, and the good one brings everything back."""

import pytest

from support.bridge import Bridge
from support.config import config
from support.wait import until

OUTCOMES = ("configuration reloaded", "configuration not reloaded")
VALUES = ("0", "-1", "99999999999999999999", "true", '""', "( )", "{ }", '"x"' * 3, '"' + "x" * 70000 + '"',
          '"/no/such.so"', '"${"', "( " * 100, '"amqp://u:p@h:99999/"', "", '"')


def good(name):
    return config(name, {"m": {"backend": "memory", "store": "here"},
                         "other": {"backend": "memory", "store": "there"}}, [
        {"name": "load", "window": {"messages": 500},
         "from": {"endpoint": "m", "stream": "made",
                  "generate": {"count": 1000000000, "size": 64, "rate": 5000}},
         "to": {"endpoint": "other", "stream": "made"}},
        {"name": "second", "from": {"endpoint": "m", "stream": "x"},
         "to": {"endpoint": "other", "stream": "${stream}.${header.kind:-none}"}}])


def mutant(text, dice):
    lines = text.splitlines(keepends=True)
    at, other = dice.randrange(len(lines)), dice.randrange(len(lines))
    kind = dice.choice(("drop", "double", "move", "value", "value", "flip", "cut"))
    if kind == "drop":
        del lines[at]
    elif kind == "double":
        lines.insert(other, lines[at])
    elif kind == "move":
        lines.insert(other, lines.pop(at))
    elif kind == "value":
        settings = [number for number, line in enumerate(lines) if "= " in line]
        at = dice.choice(settings)
        head, _, _ = lines[at].partition("= ")
        lines[at] = f"{head}= {dice.choice(VALUES)};\n"
    elif kind == "flip":
        place = dice.randrange(len(text))
        return text[:place] + chr(ord(text[place]) ^ 1 << dice.randrange(7)) + text[place + 1:]
    else:
        return text[:dice.randrange(len(text))]
    return "".join(lines)


@pytest.mark.parametrize("mutants", [25, pytest.param(1000, marks=pytest.mark.long)])
def test_mistakes_under_load(mutants, fresh, dice, tmp_path, ending, counts):
    text = good(fresh("mutants"))
    bridge = ending(Bridge(tmp_path, text))
    run = bridge.start()
    bridge.ready()
    refused = 0

    def received():
        return run.counters()["routes"]["load"]["received"]

    def reload(written):
        known = len(run.log)
        bridge.reload(written)
        return until(lambda: next((line for line in run.log[known:]
                                   if any(outcome in line for outcome in OUTCOMES)), None), 15,
                     "an outcome of the reload", detail=run.tail)

    until(lambda: received() > 0, 10, "it runs", detail=run.tail)
    for number in range(mutants):
        before, known = received(), len(run.log)
        wrong = mutant(text, dice)
        (tmp_path / "mutant.conf").write_text(wrong)
        if "not reloaded" in reload(wrong):
            refused += 1
            told = [line for line in run.log[known:] if "level=error" in line]
            assert any(" line=" in line or "there are no " in line for line in told), told
            assert not any("route st" in line for line in run.log[known:]), run.tail()
            until(lambda: received() > before, 10, "the load goes on", detail=run.tail)
        bridge.check()
        assert "not reloaded" not in reload(text), run.tail()
        until(lambda: received() > 0, 10, "the good one runs", detail=run.tail)
    assert run.terminate() == 0, run.tail()
    assert run.last_counters().conserved()
    assert refused > mutants // 3
    counts(mutants=mutants, refused=refused, loaded=mutants - refused)
