# SPDX-License-Identifier: Apache-2.0
"""What the scenarios share: brokers, the shipped configuration, bridges, and the proof as a table.

A scenario is a module with a docstring (its first line is the title) and play(stage), which
returns the proof: rows (what, count, good); good None means that the row only informs.
"""

import subprocess
import sys
import threading
import time
from pathlib import Path

from brokers import BrokerError
from brokers.process import scratch_dir
from demo.screen import Screen
from support.bridge import Bridge, command
from support.wait import Deadline, until

REPOSITORY = Path(__file__).resolve().parents[2]
CONF = REPOSITORY / "conf"


class Stage:
    """A screen, a working folder, and what has to be ended when the scenario is over."""

    def __init__(self, screen, workdir):
        self.screen = screen
        self.workdir = workdir
        self._open = []

    def brokers(self, **makers):
        """Starts brokers side by side; makers: functions of a working folder. Returns them."""
        self.screen.step("Starting brokers on free loopback ports")
        started, failures = {}, []

        def start(name, maker):
            folder = self.workdir / name
            folder.mkdir()
            try:
                started[name] = maker(folder)
                started[name].start()
            except Exception as error:  # shown by the thread that waits
                failures.append(error)
        threads = [threading.Thread(target=start, args=pair) for pair in makers.items()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self._open += [broker.close for broker in started.values()]
        if failures:
            raise failures[0]
        for name in makers:
            broker = started[name]
            self.screen.text(f"{name:10}{broker.name} on {broker.address}")
        return [started[name] for name in makers]

    def bridge(self, name, addresses, show=True):
        """The shipped conf/NAME with our brokers' addresses, checked against them."""
        text = (CONF / name).read_text()
        for usual, ours in addresses.items():  # ours are above 15000: no replacement meets another
            if usual not in text:
                raise AssertionError(f"conf/{name} does not mention {usual}")
            text = text.replace(usual, ours)
        if show:
            self.screen.step(f"The configuration (conf/{name})")
            for line in text.splitlines():
                if line.strip() and not line.lstrip().startswith("#"):
                    self.screen.text(line)
        bridge = Bridge(self.workdir, text, name=name.replace("/", "-").removesuffix(".conf"))
        self._open.append(bridge.end)
        return bridge

    def start(self, *bridges):
        for bridge in bridges:
            self.screen.step(f"mbridge run {bridge.path.name}")
            bridge.start()
        for bridge in bridges:
            bridge.ready()

    def stop(self, *bridges):
        """SIGTERM; fails unless all end well."""
        for bridge in bridges:
            code = bridge.run.terminate(30)
            if code != 0:
                raise AssertionError(f"the bridge ended with {code}\n{bridge.run.tail()}")

    def arrive(self, reading, total, what, seconds=120):
        """Waits until reading() is total, and shows how it grows."""
        def grown():
            count = reading()
            self.screen.progress(min(count, total), total, what)
            return count >= total
        until(grown, seconds, what, interval=0.2)
        self.screen.progress(total, total, what, last=True)

    def close(self):
        for close in reversed(self._open):
            close()
        self._open.clear()


def check(bridge, *options):
    """mbridge check; its exit status has to be 0."""
    code, out, err = command("check", *options, bridge.path)
    if code != 0:
        raise AssertionError(f"mbridge check: {out}{err}")


def run(name, module):
    """Plays it; True if the proof holds."""
    screen = Screen(sys.stdout)
    began = time.monotonic()
    stage = Stage(screen, scratch_dir(name))
    title = (module.__doc__ or name).splitlines()[0]
    screen.step(f"{name}: {title}")
    try:
        rows = module.play(stage)
    except (AssertionError, BrokerError, Deadline, TimeoutError,
            subprocess.SubprocessError) as error:
        screen.result(False, f"{name} failed: {error}")
        return False
    except KeyboardInterrupt:
        screen.result(False, f"{name} was interrupted.")
        raise
    finally:
        stage.close()
    screen.step("The proof")
    for what, count, good in rows:
        screen.row(what, f"{count:,}" if isinstance(count, int) else str(count), good)
    proven = all(good is not False for _, _, good in rows)
    screen.result(proven, f"{name}: as promised ({time.monotonic() - began:.0f} s)." if proven
                  else f"{name}: the counts above are not as promised.")
    return proven
