# SPDX-License-Identifier: Apache-2.0
"""Redis Streams as an end of a route, by redis-py: see support/sides.py."""

import time
from collections import OrderedDict

from support.body import key_name

RECONNECT_S = 0.1
READ_BLOCK_MS = 50
READ_COUNT = 500


class RedisSide:
    platform = name = "redis"

    def __init__(self, broker):
        self.broker = broker
        self.endpoint = {"backend": "redis", "uri": broker.uri}

    def make(self, name):
        """There are no empty streams: the first entry makes one."""
        return {"redis": self.broker.uri, "stream_key": name}

    def source(self, place):
        return {"stream": place["stream_key"]}

    sink = mirror = source

    def put(self, place, messages):
        with client(place["redis"]) as server:
            for message in messages:
                server.execute_command("XADD", place["stream_key"], "*", *(
                    bytes.fromhex(item) for pair in message["fields"] for item in pair))

    def take(self, place, number, seconds=30):
        """The first entries of the stream, which keeps them."""
        end = time.monotonic() + seconds
        with client(place["redis"]) as server:
            while (there := server.xlen(place["stream_key"])) < number:
                assert time.monotonic() < end, f"{there} of {number} entries in {place}"
                time.sleep(0.02)
            return [{"fields": [[name.hex(), value.hex()] for name, value in pairs]}
                    for _, pairs in read(server, place["stream_key"], b"-", number)]


def client(uri):
    """decode_responses off: bytes are bytes. No retries: they would send a pipeline again unseen."""
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry
    return redis.Redis.from_url(uri, socket_timeout=10, health_check_interval=0,
                                retry=Retry(NoBackoff(), 0))


def read(server, stream, first, count):
    """Entries as (id, [(name, value), …]): redis-py's own reader makes a dict of the pairs."""
    connection = server.connection_pool.get_connection()
    try:
        connection.send_command("XRANGE", stream, first, "+", "COUNT", count)
        return [(identity, list(zip(flat[::2], flat[1::2])))
                for identity, flat in connection.read_response()]
    finally:
        server.connection_pool.release(connection)


def _fields(plan_name, region, body):
    return ("key", key_name(plan_name[0]), "region", region, "body", body)


def feed(spec, switches):
    """Pipelined; what was sent when the server went away is sent again, in order."""
    import redis
    from support.feed import SLICE, WINDOW, Books, Plan, region_of

    plan, books = Plan(spec, switches), Books(spec)
    server = client(spec["redis"])
    unresolved = OrderedDict()
    again = False
    while not (plan.done and not unresolved):
        if again:
            books.again(unresolved)
        else:
            for _ in range(max(0, min(plan.allowance(), SLICE, WINDOW))):
                key, sequence, body = plan.make()
                unresolved[(key, sequence)] = body
        if not unresolved:
            time.sleep(0.001)
            continue
        pipeline = server.pipeline(transaction=False)
        for name, body in unresolved.items():
            pipeline.execute_command("XADD", spec["stream_key"], "*",
                                     *_fields(name, region_of(*name), body))
        try:
            if again:
                # A server that ends its loading in the middle refuses a pipeline's first part only.
                server.ping()
            pipeline.execute()
        except (redis.ConnectionError, redis.TimeoutError, redis.BusyLoadingError):
            again = True
            time.sleep(RECONNECT_S)
            continue
        again = False
        books.confirmed(list(unresolved))
        unresolved.clear()


def collect(spec, notes):
    import redis

    server, last = client(spec["redis"]), b"-"
    while True:
        try:
            entries = read(server, spec["stream_key"], last, READ_COUNT)
        except (redis.ConnectionError, redis.TimeoutError, redis.BusyLoadingError):
            time.sleep(RECONNECT_S)
            continue
        for identity, pairs in entries:
            last = b"(" + identity
            fields = dict(pairs)
            notes.add(fields.get(b"body"), 0, False, fields.get(b"region"))
        notes.flush()
        if not entries:
            time.sleep(READ_BLOCK_MS / 1000)
