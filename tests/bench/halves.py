# SPDX-License-Identifier: Apache-2.0
"""The raw halves: plain C programs that do one side of a bridge's work and nothing else."""

import json
import subprocess
import tempfile
import threading
from collections import namedtuple
from pathlib import Path

from support.bridge import program

RUN_MAX_S = 300

# rate: messages a second; cpu_us: processor time a message, both from the first message to the last
# confirm; seconds of it; ages_us: quantiles of how old messages were, where they were stamped
Result = namedtuple("Result", "rate cpu_us seconds ages_us", defaults=(None,))


class Failed(Exception):
    """A subject did not do its work: there is no figure."""


def build_dir():
    return Path(program()).resolve().parent.parent


class Half:
    """A running one."""

    def __init__(self, call, load, **more):
        path = build_dir() / "bench" / call.program
        if not path.exists():
            raise Failed(f"{path} is not built (target bench_programs), or lacks its library")
        self.name = f"{call.program} {call.verb}"
        words = [path, call.verb, call.address, call.stream, load.count, load.size,
                 f"headers={load.headers}", *call.options,
                 *(f"{name}={value}" for name, value in more.items())]
        # What is wrong goes to a file: nobody has to read it meanwhile.
        self._errors = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen([str(word) for word in words], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=self._errors, text=True)
        self._timer = threading.Timer(RUN_MAX_S, self.process.kill)
        self._timer.daemon = True
        self._timer.start()

    def ready(self):
        """A half that writes is connected; one that reads has its first message."""
        if self.process.stdout.readline() != "ready\n":
            self._fail()
        return self

    def begin(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def result(self):
        out = self.process.stdout.read()
        if self.process.wait() != 0:
            self._fail()
        self._timer.cancel()
        line = json.loads(out)
        return Result(line["messages"] / line["seconds"], line["cpu_us"] / line["messages"],
                      line["seconds"], line.get("ages_us"))

    def end(self):
        self._timer.cancel()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self._errors):
            pipe.close()

    def _fail(self):
        self.process.kill()
        code = self.process.wait()
        self._errors.seek(0)
        raise Failed(f"{self.name}: {self._errors.read().strip() or f'ended with {code}'}")


def run(call, load, **more):
    """One alone."""
    half = Half(call, load, **more)
    try:
        half.ready()
        if call.verb in ("produce", "publish", "send", "add"):
            half.begin()
        return half.result()
    finally:
        half.end()


def run_both(source, sink, load, written, **more):
    """Both at the same time: the one that writes (`written`) begins when the other has its first
    message."""
    halves = []
    try:
        halves.append(Half(sink, written, **more))
        halves[0].ready()
        halves.append(Half(source, load, **more))
        halves[1].ready()
        halves[0].begin()
        return halves[1].result(), halves[0].result()
    finally:
        for half in halves:
            half.end()
