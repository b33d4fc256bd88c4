# SPDX-License-Identifier: Apache-2.0
"""Messages of each platform in its normal form (support/normal.py): every kind, then random ones.

corpus(platform, number, dice) gives at least the shapes: every type of header, every property
there, absent and at its default, every kind of body, and the sizes. Each message has a tag by which
it is found again where a queue gave it another place: what tag() returns is unique.
"""

import struct

SIZES = (0, 1, 255, 256, 65536)
SIZES_LARGE = (900 * 1024, 1 << 20)
LARGE = 10_000
TAG = "n"
# Far from any clock: a message must not expire on its way.
TTL_MS = 3_600_000
TIME_MS = 1_700_000_000_123
WORDS = ("x", "Grüße", "☃𝄞", "", "line\r\nnext", "a\tb", "0", "-7", "1.5", "true", "null", "{}",
         "[1]", "urn:uuid:3f2504e0-4f89-11d3-9a0c-0305e82c3301", "x" * 255, "x" * 256, "ü" * 128)
# Header names that mean something to one platform or another, or to the bridge.
NAMES = ("region", "Größe", "a.b", "a b", "content-type", "content-encoding", "message-id",
         "correlation-id", "reply-to", "subject", "to", "ttl", "expiration", "priority", "durable",
         "delivery-mode", "user-id", "app-id", "exchange", "routing-key", "timestamp", "key",
         "body", "group-id", "group-sequence", "JMSXGroupID", "JMSXGroupSeq", "absolute-expiry",
         "reply-to-group-id", "traceparent", "x-own", "x-message-id", "x-correlation-id",
         "x" * 255, "ü" * 127)
# Names whose value becomes a property on platforms that have it.
PROMOTED = ("content-type", "content-encoding", "message-id", "correlation-id", "subject")


def corpus(platform, number, dice, large=True, user="guest", refuses=lambda message: False):
    """Messages in the order in which they are to be sent. user: what a user-id may say there;
    refuses(message): the broker itself can't take such a one."""
    shapes, random_one = {"kafka": (_kafka_shapes, _kafka), "amqp091": (_rabbit_shapes, _rabbit),
                          "amqp10": (_amqp10_shapes, _amqp10), "redis": (_redis_shapes, _redis)
                          }[platform]
    messages = [message for message in shapes(dice, SIZES + (SIZES_LARGE if large else ()))
                if not refuses(message)]
    while len(messages) < number:
        message = random_one(dice)
        if not refuses(message):
            messages.append(message)
    for index, message in enumerate(messages):
        _mark(platform, message, index)
        if platform == "amqp10" and "user-id" in message.get("properties", {}):
            message["properties"]["user-id"] = ["binary", user.encode().hex()]
    return messages


def tag(platform, message):
    """What a message is known by: its number, or what it holds if it has no place for one."""
    number = {"kafka": _kafka_tag, "amqp091": _rabbit_tag, "amqp10": _amqp10_tag,
              "redis": _redis_tag}[platform](message)
    return number if number is not None else f"bare {bare(platform, message)}"


def bare(platform, message):
    held = {"kafka": lambda: (message["key"], message["value"]), "amqp091": lambda: message["body"],
            "amqp10": lambda: message["body"], "redis": lambda: message["fields"]}[platform]()
    return repr(held)[:200]


def _mark(platform, message, index):
    """Adds the tag, where the message does not say that it has none ("bare")."""
    if message.pop("bare", False):
        return
    text = str(index)
    if platform == "kafka":
        message["headers"].append([TAG, text.encode().hex()])
    elif platform == "amqp091":
        message["headers"] = [*(message["headers"] or []), [TAG, ["I", index]]]
    elif platform == "amqp10":
        message.setdefault("application-properties", []).append(
            [["string", TAG], ["int", index]])
    else:
        message["fields"].append([TAG.encode().hex(), text.encode().hex()])


def _kafka_tag(message):
    return next((bytes.fromhex(value).decode() for name, value in message["headers"]
                 if name == TAG and value is not None), None)


def _rabbit_tag(message):
    return next((str(value[1]) for name, value in message["headers"] or [] if name == TAG), None)


def _amqp10_tag(message):
    return next((str(value[1]) for name, value in message.get("application-properties", [])
                 if name[1] == TAG), None)


def _redis_tag(message):
    return next((bytes.fromhex(value).decode(errors="replace") for name, value in message["fields"]
                 if name == TAG.encode().hex()), None)


def _word(dice):
    return dice.choice(WORDS)


def _blob(dice, size_max=300):
    return dice.randbytes(dice.randrange(size_max)).hex()


def _small(values):
    """Without the large ones, several of which are more than a 0-9-1 frame can hold."""
    return [value for value in values if len(repr(value)) < LARGE]


def _sized(dice, size):
    return dice.randbytes(size).hex()


# ---- Kafka ---------------------------------------------------------------------------------------


def _kafka_shapes(dice, sizes):
    def record(key=b"key".hex(), value=b"value".hex(), headers=(), timestamp=TIME_MS, **more):
        return {"key": key, "value": value, "headers": [list(pair) for pair in headers],
                "timestamp": timestamp, **more}
    yield record(headers=(), bare=True, key=b"no headers".hex())
    yield record(key=None, value=b"bare, no key".hex(), bare=True)
    yield record(key=b"bare tombstone".hex(), value=None, bare=True)
    for key in (None, "", b"\0".hex(), bytes(range(256)).hex(), "ff" * 255, b"k".hex() * 256,
                "größe".encode().hex(), b"k".hex() * 70_000):
        yield record(key=key)
    yield record(value=None)
    for size in sizes:
        yield record(value=_sized(dice, size))
    for value in (None, "", b"text".hex(), "größe".encode().hex(), "fffe00", b"a\0b".hex(),
                  bytes(range(256)).hex(), b"x".hex() * 40_000):
        yield record(headers=[["h", value]])
    yield record(headers=[["a", "31"], ["b", "32"], ["a", "33"], ["a", "31"], ["a", None]])
    yield record(headers=[[f"h{number}", f"{number:04x}"] for number in range(300)])
    yield record(headers=[["", b"nameless".hex()]])
    yield record(headers=[["name\0nul", "31"], ["name\nline", "32"]])
    yield record(headers=[["x" * 300, b"long name".hex()]])
    for name in NAMES:
        for value in ("text".encode().hex(), "fffe", None):
            yield record(headers=[[name, value]])
    for name in PROMOTED:
        yield record(headers=[[name, "61"], [name, "62"]])
        yield record(headers=[[name, "61"], ["x", "31"], [name, "61"]])
        yield record(headers=[[name, ""], [name, None]])
    for timestamp in (1, 999, 1000, TIME_MS, 4_102_444_800_999, 253_402_300_799_999):
        yield record(timestamp=timestamp)


def _kafka(dice):
    return {
        "key": dice.choice([None, "", _blob(dice, 40), f"key-{dice.randrange(9)}".encode().hex()]),
        "value": dice.choice(["", *(_blob(dice, 2000) for _ in range(6))]),
        "timestamp": TIME_MS + dice.randrange(10**9),
        "headers": [[dice.choice(NAMES), dice.choice([None, "", _word(dice).encode().hex(),
                                                      _blob(dice, 60)])]
                    for _ in range(dice.randrange(6))]}


# ---- AMQP 0-9-1 ----------------------------------------------------------------------------------

PROPERTIES_091 = {
    "content_type": ["", "text/plain", "application/x; charset=ü"],
    "content_encoding": ["", "gzip"],
    "delivery_mode": [1, 2],
    "priority": [0, 4, 9, 255],
    "correlation_id": ["", "c-1", "c" * 255],
    "reply_to": ["", "answers", "amq.rabbitmq.reply"],
    "expiration": [str(TTL_MS)],
    "message_id": ["", "m-1", "m" * 255],
    "timestamp": [0, 1, 1_700_000_000, 4_102_444_800],
    "type": ["", "created"],
    "user_id": ["guest"],
    "app_id": ["", "shop"],
    "cluster_id": ["", "left over"],
}


def _header_values_091(dice):
    text = "größe".encode().hex()
    yield from (["S", ""], ["S", text], ["S", "fffe"], ["S", b"a\0b".hex()], ["S", "78" * 70_000])
    yield from (["x", ""], ["x", "00ff"], ["x", text], ["x", "00" * 300])
    yield from (["t", True], ["t", False], ["V", None])
    for letter, low, high in (("b", -128, 127), ("B", 0, 255), ("s", -32768, 32767),
                              ("u", 0, 65535), ("I", -2**31, 2**31 - 1), ("i", 0, 2**32 - 1),
                              ("l", -2**63, 2**63 - 1)):
        yield from ([letter, low], [letter, high], [letter, 1], [letter, 0])
    for form, letter in ((">f", "f"), (">d", "d")):
        for number in (0.0, -0.0, 1.5, 0.1, -1e30):  # RabbitMQ closes the connection for NaN
            yield [letter, struct.pack(form, number).hex()]
    yield from (["D", [0, 0]], ["D", [2, 1234]], ["D", [255, 2**31 - 1]])
    yield from (["T", 0], ["T", 1_700_000_000], ["T", 4_102_444_800])
    yield from (["A", []], ["A", [["I", 1], ["S", text], ["t", True], ["V", None]]],
                ["A", [["A", [["x", "ff"]]], ["F", [["k", ["l", 7]]]]]])
    yield from (["F", []], ["F", [["a", ["I", 1]], ["b", ["F", [["c", ["S", text]]]]]]],
                ["F", [["when", ["T", 5]], ["price", ["D", [2, 199]]], ["bytes", ["x", "00"]]]])


def _rabbit_message(body="626f6479", headers=None, routing_key="orders.eu", bare=False, **props):
    message = {"routing_key": routing_key, "properties": props, "body": body, "bare": bare,
               "headers": None if headers is None else [list(pair) for pair in headers]}
    return message


def _rabbit_shapes(dice, sizes):
    yield _rabbit_message(b"bare, no properties".hex(), bare=True)
    yield _rabbit_message(b"bare, empty headers".hex(), headers=[], bare=True)
    for size in sizes:
        yield _rabbit_message(_sized(dice, size), delivery_mode=2)
    for name, values in PROPERTIES_091.items():
        for value in values:
            yield _rabbit_message(**{name: value})
    yield _rabbit_message(**{name: values[-1] for name, values in PROPERTIES_091.items()})
    for value in _header_values_091(dice):
        yield _rabbit_message(headers=[["h", value]], delivery_mode=2)
    for name in NAMES:
        for value in (["S", "74657874"], ["I", 7], ["x", "fffe"], ["V", None]):
            yield _rabbit_message(headers=[[name, value]])
    yield _rabbit_message(headers=[[f"h{number}", ["I", number]] for number in range(300)])
    for key in ("", "a", "a.b.c", "größe", "k" * 255):
        yield _rabbit_message(routing_key=key)


def _rabbit(dice):
    props = {name: dice.choice(values) for name, values in PROPERTIES_091.items()
             if dice.randrange(3) == 0}
    values = _small(_header_values_091(dice))
    names = dice.sample(NAMES, dice.randrange(5))
    return _rabbit_message(_blob(dice, 2000), [[name, dice.choice(values)] for name in names],
                           routing_key=dice.choice(["a", "b.c", "größe"]), **props)


# ---- AMQP 1.0 ------------------------------------------------------------------------------------

IDS = (["string", "id-1"], ["string", ""], ["ulong", 0], ["ulong", 2**64 - 1],
       ["uuid", "3f2504e04f8911d39a0c0305e82c3301"], ["binary", "00fffe"], ["string", "i" * 300],
       ["string", "12"], ["string", "urn:uuid:3f2504e0-4f89-11d3-9a0c-0305e82c3301"])
PROPERTIES_10 = {
    "message-id": IDS,
    "user-id": [["binary", ""]],  # the broker's own user, see corpus()
    "to": [["string", ""], ["string", "queue://elsewhere"]],
    "subject": [["string", ""], ["string", "größe"], ["string", "s" * 300]],
    "reply-to": [["string", ""], ["string", "answers"]],
    "correlation-id": IDS,
    "content-type": [["symbol", ""], ["symbol", "text/plain"]],
    "content-encoding": [["symbol", ""], ["symbol", "gzip"]],
    "absolute-expiry-time": [["timestamp", 4_102_444_800_999]],
    "creation-time": [["timestamp", 0], ["timestamp", TIME_MS]],
    "group-id": [["string", ""], ["string", "g-1"]],
    "group-sequence": [["uint", 0], ["uint", 2**32 - 1]],
    "reply-to-group-id": [["string", ""], ["string", "g-2"]],
}
HEADERS_10 = {
    "durable": [["boolean", False], ["boolean", True]],
    "priority": [["ubyte", 0], ["ubyte", 4], ["ubyte", 9]],
    "ttl": [["uint", TTL_MS]],
}


def _simple_10():
    """The types that application properties may have."""
    yield from (["null"], ["boolean", True], ["boolean", False])
    for name, bits, signed in (("ubyte", 8, 0), ("ushort", 16, 0), ("uint", 32, 0),
                               ("ulong", 64, 0), ("byte", 8, 1), ("short", 16, 1), ("int", 32, 1),
                               ("long", 64, 1)):
        yield from ([name, -2**(bits - 1) if signed else 0], [name, 2**(bits - signed) - 1],
                    [name, 1])
    for name, form in (("float", ">f"), ("double", ">d")):
        for number in (0.0, -0.0, 0.1, 1e30, float("inf"), float("nan")):
            yield [name, struct.pack(form, number).hex()]
    yield from (["char", ord("☃")], ["timestamp", 0], ["timestamp", TIME_MS], ["timestamp", -1],
                ["uuid", "3f2504e04f8911d39a0c0305e82c3301"])
    yield from (["binary", ""], ["binary", "00ff"], ["string", ""], ["string", "größe ☃"],
                ["string", "a\0b"], ["string", "x" * 70_000], ["symbol", ""], ["symbol", "sym"])


DECIMALS = (["decimal32", "22500001"], ["decimal64", "2234000000000001"],
            ["decimal128", "22080000000000000000000000000001"])


def _any_10():
    yield from _simple_10()
    yield from DECIMALS
    yield from (["list", []], ["list", [["int", 1], ["string", "x"], ["null"], ["list", []]]])
    yield from (["map", []], ["map", [[["string", "k"], ["int", 1]], [["int", 2], ["null"]]]],
                ["map", [[["symbol", "s"], ["map", [[["string", "in"], ["binary", "ff"]]]]]]])
    yield from (["array", "int", [["int", 1], ["int", -2]]],
                ["array", "string", [["string", "a"], ["string", ""]]],
                ["array", "symbol", [["symbol", "a"]]])
    yield ["described", ["symbol", "example:type"], ["list", [["int", 1]]]]


def _amqp10_message(body=(("data", b"body".hex()),), bare=False, **sections):
    message = {name.replace("_", "-"): value for name, value in sections.items()}
    return {**message, "body": [list(part) for part in body], "bare": bare}


def _amqp10_shapes(dice, sizes):
    yield _amqp10_message([("data", b"bare".hex())], bare=True)
    yield _amqp10_message([("value", ["string", "bare value"])], bare=True)
    for size in sizes:
        yield _amqp10_message([("data", _sized(dice, size))])
    for name, values in HEADERS_10.items():
        for value in values:
            yield _amqp10_message(header={name: value})
    for name, values in PROPERTIES_10.items():
        for value in values:
            yield _amqp10_message(properties={name: value})
    yield _amqp10_message(header={name: values[-1] for name, values in HEADERS_10.items()},
                          properties={name: values[1 % len(values)]
                                      for name, values in PROPERTIES_10.items()})
    for value in (*_simple_10(), *DECIMALS):
        yield _amqp10_message(application_properties=[[["string", "h"], value]])
    for name in NAMES:
        for value in (["string", "text"], ["int", 7], ["binary", "fffe"], ["null"]):
            yield _amqp10_message(application_properties=[[["string", name], value]])
    for value in _any_10():
        yield _amqp10_message([("value", value)])
        yield _amqp10_message(message_annotations=[[["symbol", "x-opt-own"], value]])
    yield from _amqp10_bodies()


def _amqp10_bodies():
    yield _amqp10_message([("data", "00ff"), ("data", ""), ("data", "61")])
    yield _amqp10_message([("data", ""), ("data", "")])
    yield _amqp10_message([("sequence", [["int", 1], ["string", "x"]])])
    yield _amqp10_message([("sequence", [])])
    yield _amqp10_message([("sequence", [["int", 1]]), ("sequence", [["null"], ["list", []]])])
    yield _amqp10_message([("value", ["map", [[["string", f"k{n}"], ["int", n]]
                                              for n in range(300)]])])
    yield _amqp10_message(footer=[[["symbol", "x-opt-sum"], ["binary", "00ff"]]])


def _amqp10(dice):
    simple, every = _small(_simple_10()), _small(_any_10())
    message = _amqp10_message(dice.choice([
        [("data", _blob(dice, 2000))], [("data", _blob(dice)), ("data", _blob(dice))],
        [("value", dice.choice(every))], [("sequence", [dice.choice(every)])]]))
    header = {name: dice.choice(values) for name, values in HEADERS_10.items()
              if dice.randrange(3) == 0}
    properties = {name: dice.choice(values) for name, values in PROPERTIES_10.items()
                  if dice.randrange(4) == 0}
    if header:
        message["header"] = header
    if properties:
        message["properties"] = properties
    names = dice.sample(NAMES, dice.randrange(5))
    message["application-properties"] = [[["string", name], dice.choice(simple)]
                                         for name in names]
    if dice.randrange(3) == 0:
        message["message-annotations"] = [[["symbol", "x-opt-a"], dice.choice(every)]]
    return message


# ---- Redis Streams -------------------------------------------------------------------------------


def _redis_message(*pairs, bare=False):
    return {"bare": bare, "fields": [
        [name.encode().hex() if isinstance(name, str) else name.hex(),
         value.encode().hex() if isinstance(value, str) else value.hex()] for name, value in pairs]}


def _redis_shapes(dice, sizes):
    yield _redis_message(("body", "bare"), bare=True)
    yield _redis_message(("", ""), bare=True)
    yield _redis_message(("a", "1"), ("b", "2"))
    yield _redis_message(("a", "1"), ("a", "2"), ("a", "1"), ("b", ""))
    yield _redis_message(("größe", "ü"), (b"\xff\xfe", b"\x00\xff"), ("", "nameless"))
    yield _redis_message(("body", "x"), ("body", "y"))
    yield _redis_message(("key", "k"), ("body", "x"))
    yield _redis_message(("key", ""), ("body", ""))
    yield _redis_message(("key", b"\xff\x00"), ("body", bytes(range(256))))
    yield _redis_message(("key", "k"), ("key", "l"), ("body", "x"))
    for size in sizes:
        yield _redis_message(("body", dice.randbytes(size)))
    for name in NAMES:
        for value in ("text", "7", "", b"\xff\xfe"):
            yield _redis_message(("body", "x"), (name, value))
            yield _redis_message((name, value))
    yield _redis_message(("x" * 300, "long name"), ("body", "x"))
    yield _redis_message(*((f"f{number}", str(number)) for number in range(300)))
    for name in (*PROMOTED, "key"):
        yield _redis_message((name, "a"), (name, "b"), ("body", "x"))
        yield _redis_message((name, ""), ("body", "x"), ("a", "1"), (name, ""))
    for moment in ("0", "1", "1700000000123", "-1", "soon"):
        yield _redis_message(("timestamp", moment), ("body", "x"))
    yield _redis_message(("body", "x"), ("name\0nul", "1"), ("line\r\n", "2"))


def _redis(dice):
    pairs = [(dice.choice(NAMES), dice.choice([_word(dice), dice.randbytes(20)]))
             for _ in range(dice.randrange(6))]
    if dice.randrange(3):
        pairs.insert(dice.randrange(len(pairs) + 1), ("body", dice.randbytes(dice.randrange(999))))
    return _redis_message(*pairs)
