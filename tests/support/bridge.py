# SPDX-License-Identifier: Apache-2.0
"""Starts, signals and watches the program under test."""

import json
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

from support.wait import Deadline, patience, until

ROOT = Path(__file__).resolve().parent.parent.parent


def processor_s(pid):
    """Processor time of a whole process so far, to the nanosecond."""
    return time.clock_gettime(~pid << 3 | 2)  # the kernel's encoding of a process's clock


def program():
    return os.environ.get("MBRIDGE_BIN") or str(ROOT / "build/release/bin/mbridge")


class Counters(dict):
    """The JSON line of the counters; counters[route][name], and sums over routes."""

    def total(self, name):
        return sum(route.get(name, 0) for route in self["routes"].values())

    def conserved(self):
        """received = delivered + dead-lettered + filtered + released + expired + in flight."""
        return all(route["received"] == sum(route.get(name, 0) for name in (
            "delivered", "dead_lettered", "filtered", "released", "expired", "in_flight"))
            for route in self["routes"].values())


class Run:
    """One process of the bridge. stdout and stderr are kept, and watched line by line."""

    def __init__(self, arguments, cwd=None, env=None):
        self.lines = []
        self.log = []
        self.started = time.monotonic()
        self._process = subprocess.Popen(
            arguments, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, errors="replace", env=env)
        self._readers = [threading.Thread(target=self._keep, args=pair, daemon=True)
                         for pair in ((self._process.stdout, self.lines),
                                      (self._process.stderr, self.log))]
        for reader in self._readers:
            reader.start()

    @staticmethod
    def _keep(stream, lines):
        for line in stream:
            lines.append(line.rstrip("\n"))

    @property
    def pid(self):
        return self._process.pid

    @property
    def running(self):
        return self._process.poll() is None

    @property
    def code(self):
        return self._process.poll()

    def signal(self, number):
        self._process.send_signal(number)

    def kill(self):
        """kill -9; returns when the kernel has buried it."""
        self._process.kill()
        self._process.wait(10)
        self._join()

    def terminate(self, seconds=20):
        """SIGTERM; the exit code."""
        self._process.terminate()
        return self.wait(seconds)

    def wait(self, seconds):
        try:
            self._process.wait(patience(seconds))
        except subprocess.TimeoutExpired:
            raise Deadline(f"still running after {seconds} s\n{self.tail()}") from None
        self._join()
        return self._process.returncode

    def _join(self):
        for reader in self._readers:
            reader.join(5)

    def tail(self, number=40):
        return "\n".join([f"-- exit {self.code}, last lines of the log:"] + self.log[-number:])

    def logged(self, *words, start=0):
        """The first line of the log (from line `start`) that holds all words, in any case."""
        for line in list(self.log)[start:]:
            folded = line.lower()
            if all(word.lower() in folded for word in words):
                return line
        return None

    def wait_logged(self, *words, seconds=15, start=0):
        return until(lambda: self.logged(*words, start=start), seconds,
                     f"a line of the log with {words}", detail=self.tail)

    def counters(self, seconds=5):
        """Ask with SIGUSR1; the parsed line."""
        known = len(self.lines)
        self.signal(signal.SIGUSR1)
        return until(lambda: self._parsed(known), seconds, "counters on stdout",
                     detail=self.tail)

    def last_counters(self):
        """The counters that were printed at the exit."""
        found = self._parsed(0)
        assert found, f"no counters on stdout\n{self.tail()}"
        return found

    def _parsed(self, start):
        for line in reversed(list(self.lines)[start:]):
            if line.startswith("{"):
                try:
                    return Counters(json.loads(line))
                except ValueError:
                    continue
        return None

    def _status_kib(self, name):
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1])
        raise AssertionError(f"no {name}: the process has ended")

    def rss_kib(self):
        return self._status_kib("VmRSS")

    def peak_rss_kib(self):
        return self._status_kib("VmHWM")

    def cpu_seconds(self):
        return processor_s(self.pid)


class Bridge:
    """A configuration and the process that runs it; restarted as often as a test likes."""

    def __init__(self, workdir, text, name="bridge", env=None):
        self.path = Path(workdir) / f"{name}.conf"
        self.runs = []
        self._name = name
        self._workdir = Path(workdir)
        self._env = {**os.environ, **(env or {})}
        self.write(text)

    def write(self, text):
        """Replace the configuration at once, so that no half of it is ever read."""
        scratch = self.path.with_suffix(".new")
        scratch.write_text(text)
        scratch.replace(self.path)

    @property
    def run(self):
        return self.runs[-1]

    def start(self, *options):
        self.runs.append(Run([program(), "run", *options, str(self.path)],
                             cwd=self._workdir, env=self._env))
        return self.run

    def ready(self, route=None, seconds=15):
        """Wait until SIGUSR1 is answered: before its handlers stand, a signal would kill."""
        until(lambda: self.run.log or not self.run.running, seconds, "a first line of the log",
              detail=self.run.tail)
        self.check()
        return self.run

    def check(self):
        assert self.run.running, f"the bridge ended\n{self.run.tail()}"

    def reload(self, text=None):
        if text is not None:
            self.write(text)
        self.run.signal(signal.SIGHUP)

    def end(self):
        for run in self.runs:
            if run.running:
                run.kill()
            log = self._workdir / f"{self._name}.{self.runs.index(run)}.log"
            log.write_text("\n".join(run.log + ["-- stdout"] + run.lines) + "\n")


def command(*arguments, seconds=60, cwd=None, env=None):
    """Run a command of the bridge to its end: (exit code, stdout, stderr)."""
    done = subprocess.run([program(), *map(str, arguments)], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, errors="replace", timeout=seconds,
                          cwd=cwd, env={**os.environ, **(env or {})})
    return done.returncode, done.stdout, done.stderr
