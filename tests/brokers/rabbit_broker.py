# SPDX-License-Identifier: Apache-2.0
"""One private RabbitMQ node of a Debian package, with an epmd of its own."""

import os
import secrets
import shutil
import socket
import subprocess
from pathlib import Path

from .guardian import start_time
from .install import ensure_packages
from .other_release import RootFs, host_release
from .pki import make_pki
from .process import (Broker, BrokerError, free_port, port_is_open, spawn, terminate, unwatch,
                      wait_until)

BIN = Path("/usr/lib/rabbitmq/bin")  # /usr/sbin/rabbitmq-server switches to the system's user
CTL_ATTEMPT_TIMEOUT = 60
# Idle schedulers that spin would take the processor from the bridge that is tested.
ERLANG_ARGUMENTS = "+sbwt none +sbwtdcpu none +sbwtdio none"


class RabbitBroker(Broker):
    """RabbitMQ of the version that Debian has; users guest/guest. tls=True adds tls_port.

    release: "bookworm" (3.10) or "trixie" (4.0), where it need not be this machine's own.
    amqp10=True: speaks AMQP 1.0 on the same port too, at amqp10_uri.
    config: further lines of rabbitmq.conf, by name. certificate: which of the PKI's server
    certificates the TLS listener shows ("server", "wrongname", "expired"). plugins: names.
    """

    name = "rabbitmq"

    def __init__(self, workdir=None, tls=False, config=None, certificate="server", pki=None,
                 plugins=(), detached=False, amqp10=False, release=None):
        foreign = release not in (None, host_release())
        self._root = RootFs(release) if foreign else None
        if not foreign and not (BIN / "rabbitmq-server").exists():
            ensure_packages("rabbitmq")
        super().__init__(workdir, detached)
        self._dist_port, self._epmd_port = free_port(), free_port()
        self._epmd = None
        self._epmd_start = None
        self._version = None
        self.node = f"mbridge{self.port}@localhost"
        self.username = self.password = "guest"
        self.uri = f"amqp://guest:guest@127.0.0.1:{self.port}/%2F"
        self.amqp10_uri = f"amqp://guest:guest@127.0.0.1:{self.port}" if amqp10 else None
        if amqp10:
            plugins = (*plugins, "rabbitmq_amqp1_0")  # 4.0 has it built in, and a name for it
        self.tls_port = self.tls_uri = self.pki = self.ca_path = None
        settings = {"listeners.tcp.1": self.address, "disk_free_limit.absolute": "50MB"}
        if tls:
            settings.update(self._tls_settings(certificate, pki))
        settings.update(config or {})
        self._write_files(settings, plugins)

    @property
    def version(self):
        """The broker's version, e.g. "3.10.8"."""
        if self._version is None:
            self._version = self.ctl("version").strip().splitlines()[-1]
        return self._version

    def ctl(self, *arguments, timeout=CTL_ATTEMPT_TIMEOUT, tool="rabbitmqctl"):
        """Runs rabbitmqctl against this node (quiet, no table headers) and returns its output."""
        quiet = ["-q"] if arguments and arguments[0] != "eval" else []
        done = subprocess.run(self._there([BIN / tool, "-n", self.node, *quiet, *arguments]),
                              env=self._env(), stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=timeout)
        if done.returncode != 0:
            raise BrokerError(f"{tool} {' '.join(map(str, arguments))}: "
                              f"{done.stdout}{done.stderr}")
        return done.stdout

    def processes(self):
        return super().processes() + [(self._epmd.pid, self._epmd_start)]

    def _tls_settings(self, certificate, pki):
        self.pki = pki or make_pki(self.workdir / "pki")
        self.ca_path = self.pki.ca
        self.tls_port = free_port()
        self.tls_uri = f"amqps://guest:guest@127.0.0.1:{self.tls_port}/%2F"
        return {
            "listeners.ssl.1": f"127.0.0.1:{self.tls_port}",
            "ssl_options.cacertfile": self.pki.ca,
            "ssl_options.certfile": getattr(self.pki, certificate),
            "ssl_options.keyfile": getattr(self.pki, f"{certificate}_key"),
            # A client's certificate is verified if it shows one.
            "ssl_options.verify": "verify_peer",
            "ssl_options.fail_if_no_peer_cert": "false",
        }

    def _write_files(self, settings, plugins):
        self._home = self.workdir / "home"
        self._home.mkdir(exist_ok=True)
        cookie = self._home / ".erlang.cookie"
        cookie.write_text(secrets.token_hex(16))
        cookie.chmod(0o400)
        self._conf = self.workdir / "rabbitmq.conf"
        self._conf.write_text("".join(f"{k} = {v}\n" for k, v in settings.items()))
        self._plugins = self.workdir / "enabled_plugins"
        self._plugins.write_text(f"[{','.join(plugins)}].\n")
        self._pid_file = self.workdir / "pid"
        # A bare system may have no /etc/hosts that says where localhost is.
        self._inetrc = self.workdir / "inetrc"
        self._inetrc.write_text('{host, {127,0,0,1}, ["localhost"]}.\n{lookup, [file, native]}.\n')

    def _env(self):
        inherited = {name: value for name, value in os.environ.items()
                     if not name.startswith(("RABBITMQ_", "ERL_"))}
        return {
            **inherited,
            "HOME": str(self._home),
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_INETRC": str(self._inetrc),
            "RABBITMQ_NODENAME": self.node,
            "RABBITMQ_MNESIA_BASE": str(self.workdir / "db"),
            "RABBITMQ_LOG_BASE": str(self.workdir),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_CONFIG_FILE": str(self._conf),
            "RABBITMQ_CONF_ENV_FILE": str(self.workdir / "no-rabbitmq-env.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self.workdir / "no-advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self._plugins),
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            # By default the tool's own ports are the node's + 10000, which may not exist.
            "RABBITMQ_CTL_DIST_PORT_MIN": "35000",
            "RABBITMQ_CTL_DIST_PORT_MAX": "60000",
            "RABBITMQ_PID_FILE": str(self._pid_file),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": ERLANG_ARGUMENTS,
        }

    def _there(self, argv):
        """A command line that runs where RabbitMQ is installed."""
        words = [str(word) for word in argv]
        return self._root.command(words, self.workdir) if self._root else words

    def _launch(self):
        if self._epmd is None:
            self._start_epmd()
        self._pid_file.unlink(missing_ok=True)
        return spawn(self._there([BIN / "rabbitmq-server"]), self.log_path, env=self._env(),
                     detached=self._detached, cwd=self.workdir)

    def _start_epmd(self):
        # Else the node would start one as a daemon that outlives it.
        epmd = "/usr/bin/epmd" if self._root else shutil.which("epmd") or "/usr/bin/epmd"
        self._epmd = spawn(self._there([epmd, "-port", self._epmd_port, "-address", "127.0.0.1"]),
                           self.workdir / "epmd.log", env=self._env(), detached=self._detached,
                           cwd=self.workdir)
        self._epmd_start = start_time(self._epmd.pid)
        wait_until(lambda: port_is_open(self._epmd_port), 10, "epmd")

    def _ready(self):
        return "startup complete" in self.log_since_start() and self._greets()

    def _greets(self):
        """True if the node answers the protocol header with connection.start."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
                connection.sendall(b"AMQP\x00\x00\x09\x01")
                return connection.recv(1) == b"\x01"
        except OSError:
            return False

    def _main_pid(self):
        return int(self._pid_file.read_text())

    def _after_end(self):
        epmd, self._epmd = self._epmd, None
        if epmd is None:
            return
        terminate(epmd.pid, self._epmd_start, 5)
        epmd.wait()
        if not self._detached:
            unwatch(epmd.pid)
