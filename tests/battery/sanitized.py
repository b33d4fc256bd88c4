# SPDX-License-Identifier: Apache-2.0
"""The battery over a bridge that was built with sanitizers: what they report breaks the row."""

import os
import shutil
from pathlib import Path

from battery.fleet import PLATFORMS
from battery.play import reason_of, rows_of
from battery.trial import BROKEN

SLOWER = {"address": 3, "thread": 5}  # what a wait may last, beside the plain build
REPORT_SIZE = 6000
UNDEFINED = "runtime error:"


class Sanitizer:
    """kind: what ./dev built with, "address" (with "undefined") or "thread". Reports go to a folder:
    what is written to stderr could be lost with a process that is killed."""

    def __init__(self, kind, folder):
        self._folder = Path(folder)
        self._folder.mkdir(parents=True, exist_ok=True)
        for name, value in self._environment(kind).items():
            # What the caller wants besides is put behind, where it counts for more.
            os.environ[name] = ":".join(filter(None, (value, os.environ.get(name))))
        os.environ.setdefault("MBRIDGE_SLOW", str(SLOWER[kind]))

    def _environment(self, kind):
        path = f"log_path={self._folder / 'report'}"
        if kind == "thread":
            # Client libraries are not built with it: their atomic counters order what looks like a
            # race in what they call. Their mutexes are seen, and so is our code that they call.
            return {"TSAN_OPTIONS": f"{path}:ignore_noninstrumented_modules=1:history_size=4:"
                                    "second_deadlock_stack=1"}
        # verify_asan_link_order: cases preload libraries of their own.
        return {"ASAN_OPTIONS": f"{path}:verify_asan_link_order=0",
                "UBSAN_OPTIONS": f"{path}:print_stacktrace=1"}

    def judge(self, row, logs):
        """Breaks the row if anything was reported since the last one. logs: the row's folder, where
        reports are kept; beside AddressSanitizer the other one of undefined behaviour writes to
        stderr, whatever it is told."""
        reports = []
        for path in sorted(self._folder.iterdir()):
            reports.append(path.read_text(errors="replace"))
            shutil.move(path, logs)
        for log in sorted(Path(logs).glob("*.log")):
            text = log.read_text(errors="replace")
            if UNDEFINED in text:
                reports.append(text[max(0, text.index(UNDEFINED) - 200):])
        if reports:
            detail = "".join(report[:REPORT_SIZE] for report in reports[:3])
            row.update(result=BROKEN, detail="\n".join(filter(None, (
                f"{len(reports)} reports of the sanitizer", detail, row.get("detail")))))
        return row


def ring_rows(dice, cases=()):
    """Each case over a ring through all platforms, which the dice choose: each platform is source
    once and sink once. Where a case makes no sense for a pair of the ring, another pair with that
    source stands in, if there is one."""
    names = {case.name for case, _ in rows_of(cases)}
    for name in sorted(names):
        possible = [(case, pair) for case, pair in rows_of([name])
                    if case.name == name and reason_of(case, pair) is None]
        order = list(PLATFORMS)
        dice.shuffle(order)
        ring = list(zip(order, order[1:] + order[:1]))
        for source, sink in ring:
            same = [row for row in possible if row[1][0] == source and row[1][1] in PLATFORMS]
            exact = [row for row in same if row[1][1] == sink]
            if same:
                yield exact[0] if exact else dice.choice(same)
