# SPDX-License-Identifier: Apache-2.0
"""The bridge and the alternatives on the same work, each watched from outside in the same way: by
how full the destination is."""

import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path

import halves
import throughput
import subjects
from halves import Failed
from peers.setups import NO_BODY, PEERS
from support.bridge import processor_s, program
from support.clients import rabbit_channel

START_MAX_S = 60
STALL_S = 40
SETTLE_S = 0.3
POLL_S = 0.01
WARM_MAX = 6

Outcome = namedtuple("Outcome", "rate cpu_us rss_mib extra")


# ---- how full a destination is ----

@contextlib.contextmanager
def kafka_depth(end, place):
    from kafka import KafkaConsumer, TopicPartition

    consumer = KafkaConsumer(bootstrap_servers=end.broker.bootstrap, group_id=None)
    try:
        parts = [TopicPartition(place["topic"], number)
                 for number in sorted(consumer.partitions_for_topic(place["topic"]))]
        yield lambda: sum(consumer.end_offsets(parts).values())
    finally:
        consumer.close(autocommit=False, timeout_ms=5000)


@contextlib.contextmanager
def rabbit_depth(end, place):
    with rabbit_channel(end.broker.uri) as channel:
        yield lambda: channel.queue_declare(place["queue"], passive=True).method.message_count


@contextlib.contextmanager
def redis_depth(end, place):
    yield lambda: end.broker.call("XLEN", place["stream"])


@contextlib.contextmanager
def artemis_depth(end, place):
    from proton import Message
    from proton.utils import BlockingConnection, SyncRequestResponse

    connection = BlockingConnection(end.broker.uri, allow_insecure_mechs=True, timeout=30)
    question = {"_AMQ_ResourceName": f"queue.{place['address']}", "_AMQ_Attribute": "messageCount"}
    try:
        management = SyncRequestResponse(connection, "activemq.management")

        def depth():
            answer = management.call(Message(properties=question, body=""))
            # Until the first message there is no such queue.
            return json.loads(answer.body)[0] if answer.properties["_AMQ_OperationSucceeded"] else 0
        yield depth
    finally:
        connection.close()


DEPTHS = {"kafka": kafka_depth, "kafka2": kafka_depth, "rabbitmq": rabbit_depth, "redis": redis_depth,
          "artemis": artemis_depth}


# ---- one run ----

class Process:
    """Something that is measured, with its output in a file."""

    def __init__(self, words, workdir):
        self._log = Path(workdir) / "peer.log"
        with open(self._log, "wb") as log:
            self._child = subprocess.Popen([str(word) for word in words], cwd=workdir, stdout=log,
                                           stderr=log, stdin=subprocess.DEVNULL, env=os.environ)

    def cpu_s(self):
        if self._child.poll() is not None:
            raise Failed(f"it ended with {self._child.returncode}: {self.tail()}")
        return processor_s(self._child.pid)

    def rss_mib(self):
        for line in Path(f"/proc/{self._child.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
        return 0.0

    def tail(self):
        return self._log.read_text(errors="replace")[-600:].strip()

    def end(self):
        self._child.terminate()
        try:
            self._child.wait(10)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()


def by_depth(process, end, place, count):
    """(time, processor time, depth) when messages began to come, and when all were there; and how
    many there were too many."""
    with DEPTHS[end.name](end, place) as depth:
        first, moved, known = None, time.monotonic(), 0
        while True:
            number, now, cpu = depth(), time.monotonic(), process.cpu_s()
            if number > known:
                known, moved = number, now
            if first is None and number > 0:
                first = (now, cpu, number)
            if number >= count:
                break
            if now - moved > (STALL_S if first else START_MAX_S):
                raise Failed(f"{known} of {count} came: {process.tail()}")
            time.sleep(POLL_S)
        time.sleep(SETTLE_S)
        return first, (now, cpu, number), depth() - count


def by_reader(process, end, place, load):
    """Where a queue does not tell how full it is: it is read meanwhile, by a raw half."""
    reader = halves.Half(end.read(place), load)
    try:
        reader.ready()
        first = (time.monotonic(), process.cpu_s(), 0)
        reader.result()
        return first, (time.monotonic(), process.cpu_s(), load.count), 0
    finally:
        reader.end()


def warm(places, cell):
    """Brokers are slow at first, and who comes first would pay for that: the raw halves run until
    they are no faster than before, and the bridge once."""
    best = 0
    for _ in range(WARM_MAX):
        rate = min(half.rate for half in throughput.measure_halves(places, cell))
        if rate < 1.1 * best:
            break
        best = rate
    run_one(places, cell, bridge_command(places, cell))


def run_one(places, cell, command):
    """command: as of a Peer."""
    source, sink = places.by_name[cell.source], places.by_name[cell.sink]
    if cell.sink == "kafka2":  # MirrorMaker keeps the names of topics
        full = places.fresh(cell.source, cell.load)
        streams = full, sink.make(full["topic"])
    else:
        streams = places.filled(cell.source, cell.load), places.new(cell.sink, "peer")
    process = command(source, sink, streams, places.serial(), places.workdir)
    if isinstance(process, list):
        process = Process(process, places.workdir)
    try:
        if cell.sink in DEPTHS:
            first, last, extra = by_depth(process, sink, streams[1], cell.load.count)
        else:
            first, last, extra = by_reader(process, sink, streams[1], cell.load)
        rss = process.rss_mib()
    finally:
        process.end()
    if cell.sink == "kafka2":
        source.drop(streams[0], None)
    places.read(cell.source, streams[0], cell.load)
    sink.drop(streams[1], cell.load if cell.sink in DEPTHS else None)
    number = last[2] - first[2]
    if number <= 0:
        raise Failed("too few messages: all of them came between two looks")
    cpu_us = None if last[1] is None else (last[1] - first[1]) * 1e6 / number
    return Outcome(number / (last[0] - first[0]), cpu_us, rss, extra)


# ---- all of them ----

def bridge_command(places, cell):
    def command(source, sink, streams, serial, workdir):
        path = Path(workdir) / "rival.conf"
        path.write_text(subjects.route_text(places, cell.source, cell.sink, streams))
        return [program(), "run", path]
    return command


def subjects_of(places, cell):
    """(name, command, note, safe) of what can do this pair here; the bridge comes first."""
    yield "mbridge", bridge_command(places, cell), "", True
    for peer in PEERS:
        sources, sinks = peer.handles
        if cell.source in sources and cell.sink in sinks and peer.installed().exists():
            note = peer.note(cell.source, cell.sink)
            yield peer.name, peer.command, note, peer.safe and NO_BODY not in note


def summary(cell, name, note, safe, rounds, own):
    """own: the bridge's outcomes by round."""
    row = {"source": cell.source, "sink": cell.sink, "variant": "", "what": name, "safe": safe,
           **cell.load._asdict(), "note": note}
    for field in ("rate", "cpu_us", "rss_mib"):
        values = [getattr(outcome, field) for outcome in rounds.values()]
        row[field] = None if None in values else statistics.median(values)
    extra = max(outcome.extra for outcome in rounds.values())
    if extra:
        row["note"] = ", ".join(filter(None, (note, f"{extra} twice")))
    both = [(own[number], outcome) for number, outcome in rounds.items() if number in own]
    if name != "mbridge" and both:
        row["times_rate"] = statistics.median(mine.rate / theirs.rate for mine, theirs in both)
    if "times_rate" in row and row["cpu_us"] is not None:
        row["times_cpu"] = statistics.median(theirs.cpu_us / mine.cpu_us for mine, theirs in both)
        row["of_rss"] = statistics.median(mine.rss_mib / theirs.rss_mib for mine, theirs in both)
    return row


def measure(places, cells, options):
    rows, failures = [], []
    for peer in PEERS:
        if not peer.installed().exists():
            print(f"  {peer.name} is not installed, and left out: {peer.hint}", file=sys.stderr)
    if "kafka2" in places.by_name:
        cells = [*cells, throughput.Cell("kafka", "kafka2", throughput.load_of("kafka", "kafka", options),
                                    {})]
    for cell in cells:
        outcomes = {}
        try:
            warm(places, cell)
        except Exception as error:  # who measures afterwards will say it again
            print(f"  {cell.source} → {cell.sink}: {error}", file=sys.stderr, flush=True)
        for number in range(options.rounds):
            for name, command, note, safe in subjects_of(places, cell):
                what = f"{cell.source} → {cell.sink}, {name}"
                try:
                    outcome = run_one(places, cell, command)
                except Exception as error:  # the others are measured all the same
                    failures.append({"what": what, "why": str(error)})
                    print(f"  {what:44} failed: {error}", file=sys.stderr, flush=True)
                    continue
                outcomes.setdefault((name, note, safe), {})[number] = outcome
        own = outcomes.get(("mbridge", "", True), {})
        for (name, note, safe), rounds in outcomes.items():
            rows.append(summary(cell, name, note, safe, rounds, own))
            if "times_rate" in rows[-1]:
                cpu = f", {rows[-1]['times_cpu']:.1f} × a CPU second" if "times_cpu" in rows[-1] else ""
                print(f"  {cell.source} → {cell.sink}: {rows[-1]['times_rate']:.1f} × {name}{cpu}",
                      file=sys.stderr, flush=True)
    return rows, failures
