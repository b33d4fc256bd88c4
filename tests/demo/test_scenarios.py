# SPDX-License-Identifier: Apache-2.0
"""The scenarios of conf/ and docs/scenarios, each played as ./dev demo plays it."""

import io

import pytest
from demo import run, two_way
from demo.scenario import Stage
from demo.screen import Screen

ROOT = run.HERE.parents[1]


@pytest.mark.parametrize("name", run.NAMES)
def test_a_scenario_shows_what_it_promises(name):
    assert run.play(name)


@pytest.mark.parametrize("name", run.NAMES)
def test_a_scenario_has_a_page_and_a_configuration(name):
    assert (ROOT / "docs/scenarios" / f"{name}.md").read_text().startswith("# ")
    assert name in (ROOT / "docs/scenarios/README.md").read_text()
    assert (ROOT / "conf" / name).is_dir() or (ROOT / "conf" / f"{name}.conf").is_file()


@pytest.mark.long
def test_two_sites_sell_for_a_minute(tmp_path):
    stage = Stage(Screen(io.StringIO()), tmp_path)
    try:
        rows = two_way.play(stage, seconds=60, rate=500)
    finally:
        stage.close()
    assert all(good for _, _, good in rows), rows


def test_a_wrong_name_is_refused_with_the_right_ones(capsys):
    assert run.main(["two-ways"]) == 2
    assert "two-way" in capsys.readouterr().err
