# SPDX-License-Identifier: Apache-2.0
"""What was measured: as tables, as text or Markdown, and whether it meets the goals."""

from collections import namedtuple

RATIO_MIN = 0.90
CPU_MAX = 1.3
CPU_MAX_ALIKE = 1.15  # from Kafka to Kafka
RSS_MAX_MIB = 32
CORE_MAX_NS = 100
ADDED_MAX_MS = 2.0
FAR_RATIO_MIN = 0.80
# Against the alternatives: throughput, messages a processor second, memory.
AMQP = ("rabbitmq", "artemis", "rabbitmq4", "classic")
PEER_CPU_MIN, PEER_CPU_MIN_KR = 3.0, 10.0
PEER_RATE_MIN_QUEUE = 10.0
PEER_RSS_MAX = 0.5

Table = namedtuple("Table", "title note head rows")


def title(row):
    return " ".join(filter(None, (f"{row['source']} → {row['sink']}", row["variant"])))


def cpu_max(row):
    return CPU_MAX_ALIKE if row["source"] == row["sink"] == "kafka" else CPU_MAX


def rate(value):
    """Three digits, which is more than such a measurement is good for."""
    if value >= 999_500:
        return f"{value / 1e6:.2f}M"
    return f"{value / 1e3:.0f}k" if value >= 99_950 else f"{value / 1e3:.1f}k"


def given(row, field, digits):
    return "" if row.get(field) is None else f"{row[field]:.{digits}f}"


def ms(value_us):
    return f"{value_us / 1000:.2f}"


# ---- tables -------------------------------------------------------------------------------------

RATES = ("raw half", "bridge", "ratio", "raw µs", "bridge µs", "ratio", "RSS MiB")


BARE_RATES = ("by hand", "ratio", "by hand µs", "ratio")


def _rates(row):
    return (rate(row["raw_rate"]), rate(row["rate"]), f"{row['ratio']:.2f}",
            f"{row['raw_cpu_us']:.2f}", f"{row['cpu_us']:.2f}", f"{row['cpu_ratio']:.2f}",
            f"{row['rss_mib']:.0f}")


def _bare_rates(row):
    if "bare_rate" not in row:
        return ("–",) * len(BARE_RATES)
    return (rate(row["bare_rate"]), f"{row['bare_ratio']:.2f}", f"{row['bare_cpu_us']:.2f}",
            f"{row['bare_cpu_ratio']:.2f}")


def pairs_table(report):
    rows = report["pairs"]
    note = "Messages a second, and µs of processor time a message."
    name = f"Throughput and processor time, {rows[0]['size']} B"
    if not any("bare_rate" in row for row in rows):
        return Table(name, note, ("pair", *RATES), [(title(row), *_rates(row)) for row in rows])
    return Table(name, f"{note} By hand: against halves without their client library's calls.",
                 ("pair", *RATES, *BARE_RATES),
                 [(title(row), *_rates(row), *_bare_rates(row)) for row in rows])


def variants_table(report, part, what):
    """A pair a line, a variant a column: both ratios."""
    rows = report[part]
    variants = list(dict.fromkeys(row["variant"] for row in rows))
    found = {(row["source"], row["sink"], row["variant"]): row for row in rows}
    lines = []
    for source, sink in dict.fromkeys((row["source"], row["sink"]) for row in rows):
        cells = [found.get((source, sink, variant)) for variant in variants]
        lines.append((f"{source} → {sink}", *(
            f"{cell['ratio']:.2f} / {cell['cpu_ratio']:.2f}" if cell else "–" for cell in cells)))
    return Table(what, "Of the raw half's throughput / times its processor time.",
                 ("pair", *variants), lines)


def lanes_table(report):
    rows = report["lanes"]
    return Table("Lanes", "Against the one raw half; µs of processor time a message.",
                 ("pair", "bridge", "ratio", "bridge µs", "RSS MiB"),
                 [(title(row), rate(row["rate"]), f"{row['ratio']:.2f}", f"{row['cpu_us']:.2f}",
                   f"{row['rss_mib']:.0f}") for row in rows])


def latency_table(report):
    def line(row):
        return (title(row), rate(row["rate"]),
                *(f"{ms(row['raw_us'][point])} {float(row['added_us'][point]) / 1000:+.2f}"
                  for point in row["raw_us"]))
    return Table("Latency at half load", "Milliseconds on the raw path, and what the bridge adds.",
                 ("pair", "messages/s", "p50", "p99", "p99.9"),
                 [line(row) for row in report["latency"]])


def distance_table(report):
    def line(row):
        there = row.get("latency")
        added = (ms(there["raw_us"]["99.0"]), f"{there['added_us']['99.0'] / 1000:+.2f}") \
            if there else ("–", "–")
        return (title(row), rate(row["raw_rate"]), rate(row["rate"]), f"{row['ratio']:.2f}",
                *added, f"{row['rss_mib']:.0f}")
    return Table("Distance", f"Path: {report.get('path', '')}.",
                 ("pair", "raw half", "bridge", "ratio", "p99 raw ms", "added ms", "RSS MiB"),
                 [line(row) for row in report["distance"]])


def peers_table(report):
    return Table("Alternatives", "Messages a second, µs of processor time a message, peak RSS in "
                 "MiB; times: the bridge's over theirs. Durable and confirmed, if not said otherwise.",
                 ("pair", "what", "messages/s", "µs", "RSS MiB", "× messages/s",
                  "× messages per CPU second", "of its RSS", "note"),
                 [(f"{row['source']} → {row['sink']}", row["what"], rate(row["rate"]),
                   given(row, "cpu_us", 2), given(row, "rss_mib", 0), given(row, "times_rate", 1),
                   given(row, "times_cpu", 1), given(row, "of_rss", 2), row["note"])
                  for row in report["peers"]])


def tables(report):
    makers = (("pairs", pairs_table), ("peers", peers_table), ("latency", latency_table),
              ("sizes", lambda r: variants_table(r, "sizes", "Sizes of bodies")),
              ("headers", lambda r: variants_table(r, "headers", "Headers")),
              ("lanes", lanes_table),
              ("provenance", lambda r: variants_table(r, "provenance", "What an id and a path cost")),
              ("distance", distance_table))
    return [with_rounds(make(report), report["rounds"][part], report["measured"][part])
            for part, make in makers if report.get(part)]


def with_rounds(table, rounds, measured):
    rounds = f"Median of {rounds} rounds" if rounds > 1 else "One round"
    return table._replace(note=f"{table.note} {rounds}, {measured}.")


# ---- goals --------------------------------------------------------------------------------------

def _pair_goals(row):
    yield (f"{title(row)}: {row['ratio']:.2f} of the slower raw half, at least {RATIO_MIN:.2f}",
           row["ratio"] >= RATIO_MIN)
    yield (f"{title(row)}: {row['cpu_ratio']:.2f} × the processor time of the raw halves, at most "
           f"{cpu_max(row):.2f}", row["cpu_ratio"] <= cpu_max(row))
    yield (f"{title(row)}: peak RSS {row['rss_mib']:.1f} MiB, at most {RSS_MAX_MIB}",
           row["rss_mib"] <= RSS_MAX_MIB)


def _peer_goals(report):
    """Against the best of those that are safe: each of them has to be behind."""
    for row in report.get("peers", []):
        if row.get("times_cpu") is None or not row["safe"]:
            continue
        note = f" ({row['note']})" if row["note"] else ""
        name = f"{row['source']} → {row['sink']}, {row['what']}{note}"
        least = PEER_CPU_MIN if {row["source"], row["sink"]} & set(AMQP) else 1.0
        if (row["source"], row["sink"]) == ("kafka", "rabbitmq"):
            least = PEER_CPU_MIN_KR
        ahead = 1.0
        if row["what"] == "Bento strict" and row["sink"] in AMQP:
            ahead = PEER_RATE_MIN_QUEUE
        yield (f"{name}: {row['times_rate']:.2f} × its throughput, more than {ahead:g}",
               row["times_rate"] > ahead)
        yield (f"{name}: {row['times_cpu']:.1f} × its messages a CPU second, at least {least:g}",
               row["times_cpu"] >= least)
        yield (f"{name}: {row['of_rss']:.2f} of its memory, at most {PEER_RSS_MAX}",
               row["of_rss"] <= PEER_RSS_MAX)


def goals(report):
    """(what, met) of every goal that was measured."""
    for row in report.get("pairs", []):
        if row["size"] == 256 and not row["headers"]:
            yield from _pair_goals(row)
    if core := report.get("core"):
        # By processor time: what else the machine does is not the core's cost.
        yield (f"core alone: {core['cpu_ns']:.0f} ns of processor time and "
               f"{core['instructions']:.0f} instructions a message, at most {CORE_MAX_NS} ns",
               core["cpu_ns"] <= CORE_MAX_NS)
    for row in report.get("latency", []):
        added = row["added_us"]["99.0"] / 1000
        yield (f"{title(row)}: p99 {added:+.2f} ms at half load, at most {ADDED_MAX_MS:g} ms",
               added <= ADDED_MAX_MS)
    for row in report.get("rss", []):
        yield (f"{title(row)}: peak RSS {row['rss_mib']:.1f} MiB with a backlog of "
               f"{row['count']:,}, at most {RSS_MAX_MIB}", row["rss_mib"] <= RSS_MAX_MIB)
    for row in report.get("distance", []):
        yield (f"{title(row)}: {row['ratio']:.2f} of the raw half on the same path, at least "
               f"{FAR_RATIO_MIN:.2f}", row["ratio"] >= FAR_RATIO_MIN)
    yield from _peer_goals(report)


def missed(report):
    return [what for what, met in goals(report) if not met]


# ---- text and Markdown --------------------------------------------------------------------------

def headline(report):
    return (f"{report['machine']}; {', '.join(report.get('brokers', ['no brokers']))}; "
            f"load of the machine before: {report['load_before']:.1f}")


def _text_table(table):
    rows = [table.head, *table.rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(table.head))]
    yield f"{table.title}. {table.note}"
    for row in rows:
        first, *others = (cell.ljust(width) if column == 0 else cell.rjust(width)
                          for column, (cell, width) in enumerate(zip(row, widths)))
        yield "  ".join((first, *others)).rstrip()
    yield ""


def text(report):
    lines = ["", headline(report), ""]
    for table in tables(report):
        lines += _text_table(table)
    checked = list(goals(report))
    lines.append(f"goals: {sum(met for _, met in checked)} of {len(checked)} met")
    lines += [f"  missed: {what}" for what, met in checked if not met]
    lines += [f"  failed: {failure['what']}: {failure['why']}" for failure in report["failures"]]
    return "\n".join(lines)


def markdown(report, plots):
    """plots: {title of a table: path of its plot, as the page refers to it}."""
    lines = [f"{', '.join(report['brokers'])}.", ""]
    for table in tables(report):
        lines += [f"### {table.title}", "", table.note, ""]
        if table.title in plots:
            lines += [f"![{table.title}]({plots[table.title]})", ""]
        lines.append("| " + " | ".join(table.head) + " |")
        lines.append("|---" + "|---:" * (len(table.head) - 1) + "|")
        lines += ["| " + " | ".join(row) + " |" for row in table.rows]
        lines.append("")
    checked = list(goals(report))
    lines += ["### Goals", "", f"{sum(met for _, met in checked)} of {len(checked)} are met."]
    lines += [f"- **missed** {what}" for what, met in checked if not met]
    lines += [f"- not measured: {failure['what']}: {failure['why'].splitlines()[0]}"
              for failure in report["failures"]]
    return "\n".join(lines) + "\n"
