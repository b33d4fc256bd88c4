# SPDX-License-Identifier: Apache-2.0
"""One judged stream: a feeder, a collector for each place where messages may end."""

import time

from support.collect import Collector
from support.judge import judge
from support.wait import Deadline, patience

STALL_S = 20


class Watch:
    """Reads a collector's file as it grows."""

    def __init__(self, collector):
        self.collector = collector
        self.read = 0
        self.seen = set()
        self.resumed = None
        self._mark = float("inf")
        self.newest = {}

    def mark(self, time_s):
        """From now on `resumed` is the time of the first new message at or after time_s,
        and `newest` holds, by key, the time of the first new one."""
        self._mark, self.resumed, self.newest = time_s, None, {}

    def update(self):
        """The arrivals since the last update."""
        fresh = self.collector.arrivals(self.read)
        self.read += len(fresh)
        for arrival in fresh:
            name = (arrival.key, arrival.sequence)
            if name not in self.seen:
                self.seen.add(name)
                if arrival.time >= self._mark:
                    self.resumed = self.resumed or arrival.time
                    self.newest.setdefault(arrival.key, arrival.time)
        return fresh


class Stream:
    """Feeder → bridge → collector(s), and the verdict."""

    def __init__(self, workdir, feeder, destination, dead=None, live=True, headers=False):
        """destination, dead: where (see Collector). headers: they are checked too. Not live:
        collect only when asked to, because the destination's broker is killed in between."""
        self.feeder = feeder
        self.name = feeder.bodies.stream
        self._watches = [Watch(Collector(workdir, f"{self.name}.{kind}", feeder, headers, **where))
                         for kind, where in (("to", destination), ("dead", dead)) if where]
        self.faults = []
        self._live = False
        if live:
            self.collect()

    @property
    def destination(self):
        return self._watches[0]

    def collect(self):
        if not self._live:
            self._live = True
            for watch in self._watches:
                watch.collector.start()

    def update(self):
        for watch in self._watches:
            watch.update()
        return self

    def check(self):
        """Fails where a collector has ended."""
        if self._live:
            for watch in self._watches:
                watch.collector.check()

    @property
    def arrived(self):
        """Distinct messages at the destination so far."""
        self.destination.update()
        return len(self.destination.seen)

    @property
    def read(self):
        """All messages at the destination so far, duplicates too."""
        self.destination.update()
        return self.destination.read

    @property
    def buried(self):
        """Distinct messages in the dead-letter stream so far."""
        self._watches[1].update()
        return len(self._watches[1].seen)

    @property
    def ended(self):
        self.update()
        return len(set().union(*(watch.seen for watch in self._watches)))

    def fault(self):
        self.faults.append(time.monotonic())

    def wait_ended(self, number, seconds=60, poll=None):
        """Until `number` distinct messages have arrived somewhere."""
        end = time.monotonic() + seconds
        while self.ended < number:
            if poll:
                poll()
            if time.monotonic() > end:
                raise Deadline(f"{self.ended} of {number} messages within {seconds} s")
            time.sleep(0.01)

    def finish(self, seconds=300, stall=STALL_S, poll=None):
        """Wait until all that was confirmed has arrived and nothing more comes; judge.

        A stream that stalls is judged as it is: what is missing counts as lost.
        """
        seconds, stall = patience(seconds), patience(stall)
        self.feeder.wait(seconds)
        self.collect()
        ledger = self.feeder.ledger()
        wanted = set(map(tuple, ledger))
        end = time.monotonic() + seconds
        moved = time.monotonic()
        known = -1
        while time.monotonic() < end and time.monotonic() - moved < stall:
            if poll:
                poll()
            self.update()
            have = set().union(*(watch.seen for watch in self._watches))
            if len(have) != known:
                known, moved = len(have), time.monotonic()
            if wanted <= have:
                break
            time.sleep(0.05)
        self._quieten()
        return self.verdict(ledger)

    def _quieten(self, quiet=0.6):
        """Late duplicates count: wait until no file grows any more."""
        since = time.monotonic()
        while time.monotonic() - since < quiet:
            if any(watch.update() for watch in self._watches):
                since = time.monotonic()
            time.sleep(0.05)

    def verdict(self, ledger=None):
        histories = [watch.collector.arrivals() for watch in self._watches]
        return judge(ledger if ledger is not None else self.feeder.ledger(), histories[0],
                     dead=histories[1] if len(histories) > 1 else (),
                     attempts=self.feeder.attempts(), faults=self.faults)

    def end(self):
        self.feeder.end()
        for watch in self._watches:
            watch.collector.end()
