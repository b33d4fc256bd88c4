# SPDX-License-Identifier: Apache-2.0
"""AMQP 1.0's own encoding, section by section, for messages that are judged to the last field.

A client library's message object can't tell absent from default, joins several data sections and
loses the footer; here nothing is interpreted. A typed value is a JSON-able list [type, value]:

    ["null"]  ["boolean", true]  ["ulong", 5]  ["double", "<bits in hex>"]  ["binary", "<hex>"]
    ["string", "x"]  ["symbol", "x"]  ["uuid", "<hex>"]  ["timestamp", 5]  ["list", [value, …]]
    ["map", [[key, value], …]]  ["array", element type, [value, …]]  ["described", value, value]

A message is a dict: header and properties (name → value, only what is not null), the maps
delivery-annotations, message-annotations, application-properties and footer (lists of pairs), and
body: a list of ["data", hex], ["value", value] or ["sequence", [value, …]].
"""

import struct

HEADER = ("durable", "priority", "ttl", "first-acquirer", "delivery-count")
PROPERTIES = ("message-id", "user-id", "to", "subject", "reply-to", "correlation-id",
              "content-type", "content-encoding", "absolute-expiry-time", "creation-time",
              "group-id", "group-sequence", "reply-to-group-id")
SECTIONS = {0x70: "header", 0x71: "delivery-annotations", 0x72: "message-annotations",
            0x73: "properties", 0x74: "application-properties", 0x75: "data", 0x76: "sequence",
            0x77: "value", 0x78: "footer"}
CODES = {name: code for code, name in SECTIONS.items()}
MAPS = ("delivery-annotations", "message-annotations", "application-properties", "footer")

# type: (constructor, size, struct's letter)
FIXED = {
    "ubyte": (0x50, ">B"), "ushort": (0x60, ">H"), "uint": (0x70, ">I"), "ulong": (0x80, ">Q"),
    "byte": (0x51, ">b"), "short": (0x61, ">h"), "int": (0x71, ">i"), "long": (0x81, ">q"),
    "timestamp": (0x83, ">q"), "char": (0x73, ">I")}
BITS = {"float": (0x72, 4), "double": (0x82, 8), "decimal32": (0x74, 4), "decimal64": (0x84, 8),
        "decimal128": (0x94, 16), "uuid": (0x98, 16)}
VARIABLE = {"binary": 0xa0, "string": 0xa1, "symbol": 0xa3}
OF_FIXED = {code: (name, form) for name, (code, form) in FIXED.items()}
OF_BITS = {code: (name, size) for name, (code, size) in BITS.items()}
SMALL = {0x40: ["null"], 0x41: ["boolean", True], 0x42: ["boolean", False], 0x43: ["uint", 0],
         0x44: ["ulong", 0]}
SMALL_FIXED = {0x52: ("uint", ">B"), 0x53: ("ulong", ">B"), 0x54: ("int", ">b"),
               0x55: ("long", ">b")}


class Malformed(ValueError):
    """Bytes that are no AMQP 1.0."""


class Reader:
    def __init__(self, data):
        self._data = memoryview(data)
        self._at = 0

    @property
    def done(self):
        return self._at >= len(self._data)

    def take(self, size):
        if self._at + size > len(self._data):
            raise Malformed(f"{size} bytes wanted at {self._at} of {len(self._data)}")
        self._at += size
        return bytes(self._data[self._at - size:self._at])

    def number(self, form):
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def value(self):
        code = self.number(">B")
        if code == 0:
            return ["described", self.value(), self.value()]
        return self._of(code)

    def _of(self, code):
        if code in SMALL:
            return list(SMALL[code])
        if code == 0x56:
            return ["boolean", self.number(">B") != 0]
        if code in SMALL_FIXED:
            name, form = SMALL_FIXED[code]
            return [name, self.number(form)]
        if code in OF_FIXED:
            name, form = OF_FIXED[code]
            return [name, self.number(form)]
        if code in OF_BITS:
            name, size = OF_BITS[code]
            return [name, self.take(size).hex()]
        return self._wide(code)

    def _wide(self, code):
        size_form = ">I" if code & 0x10 else ">B"
        name = next((name for name, base in VARIABLE.items() if base == code & ~0x10), None)
        if name:
            data = self.take(self.number(size_form))
            return [name, data.hex() if name == "binary" else data.decode()]
        if code == 0x45:
            return ["list", []]
        kind = code & ~0x10
        if kind not in (0xc0, 0xc1, 0xe0):
            raise Malformed(f"constructor {code:#x}")
        inner = Reader(self.take(self.number(size_form)))
        count = inner.number(size_form)
        if kind == 0xe0:
            return inner._array(count)
        values = [inner.value() for _ in range(count)]
        if kind == 0xc0:
            return ["list", values]
        return ["map", [list(pair) for pair in zip(values[::2], values[1::2])]]

    def _array(self, count):
        code = self.number(">B")
        descriptor = None
        if code == 0:
            descriptor, code = self.value(), self.number(">B")
        values = [self._of(code) for _ in range(count)]
        element = values[0][0] if values else f"{code:#x}"
        if descriptor is not None:
            values = [["described", descriptor, value] for value in values]
            element = "described"
        return ["array", element, values]


def encode(value):
    kind = value[0]
    if kind == "null":
        return b"\x40"
    if kind == "boolean":
        return b"\x41" if value[1] else b"\x42"
    if kind in FIXED:
        code, form = FIXED[kind]
        return bytes([code]) + struct.pack(form, value[1])
    if kind in BITS:
        return bytes([BITS[kind][0]]) + bytes.fromhex(value[1])
    if kind in VARIABLE:
        data = bytes.fromhex(value[1]) if kind == "binary" else value[1].encode()
        return _sized(VARIABLE[kind], data)
    if kind == "described":
        return b"\0" + encode(value[1]) + encode(value[2])
    return _compound(value)


def _sized(code, data):
    if len(data) < 256:
        return bytes([code, len(data)]) + data
    return bytes([code | 0x10]) + struct.pack(">I", len(data)) + data


def _compound(value):
    if value[0] == "array":
        return _array(value[1], value[2])
    items = value[1] if value[0] == "list" else [item for pair in value[1] for item in pair]
    data = struct.pack(">I", len(items)) + b"".join(encode(item) for item in items)
    return bytes([0xd0 if value[0] == "list" else 0xd1]) + struct.pack(">I", len(data)) + data


def _array(element, values):
    """All elements in one width: FIXED and BITS have one here, the others take their wide form."""
    if element in VARIABLE:
        code = VARIABLE[element] | 0x10
        parts = []
        for item in values:
            data = bytes.fromhex(item[1]) if element == "binary" else item[1].encode()
            parts.append(struct.pack(">I", len(data)) + data)
    elif element == "boolean":
        code, parts = 0x56, [bytes([item[1]]) for item in values]
    else:
        code = FIXED[element][0] if element in FIXED else BITS[element][0]
        parts = [encode(item)[1:] for item in values]
    data = struct.pack(">I", len(values)) + bytes([code]) + b"".join(parts)
    return b"\xf0" + struct.pack(">I", len(data)) + data


def _fields(names, held):
    last = max((names.index(name) for name in held), default=-1)
    return ["list", [held.get(name, ["null"]) for name in names[:last + 1]]]


def _section(name, value):
    return b"\0\x53" + bytes([CODES[name]]) + encode(value)


def encode_message(message):
    parts = []
    if "header" in message:
        parts.append(_section("header", _fields(HEADER, message["header"])))
    for name in ("delivery-annotations", "message-annotations"):
        if name in message:
            parts.append(_section(name, ["map", message[name]]))
    if "properties" in message:
        parts.append(_section("properties", _fields(PROPERTIES, message["properties"])))
    if "application-properties" in message:
        parts.append(_section("application-properties",
                              ["map", message["application-properties"]]))
    for kind, value in message["body"]:
        parts.append(_section(kind, {"data": ["binary", value], "value": value,
                                     "sequence": ["list", value]}[kind]))
    if "footer" in message:
        parts.append(_section("footer", ["map", message["footer"]]))
    return b"".join(parts)


def decode_message(data):
    reader, message = Reader(data), {"body": []}
    while not reader.done:
        what = reader.value()
        if what[0] != "described" or what[1][0] != "ulong" or what[1][1] not in SECTIONS:
            raise Malformed(f"no section: {what!r:.100}")
        name, value = SECTIONS[what[1][1]], what[2]
        if name in ("header", "properties"):
            names = HEADER if name == "header" else PROPERTIES
            message[name] = {field: item for field, item in zip(names, value[1])
                             if item != ["null"]}
        elif name in MAPS:
            message[name] = value[1]
        else:
            message["body"].append([name, value if name == "value" else value[1]])
    return message
