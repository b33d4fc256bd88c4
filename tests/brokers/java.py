# SPDX-License-Identifier: Apache-2.0
"""What the brokers that run in a Java machine share."""

import shutil

from .install import ensure_packages
from .process import Broker

JVM_OPTIONS = ["-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:-UsePerfData"]
# Without the slower of the two compilers a broker starts with two thirds of the computing.
QUICK_START = ["-XX:TieredStopAtLevel=1"]


class JavaBroker(Broker):
    """A broker that is one Java process."""

    start_timeout = 180  # it is all computing, on a machine that may be busy
    quick_start = True  # set it to False for brokers that are to be fast for long: in a benchmark

    def __init__(self, workdir=None, detached=False):
        if not shutil.which("java"):
            ensure_packages("java")
        super().__init__(workdir, detached)

    @classmethod
    def java(cls, *words):
        return ["java", *JVM_OPTIONS, *(QUICK_START if cls.quick_start else ()), *words]
