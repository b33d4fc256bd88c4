# SPDX-License-Identifier: Apache-2.0
"""Brokers to play with: cli.py up|down|status [NAME...] (kafka-3.9, kafka-4, rabbitmq).

They run until `down`, each on a free loopback port with its data in the cache directory; `fetch`
only downloads what the named ones need.
"""

import json
import shutil
import sys
from pathlib import Path

# Run as a file, this directory would be searched first, with its modules as top-level names.
sys.path[0] = str(Path(__file__).resolve().parents[1])

from brokers import BrokerError, KafkaBroker, RabbitBroker  # noqa: E402
from brokers.guardian import start_time  # noqa: E402
from brokers.install import cache_dir, ensure_packages, kafka_libs  # noqa: E402
from brokers.process import terminate  # noqa: E402

KAFKA_VERSIONS = {"kafka-3.9": "3.9.1", "kafka-4": "4.3.1"}
NAMES = [*KAFKA_VERSIONS, "rabbitmq"]
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


def make(name, workdir):
    if name == "rabbitmq":
        return RabbitBroker(workdir, detached=True)
    return KafkaBroker(KAFKA_VERSIONS[name], workdir, detached=True)


def address_of(broker):
    return broker.uri if isinstance(broker, RabbitBroker) else f"kafka://{broker.bootstrap}"


def up(name):
    state = recorded(name)
    if state is None:
        down(name)
        home = home_of(name)
        home.mkdir(parents=True)
        broker = make(name, home)
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
    if name == "rabbitmq":
        ensure_packages("rabbitmq")
    else:
        kafka_libs(KAFKA_VERSIONS[name])


ACTIONS = {"up": up, "down": stop, "status": status, "fetch": fetch}


def main(arguments):
    names = arguments[1:] or NAMES
    wrong = [name for name in names if name not in NAMES]
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
