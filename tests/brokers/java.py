# SPDX-License-Identifier: Apache-2.0
"""What the brokers that run in a Java machine share."""

import shutil

from .install import ensure_packages
from .process import Broker

JVM_OPTIONS = ["-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:-UsePerfData"]


class JavaBroker(Broker):
    """A broker that is one Java process."""

    start_timeout = 180  # it is all computing, on a machine that may be busy

    def __init__(self, workdir=None, detached=False):
        if not shutil.which("java"):
            ensure_packages("java")
        super().__init__(workdir, detached)

    @staticmethod
    def java(*words):
        return ["java", *JVM_OPTIONS, *words]
