# SPDX-License-Identifier: Apache-2.0
"""The shipped file of orders, and the form in which mock_kafka takes it."""

import gzip
import json
from collections import namedtuple

Order = namedtuple("Order", "identity key headers body")


def load_orders(path):
    """The orders of a file in which each line is {"key", "headers", "body"}; body as bytes."""
    orders = []
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            record = json.loads(line)
            body = json.dumps(record["body"], ensure_ascii=False, separators=(",", ":"))
            orders.append(Order(record["headers"]["x-event-id"], record["key"],
                                record["headers"], body.encode()))
    return orders


def write_feed(orders, path):
    """Writes them as mock_kafka.c reads them: key, headers, an empty field, body, by tabs."""
    with open(path, "wb") as feed:
        for order in orders:
            headers = [f"{name}={value}" for name, value in order.headers.items()]
            feed.write("\t".join([order.key, *headers, "", ""]).encode() + order.body + b"\n")
    return path
