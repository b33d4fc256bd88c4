# SPDX-License-Identifier: Apache-2.0
"""Instructions a message must not grow unseen: guard.py BUILD [--update]

Counts, under callgrind, what a message costs in the core and in each backend's map, and compares it
with instructions.json: more than 3 % above the figure that stands there is a failure. Less is one
too, of another kind: the figure is out of date and would let the next change for the worse through.
The figures depend on compiler, machine and libc, so there is a row for each of these; where the
present one has none, what was measured is printed and nothing is compared (exit status 77).
--update writes the row. To be run with a release build on any machine, however busy it is."""

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

TOLERANCE = 0.03
SKIPPED = 77
FIGURES = Path(__file__).resolve().parent / "instructions.json"
MAPS = ("kafka", "amqp091", "amqp10", "redis")


class Unable(Exception):
    """Nothing can be counted here, and why."""


def subjects(build):
    """{name: (command without its number of messages, that number)}, as far as they are built."""
    found = {"core": ([build / "bench/core_bench", "once"], 20_000)}
    for name in MAPS:
        for end in ("source", "sink"):
            found[f"{name} {end}"] = ([build / f"bench/map_{name}", end], 2_000)
    return {name: row for name, row in found.items() if row[0][0].exists()}


def count(command, scratch):
    out = Path(scratch) / "callgrind.out"
    done = subprocess.run(["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}",
                           *map(str, command)], capture_output=True, text=True, timeout=300)
    if done.returncode != 0:
        raise Unable(f"{' '.join(map(str, command))}: {done.stderr[-2000:]}")
    return int(re.search(r"^(?:summary|totals): (\d+)", out.read_text(), re.MULTILINE)[1])


def a_message(command, messages, scratch):
    """The difference of two runs, so that a program's start does not count."""
    one = count([*command, messages], scratch)
    return (count([*command, 2 * messages], scratch) - one) / messages


def measure(build):
    if not shutil.which("valgrind"):
        raise Unable("valgrind is not installed (Debian: valgrind)")
    with tempfile.TemporaryDirectory(prefix="mbridge-guard.") as scratch:
        return {name: round(a_message(command, messages, scratch), 1)
                for name, (command, messages) in subjects(build).items()}


def cache_of(build):
    cache = Path(build) / "CMakeCache.txt"
    if not cache.exists():
        raise Unable(f"{build} is no build folder")
    return dict(re.findall(r"^(\w+):\w+=(.*)$", cache.read_text(), re.MULTILINE))


def row_of(build):
    """What the figures depend on."""
    cache = cache_of(build)
    if cache.get("CMAKE_BUILD_TYPE") != "Release" or cache.get("MBRIDGE_SANITIZE"):
        raise Unable(f"{build} is no release build")
    version = subprocess.run([cache["CMAKE_C_COMPILER"], "--version"], capture_output=True,
                             text=True, timeout=60).stdout.splitlines()[0]
    compiler = "clang" if "clang" in version else "gcc"
    number = re.findall(r"\d+\.\d+\.\d+", version)[-1]
    return f"{compiler} {number}, {platform.machine()}, {os.confstr('CS_GNU_LIBC_VERSION')}"


def compare(known, measured):
    """Lines of a table, and the subjects that are off."""
    lines, off = [], []
    for name, now in measured.items():
        was = known.get(name)
        change = None if was is None else now / was - 1
        lines.append(f"{name:16} {now:9.1f}" + ("  new" if was is None else
                                               f"  {was:9.1f}  {change * 100:+5.1f} %"))
        if change is None or abs(change) > TOLERANCE:
            off.append(name)
    return lines, off


def check(build):
    """(exit status, text)"""
    figures = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    try:
        row, measured = row_of(build), measure(Path(build))
    except Unable as reason:
        return SKIPPED, f"instructions are not counted: {reason}"
    if row not in figures:
        return SKIPPED, "\n".join([f"no figures for {row}; measured, instructions a message:",
                                   *compare({}, measured)[0]])
    lines, off = compare(figures[row], measured)
    lines.insert(0, f"instructions a message, {row}: now, as recorded, change")
    if off:
        lines.append(f"off by more than {TOLERANCE:.0%}: {', '.join(off)}. If that is meant: "
                     "guard.py BUILD --update")
    return (1 if off else 0), "\n".join(lines)


def update(build):
    figures = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    row = row_of(build)
    figures[row] = measure(Path(build))
    FIGURES.write_text(json.dumps(figures, indent=2, sort_keys=True) + "\n")
    return f"{row}: {json.dumps(figures[row])}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("build", nargs="?", type=Path,
                        default=Path(__file__).resolve().parents[2] / "build/release")
    parser.add_argument("--update", action="store_true")
    options = parser.parse_args()
    if options.update:
        print(update(options.build))
        return 0
    code, text = check(options.build)
    print(text)
    return code


if __name__ == "__main__":
    sys.exit(main())
