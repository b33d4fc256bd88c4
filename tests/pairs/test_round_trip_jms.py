# SPDX-License-Identifier: Apache-2.0
"""JMS messages of every kind, there and back: a Java application sees what another one sent."""

import pytest

from support import jms
from support.bridge import Bridge
from support.config import config
from support.jms import Jms
from support.normal import differences

BROKERS = ("artemis", pytest.param("classic", marks=pytest.mark.long))
OVER = ("kafka", "rabbitmq", "redis")
EVERYDAY_RANDOM = 60


def travel(name, over, number, seed, brokers, fresh, workdir, ending):
    near, far = brokers.side(name), brokers.side(over)
    there, middle, back = near.make(fresh("there")), far.make(fresh("middle")), near.make(
        fresh("back"))
    sent = Jms(near.broker).send(there["address"].removeprefix("queue://"), seed, number)
    bridge = ending(Bridge(workdir, config(
        fresh("bridge"), {"a": near.endpoint, "b": far.endpoint},
        [{"name": "out", "from": {"endpoint": "a", **near.source(there)},
          "to": {"endpoint": "b", **far.sink(middle)}},
         {"name": "home", "from": {"endpoint": "b", **far.source(middle)},
          "to": {"endpoint": "a", **near.mirror(back)}}])))
    bridge.start()
    found = Jms(near.broker).receive(back["address"].removeprefix("queue://"), len(sent), 60)
    assert bridge.run.terminate() == 0, bridge.run.tail()
    return sent, found


@pytest.mark.parametrize("over", OVER)
@pytest.mark.parametrize("name", BROKERS)
def test_jms_there_and_back(name, over, brokers, fresh, tmp_path, dice, ending, counts):
    sent, found = travel(name, over, EVERYDAY_RANDOM, dice.randrange(1 << 30), brokers, fresh,
                         tmp_path, ending)
    by_id = {message["JMSMessageID"]: message for message in found}
    wrong = []
    for message in sent:
        came = by_id.get(message["JMSMessageID"])
        if came is None:
            wrong.append((message["JMSMessageID"], "missing"))
            continue
        wrong += [(message["kind"], *difference) for difference in differences(
            jms.plain(message), jms.plain(came))]
    counts(**{"A": name, "B": over, "messages": len(sent), "came back": len(found),
              "differ": len(wrong)})
    assert not wrong, "\n".join(str(item)[:300] for item in wrong[:20])
