# SPDX-License-Identifier: Apache-2.0
"""Cases of the battery at the same time, each in a process of its own with brokers of its own."""

import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor, as_completed

# What takes longest begins first.
LONGEST = ("F3", "F6", "F5", "F12", "F2", "F1")


def numbers_of(rows):
    """The numbers of the cases in rows of (case, pair), in the order to begin them."""
    numbers = list(dict.fromkeys(case.number for case, _ in rows))
    return sorted(numbers, key=lambda number: LONGEST.index(number) if number in LONGEST
                  else len(LONGEST))


class SideBySide:
    """command: plays a case and writes --json, given names of cases and that file."""

    def __init__(self, jobs, folder, command):
        self._jobs, self._folder, self._command = jobs, folder, command
        self._lock, self._running, self._ended = threading.Lock(), [], False

    def play(self, numbers, told):
        """told(path, exit status) as each case ends, on the caller's thread."""
        with ThreadPoolExecutor(self._jobs) as pool:
            try:
                for ended in as_completed([pool.submit(self._one, number) for number in numbers]):
                    told(*ended.result())
            except BaseException:  # interrupted: each writes what it has played
                self._stop()
                raise

    def _one(self, number):
        path = self._folder / f"{number}.json"
        with self._lock:
            if self._ended:
                return path, None
            process = subprocess.Popen(self._command(number, path))
            self._running.append(process)
        return path, process.wait()

    def _stop(self):
        with self._lock:
            self._ended = True
            for process in self._running:
                process.terminate()
