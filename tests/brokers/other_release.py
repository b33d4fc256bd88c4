# SPDX-License-Identifier: Apache-2.0
"""Brokers of a Debian release that is not this machine's, from a root file system of their own.

RootFs("trixie").command([...], workdir, env) is a command line that runs there. The workdir has
the same path inside, and its mounts go away with the process: they are made in its own mount
namespace. Needs root, mount namespaces and debootstrap; unavailable() says which is missing.
"""

import os
import shutil
import subprocess

from .install import cache_dir, ensure_packages, locked
from .process import BrokerError

PACKAGES = ("ca-certificates", "rabbitmq-server", "redis-server")
FURTHER = {"trixie": ("valkey-server",)}
BOOTSTRAP_TIMEOUT = 1200
# Arguments: root, workdir, then the command.
SCRIPT = """
set -e
root=$1 workdir=$2
shift 2
mount -t tmpfs tmpfs "$root/tmp"
mkdir -p "$root$workdir"
mount --bind "$workdir" "$root$workdir"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
cd "$root$workdir"
exec chroot "$root" "$@"
"""


def host_release():
    """This machine's code name, e.g. "bookworm"."""
    with open("/etc/os-release", encoding="utf-8") as lines:
        words = dict(line.rstrip("\n").split("=", 1) for line in lines if "=" in line)
    return words.get("VERSION_CODENAME", "").strip('"')


def unavailable():
    """Why there can be no other release here, or None if there can be."""
    if os.geteuid() != 0:
        return "another Debian release needs root (debootstrap, chroot)"
    if subprocess.run(["unshare", "--mount", "true"], stdin=subprocess.DEVNULL,
                      capture_output=True).returncode != 0:
        return "another Debian release needs mount namespaces, which this machine refuses"
    if not shutil.which("debootstrap"):
        try:
            ensure_packages("other-release")
        except BrokerError as error:
            return f"debootstrap could not be installed: {error}"
    return None


class RootFs:
    """The root file system of a release, made the first time (a minute or two, 400 MB)."""

    def __init__(self, release):
        reason = unavailable()
        if reason:
            raise BrokerError(reason)
        self.release = release
        self.path = cache_dir() / f"debian-{release}"
        with locked(self.path.name):
            if not self.path.is_dir():
                self._bootstrap()

    def _bootstrap(self):
        staging = self.path.with_name(f"{self.path.name}.new")
        shutil.rmtree(staging, ignore_errors=True)
        packages = ",".join((*PACKAGES, *FURTHER.get(self.release, ())))
        done = subprocess.run(["debootstrap", "--variant=minbase", f"--include={packages}",
                               self.release, str(staging)], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              timeout=BOOTSTRAP_TIMEOUT)
        if done.returncode != 0:
            raise BrokerError(f"debootstrap {self.release}: {done.stdout[-4000:]}")
        shutil.rmtree(staging / "var/cache/apt/archives", ignore_errors=True)
        staging.rename(self.path)

    def command(self, argv, workdir):
        return ["unshare", "--mount", "sh", "-c", SCRIPT, "sh", str(self.path), str(workdir),
                *map(str, argv)]
