# SPDX-License-Identifier: Apache-2.0
"""Output that looks well on a terminal and in a plain log."""

import os
import shutil
import time

BAR_WIDTH = 32
PLAIN_INTERVAL = 0.5  # seconds between progress lines where they can't be overwritten,
STILL_INTERVAL = 10.0  # and while nothing moves
RATE_INTERVAL = 0.3
LIVE_INTERVAL = 0.1
CUT_AT = 100


class Screen:
    def __init__(self, stream):
        self._stream = stream
        self._live = stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self._color = self._live and "NO_COLOR" not in os.environ
        self._block, self._space = ("█", "░") if "utf" in (stream.encoding or "").lower() else "#."
        self._shown, self._shown_done = 0.0, 0
        self._last = None  # when the rate was last computed, and from how many
        self._rate = 0.0

    def _paint(self, code, text):
        return f"\x1b[{code}m{text}\x1b[0m" if self._color else text

    def _write(self, text):
        self._stream.write(text)
        self._stream.flush()

    def step(self, text):
        self._write(f"\n{self._paint('1;36', '==>')} {self._paint('1', text)}\n")

    def text(self, text, cut=False):
        if cut:
            width = shutil.get_terminal_size((CUT_AT + 4, 24)).columns - 4 if self._live else CUT_AT
            text = text if len(text) <= width else text[:width - 1] + "…"
        self._write(f"    {text}".rstrip() + "\n")

    def row(self, what, value, good):
        mark = {True: self._paint("32", "ok"), False: self._paint("1;31", "WRONG"), None: ""}[good]
        self._write(f"    {what:36}{value:>10}  {mark}".rstrip() + "\n")

    def result(self, good, text):
        self._write(f"\n{self._paint('1;32' if good else '1;31', text)}\n")

    def progress(self, done, total, note, last=False):
        """A bar that is redrawn in place; in a plain log a line a second."""
        now = time.monotonic()
        still = done == self._shown_done
        interval = LIVE_INTERVAL if self._live else STILL_INTERVAL if still else PLAIN_INTERVAL
        if now - self._shown < interval and not last:
            return
        self._shown, self._shown_done = now, done
        then, before = self._last or (now, done)
        if now - then >= RATE_INTERVAL:
            self._rate = (done - before) / (now - then)
        if now - then >= RATE_INTERVAL or self._last is None:
            self._last = (now, done)
        filled = BAR_WIDTH * done // total
        bar = self._block * filled + self._space * (BAR_WIDTH - filled)
        line = (f"    {bar} {done:>7,} / {total:,}  {self._rate:>7,.0f}/s  {note}")
        if self._live:
            self._write("\r" + line + "\x1b[K" + ("\n" if last else ""))
        else:
            self._write(line + "\n")
        if last:
            self._last = None
