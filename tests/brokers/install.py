# SPDX-License-Identifier: Apache-2.0
"""Gets brokers: Debian's packages through ./dev, Java ones by Maven into a cache outside the tree."""

import fcntl
import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

from .process import BrokerError

REPOSITORY = Path(__file__).resolve().parents[2]
MAVEN_ATTEMPTS = 4
LOG4J_VERSION = "2.24.3"


def cache_dir():
    """${MBRIDGE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/mbridge}, made if it is missing."""
    base = os.environ.get("MBRIDGE_CACHE")
    if not base:
        home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
        base = str(Path(home) / "mbridge")
    path = Path(base)
    path.mkdir(parents=True, exist_ok=True)
    return path


@contextmanager
def _locked(name):
    """Two test runs may want the same download at the same time: the second one waits."""
    with open(cache_dir() / f"{name}.lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def ensure_packages(group):
    """Has ./dev install a group of Debian packages ("rabbitmq", "java") where they are missing."""
    with _locked("packages"):
        done = subprocess.run([REPOSITORY / "dev", "packages", group], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        raise BrokerError(f"packages for {group} could not be installed:\n{done.stdout[-4000:]}")


def _dependency(group, artifact, version):
    return (f"<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId>"
            f"<version>{version}</version></dependency>")


def _kafka_pom(version):
    wanted = [("org.apache.kafka", artifact, version) for artifact in ("kafka_2.13", "kafka-tools")]
    if not version.startswith("3."):  # 4.x brings the logging interface without an implementation
        wanted += [("org.apache.logging.log4j", artifact, LOG4J_VERSION)
                   for artifact in ("log4j-slf4j-impl", "log4j-core")]
    return ("<project><modelVersion>4.0.0</modelVersion><groupId>mbridge</groupId>"
            "<artifactId>brokers</artifactId><version>1</version><packaging>pom</packaging>"
            "<dependencies>" + "".join(_dependency(*row) for row in wanted)
            + "</dependencies></project>")


def kafka_libs(version):
    """The directory with Kafka's jars; downloads them the first time."""
    libs = cache_dir() / f"kafka-{version}"
    if libs.is_dir():
        return libs
    if not (shutil.which("java") and shutil.which("mvn")):
        ensure_packages("java")
    with _locked(f"kafka-{version}"):
        if not libs.is_dir():
            _download_kafka(version, libs)
    return libs


def _download_kafka(version, libs):
    staging = Path(tempfile.mkdtemp(prefix=f"kafka-{version}.", dir=cache_dir()))
    try:
        (staging / "pom.xml").write_text(_kafka_pom(version))
        command = ["mvn", "-B", "-q", f"-Dmaven.repo.local={cache_dir() / 'm2'}",
                   "dependency:copy-dependencies", "-DincludeScope=runtime",
                   f"-DoutputDirectory={staging / 'libs'}"]
        for attempt in range(MAVEN_ATTEMPTS):
            done = subprocess.run(command, cwd=staging, stdin=subprocess.DEVNULL,
                                  env={"MAVEN_OPTS": "-XX:-UsePerfData", **os.environ},
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            if done.returncode == 0:
                break
        else:
            raise BrokerError(f"Kafka {version} could not be downloaded in {MAVEN_ATTEMPTS} "
                              f"attempts:\n{done.stdout[-4000:]}")
        (staging / "libs").rename(libs)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
