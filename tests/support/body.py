# SPDX-License-Identifier: Apache-2.0
"""Message bodies that can be made again from (seed, stream, key, sequence).

    mbt1|<stream>|<key>|<sequence>|<crc of all that follows>|<size>|<binary filler>

The filler holds every byte value, so that a bridge which re-encodes text is caught.
"""

import random
import zlib

MAGIC = b"mbt1"
DEEP = 20_000  # the limit of recursion for whoever reads or writes values that are nested deeply
_POOL_SIZE = 1 << 17
_SIZE_LARGEST = 1 << 16


class Bodies:
    """Makes and checks the bodies of one stream. Sizes vary by seed."""

    def __init__(self, seed, stream, small=16, large=900):
        self.seed = seed
        self.stream = stream
        self._prefix = MAGIC + b"|" + stream.encode() + b"|"
        self._pool = random.Random(seed).randbytes(_POOL_SIZE)
        self._mix = zlib.crc32(f"{seed}/{stream}".encode())
        self._small = small
        self._spread = max(1, large - small)

    def make(self, key, sequence):
        mix = zlib.crc32(b"%d/%d" % (key, sequence), self._mix)
        size = self._small + mix % self._spread
        if mix % 4099 == 0:
            size = _SIZE_LARGEST
        start = (mix >> 8) % (_POOL_SIZE - size)
        filler = self._pool[start:start + size]
        crc = zlib.crc32(filler, zlib.crc32(b"%d/%d" % (key, sequence)))
        return self._prefix + b"%d|%d|%08x|%d|" % (key, sequence, crc, size) + filler

    def read(self, body):
        """(key, sequence, intact); (None, None, False) if it names no message at all."""
        if body is None or not body.startswith(self._prefix):
            return None, None, False
        parts = body[len(self._prefix):].split(b"|", 4)
        try:
            key, sequence = int(parts[0]), int(parts[1])
            if key < 0 or sequence < 0:
                return None, None, False
        except (ValueError, IndexError):
            return None, None, False
        return key, sequence, body == self.make(key, sequence)


def key_name(key):
    return f"key-{key:04d}"
