# SPDX-License-Identifier: Apache-2.0
"""The judge: compares what the source broker confirmed with what arrived.

I1 nothing lost, I2 nothing corrupted, I3 duplicates bounded, I4 order per key.
It is a pure function of two histories, so that it can be tested without brokers.
"""

from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass, field
from itertools import accumulate

OFFENDERS_MAX = 5
INVARIANTS = {"lost": "I1", "corrupt": "I2", "unknown": "I2", "duplicates": "I3", "disorder": "I4",
              "disorder_last": "I4", "moved": "I4"}


@dataclass
class Verdict:
    confirmed: int = 0
    arrived: int = 0
    distinct: int = 0
    dead_lettered: int = 0
    lost: int = 0
    corrupt: int = 0
    duplicates: int = 0
    duplicates_by_fault: list = field(default_factory=list)
    disorder: int = 0
    disorder_last: int = 0
    moved: int = 0
    unknown: int = 0
    offenders: dict = field(default_factory=dict)

    def note(self, what, offender):
        held = self.offenders.setdefault(what, [])
        if len(held) < OFFENDERS_MAX:
            held.append(offender)

    def problems(self, duplicates_max=None, per_fault_max=None, so_far_max=None, order="first"):
        """What breaks the promise, as a list of sentences; empty means it was kept.

        so_far_max: as per_fault_max, where the collector may lag. It then books a duplicate with a
        later fault, never with an earlier one: how many there are up to each fault is bounded.
        """
        found = []
        wrong = {"lost": self.lost, "corrupt": self.corrupt, "unknown": self.unknown}
        if order == "first":
            wrong["disorder"] = self.disorder
            wrong["moved"] = self.moved
        elif order == "last":
            wrong["disorder_last"] = self.disorder_last
            wrong["moved"] = self.moved
        for name, number in wrong.items():
            if number:
                found.append(f"{name}: {number}, first {self.offenders.get(name)}")
        if duplicates_max is not None and self.duplicates > duplicates_max:
            found.append(f"duplicates: {self.duplicates} > {duplicates_max}, "
                         f"first {self.offenders.get('duplicates')}")
        worst = max(self.duplicates_by_fault, default=0)
        if per_fault_max is not None and worst > per_fault_max:
            found.append(f"duplicates after one fault: {worst} > {per_fault_max} "
                         f"(by fault: {self.duplicates_by_fault})")
        if so_far_max is not None and any(
                count > max(faults, 1) * so_far_max
                for faults, count in enumerate(accumulate(self.duplicates_by_fault))):
            found.append(f"duplicates: more than {so_far_max} a fault so far "
                         f"(by fault: {self.duplicates_by_fault})")
        return found

    def assert_kept(self, **limits):
        problems = self.problems(**limits)
        assert not problems, "; ".join(problems) + f"\n{self}"


def judge(confirmed, arrivals, dead=(), attempts=None, faults=()):
    """Judge one stream.

    confirmed: iterable of (key, sequence) that the source broker confirmed.
    arrivals:  Arrival records of the destination in the order in which they were read.
    dead:      Arrival records of the dead-letter stream.
    attempts:  {(key, sequence): times sent} where the feeder itself sent more than once.
    faults:    times (as in Arrival.time) of the faults, for the duplicates of each.
    """
    verdict = Verdict(duplicates_by_fault=[0] * (len(faults) + 1))
    ledger = set((key, sequence) for key, sequence in confirmed)
    verdict.confirmed = len(ledger)
    attempts = attempts or {}
    faults = sorted(faults)

    seen = _count(verdict, arrivals, attempts, faults, verdict.duplicates_by_fault)
    _order(verdict, arrivals)
    verdict.arrived = len(arrivals)
    verdict.distinct = len(seen)

    buried = _count(verdict, dead, attempts, faults, verdict.duplicates_by_fault)
    verdict.dead_lettered = len(buried)

    missing = sorted(item for item in ledger if item not in seen and item not in buried)
    verdict.lost = len(missing)
    for item in missing[:OFFENDERS_MAX]:
        verdict.note("lost", item)
    return verdict


def _count(verdict, arrivals, attempts, faults, by_fault):
    seen = Counter()
    for index, arrival in enumerate(arrivals):
        if arrival.key is None:
            verdict.unknown += 1
            verdict.note("unknown", index)
            continue
        item = (arrival.key, arrival.sequence)
        if not arrival.intact:
            verdict.corrupt += 1
            verdict.note("corrupt", item)
            continue
        seen[item] += 1
        if seen[item] > attempts.get(item, 1):
            verdict.duplicates += 1
            by_fault[bisect_right(faults, arrival.time)] += 1
            verdict.note("duplicates", item)
    return seen


def _order(verdict, arrivals):
    highest, lane_of, seen, last_index = {}, {}, set(), {}
    for index, arrival in enumerate(arrivals):
        if arrival.key is None or not arrival.intact:
            continue
        key, sequence = arrival.key, arrival.sequence
        item = (key, sequence)
        if lane_of.setdefault(key, arrival.lane) != arrival.lane:
            verdict.moved += 1
            verdict.note("moved", item)
        last_index[item] = index
        if item in seen:
            continue
        seen.add(item)
        if sequence <= highest.get(key, -1):
            verdict.disorder += 1
            verdict.note("disorder", (key, highest[key], sequence))
        else:
            highest[key] = sequence
    highest.clear()
    for (key, sequence), _ in sorted(last_index.items(), key=lambda pair: pair[1]):
        if sequence <= highest.get(key, -1):
            verdict.disorder_last += 1
            verdict.note("disorder_last", (key, highest[key], sequence))
        else:
            highest[key] = sequence
