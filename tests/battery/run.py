# SPDX-License-Identifier: Apache-2.0
"""./dev battery: faults over pairs, judged, as a table of counts. See docs/battery.md."""

import argparse
import os
import random
import shutil
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from battery import table  # noqa: E402
from battery.fleet import Fleet  # noqa: E402
from battery.play import play, reason_of, rows_of, short_rows  # noqa: E402
from battery.sanitized import SLOWER, Sanitizer, ring_rows  # noqa: E402
from battery.side_by_side import SideBySide, shares_of  # noqa: E402
from battery.trial import ABSENT, BROKEN  # noqa: E402

ROOT = HERE.parent.parent


def arguments(words):
    parser = argparse.ArgumentParser(prog="./dev battery", description=__doc__)
    parser.add_argument("--case", action="append", default=[], metavar="F1",
                        help='only this case, or "F3 sink" for a variant; may be given again')
    parser.add_argument("--pair", action="append", default=[], metavar="kafka-redis",
                        help="only this pair; may be given again")
    parser.add_argument("--rounds", type=int, help="so many, in place of each case's own number")
    parser.add_argument("--seed", type=int, help="repeats the random numbers of an earlier run")
    parser.add_argument("--long", action="store_true", help="the full figures: takes hours")
    parser.add_argument("--ring", action="store_true",
                        help="each case over four pairs, in which each platform is source and sink")
    parser.add_argument("--sanitize", choices=sorted(SLOWER),
                        help="the bridge is built with that sanitizer, and a report breaks the row")
    parser.add_argument("--jobs", type=int, default=1, metavar="N",
                        help="so many rows at the same time; they spend most of it waiting")
    parser.add_argument("--fresh", action="store_true",
                        help="begin a new table; else what the JSON file holds is added to")
    parser.add_argument("--replace", action="store_true",
                        help="what is played takes the place of what the file holds of those rows")
    parser.add_argument("--resume", action="store_true",
                        help="play only what the file does not hold as kept, in place of what it holds")
    parser.add_argument("--merge", action="append", default=[], metavar="FILE",
                        help="play nothing; add the rows of these JSON files to the table")
    parser.add_argument("--list", action="store_true", help="play nothing; show what there is")
    parser.add_argument("--json", type=Path, metavar="FILE",
                        help="default: build/battery.json, or battery-address.json, …")
    parser.add_argument("--markdown", type=Path, metavar="FILE",
                        help="default: beside the JSON file")
    parser.add_argument("--junit", type=Path, metavar="FILE", help=argparse.SUPPRESS)
    parser.add_argument("--part", action="store_true", help=argparse.SUPPRESS)  # of --jobs
    parser.add_argument("--row", nargs=2, action="append", help=argparse.SUPPRESS)  # of --jobs
    parser.add_argument("--keep", type=Path, metavar="FOLDER",
                        help="keep logs, ledgers and arrivals of every row there")
    chosen = parser.parse_args(words)
    chosen.interrupted = False
    name = f"battery-{chosen.sanitize}" if chosen.sanitize else "battery"
    chosen.json = chosen.json or ROOT / f"build/{name}.json"
    chosen.markdown = chosen.markdown or chosen.json.with_suffix(".md")
    return chosen


def write(options, parts):
    table.save(options.json, parts)
    options.markdown.write_text(table.markdown(parts))


def rounds_of(case, options):
    if options.rounds is not None:
        return options.rounds
    return case.rounds if options.long else max(1, case.short)


def chosen_rows(options, seed, parts=()):
    held = {table.name_of(row) for row in table.merge(parts) if row["result"] != BROKEN}
    return [(case, pair) for case, pair in named_rows(options, seed)
            if not options.resume or (case.number, case.variant, "-".join(pair)) not in held]


def named_rows(options, seed):
    if options.row:
        return [row for case, pair in options.row for row in rows_of([case], [pair])]
    if options.ring:
        return list(ring_rows(random.Random(f"ring/{seed}"), options.case))
    if options.long or options.case or options.pair:
        return list(rows_of(options.case, options.pair))
    return short_rows(seed)


def told(row):
    counts = " ".join(f"{name}={row[name]}" for name in (
        "rounds", "confirmed", "lost", "corrupt", "disorder", "duplicates", "dead", "seconds")
        if name in row)
    counts += "".join(f" {name}={row[name]}" for name in ("acknowledged", "gone", "poison",
                                                          "caught by", "kinds") if name in row)
    detail = row.get("detail", "").splitlines()
    return (f"{row['case'] + ' ' + row['variant']:18} {row['pair']:20} {row['result']:7} {counts}"
            + (f"  {detail[0][:200]}" if detail else ""))


class Session:
    """Fresh brokers for each case: what a case leaves behind slows the next one's brokers."""

    def __init__(self, workdir, keep, sanitize=None):
        self._workdir, self._keep = workdir, keep
        self._sanitizer = Sanitizer(sanitize, Path(workdir) / "reports") if sanitize else None
        self._case = self._fleet = self._brokers = None
        self._number = 0

    def play(self, case, pair, rounds, seed):
        if reason_of(case, pair) is None and case.number != self._case:
            self.end()
            self._start(case.number)
        self._number += 1
        folder = Path(self._keep or self._workdir) / (
            f"{self._number}-{case.name.replace(' ', '-')}-{'-'.join(pair)}")
        shutil.rmtree(folder, ignore_errors=True)  # else a kept run's arrivals were judged with ours
        row = play(case, pair, rounds, seed, self._fleet, folder)
        if self._sanitizer:
            row = self._sanitizer.judge(row, folder)
        if not self._keep and row["result"] != BROKEN:
            shutil.rmtree(folder, ignore_errors=True)
        if self._fleet and self._fleet.spoilt:
            self.end()
        return row

    def _start(self, number):
        from conftest import Brokers
        folder = Path(self._workdir) / f"brokers-{number}"
        folder.mkdir()
        self._brokers = Brokers(folder)
        self._fleet, self._case = Fleet(self._brokers, folder), number

    def end(self):
        if self._fleet:
            self._fleet.end()
            self._brokers.stop()
            shutil.rmtree(Path(self._workdir) / f"brokers-{self._case}", ignore_errors=True)
        self._fleet = self._brokers = self._case = None


def junit(path, rows):
    suite = ElementTree.Element("testsuite", name="battery")
    for row in rows:
        case = ElementTree.SubElement(suite, "testcase", classname="battery", name=" ".join(
            filter(None, (row["case"], row["variant"], row["pair"]))))
        if row["result"] == BROKEN:
            ElementTree.SubElement(case, "failure").text = row["detail"]
        elif row["result"] == ABSENT:
            ElementTree.SubElement(case, "skipped").text = row["detail"]
    ElementTree.ElementTree(suite).write(path)


def play_all(options, seed, parts):
    """The rows that were played now; written after each, so that an interruption costs one."""
    workdir = tempfile.mkdtemp(prefix="mbridge-battery-")
    session = Session(workdir, options.keep, options.sanitize)
    played = []
    try:
        for case, pair in chosen_rows(options, seed, parts):
            row = session.play(case, pair, rounds_of(case, options), seed)
            row["time"] = time.strftime("%Y-%m-%d %H:%M")
            played.append(row)
            print(told(row), flush=True)
            if options.replace or options.resume:
                parts[:] = [part for part in parts if table.name_of(part) != table.name_of(row)]
            write(options, parts + played)
    except KeyboardInterrupt as error:  # Ctrl-C, or SIGTERM: what was played is in the table
        print(f"interrupted {error}".strip())
        options.interrupted = True
    finally:
        session.end()
        if any(row["result"] == BROKEN for row in played):
            print(f"logs, ledgers and arrivals of what broke: {workdir}")
        else:
            shutil.rmtree(workdir, ignore_errors=True)
    return played


def play_side_by_side(options, seed, parts):
    """As play_all."""
    workdir = Path(tempfile.mkdtemp(prefix="mbridge-battery-"))
    books, odd = {}, []

    def command(share, path):
        words = ["--part", "--json", path, "--seed", seed] + (["--long"] if options.long else [])
        for case, pair in share:
            words += ["--row", case.name, "-".join(pair)]
        for name in ("rounds", "sanitize"):
            if getattr(options, name) is not None:
                words += [f"--{name}", getattr(options, name)]
        if options.keep:
            words += ["--keep", options.keep / path.stem]
        return [sys.executable, __file__, *map(str, words)]

    def told(path, status):
        rows = table.load(path)
        if status not in (0, 1) or not rows:
            odd.append(f"{path.stem}: exit {status}")
        books[path] = rows
        write(options, parts + sum(books.values(), []))

    rows = chosen_rows(options, seed, parts)
    if options.replace or options.resume:
        names = {(case.number, case.variant, "-".join(pair)) for case, pair in rows}
        parts[:] = [part for part in parts if table.name_of(part) not in names]
    try:
        SideBySide(options.jobs, workdir, command).play(shares_of(rows), told)
    except KeyboardInterrupt as error:
        print(f"interrupted {error}".strip())
        options.interrupted = True
        books.update((path, table.load(path)) for path in workdir.glob("*.json"))
    played = sum(books.values(), [])
    write(options, parts + played)
    if odd:
        print("did not come to their end: " + ", ".join(odd))
        options.interrupted = True
    shutil.rmtree(workdir, ignore_errors=True)
    return played


def main(words):
    options = arguments(words)
    seed = options.seed
    if seed is None:
        seed = int(os.environ.get("MBRIDGE_SEED") or random.randrange(1 << 30))
    if options.list:
        for case, pair in rows_of(options.case, options.pair):
            reason = reason_of(case, pair)
            print(f"{case.name:18} {'-'.join(pair):20} {case.rounds:4}  "
                  f"{'– ' + reason if reason else case.title}")
        return 0
    parts = [] if options.fresh else table.load(options.json)
    for path in options.merge:
        parts += table.load(path)
    played = []
    if options.merge:
        write(options, parts)
    else:
        if not options.part:
            print(f"seed {seed} (repeat with --seed {seed})", flush=True)
        play_rows = play_side_by_side if options.jobs > 1 else play_all
        played = play_rows(options, seed, parts)
        if options.junit:
            junit(options.junit, played)
    rows = table.merge(parts + played)
    if not options.part:
        print(f"{table.totals(rows)}\n{options.markdown}\n{options.json}")
    if options.interrupted:
        return 130
    return 1 if any(row["result"] == BROKEN for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
