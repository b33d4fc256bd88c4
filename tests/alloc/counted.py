# SPDX-License-Identifier: Apache-2.0
"""Counts what a running bridge allocates between two moments, by place (count_alloc.c)."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

from support.bridge import Run
from support.wait import until

# One for 500 messages: less often than once a batch. What is below it is a window that still grows,
# by the load of the machine.
PER_MESSAGE_MAX = 0.002


def function(place):
    """The name of the function that a place is in, as far as the object tells."""
    path, offset = place.rsplit("+", 1)
    if not shutil.which("addr2line") or not Path(path).exists():
        return "?"
    done = subprocess.run(["addr2line", "-f", "-s", "-e", path, hex(int(offset, 16) - 1)],
                          capture_output=True, text=True, timeout=60)
    name, line = (done.stdout.splitlines() + ["?", "?"])[:2]
    return name if line.startswith("?") else f"{name} ({line})"


class Tally:
    """What was allocated while so many messages were delivered."""

    def __init__(self, messages, before, after):
        self.messages = messages
        grown = {key: count - before.get(key, 0) for key, count in after.items()}
        self._grown = {key: count for key, count in grown.items() if count > 0}

    def a_message(self, kind):
        return sum(count for (what, _), count in self._grown.items()
                   if what == kind) / self.messages

    def text(self, program):
        lines = [f"{self.messages} messages"]
        for (kind, place), count in sorted(self._grown.items(), key=lambda item: -item[1]):
            path, offset = place.rsplit("+", 1)
            path = str(program) if path == "program" else path
            where = f"{Path(path).name}"
            if kind == "own":
                where += f"+{offset} {function(f'{path}+{offset}')}"
            lines.append(f"{count:9} {count / self.messages:9.4f} a message  {kind:7} {where}")
        return "\n".join(lines)


class Counted:
    """A bridge that runs under the counting library."""

    def __init__(self, program, library, text, workdir):
        self.program, self._workdir = program, Path(workdir)
        self._report = self._workdir / "allocations"
        conf = self._workdir / "counted.conf"
        conf.write_text(text)
        self.run = Run([str(program), "run", str(conf)], cwd=self._workdir, env={
            **os.environ, "LD_PRELOAD": str(library), "MBRIDGE_COUNT_REPORT": str(self._report),
            # Ours stands before the sanitizer's allocator on purpose.
            "ASAN_OPTIONS": "verify_asan_link_order=0:detect_leaks=1:exitcode=99"})

    def delivered(self):
        return self.run.counters(seconds=30).total("delivered")

    def wait_delivered(self, wanted, seconds=60):
        until(lambda: self.run.log or not self.run.running, seconds, "a first line of the log")
        more = until(lambda: max(self.delivered() - wanted + 1, 0), seconds,
                     f"{wanted} messages delivered", interval=0.01, detail=self.run.tail)
        return more + wanted - 1

    def places(self):
        """{(own or library, place): count} since the start."""
        self._report.unlink(missing_ok=True)
        self.run.signal(signal.SIGUSR2)
        until(self._report.exists, 10, "the report of allocations", 0.002, self.run.tail)
        found = {}
        for line in self._report.read_text().splitlines():
            count, kind, place = line.split(" ", 2)
            found[(kind, place)] = int(count)
        return found

    def tally(self, warm, messages):
        """Counts from the moment that `warm` were delivered until `messages` more were."""
        self.wait_delivered(warm)
        before = self.places()
        first = self.delivered()
        last = self.wait_delivered(first + messages)
        return Tally(last - first, before, self.places())

    def end(self):
        if self.run.running:
            self.run.kill()


def check(tally, program):
    """Prints the places; fails where a message has to pay for an allocation of the bridge."""
    text = tally.text(program)
    print(text, flush=True)
    assert tally.a_message("own") <= PER_MESSAGE_MAX, f"allocations of the bridge\n{text}"
