# SPDX-License-Identifier: Apache-2.0
"""The instructions of the core and of each map stand where they are recorded (guard.py)."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

import guard  # noqa: E402
from support.bridge import program  # noqa: E402


def test_instructions():
    code, text = guard.check(Path(program()).resolve().parent.parent)
    print(text)
    if code == guard.SKIPPED:
        pytest.skip(text)
    assert code == 0, text


def test_a_change_is_seen():
    """Either way, and only beyond the tolerance."""
    known = {"core": 700.0, "redis sink": 1000.0}
    assert guard.compare(known, {"core": 720.0, "redis sink": 980.0})[1] == []
    assert guard.compare(known, {"core": 722.0, "redis sink": 969.0})[1] == ["core", "redis sink"]
    assert guard.compare(known, {"core": 700.0, "kafka sink": 1.0})[1] == ["kafka sink"]
