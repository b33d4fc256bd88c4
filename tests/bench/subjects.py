# SPDX-License-Identifier: Apache-2.0
"""What is measured against the raw halves: the bridge, and the core alone."""

import json
import os
import signal
import subprocess
import time
from collections import namedtuple
from pathlib import Path

from halves import RUN_MAX_S, Failed, build_dir
from support.bridge import Run, program
from support.config import config
from support.wait import until

HERE = Path(__file__).resolve().parent
SAMPLE_S = 0.004
SAMPLE_MAX_S = 0.25

# rate: messages a second; cpu_us: processor time a message; rss_mib: peak of the process
Moved = namedtuple("Moved", "rate cpu_us rss_mib seconds")
Sample = namedtuple("Sample", "at_s delivered cpu_s")


def route_text(places, source, sink, streams, ends=None, **route):
    """A configuration with one route between two streams. ends: the platforms, where they are not
    those of that name."""
    source, sink = ends or (places.by_name[source], places.by_name[sink])
    return config(f"bench{places.serial()}", {"a": source.endpoint, "b": sink.endpoint},
                  [{"name": "bench", "from": {"endpoint": "a", **source.source(streams[0])},
                    "to": {"endpoint": "b", **sink.sink(streams[1])}, **route}])


class Bridge:
    """A running bridge with a configuration."""

    def __init__(self, workdir, text):
        path = Path(workdir) / "bench.conf"
        path.write_text(text)
        self.run = Run([program(), "run", str(path)], cwd=workdir, env=os.environ)
        # Before its handlers stand, a signal would kill it.
        until(lambda: self.run.log or not self.run.running, 60, "a first line of the log",
              interval=0.002)

    def sample(self):
        """What is delivered and what it took so far, at one moment."""
        if not self.run.running:
            raise Failed(f"the bridge ended early\n{self.run.tail()}")
        known = len(self.run.lines)
        began = time.monotonic()
        self.run.signal(signal.SIGUSR1)
        counters = until(lambda: self.run._parsed(known), 60, "counters", interval=0.0005,
                         detail=self.run.tail)
        return Sample((began + time.monotonic()) / 2, counters.total("delivered"),
                      self.run.cpu_seconds())

    def stop(self):
        if self.run.terminate(60) != 0:
            raise Failed(f"the bridge ended with {self.run.code}\n{self.run.tail()}")
        return self.run.last_counters()

    def end(self):
        if self.run.running:
            self.run.kill()


def move(workdir, text, messages):
    """Moves `messages` with the configuration. Between the first and the last delivery, as the raw
    halves are measured between the first message and the last confirm."""
    bridge = Bridge(workdir, text)
    try:
        first, last = watch(bridge, messages)
        peak = bridge.run.peak_rss_kib() / 1024
        counters = bridge.stop()
        if counters.total("delivered") != messages or counters.total("duplicates") != 0:
            raise Failed(f"the bridge delivered {counters}")
    finally:
        bridge.end()
    seconds, number = last.at_s - first.at_s, last.delivered - first.delivered
    return Moved(number / seconds, (last.cpu_s - first.cpu_s) * 1e6 / number, peak, seconds)


def watch(bridge, messages):
    """The samples at the first and at the last delivery. They are taken often only near those, as
    each costs something too."""
    first = None
    end = time.monotonic() + RUN_MAX_S
    while time.monotonic() < end:
        sample = bridge.sample()
        if first is None and sample.delivered > 0:
            first = sample
        if sample.delivered >= messages:
            if sample.delivered == first.delivered:
                raise Failed("too few messages: all of them passed between two samples")
            return first, sample
        pause = SAMPLE_S
        if first is not None and sample.delivered > first.delivered:
            speed = (sample.delivered - first.delivered) / (sample.at_s - first.at_s)
            pause = max(pause, (messages - sample.delivered) / speed / 3)
        time.sleep(min(pause, SAMPLE_MAX_S))
    raise Failed(f"the bridge stands still\n{bridge.run.tail()}")


def core_time(messages=2_000_000, rounds=5):
    """ns of wall and processor time a message."""
    done = subprocess.run([build_dir() / "bench" / "core_bench", "time", str(messages),
                           str(rounds)], capture_output=True, text=True, timeout=RUN_MAX_S)
    if done.returncode != 0:
        raise Failed(f"core_bench: {done.stderr.strip()}")
    return json.loads(done.stdout)


def core_instructions(messages=200_000):
    done = subprocess.run([HERE / "core_instructions.sh", build_dir(), str(messages)],
                          capture_output=True, text=True, timeout=RUN_MAX_S)
    if done.returncode != 0:
        raise Failed(f"core_instructions.sh: {done.stderr.strip()}")
    return json.loads(done.stdout)
