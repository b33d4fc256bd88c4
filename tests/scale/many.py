# SPDX-License-Identifier: Apache-2.0
"""Many routes in one process: what they take, as the kernel counts it."""

import os
import resource
import time
from pathlib import Path

from support.bridge import Bridge
from support.config import config
from support.wait import until

HZ = os.sysconf("SC_CLK_TCK")


def raise_files():
    """Many connections need many descriptors, here and in what is started from here."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return soft


def status(pid):
    """{name: value} of /proc/PID/status."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def rss_mib(pid):
    return int(status(pid)["VmRSS"].split()[0]) / 1024


def peak_mib(pid):
    return int(status(pid)["VmHWM"].split()[0]) / 1024


def threads(pid):
    return int(status(pid)["Threads"])


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def cpu_s(pid):
    """Processor time of all threads so far."""
    return time.clock_gettime(~pid << 3 | 2)


def wakeups(pid):
    """How often threads of the process went to sleep and were woken."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        for line in (task / "status").read_text().splitlines():
            if line.startswith("voluntary_ctxt_switches"):
                total += int(line.split()[1])
    return total


class Many:
    """A bridge with `number` routes; route(n) gives the members of the nth."""

    def __init__(self, workdir, endpoints, number, route, **bridge):
        self._endpoints, self._route, self._settings = endpoints, route, bridge
        self.number = number
        self.bridge = Bridge(workdir, self.text())
        self.started = None

    def text(self, changed=(), **change):
        """The configuration; routes whose number is in `changed` get the members of `change`."""
        routes = [{"name": f"r{n}", **self._route(n), **(change if n in changed else {})}
                  for n in range(self.number)]
        return config("many", self._endpoints, routes, **self._settings)

    @property
    def pid(self):
        return self.bridge.run.pid

    def connected(self, role):
        """How many lines of the log say that a port is connected."""
        return sum(1 for line in list(self.bridge.run.log)
                   if "msg=connected" in line and f"role={role}" in line)

    def start(self, seconds=120):
        """Returns how long it takes until all sources are open."""
        began = time.monotonic()
        self.bridge.start()
        until(lambda: self.connected("source") >= self.number, seconds,
              f"{self.number} sources open", detail=self.bridge.run.tail)
        self.started = time.monotonic() - began
        return self.started

    def delivered(self):
        return self.bridge.run.counters(seconds=60)

    def wait_delivered(self, total, seconds=120):
        return until(lambda: self.delivered().total("delivered") >= total, seconds,
                     f"{total} messages delivered", 0.1, self.bridge.run.tail)

    def idle(self, seconds=3):
        """Processor time and wakeups a second while nothing is to be done."""
        self._let_settle()
        began, cpu, woken = time.monotonic(), cpu_s(self.pid), wakeups(self.pid)
        time.sleep(seconds)  # what is measured is this time
        gone = time.monotonic() - began
        return (cpu_s(self.pid) - cpu) / gone, (wakeups(self.pid) - woken) / gone

    def _let_settle(self):
        """Until a second costs less than twice the one before."""
        last = None
        for _ in range(20):
            cpu = cpu_s(self.pid)
            time.sleep(0.5)
            spent = cpu_s(self.pid) - cpu
            if last is not None and spent <= last * 1.2 + 0.002:
                return
            last = spent

    def reload(self, changed, seconds=60, **change):
        """How long it takes until the changed routes run again; the others are not touched."""
        known = self.connected("source")
        began = time.monotonic()
        self.bridge.reload(self.text(changed, **change))
        until(lambda: self.connected("source") >= known + len(changed), seconds,
              f"{len(changed)} routes started anew", 0.005, self.bridge.run.tail)
        return time.monotonic() - began

    def stop(self, seconds=60):
        began = time.monotonic()
        assert self.bridge.run.terminate(seconds) == 0, self.bridge.run.tail()
        return time.monotonic() - began

    def measure(self):
        """The figures of a bridge that runs, as columns of a table."""
        cpu, woken = self.idle()
        return {"routes": self.number, "start s": round(self.started, 2),
                "RSS MiB": round(rss_mib(self.pid), 1), "threads": threads(self.pid),
                "fds": descriptors(self.pid), "idle CPU %": round(cpu * 100, 2),
                "wakeups/s": round(woken, 1)}

    def end(self):
        self.bridge.end()
