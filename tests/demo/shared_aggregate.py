# SPDX-License-Identifier: Apache-2.0
"""One logical topic made of two physical ones: local orders, and the other site's as a mirror."""

from collections import Counter

from brokers import KafkaBroker
from demo.two_way import KEYS, PARTITIONS, Shop, in_order
from kafka import KafkaConsumer
from support.clients import create_topic

TOPIC, WILDCARD = "orders", r"^(.*\.)?orders$"
SECONDS, RATE = 8, 200


class Consumer:
    """An application that subscribes to the logical topic by its wildcard."""

    def __init__(self, broker):
        self.values = []
        self._consumer = KafkaConsumer(
            bootstrap_servers=broker.bootstrap, group_id="app", auto_offset_reset="earliest",
            metadata_max_age_ms=1000)
        self._consumer.subscribe(pattern=WILDCARD)

    def take(self):
        for batch in self._consumer.poll(timeout_ms=100).values():
            self.values += [record.value.decode() for record in batch]
        return len(set(self.values))

    def close(self):
        self._consumer.close()


def play(stage, seconds=SECONDS, rate=RATE):
    a, b = stage.brokers(a=lambda folder: KafkaBroker(workdir=folder),
                         b=lambda folder: KafkaBroker(workdir=folder))
    for site in (a, b):
        create_topic(site.bootstrap, TOPIC, PARTITIONS)
    addresses = {"127.0.0.1:9092": a.bootstrap, "127.0.0.1:9093": b.bootstrap}
    bridges = [stage.bridge("shared-aggregate/site-a.conf", addresses),
               stage.bridge("shared-aggregate/site-b.conf", addresses, show=False)]
    stage.start(*bridges)
    shops = [Shop("a", a, seconds, rate), Shop("b", b, seconds, rate)]
    stage.screen.step(f"Both sites sell for {seconds} s; one application reads at each site")
    for shop in shops:
        shop.start()
    consumers = [Consumer(a), Consumer(b)]
    for shop in shops:
        shop.join()
    expected = [text for shop in shops for text in shop.sent]
    for consumer, name in zip(consumers, "ab"):
        stage.arrive(consumer.take, len(expected), f"events seen at site {name}")
    stage.stop(*bridges)
    rows = [("events of both sites", len(expected), len(expected) > KEYS)]
    for name, consumer in zip("ab", consumers):
        consumer.take()
        consumer.close()
        counts = Counter(consumer.values)
        twice = len(consumer.values) - len(counts)
        rows += [(f"site {name}: events seen once", len(counts), set(counts) == set(expected)),
                 (f"site {name}: twice", twice, twice == 0),
                 (f"site {name}: in order by key", "yes" if in_order(consumer.values) else "no",
                  in_order(consumer.values))]
    return rows
