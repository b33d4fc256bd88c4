# SPDX-License-Identifier: Apache-2.0
"""A route whose bridge is run again and again with a library preloaded that makes its calls fail.

Before each run some messages are put to the source; each run drains it, or says why it could not.
A last run is left alone: then every message that was put must have arrived."""

import json
import os
import subprocess
from pathlib import Path

from support import redis_side
from support.bridge import Counters, program
from support.config import config

# For a program that was built with them: a library stands before the allocator on purpose.
SANITIZERS = {"ASAN_OPTIONS": "verify_asan_link_order=0:detect_leaks=1:exitcode=99"}

MESSAGES = {
    "kafka": lambda body: {"key": b"k".hex(), "value": body.hex(), "headers": []},
    "amqp091": lambda body: {"routing_key": "k", "properties": {"delivery_mode": 2},
                             "headers": None, "body": body.hex()},
    "amqp10": lambda body: {"header": {"durable": ["boolean", True]},
                            "body": [["data", body.hex()]]},
    "redis": lambda body: {"fields": [[b"body".hex(), body.hex()]]},
}


def preload(name):
    """The library of tests/alloc that was built beside the program."""
    path = Path(program()).resolve().parent.parent / "tests" / name
    assert path.exists(), f"{path} is not built"
    return str(path)


class Harassed:
    def __init__(self, source, sink, redis, fresh, workdir, **route):
        self._source, self._redis, self._workdir = source, redis, Path(workdir)
        self._place = source.make(fresh("from"))
        arrived = sink.make(fresh("to"))
        self._collected = fresh("collected")
        self._put = 0
        self.report = self._workdir / "report"
        self.endings = {}
        endpoints = {"a": source.endpoint, "b": sink.endpoint,
                     "c": {"backend": "redis", "uri": redis.uri}}
        settings = {"drain_idle": "100ms", "drain_timeout": "5s", "stop_timeout": "5s"}
        self._conf = self._file("run", config(fresh("bridge"), endpoints, [
            {"name": "run", "from": {"endpoint": "a", **source.source(self._place)},
             "to": {"endpoint": "b", **sink.sink(arrived)},
             "retry": {"initial": "10ms", "max": "100ms"}, **route}], **settings))
        self._collector = self._file("collect", config(fresh("collector"), endpoints, [
            {"name": "collect", "from": {"endpoint": "b", **sink.source(arrived)},
             "to": {"endpoint": "c", "stream": self._collected}}],
            # It judges: a busy broker has time to hand out what it has.
            **{**settings, "drain_idle": "2s", "drain_timeout": "30s"}))

    def _file(self, name, text):
        path = self._workdir / f"{name}.conf"
        path.write_text(text)
        return path

    def put(self, number):
        self._source.put(self._place, [
            MESSAGES[self._source.platform](b"%d" % (self._put + n)) for n in range(number)])
        self._put += number

    def _run(self, conf, environment=None, **options):
        return subprocess.run([program(), "run", "--drain", str(conf)], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, errors="replace", timeout=60,
                              env={**os.environ, **(environment or {})}, **options)

    def run(self, **environment):
        """One run to its end: its log, the library's report. A crash or a hang fails the test."""
        self.report.unlink(missing_ok=True)
        done = self._run(self._conf, {**SANITIZERS, **environment,
                                      "MBRIDGE_FAIL_REPORT": str(self.report)})
        what = f"{environment}: exit status {done.returncode}\n{done.stderr[-4000:]}"
        assert done.returncode in (0, 1, 2), what
        assert "runtime error:" not in done.stderr, what
        said = [line for line in done.stderr.splitlines() if line and "level=info" not in line]
        assert done.returncode == 0 or said, f"nothing is said: {what}"
        assert "do not account" not in done.stderr, what
        for line in done.stdout.splitlines():
            assert Counters(json.loads(line)).conserved(), what
        self.endings[done.returncode] = self.endings.get(done.returncode, 0) + 1
        return done.stderr, self.report.read_text() if self.report.exists() else ""

    def arrived(self):
        """A run that is left alone, and what has arrived in all: (number put, {body: times})."""
        for conf in (self._conf, self._collector):
            done = self._run(conf)
            assert done.returncode == 0, done.stderr[-4000:]
        with redis_side.client(self._redis.uri) as server:
            entries = server.xrange(self._collected)
        found = {}
        for _, fields in entries:
            found[fields[b"body"]] = found.get(fields[b"body"], 0) + 1
        return self._put, found

    def assert_kept(self):
        """Nothing is missing, nothing was made up; how many came more than once."""
        put, found = self.arrived()
        wanted = {b"%d" % n for n in range(put)}
        assert wanted - set(found) == set(), f"lost: {sorted(wanted - set(found))[:20]}"
        assert set(found) - wanted == set(), "messages that nobody sent"
        return sum(found.values()) - put
