# SPDX-License-Identifier: Apache-2.0
"""Signals of `run` and `copy`, and what of a URL others can see: signals.py MBRIDGE."""

import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

GOOD = """bridge = { name = "t"; };
endpoints = { m = { backend = "memory"; }; };
routes = ( { name = "first"; from = { endpoint = "m"; generate = { count = 1000000; rate = 1000; }; };
             to = { endpoint = "m"; stream = "out"; }; }%s );
"""
MORE = """, { name = "second"; from = { endpoint = "m"; stream = "out"; kind = "queue"; };
             to = { endpoint = "m"; stream = "more"; }; }"""


class Process:
    def __init__(self, *arguments):
        self._process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, text=True,
                                         stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.pid = self._process.pid
        self.signal = self._process.send_signal
        self._seen = {self._process.stdout: "", self._process.stderr: ""}
        self._selector = selectors.DefaultSelector()
        for stream in self._seen:
            os.set_blocking(stream.fileno(), False)
            self._selector.register(stream, selectors.EVENT_READ)

    @property
    def out(self):
        return self._seen[self._process.stdout]

    @property
    def log(self):
        return self._seen[self._process.stderr]

    def until(self, condition, what):
        deadline = time.monotonic() + 20
        while not condition():
            left = deadline - time.monotonic()
            assert left > 0, f"not in time: {what}\n{self.out}\n{self.log}"
            for key, _ in self._selector.select(min(left, 0.5)):
                text = key.fileobj.read()
                if text:
                    self._seen[key.fileobj] += text
                else:
                    self._selector.unregister(key.fileobj)
            if not self._selector.get_map():
                break
        assert condition(), f"ended before: {what}\n{self.out}\n{self.log}"

    def end(self):
        self.until(lambda: not self._selector.get_map(), "the end of its output")
        return self._process.wait(20)


def counters(process):
    lines = process.out.count("\n")
    process.signal(signal.SIGUSR1)
    process.until(lambda: process.out.count("\n") > lines, "counters")
    return json.loads(process.out.splitlines()[-1])


def check_run(program, folder):
    path = folder / "t.conf"
    path.write_text(GOOD % "")
    bridge = Process(program, "run", path)
    bridge.until(lambda: "connected" in bridge.log, "connected")
    assert set(counters(bridge)["routes"]) == {"first"}
    path.write_text(GOOD % MORE)
    bridge.signal(signal.SIGHUP)
    bridge.until(lambda: "configuration reloaded" in bridge.log, "a reload")
    assert set(counters(bridge)["routes"]) == {"first", "second"}
    path.write_text(GOOD.replace("stream", "streem") % "")
    bridge.signal(signal.SIGHUP)
    bridge.until(lambda: "not reloaded" in bridge.log, "a refused reload")
    assert 'unknown key' in bridge.log and "line=4" in bridge.log, bridge.log
    assert set(counters(bridge)["routes"]) == {"first", "second"}
    bridge.until(lambda: counters(bridge)["routes"]["first"]["delivered"] > 0, "a message")
    bridge.signal(signal.SIGTERM)
    assert bridge.end() == 0, bridge.log
    last = json.loads(bridge.out.splitlines()[-1])
    assert last["routes"]["first"]["delivered"] > 0


def check_copy(program):
    copy = Process(program, "copy", "--follow", "memory://secretuser:hunter2@a/x?generate.count=1",
                   "memory://b/y")
    assert copy.end() == 2 and "hunter2" not in copy.log, copy.log
    copy = Process(program, "copy", "--follow",
                   "memory://a/x?generate.count=1000000&generate.rate=100", "memory://b/y")
    copy.until(lambda: "connected" in copy.log, "connected")
    copy.signal(signal.SIGINT)
    assert copy.end() == 0, copy.log
    assert "messages/s" in copy.out


def main():
    with tempfile.TemporaryDirectory() as folder:
        check_run(sys.argv[1], Path(folder))
    check_copy(sys.argv[1])


if __name__ == "__main__":
    main()
