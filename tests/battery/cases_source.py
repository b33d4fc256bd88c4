# SPDX-License-Identifier: Apache-2.0
"""F11: messages are gone at the source before they were read."""

from battery.trial import Case
from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from support.clients import create_topic, delete_topic, produce
from support.route import NAME, stop_and_judge, wait_arrived
from support.wait import settled, until

RATE = 1500
STOP_S = 60
GONE = ("gone", "before they could be read")


def _group(route):
    return f"mbridge.{route.bridge_name}.{NAME}"


class KafkaLog:
    """A topic, and how far a group has read it."""

    def __init__(self, route):
        self._where, self._group, self._route = route.where, _group(route), route

    def _admin(self, ask):
        admin = KafkaAdminClient(bootstrap_servers=self._where["bootstrap"])
        try:
            return ask(admin)
        finally:
            admin.close()

    def _positions(self):
        offsets = self._admin(lambda admin: admin.list_group_offsets(self._group))[self._group]
        return {partition: entry.offset for partition, entry in offsets.items()
                if partition.topic == self._where["topic"] and entry.offset >= 0}

    def _ends(self):
        consumer = KafkaConsumer(bootstrap_servers=self._where["bootstrap"])
        try:
            return consumer.end_offsets([TopicPartition(self._where["topic"], number)
                                         for number in range(self._route.source.partitions)])
        finally:
            consumer.close()

    def truncate(self):
        """Deletes half of what is unread, as retention does; how many those were. Where the group
        has no position yet there is nothing that a beginning later than the first could contradict.
        """
        stored, until_offsets = self._positions(), {}
        gone = 0
        for partition, end in self._ends().items():
            lost = (end - stored[partition]) // 2 if partition in stored else 0
            gone += lost
            if lost:
                until_offsets[partition] = stored[partition] + lost
        self._admin(lambda admin: admin.delete_records(until_offsets))
        return gone


class RedisLog:
    """A stream, and how far a group has read it."""

    def __init__(self, route):
        self._call = route.source.broker.call
        self._key, self._group = route.where["stream_key"], _group(route)

    def _unread(self):
        """What no consumer has had, and before it what one had and let go of."""
        groups = self._call("XINFO", "GROUPS", self._key)
        named = [dict(zip(group[::2], group[1::2])) for group in groups]
        mine = next(group for group in named if group["name"] == self._group)
        after = self._call("XRANGE", self._key, "(" + mine["last-delivered-id"], "+")
        return mine["pending"] + len(after)

    def truncate(self):
        unread = self._unread()
        gone = unread // 2
        self._call("XTRIM", self._key, "MAXLEN", unread - gone)
        return gone


LOGS = {"kafka": KafkaLog, "redis": RedisLog}


def _read_some(trial, route, bridge):
    """Some is read and acknowledged, the bridge is away, and more comes."""
    bridge.start()
    wait_arrived(route.stream, route.stream.arrived + trial.dice.randrange(100, 800), bridge)
    assert bridge.run.terminate() == 0, bridge.run.tail()
    fed = route.feeder.confirmed
    until(lambda: route.feeder.confirmed > fed + 600, 30, "more is fed")


def _stops(bridge):
    """The default: the route says what is wrong and takes nothing."""
    bridge.start()
    bridge.run.wait_logged(*GONE, seconds=STOP_S)
    assert bridge.run.wait(STOP_S) == 1, bridge.run.tail()


def truncated(trial):
    route = trial.pair_route(rate=RATE)
    bridge = trial.bridge(route)
    route.feeder.start()
    gone = 0
    for _ in range(trial.rounds):
        _read_some(trial, route, bridge)
        route.feeder.pause()
        fed = settled_feeder(route)
        now_gone = LOGS[route.source.platform](route).truncate()
        assert now_gone > 0
        gone += now_gone
        _stops(bridge)
        bridge.write(route.text(on_loss="continue"))
        bridge.start()
        wait_arrived(route.stream, fed - gone, bridge)
        # All of it, also where the run that stopped had noticed it: nothing was acknowledged.
        counted = bridge.run.counters()["routes"][NAME]["lost"]
        assert counted == now_gone, f"{now_gone} are gone, {counted} counted"
        assert bridge.run.terminate() == 0, bridge.run.tail()
        bridge.write(route.text())
        route.feeder.resume()
    bridge.start()
    wait_arrived(route.stream, route.stream.arrived + 200, bridge)
    route.feeder.stop()
    route.feeder.wait()
    wait_arrived(route.stream, route.feeder.confirmed - gone, bridge)
    verdict = stop_and_judge(route, bridge, stall=3)
    trial.row["gone"] = gone
    trial.note(verdict)
    assert verdict.lost == gone, f"{gone} were deleted at the source\n{verdict}"
    verdict.lost = trial.row["lost"] = 0
    trial.kept(verdict, duplicates_max=0)


def settled_feeder(route):
    return settled(lambda: route.feeder.confirmed, 0.5, 30, "the feeder rests")


def recreated(trial):
    """The topic is made anew, with fewer records than were read, while it is read: the position is
    behind its end. (Of a bridge that is away the broker deletes the positions with the topic.)"""
    trial.row["rounds"] = 1
    route = trial.pair_route(rate=RATE)
    bridge = trial.bridge(route)
    route.feeder.start()
    bridge.start()
    wait_arrived(route.stream, trial.dice.randrange(600, 1200), bridge)
    route.feeder.stop()
    route.feeder.wait()
    wait_arrived(route.stream, route.feeder.confirmed, bridge)
    bootstrap, topic = route.where["bootstrap"], route.where["topic"]
    delete_topic(bootstrap, topic)
    until(lambda: _made(bootstrap, topic, route.source.partitions), 30, "the topic is made again")
    bridge.run.wait_logged("gone", seconds=STOP_S)
    assert bridge.run.wait(STOP_S) == 1, bridge.run.tail()
    verdict = route.stream.verdict()
    trial.kept(verdict, duplicates_max=0)


def _made(bootstrap, topic, partitions):
    """A deletion takes a while, and until then the topic is still there."""
    create_topic(bootstrap, topic, partitions)
    try:
        return [produce(bootstrap, topic, [{"value": b"new", "partition": number}])
                for number in range(partitions)]
    except Exception:  # whichever of the client's errors: it is tried again
        return None


def a_log(source, sink):
    return None if source in LOGS else (
        "a queue keeps no positions: what is purged is as if it had never been there")


CASES = (
    Case("F11", "truncated", "half of what is unread is deleted: stops, and goes on by choice",
         truncated, 3, 1, a_log),
    Case("F11", "recreated", "the source is made anew: stops", recreated, 1, 1,
         lambda source, sink: None if source == "kafka" else
         "a stream's group goes with it" if source == "redis" else a_log(source, sink)),
)
