# SPDX-License-Identifier: Apache-2.0
"""Files that hold secrets: `check` tells of each that is no secret or that others can reach, and a
bridge waits until it is put right. (What a file may hold: test_secret.)"""

import os

import pytest
from brokers import RedisBroker

from support.bridge import Bridge, command
from support.config import config
from support.wait import until


def text_of(secret, port=1):
    return config("files", {
        "m": {"backend": "memory", "store": "x"},
        "r": {"backend": "redis", "uri": f"redis://127.0.0.1:{port}/0", "password": f"file:{secret}"}},
        [{"name": "r", "from": {"endpoint": "m", "stream": "x", "generate": {"count": 1, "size": 16}},
          "to": {"endpoint": "r", "stream": "x"}}])


def make(path, kind):
    if kind == "missing":
        return
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path, 0o600)
    elif kind == "dangling link":
        path.symlink_to("nowhere")
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.write_bytes({"empty": b"", "newline": b"\n", "huge": b"x" * 100000, "NUL": b"a\0b"}.get(
            kind, b"word\n"))
        path.chmod({"others read": 0o644, "group writes": 0o620, "others write": 0o602,
                    "group reads": 0o640}.get(kind, 0o600))


@pytest.mark.parametrize("kind, told", [
    ("missing", "No such file"), ("folder", "is a folder"), ("pipe", "no regular file"),
    ("device", "no regular file"), ("dangling link", "No such file"), ("empty", "is empty"),
    ("newline", "is empty"), ("huge", "larger than 64 KiB"), ("NUL", "NUL byte"),
    ("others read", "everybody on this machine can read it"),
    ("group writes", "others than its owner can change it"),
    ("others write", "others than its owner can change it"),
    ("group reads", None), ("as it should be", None)])
def test_check_tells(kind, told, tmp_path):
    secret = tmp_path / "word"
    make(secret, kind)
    path = tmp_path / "files.conf"
    path.write_text(text_of(secret))
    code, out, err = command("check", path, seconds=10)
    assert code == 0 and not err
    lines = [line for line in out.splitlines() if "password" in line]
    if told is None:
        assert not lines, out
    else:
        assert len(lines) == 1 and told in lines[0] and "warning" in lines[0], out
        assert lines[0].startswith(f"{path}:") and str(secret) in lines[0]


@pytest.mark.parametrize("kind", ["missing", "pipe", "empty"])
def test_a_bridge_waits_for_its_secret(kind, tmp_path, ending):
    broker = RedisBroker(tmp_path, password="word")
    broker.start()
    try:
        secret = tmp_path / "word"
        make(secret, kind)
        bridge = ending(Bridge(tmp_path, text_of(secret, broker.port)))
        run = bridge.start()
        run.wait_logged("keeps trying", "reason=secret", str(secret))
        scratch = tmp_path / "new"
        scratch.write_text("word\n")
        scratch.chmod(0o600)
        scratch.replace(secret)
        until(lambda: run.counters().total("delivered") == 1, 20, "it is delivered",
              detail=run.tail)
        assert run.terminate() == 0, run.tail()
    finally:
        broker.close()


@pytest.mark.long  # librdkafka takes 10 s to give up
@pytest.mark.parametrize("kind, told", [("missing", "No such file"), ("pipe", "no regular file"),
                                        ("empty", "holds no token")])
def test_a_token_that_is_none(kind, told, tmp_path, ending):
    token = tmp_path / "token"
    make(token, kind)
    bridge = ending(Bridge(tmp_path, config("token", {
        "m": {"backend": "memory", "store": "x"},
        "k": {"backend": "kafka", "brokers": "127.0.0.1:1",
              "sasl": {"mechanism": "OAUTHBEARER", "oauth": {"token_file": str(token)}}}}, [
        {"name": "r", "from": {"endpoint": "m", "stream": "x"},
         "to": {"endpoint": "k", "topic": "x"}}])))
    run = bridge.start()
    run.wait_logged("keeps trying", str(token), told)
    assert len(run.counters()["routes"]) == 1
