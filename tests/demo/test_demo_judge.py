# SPDX-License-Identifier: Apache-2.0
"""The demo's judge catches what a demo must not show."""

from types import SimpleNamespace

from demo.judge import Judge
from demo.orders import Order, load_orders, write_feed
from pathlib import Path

ORDERS_FILE = Path(__file__).resolve().parents[2] / "conf/demo/orders.jsonl.gz"


def an_order(number, key):
    identity = f"evt-{number}"
    headers = {"x-event-id": identity, "content-type": "application/json"}
    return Order(identity, key, headers, f"body {number}".encode())


ORDERS = [an_order(1, "a"), an_order(2, "b"), an_order(3, "a")]


def judge_of(arrivals):
    judge = Judge(ORDERS)
    for order, body in arrivals:
        judge.see(SimpleNamespace(headers={"x-event-id": order.identity},
                                  content_type="application/json"), body)
    return judge.lost, judge.changed, judge.disordered, judge.duplicates


def as_sent(*places):
    return [(ORDERS[place], ORDERS[place].body) for place in places]


def test_all_well():
    assert judge_of(as_sent(0, 1, 2)) == (0, 0, 0, 0)


def test_keys_may_overtake_each_other():
    assert judge_of(as_sent(1, 0, 2)) == (0, 0, 0, 0)


def test_lost():
    assert judge_of(as_sent(0, 1)) == (1, 0, 0, 0)


def test_twice():
    assert judge_of(as_sent(0, 1, 0, 2)) == (0, 0, 0, 1)


def test_out_of_order():
    assert judge_of(as_sent(2, 1, 0)) == (0, 0, 1, 0)


def test_changed():
    assert judge_of(as_sent(0, 1) + [(ORDERS[2], b"other")]) == (0, 1, 0, 0)


def test_foreign():
    assert judge_of(as_sent(0, 1, 2) + [(an_order(9, "a"), b"")]) == (0, 1, 0, 0)


def test_the_shipped_orders(tmp_path):
    orders = load_orders(ORDERS_FILE)
    assert len(orders) >= 20_000
    assert len({order.identity for order in orders}) == len(orders)
    feed = write_feed(orders, tmp_path / "feed").read_bytes()
    assert feed.count(b"\n") == len(orders)
    assert all(b"\t" not in order.body and b"\n" not in order.body for order in orders)
