# SPDX-License-Identifier: Apache-2.0
"""One ActiveMQ Artemis node."""

import re
import subprocess

from .install import maven_distribution
from .java import JavaBroker
from .pki import make_pki
from .process import BrokerError, free_port, spawn

VERSION = "2.56.0"
PROTOCOLS = "protocols=AMQP,CORE"
# 300,000 messages fill 512 MiB: what collects garbage all the time, or pages, says nothing of us.
HEAP_MAX = "-Xmx2g"
# An address that is named so is a queue: Artemis's own default for a new address is MULTICAST,
# where what is sent before a receiver attaches is accepted and dropped.
ANYCAST_PREFIX = "queue://"
MULTICAST_PREFIX = "topic://"


class ArtemisBroker(JavaBroker):
    """Artemis; user admin/admin, and anonymous. tls=True adds tls_port.

    addresses: lines of XML for broker.xml's <address-settings>. certificate: which of the PKI's
    server certificates the TLS listener shows ("server", "wrongname", "expired").
    """

    name = "artemis"
    version = VERSION

    def __init__(self, workdir=None, tls=False, addresses="", certificate="server", pki=None,
                 detached=False):
        super().__init__(workdir, detached)
        self._home = maven_distribution("org.apache.activemq", "apache-artemis", VERSION)
        self._instance = self.workdir / "instance"
        self._addresses = addresses
        self._certificate = certificate
        self.username = self.password = "admin"
        self.uri = f"amqp://admin:admin@127.0.0.1:{self.port}"
        self.tls_port = self.tls_uri = self.pki = self.ca_path = None
        if tls:
            self.pki = pki or make_pki(self.workdir / "pki")
            self.ca_path = self.pki.ca
            self.tls_port = free_port()
            self.tls_uri = f"amqps://admin:admin@127.0.0.1:{self.tls_port}"

    def ctl(self, *arguments, timeout=60):
        """Runs the broker's own command line tool and returns its output."""
        return self._artemis(*arguments, "--url", f"tcp://{self.address}", "--user",
                             self.username, "--password", self.password, timeout=timeout)

    def create_queue(self, queue, address=None, multicast=False):
        """A durable queue, of an address of the same name if none is given."""
        self.ctl("queue", "create", "--name", queue, "--address", address or queue,
                 "--multicast" if multicast else "--anycast", "--durable", "--silent",
                 "--preserve-on-no-consumers", "--auto-create-address")

    def _artemis(self, *arguments, timeout=60):
        done = subprocess.run(self._java(*arguments), stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=timeout)
        if done.returncode != 0:
            raise BrokerError(f"artemis {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done.stdout

    def _java(self, *arguments):
        instance = self._instance
        own = [] if not instance.exists() else [
            f"-Dartemis.instance={instance}", f"-Dartemis.instance.etc={instance / 'etc'}",
            f"-Ddata.dir={instance / 'data'}", f"-Djava.io.tmpdir={instance / 'tmp'}",
            f"-Djava.security.auth.login.config={instance / 'etc' / 'login.config'}",
            f"-Dlog4j2.configurationFile={self._logging(arguments)}"]
        return self.java(HEAP_MAX, "--add-opens", "java.base/jdk.internal.misc=ALL-UNNAMED",
                         f"-Dartemis.home={self._home}", "-Dlog4j2.disableJmx=true", *own, "-cp",
                         str(self._home / "lib" / "artemis-boot.jar"),
                         "org.apache.activemq.artemis.boot.Artemis", *arguments)

    def _logging(self, arguments):
        name = "log4j2.properties" if arguments[0] == "run" else "log4j2-utility.properties"
        return self._instance / "etc" / name

    def _create(self):
        off = [f"--no-{protocol}-acceptor" for protocol in ("amqp", "stomp", "mqtt", "hornetq")]
        self._artemis("create", str(self._instance), "--silent", "--user", self.username,
                      "--password", self.password, "--allow-anonymous", "--host", "127.0.0.1",
                      "--default-port", str(self.port), *off, "--no-web", "--no-autotune",
                      "--nio")
        path = self._instance / "etc" / "broker.xml"
        text = re.sub(r"protocols=[A-Z,]+", f"anycastPrefix={ANYCAST_PREFIX};"
                      f"multicastPrefix={MULTICAST_PREFIX};{PROTOCOLS}", path.read_text())
        if self.pki:
            text = text.replace("</acceptors>", self._tls_acceptor() + "</acceptors>")
        path.write_text(text.replace("</address-settings>",
                                     self._addresses + "</address-settings>"))

    def _tls_acceptor(self):
        store = self.workdir / "keystore.pem"
        store.write_text(getattr(self.pki, f"{self._certificate}_key").read_text()
                         + getattr(self.pki, self._certificate).read_text())
        # A client's certificate is verified if it shows one.
        return (f'<acceptor name="tls">tcp://127.0.0.1:{self.tls_port}?sslEnabled=true;'
                f"keyStoreType=PEM;keyStorePath={store};trustStoreType=PEMCA;"
                f"trustStorePath={self.pki.ca};wantClientAuth=true;"
                f"anycastPrefix={ANYCAST_PREFIX};multicastPrefix={MULTICAST_PREFIX};{PROTOCOLS}"
                "</acceptor>")

    def _launch(self):
        if not self._instance.exists():
            self._create()
        return spawn(self._java("run"), self.log_path, detached=self._detached, cwd=self.workdir)

    def _ready(self):
        return "AMQ221007" in self.log_since_start()
