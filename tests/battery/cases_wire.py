# SPDX-License-Identifier: Apache-2.0
"""F5, F6, F7: what happens on the wire between the bridge and one of the brokers."""

import time

from battery.trial import Case, delivered_of
from support.pair import WINDOW
from support.route import stop_and_judge
from support.wait import until
from support.wire import KINDS, RECOVER_S, Wire

RATE = 1200
SESSION_MESSAGES = 150
READS_S = 1.5  # a collector writes down at once what it has read at once
QUICK = {"amqp10": {"heartbeat": "1s"}, "amqp091": {"heartbeat": "1s"}, "redis": {"timeout": "1s"}}


class Proxied:
    """A route with a proxy at one end. quick: by platform, how soon it is noticed there that nothing
    comes. env: of the bridge."""

    def __init__(self, trial, end, rate=RATE, quick=QUICK, env=None, **route):
        fleet, (source, sink) = trial.fleet, trial.pair
        # The other end of the same platform is the same broker, without the proxy.
        through, endpoint, self.proxy = fleet.proxied(source if end == "source" else sink)
        same = source == sink
        other = through if same else fleet.side(sink if end == "source" else source)
        ends = (through, other) if end == "source" else (other, through)
        changed = {**quick.get(through.platform, {}), **endpoint}
        self.route = trial.route(*ends, rate=rate,
                                        endpoints={"a" if end == "source" else "b": changed},
                                        **route)
        self.bridge = trial.bridge(self.route, env=env)
        self.delivered = delivered_of(self.bridge, 20)
        self.route.feeder.start()
        self.bridge.start()
        self.bridge.ready()

    def moves_by(self, number, what):
        wanted = self.delivered() + number
        until(lambda: self.delivered() >= wanted, RECOVER_S, what, interval=0.05,
              detail=self.bridge.run.tail)

    def judge(self, trial, **limits):
        self.proxy.heal()
        self.moves_by(300, "recovery at the end")
        trial.kept(stop_and_judge(self.route, self.bridge), **limits)


def kinds_of(trial):
    """Each kind once, then by chance; of few rounds a chance selection."""
    kinds = list(KINDS)
    trial.dice.shuffle(kinds)
    kinds = kinds[:trial.rounds]
    while len(kinds) < trial.rounds:
        kinds.append(trial.dice.choice(KINDS))
    trial.dice.shuffle(kinds)
    return kinds


def wire_faults(end):
    def play(trial):
        proxied = Proxied(trial, end)
        wire = Wire(proxied.proxy, proxied.delivered, trial.dice)
        kinds = kinds_of(trial)
        trial.row["kinds"] = kinds
        for number, kind in enumerate(kinds):
            before = kinds[number - 1] if number else "nothing"
            proxied.moves_by(trial.dice.randrange(100, 1000), f"recovery after {before}")
            proxied.route.stream.fault()
            getattr(wire, kind)()
        # A healed stutter may end what it held up, too: that is a second fault.
        proxied.judge(trial, per_fault_max=2 * WINDOW)
    return play


def cut_sweep(end):
    """The connections end behind byte n, 2n, 3n … of a session that begins anew each time; in turn
    of what goes to the broker and of what comes from it."""
    def play(trial):
        proxied = Proxied(trial, end, rate=600, retry={"initial": "10ms", "max": "50ms"})
        proxied.moves_by(100, "messages move")
        proxy, route = proxied.proxy, proxied.route
        proxy.cut_after("up", 1 << 40)
        proxy.reset()
        proxied.moves_by(SESSION_MESSAGES, "a whole session")
        length = dict(proxy.bytes)
        trial.row["session"] = length
        cuts = [(way, number) for way in ("up", "down")
                for number in range(1 + trial.dice.randrange(stride_of(length[way], trial.rounds)),
                                    length[way], stride_of(length[way], trial.rounds))]
        for way, number in cuts:
            route.stream.fault()
            proxy.reset()
            proxy.cut_after(way, number)
            until(lambda: proxy.has_cut, RECOVER_S, f"the cut behind byte {number} {way}",
                  interval=0.005, detail=proxied.bridge.run.tail)
            proxied.bridge.check()
        trial.row["rounds"] = len(cuts)
        proxied.judge(trial, per_fault_max=2 * WINDOW)
    return play


def stride_of(length, rounds):
    return max(1, 2 * length // max(1, rounds))


def _read_up(proxied):
    """Until nothing more arrives and the collector has read what the bridge has delivered: so what
    arrives from here on belongs to the fault that comes now."""
    stream, last = proxied.route.stream, [-1, 0.0]

    def stands():
        if stream.read != last[0]:
            last[:] = stream.read, time.monotonic()
        return time.monotonic() - last[1] > READS_S and last[0] >= proxied.delivered()
    until(stands, RECOVER_S, "all read that was delivered", detail=proxied.bridge.run.tail)


def answers_lost(end):
    """At the sink its confirms are lost, at the source our acknowledgements; then, when all that
    goes without them has gone, the connection."""
    way = "up" if end == "source" else "down"

    def play(trial):
        proxied = Proxied(trial, end, quick={})
        for _ in range(trial.rounds):
            proxied.moves_by(trial.dice.randrange(100, 1000), "messages move")
            proxied.proxy.dropping.add(way)
            _read_up(proxied)
            proxied.route.stream.fault()
            proxied.proxy.reset()
            proxied.proxy.heal()
        proxied.judge(trial)
    return play


CASES = (
    *(Case("F5", end, f"faults on the wire to the {end}", wire_faults(end), 16, 2, extra=True)
      for end in ("source", "sink")),
    *(Case("F6", end, f"cut behind each n-th byte of a session with the {end}", cut_sweep(end),
           100, 4) for end in ("source", "sink")),
    Case("F7", "source", "our acknowledgements are lost", answers_lost("source"), 20, 2),
    Case("F7", "sink", "the sink's confirms are lost", answers_lost("sink"), 20, 2),
)
