# SPDX-License-Identifier: Apache-2.0
"""The demo: orders from an embedded Kafka to a private RabbitMQ, and a bridge that is killed.

Exit status 0 means that it was proven: every order arrived, unchanged, in the order of its key.
Needs python3-pika, which has no code in common with the bridge.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pika

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "tests"))

from brokers import BrokerError, MockKafka, RabbitBroker, wait_until  # noqa: E402
from brokers.process import log_tail, scratch_dir, spawn, unwatch  # noqa: E402
from demo.judge import Judge  # noqa: E402
from demo.orders import load_orders, write_feed  # noqa: E402
from demo.screen import Screen  # noqa: E402

MBRIDGE = Path(os.environ.get("MBRIDGE_BIN", REPOSITORY / "build/release/bin/mbridge"))
CONFIG = REPOSITORY / "conf/demo/kafka-to-rabbitmq.conf"
ORDERS = REPOSITORY / "conf/demo/orders.jsonl.gz"

TOPIC, PARTITIONS = "orders", 8
EXCHANGE, QUEUE, BINDING = "shop", "warehouse", "orders.#"
BURST, RATE = 16_000, 2_000  # waiting in Kafka when the bridge starts; then so many a second
KILL_AT = 5_000  # in RabbitMQ: thousands more are under way
SHOWN = 3
PREFETCH = 500
ARRIVAL_TIMEOUT = 120
SETTLE_TIMEOUT = 15


class Failed(Exception):
    """The demo did not show what it is to show."""


class Bridge:
    """The bridge as a process that can be killed and started again."""

    def __init__(self, config, workdir):
        self._config = config
        self._process = None
        self.log_path = workdir / "mbridge.log"

    @property
    def pid(self):
        return self._process.pid

    def start(self):
        self._process = spawn([MBRIDGE, "run", self._config], self.log_path)

    def alive(self):
        return self._process is not None and self._process.poll() is None

    def kill(self):
        self._process.kill()
        self._process.wait()
        unwatch(self.pid)

    def stop(self):
        """SIGTERM; returns the exit status."""
        self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(30)
        finally:
            self._process.kill()
            unwatch(self.pid)


class Warehouse:
    """The application behind RabbitMQ: reads the queue, acknowledges, and passes on to a judge."""

    def __init__(self, rabbit, judge):
        self._judge = judge
        self._connection = pika.BlockingConnection(pika.URLParameters(rabbit.uri))
        self._channel = self._connection.channel()
        self._channel.exchange_declare(EXCHANGE, exchange_type="topic", durable=True)
        self._channel.queue_declare(QUEUE, durable=True)
        self._channel.queue_bind(QUEUE, EXCHANGE, BINDING)
        self._channel.basic_qos(prefetch_count=PREFETCH)
        self._channel.basic_consume(QUEUE, self._take)
        self._unacknowledged = 0
        self._tag = 0
        self.first = []

    def _take(self, channel, method, properties, body):
        if len(self.first) < SHOWN:
            self.first.append((method.routing_key, properties, body))
        self._judge.see(properties, body)
        self._tag = method.delivery_tag
        self._unacknowledged += 1
        if self._unacknowledged >= PREFETCH // 4:
            self._acknowledge()

    def _acknowledge(self):
        if self._unacknowledged:
            self._channel.basic_ack(self._tag, multiple=True)
            self._unacknowledged = 0

    def work(self, seconds):
        """Takes what comes in for so long."""
        self._connection.process_data_events(seconds)
        self._acknowledge()

    def waiting(self):
        """How many messages the queue holds."""
        return self._channel.queue_declare(QUEUE, passive=True).method.message_count

    def drain(self):
        """Takes what is left once the bridge is gone, until nothing comes any more."""
        def quiet():
            before = self._tag
            self.work(0.4)
            return self._tag == before and self.waiting() == 0
        wait_until(quiet, SETTLE_TIMEOUT, f"queue {QUEUE} empty")

    def close(self):
        self._connection.close()


def write_config(kafka, rabbit, workdir):
    """A copy of the shipped configuration with the addresses of our brokers."""
    text = CONFIG.read_text()
    for usual, ours in (("127.0.0.1:9092", kafka.bootstrap), ("127.0.0.1:5672", rabbit.address)):
        if usual not in text:
            raise Failed(f"{CONFIG} does not mention {usual}")
        text = text.replace(usual, ours)
    path = workdir / CONFIG.name
    path.write_text(text)
    return path


def watch(screen, warehouse, judge, bridge, until, what):
    """Lets orders arrive and shows the progress until the condition holds."""
    deadline = time.monotonic() + ARRIVAL_TIMEOUT
    while not until():
        warehouse.work(0.1)
        screen.progress(judge.distinct, judge.total, f"mbridge pid {bridge.pid}")
        if not bridge.alive():
            raise Failed("the bridge ended by itself")
        if time.monotonic() > deadline:
            raise Failed(f"{what} took more than {ARRIVAL_TIMEOUT} s; "
                         f"{judge.distinct} of {judge.total} arrived")
    screen.progress(judge.distinct, judge.total, f"mbridge pid {bridge.pid}", last=True)


def bridge_orders(screen, kafka, warehouse, judge, bridge):
    """Runs the bridge over all orders and kills it once."""
    screen.step("The bridge runs, and the shop goes on selling")
    bridge.start()
    kafka.go()
    # The queue counts too: the bridge is faster than the application behind it.
    watch(screen, warehouse, judge, bridge,
          lambda: judge.distinct + warehouse.waiting() >= KILL_AT, "the first part")
    screen.step(f"kill -9 {bridge.pid}: the bridge dies with messages under way")
    bridge.kill()
    # What RabbitMQ had already taken still arrives; from there on nothing may move.
    warehouse.drain()
    seen = judge.distinct
    screen.text(f"{seen:,} of {judge.total:,} orders have arrived, then it is quiet.")
    screen.step("The bridge is started again, with the same configuration and nothing else")
    screen.text("(This embedded Kafka first waits until the dead member's session has ended, 10 s or "
                "so; a")
    screen.text("real one knows a static member again and gives its partitions back at once.)")
    bridge.start()
    watch(screen, warehouse, judge, bridge, lambda: judge.distinct == judge.total, "the rest")
    status = bridge.stop()
    warehouse.drain()
    if status != 0:
        raise Failed(f"the bridge ended with {status} when it was asked to stop")


def show_messages(screen, messages):
    screen.step("What a RabbitMQ application sees")
    for routing_key, properties, body in messages:
        screen.text(f"routing key   {routing_key}")
        if properties.content_type:
            screen.text(f"content-type  {properties.content_type}")
        for name, value in sorted((properties.headers or {}).items()):
            screen.text(f"header        {name}: {value}")
        screen.text(f"body          {body.decode()}", cut=True)
        screen.text("")


def demonstrate(screen, workdir):
    orders = load_orders(ORDERS)
    judge = Judge(orders)
    customers = len({order.key for order in orders})
    screen.step("Starting a private RabbitMQ and an embedded Kafka on free loopback ports")
    feed = write_feed(orders, workdir / "feed")
    with RabbitBroker(workdir) as rabbit, MockKafka(
            workdir, {TOPIC: PARTITIONS}, feed=feed, burst=BURST, rate=RATE) as kafka:
        screen.text(f"RabbitMQ {rabbit.version:12} {rabbit.address}")
        screen.text(f"Kafka (embedded)      {kafka.bootstrap}")
        wait_until(lambda: kafka.delivered() >= BURST, 60, "the first orders in Kafka")
        screen.text(f"{BURST:,} of {len(orders):,} orders of {customers:,} customers wait in "
                    f"Kafka topic '{TOPIC}'")
        config = write_config(kafka, rabbit, workdir)
        screen.step(f"The configuration ({CONFIG.relative_to(REPOSITORY)})")
        for line in config.read_text().splitlines():
            if line.strip() and not line.startswith("#"):
                screen.text(line)
        bridge = Bridge(config, workdir)
        try:
            warehouse = Warehouse(rabbit, judge)
            bridge_orders(screen, kafka, warehouse, judge, bridge)
            sent = kafka.delivered()
            warehouse.close()
        except (Failed, TimeoutError, pika.exceptions.AMQPError) as error:
            raise Failed(f"{error}\n{log_tail(bridge.log_path)}") from error
        finally:
            if bridge.alive():
                bridge.kill()
    show_messages(screen, warehouse.first)
    return report(screen, judge, sent)


def report(screen, judge, sent):
    """The proof as a table. True if it holds."""
    screen.step("The proof")
    rows = [("orders that Kafka acknowledged", sent, sent == judge.total),
            ("distinct orders that arrived", judge.distinct, judge.distinct == judge.total),
            ("lost", judge.lost, judge.lost == 0),
            ("body or headers changed", judge.changed, judge.changed == 0),
            ("out of order within a customer", judge.disordered, judge.disordered == 0),
            ("twice, because of the kill", judge.duplicates, None)]
    for what, count, good in rows:
        screen.row(what, f"{count:,}", good)
    return all(good is not False for _, _, good in rows)


def main():
    screen = Screen(sys.stdout)
    began = time.monotonic()
    try:
        proven = demonstrate(screen, scratch_dir("demo"))
    except (Failed, BrokerError, TimeoutError, subprocess.SubprocessError) as error:
        screen.result(False, f"The demo failed: {error}")
        return 1
    except KeyboardInterrupt:
        screen.result(False, "The demo was interrupted.")
        return 130
    passed = time.monotonic() - began
    screen.result(proven, f"Nothing was lost and the order was kept ({passed:.0f} s)." if proven
                  else "The counts above are not as promised.")
    return 0 if proven else 1


if __name__ == "__main__":
    sys.exit(main())
