# SPDX-License-Identifier: Apache-2.0
"""One Qpid Broker-J node."""

import json

from .install import maven_distribution
from .java import JavaBroker
from .process import BrokerError, free_port, port_is_open, spawn

VERSION = "9.2.0"
ALIASES = [{"name": name, "type": name} for name in ("nameAlias", "defaultAlias", "hostnameAlias")]
LOGGER = {
    "name": "console", "type": "Console",
    "brokerloginclusionrules": [
        {"name": "Root", "type": "NameAndLevel", "level": "WARN", "loggerName": "ROOT"},
        {"name": "Operational", "type": "NameAndLevel", "level": "INFO",
         "loggerName": "qpid.message.*"}]}
# What is sent to a name that is no queue is an error, and nothing makes queues by itself but this.
AUTO_CREATION = [{"pattern": ".*", "nodeType": "queue", "createdOnPublish": "true",
                  "createdOnConsume": "true", "attributes": {}}]


class BrokerJ(JavaBroker):
    """Qpid Broker-J with AMQP 1.0 and 0-9-1 on one port; users guest/guest by PLAIN, and
    ANONYMOUS on anonymous_port. Queues are made when they are first used (auto_create=False:
    they have to be made)."""

    name = "broker-j"
    version = VERSION

    def __init__(self, workdir=None, auto_create=True, detached=False):
        super().__init__(workdir, detached)
        self._home = maven_distribution("org.apache.qpid", "apache-qpid-broker-j", VERSION)
        self.anonymous_port = free_port()
        self.username = self.password = "guest"
        self.uri = f"amqp://guest:guest@127.0.0.1:{self.port}"
        self._auto_create = auto_create

    def _configuration(self):
        host = {"type": "DERBY", "nodeAutoCreationPolicies": (
            json.dumps(AUTO_CREATION) if self._auto_create else "[]")}

        def port(name, number, provider):
            return {"name": name, "port": str(number), "bindingAddress": "127.0.0.1",
                    "authenticationProvider": provider, "virtualhostaliases": ALIASES}
        return {
            "name": f"broker-j-{self.port}", "modelVersion": "9.1",
            "authenticationproviders": [
                {"name": "plain", "type": "Plain", "secureOnlyMechanisms": [],
                 "users": [{"name": self.username, "type": "managed",
                            "password": self.password}]},
                {"name": "anonymous", "type": "Anonymous"}],
            "brokerloggers": [LOGGER],
            "ports": [port("amqp", self.port, "plain"),
                      port("anonymous", self.anonymous_port, "anonymous")],
            "virtualhostnodes": [{
                "name": "default", "type": "JSON", "defaultVirtualHostNode": "true",
                "virtualHostInitialConfiguration": json.dumps(host)}]}

    def _launch(self):
        initial = self.workdir / "initial.json"
        initial.write_text(json.dumps(self._configuration()))
        libs = self._home / "lib"
        classes = ":".join(f"{libs / folder}/*" for folder in (".", "plugins", "opt"))
        return spawn(self.java(f"-DQPID_HOME={self._home}", f"-DQPID_WORK={self.workdir}", "-cp",
                               classes, "org.apache.qpid.server.Main",
                               "--initial-config-path", initial),
                     self.log_path, detached=self._detached, cwd=self.workdir)

    def _ready(self):
        log = self.log_since_start()
        if "BRK-1003" in log:
            raise BrokerError("it stopped by itself")
        return "BRK-1004" in log and port_is_open(self.port)
