# SPDX-License-Identifier: Apache-2.0
"""Runs one route of mq-bridge's Rust core until SIGTERM: mq_bridge.py CONFIGURATION (JSON)."""

import json
import signal
import sys

# Not this file: Python puts its folder first.
sys.path.pop(0)

import mq_bridge  # noqa: E402


def main():
    signal.signal(signal.SIGTERM, lambda *_: mq_bridge.request_shutdown())
    route = mq_bridge.Route.from_config(json.loads(sys.argv[1]), "bench")
    route.start()
    route.join()


main()
