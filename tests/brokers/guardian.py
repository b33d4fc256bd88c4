# SPDX-License-Identifier: Apache-2.0
"""Ends a test run's brokers when the run itself is gone, even by `kill -9`.

Reads "add PID START", "del PID" and "directory PATH" from its standard input, whose other end the
run holds open. At the end of file every process that is still listed is killed with its process
group, then the directories are removed. START, the start time of the kernel's process table,
keeps a recycled pid from being hit.
"""

import os
import shutil
import signal
import sys


def start_time(pid):
    """The process's start time in clock ticks since boot, or None if there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:
            return stat.read().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None


def kill_group(pid, start):
    """Kills PID and its group if it is still the process that was registered."""
    if start_time(pid) != start:
        return
    try:
        group = os.getpgid(pid)
        if group == os.getpgrp():
            os.kill(pid, signal.SIGKILL)
        else:
            os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        pass


def main():
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    listed, directories = {}, []
    for line in sys.stdin:
        word, rest = line.rstrip("\n").split(" ", 1)
        if word == "add":
            pid, start = rest.split()
            listed[int(pid)] = start
        elif word == "del":
            listed.pop(int(rest), None)
        else:
            directories.append(rest)
    for pid, start in listed.items():
        kill_group(pid, start)
    for directory in directories:
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
