# SPDX-License-Identifier: Apache-2.0
"""Throughput and processor time of pairs, against the raw halves in the same round."""

import fnmatch
import statistics
import sys
from collections import namedtuple

import halves
import subjects
from places import KINDS, USUAL, Load

# So many messages that a run takes a second or two where nothing else runs.
COUNTS = {"kafka": 600_000, "redis": 300_000, "artemis": 100_000, "rabbitmq": 32_000,
          "rabbitmq4": 50_000, "classic": 30_000}
BYTES_MAX = 160 << 20

# What is measured; variant: what it is called where pairs are measured in several ways.
Cell = namedtuple("Cell", "source sink load route variant", defaults=("",))


def chosen(options):
    """Pairs of names: the usual ones, with what was asked for besides, or those that match."""
    names = [*USUAL, *(["rabbitmq4"] if options.rabbit4 else []),
             *(["classic"] if options.classic else [])]
    everything = [(source, sink) for source in KINDS for sink in KINDS]
    if not options.pair:
        return [pair for pair in everything if set(pair) <= set(names)]

    def wanted(pair):
        # A pattern that does not name an extra platform does not mean it.
        return any(fnmatch.fnmatchcase("-".join(pair), pattern)
                   and all(name in names or name in pattern.split("-") for name in pair)
                   for pattern in options.pair)
    return [pair for pair in everything if wanted(pair)]


def load_of(source, sink, options, size=None, headers=None):
    size = size or options.size
    count = min(COUNTS[source], COUNTS[sink], max(64, BYTES_MAX // (size + 64)))
    return Load(min(count, options.messages or count), size,
                options.headers if headers is None else headers)


SIZES = (64, 256, 1024, 16 << 10, 1 << 20)
HEADERS = (0, 5, 20)
LANES = (1, 2, 4)
PROVENANCE = (("with id and path", "auto"), ("without", "never"))


def size_text(size):
    units = ((1 << 20, "MiB"), (1 << 10, "KiB"))
    return next((f"{size // unit} {name}" for unit, name in units if size >= unit), f"{size} B")


def cells_of(part, options):
    """The cells of a part, of the pairs that were chosen."""
    cells = []
    for source, sink in chosen(options):
        if part == "sizes":
            cells += [Cell(source, sink, load_of(source, sink, options, size=size), {},
                           size_text(size)) for size in SIZES]
        elif part == "headers":
            cells += [Cell(source, sink, load_of(source, sink, options, headers=number), {},
                           f"{number} headers") for number in HEADERS]
        elif part == "provenance" and source != sink:
            cells += [Cell(source, sink, load_of(source, sink, options), {"provenance": setting},
                           name) for name, setting in PROVENANCE]
        elif part == "provenance":
            continue  # nothing is added on one platform
        elif part == "lanes":
            # What is in a queue has no order that several consumers could keep.
            order = {} if KINDS[source].name == "kafka" else {"order": "none"}
            cells += [Cell(source, sink, load_of(source, sink, options),
                           {"lanes": number, **order}, f"{number} lanes") for number in LANES]
        else:
            cells.append(Cell(source, sink, load_of(source, sink, options), {}))
    return cells


def compared(raw, ratio, both, moved):
    """Of two halves: the slower one's rate, the processor time of both, and the bridge's over them."""
    rate, cpu_us = min(half.rate for half in both), sum(half.cpu_us for half in both)
    return {f"{raw}rate": rate, f"{raw}cpu_us": cpu_us, f"{ratio}ratio": moved.rate / rate,
            f"{ratio}cpu_ratio": moved.cpu_us / cpu_us}


class Results:
    """The samples of a cell, a round each."""

    def __init__(self, cell):
        self.cell = cell
        self.rounds = []

    def add(self, source, sink, moved, bare=None):
        """source, sink: of the halves; bare: both of those that are written by hand."""
        entry = {"source_rate": source.rate, "source_cpu_us": source.cpu_us,
                 "sink_rate": sink.rate, "sink_cpu_us": sink.cpu_us,
                 "rate": moved.rate, "cpu_us": moved.cpu_us, "rss_mib": moved.rss_mib,
                 # By round: what else the machine did fell on both.
                 **compared("raw_", "", (source, sink), moved)}
        if bare:
            entry |= compared("bare_", "bare_", bare, moved)
        self.rounds.append(entry)
        return entry

    def summary(self):
        medians = {name: statistics.median(entry[name] for entry in self.rounds)
                   for name in self.rounds[0]}
        medians["rss_mib"] = max(entry["rss_mib"] for entry in self.rounds)
        return {"source": self.cell.source, "sink": self.cell.sink, "variant": self.cell.variant,
                **self.cell.load._asdict(), **medians, "rounds": self.rounds}


# To a message of another platform the bridge adds an id, a path and what that platform has no place
# for. The half that writes has as many headers more, of 24 bytes each, which is less.
CARRIED = 3


def load_written(cell):
    alike = KINDS[cell.source].platform == KINDS[cell.sink].platform
    if alike or cell.route.get("provenance") == "never":
        return cell.load
    return cell.load._replace(headers=cell.load.headers + CARRIED)


def measure_halves(places, cell, ends=None, **more):
    """Both at once; what the one wrote may be read by another run. ends: the platforms, where they
    are not those of that name."""
    source, sink = ends or (places.by_name[cell.source], places.by_name[cell.sink])
    written = load_written(cell)
    full = places.filled(cell.source, cell.load)
    target = places.new(cell.sink, "raw")
    both = halves.run_both(source.read(full), sink.write(target), cell.load, written, **more)
    places.read(cell.source, full, cell.load)
    if written == cell.load:
        places.written(cell.sink, written, target)
    else:
        places.by_name[cell.sink].drop(target, written)
    return both


def measure_bare(places, cell):
    """Those by hand, or None where no side has them."""
    if not (places.by_name[cell.source].has_bare or places.by_name[cell.sink].has_bare):
        return None
    return measure_halves(places, cell, bare=1)


def measure_bridge(places, cell):
    full = places.filled(cell.source, cell.load)
    target = places.new(cell.sink, "target")
    text = subjects.route_text(places, cell.source, cell.sink, (full, target), **cell.route)
    moved = subjects.move(places.workdir, text, cell.load.count)
    places.read(cell.source, full, cell.load)
    places.by_name[cell.sink].drop(target, cell.load)
    return moved


def warm_up(places, cells):
    """Each pair once, uncounted: brokers are slow at first, and the halves, which come first, would
    pay for it."""
    for cell in {(cell.source, cell.sink): cell for cell in reversed(cells)}.values():
        try:
            measure_halves(places, cell)
            measure_bridge(places, cell)
        except Exception as error:  # who measures afterwards will say it again
            print(f"  {cell.source} → {cell.sink}: {error}", file=sys.stderr, flush=True)


def measure(places, cells, options):
    """Summaries of the cells. Every round does all of them, the raw halves just before the bridge,
    and those by hand, if they are asked for, just after it. A cell that fails is left out from there
    on, and says why."""
    results = [Results(cell) for cell in cells]
    failures = {}
    warm_up(places, cells)
    for number in range(options.rounds):
        print(f"round {number + 1} of {options.rounds}", file=sys.stderr)
        for result in results:
            cell = result.cell
            name = " ".join(filter(None, (f"{cell.source} → {cell.sink}", cell.variant)))
            if id(result) in failures:
                continue
            try:
                entry = result.add(*measure_halves(places, cell), measure_bridge(places, cell),
                                   measure_bare(places, cell) if options.bare else None)
            except Exception as error:  # the others are measured all the same
                failures[id(result)] = {"what": name, "why": str(error)}
                print(f"  {name:34} failed: {error}", file=sys.stderr, flush=True)
                continue
            print(f"  {name:34} {entry['ratio']:5.2f} of the raw half   "
                  f"{entry['cpu_ratio']:5.2f} × its processor time", file=sys.stderr, flush=True)
    return ([result.summary() for result in results if result.rounds], list(failures.values()))


RSS_MESSAGES = 1_000_000


def measure_rss(places, cells, options):
    """One pair whatever was asked for: a backlog far larger than the window, and a sink that is
    slower than the source."""
    if not {"kafka", "rabbitmq"} <= set(places.by_name):
        return [], [{"what": "memory", "why": "it needs Kafka and RabbitMQ"}]
    cell = Cell("kafka", "rabbitmq", Load(options.messages or RSS_MESSAGES, options.size, 0), {})
    try:
        moved = measure_bridge(places, cell)
    except Exception as error:  # the others are measured all the same
        return [], [{"what": "memory", "why": str(error)}]
    return [{"source": cell.source, "sink": cell.sink, "variant": "", **cell.load._asdict(),
             "rss_mib": moved.rss_mib}], []
