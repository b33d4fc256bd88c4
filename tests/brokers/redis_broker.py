# SPDX-License-Identifier: Apache-2.0
"""Redis from Debian's package: one server, a pair with Sentinels, or a cluster."""

import socket
import subprocess
import time
from pathlib import Path

from .install import ensure_packages
from .pki import make_pki
from .process import Broker, BrokerError, free_port, port_is_open, spawn, wait_until

SERVER = "/usr/bin/redis-server"
SLOTS = 16384


def _require(program=SERVER):
    if not Path(program).exists():
        ensure_packages("redis")
    if not Path(program).exists():
        raise BrokerError(f"{program} is missing")


def call(port, *words, password=None, timeout=15):
    """One command and its reply: str, int, None or a list of them. Error replies are raised."""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as connection:
        stream = connection.makefile("rwb")
        commands = ([("AUTH", password)] if password else []) + [words]
        for command in commands:
            stream.write(b"*%d\r\n" % len(command))
            for word in command:
                word = word if isinstance(word, bytes) else str(word).encode()
                stream.write(b"$%d\r\n%s\r\n" % (len(word), word))
        stream.flush()
        for _ in commands:
            reply = _reply(stream)
        return reply


def _reply(stream):
    line = stream.readline()
    if not line.endswith(b"\r\n"):
        raise OSError("the server ended the connection")
    kind, text = line[:1], line[1:-2]
    if kind == b"-":
        raise BrokerError(text.decode(errors="replace"))
    if kind == b"+":
        return text.decode()
    if kind == b":":
        return int(text)
    if kind == b"$":
        size = int(text)
        return None if size < 0 else stream.read(size + 2)[:-2].decode(errors="replace")
    return None if text == b"-1" else [_reply(stream) for _ in range(int(text))]


class RedisBroker(Broker):
    """One redis-server. Every write is on disk before it is answered (appendfsync always).

    config: further settings by name. password: of the default user. tls=True adds tls_port;
    certificate: which of the PKI's server certificates it shows ("server", "wrongname", "expired").
    """

    name = "redis"
    start_timeout = 60

    def __init__(self, workdir=None, tls=False, config=None, certificate="server", pki=None,
                 password=None, program=SERVER, detached=False):
        _require(program)
        super().__init__(workdir, detached)
        self._program = program
        self.password = password
        self.uri = f"redis://{f':{password}@' if password else ''}127.0.0.1:{self.port}/0"
        self.tls_port = self.pki = None
        settings = {"port": self.port, "bind": "127.0.0.1", "dir": self.workdir, "save": '""',
                    "appendonly": "yes", "appendfsync": "always", "daemonize": "no",
                    "protected-mode": "no"}
        if password:
            settings["requirepass"] = password
        if tls:
            self.pki = pki or make_pki(self.workdir / "pki")
            self.tls_port = free_port()
            settings.update({
                "tls-port": self.tls_port, "tls-ca-cert-file": self.pki.ca,
                "tls-cert-file": getattr(self.pki, certificate),
                "tls-key-file": getattr(self.pki, f"{certificate}_key"),
                "tls-auth-clients": "optional"})
        settings.update(config or {})
        self._conf = self.workdir / "redis.conf"
        self._conf.write_text("".join(f"{name} {value}\n" for name, value in settings.items()))

    def call(self, *words, timeout=15):
        return call(self.port, *words, password=self.password, timeout=timeout)

    def _launch(self):
        return spawn([self._program, self._conf], self.log_path, detached=self._detached,
                     cwd=self.workdir)

    def _ready(self):
        if not port_is_open(self.port):
            return False
        try:
            return self.call("PING") == "PONG"
        except (OSError, BrokerError):
            return False  # it is loading


class RedisSentinel(Broker):
    """One sentinel that watches a master; quorum sentinels have to agree."""

    name = "sentinel"
    start_timeout = 60

    def __init__(self, master_port, quorum, workdir=None, master="shop", down_after_ms=1000):
        _require()
        super().__init__(workdir)
        self.master = master
        self._conf = self.workdir / "sentinel.conf"
        self._conf.write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {self.workdir}\nprotected-mode no\n"
            f"sentinel monitor {master} 127.0.0.1 {master_port} {quorum}\n"
            f"sentinel down-after-milliseconds {master} {down_after_ms}\n"
            f"sentinel failover-timeout {master} 3000\n")

    def call(self, *words):
        return call(self.port, *words)

    def _launch(self):
        return spawn([SERVER, self._conf, "--sentinel"], self.log_path, cwd=self.workdir)

    def _ready(self):
        try:
            return port_is_open(self.port) and self.call("PING") == "PONG"
        except (OSError, BrokerError):
            return False


class Fleet:
    """Several processes that are started and stopped together."""

    def __init__(self):
        self.members = []

    def _start(self, member):
        self.members.append(member)
        member.start()
        return member

    def stop(self):
        for member in reversed(self.members):
            if member.pid is not None:
                member.stop()

    close = end = stop

    def __enter__(self):
        return self.start()

    def __exit__(self, *exception):
        self.stop()


class RedisSentinels(Fleet):
    """A master, a replica, and three sentinels."""

    def __init__(self, workdir, master="shop"):
        super().__init__()
        self._workdir = workdir
        self.master = master

    def start(self):
        first = self._start(RedisBroker(self._workdir))
        second = self._start(RedisBroker(
            self._workdir, config={"replicaof": f"127.0.0.1 {first.port}"}))
        self.servers = [first, second]
        wait_until(lambda: "state=online" in first.call("INFO", "replication"), 20, "a replica")
        self.sentinels = [self._start(RedisSentinel(first.port, 2, self._workdir, self.master))
                          for _ in range(3)]
        wait_until(self._agree, 30, "sentinels that know each other and the replica")
        return self

    @property
    def nodes(self):
        return [sentinel.address for sentinel in self.sentinels]

    def master_port(self):
        for sentinel in self.sentinels:
            try:
                return int(sentinel.call("SENTINEL", "get-master-addr-by-name", self.master)[1])
            except (OSError, BrokerError, TypeError):
                continue
        return None

    def server(self, port):
        return next(server for server in self.servers if server.port == port)

    def wait_master(self, other_than, seconds=30):
        """Until another server is master, and says so itself."""
        def switched():
            port = self.master_port()
            if port in (None, other_than):
                return None
            try:
                return port if call(port, "ROLE")[0] == "master" else None
            except (OSError, BrokerError):
                return None
        return self.server(wait_until(switched, seconds, "another master"))

    def _agree(self):
        def facts(sentinel):
            flat = sentinel.call("SENTINEL", "MASTER", self.master)
            return dict(zip(flat[::2], flat[1::2]))
        return all(int(known["num-slaves"]) >= 1 and int(known["num-other-sentinels"]) >= 2
                   for known in map(facts, self.sentinels))


class RedisCluster(Fleet):
    """Three masters, each with a replica."""

    def __init__(self, workdir, masters=3, replicas=1, node_timeout_ms=1500):
        super().__init__()
        self._workdir = workdir
        self._masters, self._replicas = masters, replicas
        self._settings = {"cluster-enabled": "yes", "cluster-node-timeout": node_timeout_ms,
                          "cluster-config-file": "nodes.conf", "appendfsync": "everysec",
                          "cluster-replica-validity-factor": 0}

    def _node(self):
        # The bus listens on another port, which has to be free as well.
        return self._start(RedisBroker(
            self._workdir, config={**self._settings, "cluster-port": free_port()}))

    def start(self):
        count = self._masters * (1 + self._replicas)
        self.nodes = [self._node() for _ in range(count)]
        done = subprocess.run(
            ["redis-cli", "--cluster", "create", *(node.address for node in self.nodes),
             "--cluster-replicas", str(self._replicas), "--cluster-yes"],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
        if done.returncode != 0:
            raise BrokerError(f"no cluster: {done.stdout}{done.stderr}")
        wait_until(self._settled, 40, "a cluster in which all know all")
        return self

    @property
    def uri(self):
        return "redis://" + ",".join(node.address for node in self.nodes)

    def _settled(self):
        for node in self.nodes:
            facts = node.call("CLUSTER", "INFO")
            if ("cluster_state:ok" not in facts
                    or f"cluster_known_nodes:{len(self.nodes)}" not in facts):
                return False
        return len([1 for node in self.nodes if node.call("ROLE")[0] == "slave"
                    and node.call("ROLE")[3] == "connected"]) == self._masters * self._replicas

    def slot(self, key):
        return self._alive().call("CLUSTER", "KEYSLOT", key)

    def owner(self, slot):
        """The node that serves a slot, as a node that is alive sees it."""
        for first, last, master, *_ in self._alive().call("CLUSTER", "SLOTS"):
            if first <= slot <= last:
                return next(node for node in self.nodes if node.port == master[1])
        return None

    def masters(self):
        return [node for node in self.nodes
                if node.pid is not None and node.call("ROLE")[0] == "master"]

    def migrate(self, slot, target, pause=0.0):
        """Moves a slot with its keys to another master, as redis-cli --cluster reshard does."""
        source = self.owner(slot)
        source_id, target_id = source.call("CLUSTER", "MYID"), target.call("CLUSTER", "MYID")
        target.call("CLUSTER", "SETSLOT", slot, "IMPORTING", source_id)
        source.call("CLUSTER", "SETSLOT", slot, "MIGRATING", target_id)
        while keys := source.call("CLUSTER", "GETKEYSINSLOT", slot, 10):
            for key in keys:
                source.call("MIGRATE", "127.0.0.1", target.port, key, 0, 10000, timeout=15)
        time.sleep(pause)  # the window in which the old owner answers ASK
        for node in [target, source, *self.masters()]:
            node.call("CLUSTER", "SETSLOT", slot, "NODE", target_id)

    def _alive(self):
        return next(node for node in self.nodes if node.pid is not None)
