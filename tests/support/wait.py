# SPDX-License-Identifier: Apache-2.0
"""Waiting on a condition with a deadline; nothing in the tests waits on time alone."""

import os
import time


def patience(seconds):
    """A deadline as it is, or longer: MBRIDGE_SLOW says how many times, for a bridge that was built
    with sanitizers."""
    return seconds * float(os.environ.get("MBRIDGE_SLOW") or 1)


class Deadline(AssertionError):
    """A condition did not come true in time."""


def until(condition, seconds, what, interval=0.02, detail=None):
    """Return the first true value of condition(); fail with `what` after `seconds`."""
    seconds = patience(seconds)
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= end:
            more = "\n" + str(detail()) if detail else ""
            raise Deadline(f"not within {seconds} s: {what}{more}")
        time.sleep(interval)


def settled(reading, quiet, seconds, what, interval=0.05):
    """Wait until reading() has kept one value for `quiet` seconds; return the value."""
    seconds = patience(seconds)
    end = time.monotonic() + seconds
    last, since = reading(), time.monotonic()
    while time.monotonic() - since < quiet:
        if time.monotonic() >= end:
            raise Deadline(f"did not settle within {seconds} s: {what} (last {last!r})")
        time.sleep(interval)
        now = reading()
        if now != last:
            last, since = now, time.monotonic()
    return last
