# SPDX-License-Identifier: Apache-2.0
"""Puts what was measured into the page: the block between the marks, and the plots beside it.

The figures themselves stay in a file beside the page, part by part: a run that measures some parts
again leaves the others as they were, each with its day and its machine.
"""

import json

import report as reports
from plot import bars

BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"


def _by_variant(rows, field):
    """(variants, groups): a group a pair, a value a variant."""
    variants = list(dict.fromkeys(row["variant"] for row in rows))
    found = {(row["source"], row["sink"], row["variant"]): row[field] for row in rows}
    pairs = dict.fromkeys((row["source"], row["sink"]) for row in rows)
    return variants, [(" → ".join(pair), [found.get((*pair, variant)) for variant in variants])
                      for pair in pairs]


def _pairs(report):
    groups = [(reports.title(row), [row["ratio"], row["cpu_ratio"]]) for row in report["pairs"]]
    return bars("The bridge against the raw halves, at the same time on the same processors",
                ("throughput: of the slower half", "processor time: × both halves"), groups,
                [(reports.RATIO_MIN, f"at least {reports.RATIO_MIN}"),
                 (reports.CPU_MAX, f"at most {reports.CPU_MAX}")])


def _latency(report):
    groups = [(reports.title(row), [value / 1000 for value in row["added_us"].values()])
              for row in report["latency"]]
    return bars("Latency that the bridge adds at half load, ms", ("p50", "p99", "p99.9"), groups,
                [(reports.ADDED_MAX_MS, f"p99 at most {reports.ADDED_MAX_MS:g}")])


def _peers(report):
    groups = [(f"{row['source']} → {row['sink']}, {row['what']}", [row.get("times_cpu"), row["times_rate"]])
              for row in report["peers"] if "times_rate" in row]
    return bars("The bridge over the alternatives", ("× messages a CPU second", "× messages a second"),
                groups, [(1.0, "alike")], digits=1)


def _variants(part, title):
    def plot(report):
        variants, groups = _by_variant(report[part], "ratio")
        return bars(title, variants, groups, [(reports.RATIO_MIN, f"{reports.RATIO_MIN}")])
    return plot


PLOTS = {"pairs": (_pairs, reports.pairs_table), "latency": (_latency, reports.latency_table),
         "peers": (_peers, reports.peers_table),
         "sizes": (_variants("sizes", "Throughput by size of bodies, of the slower raw half"),
                   lambda r: reports.variants_table(r, "sizes", "Sizes of bodies")),
         "headers": (_variants("headers", "Throughput by number of headers, of the slower raw half"),
                     lambda r: reports.variants_table(r, "headers", "Headers")),
         "lanes": (_variants("lanes", "Throughput by lanes, of the one raw half"),
                   reports.lanes_table),
         "distance": (_variants("distance", "Throughput over a long path, of the slower raw half on it"),
                      reports.distance_table)}


def joined(kept, report):
    """What was kept, with the parts of the report in the place of theirs."""
    both = {**kept, **report}
    for name in ("rounds", "measured"):
        both[name] = {**kept.get(name, {}), **report[name]}
    both["failures"] = [failure for failure in kept.get("failures", [])
                        if failure["part"] not in report["measured"]] + report["failures"]
    return both


def write(report, path):
    """path: of a page that has the marks. Its figures and its plots go into a file and a folder of its
    name."""
    page = path.read_text()
    if BEGIN not in page or END not in page:
        raise ValueError(f"{path} lacks the lines {BEGIN} and {END}")
    folder, figures = path.with_suffix(""), path.with_suffix(".json")
    report = joined(json.loads(figures.read_text()) if figures.exists() else {}, report)
    figures.write_text(json.dumps(report, indent=1) + "\n")
    plots = {}
    for part, (plot, table) in PLOTS.items():
        if report.get(part):
            folder.mkdir(exist_ok=True)
            (folder / f"{part}.svg").write_text(plot(report))
            plots[table(report).title] = f"{folder.name}/{part}.svg"
    before, _, rest = page.partition(BEGIN)
    path.write_text(f"{before}{BEGIN}\n{reports.markdown(report, plots)}{END}"
                    f"{rest.partition(END)[2]}")
