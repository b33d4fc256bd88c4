# SPDX-License-Identifier: Apache-2.0
"""Messages that are hard to carry, in the normal form of each platform: none has a body of the
feeder's, so that the judge counts them as unknown."""

import sys

from support.body import DEEP
from support.corpus import corpus

MIB = 1 << 20
NUMBER = 250
HEADERS = 10_000
NESTING = 1000
TEXTS = (b"a\0b", b"line\r\nnext", b"\x1b[31mred\x1b[0m", b"\xff\xfe\xc0\x80", b"", b"\xed\xa0\x80")


def limits(platform):
    """Options of a sink, so that there is a maximum that is not hundreds of MiB."""
    return {"max_message_size": "2MiB"} if platform in ("amqp091", "amqp10") else {}


def _bodies():
    yield from TEXTS
    for size in (2 * MIB - 1, 2 * MIB, 2 * MIB + 1, 3 * MIB):
        yield bytes(size)


def _kafka():
    for body in _bodies():
        yield {"key": b"poison".hex(), "value": body.hex(), "headers": []}
        yield {"key": body[:1000].hex(), "value": b"key".hex(),
               "headers": [["h", body[:1000].hex()]]}
    yield {"key": b"poison".hex(), "value": None, "headers": []}
    yield {"key": b"poison".hex(), "value": b"many".hex(),
           "headers": [[f"h{number}", f"{number:08x}"] for number in range(HEADERS)]}


def _amqp091():
    def message(body=b"poison", headers=None, **properties):
        return {"routing_key": "poison", "properties": properties, "headers": headers,
                "body": body.hex()}
    for body in _bodies():
        yield message(body, delivery_mode=2)
        yield message(headers=[["h", ["S", body[:1000].hex()]]])
    # A header frame holds 128 KiB.
    yield message(headers=[[f"h{number}", ["b", number % 100]] for number in range(HEADERS)])
    nested = ["F", []]
    for _ in range(NESTING):
        nested = ["F", [["n", nested]]]
    yield message(headers=[["h", nested]])


def _amqp10():
    def message(body, **sections):
        return {"header": {"durable": ["boolean", True]}, "body": body, **sections}
    for body in _bodies():
        yield message([["data", body.hex()]])
    for text in ("a\0b", "line\r\nnext", "\x1b[31mred\x1b[0m"):
        yield message([["value", ["string", text]]],
                      **{"application-properties": [[["string", "h"], ["string", text]]]})
    yield message([["data", b"many".hex()]], **{"application-properties": [
        [["string", f"h{number}"], ["int", number]] for number in range(HEADERS)]})
    nested = ["list", []]
    for _ in range(NESTING):
        nested = ["list", [nested]]
    yield message([["value", nested]])


def _redis():
    for body in _bodies():
        yield {"fields": [[b"body".hex(), body.hex()]]}
        yield {"fields": [[body[:1000].hex(), b"x".hex()]]}
    yield {"fields": [[b"body".hex(), b"many".hex()],
                      *([f"h{number}".encode().hex(), b"1".hex()] for number in range(HEADERS))]}


def messages(side, dice):
    """Every shape of the corpus, and what is worse."""
    sys.setrecursionlimit(DEEP)
    refuses = getattr(side, "refuses", lambda message: False)
    user = side.endpoint.get("username", "guest")
    own = {"kafka": _kafka, "amqp091": _amqp091, "amqp10": _amqp10, "redis": _redis}
    return [*corpus(side.platform, NUMBER, dice, large=True, user=user, refuses=refuses),
            *own[side.platform]()]
