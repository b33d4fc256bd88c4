# SPDX-License-Identifier: Apache-2.0
"""A stop that a sink does not let come to its end: exit 1, and how much is unresolved."""

from support.bridge import Bridge
from support.clients import create_topic, declare_queue, produce, take
from support.config import config, kafka_endpoint, rabbit_endpoint
from support.wait import until


def test_a_sink_that_does_not_answer_is_waited_for_up_to_stop_timeout(kafka3, rabbit, fresh,
                                                                      tmp_path, ending):
    topic, queue = fresh("topic"), fresh("queue")
    create_topic(kafka3.bootstrap, topic, 1)
    declare_queue(rabbit.uri, queue)
    bridge = ending(Bridge(tmp_path, config(
        fresh("bridge"), {"k": kafka_endpoint(kafka3), "r": rabbit_endpoint(rabbit)},
        [{"name": "stop", "from": {"endpoint": "k", "topic": topic},
          "to": {"endpoint": "r", "queue": queue}}], stop_timeout="2s")))
    run = bridge.start()
    run.wait_logged("connected", "role=source")
    rabbit.pause()
    try:
        produce(kafka3.bootstrap, topic, [{"value": b"%d" % n} for n in range(100)])
        until(lambda: run.counters().total("in_flight") == 100, 20, "100 in flight",
              detail=run.tail)
        assert run.terminate() == 1, run.tail()
    finally:
        rabbit.resume()
    assert run.logged("unresolved=100"), run.tail()
    again = bridge.start()
    missing = {b"%d" % n for n in range(100)}
    while missing:  # what was sent before may have arrived too
        missing -= {body for _, _, body in take(rabbit.uri, queue, len(missing))}
    assert again.running
