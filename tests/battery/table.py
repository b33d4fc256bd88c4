# SPDX-License-Identifier: Apache-2.0
"""The table of counts: parts as JSON, all parts of a row together as Markdown."""

import json
from pathlib import Path

from battery.trial import ABSENT, BROKEN, KEPT

COLUMNS = ("case", "variant", "pair", "rounds", "confirmed", "lost", "corrupt", "disorder",
           "duplicates", "most per fault", "dead", "seconds", "seed", "result")
SUMS = ("rounds", "confirmed", "lost", "corrupt", "disorder", "duplicates", "dead", "seconds")


def load(path):
    try:
        return json.loads(Path(path).read_text())
    except FileNotFoundError:
        return []


def save(path, parts):
    """At once, so that a reader or an interrupted run finds all of it or what was there."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_suffix(".new")
    scratch.write_text(json.dumps(parts, indent=1, ensure_ascii=False) + "\n")
    scratch.replace(path)


def name_of(part):
    return part["case"], part["variant"], part["pair"]


def _natural(text):
    return [int(part) if part.isdigit() else part for part in _split(text)]


def _split(text):
    word = ""
    for letter in text:
        if word and word[-1].isdigit() != letter.isdigit():
            yield word
            word = ""
        word += letter
    yield word


def merge(parts):
    """One row for each case, variant and pair, over all that was played of it."""
    rows = {}
    for part in parts:
        row = rows.setdefault(name_of(part), {
            name: part[name] for name in ("case", "variant", "pair")})
        for name in SUMS:
            if name in part and not (name == "rounds" and part["result"] == ABSENT):
                row[name] = round(row.get(name, 0) + part[name], 1)
        if "most per fault" in part:
            row["most per fault"] = max(row.get("most per fault", 0), part["most per fault"])
        if part["result"] != ABSENT:
            row.setdefault("seeds", []).append(str(part["seed"]))
        if "caught by" in part:
            row["caught by"] = part["caught by"]
        worse = {ABSENT: 0, KEPT: 1, BROKEN: 2}
        if worse[part["result"]] >= worse.get(row.get("result"), 0):
            row["result"] = part["result"]
            row["detail"] = part.get("detail", "")
    for row in rows.values():
        row["seed"] = " ".join(dict.fromkeys(row.pop("seeds", [])))
    return sorted(rows.values(), key=lambda row: (
        _natural(row["case"]), row["variant"], row["pair"]))


def _cell(row, name):
    if name == "result" and "caught by" in row:
        return f"caught by {row['caught by']}"
    if name == "result" and row["result"] == ABSENT:
        return f"{ABSENT} {row.get('detail', '')}".strip()
    return str(row.get(name, "")).replace("|", "\\|")


def totals(rows):
    played = [row for row in rows if row["result"] != ABSENT]
    wrong = sum(row["result"] == BROKEN for row in played)
    sums = {name: sum(row.get(name, 0) for row in played)
            for name in ("rounds", "confirmed", "lost", "corrupt", "disorder", "duplicates")}
    return (f"{len(played)} rows, {wrong} broken; " +
            ", ".join(f"{round(number)} {name}" for name, number in sums.items()))


def markdown(parts):
    rows = merge(parts)
    lines = ["# The battery", "", totals(rows), "",
             "| " + " | ".join(COLUMNS) + " |", "|---" * len(COLUMNS) + "|"]
    lines += ["| " + " | ".join(_cell(row, name) for name in COLUMNS) + " |" for row in rows]
    broken = [row for row in rows if row["result"] == BROKEN]
    if broken:
        lines += ["", "## Broken", ""]
    for row in broken:
        lines += [f"### {row['case']} {row['variant']} {row['pair']}, seed {row['seed']}", "",
                  "```", row["detail"], "```", ""]
    return "\n".join(lines) + "\n"
