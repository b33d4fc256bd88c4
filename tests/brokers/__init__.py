# SPDX-License-Identifier: Apache-2.0
"""Real brokers as plain processes on free loopback ports, for tests, benchmark and demo.

    from brokers import KafkaBroker, RabbitBroker, MockKafka, make_pki

    with KafkaBroker(version="3.9.1", workdir=tmp_path) as kafka, RabbitBroker(tmp_path) as rabbit:
        ...
        kafka.kill()                  # as by `kill -9`
        kafka.restart_after_kill()    # same port, same data

Every broker has start, stop, kill, restart_after_kill, pause, resume, close, pid, port, log_path.
start() returns when the broker serves and raises BrokerError with the end of its log if it does
not. stop() keeps the data for a later start(); close() removes them too, where the workdir was
not given by the caller. Whatever is still running when the interpreter ends, however it ends,
is killed.
"""

from .artemis_broker import ArtemisBroker
from .broker_j import BrokerJ
from .classic_broker import ClassicBroker
from .java import JavaBroker
from .kafka_broker import KafkaBroker
from .mock_kafka import MockKafka
from .pki import Pki, make_pki
from .process import BrokerError, free_port, wait_until
from .rabbit_broker import RabbitBroker
from .redis_broker import RedisBroker

__all__ = [
    "ArtemisBroker",
    "BrokerError",
    "BrokerJ",
    "ClassicBroker",
    "JavaBroker",
    "KafkaBroker",
    "MockKafka",
    "Pki",
    "RabbitBroker",
    "RedisBroker",
    "free_port",
    "make_pki",
    "wait_until",
]
