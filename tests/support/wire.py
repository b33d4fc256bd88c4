# SPDX-License-Identifier: Apache-2.0
"""Faults on the wire between the bridge and a broker, by name."""

import contextlib

from support.wait import Deadline, until

RECOVER_S = 60
STANDS_S = 20


class Wire:
    """The faults, by name. Each ends healed; `noticed` says when the bridge has felt it."""

    def __init__(self, proxy, delivered, dice):
        self.proxy, self._delivered, self._dice = proxy, delivered, dice

    def reset(self):
        self.proxy.reset()

    def refuse(self):
        self.proxy.refuse()
        self.stands()
        self.proxy.heal()

    def half_close(self):
        self.proxy.half_close()

    def lost_answers(self):
        """Only the acknowledgements are lost."""
        self.proxy.lose_answers()
        self.stands()
        self.proxy.reset()
        self.proxy.heal()

    def black_hole(self):
        self.proxy.freeze()
        self.stands()
        self.proxy.reset()
        self.proxy.heal()

    def stutter(self):
        """One way is held. A queue's broker goes on sending as far ahead as it may, without hearing
        what became of it: for some seconds, or until that stands still too."""
        self.proxy.freeze(self._dice.choice(["up", "down"]))
        with contextlib.suppress(Deadline):
            self.stands()
        self.proxy.heal()

    def slices(self):
        """New connections begin in slices of a few bytes."""
        self.proxy.slice = self._dice.randrange(1, 4)
        self.proxy.reset()
        before = self._delivered()
        until(lambda: self._delivered() > before, RECOVER_S, "messages in slices", interval=0.1)
        self.proxy.heal()

    def jitter(self):
        """Each piece of data waits for up to 20 ms, for as long as 300 messages take."""
        self.proxy.jitter_s = 0.02
        before = self._delivered()
        until(lambda: self._delivered() > before + 300, RECOVER_S, "messages with jitter",
              interval=0.1)
        self.proxy.heal()

    def stands(self):
        """Until deliveries stand still: what was under way has come through."""
        last = [-1]

        def still():
            now = self._delivered()
            same, last[0] = now == last[0], now
            return same
        until(still, STANDS_S, "deliveries stand still", interval=0.3)


KINDS = ("reset", "refuse", "half_close", "lost_answers", "black_hole", "stutter", "slices",
         "jitter")
