# SPDX-License-Identifier: Apache-2.0
"""Feeders: processes that write a stream to a source broker and keep the ledger.

A message goes into the ledger only after the broker confirmed it. A feeder outlives its
broker: it sends again what was unresolved, in order, and notes what it sent more than once.
"""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter, OrderedDict
from pathlib import Path

from support import record
from support.body import Bodies, key_name

WINDOW = 5000
SLICE = 400
REGIONS = ("eu", "us", "asia", "moon")


class Switches:
    """What the owner tells the process by signals: SIGTERM, SIGUSR1, SIGUSR2."""

    def __init__(self):
        self.stop = self.pause = False
        signal.signal(signal.SIGTERM, lambda *_: setattr(self, "stop", True))
        signal.signal(signal.SIGUSR1, lambda *_: setattr(self, "pause", True))
        signal.signal(signal.SIGUSR2, lambda *_: setattr(self, "pause", False))


class Plan:
    """The stream: which key comes next, and when."""

    def __init__(self, spec, switches):
        self.switches = switches
        self.bodies = Bodies(spec["seed"], spec["stream"])
        self.count = spec["count"]
        self.rate = spec["rate"]
        self._keys = spec["keys"]
        self._random = random.Random(spec["seed"])
        self._next = [spec["first"]] * spec["keys"]
        self.made = 0
        self._began = None

    @property
    def done(self):
        return self.made >= self.count

    def allowance(self):
        """How many messages may be made now."""
        if self.switches.stop:
            self.count = self.made
        if self.switches.pause:
            self._began = None
            return 0
        if self._began is None:
            self._began = time.monotonic() - self.made / (self.rate or 1)
        left = self.count - self.made
        if not self.rate:
            return left
        return min(left, int((time.monotonic() - self._began) * self.rate) - self.made)

    def make(self):
        key = self._random.randrange(self._keys)
        sequence = self._next[key]
        self._next[key] += 1
        self.made += 1
        return key, sequence, self.bodies.make(key, sequence)


class Books:
    def __init__(self, spec):
        self._ledger = record.Writer(spec["ledger"], record.LEDGER)
        self._again = record.Writer(spec["ledger"] + ".again", record.LEDGER)
        self._lock = threading.Lock()

    def confirmed(self, names):
        with self._lock:
            for name in names:
                self._ledger.add(*name)
            self._ledger.flush()

    def again(self, names):
        for name in names:
            self._again.add(*name)
        self._again.flush()


def region_of(key, sequence):
    return REGIONS[(key + sequence) % len(REGIONS)]


def feed_rabbit(spec, switches):
    import pika
    from support.publish import RabbitPublisher

    plan, books = Plan(spec, switches), Books(spec)
    exchange = spec["exchange"]

    def route(key):
        return key_name(key) if exchange else spec["queue"]

    def pump():
        if publisher.ready:
            room = min(WINDOW - publisher.outstanding, plan.allowance(), SLICE)
            for _ in range(max(0, room)):
                key, sequence, body = plan.make()
                properties = pika.BasicProperties(
                    delivery_mode=2, headers={"region": region_of(key, sequence)})
                publisher.send((key, sequence), exchange, route(key), body, properties)
            if plan.done and not publisher.outstanding:
                publisher.stop()
                return
        publisher.loop.call_later(0.001, pump)

    publisher = RabbitPublisher(spec["uri"], lambda: None, books.confirmed, books.again)
    publisher.loop.call_later(0, pump)
    publisher.loop.start()


def feed_kafka(spec, switches):
    from kafka import KafkaProducer

    plan, books = Plan(spec, switches), Books(spec)
    outstanding = OrderedDict()
    lock = threading.Lock()
    room = threading.Semaphore(WINDOW)
    broken = threading.Event()

    def confirmed(name):
        with lock:
            if outstanding.pop(name, None) is None:
                return
        books.confirmed([name])
        room.release()

    def send(producer, name, body):
        future = producer.send(spec["topic"], value=body, key=key_name(name[0]).encode(),
                               headers=[("region", region_of(*name).encode())])
        future.add_callback(lambda _, name=name: confirmed(name))
        future.add_errback(lambda _: broken.set())

    def start():
        return KafkaProducer(bootstrap_servers=spec["bootstrap"], acks="all",
                             enable_idempotence=True, linger_ms=5, batch_size=1 << 17,
                             delivery_timeout_ms=3600_000, max_block_ms=60_000)

    producer = start()
    while not (plan.done and not outstanding):
        if broken.is_set():
            producer.close(timeout=1)
            broken.clear()
            producer = start()
            with lock:
                again = list(outstanding)
            books.again(again)
            for name in again:
                send(producer, name, plan.bodies.make(*name))
        for _ in range(max(0, min(plan.allowance(), SLICE))):
            if not room.acquire(timeout=0.05):
                break
            key, sequence, body = plan.make()
            with lock:
                outstanding[(key, sequence)] = True
            send(producer, (key, sequence), body)
        time.sleep(0.001)
    producer.close(timeout=5)


def feed_amqp10(spec, switches):
    from support import amqp10_stream

    amqp10_stream.feed(spec, switches, Plan(spec, switches), Books(spec), region_of, WINDOW, SLICE)


def feed_redis(spec, switches):
    from support import redis_side

    redis_side.feed(spec, switches)


def feed_of(spec):
    """The loop of the platform that a place is on."""
    loops = {"topic": feed_kafka, "amqp10": feed_amqp10, "redis": feed_redis}
    return next((loop for name, loop in loops.items() if name in spec), feed_rabbit)


class Feeder:
    """A feeder process and its ledger."""

    def __init__(self, workdir, name, seed, count, keys=50, rate=0, first=0, **where):
        """where: a place of support/sides.py (uri, queue and exchange, bootstrap and topic, …)."""
        self.ledger_path = str(Path(workdir) / f"{name}.ledger")
        self.count = count
        self.bodies = Bodies(seed, name)
        self._spec = {"stream": name, "seed": seed, "count": count, "keys": keys, "rate": rate,
                      "first": first, "ledger": self.ledger_path, "exchange": "", **where}
        self._log = Path(workdir) / f"{name}.feeder.log"
        self._process = None
        print(f"feeder {name}: seed {seed}, {count} messages, {keys} keys")

    def start(self):
        self._process = spawn("support.feed", self._spec, self._log)
        return self

    @property
    def confirmed(self):
        return record.count(self.ledger_path, record.LEDGER)

    def ledger(self):
        return record.read(self.ledger_path, record.LEDGER, record.Confirmed)

    def attempts(self):
        again = record.read(self.ledger_path + ".again", record.LEDGER, record.Confirmed)
        return {tuple(name): 1 + times for name, times in Counter(again).items()}

    @property
    def done(self):
        code = self._process.poll()
        assert code in (None, 0), f"feeder failed ({code}): {self._log.read_text()[-2000:]}"
        return code == 0

    def stop(self):
        """Make no more messages; what is on its way is still awaited."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def pause(self):
        self._process.send_signal(signal.SIGUSR1)

    def resume(self):
        self._process.send_signal(signal.SIGUSR2)

    def wait(self, seconds=120):
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"feeder: {self.confirmed} of {self.count} confirmed "
                                 f"in {seconds} s: {self._log.read_text()[-2000:]}") from None
        assert self.done
        return self

    def end(self):
        if self._process and self._process.poll() is None:
            self._process.kill()
            self._process.wait()


def spawn(module, spec, log):
    """Run `python -m module SPEC` with this tree's tests on its path."""
    tests = str(Path(__file__).resolve().parent.parent)
    path = os.pathsep.join(filter(None, (tests, os.environ.get("PYTHONPATH"))))
    with open(log, "ab") as out:
        return subprocess.Popen([sys.executable, "-m", module, json.dumps(spec)],
                                stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                env={**os.environ, "PYTHONPATH": path})


def main():
    switches = Switches()
    spec = json.loads(sys.argv[1])
    feed_of(spec)(spec, switches)


if __name__ == "__main__":
    main()
