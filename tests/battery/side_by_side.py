# SPDX-License-Identifier: Apache-2.0
"""Shares of the battery at the same time, each in a process of its own with brokers of its own."""

import subprocess
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, as_completed

# What takes longest begins first.
LONGEST = ("F3", "F6", "F5", "F12", "F2", "F1")


LARGE = 8  # so many rows of a variant are divided by their sources


def shares_of(rows):
    """Rows of (case, pair) that follow each other on the same brokers, by names of their own; in the
    order to begin them."""
    sizes = Counter(case.name for case, _ in rows)
    shares = {}
    for case, pair in rows:
        large = sizes[case.name] > LARGE
        name = f"{case.name}-{pair[0]}".replace(" ", "-") if large else case.number
        shares.setdefault(name, []).append((case, pair))
    return dict(sorted(shares.items(), key=lambda share: _turn(share[1][0][0].number)))


def _turn(number):
    return LONGEST.index(number) if number in LONGEST else len(LONGEST)


class SideBySide:
    """command: plays a share and writes --json, given its rows and that file."""

    def __init__(self, jobs, folder, command):
        self._jobs, self._folder, self._command = jobs, folder, command
        self._lock, self._running, self._ended = threading.Lock(), [], False

    def play(self, shares, told):
        """told(path, exit status) as each share ends, on the caller's thread."""
        with ThreadPoolExecutor(self._jobs) as pool:
            try:
                for ended in as_completed([pool.submit(self._one, *share) for share in shares.items()]):
                    told(*ended.result())
            except BaseException:  # interrupted: each writes what it has played
                self._stop()
                raise

    def _one(self, name, rows):
        path = self._folder / f"{name}.json"
        with self._lock:
            if self._ended:
                return path, None
            process = subprocess.Popen(self._command(rows, path))
            self._running.append(process)
        return path, process.wait()

    def _stop(self):
        with self._lock:
            self._ended = True
            for process in self._running:
                process.terminate()
