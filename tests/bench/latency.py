# SPDX-License-Identifier: Apache-2.0
"""What the bridge adds to the age of a message, at half of what the path carries.

The raw path is two hops that run at the same time, each a raw half that writes and one that reads,
without linger: through the source's broker, and through the sink's. A relay that costs nothing would
be as slow as both hops together, so a message's age on the raw path is the sum of one age of each,
taken independently. Half load is half of what the raw path keeps up in step: that begins with what the
slowest of these four programs reaches when nobody holds them back, and is halved while the path falls
behind, as many messages are then requests of their own. The bridge runs between the same two brokers at
the same rate, with one raw half writing and one reading, and default settings.
"""

import random
import statistics
import sys

import halves
import subjects
from places import Load

WARM_UP = 50
COUNT_MAX = 200_000
RATE_MAX = 100_000
BEHIND_US = 20_000  # nine of ten messages of a raw path that keeps up are not so old
HALVINGS_MAX = 4
POINTS = (50.0, 99.0, 99.9)
SUMS = 200_000


class Flow:
    """A raw half that writes and one that reads, perhaps not from the same stream."""

    def __init__(self, into, out_of, load, **more):
        self.load, self._into = load, into
        self._reader = halves.Half(out_of, load._replace(count=load.count + WARM_UP), stamped=1)
        self._writer = None
        self._more = more

    def warm_up(self):
        """Until messages pass: groups have formed and links are attached."""
        halves.run(self._into, self.load._replace(count=WARM_UP), stamped=1, linger=0)
        self._reader.ready()
        self._writer = halves.Half(self._into, self.load, stamped=1, linger=0, **self._more)
        self._writer.ready()

    def begin(self):
        self._writer.begin()

    def results(self):
        return self._writer.result(), self._reader.result()

    def end(self):
        for half in filter(None, (self._writer, self._reader)):
            half.end()


def carry(load, more, calls):
    """Several flows at the same time; calls: what writes and what reads, of each."""
    flows = []
    try:
        for into, out_of in calls:
            flows.append(Flow(into, out_of, load, **more))
        for flow in flows:
            flow.warm_up()
        for flow in flows:
            flow.begin()
        return [flow.results() for flow in flows]
    finally:
        for flow in flows:
            flow.end()


class Path:
    """From a source to a sink. ends: the two platforms as who stands between them sees them, where
    that is not as everybody else does."""

    def __init__(self, places, cell, ends=None):
        self.places, self.cell = places, cell
        self.near = places.by_name[cell.source], places.by_name[cell.sink]
        self.ends = ends or self.near

    def _make(self, what):
        return self.places.new(self.cell.source, what), self.places.new(self.cell.sink, what)

    def _forget(self, streams):
        self.places.forget(self.cell.source, streams[0])
        self.places.forget(self.cell.sink, streams[1])

    def hops(self, load, **more):
        """Both hops at once: (writer, reader) of each."""
        streams = self._make("hop")
        results = carry(load, more, (
            (self.near[0].write(streams[0]), self.ends[0].read(streams[0])),
            (self.ends[1].write(streams[1]), self.near[1].read(streams[1]))))
        self._forget(streams)
        return results

    def through_bridge(self, load, **more):
        streams = self._make("path")
        bridge = subjects.Bridge(self.places.workdir, subjects.route_text(
            self.places, self.cell.source, self.cell.sink, streams, self.ends, **self.cell.route))
        try:
            (_, reader), = carry(load, more, (
                (self.near[0].write(streams[0]), self.near[1].read(streams[1])),))
            bridge.stop()
        finally:
            bridge.end()
        self._forget(streams)
        return reader

    def half_load(self, seconds):
        """The rate, and so many messages."""
        load = Load(min(self.cell.load.count, COUNT_MAX), *self.cell.load[1:])
        slowest = min(half.rate for hop in self.hops(load) for half in hop)
        rate = min(2 * RATE_MAX, int(slowest))
        for _ in range(HALVINGS_MAX):
            load = load._replace(count=max(100, int(rate * seconds / 2)))
            if quantile(self.raw_ages(load, rate), 90) <= BEHIND_US:
                break
            rate //= 2
        rate = max(1, rate // 2)
        return rate, load._replace(count=max(100, int(rate * seconds)))

    def raw_ages(self, load, rate):
        (_, first), (_, second) = self.hops(load, rate=rate)
        return together(first.ages_us, second.ages_us)

    def measure(self, options):
        """{rate, raw_us, bridge_us, added_us: {point: …}, …}"""
        rate, load = self.half_load(options.seconds)
        rounds = []
        for _ in range(options.rounds):
            raw = self.raw_ages(load, rate)
            bridge = sorted(self.through_bridge(load, rate=rate).ages_us)
            rounds.append({str(point): (quantile(raw, point), quantile(bridge, point))
                           for point in POINTS})
        row = {"source": self.cell.source, "sink": self.cell.sink, "variant": self.cell.variant,
               "rate": rate, **load._asdict()}
        for what, pick in (("raw_us", lambda both: both[0]), ("bridge_us", lambda both: both[1]),
                           ("added_us", lambda both: both[1] - both[0])):
            row[what] = {point: statistics.median(pick(entry[point]) for entry in rounds)
                         for point in rounds[0]}
        return row


def quantile(ordered, point):
    return ordered[min(len(ordered) - 1, int(len(ordered) * point / 100))]


def together(first, second):
    """Ages of a path of two hops whose ages are independent, ordered."""
    dice = random.Random(1)
    return sorted(dice.choice(first) + dice.choice(second) for _ in range(SUMS))


def measure(places, cells, options):
    """A row of each cell, and what failed."""
    rows, failures = [], []
    for cell in cells:
        name = f"{cell.source} → {cell.sink}"
        try:
            row = Path(places, cell).measure(options)
        except Exception as error:  # the others are measured all the same
            failures.append({"what": f"latency, {name}", "why": str(error)})
            print(f"  {name:34} failed: {error}", file=sys.stderr, flush=True)
            continue
        rows.append(row)
        print(f"  {name:34} p99 {row['added_us']['99.0'] / 1000:+.2f} ms", file=sys.stderr,
              flush=True)
    return rows, failures
