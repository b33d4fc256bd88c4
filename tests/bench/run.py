# SPDX-License-Identifier: Apache-2.0
"""Measures the bridge against the raw client libraries, in the same run: run.py [OPTION...]

Every round does the raw halves of each pair, both at the same time on the same two processors, and
then the bridge, so that what else the machine does falls on all of them. Needs a release build.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections import namedtuple
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import distance  # noqa: E402
import latency  # noqa: E402
import page  # noqa: E402
import report as reports  # noqa: E402
import rivals  # noqa: E402
import subjects  # noqa: E402
import throughput  # noqa: E402
from brokers import BrokerError, JavaBroker  # noqa: E402
from halves import Failed  # noqa: E402
from peers.install import install, mirror_libs  # noqa: E402
from places import Places  # noqa: E402

CELLS = ("pairs", "sizes", "headers", "lanes", "provenance")
PARTS = ("core", *CELLS, "latency", "rss", "distance", "peers")
USUAL_PARTS = ("core", "pairs")
ROUNDS = 3
# Each source and each sink once, and the goal that is a stricter one.
RING = ("kafka-kafka", "kafka-rabbitmq", "rabbitmq-artemis", "artemis-redis", "redis-kafka")
# What --full does where it is not told otherwise: of which pairs (all, if none), in how many rounds.
Plan = namedtuple("Plan", "pairs rounds")
FULL = {"pairs": Plan((), ROUNDS), "sizes": Plan(RING, 1), "headers": Plan(RING, 1),
        "lanes": Plan(RING, 1), "provenance": Plan(RING, 1), "latency": Plan((), 1),
        "rss": Plan((), 1), "distance": Plan(RING, 1), "peers": Plan((), 1)}


def parse(arguments):
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--part", action="append", choices=PARTS,
        help="only this; repeatable; without any: core and pairs")
    add("--peers", action="store_true", help="the part peers too: the alternatives that are "
        "installed, on the same work")
    add("--bare", action="store_true", help="pairs against halves written by hand too, without "
        "their client library's calls")
    add("--install-peers", action="store_true", help="install them, and nothing else")
    add("--full", action="store_true", help="all parts and --bare; sizes, headers, lanes, "
        "provenance and distance of five pairs, all but the pairs in one round")
    add("--pair", action="append", metavar="SOURCE-SINK",
        help="only these pairs, as kafka-redis or *-redis; repeatable")
    add("--rabbit4", action="store_true", help="RabbitMQ 4 by AMQP 1.0 too")
    add("--classic", action="store_true", help="ActiveMQ Classic too")
    add("--rounds", type=int, help=f"of each part ({ROUNDS})")
    add("--messages", type=int, help="in each run at most")
    add("--size", type=int, default=256, help="of a body (%(default)s)")
    add("--headers", type=int, default=0, help="of each message (%(default)s)")
    add("--seconds", type=float, default=4, help="of a run that measures latency (%(default)s)")
    add("--rtt", type=float, default=80, metavar="MS", help="round trip of the part distance "
        "(%(default)s)")
    add("--loss", type=float, default=0.1, metavar="PERCENT",
        help="of its segments, where the kernel can do that (%(default)s)")
    add("--no-latency", dest="latency", action="store_false",
        help="throughput alone in the part distance")
    add("--kafka", default="3.9.1", metavar="VERSION", help="of the broker (%(default)s)")
    add("--processors", type=int, default=2, help="for all of it together (%(default)s)")
    add("--json", metavar="FILE", help="also write all figures to this file")
    add("--write", metavar="PAGE", help="put the figures of these parts into a page; the others "
        "stay as they are in the file of its name")
    add("--from-json", metavar="FILE", help="measure nothing: show or write what is in this file")
    add("--check", action="store_true", help="exit 1 if a goal is missed")
    options = parser.parse_args(arguments)
    if options.write and options.pair:
        parser.error("a page has all pairs: --write goes without --pair")
    return options


def hold_processors(number):
    """Brokers and all that is measured share these; children inherit it."""
    mine = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, mine[:number])
    return min(number, len(mine))


def machine(processors):
    models = [line.partition(":")[2].strip() for line in open("/proc/cpuinfo", encoding="utf-8")
              if line.startswith("model name")]
    return f"{processors} × {models[0] if models else platform.machine()}"


def today(report):
    return f"{time.strftime('%-d %B %Y')}, {report['machine']}"


def of_part(part, options):
    """The options as they hold for one part: what was not asked for is the plan's, with --full."""
    plan = FULL[part] if options.full else Plan((), ROUNDS)
    mine = argparse.Namespace(**vars(options))
    mine.pair = options.pair or list(plan.pairs)
    mine.rounds = options.rounds or plan.rounds
    mine.bare = (options.bare or options.full) and part == "pairs"
    return mine


def measure_core():
    print("the core alone", file=sys.stderr)
    return {**subjects.core_time(), "instructions": subjects.core_instructions()["instructions"]}


def save(options, report):
    if options.json:
        Path(options.json).write_text(json.dumps(report, indent=1) + "\n")


def measure_places(options, parts, report, places):
    """The parts that need brokers. What is measured is saved after each: the next may take hours."""
    makers = {part: throughput.measure for part in CELLS}
    makers |= {"peers": rivals.measure, "latency": latency.measure,
               "rss": throughput.measure_rss,
               "distance": lambda *arguments: distance.measure(*arguments, report)}
    for part, make in makers.items():
        if part in parts:
            mine = of_part(part, options)
            began = time.monotonic()
            print(f"-- {part}", file=sys.stderr, flush=True)
            report[part], failures = make(places, throughput.cells_of(part, mine), mine)
            report["failures"] += [{"part": part, **failure} for failure in failures]
            report["rounds"][part] = mine.rounds
            report["measured"][part] = today(report)
            places.clear()
            print(f"   in {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
            save(options, report)


def measure(options):
    report = {"machine": machine(hold_processors(options.processors)), "rounds": {},
              "measured": {}, "load_before": os.getloadavg()[0], "failures": []}
    options.peers = options.peers or options.full or "peers" in (options.part or ())
    parts = PARTS if options.full else (*(options.part or USUAL_PARTS),
                                        *(["peers"] if options.peers else []))
    if "core" in parts and (options.part or options.full or not options.pair):
        report["core"] = measure_core()
        report["measured"]["core"] = today(report)
    if set(parts) == {"core"}:
        return report
    wanted = throughput.chosen(options)
    if not wanted:
        raise Failed("no pair has such a name")
    names = [name for name in throughput.KINDS if any(name in pair for pair in wanted)]
    if "peers" in parts and ("kafka", "kafka") in wanted and mirror_libs().exists():
        names.append("kafka2")
    with tempfile.TemporaryDirectory(prefix="mbridge-bench-") as workdir, \
            Places(options, workdir, names) as places:
        report["brokers"] = [place.describe() for place in places.by_name.values()]
        measure_places(options, parts, report, places)
    return report


def missing_peers():
    failed = install()
    for why in failed:
        print(f"bench: not installed: {why}", file=sys.stderr)
    return 1 if failed else 0


def main(arguments):
    options = parse(arguments)
    if options.install_peers:
        return missing_peers()
    JavaBroker.quick_start = False
    try:
        report = (json.loads(Path(options.from_json).read_text()) if options.from_json
                  else measure(options))
    except (Failed, BrokerError, TimeoutError, subprocess.TimeoutExpired) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    save(options, report)
    if options.write:
        page.write(report, Path(options.write))
    print(reports.text(report))
    missed = reports.missed(report)
    return 1 if options.check and (missed or report["failures"]) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
