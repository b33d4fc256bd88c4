# SPDX-License-Identifier: Apache-2.0
"""What was measured, as text, and whether it meets the goals."""

RATIO_MIN = 0.90
CPU_MAX = 1.3
CPU_MAX_ALIKE = 1.15  # from Kafka to Kafka
RSS_MAX_MIB = 32
CORE_MAX_NS = 100


def title(row):
    return " ".join(filter(None, (f"{row['source']} → {row['sink']}", row["variant"])))


def cpu_max(row):
    return CPU_MAX_ALIKE if row["source"] == row["sink"] == "kafka" else CPU_MAX


def rate(value):
    """Three digits, which is more than such a measurement is good for."""
    if value >= 999_500:
        return f"{value / 1e6:.2f}M"
    return f"{value / 1e3:.0f}k" if value >= 99_950 else f"{value / 1e3:.1f}k"


PAIR_HEAD = ("pair", "raw half", "bridge", "ratio", "raw µs", "bridge µs", "ratio", "RSS MiB")


def pair_row(row):
    return (title(row), rate(row["raw_rate"]), rate(row["rate"]), f"{row['ratio']:.2f}",
            f"{row['raw_cpu_us']:.2f}", f"{row['cpu_us']:.2f}", f"{row['cpu_ratio']:.2f}",
            f"{row['rss_mib']:.0f}")


def text_table(head, rows):
    rows = [head, *rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    for row in rows:
        first, *others = (cell.ljust(width) if column == 0 else cell.rjust(width)
                          for column, (cell, width) in enumerate(zip(row, widths)))
        yield "  ".join((first, *others)).rstrip()


def goals(report):
    """(what, met) of every goal that was measured."""
    for row in report.get("pairs", []):
        if row["size"] != 256 or row["headers"] or row["variant"]:
            continue
        yield (f"{title(row)}: {row['ratio']:.2f} of the slower raw half, at least {RATIO_MIN:.2f}",
               row["ratio"] >= RATIO_MIN)
        yield (f"{title(row)}: {row['cpu_ratio']:.2f} × the processor time of the raw halves, "
               f"at most {cpu_max(row):.2f}", row["cpu_ratio"] <= cpu_max(row))
        yield (f"{title(row)}: peak RSS {row['rss_mib']:.1f} MiB, at most {RSS_MAX_MIB}",
               row["rss_mib"] <= RSS_MAX_MIB)
    if core := report.get("core"):
        # By processor time: what else the machine does is not the core's cost.
        yield (f"core alone: {core['cpu_ns']:.0f} ns of processor time and "
               f"{core['instructions']:.0f} instructions a message, at most {CORE_MAX_NS} ns",
               core["cpu_ns"] <= CORE_MAX_NS)


def missed(report):
    return [what for what, met in goals(report) if not met]


def text(report):
    lines = ["", f"{report['machine']}; {', '.join(report.get('brokers', ['no brokers']))}; "
                 f"median of {report['rounds']} rounds", ""]
    if report.get("pairs"):
        lines += [*text_table(PAIR_HEAD, map(pair_row, report["pairs"])), ""]
    checked = list(goals(report))
    lines.append(f"goals: {sum(met for _, met in checked)} of {len(checked)} met")
    lines += [f"  missed: {what}" for what, met in checked if not met]
    lines += [f"  failed: {failure['what']}: {failure['why']}" for failure in report["failures"]]
    return "\n".join(lines)
