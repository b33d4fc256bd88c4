# SPDX-License-Identifier: Apache-2.0
"""MirrorMaker 2 from one Kafka cluster to another, by topics of the same name."""

from pathlib import Path

from . import install

LOGGING = """log4j.rootLogger=WARN, c
log4j.appender.c=org.apache.log4j.ConsoleAppender
log4j.appender.c.layout=org.apache.log4j.PatternLayout
log4j.appender.c.layout.ConversionPattern=%d %p %m (%c)%n
"""
REPLICATED_ONCE = ("replication", "checkpoints.topic.replication", "heartbeats.topic.replication",
                   "offset-syncs.topic.replication", "config.storage.replication",
                   "offset.storage.replication", "status.storage.replication")


def properties(source, sink, topic, fast):
    """Both settings keep the order of a partition: one batch on its way, or five and idempotent."""
    producer, consumer = "A->B.producer.override.", "A->B.consumer."  # no other form is heard
    return {
        "clusters": "A,B", "A.bootstrap.servers": source.broker.bootstrap,
        "B.bootstrap.servers": sink.broker.bootstrap, "A->B.enabled": "true",
        "B->A.enabled": "false", "B->A.emit.heartbeats.enabled": "false", "A->B.topics": topic,
        "A->B.groups": "", "tasks.max": 2,
        "replication.policy.class": "org.apache.kafka.connect.mirror.IdentityReplicationPolicy",
        **{f"{name}.factor": 1 for name in REPLICATED_ONCE},
        "offset.storage.partitions": 1, "status.storage.partitions": 1,
        "sync.topic.acls.enabled": "false", "sync.topic.configs.enabled": "false",
        "dedicated.mode.enable.internal.rest": "false",
        f"{producer}acks": "all", f"{producer}enable.idempotence": "true" if fast else "false",
        f"{producer}max.in.flight.requests.per.connection": 5 if fast else 1,
        f"{producer}batch.size": 131072, f"{producer}linger.ms": 5,
        f"{producer}max.request.size": 16777216, f"{consumer}max.poll.records": 2000,
        f"{consumer}fetch.max.bytes": 52428800, "offset.flush.interval.ms": 5000}


def command(fast):
    def words(source, sink, streams, serial, workdir):
        settings, logging = Path(workdir) / "mirror.properties", Path(workdir) / "mirror.log4j"
        settings.write_text("".join(
            f"{name}={value}\n"
            for name, value in properties(source, sink, streams[0]["topic"], fast).items()))
        logging.write_text(LOGGING)
        return ["java", "-Xms256m", "-Xmx1g", "-XX:+UseG1GC", f"-Dlog4j.configuration=file:{logging}",
                "-cp", f"{install.mirror_libs()}/*",
                "org.apache.kafka.connect.mirror.MirrorMaker", settings]
    return words
