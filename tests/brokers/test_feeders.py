# SPDX-License-Identifier: Apache-2.0
"""The oracle's own feeders and collectors on AMQP 1.0, judged at the broker without a bridge."""

import pytest

from support.feed import Feeder
from support.oracle import Stream
from support.sides import Amqp10Side
from support.wait import until

COUNT = 6000


@pytest.mark.parametrize("name", ["artemis", pytest.param("classic", marks=pytest.mark.long)])
def test_a_feeder_outlives_its_broker_and_keeps_its_books(name, brokers, tmp_path, fresh, dice,
                                                          ending, counts):
    """The ledger is true, and what was sent again is noted."""
    broker = getattr(brokers, name)()
    place = Amqp10Side(broker).make(fresh("source"))
    feeder = Feeder(tmp_path, "s", dice.randrange(1 << 30), COUNT, keys=20, rate=2000, **place)
    stream = ending(Stream(tmp_path, feeder, place, live=False))
    feeder.start()
    until(lambda: feeder.confirmed >= COUNT // 3, 60, "a third is confirmed")
    broker.kill()
    broker.restart_after_kill()
    verdict = stream.finish()
    counts(confirmed=verdict.confirmed, lost=verdict.lost, disorder=verdict.disorder,
           duplicates=verdict.duplicates, again=len(feeder.attempts()))
    verdict.assert_kept(duplicates_max=0)
    assert verdict.confirmed == COUNT
