# SPDX-License-Identifier: Apache-2.0
"""One broker far away: the same pairs with the source's, or the sink's, behind a long path.

Where the kernel has netem, and we may use it, the path is a pair of devices into a network namespace
with delay and loss, and TCP has to live with both. Else it is a proxy that passes all on later: a
delay without a limit of the rate, and without loss, which no proxy can make honestly.

The raw halves have the same path. They keep 10,000 messages unconfirmed or unacknowledged, as many
as the bridge's window has by default, and Kafka's fetches are the client library's own.
"""

import subprocess
import sys

import halves
import latency
import throughput
import subjects

WINDOW = 10_000
NAMESPACE = "mbridge-bench"
DEVICES = ("mbbench0", "mbbench1")
HERE, THERE = "10.213.7.1", "10.213.7.2"
COUNT_MAX = 200_000


def command(*words):
    return subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL)


class Netem:
    """Two devices, one of them in a namespace, with half of the delay and all the loss each."""

    host, namespace, delay_us = THERE, NAMESPACE, 0

    def __init__(self, options):
        there = ("ip", "netns", "exec", NAMESPACE)
        netem = ("netem", "delay", f"{options.rtt / 2}ms", "loss", f"{options.loss}%", "limit",
                 "200000")
        steps = (("ip", "netns", "add", NAMESPACE),
                 ("ip", "link", "add", DEVICES[0], "type", "veth", "peer", "name", DEVICES[1],
                  "netns", NAMESPACE),
                 ("ip", "addr", "add", f"{HERE}/30", "dev", DEVICES[0]),
                 ("ip", "link", "set", DEVICES[0], "up"),
                 (*there, "ip", "addr", "add", f"{THERE}/30", "dev", DEVICES[1]),
                 (*there, "ip", "link", "set", DEVICES[1], "up"),
                 ("tc", "qdisc", "add", "dev", DEVICES[0], "root", *netem),
                 (*there, "tc", "qdisc", "add", "dev", DEVICES[1], "root", *netem))
        self.what = f"{options.rtt:g} ms round trip and {options.loss:g} % loss each way, by netem"
        for step in steps:
            try:
                done = command(*step)
            except FileNotFoundError as error:
                raise OSError(f"{error.filename} is missing") from None
            if done.returncode != 0:
                self.end()
                raise OSError(f"{step[0]}: {done.stderr.strip()}")

    def end(self):
        command("ip", "netns", "del", NAMESPACE)  # and its devices with it


class Proxies:
    """Without loss."""

    host, namespace = "127.0.0.1", None

    def __init__(self, options, why):
        self.delay_us = int(options.rtt * 500)
        self.what = (f"{options.rtt:g} ms round trip by a proxy that delays, without loss "
                     f"(no netem: {why})")

    def end(self):
        pass


def make_path(options):
    try:
        return Netem(options)
    except OSError as error:
        return Proxies(options, error)


class Far:
    """A platform whose broker is at the other end of the path."""

    def __init__(self, near, path):
        self._near = near
        self.name, self.keeps = near.name, near.keeps
        behind, self.port = near.far_port(path.host)
        self.address = f"{path.host}:{self.port}"
        program = halves.build_dir() / "bench" / "delay"
        if not program.exists():
            raise halves.Failed(f"{program} is not built (target bench_programs)")
        self._process = subprocess.Popen(
            [program, str(path.delay_us), self.address, f"127.0.0.1:{behind}",
             *([path.namespace] if path.namespace else [])],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        if self._process.stdout.readline() != "ready\n":
            raise halves.Failed("the proxy did not start")

    def read(self, place):
        return self._moved(self._near.read(place))

    def write(self, place):
        return self._moved(self._near.write(place))

    def _moved(self, call):
        login, at, _ = call.address.rpartition("@")
        return call._replace(address=login + at + self.address)

    @property
    def endpoint(self):
        here, there = self._near.broker.address, self.address
        return {name: value.replace(here, there) if isinstance(value, str) else value
                for name, value in self._near.endpoint.items()}

    def __getattr__(self, name):
        return getattr(self._near, name)

    def end(self):
        self._process.kill()
        self._process.wait()


def measure_one(places, cell, end, far, options):
    name = cell.source if end == "source" else cell.sink
    source, sink = places.by_name[cell.source], places.by_name[cell.sink]
    source, sink = (far[name], sink) if end == "source" else (source, far[name])
    result = throughput.Results(cell)
    for _ in range(options.rounds):
        both = throughput.measure_halves(places, cell, (source, sink), window=WINDOW)
        full, target = places.filled(cell.source, cell.load), places.new(cell.sink, "target")
        text = subjects.route_text(places, cell.source, cell.sink, (full, target),
                                   (source, sink), **cell.route)
        moved = subjects.move(places.workdir, text, cell.load.count)
        places.read(cell.source, full, cell.load)
        places.by_name[cell.sink].drop(target, cell.load)
        result.add(*both, moved)
    row = result.summary()
    if options.latency:
        row["latency"] = latency.Path(places, cell, (source, sink)).measure(options)
    return row


def measure(places, cells, options, report):
    rows, failures = [], []
    path = make_path(options)
    report["path"] = path.what
    print(f"  {path.what}", file=sys.stderr)
    far = {}
    try:
        for name, near in places.by_name.items():
            far[name] = Far(near, path)
        for cell in cells:
            load = cell.load._replace(count=min(cell.load.count, COUNT_MAX))
            for end in ("source", "sink"):
                here = cell._replace(load=load, variant=f"{end} far")
                name = f"{cell.source} → {cell.sink}, {end} far"
                try:
                    rows.append(measure_one(places, here, end, far, options))
                except Exception as error:  # the others are measured all the same
                    failures.append({"what": f"distance, {name}", "why": str(error)})
                    print(f"  {name:34} failed: {error}", file=sys.stderr, flush=True)
                    continue
                print(f"  {name:34} {rows[-1]['ratio']:5.2f} of the raw half", file=sys.stderr,
                      flush=True)
    finally:
        for one in far.values():
            one.end()
        path.end()
    return rows, failures
