# SPDX-License-Identifier: Apache-2.0
"""The battery's rows of the day (the seed chooses them), and its table. All of it: ./dev battery."""

import os
import random
import sys
import time

import pytest

from battery import table
from battery.fleet import Fleet
from battery.play import CASES, play, rows_of, short_rows
from battery.run import arguments, chosen_rows
from battery.sanitized import SLOWER, Sanitizer, ring_rows
from battery.side_by_side import SideBySide, shares_of
from battery.trial import ABSENT, BROKEN, KEPT


def pytest_generate_tests(metafunc):
    if "row" in metafunc.fixturenames:
        rows = short_rows(metafunc.config.seed)
        metafunc.parametrize("row", rows, ids=[
            f"{case.name}-{'-'.join(pair)}".replace(" ", "-") for case, pair in rows])


@pytest.fixture
def fleet(brokers, tmp_path):
    fleet = Fleet(brokers, tmp_path)
    yield fleet
    fleet.end()


def test_a_row_of_the_day(row, seed, fleet, tmp_path, counts):
    case, pair = row
    played = play(case, pair, case.short, seed, fleet, tmp_path)
    if played["result"] == ABSENT:
        pytest.skip(played["detail"])
    counts(**{name: played[name] for name in (*table.COLUMNS[3:-1], "caught by")
              if name in played})
    assert played["result"] == KEPT, (
        f"{played['detail']}\nagain: ./dev battery --case '{case.name}' --pair {'-'.join(pair)} "
        f"--rounds {case.short} --seed {seed}")


def test_every_case_has_a_name_of_its_own_and_pairs():
    names = [case.name for case in CASES]
    assert len(names) == len(set(names))
    assert {case.name for case, _ in rows_of()} == set(names)


def test_the_same_seed_chooses_the_same_rows():
    chosen = [short_rows(seed) for seed in range(200)]
    assert chosen == [short_rows(seed) for seed in range(200)]
    # Over the days all of what is short has its turn.
    assert {case.number for rows in chosen for case, _ in rows} == {
        case.number for case in CASES if case.short}


def test_the_shares_are_all_the_rows():
    rows = list(rows_of())
    shares = shares_of(rows)
    assert next(iter(shares)).startswith("F3-s") and "F3-sink-kafka" in shares and "F23" in shares
    assert sorted(map(id, (case for case, _ in rows))) == sorted(
        id(case) for share in shares.values() for case, _ in share)
    for share in shares.values():
        words = [word for case, pair in share for word in ("--row", case.name, "-".join(pair))]
        assert chosen_rows(arguments(words), seed=1) == share


def test_shares_side_by_side_end_when_one_is_interrupted(tmp_path):
    """A share that has ended is told; those under way are ended, those to come are not begun."""
    told, begun = [], []

    def command(rows, path):
        begun.append(rows)
        body = "pass" if rows == "one" else "import time; time.sleep(600)"
        return [sys.executable, "-c", body]

    def interrupted(path, status):
        told.append((path.stem, status))
        raise KeyboardInterrupt

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        SideBySide(2, tmp_path, command).play(
            {"F1": "one", "F2": "two", "F3": "three", "F4": "four"}, interrupted)
    assert told == [("F1", 0)] and "two" in begun and time.monotonic() < began + 60


def part(result, pair="kafka-redis", **counts):
    return {"case": "F1", "variant": "", "pair": pair, "seed": 7, "result": result, **counts}


def test_parts_of_a_row_become_one():
    parts = [part(KEPT, rounds=10, lost=0, confirmed=100, **{"most per fault": 5}),
             part(KEPT, rounds=90, lost=0, confirmed=900, **{"most per fault": 3}),
             part(ABSENT, pair="redis-kafka", rounds=0, detail="why")]
    rows = table.merge(parts)
    assert [(row["rounds"], row["confirmed"], row["most per fault"]) for row in rows[:1]] == [
        (100, 1000, 5)]
    assert rows[1]["result"] == ABSENT and "– why" in table.markdown(parts)
    assert "1 rows, 0 broken" in table.totals(rows)


def test_what_is_kept_is_not_played_again():
    options = arguments(["--case", "F1", "--resume"])
    parts = [part(KEPT), part(BROKEN, pair="kafka-kafka"), part(ABSENT, pair="redis-redis")]
    names = {"-".join(pair) for _, pair in chosen_rows(options, 1, parts)}
    assert {"kafka-redis", "redis-redis"}.isdisjoint(names) and "kafka-kafka" in names
    assert len(names) == len(list(rows_of(["F1"]))) - 2


def test_one_broken_part_breaks_the_row():
    parts = [part(BROKEN, rounds=1, lost=3, detail="lost: 3"), part(KEPT, rounds=1, lost=0)]
    assert table.merge(parts)[0]["result"] == BROKEN
    assert "lost: 3" in table.markdown(parts)


def test_a_table_is_kept_in_pieces(tmp_path):
    path = tmp_path / "new" / "battery.json"
    assert table.load(path) == []
    table.save(path, [part(KEPT, rounds=1)])
    table.save(path, table.load(path) + [part(KEPT, rounds=2)])
    assert table.merge(table.load(path))[0]["rounds"] == 3


def test_the_ring_has_each_platform_at_each_end_of_a_case_that_suits_all():
    for seed in range(20):
        pairs = [pair for _, pair in ring_rows(random.Random(seed), ["F1"])]
        assert len(pairs) == 4
        assert {source for source, _ in pairs} == {sink for _, sink in pairs}
    names = {case.name for case, _ in ring_rows(random.Random(1))}
    assert names == {case.name for case in CASES}


@pytest.mark.parametrize("kind", SLOWER)
def test_what_a_sanitizer_reports_breaks_the_row(kind, tmp_path, monkeypatch):
    for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("MBRIDGE_SLOW", "1")
    sanitizer = Sanitizer(kind, tmp_path / "reports")
    assert sanitizer.judge(part(KEPT), tmp_path)["result"] == KEPT
    options = os.environ["TSAN_OPTIONS" if kind == "thread" else "ASAN_OPTIONS"]
    prefix = options.split(":")[0].partition("=")[2]
    with open(f"{prefix}.4711", "w", encoding="utf-8") as report:
        report.write("WARNING: a finding")
    row = sanitizer.judge(part(KEPT), tmp_path)
    assert row["result"] == BROKEN and "a finding" in row["detail"]
    assert sanitizer.judge(part(KEPT), tmp_path)["result"] == KEPT  # each belongs to one row
    (tmp_path / "bridge.0.log").write_text("a.c:6:52: runtime error: signed integer overflow\n")
    row = sanitizer.judge(part(KEPT), tmp_path)
    assert row["result"] == BROKEN and "overflow" in row["detail"]
