# SPDX-License-Identifier: Apache-2.0
"""The totals of a test run from the JUnit files of its parts: totals.py FILE...

A part without a file did not come to run (its build or its preparation failed) and counts as one
failure. What failed comes last, each with the end of what it said. The exit status is 0 if nothing
failed and something passed.
"""

import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path


SAID_LINES = 25


def said(case):
    """The last lines of what a failed case said."""
    text = "\n".join(child.text or child.get("message") or "" for child in case
                     if child.tag in ("failure", "error", "system-out"))
    return "\n".join("    " + line[:300] for line in text.strip().splitlines()[-SAID_LINES:])


def count(path):
    """(passed, skipped, {name of a failed one: what it said}) of one JUnit file."""
    passed = skipped = 0
    failed = {}
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        kinds = {child.tag for child in case}
        if kinds & {"failure", "error"} or case.get("status") == "fail":
            failed[f"{case.get('classname', '')}::{case.get('name')}"] = said(case)
        elif "skipped" in kinds or case.get("status") in ("notrun", "disabled"):
            skipped += 1
        else:
            passed += 1
    return passed, skipped, failed


def main(paths):
    total_passed = total_failed = 0
    reports = {}
    print(f"\n{'part':12}{'passed':>8}{'failed':>8}{'skipped':>9}")
    for path in map(Path, paths):
        try:
            passed, skipped, failed = count(path)
            note = ""
        except (OSError, ElementTree.ParseError):
            passed, skipped, failed = 0, 0, {"all of it": "    did not run"}
            note = "   did not run"
        total_passed += passed
        total_failed += len(failed)
        reports.update({f"{path.stem}: {name}": report for name, report in failed.items()})
        print(f"{path.stem:12}{passed:>8}{len(failed):>8}{skipped:>9}{note}")
    for name, report in reports.items():
        print(f"\nFAILED {name}\n{report}")
    print(f"\n{total_passed} passed, {total_failed} failed")
    return 0 if total_passed and not total_failed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
