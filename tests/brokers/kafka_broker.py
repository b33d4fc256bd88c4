# SPDX-License-Identifier: Apache-2.0
"""One Kafka node in KRaft mode."""

import base64
import os
import subprocess

from .install import kafka_libs
from .java import JavaBroker
from .pki import make_pki
from .process import BrokerError, free_port, port_is_open, spawn

LOG4J1 = """log4j.rootLogger=INFO, c
log4j.appender.c=org.apache.log4j.ConsoleAppender
log4j.appender.c.layout=org.apache.log4j.PatternLayout
log4j.appender.c.layout.ConversionPattern=%d %p %m (%c)%n
"""
LOG4J2 = """rootLogger.level=info
rootLogger.appenderRef.c.ref=c
appender.c.type=Console
appender.c.name=c
appender.c.layout.type=PatternLayout
appender.c.layout.pattern=%d %p %m (%c)%n
"""

# The last two: after `kill -9` the node's own registration has to expire before it may serve
# again, 9 s by default.
TUNING = {
    "offsets.topic.replication.factor": 1,
    "offsets.topic.num.partitions": 4,
    "transaction.state.log.replication.factor": 1,
    "transaction.state.log.min.isr": 1,
    "transaction.state.log.num.partitions": 4,
    "group.initial.rebalance.delay.ms": 0,
    "log.cleaner.dedupe.buffer.size": 8 * 1024 * 1024,
    "broker.session.timeout.ms": 3000,
    "broker.heartbeat.interval.ms": 500,
}
PLAIN_LOGIN = "org.apache.kafka.common.security.plain.PlainLoginModule"
OAUTH_LOGIN = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule"
SCRAM_LOGIN = "org.apache.kafka.common.security.scram.ScramLoginModule"


class KafkaBroker(JavaBroker):
    """Kafka of a version (3.9.1, 4.3.1). secure=True adds SASL_SSL and mutual TLS listeners.

    config: further lines of server.properties, by name. certificate: which of the PKI's server
    certificates the TLS listeners show ("server", "wrongname", "expired").
    """

    def __init__(self, version="3.9.1", workdir=None, secure=False, config=None,
                 certificate="server", pki=None, detached=False):
        self.version = version
        self.name = f"kafka-{version}"
        super().__init__(workdir, detached)
        self.secure = secure
        self.bootstrap = self.address
        self._config = dict(config or {})
        self._controller_port = free_port()
        self._libs = kafka_libs(version)
        self._formatted = False
        self.pki = self.ca_path = self.sasl_ssl_bootstrap = self.ssl_bootstrap = None
        if secure:
            self._sasl_port, self._ssl_port = free_port(), free_port()
            self.sasl_ssl_bootstrap = f"127.0.0.1:{self._sasl_port}"
            self.ssl_bootstrap = f"127.0.0.1:{self._ssl_port}"
            self.pki = pki or make_pki(self.workdir / "pki")
            self.ca_path = self.pki.ca
            self._certificate = certificate

    def tool(self, java_class, *arguments, timeout=60):
        """Runs one of Kafka's own tools, e.g. org.apache.kafka.tools.TopicCommand; its output."""
        done = subprocess.run(self._java(java_class, *arguments, log_level="ERROR"),
                              stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=timeout)
        if done.returncode != 0:
            raise BrokerError(f"{java_class} {arguments}: {done.stdout}{done.stderr}")
        return done.stdout

    def create_topic(self, topic, partitions=1, **config):
        """Makes a topic; config: its settings with _ for . and - (max_message_bytes=1000)."""
        settings = [word for name, value in config.items()
                    for word in ("--config", f"{name.replace('_', '.')}={value}")]
        self.tool("org.apache.kafka.tools.TopicCommand", "--bootstrap-server", self.bootstrap,
                  "--create", "--topic", topic, "--partitions", str(partitions), *settings)

    def _java(self, java_class, *arguments, log_level="INFO"):
        text, option = ((LOG4J1, "log4j.configuration") if self.version.startswith("3.")
                        else (LOG4J2, "log4j2.configurationFile"))
        logging = self.workdir / f"log4j-{log_level}.properties"
        logging.write_text(text.replace("INFO", log_level).replace("=info", f"={log_level}"))
        return self.java(f"-D{option}=file:{logging}", "-cp", f"{self._libs}/*", java_class,
                         *arguments)

    def _properties(self):
        listeners = {"PLAINTEXT": (self.port, "PLAINTEXT"),
                     "CONTROLLER": (self._controller_port, "PLAINTEXT")}
        properties = {}
        if self.secure:
            listeners["SASL_SSL"] = (self._sasl_port, "SASL_SSL")
            listeners["SSL"] = (self._ssl_port, "SSL")
            properties.update(self._secure_properties())
        further = self._further_listener()
        if further:
            listeners["FURTHER"] = (further[0], "PLAINTEXT")
        urls = {name: f"{name}://127.0.0.1:{port}" for name, (port, _) in listeners.items()}
        advertised = {name: url for name, url in urls.items() if name != "CONTROLLER"}
        if further:
            advertised["FURTHER"] = f"FURTHER://{further[1]}"
        properties.update({
            "process.roles": "broker,controller",
            "node.id": 1,
            "controller.quorum.voters": f"1@127.0.0.1:{self._controller_port}",
            "listeners": ",".join(urls.values()),
            "advertised.listeners": ",".join(advertised.values()),
            "inter.broker.listener.name": "PLAINTEXT",
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": ",".join(
                f"{name}:{protocol}" for name, (_, protocol) in listeners.items()),
            "log.dirs": self.workdir / "data",
            **TUNING,
            **self._config,
        })
        return "".join(f"{name}={value}\n" for name, value in properties.items())

    def _further_listener(self):
        """A subclass': (its port, the "host:port" that its clients are told). None: there is none."""
        return None

    def _secure_properties(self):
        certificate = getattr(self.pki, self._certificate)
        key = getattr(self.pki, f"{self._certificate}_key")
        keystore = self.workdir / "keystore.pem"
        keystore.write_text(key.read_text() + certificate.read_text() + self.pki.ca.read_text())
        return {
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": keystore,
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": self.pki.ca,
            "listener.name.ssl.ssl.client.auth": "required",
            "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,OAUTHBEARER",
            "listener.name.sasl_ssl.plain.sasl.jaas.config":
                f'{PLAIN_LOGIN} required user_admin="secret-admin";',
            "listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config": f"{SCRAM_LOGIN} required;",
            # Takes tokens that nobody signed: enough to see them arrive.
            "listener.name.sasl_ssl.oauthbearer.sasl.jaas.config":
                f'{OAUTH_LOGIN} required unsecuredLoginStringClaim_sub="admin";',
        }

    def _format(self, properties):
        # The zero byte: an id that begins with a dash would be taken for an option.
        cluster = base64.urlsafe_b64encode(b"\0" + os.urandom(15)).decode().rstrip("=")
        users = (["--add-scram", "SCRAM-SHA-256=[name=alice,password=secret-alice]"]
                 if self.secure else [])
        self.tool("kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(properties),
                  *users)
        self._formatted = True

    def _launch(self):
        properties = self.workdir / "server.properties"
        properties.write_text(self._properties())
        if not self._formatted:
            self._format(properties)
        # Kafka would otherwise put its garbage collector's and service logs beside its jars.
        env = {**os.environ, "LOG_DIR": str(self.workdir)}
        return spawn(self._java("kafka.Kafka", str(properties)), self.log_path, env=env,
                     detached=self._detached, cwd=self.workdir)

    def _ready(self):
        return "Kafka Server started" in self.log_since_start() and port_is_open(self.port)
