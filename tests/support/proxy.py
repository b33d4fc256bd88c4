# SPDX-License-Identifier: Apache-2.0
"""A TCP proxy with faults, between the bridge and a broker on loopback."""

import random
import socket
import struct
import threading
import time

from brokers import KafkaBroker, free_port

CHUNK = 1 << 16
RESET = struct.pack("ii", 1, 0)  # SO_LINGER with no time: close() sends RST


class _Link:
    """One client connection and its connection to the broker."""

    def __init__(self, proxy, client, server):
        self.proxy, self.sockets = proxy, (client, server)
        self.closed = False
        self.threads = [threading.Thread(target=self._pump, args=ends, daemon=True)
                        for ends in ((client, server, "up"), (server, client, "down"))]

    def start(self):
        for thread in self.threads:
            thread.start()

    def _pump(self, source, target, way):
        try:
            while data := source.recv(CHUNK):
                self.proxy.flowing[way].wait()
                if self.closed:
                    return
                if way in self.proxy.dropping:
                    continue
                self.proxy.hold_back()
                passed = self.proxy.passes(way, len(data))
                if self.proxy.watch:
                    self.proxy.watch(self, way, data[:passed])
                size = self.proxy.slice or len(data)  # may change meanwhile
                for index in range(0, passed, size):
                    target.sendall(data[index:min(index + size, passed)])
                if passed < len(data):
                    self.proxy.reset()
                    return
            if not self.closed:
                target.shutdown(socket.SHUT_WR)
        except OSError:
            self.close()

    def close(self, reset=False):
        self.closed = True
        for end in self.sockets:
            try:
                if reset:
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                    # A thread that reads from it would keep it open.
                    end.shutdown(socket.SHUT_RD)
                else:
                    end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            end.close()

    def half_close(self):
        """The broker seems to have said its last word; what the client says still arrives."""
        try:
            self.sockets[0].shutdown(socket.SHUT_WR)
        except OSError:
            pass


class Proxy:
    """Listens on a port of its own. Faults act on the connections that there are.

    watch(link, way, data), if set, is told what passes, before it does; the ways are "up", to the
    broker, and "down".
    """

    def __init__(self, target_port, seed=0):
        self.port = free_port()
        self.slice = 0
        self.jitter_s = 0.0
        self.watch = None
        self.bytes = {"up": 0, "down": 0}
        self._cut = None
        self._dice = random.Random(seed)
        self._count_lock = threading.Lock()
        self.dropping = set()
        self.flowing = {"up": threading.Event(), "down": threading.Event()}
        self._target = target_port
        self._links = []
        self._listener = None
        self.heal()

    def heal(self):
        """Let everything through and accept connections again."""
        self.slice = 0
        self.jitter_s = 0.0
        self._cut = None
        self.dropping.clear()
        for event in self.flowing.values():
            event.set()
        if self._listener is None:
            listener = socket.socket()
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", self.port))
            listener.listen(64)
            self._listener = listener
            threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def _accept(self, listener):
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self._target), timeout=5)
                server.settimeout(None)
            except OSError:
                client.close()
                continue
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            link = _Link(self, client, server)
            self._links.append(link)
            link.start()

    def refuse(self):
        """No new connections, and the present ones are reset."""
        if self._listener is not None:
            listener, self._listener = self._listener, None
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        self.reset()

    def reset(self):
        links, self._links = self._links, []
        for link in links:
            link.close(reset=True)

    def half_close(self):
        for link in self._links:
            link.half_close()

    def cut_after(self, way, number):
        """All connections end behind that many bytes of that way, counted from now on."""
        with self._count_lock:
            self.bytes = {"up": 0, "down": 0}
            self._cut = (way, number)

    @property
    def has_cut(self):
        return self._cut is None

    def passes(self, way, number):
        """How many of so many bytes may pass."""
        with self._count_lock:
            self.bytes[way] += number
            if self._cut is None or self._cut[0] != way or self.bytes[way] <= self._cut[1]:
                return number
            left = self._cut[1] - (self.bytes[way] - number)
            self._cut = None
            return left

    def hold_back(self):
        if self.jitter_s:
            time.sleep(self._dice.random() * self.jitter_s)

    def freeze(self, *ways):
        """Nothing passes, nothing is refused: as behind a black hole."""
        for way in ways or ("up", "down"):
            self.flowing[way].clear()

    def lose_answers(self):
        """What the broker answers is lost; what it is told arrives."""
        self.dropping.add("down")

    def end(self):
        self.refuse()
        for event in self.flowing.values():
            event.set()


class ProxiedKafka(KafkaBroker):
    """A broker with a second listener that advertises the proxy: `proxied` is its address."""

    def __init__(self, version, workdir, **options):
        super().__init__(version=version, workdir=workdir, **options)
        self._behind = free_port()
        self.proxy = Proxy(self._behind)
        self.proxied = f"127.0.0.1:{self.proxy.port}"

    def _further_listener(self):
        return self._behind, self.proxied
