# SPDX-License-Identifier: Apache-2.0
"""./dev soak: one process, four platforms in a ring of routes, a fault every minute; what it uses
must not grow. See docs/battery.md."""

import argparse
import os
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from battery.fleet import PLATFORMS, Fleet  # noqa: E402
from support.bridge import Bridge  # noqa: E402
from support.config import config  # noqa: E402
from support.pair import WINDOW, columns  # noqa: E402
from support.route import Route  # noqa: E402
from support.wire import KINDS, Wire  # noqa: E402

SAMPLE_S = 2
WARM_S = 300
SLOPE_KIB = 1024  # an hour
SPARE = 4  # descriptors and threads: connections come and go


def arguments(words):
    parser = argparse.ArgumentParser(prog="./dev soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--rate", type=int, default=100, help="messages a second into each route")
    parser.add_argument("--every", type=float, default=60, help="seconds from fault to fault")
    parser.add_argument("--warm", type=float, default=WARM_S,
                        help="seconds that do not count: pools fill, libraries settle")
    parser.add_argument("--seed", type=int)
    return parser.parse_args(words)


class Usage:
    """What a process uses, over time."""

    def __init__(self, pid):
        self._proc = Path(f"/proc/{pid}")
        self.samples = []  # (seconds, KiB, descriptors, threads)

    def sample(self, now):
        status = dict(line.split(":", 1) for line in
                      (self._proc / "status").read_text().splitlines())
        self.samples.append((now, int(status["VmRSS"].split()[0]),
                             len(os.listdir(self._proc / "fd")), int(status["Threads"])))

    def after(self, warm):
        return [sample for sample in self.samples if sample[0] >= warm]


def slope(points):
    """KiB an hour, by least squares."""
    count = len(points)
    mean_x = sum(x for x, _ in points) / count
    mean_y = sum(y for _, y in points) / count
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return 3600 * sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0


def lows(points, every=60):
    """The least of each minute: what is held when nothing is under way."""
    least = {}
    for at, value in points:
        minute = int(at // every)
        least[minute] = min(least.get(minute, value), value)
    return [(minute * every, value) for minute, value in sorted(least.items())]


class Ring:
    """A route from each platform to the next, all in one process, all through proxies."""

    def __init__(self, fleet, workdir, dice, rate):
        self._tag = f"{dice.randrange(1 << 32):08x}"
        self.proxies, self._endpoints, sides = {}, {}, {}
        for name in PLATFORMS:
            side, changed, proxy = fleet.proxied(name)
            sides[name], self.proxies[name] = side, proxy
            self._endpoints[name] = {**side.endpoint, **changed}
        self.routes = {
            (name, PLATFORMS[(at + 1) % len(PLATFORMS)]): None for at, name in enumerate(PLATFORMS)}
        members = []
        for source, sink in self.routes:
            folder = Path(workdir) / f"{source}-{sink}"
            folder.mkdir()
            route = Route(sides[source], sides[sink], self.fresh, folder, dice, rate=rate,
                          names={"from": f"{source}.out", "to": f"{source}.{sink}"})
            self.routes[source, sink] = route
            members.append({"name": f"{source}-{sink}",
                            "from": {"endpoint": source, **route.source.source(route.where)},
                            "to": {"endpoint": sink, **route.sink.sink(route.there)}})
        self.bridge = Bridge(workdir, config(self.fresh("soak"), self._endpoints, members))

    def fresh(self, name):
        return f"{name}.{self._tag}"

    def start(self):
        self.bridge.start()
        self.bridge.ready()
        for route in self.routes.values():
            route.feeder.start()

    def fault(self, name, kind, dice):
        for route in self.routes.values():
            route.stream.fault()
        if kind == "reload":
            self.bridge.reload()
        else:
            getattr(Wire(self.proxies[name], lambda: self._delivered(name), dice), kind)()
        return f"{kind} {name}"

    def _delivered(self, platform):
        """By the two routes that touch it."""
        self.bridge.check()
        counters = self.bridge.run.counters(15)
        return sum(counters["routes"]["-".join(names)]["delivered"] for names in self.routes
                   if platform in names)

    def end(self):
        for route in self.routes.values():
            route.end()
        self.bridge.end()


def soak(ring, options, dice, usage_of):
    began = time.monotonic()
    usage = usage_of(ring.bridge.run.pid)
    every = [(name, kind) for name in PLATFORMS for kind in (*KINDS, "reload")]
    dice.shuffle(every)
    first = list(every)
    at_fault = began
    while (now := time.monotonic()) < began + 60 * options.minutes:
        ring.bridge.check()
        usage.sample(now - began)
        if now >= at_fault:
            name, kind = first.pop() if first else dice.choice(every)
            print(f"{now - began:7.0f} s  {usage.samples[-1][1:]}  "
                  f"{ring.fault(name, kind, dice)}", flush=True)
            at_fault = now + (options.warm / len(every) if first else options.every)
        time.sleep(SAMPLE_S)
    return usage


def judge(ring):
    """The rows of the table, and what is wrong."""
    wrong = []
    for route in ring.routes.values():
        route.feeder.stop()
    for names, route in ring.routes.items():
        verdict = route.stream.finish(600, 120, poll=ring.bridge.check)
        print("-".join(names), columns(verdict), flush=True)
        wrong += [f"{'-'.join(names)}: {problem}" for problem in
                  verdict.problems(per_fault_max=2 * WINDOW)]
    code = ring.bridge.run.terminate(30)
    if code != 0:
        wrong.append(f"exit {code}: {ring.bridge.run.tail()}")
    elif not ring.bridge.run.last_counters().conserved():
        wrong.append(f"counters: {ring.bridge.run.last_counters()}")
    return wrong


def judge_usage(usage, warm):
    samples = usage.after(warm)
    if len(samples) < 10:
        return ["too short to judge what it uses"]
    held = [(at, kib) for at, kib, _, _ in samples]
    grown = slope(held)
    half = len(samples) // 2
    wrong = []
    print(f"RSS {min(s[1] for s in samples)} … {max(s[1] for s in samples)} KiB, "
          f"slope {grown:.0f} KiB an hour after {warm:.0f} s; "
          f"of the least in each minute {slope(lows(held)):.0f}")
    if grown >= SLOPE_KIB:
        wrong.append(f"RSS grows by {grown:.0f} KiB an hour")
    for what, column in (("descriptors", 2), ("threads", 3)):
        first, second = (max(sample[column] for sample in part)
                         for part in (samples[:half], samples[half:]))
        print(f"{what}: at most {first}, then {second}")
        if second > first + SPARE:
            wrong.append(f"{what} grow: {first}, then {second}")
    return wrong


def main(words):
    from conftest import Brokers
    options = arguments(words)
    seed = options.seed if options.seed is not None else random.randrange(1 << 30)
    dice = random.Random(f"soak/{seed}")
    print(f"seed {seed}, {options.minutes:g} minutes, {options.rate}/s into each of "
          f"{len(PLATFORMS)} routes, a fault every {options.every:g} s", flush=True)
    workdir = Path(tempfile.mkdtemp(prefix="mbridge-soak-"))
    (workdir / "brokers").mkdir()
    brokers = Brokers(workdir / "brokers")
    fleet, ring, wrong = Fleet(brokers, workdir), None, ["interrupted"]
    try:
        ring = Ring(fleet, workdir, dice, options.rate)
        ring.start()
        usage = soak(ring, options, dice, Usage)
        wrong = judge(ring) + judge_usage(usage, options.warm)
    finally:
        fleet.heal()
        if ring:
            ring.end()
        fleet.end()
        brokers.stop()
        if not wrong:
            shutil.rmtree(workdir, ignore_errors=True)
    for line in wrong:
        print(line)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
