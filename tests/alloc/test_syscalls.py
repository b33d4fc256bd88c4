# SPDX-License-Identifier: Apache-2.0
"""System calls fail by chance while messages go through real brokers: nothing is lost.

EINTR, EAGAIN and short counts on sockets, EINTR from poll, no more descriptors, connects that are
refused (tests/alloc/fail_syscalls.c); in the client libraries as well."""

import os
import resource
import signal

import pytest

from support.bridge import Run, program
from support.config import config
from support.harassed import Harassed, preload
from support.redis_side import RedisSide
from support.wait import until

MESSAGES = 300
IO_PERMILLE = 120
FILES_PERMILLE = 150
ROUTES = 16


def _cases():
    for name in ("rabbitmq", "artemis"):
        for direction in ("from", "to"):
            everyday = (name, direction) in (("rabbitmq", "to"), ("artemis", "from"))
            yield pytest.param(name, direction, 3 if everyday else 20, id=f"{name}-{direction}",
                               marks=() if everyday else pytest.mark.long)
            yield pytest.param(name, direction, 200, id=f"{name}-{direction}-full",
                               marks=pytest.mark.long)


@pytest.mark.parametrize("name, direction, rounds", list(_cases()))
def test_system_calls_fail(name, direction, rounds, brokers, redis, fresh, tmp_path, dice, counts):
    ends = [brokers.side(name), RedisSide(redis)]
    if direction == "to":
        ends.reverse()
    pair = Harassed(*ends, redis, fresh, tmp_path)
    failed = 0
    for number in range(rounds):
        pair.put(MESSAGES)
        files = FILES_PERMILLE if number % 3 == 2 else 0
        _, report = pair.run(LD_PRELOAD=preload("fail_syscalls.so"),
                             MBRIDGE_FAIL_SEED=str(dice.randrange(1 << 30)),
                             MBRIDGE_FAIL_IO=str(IO_PERMILLE), MBRIDGE_FAIL_FILES=str(files))
        failed += int(report.split()[1])
    counts(rounds=rounds, **{"calls failed": failed, "lost": 0},
           duplicates=pair.assert_kept(), **{"exit 0": pair.endings.get(0, 0),
                                             "exit 1": pair.endings.get(1, 0)})
    assert failed > rounds * 10
    assert pair.endings.get(0, 0) >= rounds // 2, "interruptions alone stop nothing"


def test_with_32_descriptors_routes_wait_and_go_on(redis, fresh, tmp_path, ending):
    """What cannot be opened waits and says so; with more room it goes on, nothing is lost."""
    names = [fresh(f"route{number}") for number in range(ROUTES)]
    conf, name = tmp_path / "many.conf", fresh("bridge")

    def text(names):
        return config(name, {"r": {"backend": "redis", "uri": redis.uri}}, [
            {"name": name, "from": {"endpoint": "r", "stream": name},
             "to": {"endpoint": "r", "stream": f"{name}.to"},
             "retry": {"initial": "50ms", "max": "200ms"}} for name in names])

    for one in names:
        redis.call("XADD", one, "*", "body", one)
    conf.write_text(text(names[:1]))
    run = Run([program(), "run", str(conf)], cwd=tmp_path, env=dict(os.environ))
    run.end = lambda: run.running and run.kill()
    ending(run)
    run.wait_logged("connected", "role=source", seconds=15)
    # It takes what the hard limit allows when it starts.
    soft, hard = resource.prlimit(run.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(run.pid, resource.RLIMIT_NOFILE, (32, hard))
    conf.write_text(text(names))
    run.signal(signal.SIGHUP)
    run.wait_logged("too many open files", seconds=15)
    assert run.running
    resource.prlimit(run.pid, resource.RLIMIT_NOFILE, (soft, hard))
    until(lambda: all(redis.call("XLEN", f"{name}.to") == 1 for name in names), 30,
          "each route has carried its message", detail=run.tail)
    assert run.terminate() == 0, run.tail()
    assert run.last_counters().conserved()
    assert run.last_counters().total("delivered") == ROUTES
