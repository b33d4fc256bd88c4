# SPDX-License-Identifier: Apache-2.0
"""What is measured: the raw programs, the bridge, and the core alone."""

import json
import os
import subprocess
import time
from collections import namedtuple
from pathlib import Path

from support.bridge import Run, program
from support.clients import queue_depth
from support.wait import until

HERE = Path(__file__).resolve().parent
SAMPLE_S = 0.025
RUN_MAX_S = 600

# rate: messages a second; cpu_us: processor time a message; rss_mib: peak, of the bridge only
Result = namedtuple("Result", "rate cpu_us rss_mib", defaults=(None,))


class Failed(Exception):
    """A subject did not do its work: there is no figure."""


def build_dir():
    return Path(program()).resolve().parent.parent


def raw(name, *arguments):
    """One run of a raw half."""
    path = build_dir() / "bench" / name
    if not path.exists():
        raise Failed(f"{path} is not built: its client library is missing")
    done = subprocess.run([path, *map(str, arguments)], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=RUN_MAX_S)
    if done.returncode != 0:
        raise Failed(f"{name} {arguments[0]}: {done.stderr.strip()}")
    line = json.loads(done.stdout)
    return Result(line["messages"] / line["seconds"], line["cpu_us"] / line["messages"])


def processor_s(pid):
    """Processor time of a whole process so far, to the nanosecond."""
    return time.clock_gettime(~pid << 3 | 2)  # the kernel's encoding of a process's clock


def bridge(workdir, text, messages):
    """Moves `messages` with the configuration and returns the Result.

    The rate is taken between the first and the last counters that show a delivery; processor
    time includes the start of the process, as that of the raw halves does.
    """
    path = Path(workdir) / "bench.conf"
    path.write_text(text)
    run = Run([program(), "run", str(path)], cwd=workdir, env=os.environ)
    try:
        until(lambda: run.log or not run.running, 30, "a first line of the log")
        samples = sample(run, messages)
        cpu_s, peak = processor_s(run.pid), run.peak_rss_kib() / 1024
        if run.terminate(60) != 0:
            raise Failed(f"the bridge ended with {run.code}\n{run.tail()}")
        last = run.last_counters()
        if last.total("delivered") != messages or last.total("duplicates") != 0:
            raise Failed(f"the bridge delivered {last}")
    finally:
        if run.running:
            run.kill()
    (began, first), (ended, total) = samples
    return Result((total - first) / (ended - began), cpu_s * 1e6 / messages, peak)


def sample(run, messages):
    """(time, delivered) of the first and of the last sample that count."""
    first = None
    end = time.monotonic() + RUN_MAX_S
    while time.monotonic() < end:
        if not run.running:
            raise Failed(f"the bridge ended early\n{run.tail()}")
        delivered = run.counters(seconds=30).total("delivered")
        now = time.monotonic()
        if first is None and delivered > 0:
            first = (now, delivered)
        if delivered >= messages:
            if first[1] == delivered:
                raise Failed("too few messages: all of them passed between two samples")
            return first, (now, delivered)
        time.sleep(SAMPLE_S)
    raise Failed(f"the bridge stands still\n{run.tail()}")


def in_queue(uri, queue, messages):
    if (depth := queue_depth(uri, queue)) != messages:
        raise Failed(f"{depth} of {messages} messages in the queue")


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
