# SPDX-License-Identifier: Apache-2.0
"""One ActiveMQ Classic node."""

import re
import subprocess

from .install import maven_distribution
from .java import JavaBroker
from .pki import make_pki
from .process import free_port, spawn

VERSION = "5.18.3"
CONFIGURATION = """<beans xmlns="http://www.springframework.org/schema/beans"
    xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation="
      http://www.springframework.org/schema/beans
      http://www.springframework.org/schema/beans/spring-beans.xsd
      http://activemq.apache.org/schema/core
      http://activemq.apache.org/schema/core/activemq-core.xsd">
  <broker xmlns="http://activemq.apache.org/schema/core" brokerName="{name}"
      dataDirectory="{data}" useJmx="false">
    <destinationPolicy><policyMap><policyEntries>{policies}</policyEntries></policyMap>
    </destinationPolicy>
    <persistenceAdapter><kahaDB directory="{data}/kahadb"/></persistenceAdapter>
    <plugins>
      <simpleAuthenticationPlugin anonymousAccessAllowed="true">
        <users><authenticationUser username="admin" password="admin" groups="admins"/></users>
      </simpleAuthenticationPlugin>
    </plugins>
    {ssl}
    <systemUsage><systemUsage>
      <memoryUsage><memoryUsage limit="64 mb"/></memoryUsage>
      <storeUsage><storeUsage limit="{store}"/></storeUsage>
      <tempUsage><tempUsage limit="1 gb"/></tempUsage>
    </systemUsage></systemUsage>
    <transportConnectors>{connectors}</transportConnectors>
  </broker>
</beans>
"""
CONNECTOR = ('<transportConnector name="{name}" uri="{uri}?wireFormat.maxFrameSize=104857600'
             '{more}"/>')
LOG4J2 = """rootLogger.level=info
rootLogger.appenderRef.c.ref=c
appender.c.type=Console
appender.c.name=c
appender.c.layout.type=PatternLayout
appender.c.layout.pattern=%d %p %m (%c)%n
"""


class ClassicBroker(JavaBroker):
    """ActiveMQ Classic with AMQP 1.0 (port) and OpenWire (openwire_port); admin/admin, and
    anonymous. tls=True adds tls_port.

    policies: lines of XML for <policyEntries>. store: the limit of its store ("1 gb").
    certificate: as with the other brokers.
    """

    name = "classic"
    version = VERSION

    def __init__(self, workdir=None, tls=False, policies="", store="2 gb", certificate="server",
                 pki=None, detached=False):
        super().__init__(workdir, detached)
        self._home = maven_distribution("org.apache.activemq", "apache-activemq", VERSION)
        self._policies, self._store = policies, store
        self._certificate = certificate
        self.openwire_port = free_port()
        self.username = self.password = "admin"
        self.uri = f"amqp://admin:admin@127.0.0.1:{self.port}"
        self.tls_port = self.tls_uri = self.pki = self.ca_path = None
        if tls:
            self.pki = pki or make_pki(self.workdir / "pki")
            self.ca_path = self.pki.ca
            self.tls_port = free_port()
            self.tls_uri = f"amqps://admin:admin@127.0.0.1:{self.tls_port}"

    def _configuration(self):
        rows = [("amqp", f"amqp://127.0.0.1:{self.port}", ""),
                ("openwire", f"tcp://127.0.0.1:{self.openwire_port}", "")]
        if self.pki:
            # A client's certificate is verified if it shows one.
            rows.append(("amqps", f"amqp+ssl://127.0.0.1:{self.tls_port}",
                         "&amp;transport.wantClientAuth=true"))
        connectors = "".join(CONNECTOR.format(name=name, uri=uri, more=more)
                             for name, uri, more in rows)
        return CONFIGURATION.format(
            name=f"classic-{self.port}", data=self.workdir / "data",
            policies=self._policies, store=self._store, connectors=connectors,
            ssl=self._ssl_context() if self.pki else "")

    def _ssl_context(self):
        """It reads only key stores of Java's own kinds."""
        key_store, trust_store = self.workdir / "key.p12", self.workdir / "trust.p12"
        if not key_store.exists():
            subprocess.run(["openssl", "pkcs12", "-export", "-passout", "pass:secret", "-inkey",
                            getattr(self.pki, f"{self._certificate}_key"), "-in",
                            getattr(self.pki, self._certificate), "-out", key_store],
                           check=True, capture_output=True)
            subprocess.run(["keytool", "-importcert", "-noprompt", "-alias", "ca", "-storetype",
                            "PKCS12", "-storepass", "secret", "-file", self.pki.ca, "-keystore",
                            trust_store], check=True, capture_output=True)
        return (f'<sslContext><sslContext keyStore="file:{key_store}" keyStorePassword="secret" '
                f'keyStoreType="PKCS12" trustStore="file:{trust_store}" '
                'trustStorePassword="secret" trustStoreType="PKCS12"/></sslContext>')

    def _launch(self):
        (self.workdir / "activemq.xml").write_text(self._configuration())
        logging = self.workdir / "log4j2.properties"
        logging.write_text(LOG4J2)
        (self.workdir / "tmp").mkdir(exist_ok=True)
        own = {"activemq.home": self._home, "activemq.base": self.workdir,
               "activemq.conf": self.workdir, "activemq.data": self.workdir / "data",
               "java.io.tmpdir": self.workdir / "tmp", "log4j2.configurationFile": logging}
        return spawn(self.java(*(f"-D{name}={value}" for name, value in own.items()), "-jar",
                               self._home / "bin" / "activemq.jar", "start",
                               f"xbean:file:{self.workdir / 'activemq.xml'}"),
                     self.log_path, detached=self._detached, cwd=self.workdir)

    def _ready(self):
        return re.search(r"Apache ActiveMQ .* started", self.log_since_start()) is not None
