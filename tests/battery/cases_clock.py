# SPDX-License-Identifier: Apache-2.0
"""F17: the wall clock of the bridge is set ahead and back by an hour, again and again.

Only the bridge sees it (tests/alloc/shift_clock.c); the brokers' clocks stay."""

import os
import struct
from pathlib import Path

from battery.cases_wire import Proxied
from battery.trial import Case
from support.harassed import preload
from support.pair import WINDOW
from support.route import stop_and_judge
from support.wait import until
from support.wire import Wire

HOUR_MS = 3_600_000
SETTINGS_MS = (HOUR_MS, -HOUR_MS, 0)
RATE = 600
EACH_S = 2  # all time-outs that the clock could upset are shorter than its hour
SOON_S = 20  # no back-off by default is that long


class WallClock:
    """Of one process. `environment` is what that is started with."""

    def __init__(self, workdir):
        self._file, self._report = Path(workdir) / "clock", Path(workdir) / "clock.report"
        self.set(0)
        self.environment = {"LD_PRELOAD": preload("shift_clock.so"),
                            # A sanitizer's library does not come first then.
                            "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "")
                            + ":verify_asan_link_order=0",
                            "MBRIDGE_CLOCK_FILE": str(self._file),
                            "MBRIDGE_CLOCK_REPORT": str(self._report)}

    def set(self, ahead_ms):
        with open(self._file, "r+b" if self._file.exists() else "wb") as file:
            file.write(struct.pack("=q", ahead_ms))

    def reads(self):
        """How often it was read while it was wrong; the process has ended."""
        return int(self._report.read_text().split()[0])


def _settings(dice, rounds):
    """Each differs from the one before it, and from the right time at first."""
    chosen = [0]
    while len(chosen) <= rounds:
        chosen.append(dice.choice([ms for ms in SETTINGS_MS if ms != chosen[-1]]))
    return chosen[1:]


def _set_under_load(proxied, clock, settings, with_kafka):
    """Nothing is to be noticed at all: no connection is lost, nothing is late, nothing expires. But
    for Kafka, whose library waits by the time of the day: it begins anew when that is set back."""
    now = 0
    for ms in settings:
        known = len(proxied.bridge.run.log)
        if with_kafka and ms < now:
            proxied.route.stream.fault()
        clock.set(ms)
        proxied.moves_by(RATE * EACH_S, f"messages move with the clock at {ms:+} ms")
        said = [line for line in proxied.bridge.run.log[known:] if "level=info" not in line]
        if with_kafka and ms < now:
            said = [line for line in said if "reason=clock" not in line]
        assert not said, f"the clock at {ms:+} ms is told of: {said}"
        now = ms


def _set_while_refused(proxied, clock, dice, rounds):
    """What waits for its next attempt does not wait longer, nor is it any earlier for ever."""
    for ms in _settings(dice, rounds):
        proxied.route.stream.fault()
        proxied.proxy.refuse()
        Wire(proxied.proxy, proxied.delivered, dice).stands()
        clock.set(ms)
        proxied.proxy.heal()
        wanted = proxied.delivered() + 100
        until(lambda: proxied.delivered() >= wanted, SOON_S, "recovery in spite of the clock",
              detail=proxied.bridge.run.tail)


def set_by_an_hour(trial):
    clock = WallClock(trial.workdir)
    proxied = Proxied(trial, trial.dice.choice(("source", "sink")), rate=RATE, quick={},
                      env=clock.environment)
    proxied.moves_by(RATE, "messages move")
    settings = _settings(trial.dice, trial.rounds)
    trial.row["kinds"] = [f"{ms // 60000:+} min" for ms in settings]
    _set_under_load(proxied, clock, settings, "kafka" in trial.pair)
    _set_while_refused(proxied, clock, trial.dice, max(1, trial.rounds // 2))
    proxied.moves_by(300, "recovery at the end")
    verdict = stop_and_judge(proxied.route, proxied.bridge)
    trial.kept(verdict, per_fault_max=WINDOW)
    assert verdict.duplicates_by_fault[0] == 0, "the clock alone has messages come again"
    assert proxied.bridge.run.last_counters().total("expired") == 0
    assert clock.reads() > 0, "the bridge has not seen its clock set"


CASES = (
    Case("F17", "clock", "the wall clock is set by an hour, ahead and back", set_by_an_hour, 6, 1),
)
