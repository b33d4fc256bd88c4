# SPDX-License-Identifier: Apache-2.0
"""Gets brokers: Debian's packages through ./dev, Java ones by Maven into a cache outside the tree.

A further root file system, with the brokers of another Debian release, is in other_release.py.
"""

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
COPY_PLUGIN_VERSION = "3.6.1"


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
def locked(name):
    """Two test runs may want the same download at the same time: the second one waits."""
    with open(cache_dir() / f"{name}.lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def ensure_packages(group):
    """Has ./dev install a group of Debian packages ("rabbitmq", "java") where they are missing."""
    with locked("packages"):
        done = subprocess.run([REPOSITORY / "dev", "packages", group], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        raise BrokerError(f"packages for {group} could not be installed:\n{done.stdout[-4000:]}")


def _dependency(group, artifact, version):
    return (f"<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId>"
            f"<version>{version}</version></dependency>")


def _maven(goal, directory, *options):
    """Runs a goal of Maven's in a directory, several times if need be."""
    command = ["mvn", "-B", "-q", f"-Dmaven.repo.local={cache_dir() / 'm2'}", goal, *options]
    for _ in range(MAVEN_ATTEMPTS):
        done = subprocess.run(command, cwd=directory, stdin=subprocess.DEVNULL,
                              env={"MAVEN_OPTS": "-XX:-UsePerfData", **os.environ},
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode == 0:
            return
    raise BrokerError(f"Maven failed {MAVEN_ATTEMPTS} times: {goal} {' '.join(options)}\n"
                      f"{done.stdout[-4000:]}")


def _pom(dependencies):
    """A project that only has dependencies: (group, artifact, version)."""
    return ("<project><modelVersion>4.0.0</modelVersion><groupId>mbridge</groupId>"
            "<artifactId>brokers</artifactId><version>1</version><packaging>pom</packaging>"
            "<dependencies>" + "".join(_dependency(*row) for row in dependencies)
            + "</dependencies></project>")


def _cached(name, make):
    """cache_dir()/name; make(staging) returns the directory that becomes it, the first time."""
    wanted = cache_dir() / name
    if wanted.is_dir():
        return wanted
    if not (shutil.which("java") and shutil.which("mvn")):
        ensure_packages("java")
    with locked(name):
        if not wanted.is_dir():
            staging = Path(tempfile.mkdtemp(prefix=f"{name}.", dir=cache_dir()))
            try:
                make(staging).rename(wanted)
            finally:
                shutil.rmtree(staging, ignore_errors=True)
    return wanted


def maven_libs(name, dependencies):
    """A directory with the jars of these dependencies and of theirs; downloaded the first time."""
    def make(staging):
        (staging / "pom.xml").write_text(_pom(dependencies))
        _maven("dependency:copy-dependencies", staging, "-DincludeScope=runtime",
               f"-DoutputDirectory={staging / 'libs'}")
        return staging / "libs"
    return _cached(name, make)


def kafka_libs(version):
    """The directory with Kafka's jars."""
    wanted = [("org.apache.kafka", artifact, version) for artifact in ("kafka_2.13", "kafka-tools")]
    if not version.startswith("3."):  # 4.x brings the logging interface without an implementation
        wanted += [("org.apache.logging.log4j", artifact, LOG4J_VERSION)
                   for artifact in ("log4j-slf4j-impl", "log4j-core")]
    return maven_libs(f"kafka-{version}", wanted)


def maven_distribution(group, artifact, version):
    """The unpacked archive artifact-version-bin.tar.gz; downloaded the first time."""
    def make(staging):
        _maven(f"org.apache.maven.plugins:maven-dependency-plugin:{COPY_PLUGIN_VERSION}:copy",
               staging, f"-Dartifact={group}:{artifact}:{version}:tar.gz:bin",
               f"-DoutputDirectory={staging}")
        unpacked = staging / "unpacked"
        unpacked.mkdir()
        subprocess.run(["tar", "-xzf", staging / f"{artifact}-{version}-bin.tar.gz",
                        "-C", unpacked], check=True)
        [top] = unpacked.iterdir()
        return top if (top / "lib").is_dir() else next(top.iterdir())
    return _cached(f"{artifact}-{version}", make)
