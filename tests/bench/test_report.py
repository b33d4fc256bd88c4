# SPDX-License-Identifier: Apache-2.0
"""What `./dev bench` says of figures: goals, tables, the page and its plots. Measures nothing."""

import xml.dom.minidom

import page
import pytest
import report as reports
import throughput
from places import Load


PARTS = ("pairs", "sizes", "headers", "lanes", "provenance", "latency", "rss", "distance", "peers")


def pair(source="kafka", sink="rabbitmq", **more):
    return {"source": source, "sink": sink, "variant": "", "count": 1000, "size": 256, "headers": 0,
            "raw_rate": 25_000.0, "rate": 24_000.0, "ratio": 0.96, "raw_cpu_us": 0.6,
            "cpu_us": 0.72, "cpu_ratio": 1.2, "rss_mib": 24.0, **more}


@pytest.fixture
def figures():
    ages = {"50.0": 900.0, "99.0": 2500.0, "99.9": 4000.0}
    peer = {**pair(), "what": "Bento strict", "safe": True, "times_rate": 15.0, "times_cpu": 200.0,
            "of_rss": 0.4, "note": ""}
    return {"machine": "2 × a processor", "rounds": dict.fromkeys(PARTS, 3),
            "measured": dict.fromkeys(PARTS, "1 May 2026, 2 × a processor"),
            "load_before": 0.1, "brokers": ["Kafka 3.9.1"],
            "failures": [], "path": "80 ms", "pairs": [pair(), pair("kafka", "kafka")],
            "sizes": [pair(variant="64 B"), pair(variant="1 MiB", size=1 << 20)],
            "provenance": [pair(variant="without")],
            "core": {"cpu_ns": 60.0, "instructions": 900.0},
            "latency": [{**pair(), "raw_us": ages, "bridge_us": ages, "added_us": ages}],
            "distance": [pair(variant="sink far")],
            "peers": [{**pair(), "what": "mbridge", "safe": True, "note": ""}, peer]}


def test_goals_tell_what_is_missed(figures):
    missed = reports.missed(figures)
    assert len(missed) == 2, missed
    assert missed[0].startswith("kafka → kafka: 1.20 × the processor time")  # 1.15 there
    assert missed[1].startswith("kafka → rabbitmq: p99 +2.50 ms")


def test_a_ratio_below_its_goal_is_missed(figures):
    figures["pairs"][0]["ratio"] = 0.89
    assert any("0.89 of the slower raw half" in what for what in reports.missed(figures))


def test_halves_by_hand_have_columns_and_no_goals(figures):
    before = reports.missed(figures)
    figures["pairs"][0] |= {"bare_rate": 60_000.0, "bare_ratio": 0.4, "bare_cpu_us": 0.3,
                            "bare_cpu_ratio": 2.4}
    table = reports.pairs_table(figures)
    assert table.rows[0][-4:] == ("60.0k", "0.40", "0.30", "2.40")
    assert table.rows[1][-4:] == ("–",) * 4  # a pair without them
    assert len(table.head) == len(table.rows[0])
    assert reports.missed(figures) == before


def test_the_text_holds_every_table(figures):
    text = reports.text(figures)
    for table in reports.tables(figures):
        assert table.title in text
        assert all(len(row) == len(table.head) for row in table.rows)


def test_the_page_keeps_what_is_around_its_figures(figures, tmp_path):
    path = tmp_path / "performance.md"
    path.write_text(f"before\n{page.BEGIN}\nold\n{page.END}\nafter\n")
    page.write(figures, path)
    page.write(figures, path)  # again: it replaces its own
    text = path.read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text
    plots = sorted(plot.name for plot in (tmp_path / "performance").iterdir())
    assert plots == ["distance.svg", "latency.svg", "pairs.svg", "peers.svg", "sizes.svg"]
    for plot in plots:
        assert f"(performance/{plot})" in text
        xml.dom.minidom.parse(str(tmp_path / "performance" / plot))


def test_what_is_not_measured_again_stays_on_the_page(figures, tmp_path):
    path = tmp_path / "performance.md"
    path.write_text(f"{page.BEGIN}\n{page.END}\n")
    figures["failures"] = [{"part": "pairs", "what": "redis → kafka", "why": "it failed"},
                           {"part": "sizes", "what": "kafka → redis", "why": "it failed too"}]
    page.write(figures, path)
    page.write({"machine": "another", "brokers": ["Kafka 4.3.1"], "load_before": 0.1, "failures": [],
                "pairs": [pair("redis", "redis")], "rounds": {"pairs": 5},
                "measured": {"pairs": "2 May 2026, another"}}, path)
    text = path.read_text()
    assert "redis → redis" in text and "kafka → kafka |" not in text
    assert "Median of 5 rounds, 2 May 2026, another." in text
    assert "Median of 3 rounds, 1 May 2026, 2 × a processor." in text  # the sizes, and others
    assert "it failed too" in text and "redis → kafka: it failed" not in text


def test_a_page_without_marks_is_refused(figures, tmp_path):
    path = tmp_path / "page.md"
    path.write_text("nothing\n")
    with pytest.raises(ValueError, match="lacks the lines"):
        page.write(figures, path)


def test_a_half_writes_as_many_headers_as_a_bridge():
    def headers(source, sink, **route):
        return throughput.load_written(throughput.Cell(source, sink, Load(1, headers=5), route)).headers

    assert headers("kafka", "redis") == 5 + throughput.CARRIED
    assert headers("kafka", "kafka") == headers("artemis", "rabbitmq4") == 5
    assert headers("kafka", "redis", provenance="never") == 5
