# SPDX-License-Identifier: Apache-2.0
"""Active-active: two sites, two bridges, producers on both sides, no loop.

Both sites have a topic `orders`, and an application that writes into it. Each site's bridge brings
the other's orders over. A message's path says where it has been, so that none goes in circles.
"""

import threading
import time
from collections import Counter

from brokers import KafkaBroker
from kafka import KafkaProducer
from support.clients import create_topic, read_topic

TOPIC, PARTITIONS, KEYS = "orders", 4, 20
SECONDS, RATE = 10, 200


class Shop(threading.Thread):
    """Sells at one site for some seconds; sent: the orders that Kafka acknowledged."""

    def __init__(self, site, broker, seconds, rate):
        super().__init__(daemon=True)
        self.sent = []
        self._site, self._broker, self._seconds, self._rate = site, broker, seconds, rate

    def run(self):
        producer = KafkaProducer(bootstrap_servers=self._broker.bootstrap, acks="all", linger_ms=5)
        began = time.monotonic()
        number, waiting = 0, []
        while (passed := time.monotonic() - began) < self._seconds:
            while number < passed * self._rate:
                text = f"{self._site}-{number}"
                waiting.append((text, producer.send(
                    TOPIC, text.encode(), key=f"{self._site}{number % KEYS}".encode())))
                number += 1
            time.sleep(0.01)  # the shop's own pace
        for text, future in waiting:
            future.get(30)
            self.sent.append(text)
        producer.close()


def in_order(values):
    """True if first occurrences of each key come in the order of their numbers."""
    latest = {}
    for value in dict.fromkeys(values):
        site, number = value.rsplit("-", 1)
        key = (site, int(number) % KEYS)
        if latest.get(key, -1) > int(number):
            return False
        latest[key] = int(number)
    return True


def play(stage, seconds=SECONDS, rate=RATE):
    a, b = stage.brokers(a=lambda folder: KafkaBroker(workdir=folder),
                         b=lambda folder: KafkaBroker(workdir=folder))
    for site in (a, b):
        create_topic(site.bootstrap, TOPIC, PARTITIONS)
    addresses = {"127.0.0.1:9092": a.bootstrap, "127.0.0.1:9093": b.bootstrap}
    bridges = [stage.bridge("two-way/site-a.conf", addresses),
               stage.bridge("two-way/site-b.conf", addresses, show=False)]
    stage.start(*bridges)
    shops = [Shop("a", a, seconds, rate), Shop("b", b, seconds, rate)]
    stage.screen.step(f"Both sites sell for {seconds} s, {rate} orders a second each")
    for shop in shops:
        shop.start()
    for shop in shops:
        shop.join()
    expected = [text for shop in shops for text in shop.sent]
    received = sum(len(shop.sent) for shop in shops)
    # Each bridge has read the other site's own orders, and those that came back from here.
    stage.arrive(lambda: sum(bridge.run.counters().total("received") for bridge in bridges),
                 2 * received, "messages read by both bridges")
    dropped = sum(bridge.run.counters().total("filtered") for bridge in bridges)
    stage.stop(*bridges)
    rows = [("orders produced, both sites", received, received > 0),
            ("stopped by their path", dropped, dropped == received)]
    for name, site in (("a", a), ("b", b)):
        values = [record.value.decode() for record in read_topic(site.bootstrap, TOPIC, None)]
        counts = Counter(values)
        rows += [(f"site {name}: distinct orders", len(counts), set(counts) == set(expected)),
                 (f"site {name}: twice", len(values) - len(counts), len(values) == len(counts)),
                 (f"site {name}: in order by key", "yes" if in_order(values) else "no",
                  in_order(values))]
    return rows
