# SPDX-License-Identifier: Apache-2.0
"""F23: bridges that are broken on purpose (tests/faults/decorator); the oracle has to catch each,
and says by which invariant. A row is kept if it did."""

from pathlib import Path

from battery.cases_order import violations, watched
from battery.trial import OTHER_VARIANT, Case
from support.bridge import program
from support.judge import INVARIANTS
from support.route import NAME, wait_arrived
from support.wait import Deadline, settled, until

MODULES = {"kafka": "kafka", "rabbitmq": "amqp091", "artemis": "amqp10", "redis": "redis"}
MESSAGES = 5000
RATE = 3000
KILLS = 3
STALL_S = 4
STOP_S = 3
SMALL_WINDOW = {"messages": 400}  # makes commits frequent: a kill is seldom too late for one


def _modules(trial, fault):
    """fault: a case's variant, which begins with the name of the fault."""
    folder = Path(program()).resolve().parent.parent / "tests/decorated" / fault.split()[0]
    missing = {MODULES[name] for name in trial.pair
               if not (folder / f"{MODULES[name]}.so").exists()}
    assert not missing, f"{folder} lacks {missing}"
    return folder


def _start(trial, fault, **options):
    route = trial.pair_route(**options)
    bridge = trial.bridge(route, env={"MBRIDGE_MODULES": str(_modules(trial, fault))})
    return route, bridge


def carried(trial, fault):
    """A stream without any fault but the bridge's own."""
    route, bridge = _start(trial, fault, count=MESSAGES, keys=5, rate=0)
    route.feeder.start().wait()
    bridge.start()
    verdict = route.stream.finish(stall=STALL_S, poll=bridge.check)
    return verdict.problems(duplicates_max=0)


def killed(trial, fault):
    route, bridge = _start(trial, fault, rate=RATE, window=SMALL_WINDOW)
    route.feeder.start()
    return _kills(trial, route, bridge)


def killed_with_backlog(trial, fault):
    """The window is full at each kill."""
    route, bridge = _start(trial, fault, count=MESSAGES * 2, rate=0, window=SMALL_WINDOW)
    route.feeder.start().wait()
    return _kills(trial, route, bridge)


def _kills(trial, route, bridge):
    for _ in range(KILLS):
        bridge.start()
        wait_arrived(route.stream, route.stream.arrived + trial.dice.randrange(500, 1500), bridge)
        bridge.run.kill()
        route.stream.fault()
    bridge.start()
    route.feeder.stop()
    return route.stream.finish(stall=STALL_S, poll=bridge.check).problems()


def stopped(trial, fault):
    """Stopped in order with a backlog, and started again."""
    route, bridge = _start(trial, fault, count=MESSAGES * 8, rate=0)
    route.feeder.start().wait()
    for _ in range(KILLS):
        bridge.start()
        wait_arrived(route.stream, route.stream.arrived + trial.dice.randrange(500, 1500), bridge)
        bridge.run.terminate()
    bridge.start()
    verdict = route.stream.finish(stall=STALL_S, poll=bridge.check)
    return verdict.problems(duplicates_max=0)


def _full_queue(trial, fault):
    """A sink that refuses behind 300 messages; what it refused has to wait at the source."""
    source, sink = trial.fleet.pair(trial.pair)
    sink = type(sink)(sink.broker, **{"x-max-length": 300, "x-overflow": "reject-publish"})
    route = trial.route(source, sink, count=MESSAGES, rate=0, live=False)
    bridge = trial.bridge(route, env={"MBRIDGE_MODULES": str(_modules(trial, fault))})
    bridge.write(bridge.path.read_text().replace(
        "bridge = {", f'bridge = {{\n  stop_timeout = "{STOP_S}s";', 1))
    route.feeder.start().wait()
    bridge.start()
    bridge.ready()
    return route, bridge


def refusing(trial, fault):
    route, bridge = _full_queue(trial, fault)
    until(lambda: bridge.run.counters()["routes"][NAME]["delivered"] >= MESSAGES, 30,
          "all is said to be delivered", detail=bridge.run.tail)
    return route.stream.finish(stall=STALL_S, poll=bridge.check).problems()


def ended_while_refusing(trial, fault):
    """Killed, or stopped in order, when nothing moves any more."""
    route, bridge = _full_queue(trial, fault)
    settled(lambda: bridge.run.counters().total("delivered"), 2, 30, "it is full", interval=0.1)
    if fault == "ack_at_close":
        bridge.run.terminate()
    else:
        bridge.run.kill()
    bridge.start()
    return route.stream.finish(stall=STALL_S, poll=bridge.check).problems()


def burying(trial, fault):
    """All goes to the dead letters, which are at the broken end."""
    source, sink = trial.fleet.pair(trial.pair)
    route = trial.route(source, sink, count=MESSAGES, rate=0, dead=sink)
    route.more["to"] = {"endpoint": "a", "topic": "${header.absent}"}
    bridge = trial.bridge(route, env={"MBRIDGE_MODULES": str(_modules(trial, fault))})
    route.feeder.start().wait()
    bridge.start()
    return route.stream.finish(stall=STALL_S, poll=bridge.check).problems()


def draining(trial, fault):
    """All arrives, and yet the bridge does not come to its end."""
    route, bridge = _start(trial, fault, count=MESSAGES, rate=0)
    bridge.write(bridge.path.read_text().replace(
        "bridge = {", f'bridge = {{\n  stop_timeout = "{STOP_S}s";', 1))
    route.feeder.start().wait()
    bridge.start()
    verdict = route.stream.finish(stall=STALL_S, poll=bridge.check)
    problems = verdict.problems(duplicates_max=0)
    try:
        if bridge.run.terminate(STOP_S + 10) != 0:
            problems.append(f"I7: messages stay unresolved\n{bridge.run.tail(3)}")
    except Deadline:
        problems.append("I7: it does not end")
    return problems


def wired(trial, fault):
    """Seen on the wire alone: nothing is killed, and all arrives."""
    route, bridge, record = watched(trial, {"MBRIDGE_MODULES": str(_modules(trial, fault))})
    route.feeder.start()
    bridge.start()
    wait_arrived(route.stream, 3000, bridge)
    route.feeder.stop()
    verdict = route.stream.finish(stall=STALL_S, poll=bridge.check)
    checked, early = violations(route, record)
    return verdict.problems() + (
        [f"I8: {len(early)} of {checked} acknowledged before they were confirmed"] if early else [])


TO_RABBIT, TO_KAFKA = ("kafka", "rabbitmq"), ("rabbitmq", "kafka")
TO_REDIS, TO_ARTEMIS = ("artemis", "redis"), ("redis", "artemis")
BROKEN = (
    # fault, how it is shown, the pair, what has to be found
    ("early_ack", killed, TO_RABBIT, "lost", "confirms what it has not sent"),
    ("early_ack on the wire", wired, TO_RABBIT, "I8", "confirms what it has not sent"),
    ("ack_at_poll on the wire", wired, TO_KAFKA, "I8", "acknowledges what it hands out"),
    ("ack_at_poll", killed_with_backlog, TO_KAFKA, "lost", "acknowledges what it hands out"),
    ("ack_newest", ended_while_refusing, TO_RABBIT, "lost", "commits ahead of what is confirmed"),
    ("ack_at_close", ended_while_refusing, TO_RABBIT, "lost", "loses on a clean stop"),
    ("forget_scope", stopped, TO_RABBIT, "duplicates", "never commits one partition"),
    ("ignore_failures", refusing, TO_RABBIT, "lost", "takes a nack for a confirm"),
    ("black_hole", burying, TO_RABBIT, "lost", "acknowledges before the dead letter is stored"),
    ("drop", carried, TO_KAFKA, "lost", "drops a message"),
    ("swap", carried, TO_RABBIT, "disorder", "sends two messages of a key in the wrong order"),
    ("keyless", carried, TO_KAFKA, "moved", "loses a key"),
    ("corrupt", carried, TO_RABBIT, "corrupt", "changes a byte"),
    ("drop_header", carried, TO_KAFKA, "corrupt", "loses a header"),
    ("deny", carried, TO_RABBIT, "duplicates", "sends again what was confirmed"),
    ("forget_result", draining, TO_RABBIT, "I7", "forgets a confirm"),
    ("early_ack into Redis", wired, TO_REDIS, "I8", "confirms what it has not sent"),
    ("swap into Redis", carried, TO_REDIS, "disorder",
     "sends two messages of a key in the wrong order"),
    ("ack_at_poll of Artemis", wired, TO_REDIS, "I8", "acknowledges what it hands out"),
    ("ack_at_poll of Redis", killed_with_backlog, TO_ARTEMIS, "lost", "acknowledges what it hands out"),
    ("corrupt into Artemis", carried, TO_ARTEMIS, "corrupt", "changes a byte"),
)


def _caught(fault, show, found):
    def play(trial):
        problems = show(trial, fault)
        assert problems, "the oracle missed it"
        names = {problem.split(":")[0] for problem in problems}
        assert found in names, f"{found} is not among {problems}"
        trial.row["caught by"] = f"{INVARIANTS[found]} ({found})" if found in INVARIANTS else found
    return play


def _between(wanted):
    return lambda *pair: None if pair == wanted else OTHER_VARIANT


CASES = tuple(Case("F23", fault, title, _caught(fault, show, found), 1, 1, _between(pair))
              for fault, show, pair, found, title in BROKEN)
