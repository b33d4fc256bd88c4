# SPDX-License-Identifier: Apache-2.0
"""All sixteen pairs over kill -9 of the bridge: nothing lost or changed, each key in order."""

import pytest

from brokers.other_release import host_release, unavailable
from support.pair import WINDOW, columns
from support.route import run_pair

PLATFORMS = ("kafka", "rabbitmq", "artemis", "redis")
AMQP10 = ("artemis", "classic", "rabbitmq4")
SHORT = {"count": 2000, "rounds": 1, "rate": 1500}
LONG = {"count": 20_000, "rounds": 5, "rate": 4000}


def variants(platform):
    return AMQP10 if platform == "artemis" else (platform,)


SHORT_PAIRS = [(source, sink) for source in PLATFORMS for sink in PLATFORMS]
LONG_PAIRS = [(one, other) for source, sink in SHORT_PAIRS
              for one in variants(source) for other in variants(sink)]


def pair_ids(pairs):
    return [f"{source}-{sink}" for source, sink in pairs]


@pytest.fixture
def side_of(brokers):
    """side_of(name), or a skip that says why this machine has no such broker."""
    def find(name):
        if name == "rabbitmq4" and host_release() != "trixie" and unavailable():
            pytest.skip(unavailable())
        return brokers.side(name)
    return find


def judge_pair(source, sink, form, verdict, counts):
    counts(**{"from": source.name, "to": sink.name, "rounds": form["rounds"], **columns(verdict)})
    assert verdict.confirmed >= form["count"]
    verdict.assert_kept(per_fault_max=WINDOW)


@pytest.mark.parametrize("pair", SHORT_PAIRS, ids=pair_ids(SHORT_PAIRS))
def test_a_pair_over_one_kill(pair, side_of, fresh, tmp_path, dice, ending, counts):
    source, sink = map(side_of, pair)
    verdict = run_pair(source, sink, SHORT, fresh, tmp_path, dice, ending)
    judge_pair(source, sink, SHORT, verdict, counts)


@pytest.mark.long
@pytest.mark.parametrize("pair", LONG_PAIRS, ids=pair_ids(LONG_PAIRS))
def test_a_pair_over_five_kills(pair, side_of, fresh, tmp_path, dice, ending, counts):
    source, sink = map(side_of, pair)
    verdict = run_pair(source, sink, LONG, fresh, tmp_path, dice, ending)
    judge_pair(source, sink, LONG, verdict, counts)
