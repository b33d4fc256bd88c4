# SPDX-License-Identifier: Apache-2.0
"""How each platform is made to refuse what a sink sends, and to take it again."""

from pathlib import Path

from kafka import KafkaAdminClient
from kafka.admin import (ACL, ACLOperation, ACLPermissionType, ResourcePattern, ResourceType)
from support.wait import until

ACL_BROKER = {
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "allow.everyone.if.no.acl.found": "true"}
UNSAVED = "not-a-file"  # a folder of that name is where Redis is to write its snapshot


class Refusal:
    """refuse() until mend(), for one sink and its place `there`; endpoint: what the sink's has for
    it."""

    def __init__(self, sink, fresh):
        self.sink, self.broker = sink, sink.broker
        self.there = None
        self._fresh = fresh
        self.endpoint = {}


class FullQueue(Refusal):
    """basic.nack, and `rejected` over AMQP 1.0. A queue that learns of its limit before it learns to
    refuse drops what it holds, confirmed as it is: so it learns to refuse first."""

    _ready = False

    def _policy(self, text):
        queue = self.there.get("queue") or self.there["address"].removeprefix("/queues/")
        self.broker.ctl("set_policy", queue, f"^{queue}$", text, "--apply-to", "queues")

    def refuse(self):
        if not self._ready:
            self._policy('{"overflow":"reject-publish"}')
            self._ready = True
        self._policy('{"max-length":0,"overflow":"reject-publish"}')

    def mend(self):
        self._policy('{"overflow":"reject-publish"}')


class NotAllowed(Refusal):
    """Kafka's TOPIC_AUTHORIZATION_FAILED."""

    def _rule(self, operation, permission):
        return ACL(principal="User:ANONYMOUS", host="*", operation=operation,
                   permission_type=permission, resource_pattern=ResourcePattern(
                       ResourceType.TOPIC, self.there["topic"]))

    def _change(self, change):
        admin = KafkaAdminClient(bootstrap_servers=self.there["bootstrap"])
        try:
            getattr(admin, change)([
                self._rule(ACLOperation.WRITE, ACLPermissionType.DENY),
                self._rule(ACLOperation.READ, ACLPermissionType.ALLOW),
                self._rule(ACLOperation.DESCRIBE, ACLPermissionType.ALLOW)])
        finally:
            admin.close()

    def refuse(self):
        self._change("create_acls")

    def mend(self):
        self._change("delete_acls")


class Setting(Refusal):
    """A setting of the whole server."""

    name, wrong, right = None, None, None

    def refuse(self):
        self.broker.call("CONFIG", "SET", self.name, self.wrong)

    def mend(self):
        self.broker.call("CONFIG", "SET", self.name, self.right)


class Oom(Setting):
    name, wrong, right = "maxmemory", "1", "0"


class NoReplicas(Setting):
    name, wrong, right = "min-replicas-to-write", "1", "0"


class Misconf(Setting):
    name, wrong, right = "stop-writes-on-bgsave-error", "yes", "no"

    def __init__(self, sink, fresh):
        super().__init__(sink, fresh)
        Path(self.broker.workdir, UNSAVED).mkdir(exist_ok=True)
        self.mend()
        self.broker.call("BGSAVE")
        until(lambda: "rdb_last_bgsave_status:err" in self.broker.call("INFO", "persistence"), 20,
              "a snapshot that fails")


class NoPermission(Refusal):
    """An ACL without XADD."""

    def __init__(self, sink, fresh):
        super().__init__(sink, fresh)
        self._user = fresh("user")
        self.broker.call("ACL", "SETUSER", self._user, "reset", "on", ">secret", "~*", "+@all")
        self.endpoint = {"uri": f"redis://{self._user}:secret@127.0.0.1:{self.broker.port}/0"}

    def refuse(self):
        self.broker.call("ACL", "SETUSER", self._user, "-xadd")

    def mend(self):
        self.broker.call("ACL", "SETUSER", self._user, "+xadd")


class WrongType(Refusal):
    """The stream is out of the way, and a text in its place."""

    _SWAP = ("redis.call('RENAME', KEYS[1], KEYS[2]); redis.call('SET', KEYS[1], 'a text')",
             "redis.call('DEL', KEYS[1]); redis.call('RENAME', KEYS[2], KEYS[1])")

    def _swap(self, number):
        key = self.there["stream_key"]
        self.broker.call("EVAL", self._SWAP[number], 2, key, key + ".aside")

    def refuse(self):
        self._swap(0)

    def mend(self):
        self._swap(1)
