# SPDX-License-Identifier: Apache-2.0
"""Installs what the bridge is compared with, into $PEERS_HOME (by default a folder of the cache):
Bento by go, mq-bridge's wheel by pip, MirrorMaker 2 with Maven. Shovel is part of RabbitMQ."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from brokers.install import cache_dir, maven_libs

HERE = Path(__file__).resolve().parent
BENTO_VERSION, MQ_BRIDGE_VERSION, MIRROR_VERSION = "1.20.0", "1.2.0", "3.9.1"
NICE = ("nice", "-n", "10")


def home():
    return Path(os.environ.get("PEERS_HOME") or cache_dir() / "peers")


def bento():
    return home() / "bento"


def mq_bridge():
    """The Python that has it."""
    return home() / "venv" / "bin" / "python"


def mirror_libs():
    return cache_dir() / f"mirror-maker-{MIRROR_VERSION}"


def _do(*words, cwd=None):
    print("  " + " ".join(map(str, words)), file=sys.stderr, flush=True)
    subprocess.run([*NICE, *map(str, words)], cwd=cwd, check=True, stdin=subprocess.DEVNULL)


def install_bento():
    if not shutil.which("go"):
        return "Bento: needs go"
    source = home() / "bento-source"
    source.mkdir(parents=True, exist_ok=True)
    shutil.copy(HERE / "bento.go", source / "main.go")
    if not (source / "go.mod").exists():
        _do("go", "mod", "init", "peers/bento", cwd=source)
    _do("go", "get", f"github.com/warpstreamlabs/bento@v{BENTO_VERSION}", cwd=source)
    _do("go", "mod", "tidy", cwd=source)
    _do("go", "build", "-ldflags=-s -w", "-o", bento(), ".", cwd=source)
    return None


def install_mq_bridge():
    _do(sys.executable, "-m", "venv", home() / "venv")
    _do(mq_bridge(), "-m", "pip", "install", "--quiet", f"mq-bridge=={MQ_BRIDGE_VERSION}")


def install_mirror():
    maven_libs(mirror_libs().name, [("org.apache.kafka", "connect-mirror", MIRROR_VERSION),
                                    ("org.apache.kafka", "connect-runtime", MIRROR_VERSION)])


def install():
    """What could not be installed, with the reason."""
    failed = []
    home().mkdir(parents=True, exist_ok=True)
    for name, there, work in (("Bento", bento(), install_bento),
                              ("mq-bridge", mq_bridge(), install_mq_bridge),
                              ("MirrorMaker 2", mirror_libs(), install_mirror)):
        if there.exists():
            continue
        print(f"installing {name}", file=sys.stderr, flush=True)
        try:
            why = work()
        except (OSError, subprocess.CalledProcessError, RuntimeError) as error:
            why = f"{name}: {error}"
        if why:
            failed.append(why)
    return failed
