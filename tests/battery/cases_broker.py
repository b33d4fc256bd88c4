# SPDX-License-Identifier: Apache-2.0
"""F3, F4, F10: what happens to the brokers. Both ends have brokers of their own."""

from battery.fleet import LIMITS
from battery.trial import OTHER_VARIANT, Case, delivered_of
from brokers import BrokerError
from support.pair import WINDOW
from support.route import STALL_S, stop_and_judge, wait_arrived
from support.wait import settled, until

RECOVER_S = 90
FROZEN_S = 60
RATE = 1200
# Where the collector takes messages away: what it has taken and not acknowledged for good would
# come again with the broker, and count as the bridge's. It starts when the brokers are well.
TAKEN_AWAY = ("amqp091", "amqp10")
# How soon a silent broker is noticed, where that can be chosen.
QUICK = {"amqp091": {"heartbeat": "1s"}, "amqp10": {"heartbeat": "1s"},
         "redis": {"timeout": "1s"}, "kafka": {"properties": ("socket.timeout.ms=5000",)}}


class Journey:
    """A route on two brokers, with the one of them that the fault is for."""

    def __init__(self, trial, end, quick=False):
        source, sink = trial.fleet.pair(trial.pair, apart=True)
        self.live = end == "source" or sink.platform not in TAKEN_AWAY
        endpoints = {"a": QUICK[source.platform], "b": QUICK[sink.platform]} if quick else None
        self.route = trial.route(source, sink, rate=RATE, live=self.live, endpoints=endpoints)
        self.broker = (source if end == "source" else sink).broker
        self.bridge = trial.bridge(self.route)
        self.route.feeder.start()
        self.bridge.start()
        self.bridge.ready()
        self.delivered = delivered_of(self.bridge)
        for side in (source, sink):
            if side.name.startswith("rabbitmq"):
                make_durable(side.broker)

    def moves_by(self, number):
        wanted = self.delivered() + number
        until(lambda: self.delivered() >= wanted, RECOVER_S, f"{number} more delivered",
              interval=0.05, detail=self.bridge.run.tail)

    def takes_again(self):
        """A broker that stands still while a member of its group waits to be let in is noticed by
        nobody: a join may take minutes."""
        known = self.bridge.run.counters(15).total("received")
        until(lambda: self.bridge.run.counters(15).total("received") > known, RECOVER_S,
              "the source hands out again", interval=0.1, detail=self.bridge.run.tail)

    def limits(self, faults, windows=1):
        """Arrivals that are collected later tell no fault from another."""
        return ({"so_far_max": windows * WINDOW} if self.live
                else {"duplicates_max": faults * windows * WINDOW})


def make_durable(broker):
    """RabbitMQ confirms a declaration before it is on disk: a queue that is younger than two
    seconds may be gone after kill -9, with all that was confirmed into it."""
    try:
        broker.ctl("eval", "mnesia:sync_log().")
    except BrokerError:
        pass  # its tables are elsewhere, and written at once


def broker_killed(end):
    def play(trial):
        journey = Journey(trial, end)
        for _ in range(trial.rounds):
            journey.moves_by(trial.dice.randrange(100, 1200))
            journey.route.stream.fault()
            journey.broker.kill()
            assert journey.bridge.run.running, journey.bridge.run.tail()
            journey.broker.restart_after_kill()
        journey.moves_by(500)
        verdict = stop_and_judge(journey.route, journey.bridge)
        trial.kept(verdict, **journey.limits(trial.rounds))
    return play


def broker_frozen(end):
    """SIGSTOP: connections stay open and nothing answers, until the bridge has noticed."""
    def play(trial):
        journey = Journey(trial, end, quick=True)
        for _ in range(trial.rounds):
            journey.moves_by(trial.dice.randrange(100, 1000))
            journey.route.stream.fault()
            known = len(journey.bridge.run.log)
            journey.broker.pause()
            try:
                until(lambda: len(journey.bridge.run.log) > known, FROZEN_S, "it is noticed",
                      detail=journey.bridge.run.tail)
            finally:
                journey.broker.resume()
            journey.takes_again()
        journey.moves_by(500)
        verdict = stop_and_judge(journey.route, journey.bridge)
        # What a connection that was given up had sent is still read when the broker wakes.
        trial.kept(verdict, **journey.limits(trial.rounds, windows=2))
    return play


def _rabbit_alarm(setting, wrong, right):
    return (lambda broker: broker.ctl(setting, *wrong), lambda broker: broker.ctl(setting, *right))


ALARMS = {
    "memory": ("rabbitmq", *_rabbit_alarm("set_vm_memory_high_watermark", ("0.00000001",),
                                          ("0.6",))),
    "disk": ("rabbitmq", *_rabbit_alarm("set_disk_free_limit", ("100000GB",), ("50MB",))),
    "maxmemory": ("redis", lambda broker: broker.call("CONFIG", "SET", "maxmemory", "1"),
                  lambda broker: broker.call("CONFIG", "SET", "maxmemory", "0")),
}


def alarm(kind):
    """The sink's broker takes nothing for a while: it is waited for, and nothing is buried."""
    _, raise_it, clear_it = ALARMS[kind]

    def play(trial):
        source, sink = trial.fleet.pair(trial.pair, apart=True)
        route = trial.route(source, sink, rate=RATE, dead=source)
        bridge = trial.bridge(route)
        route.feeder.start()
        bridge.start()
        for _ in range(trial.rounds):
            wait_arrived(route.stream, route.stream.arrived + trial.dice.randrange(100, 1000),
                         bridge)
            route.stream.fault()
            raise_it(sink.broker)
            try:
                settled(lambda: route.stream.arrived, 1, STALL_S, "nothing arrives any more")
                fed = route.feeder.confirmed
                until(lambda: route.feeder.confirmed > fed + 100, STALL_S, "the source fills")
                bridge.check()
            finally:
                clear_it(sink.broker)
        wait_arrived(route.stream, route.stream.arrived + 1000, bridge)
        verdict = stop_and_judge(route, bridge)
        trial.note(verdict)
        assert verdict.dead_lettered == 0, verdict
        trial.kept(verdict, per_fault_max=WINDOW, order="last")
    return play


def address_block(trial):
    """Artemis' own alarm: an address at its limit gives no more credit until somebody takes."""
    trial.row["rounds"] = 1
    source = trial.fleet.side(trial.pair[0])
    sink = trial.fleet.special("artemis", "limits", addresses=LIMITS)
    route = trial.route(source, sink, rate=RATE, live=False, names={"to": "block.to"})
    bridge = trial.bridge(route)
    route.feeder.start()
    bridge.start()
    bridge.ready()
    delivered = delivered_of(bridge)
    until(lambda: delivered() > 100, STALL_S, "some delivered", detail=bridge.run.tail)
    held = settled(delivered, 2, STALL_S, "the address is full", interval=0.2)
    route.stream.collect()
    wait_arrived(route.stream, held + 1500, bridge)
    trial.kept(stop_and_judge(route, bridge), per_fault_max=WINDOW, order="last")


def only_to(*names, absent=None):
    """A variant of some sinks; absent: why others have none at all, by name."""
    def reason(source, sink):
        return None if sink in names else (absent or {}).get(sink, OTHER_VARIANT)
    return reason


NO_ALARM = {"kafka": "it has no alarm: a broker whose disk is full ends (F3)",
            "classic": "its store limit is the whole broker's, and blocks its sources too"}

CASES = (
    *(Case("F3", end, f"kill -9 and restart of the {end}'s broker", broker_killed(end), 8, 1,
           extra=True) for end in ("source", "sink")),
    *(Case("F4", end, f"SIGSTOP of the {end}'s broker past its timeouts", broker_frozen(end), 2, 0,
           extra=True) for end in ("source", "sink")),
    *(Case("F10", kind, f"the sink's broker raises its alarm: {kind}", alarm(kind), 5,
           int(kind == "maxmemory"),
           only_to(ALARMS[kind][0], absent=NO_ALARM if kind == "memory" else None))
      for kind in ALARMS),
    Case("F10", "address", "an address is at its limit and blocks", address_block, 1, 1,
         only_to("artemis")),
)
