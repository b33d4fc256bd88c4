# SPDX-License-Identifier: Apache-2.0
"""Brokers to play with: cli.py up|down|status [NAME...] (see NAMES).

They run until `down`, each on a free loopback port with its data in the cache directory; `fetch`
only downloads what the named ones need.
"""

import json
import shutil
import sys
import tempfile
from pathlib import Path

# Run as a file, this directory would be searched first, with its modules as top-level names.
sys.path[0] = str(Path(__file__).resolve().parents[1])

from brokers import (ArtemisBroker, BrokerError, BrokerJ, ClassicBroker, KafkaBroker,  # noqa: E402
                     RabbitBroker, RedisBroker)
from brokers.guardian import start_time  # noqa: E402
from brokers.install import cache_dir  # noqa: E402
from brokers.process import terminate  # noqa: E402
from support.jms import libraries  # noqa: E402

KAFKA_VERSIONS = {"kafka-3.9": "3.9.1", "kafka-4": "4.3.1"}
RABBIT_RELEASES = {"rabbitmq": None, "rabbitmq-3": "bookworm", "rabbitmq-4": "trixie"}
BROKERS = {
    **{name: lambda version=version, **options: KafkaBroker(version, **options)
       for name, version in KAFKA_VERSIONS.items()},
    **{name: lambda release=release, **options: RabbitBroker(release=release, amqp10=True,
                                                             **options)
       for name, release in RABBIT_RELEASES.items()},
    "redis": RedisBroker,
    "artemis": ArtemisBroker,
    "classic": ClassicBroker,
    "broker-j": BrokerJ,
}
NAMES = [*BROKERS]
JMS_CLIENT = "jms-client"  # only to be fetched
STOP_TIMEOUT = 20


def home_of(name):
    return cache_dir() / "brokers" / name


def recorded(name):
    """What `up` wrote down about a broker that still runs, else None."""
    try:
        state = json.loads((home_of(name) / "state.json").read_text())
    except (OSError, ValueError):
        return None
    pid, start = state["processes"][0]
    return state if start_time(pid) == start else None


def address_of(broker):
    return broker.uri if hasattr(broker, "uri") else f"kafka://{broker.bootstrap}"


def up(name):
    state = recorded(name)
    if state is None:
        down(name)
        home = home_of(name)
        home.mkdir(parents=True)
        broker = BROKERS[name](workdir=home, detached=True)
        broker.start()
        state = {"address": address_of(broker), "processes": broker.processes(),
                 "log": str(broker.log_path)}
        (home / "state.json").write_text(json.dumps(state))
        broker.leave_running()
    print(f"{name:10} up    {state['address']}    log: {state['log']}", flush=True)


def down(name):
    """Stops what `up` started, and what is left of it, and removes its data."""
    home = home_of(name)
    if not home.exists():
        return
    try:
        processes = json.loads((home / "state.json").read_text())["processes"]
    except (OSError, ValueError):
        processes = []
    for pid, start in processes:
        terminate(pid, start, STOP_TIMEOUT)
    shutil.rmtree(home)


def status(name):
    state = recorded(name)
    print(f"{name:10} up    {state['address']}    log: {state['log']}" if state else
          f"{name:10} down")


def stop(name):
    down(name)
    print(f"{name:10} down")


def fetch(name):
    """Downloads and installs what the broker needs: all of that happens when one is made."""
    if name == JMS_CLIENT:
        libraries()
        return
    with tempfile.TemporaryDirectory(prefix="mbridge-fetch-") as workdir:
        BROKERS[name](workdir=workdir, detached=True)


ACTIONS = {"up": up, "down": stop, "status": status, "fetch": fetch}


def main(arguments):
    names = arguments[1:] or NAMES
    known = [*NAMES, JMS_CLIENT] if arguments[:1] == ["fetch"] else NAMES
    wrong = [name for name in names if name not in known]
    if not arguments or arguments[0] not in ACTIONS or wrong:
        for name in wrong:
            print(f"there is no broker '{name}'", file=sys.stderr)
        print(f"usage: brokers up|down|status [NAME...]  ({' '.join(NAMES)})", file=sys.stderr)
        return 2
    try:
        for name in names:
            ACTIONS[arguments[0]](name)
    except (BrokerError, TimeoutError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
