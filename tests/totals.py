# SPDX-License-Identifier: Apache-2.0
"""The totals of a test run from the JUnit files of its parts: totals.py FILE...

A part without a file did not come to run (its build or its preparation failed) and counts as one
failure. The exit status is 0 if nothing failed and something passed.
"""

import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path


def count(path):
    """(passed, failed, skipped, names of the failed) of one JUnit file."""
    passed = skipped = 0
    failed = []
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        kinds = {child.tag for child in case}
        if kinds & {"failure", "error"} or case.get("status") == "fail":
            failed.append(f"{case.get('classname', '')}::{case.get('name')}")
        elif "skipped" in kinds or case.get("status") in ("notrun", "disabled"):
            skipped += 1
        else:
            passed += 1
    return passed, len(failed), skipped, failed


def main(paths):
    total_passed = total_failed = 0
    print(f"\n{'part':12}{'passed':>8}{'failed':>8}{'skipped':>9}")
    for path in map(Path, paths):
        try:
            passed, failed, skipped, names = count(path)
            note = ""
        except (OSError, ElementTree.ParseError):
            passed, failed, skipped, names = 0, 1, 0, []
            note = "   did not run"
        total_passed += passed
        total_failed += failed
        print(f"{path.stem:12}{passed:>8}{failed:>8}{skipped:>9}{note}")
        for name in names:
            print(f"    FAILED {name}")
    print(f"\n{total_passed} passed, {total_failed} failed")
    return 0 if total_passed and not total_failed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
