# SPDX-License-Identifier: Apache-2.0
"""Which rows there are, and playing one."""

import random
from pathlib import Path

from battery import (cases_bridge, cases_broken, cases_broker, cases_clock, cases_order,
                     cases_sink, cases_source, cases_wire)
from battery.fleet import EXTRA, PLATFORMS, Absent
from battery.trial import ABSENT, OTHER_VARIANT, Trial

CASES = (*cases_bridge.CASES, *cases_broker.CASES, *cases_wire.CASES, *cases_sink.CASES,
         *cases_source.CASES, *cases_broken.CASES, *cases_order.CASES, *cases_clock.CASES)
PAIRS = [(source, sink) for source in PLATFORMS for sink in PLATFORMS]
EXTRA_PAIRS = [pair for name in EXTRA for pair in (("kafka", name), (name, "kafka"))]
# One row of each kind of fault is played every day.
KINDS = ((cases_bridge, cases_clock), cases_broker, (cases_wire, cases_order),
         (cases_sink, cases_source), cases_broken)


def rows_of(cases=(), pairs=()):
    """(case, pair), by case. cases, pairs: names to choose by, as "F3", "F3 sink", "kafka-redis"."""
    wanted = {name.lower() for name in cases}
    for case in sorted(CASES, key=lambda case: (case.number[0], int(case.number[1:]))):
        if wanted and not {case.number.lower(), case.name.lower()} & wanted:
            continue
        for pair in PAIRS + (EXTRA_PAIRS if case.extra or pairs else []):
            if reason_of(case, pair) != OTHER_VARIANT and (not pairs or "-".join(pair) in pairs):
                yield case, pair


def reason_of(case, pair):
    return case.reason(*pair)


def short_rows(seed):
    """One row of each kind of fault; over the days, with their seeds, each row has its turn. Where
    both ends want a broker of their own, those of one platform are left to the long battery."""
    dice = random.Random(f"short/{seed}")
    rows = []
    for kind in KINDS:
        modules = kind if isinstance(kind, tuple) else (kind,)
        rows.append(dice.choice([
            (case, pair) for module in modules for case in module.CASES if case.short
            for pair in PAIRS if reason_of(case, pair) is None
            and (module is cases_bridge or pair[0] != pair[1])]))
    return rows


def play(case, pair, rounds, seed, fleet, workdir):
    """The row of a case over a pair."""
    row = {"case": case.number, "variant": case.variant, "pair": "-".join(pair), "rounds": 0,
           "seed": seed, "seconds": 0, "result": ABSENT}
    reason = reason_of(case, pair)
    if reason is not None:
        return {**row, "detail": reason}
    Path(workdir).mkdir(parents=True, exist_ok=True)
    try:
        return Trial(case, pair, rounds, seed, fleet, workdir).play()
    except Absent as error:
        return {**row, "detail": str(error)}
