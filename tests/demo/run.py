# SPDX-License-Identifier: Apache-2.0
"""./dev demo [NAME]: plays a scenario of conf/ on real brokers and proves its counts."""

import importlib
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

DEFAULT = "kafka-to-rabbitmq"
# The modules of this folder that play; in the order of the documents.
NAMES = (DEFAULT, "activemq-migration", "aggregate", "broadcast", "two-way", "shared-aggregate")


def play(name):
    """True if the scenario showed what it is to show. A scenario that stands alone has main()."""
    module = importlib.import_module(f"demo.{name.replace('-', '_')}")
    if hasattr(module, "main"):
        return module.main() == 0
    from demo.scenario import run
    return run(name, module)


def main(arguments):
    names = arguments or [DEFAULT]
    if names == ["all"]:
        names = NAMES
    for name in names:
        if name not in NAMES:
            print(f"demo: there is no scenario {name!r}; there are {', '.join(NAMES)}, or all",
                  file=sys.stderr)
            return 2
    began = time.monotonic()
    failed = [name for name in names if not play(name)]
    if len(names) > 1:
        print(f"\n{len(names) - len(failed)} of {len(names)} scenarios shown "
              f"({time.monotonic() - began:.0f} s)" + "".join(f"; failed: {n}" for n in failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
