# SPDX-License-Identifier: Apache-2.0
"""Every allocation of a whole run fails once: sweep.py PROGRAM PRELOAD [--seconds N] [--seed N]

Runs a bridge without brokers again and again; in the n-th run the n-th allocation that the bridge
asks for fails (and, in a second sweep, every further k-th). Each run ends in one of two ways: it
does all of its work and its books balance, or it says what is wrong and its exit status is not 0.
It never crashes, hangs, or (with a build that has LeakSanitizer) leaks. With --seconds the places
are drawn by a seed, as many as there is time for; else it is all of them."""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

COUNT = 60
SANITIZER_EXIT = 99

CONFIG = f"""
bridge = {{ name = "sweep"; drain_idle = "30ms"; drain_timeout = "8s"; log_level = "warn"; }};
endpoints = {{ m = {{ backend = "memory"; }}; n = {{ backend = "memory"; store = "n"; }}; }};
routes = (
  {{ name = "plain"; retry = {{ initial = "5ms"; }};
    from = {{ endpoint = "m"; generate = {{ count = {COUNT}; keys = 5; }}; }};
    to = ( {{ endpoint = "m"; stream = "plain"; }}, {{ endpoint = "n"; stream = "copied"; }} );
    steps = ( {{ step = "set-header"; name = "colour"; value = "of ${{key}}"; }},
              {{ step = "filter"; header = "colour"; }} );
    provenance = "always"; }},
  {{ name = "rejected"; retry = {{ initial = "5ms"; }};
    from = {{ endpoint = "m"; generate = {{ count = {COUNT}; keys = 3; }}; }};
    to = {{ endpoint = "n"; stream = "rejected"; }};
    steps = ( {{ step = "require-header"; header = "none has it"; }} );
    dead_letter = {{ endpoint = "n"; stream = "dead"; }}; }} );
"""

TERMS = ("delivered", "dead_lettered", "filtered", "released", "expired", "in_flight")


class Sweep:
    def __init__(self, program, preload, workdir):
        self._program = program
        self._report = workdir / "report"
        self._conf = workdir / "sweep.conf"
        self._conf.write_text(CONFIG)
        self._environment = {
            **os.environ, "LD_PRELOAD": preload, "MBRIDGE_FAIL_REPORT": str(self._report),
            # Ours stands before the sanitizer's allocator on purpose.
            "ASAN_OPTIONS": f"verify_asan_link_order=0:detect_leaks=1:exitcode={SANITIZER_EXIT}"}
        self.endings = {}

    def run(self, at, every=0):
        """(allocations asked for, None or what is wrong)"""
        self._report.unlink(missing_ok=True)
        environment = {**self._environment, "MBRIDGE_FAIL_AT": str(at),
                       "MBRIDGE_FAIL_EVERY": str(every)}
        try:
            done = subprocess.run([self._program, "run", "--drain", str(self._conf)],
                                  env=environment, stdin=subprocess.DEVNULL, capture_output=True,
                                  text=True, errors="replace", timeout=60)
        except subprocess.TimeoutExpired:
            return 0, "it hangs"
        wrong = self._judge(done)
        if not self._report.exists():
            return 0, wrong or "it ended without its destructors"
        asked, failed, place = self._report.read_text().split()
        self.endings[done.returncode] = self.endings.get(done.returncode, 0) + 1
        if wrong is not None:
            wrong = f"{wrong}\n  {failed} failed, the last at {place}\n{done.stderr[-3000:]}"
        return int(asked), wrong

    @staticmethod
    def _judge(done):
        if done.returncode < 0:
            return f"it is ended by signal {-done.returncode}"
        if done.returncode == SANITIZER_EXIT or "runtime error:" in done.stderr:
            return "a sanitizer finds something"
        if done.returncode == 0:
            routes = json.loads(done.stdout.strip().splitlines()[-1])["routes"]
            plain, rejected = routes["plain"], routes["rejected"]
            if plain["delivered"] != COUNT or rejected["dead_lettered"] != COUNT:
                return f"it says that all is well, and is not: {routes}"
        if done.returncode != 0 and not done.stderr.strip():
            return f"it exits with {done.returncode} and says nothing"
        for line in done.stdout.splitlines():
            for name, route in json.loads(line)["routes"].items():
                if route["received"] != sum(route[term] for term in TERMS):
                    return f"the books of {name} do not balance: {route}"
        return None


def places(total, seconds, seed):
    """Where to let it fail: (n, k). Singly, and each k-th from somewhere on."""
    dice = random.Random(seed)
    single = [(at, 0) for at in range(1, total + 1)]
    every = [(dice.randrange(1, total + 1), every) for every in range(2, total // 4)]
    chosen = single + every
    if seconds:
        dice.shuffle(chosen)
    return chosen


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("preload")
    parser.add_argument("--seconds", type=float, default=0)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mbridge-alloc.") as scratch:
        sweep = Sweep(arguments.program, arguments.preload, Path(scratch))
        total, wrong = sweep.run(0)
        if wrong is not None or total == 0 or sweep.endings != {0: 1}:
            print(f"without a failure: {total} allocations, {sweep.endings}, {wrong}")
            return 1
        end = time.monotonic() + arguments.seconds if arguments.seconds else None
        done, found = 0, 0
        for at, every in places(total, arguments.seconds, arguments.seed):
            if end is not None and time.monotonic() > end:
                break
            done += 1
            _, wrong = sweep.run(at, every)
            if wrong is not None:
                found += 1
                print(f"allocation {at} fails" + (f", and every {every}th" if every else "") +
                      f": {wrong}")
    endings = ", ".join(f"{count} × {code}" for code, count in sorted(sweep.endings.items()))
    print(f"{total} allocations, {done} runs, exit status: {endings}; seed {arguments.seed}; "
          f"{found} findings")
    return 1 if found or done == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
