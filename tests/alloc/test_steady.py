# SPDX-License-Identifier: Apache-2.0
"""No allocation a message: what the bridge and its modules allocate while a backlog passes.

The everyday rows have each platform once as a source and once as a sink; with --long it is all
pairs. What passes has a key, headers and an id. The places are printed (pytest -s, or when a row
fails): the library's own allocations stand there too, as they are part of what a pair costs."""

import pytest

from counted import Counted, check
from support.bridge import command, program
from support.config import config
from support.harassed import preload

PLATFORMS = ("kafka", "rabbitmq", "artemis", "redis")
EVERYDAY = (("kafka", "rabbitmq"), ("rabbitmq", "artemis"), ("artemis", "redis"),
            ("redis", "kafka"))
WARM, MESSAGES, REST = 12_000, 12_000, 16_000
STEPS = tuple({"step": "set-header", "name": f"header-{number}", "value": "of ${key}"}
              for number in range(3))


def _cases():
    for source in PLATFORMS:
        for sink in PLATFORMS:
            everyday = (source, sink) in EVERYDAY
            yield pytest.param(source, sink, id=f"{source}-{sink}",
                               marks=() if everyday else pytest.mark.long)


def _fill(side, place, number, fresh, workdir):
    """By a bridge: the clients of the tests are slow."""
    conf = workdir / "fill.conf"
    conf.write_text(config(fresh("filler"), {"m": {"backend": "memory"}, "a": side.endpoint}, [
        {"name": "fill", "to": {"endpoint": "a", **side.sink(place)}, "steps": STEPS,
         "from": {"endpoint": "m", "generate": {"count": number, "size": 256, "keys": 50}}}],
        drain_idle="100ms", drain_timeout="60s"))
    code, _, log = command("run", "--drain", conf, seconds=90)
    assert code == 0, log[-4000:]


@pytest.mark.parametrize("source, sink", list(_cases()))
def test_steady(source, sink, brokers, fresh, tmp_path, ending, counts):
    one, other = brokers.side(source), brokers.side(sink)
    there, here = one.make(fresh("from")), other.make(fresh("to"))
    _fill(one, there, WARM + MESSAGES + REST, fresh, tmp_path)
    counted = ending(Counted(program(), preload("count_alloc.so"), config(
        fresh("bridge"), {"a": one.endpoint, "b": other.endpoint}, [
            {"name": "run", "from": {"endpoint": "a", **one.source(there)},
             "to": {"endpoint": "b", **other.sink(here)},
             "window": {"messages": 500}}]), tmp_path))
    tally = counted.tally(WARM, MESSAGES)
    assert counted.run.terminate() == 0, counted.run.tail()
    counts(messages=tally.messages, own=round(tally.a_message("own"), 4),
           library=round(tally.a_message("library"), 3))
    check(tally, program())
