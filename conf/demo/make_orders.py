#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes orders.jsonl.gz: the events of a made-up shop, the same at every run.

A line is {"key", "headers", "body"}; the key is the customer, so that the events of a customer,
and of each order, have an order to keep.
"""

import datetime
import gzip
import heapq
import io
import json
import random
from pathlib import Path

SEED = 20260401
EVENT_COUNT = 24_000
CUSTOMER_COUNT = 2_500
START = datetime.datetime(2026, 4, 1, 6, 0, tzinfo=datetime.timezone.utc)
REGIONS = {"eu-west": ("EUR", 5), "eu-north": ("SEK", 2), "us-east": ("USD", 4),
           "us-west": ("USD", 3), "ap-south": ("INR", 2)}
PRODUCTS = [("MUG-01", "Stoneware mug", 1290), ("TEE-07", "T-shirt, unisex", 1990),
            ("BAG-12", "Canvas bag", 2450), ("LMP-03", "Desk lamp", 5900),
            ("KTL-02", "Kettle 1.7 l", 3990), ("NTB-20", "Notebook A5", 690),
            ("CHR-05", "Oak chair", 14900), ("RUG-09", "Wool rug 120×180", 22900),
            ("PEN-33", "Fountain pen", 4500), ("CUP-11", "Espresso cups, set of 4", 2890)]
CARRIERS = ["DHL", "UPS", "PostNord", "Blue Dart"]


def customers(dice):
    names = list(REGIONS)
    weights = [weight for _, weight in REGIONS.values()]
    return [(f"C-{10000 + number}", dice.choices(names, weights)[0])
            for number in range(CUSTOMER_COUNT)]


def order_events(dice, number, customer, region, began):
    """The life of an order as (time, type, body): created, paid or declined, shipped, delivered."""
    order = f"SO-{700000 + number}"
    currency = REGIONS[region][0]
    lines = [{"sku": sku, "name": name, "quantity": dice.choice((1, 1, 1, 2, 3)),
              "unit_price": price / 100}
             for sku, name, price in dice.sample(PRODUCTS, dice.choice((1, 1, 2, 3)))]
    total = round(sum(line["quantity"] * line["unit_price"] for line in lines), 2)
    base = {"order_id": order, "customer_id": customer}
    yield began, "order.created", {**base, "currency": currency, "total": total, "lines": lines}
    time = began + datetime.timedelta(seconds=dice.randint(2, 90))
    if dice.random() < 0.06:
        yield time, "payment.declined", {**base, "amount": total, "currency": currency,
                                         "reason": dice.choice(("limit", "expired", "issuer"))}
        return
    yield time, "payment.captured", {**base, "amount": total, "currency": currency,
                                     "method": dice.choice(("card", "card", "wallet", "invoice"))}
    time += datetime.timedelta(seconds=dice.randint(600, 5400))
    carrier = dice.choice(CARRIERS)
    yield time, "order.shipped", {**base, "carrier": carrier,
                                  "parcels": 1 + (len(lines) > 2), "gift": dice.random() < 0.1}
    if dice.random() < 0.8:
        time += datetime.timedelta(seconds=dice.randint(3600, 20000))
        yield time, "order.delivered", {**base, "carrier": carrier,
                                        "signed_by": dice.choice(("customer", "neighbour", None))}


def events(dice):
    """All events in the order in which they happen."""
    people = customers(dice)
    pending = []
    began = START
    number = count = 0
    while count < EVENT_COUNT:
        began += datetime.timedelta(seconds=dice.randint(1, 12))
        customer, region = dice.choice(people)
        for time, kind, body in order_events(dice, number, customer, region, began):
            heapq.heappush(pending, (time, number, kind, customer, region, body))
        number += 1
        while pending and pending[0][0] <= began and count < EVENT_COUNT:
            yield heapq.heappop(pending)
            count += 1


def record(index, event):
    time, _, kind, customer, region, body = event
    identity = f"evt-{index:06d}"
    stamp = time.isoformat(timespec="seconds").replace("+00:00", "Z")
    return {"key": customer,
            "headers": {"content-type": "application/json", "x-event-id": identity,
                        "x-event-type": kind, "x-region": region},
            "body": {"event_id": identity, "type": kind, "time": stamp, **body}}


def main():
    text = io.StringIO()
    for index, event in enumerate(events(random.Random(SEED)), 1):
        json.dump(record(index, event), text, ensure_ascii=False, separators=(",", ":"))
        text.write("\n")
    packed = gzip.compress(text.getvalue().encode(), compresslevel=9, mtime=0)
    Path(__file__).with_name("orders.jsonl.gz").write_bytes(packed)


if __name__ == "__main__":
    main()
