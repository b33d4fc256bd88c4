# SPDX-License-Identifier: Apache-2.0
"""One row of the battery: a case over a pair, with its random numbers, its books and its verdict."""

import contextlib
import random
import time
from dataclasses import dataclass
from typing import Callable

from support.pair import WINDOW, columns
from support.route import Route

KEPT, BROKEN, ABSENT = "kept", "broken", "–"


# What Case.reason says where a pair has other variants of the case instead.
OTHER_VARIANT = ""


@dataclass(frozen=True)
class Case:
    """number: the fault of the battery. variant: what of it, or where. play(trial) does it and
    judges. rounds: of the long battery; short: of the everyday one, 0 where it is not in that.
    reason(source, sink): why it makes no sense there, OTHER_VARIANT, or None."""
    number: str
    variant: str
    title: str
    play: Callable
    rounds: int
    short: int = 0
    reason: Callable = lambda source, sink: None
    extra: bool = False  # also on the brokers of battery/fleet.py's EXTRA

    @property
    def name(self):
        return f"{self.number} {self.variant}".strip()


class Trial:
    """What a case plays with. `row` is its line of the table."""

    def __init__(self, case, pair, rounds, seed, fleet, workdir):
        self.case, self.pair, self.rounds, self.fleet = case, pair, rounds, fleet
        self.workdir = workdir
        self.dice = random.Random(f"{seed}/{case.name}/{'-'.join(pair)}")
        self._tag = f"{random.Random(time.monotonic_ns()).randrange(1 << 32):08x}"
        self._stack = contextlib.ExitStack()
        self.row = {"case": case.number, "variant": case.variant, "pair": "-".join(pair),
                    "rounds": rounds, "seed": seed}

    def fresh(self, name):
        """A name that nothing else on these brokers has."""
        return f"{name}.{self._tag}"

    def ending(self, thing):
        self._stack.callback(thing.end)
        return thing

    def route(self, source, sink, **options):
        return self.ending(Route(source, sink, self.fresh, self.workdir, self.dice, **options))

    def pair_route(self, apart=False, **options):
        return self.route(*self.fleet.pair(self.pair, apart), **options)

    def bridge(self, route, name="bridge", **options):
        return self.ending(route.bridge(name, **options))

    def note(self, verdict):
        self.row.update(columns(verdict))

    def kept(self, verdict, **limits):
        """Books the counts, then judges: by default at most the window a fault."""
        self.note(verdict)
        if limits.get("order") == "last":
            self.row["disorder"] = verdict.disorder_last
        verdict.assert_kept(**(limits or {"per_fault_max": WINDOW}))

    def play(self):
        """The row, however the case ended."""
        began = time.monotonic()
        try:
            self.case.play(self)
            self.row["result"] = KEPT
        except Exception as error:  # a case that fails is a result; the next ones are played too
            self.row.update(result=BROKEN, detail=f"{type(error).__name__}: {error}")
        try:
            self._tidy()
        except Exception as error:  # a broker that does not come back
            self.fleet.spoilt = True
            self.row.update(result=BROKEN, detail=f"afterwards: {type(error).__name__}: {error}")
        self.row["seconds"] = round(time.monotonic() - began, 1)
        return self.row

    def _tidy(self):
        try:
            self.fleet.heal()  # before the processes end, which wait for their brokers
        finally:
            self._stack.close()


def delivered_of(bridge, seconds=15):
    """A reading of how much the bridge says it has delivered."""
    def read():
        bridge.check()
        return bridge.run.counters(seconds).total("delivered")
    return read
