# SPDX-License-Identifier: Apache-2.0
"""Measures the bridge against the raw client libraries, in the same run: run.py [OPTION...]

Every round does each half alone and then the bridge, so that what else the machine does falls on
all of them; the figures are medians over the rounds. Needs a release build.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from brokers import KafkaBroker, RabbitBroker  # noqa: E402
from support import clients  # noqa: E402
from support.config import config, kafka_endpoint, rabbit_endpoint  # noqa: E402

import subjects  # noqa: E402
from subjects import Failed, bridge, raw  # noqa: E402

RATIO_MIN = 0.70
RSS_MAX_MIB = 48
CORE_MAX_NS = 300
PARTITIONS = 4
PARTS = ("pairs", "rss", "core")

CONSUME_K, PUBLISH_R = "consume Kafka, alone", "publish RabbitMQ, alone"
CONSUME_R, PRODUCE_K = "consume RabbitMQ, alone", "produce Kafka, alone"
K_TO_R, R_TO_K = "bridge Kafka → RabbitMQ", "bridge RabbitMQ → Kafka"
HALVES = {K_TO_R: (CONSUME_K, PUBLISH_R), R_TO_K: (CONSUME_R, PRODUCE_K)}


class Bench:
    """Brokers, names and the results so far."""

    def __init__(self, options, kafka, rabbit, workdir):
        self.options, self.kafka, self.rabbit, self.workdir = options, kafka, rabbit, workdir
        self.results = {name: [] for pair in HALVES.items() for name in (*pair[1], pair[0])}
        self._serial = 0

    def name(self, what):
        self._serial += 1
        return f"bench.{what}.{self._serial}"

    def topic(self):
        topic = self.name("topic")
        clients.create_topic(self.kafka.bootstrap, topic, PARTITIONS)
        return topic

    def queue(self):
        queue = self.name("queue")
        clients.declare_queue(self.rabbit.uri, queue)
        return queue

    def half(self, what, stream):
        """Runs a raw half on a stream and keeps its result."""
        program, verb, address = {
            CONSUME_K: ("raw_kafka", "consume", self.kafka.bootstrap),
            PRODUCE_K: ("raw_kafka", "produce", self.kafka.bootstrap),
            CONSUME_R: ("raw_amqp091", "consume", self.rabbit.port),
            PUBLISH_R: ("raw_amqp091", "publish", self.rabbit.port)}[what]
        self.keep(what, raw(program, verb, address, stream, self.options.messages,
                            self.options.size))

    def keep(self, what, result):
        self.results[what].append(result)
        print(f"  {what:26} {result.rate:11,.0f} msg/s {result.cpu_us:7.2f} µs", file=sys.stderr,
              flush=True)

    def config(self, what, topic, queue):
        in_kafka, in_rabbit = {"endpoint": "k", "topic": topic}, {"endpoint": "r", "queue": queue}
        source, sink = (in_kafka, in_rabbit) if what == K_TO_R else (in_rabbit, in_kafka)
        return config(self.name("bridge"), {"k": kafka_endpoint(self.kafka),
                                            "r": rabbit_endpoint(self.rabbit)},
                      [{"name": "bench", "from": source, "to": sink}])

    def bridge(self, what, topic, queue, messages=None):
        number = messages or self.options.messages
        result = bridge(self.workdir, self.config(what, topic, queue), number)
        if what == K_TO_R:
            subjects.in_queue(self.rabbit.uri, queue, number)
        return result


def measure_pairs(bench):
    source = bench.topic()
    # Not counted: the first clients of a broker that has just started also warm it up.
    raw("raw_kafka", "produce", bench.kafka.bootstrap, source, bench.options.messages,
        bench.options.size)
    for number in range(bench.options.rounds):
        print(f"round {number + 1} of {bench.options.rounds}", file=sys.stderr)
        bench.half(CONSUME_K, source)
        queue = bench.queue()
        bench.half(PUBLISH_R, queue)
        bench.half(CONSUME_R, queue)
        bench.keep(K_TO_R, bench.bridge(K_TO_R, source, queue))
        clients.delete_queue(bench.rabbit.uri, queue)
        queue, target = bench.queue(), bench.topic()
        bench.half(PUBLISH_R, queue)
        bench.keep(R_TO_K, bench.bridge(R_TO_K, target, queue))
        clients.delete_queue(bench.rabbit.uri, queue)
        clients.delete_topic(bench.kafka.bootstrap, target)
        target = bench.topic()
        bench.half(PRODUCE_K, target)
        clients.delete_topic(bench.kafka.bootstrap, target)


def measure_rss(bench):
    """A backlog that is far larger than the window, and a sink that is slower than the source."""
    messages = bench.options.rss_messages
    print(f"memory with a backlog of {messages:,}", file=sys.stderr)
    topic, queue = bench.topic(), bench.queue()
    raw("raw_kafka", "produce", bench.kafka.bootstrap, topic, messages, bench.options.size)
    result = bench.bridge(K_TO_R, topic, queue, messages)
    clients.delete_queue(bench.rabbit.uri, queue)
    clients.delete_topic(bench.kafka.bootstrap, topic)
    return {"messages": messages, "rate": result.rate, "cpu_us": result.cpu_us,
            "rss_mib": result.rss_mib}


def measure_core():
    print("the core alone", file=sys.stderr)
    return {**subjects.core_time(),
            "instructions": subjects.core_instructions()["instructions"]}


def median_of(results, field):
    values = [getattr(result, field) for result in results]
    return statistics.median(values) if values and None not in values else None


def summary(bench):
    """{row: {field: median, …}}, and for a bridge its ratio to the slower half and their sum."""
    rows = {name: {field: median_of(results, field) for field in ("rate", "cpu_us", "rss_mib")}
            for name, results in bench.results.items() if results}
    for name, halves in HALVES.items():
        if name in rows:
            rows[name]["ratio"] = rows[name]["rate"] / min(rows[half]["rate"] for half in halves)
            rows[name]["halves_cpu_us"] = sum(rows[half]["cpu_us"] for half in halves)
    return rows


def verdict(met):
    return "met" if met else "**missed**"


def table(rows):
    yield "| | messages/s | of the slower half | CPU µs a message | both halves | peak RSS MiB |"
    yield "|---|---:|---:|---:|---:|---:|"
    for name, row in rows.items():
        ratio = f"{row['ratio']:.2f}" if "ratio" in row else ""
        halves = f"{row['halves_cpu_us']:.2f}" if "ratio" in row else ""
        rss = f"{row['rss_mib']:.1f}" if row["rss_mib"] else ""
        shown = f"**{name}**" if "ratio" in row else name
        yield (f"| {shown} | {row['rate']:,.0f} | {ratio} | {row['cpu_us']:.2f} | {halves} "
               f"| {rss} |")


def targets(report):
    """(text, met) of every target that was measured."""
    for name in HALVES:
        if name in report["rows"]:
            ratio = report["rows"][name]["ratio"]
            yield f"{name}: {ratio:.2f} of the slower half, at least {RATIO_MIN:.2f}", \
                ratio >= RATIO_MIN
    if rss := report.get("rss"):
        yield (f"peak RSS with a backlog of {rss['messages']:,}: {rss['rss_mib']:.1f} MiB, at most "
               f"{RSS_MAX_MIB}"), rss["rss_mib"] <= RSS_MAX_MIB
    if core := report.get("core"):
        # By processor time: what else the machine does is not the core's cost.
        yield (f"core alone: {core['cpu_ns']:.0f} ns of processor time ({core['wall_ns']:.0f} ns by "
               f"the clock) and {core['instructions']:.0f} instructions a message, at most "
               f"{CORE_MAX_NS} ns"), core["cpu_ns"] <= CORE_MAX_NS


def machine():
    models = [line.partition(":")[2].strip() for line in open("/proc/cpuinfo", encoding="utf-8")
              if line.startswith("model name")]
    return f"{os.cpu_count()} × {models[0] if models else platform.machine()}"


def parse(arguments):
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__.splitlines()[0])
    parser.add_argument("--part", action="append", choices=PARTS, help="only this; repeatable")
    parser.add_argument("--messages", type=int, default=200_000, help="in each run (%(default)s)")
    parser.add_argument("--size", type=int, default=256, help="of a body (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="(%(default)s)")
    parser.add_argument("--rss-messages", type=int, default=1_000_000,
                        help="backlog of the memory part (%(default)s)")
    parser.add_argument("--kafka", default="3.9.1", help="version of the broker (%(default)s)")
    parser.add_argument("--json", help="also write all figures to this file")
    parser.add_argument("--strict", action="store_true", help="exit 1 if a target is missed")
    return parser.parse_args(arguments)


def measure(options):
    parts = options.part or PARTS
    report = {"machine": machine(), "size": options.size, "messages": options.messages,
              "rounds": options.rounds, "rows": {}}
    if "core" in parts:
        report["core"] = measure_core()
    if "pairs" not in parts and "rss" not in parts:
        return report
    with tempfile.TemporaryDirectory(prefix="mbridge-bench-") as workdir, \
            KafkaBroker(options.kafka, workdir) as kafka, RabbitBroker(workdir) as rabbit:
        bench = Bench(options, kafka, rabbit, Path(workdir))
        report["brokers"] = f"Kafka {options.kafka}, RabbitMQ {rabbit.version}"
        if "pairs" in parts:
            measure_pairs(bench)
            report["rows"] = summary(bench)
            report["samples"] = {name: [result._asdict() for result in results]
                                 for name, results in bench.results.items()}
        if "rss" in parts:
            report["rss"] = measure_rss(bench)
    return report


def show(report):
    print(f"\n{report['machine']}; {report.get('brokers', 'no brokers')}; {report['size']} B, "
          f"{report['messages']:,} messages a run, median of {report['rounds']} rounds\n")
    if report["rows"]:
        print("\n".join(table(report["rows"])), end="\n\n")
    checked = list(targets(report))
    for text, met in checked:
        print(f"- {text}: {verdict(met)}")
    return all(met for _, met in checked)


def main(arguments):
    options = parse(arguments)
    try:
        report = measure(options)
    except Failed as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    if options.json:
        Path(options.json).write_text(json.dumps(report, indent=2) + "\n")
    met = show(report)
    return 1 if options.strict and not met else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
