# SPDX-License-Identifier: Apache-2.0
"""AMQP 0-9-1 tables with their types. pika tells the value of a header, but not which of the wire's
types it had, and chooses one itself when it writes: with this module imported, a table that it read
has `pairs` besides, and a Table is written as its pairs say.

A value is a JSON-able list [tag, value] with the tag that RabbitMQ has for it:
    b B s u I i l: int   t: bool   f d: bits in hex   S x: bytes in hex   D: [scale, value]
    T: seconds   V: None   A: [value, …]   F: [[name, value], …]
"""

import struct

import pika.data

NUMBERS = {"b": ">b", "B": ">B", "s": ">h", "u": ">H", "I": ">i", "i": ">I", "l": ">q",
           "T": ">Q"}
BITS = {"f": 4, "d": 8}


class Table(dict):
    """Headers for BasicProperties, from pairs [name, [tag, value]]."""

    def __init__(self, pairs, values=()):
        super().__init__(values)
        self.pairs = pairs

    def __bool__(self):
        return True  # an empty table is written as one


def _encode(value):
    tag, item = value
    code = tag.encode()
    if tag in NUMBERS:
        return code + struct.pack(NUMBERS[tag], item)
    if tag in BITS:
        return code + bytes.fromhex(item)
    if tag in "Sx":
        data = bytes.fromhex(item)
        return code + struct.pack(">I", len(data)) + data
    if tag == "t":
        return code + bytes([item])
    if tag == "D":
        return code + struct.pack(">BI", *item)
    if tag == "V":
        return code
    data = _pairs(item) if tag == "F" else b"".join(_encode(part) for part in item)
    return code + struct.pack(">I", len(data)) + data


def _pairs(pairs):
    parts = []
    for name, value in pairs:
        data = name.encode()
        parts.append(bytes([len(data)]) + data + _encode(value))
    return b"".join(parts)


def _decode(data, at):
    tag = chr(data[at])
    at += 1
    if tag in NUMBERS:
        form = NUMBERS[tag]
        return [tag, struct.unpack_from(form, data, at)[0]], at + struct.calcsize(form)
    if tag in BITS:
        return [tag, data[at:at + BITS[tag]].hex()], at + BITS[tag]
    if tag == "t":
        return [tag, data[at] != 0], at + 1
    if tag == "D":
        return [tag, list(struct.unpack_from(">BI", data, at))], at + 5
    if tag == "V":
        return [tag, None], at
    size = struct.unpack_from(">I", data, at)[0]
    at += 4
    end = at + size
    if tag in "Sx":
        return [tag, data[at:end].hex()], end
    if tag == "F":
        return [tag, _read_pairs(data, at, end)], end
    if tag != "A":
        raise ValueError(f"field tag {tag!r}")
    items = []
    while at < end:
        item, at = _decode(data, at)
        items.append(item)
    return [tag, items], end


def _read_pairs(data, at, end):
    pairs = []
    while at < end:
        name = data[at + 1:at + 1 + data[at]].decode()
        value, at = _decode(data, at + 1 + data[at])
        pairs.append([name, value])
    return pairs


def _patch(decode=pika.data.decode_table, encode=pika.data.encode_table):
    def decode_table(encoded, offset):
        values, end = decode(encoded, offset)
        return Table(_read_pairs(bytes(encoded), offset + 4, end), values), end

    def encode_table(pieces, table):
        if not isinstance(table, Table):
            return encode(pieces, table)
        data = _pairs(table.pairs)
        pieces += [struct.pack(">I", len(data)), data]
        return 4 + len(data)
    pika.data.decode_table, pika.data.encode_table = decode_table, encode_table


_patch()
