# SPDX-License-Identifier: Apache-2.0
"""The core allocates nothing for a message that passes: steady.py PROGRAM PRELOAD

A bridge without brokers, from memory to memory, with what its messages may ask of the core: two
sinks, steps, rendered values, paths, order by key or none."""

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from counted import Counted, check  # noqa: E402
from support.config import config  # noqa: E402

WARM, MESSAGES = 60_000, 60_000

DISCARD = {"endpoint": "m", "discard": True}
ROUTES = {
    "plain": {"to": DISCARD},
    "no order": {"to": DISCARD, "order": "none"},
    "steps and dead letters": {
        "to": (DISCARD, {**DISCARD, "endpoint": "n"}),
        "steps": ({"step": "set-header", "name": "colour", "value": "of ${key}"},
                  {"step": "filter", "header": "colour"}),
        "provenance": "always", "dead_letter": {"endpoint": "n", "stream": "dead"}},
}


def main():
    program, library = sys.argv[1:3]
    for name, route in ROUTES.items():
        source = {"endpoint": "m", "generate": {"count": 2_000_000_000, "size": 256, "keys": 50}}
        endpoints = {"m": {"backend": "memory"}, "n": {"backend": "memory", "store": "n"}}
        text = config("steady", endpoints, [{"name": "steady", "from": source, **route}])
        with tempfile.TemporaryDirectory(prefix="mbridge-steady.") as scratch:
            counted = Counted(program, library, text, scratch)
            try:
                print(f"-- {name}")
                check(counted.tally(WARM, MESSAGES), program)
                assert counted.run.terminate() == 0, counted.run.tail()
            finally:
                counted.end()


if __name__ == "__main__":
    main()
