# SPDX-License-Identifier: Apache-2.0
"""Files that feeders and collectors write and the judge reads: fixed-size records.

A record is one write, so a file's size says how many there are, at any time.
"""

import os
import struct
from collections import namedtuple

LEDGER = struct.Struct("<II")
ARRIVAL = struct.Struct("<dIIHBB")

Confirmed = namedtuple("Confirmed", "key sequence")
Arrival = namedtuple("Arrival", "time key sequence lane intact redelivered")

NO_KEY = 0xFFFFFFFF


class Writer:
    def __init__(self, path, form):
        self._file = open(path, "ab", buffering=0)
        self._form = form
        self._parts = []

    def add(self, *values):
        self._parts.append(self._form.pack(*values))

    def flush(self):
        if self._parts:
            self._file.write(b"".join(self._parts))
            self._parts.clear()


def count(path, form):
    try:
        return os.stat(path).st_size // form.size
    except FileNotFoundError:
        return 0


def read(path, form, kind, start=0):
    """The records from index `start`; a record being written is left for later."""
    try:
        with open(path, "rb") as file:
            file.seek(start * form.size)
            data = file.read()
    except FileNotFoundError:
        return []
    data = data[:len(data) - len(data) % form.size]
    return [kind(*values) for values in form.iter_unpack(data)]
