# SPDX-License-Identifier: Apache-2.0
"""Modules are code: they come from places that nobody else can change, or not at all. (Modes and
owners one by one: test_trust, and other interfaces: test_registry.)"""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from support.bridge import command, program
from support.config import config


def modules():
    return Path(program()).resolve().parent.parent / "lib/mbridge"


@pytest.fixture
def folder(tmp_path):
    """A folder with one good module, redis."""
    made = tmp_path / "modules"
    made.mkdir(mode=0o755)
    shutil.copy(modules() / "redis.so", made / "redis.so")
    return made


def check(tmp_path, folder, backend="redis"):
    path = tmp_path / "modules.conf"
    path.write_text(config("modules", {
        "r": {"backend": backend, "uri": "redis://127.0.0.1/0"},
        "m": {"backend": "memory", "store": "x"}}, [
        {"name": "r", "from": {"endpoint": "m", "stream": "x"},
         "to": {"endpoint": "r", "stream": "x"}}]))
    code, out, err = command("check", path, cwd=tmp_path, env={"MBRIDGE_MODULES": str(folder)})
    return code, out + err


def test_a_folder_that_is_the_users(folder, tmp_path):
    assert check(tmp_path, folder)[0] == 0
    assert check(tmp_path, folder, str(folder / "redis.so"))[0] == 0


@pytest.mark.parametrize("place", ["file", "folder", "above"])
def test_what_everybody_can_change(place, folder, tmp_path):
    path = {"file": folder / "redis.so", "folder": folder, "above": tmp_path}[place]
    path.chmod(0o777)
    for backend in ("redis", str(folder / "redis.so")):
        code, told = check(tmp_path, folder, backend)
        assert code == 2 and "writable by everyone" in told and str(path) in told, told
    assert "modules.conf:" in told


@pytest.mark.skipif(os.getuid() != 0, reason="needs another user's file")
def test_what_another_user_owns(folder, tmp_path):
    for path in (folder / "redis.so", folder):
        os.chown(path, 12345, -1)
        code, told = check(tmp_path, folder)
        assert code == 2 and "belongs to user 12345" in told, told
        os.chown(path, 0, -1)


def test_a_relative_folder(folder, tmp_path):
    code, told = check(tmp_path, folder.name)
    assert code == 2 and "no absolute path" in told, told
    code, told = check(tmp_path, folder, "modules/redis.so")
    assert code == 2 and "absolute path" in told, told


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to make a program that is set-user-ID")
def test_the_environment_of_a_privileged_process_is_not_looked_at():
    """Set-user-ID: the folder would be chosen by somebody else than whose rights it gets."""
    with tempfile.TemporaryDirectory() as scratch:
        here = Path(scratch)
        here.chmod(0o755)
        folder = here / "modules"
        folder.mkdir(mode=0o755)
        (folder / "planted.so").write_text("no module, but it is noticed where it is looked at")
        privileged = here / "mbridge"
        shutil.copy(program(), privileged)
        env = {**os.environ, "MBRIDGE_MODULES": str(folder)}

        def told():
            done = subprocess.run([str(privileged), "backends"], user=65534, group=65534,
                                  extra_groups=[], env=env, capture_output=True, text=True,
                                  timeout=20, cwd="/")
            return done.stdout + done.stderr

        privileged.chmod(0o755)
        assert "planted" in told()
        privileged.chmod(0o4755)
        assert "planted" not in told()
