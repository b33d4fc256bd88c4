# SPDX-License-Identifier: Apache-2.0
"""What all brokers share: ports, starting, waiting, signals, and that nothing stays behind."""

import atexit
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from .guardian import start_time

LOG_TAIL_LINES = 100
# Below the kernel's ephemeral range: a client that keeps reconnecting to a broker that is down
# could otherwise be given the broker's own port as its source port, and connect to itself.
PORT_MIN, PORT_MAX = 15000, 31999
WELL_KNOWN = {15671, 15672, 15674, 19092, 25672, 27017}

_reserved = {}
_running = set()
_lock = threading.Lock()
_guardian = None


class BrokerError(RuntimeError):
    """A broker did not start, died, or did not do what it was asked in time."""


def wait_until(condition, timeout, what, interval=0.05):
    """Polls condition until it is true and returns its value; raises TimeoutError at the deadline."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= deadline:
            raise TimeoutError(f"not within {timeout} s: {what}")
        time.sleep(interval)


def free_port():
    """A free loopback port, not given to anybody else as long as this process lives."""
    for _ in range(200):
        port = random.randint(PORT_MIN, PORT_MAX)
        if port in WELL_KNOWN or port in _reserved:
            continue
        claim = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            claim.bind(f"\0mbridge-port-{port}")  # abstract: the kernel drops it with the process
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
        except OSError:
            claim.close()
            continue
        _reserved[port] = claim
        return port
    raise BrokerError(f"no free port between {PORT_MIN} and {PORT_MAX}")


def port_is_open(port):
    """True if something accepts connections on the loopback port."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    except OSError:
        return False


def log_tail(path, lines=LOG_TAIL_LINES):
    try:
        return "\n".join(Path(path).read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return "(no log)"


def terminate(pid, start, timeout):
    """SIGTERM, then SIGKILL to a process that need not be a child. True if it left in time."""
    if start_time(pid) != start:
        return True
    os.kill(pid, signal.SIGTERM)
    os.kill(pid, signal.SIGCONT)
    try:
        wait_until(lambda: is_gone(pid, start), timeout, "exit")
        return True
    except TimeoutError:
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: is_gone(pid, start), 10, f"exit of {pid} after SIGKILL")
        return False


def is_gone(pid, start):
    """True if the process has ended, whether or not its parent has noticed."""
    if start_time(pid) != start:
        return True
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:
            fields = stat.read().rpartition(")")[2].split()
    except OSError:
        return True
    # Its other threads, and with them its sockets, may outlive the first one for a moment.
    return fields[0] in "ZX" and int(fields[17]) <= 1


def _tell_guardian(line):
    global _guardian
    with _lock:
        if _guardian is None:
            _guardian = subprocess.Popen(
                [sys.executable, "-S", Path(__file__).with_name("guardian.py")],
                stdin=subprocess.PIPE, text=True, start_new_session=True)
        try:
            _guardian.stdin.write(line + "\n")
            _guardian.stdin.flush()
        except BrokenPipeError:
            _guardian = None


def spawn(argv, log_path, env=None, detached=False, **popen):
    """Starts argv in a session of its own with its output appended to log_path."""
    if not detached:
        _stop_on_sigterm()
    with open(log_path, "ab") as log:
        child = subprocess.Popen([str(word) for word in argv], env=env, stdout=log, stderr=log,
                                 start_new_session=True,
                                 **{"stdin": subprocess.DEVNULL, **popen})
    if not detached:
        watch(child.pid)
    return child


def watch(pid):
    """Has pid killed if this interpreter goes away without unwatch()."""
    start = start_time(pid)
    if start is not None:
        _tell_guardian(f"add {pid} {start}")


def scratch_dir(name):
    """A new directory that does not outlive this interpreter, however it ends."""
    path = Path(tempfile.mkdtemp(prefix=f"mbridge-{name}-"))
    _tell_guardian(f"directory {path}")
    return path


def unwatch(pid):
    _tell_guardian(f"del {pid}")


def _stop_on_sigterm():
    """SIGTERM ends the interpreter in order, so that the exit handler below runs."""
    if (threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL):
        signal.signal(signal.SIGTERM, _terminated)


def _terminated(number, frame):
    # The one exception that a test runner does not take for the failure of a single test.
    raise KeyboardInterrupt(signal.Signals(number).name)


@atexit.register
def _close_all():
    for broker in list(_running):
        try:
            broker.close()
        except Exception as error:  # the others have to be stopped too
            print(f"{broker}: {error}", file=sys.stderr)
    if _guardian is not None:
        _guardian.stdin.close()
        _guardian.wait()


class Broker:
    """One broker process. A subclass says how it starts (_launch) and when it is ready (_ready)."""

    name = "broker"
    start_timeout = 90
    stop_timeout = 20

    def __init__(self, workdir=None, detached=False):
        self._owns_workdir = workdir is None
        base = scratch_dir(self.name) if workdir is None else Path(workdir)
        self._base = base
        self._detached = detached
        self._child = None
        self._pid = None
        self._pid_start = None
        self._log_offset = 0
        self.port = free_port()
        self.workdir = base / f"{self.name}-{self.port}"
        self.workdir.mkdir(parents=True, exist_ok=True)
        self.log_path = self.workdir / "log"

    # What a subclass provides.
    def _launch(self):
        """Starts the process and returns its subprocess.Popen."""
        raise NotImplementedError

    def _ready(self):
        """True once clients are served."""
        raise NotImplementedError

    def _main_pid(self):
        """The process to signal, once the broker is ready; by default the one that was started."""
        return self._child.pid

    def _after_end(self):
        """Tidies up when the process has ended, in whatever way."""

    # What its users call.
    @property
    def pid(self):
        """The pid of the running broker, else None."""
        return self._pid

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def start(self):
        """Starts the broker and returns it when it is ready."""
        if self._child is not None:
            raise BrokerError(f"{self} runs already")
        self._log_offset = self.log_path.stat().st_size if self.log_path.exists() else 0
        _running.add(self)
        try:
            self._child = self._launch()
            wait_until(self._ready_or_dead, self.start_timeout, f"{self} ready")
            self._pid = self._main_pid()
            self._pid_start = start_time(self._pid)
            if self._pid != self._child.pid and not self._detached:
                watch(self._pid)
        except BaseException as error:
            tail = log_tail(self.log_path)
            self._end(signal.SIGKILL)
            if isinstance(error, (TimeoutError, OSError, BrokerError)):
                raise BrokerError(f"{self} did not start: {error}\n{tail}") from error
            raise
        return self

    def stop(self):
        """Stops the broker in order; after stop_timeout it is killed. Keeps its data and port."""
        self._end(signal.SIGTERM)

    def kill(self):
        """Ends the broker as `kill -9` does, and waits until it is gone."""
        if self._child is None:
            raise BrokerError(f"{self} does not run")
        self._end(signal.SIGKILL)

    def restart_after_kill(self):
        """Starts the broker again on the same port with the same data."""
        return self.start()

    def pause(self):
        """Stops the broker's clock: connections stay open, nothing answers."""
        os.kill(self._pid, signal.SIGSTOP)

    def resume(self):
        os.kill(self._pid, signal.SIGCONT)

    def close(self):
        """Stops the broker and removes its data, unless the caller gave the workdir."""
        try:
            self.stop()
        finally:
            if self._owns_workdir:
                shutil.rmtree(self._base, ignore_errors=True)

    def leave_running(self):
        """Lets a detached broker outlive this interpreter."""
        _running.discard(self)

    def log_since_start(self):
        """What the broker has logged since its latest start."""
        try:
            with open(self.log_path, "rb") as log:
                log.seek(self._log_offset)
                return log.read().decode(errors="replace")
        except OSError:
            return ""

    def processes(self):
        """(pid, start time) of all that a detached broker leaves running, to stop it later."""
        return [(self._pid, self._pid_start)]

    def __enter__(self):
        return self.start()

    def __exit__(self, *exception):
        self.close()

    def __str__(self):
        return f"{self.name} on {self.address}"

    def _ready_or_dead(self):
        code = self._child.poll()
        if code is not None:
            raise BrokerError(f"ended with {code}")
        return self._ready()

    def _end(self, number):
        _running.discard(self)
        child, self._child = self._child, None
        pid, self._pid = self._pid, None
        if child is None:
            return
        if pid is not None and number == signal.SIGTERM:
            terminate(pid, self._pid_start, self.stop_timeout)
        elif pid is not None:
            self._kill_quietly(os.kill, pid)
        # The group is what is left of a launcher, or all of it if the start did not succeed.
        if pid != child.pid and number == signal.SIGTERM:
            try:
                child.wait(self.stop_timeout)
            except subprocess.TimeoutExpired:
                pass
        self._kill_quietly(os.killpg, child.pid)
        child.wait()
        if pid is not None and pid != child.pid:
            wait_until(lambda: is_gone(pid, self._pid_start), 10, f"exit of {pid}")
        if not self._detached:
            unwatch(child.pid)
            if pid is not None:
                unwatch(pid)
        self._after_end()

    @staticmethod
    def _kill_quietly(kill, pid):
        try:
            kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
