# SPDX-License-Identifier: Apache-2.0
"""Secrets that would be noticed: in every form in which a configuration can hold one, through a run
that succeeds, log-ins that are refused, brokers that repeat what they are sent, `check`, `copy`,
counters and a crash, with all that can be logged. No output of the bridge, and nothing that another
user can read of it, has a part of one."""

import os
import resource
import signal
import subprocess
import tempfile
from pathlib import Path
from urllib.parse import quote

import pytest
from brokers import RedisBroker

from security.peer import Peer
from support.bridge import Bridge, command, program
from support.config import Raw, config
from support.wait import until

CORE = "c4n4ry7Zq"
# Characters that mean something to URIs, to the configuration, to logs, terminals and brokers.
SECRET = f"{CORE}A/{CORE}B@{CORE}C:{CORE}D?{CORE}E#{CORE}F&x={CORE}G%25${{key}}'`;|é{CORE}H"
FORMS = ("plain", "uri", "file", "env", "credential")
SINKS = {"amqp091": {"queue": "q"}, "amqp10": {"address": "q"}, "redis": {"stream": "q"},
         "kafka": {"topic": "q"}}
SCHEMES = {"amqp091": "amqp", "amqp10": "amqp10", "redis": "redis"}


def clean(*texts):
    for text in texts:
        data = text.encode() if isinstance(text, str) else text
        found = data.find(CORE.encode())
        assert found < 0, data[max(0, found - 300):found + 100]


class Secrets:
    """The secret in each form, and the environment that goes with them."""

    def __init__(self, folder):
        self.folder = Path(folder) / "credentials"
        self.folder.mkdir()
        for name in ("word", "credential"):
            path = self.folder / name
            path.write_text(SECRET + "\n")
            path.chmod(0o600)
        self.env = {"CREDENTIALS_DIRECTORY": str(self.folder), "CANARY": SECRET}

    def password(self, form):
        return {"plain": SECRET, "file": f"file:{self.folder}/word", "env": "env:CANARY",
                "credential": "credential:credential"}[form]

    def endpoint(self, platform, port, form, user="shop"):
        if platform == "kafka":
            return {"backend": "kafka", "brokers": f"127.0.0.1:{port}",
                    "sasl": {"mechanism": "PLAIN", "username": user,
                             "password": self.password("plain" if form == "uri" else form)},
                    "properties": ["debug=all", f"ssl.key.password={SECRET}"]}
        login = f"{user}:{quote(SECRET, safe='')}@" if form == "uri" else ""
        more = {} if form == "uri" else {"username": user, "password": self.password(form)}
        return {"backend": platform, "uri": f"{SCHEMES[platform]}://{login}127.0.0.1:{port}", **more}


@pytest.fixture
def secrets(tmp_path):
    return Secrets(tmp_path)


@pytest.fixture
def locked(tmp_path):
    """A Redis whose user has the secret for a password."""
    broker = RedisBroker(tmp_path)
    broker.start()
    broker.call("ACL", "SETUSER", "shop", "on", f">{SECRET}", "~*", "+@all")
    yield broker
    broker.close()


def echo(data):
    """What a broker that repeats what it is sent would say, to each platform in its own words."""
    words = data.replace(b"\r", b" ").replace(b"\n", b" ")[:400]
    return b"-ERR unknown command 'AUTH', with args beginning with: " + words + b"\r\n"


def routes_of(endpoints, count=1):
    return [{"name": name, "from": {"endpoint": "m", "stream": "x",
                                    "generate": {"count": count, "size": 32}},
             "to": {"endpoint": name, **SINKS[endpoint["backend"]]}}
            for name, endpoint in endpoints.items()]


def visible_to_others(pid):
    """What /proc shows to any user."""
    return b"\n".join(Path(f"/proc/{pid}/{name}").read_bytes() for name in
                      ("cmdline", "comm", "status", "stat"))


def test_log_ins_that_succeed_and_are_refused(secrets, locked, rabbit, fresh, tmp_path, ending):
    user = fresh("shop")
    rabbit.ctl("add_user", user, SECRET)
    rabbit.ctl("set_permissions", user, ".*", ".*", ".*")
    endpoints = {}
    for form in FORMS:
        endpoints[f"redis-{form}"] = secrets.endpoint("redis", locked.port, form)
        endpoints[f"amqp091-{form}"] = secrets.endpoint("amqp091", rabbit.port, form, user)
    # RabbitMQ's queue of an address is declared by the other protocol.
    endpoints["amqp10-uri"] = secrets.endpoint("amqp10", rabbit.port, "uri", user)
    good = len(endpoints)
    for platform, port in (("redis", locked.port), ("amqp091", rabbit.port),
                           ("amqp10", rabbit.port)):
        endpoints[f"{platform}-refused"] = secrets.endpoint(platform, port, "plain", "stranger")
    text = config(fresh("canary"), {"m": {"backend": "memory", "store": "x"}, **endpoints},
                  routes_of(endpoints), log_level="debug")
    bridge = ending(Bridge(tmp_path, text, env=secrets.env))
    bridge.path.chmod(0o600)
    run = bridge.start()
    bridge.ready()
    until(lambda: run.counters().total("delivered") == good, 20, f"{good} messages are delivered",
          detail=run.tail)
    for platform in ("redis", "amqp091", "amqp10"):
        run.wait_logged(f"route={platform}-refused", "reason=auth")
    clean(visible_to_others(run.pid))
    out = command("check", bridge.path, env=secrets.env)
    clean(*out[1:])
    assert out[0] == 0, out
    out = command("check", "--connect", bridge.path, env=secrets.env)
    clean(*out[1:])
    assert out[0] == 1, out
    bridge.reload(text.replace('stream = "q"', 'stream = "q2"'))
    run.wait_logged("configuration reloaded")
    run.terminate()
    clean("\n".join(run.log), "\n".join(run.lines))


def repeat(endpoints, secrets, name, tmp_path, ending):
    """A bridge to peers that repeat what they are sent, until each has been told of."""
    bridge = ending(Bridge(tmp_path, config(
        name, {"m": {"backend": "memory", "store": "x"}, **endpoints}, routes_of(endpoints),
        log_level="debug"), env=secrets.env))
    run = bridge.start()
    for endpoint in endpoints:
        run.wait_logged(f"route={endpoint} ", "keeps trying", seconds=30)
    assert run.counters().total("delivered") == 0
    run.kill()
    clean("\n".join(run.log), "\n".join(run.lines))


def test_brokers_that_repeat_what_they_are_sent(secrets, fresh, tmp_path, ending):
    peers = {name: ending(Peer(answer=echo)) for name in (*SINKS, "sentinel")}
    endpoints = {f"{platform}-echo": secrets.endpoint(platform, peers[platform].port, "plain")
                 for platform in SINKS}
    endpoints["redis-sentinel"] = {"backend": "redis", "sentinel": {
        "nodes": Raw(f'( "127.0.0.1:{peers["sentinel"].port}" )'), "master": "main",
        "username": "shop", "password": SECRET}}
    repeat(endpoints, secrets, fresh("canary"), tmp_path, ending)
    # The canary was there to be repeated.
    for name in ("redis", "sentinel"):
        assert CORE.encode() in peers[name].everything


@pytest.mark.parametrize("verb", [("list",), ("show", "1"), ("replay",)], ids=lambda verb: verb[0])
def test_dead_letters_that_cannot_be_reached(verb, secrets, locked, tmp_path, ending):
    peer = ending(Peer(answer=echo))
    for form, port, user in (("uri", peer.port, "shop"), ("file", locked.port, "stranger"),
                             ("env", locked.port, "shop")):
        endpoints = {"redis": secrets.endpoint("redis", port, form, user)}
        routes = routes_of(endpoints)
        routes[0]["dead_letter"] = {"endpoint": "redis", "stream": "dead"}
        path = tmp_path / "dead.conf"
        path.write_text(config("dead", {"m": {"backend": "memory", "store": "x"}, **endpoints},
                               routes, log_level="debug"))
        code, out, err = command("dlq", *verb, path, env=secrets.env)
        assert code != 0 or user == "shop"
        clean(out, err)


@pytest.mark.long  # librdkafka takes 10 s to give up
def test_tokens_are_not_repeated(secrets, fresh, tmp_path, ending):
    peer, token = ending(Peer(answer=echo)), tmp_path / "token"
    token.write_text(SECRET)
    endpoints = {}
    for name, options in (
            ("kafka-token", {"token_file": str(token)}),
            ("kafka-client", {"token_url": f"http://127.0.0.1:{peer.port}/token",
                              "client_id": "shop", "client_secret": SECRET})):
        made = {"backend": "kafka", "brokers": f"127.0.0.1:{peer.port}", "properties": ["debug=all"],
                "sasl": {"mechanism": "OAUTHBEARER", "oauth": options}}
        path = tmp_path / "one.conf"
        path.write_text(config("one", {"m": {"backend": "memory", "store": "x"}, name: made},
                               routes_of({name: made})))
        code, out, err = command("check", path)
        clean(out, err)
        if code == 0:  # not every librdkafka can ask for tokens by HTTP
            endpoints[name] = made
    repeat(endpoints, secrets, fresh("canary"), tmp_path, ending)


def test_copy_hides_what_its_arguments_hold(secrets, locked, tmp_path):
    """Also what is no well-formed URL: it was typed, and process lists show it."""
    encoded = quote(SECRET, safe="")
    good = f"redis://shop:{encoded}@127.0.0.1:{locked.port}/0?stream=none"
    bridge = subprocess.Popen([program(), "copy", "--follow", good, good.replace("none", "there")],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        cmdline = Path(f"/proc/{bridge.pid}/cmdline")
        until(lambda: b"***" in cmdline.read_bytes(), 10, "the arguments are hidden")
        clean(visible_to_others(bridge.pid))
        assert b"stream=there" in cmdline.read_bytes()
    finally:
        bridge.terminate()
        out, err = bridge.communicate(timeout=20)
    clean(out, err)
    for url in (f"redis://shop:{encoded}@127.0.0.1:1/0?streem=x", f"redis://shop:{SECRET}@h/0",
                f"amqp://shop:{CORE}/{CORE}@h/?queue=q", f"nosuch://a:{encoded}@h/",
                f"kafka://h/t?sasl.password={encoded}&sasl.mechanism=NOSUCH",
                f"kafka://h/t?properties=ssl.key.password={encoded}&properties=no.such=1",
                f"redis://:{encoded}@h:99999/?stream=s"):
        code, out, err = command("copy", url, "memory:///x?stream=y")
        assert code != 0
        clean(out, err)


@pytest.mark.parametrize("wrong", [
    '"%s"; passwort = "x"', '%s', '( "%s" )', '"%s" "\\x00"', '"%s', '{ a = "%s"; }'])
def test_mistakes_beside_a_secret(wrong, secrets, tmp_path):
    value = wrong % SECRET.replace("\\", "\\\\").replace('"', '\\"')
    path = tmp_path / "wrong.conf"
    path.write_text('endpoints = {\n r = { backend = "redis"; uri = "redis://h/0";\n password = '
                    + value + ';\n };\n};\n')
    code, out, err = command("check", path)
    assert code == 2
    clean(out, err)


def crash(path, tmp_path, allowed):
    """Ends a bridge by SIGABRT where cores may be of any size; whether the kernel wrote one."""
    path.write_text(path.read_text().replace("core_dumps = false", f"core_dumps = {allowed}"))
    bridge = subprocess.Popen(
        [program(), "run", str(path)], cwd=tmp_path, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE,
                                              (resource.RLIM_INFINITY,) * 2))
    for line in bridge.stderr:
        if b"starting" in line:
            break
    # The settings of the process are applied before the line is written.
    owner = os.stat(f"/proc/{bridge.pid}/environ").st_uid
    os.kill(bridge.pid, signal.SIGABRT)
    bridge.stderr.read()
    _, status = os.waitpid(bridge.pid, 0)
    bridge.returncode = status
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGABRT
    return os.WCOREDUMP(status), owner


def test_no_core_is_written(tmp_path):
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    if hard != resource.RLIM_INFINITY:
        pytest.skip("this machine allows no core")
    path = tmp_path / "crash.conf"
    path.write_text(config("crash", {"m": {"backend": "memory", "store": "x"}}, [
        {"name": "r", "from": {"endpoint": "m", "stream": "x"},
         "to": {"endpoint": "m", "stream": "y"}}], core_dumps=False))
    dumped, _ = crash(path, tmp_path, "false")
    assert not dumped and not list(tmp_path.glob("*core*"))
    dumped, _ = crash(path, tmp_path, "true")
    if not dumped:
        pytest.skip("this machine writes no core at all; that none is written without the option "
                    "was seen")
    for core in tmp_path.glob("core*"):
        core.unlink()


def test_other_processes_of_the_user_cannot_look_in(secrets):
    """Not dumpable: memory, environment and descriptors in /proc belong to root alone."""
    other = {"user": 65534, "group": 65534, "extra_groups": []} if os.getuid() == 0 else {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "own.conf"
        path.write_text(config("own", {"m": {"backend": "memory", "store": "x"}}, [
            {"name": "r", "from": {"endpoint": "m", "stream": "x"},
             "to": {"endpoint": "m", "stream": "y"}}]))
        Path(folder).chmod(0o755)
        try:
            bridge = subprocess.Popen([program(), "run", str(path)], cwd="/", **other,
                                      env={**os.environ, **secrets.env}, stderr=subprocess.PIPE,
                                      stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        except PermissionError:
            pytest.skip("the program is where another user cannot start it")
        try:
            first = bridge.stderr.readline()
            assert b"starting" in first, first
            for name in ("environ", "mem", "fd", "maps"):
                assert os.stat(f"/proc/{bridge.pid}/{name}").st_uid == 0, name
            if os.getuid() != 0:
                with pytest.raises(PermissionError):
                    Path(f"/proc/{bridge.pid}/environ").read_bytes()
        finally:
            bridge.kill()
            bridge.communicate()
