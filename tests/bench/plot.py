# SPDX-License-Identifier: Apache-2.0
"""Bars as SVG, readable on a light and on a dark page."""

from html import escape

BAR, GAP, GROUP_GAP = 11, 1, 9
LEFT, RIGHT, TOP, BOTTOM = 190, 56, 58, 30
WIDTH = 760
COLOURS = ("#2f6fb0", "#d98032", "#4b9a5c", "#a05195", "#8c8c8c")
STYLE = ("text{font:11px sans-serif;fill:#24292f}.t{font-size:14px;font-weight:bold}"
         ".g{stroke:#8c959f;stroke-opacity:.35}.l{stroke:#cf222e;stroke-dasharray:4 3}"
         "@media(prefers-color-scheme:dark){text{fill:#d0d7de}}")


def _ticks(most):
    """Up to six round numbers from 0 to `most`."""
    step = 10.0 ** -4
    while most / step > 6:
        for factor in (2, 2.5, 2):
            if most / step <= 6:
                break
            step *= factor
    return [number * step for number in range(int(most / step + 1e-9) + 1)]


def bars(title, series, groups, goals=(), digits=2):
    """series: names; groups: (label, values), a value a series, None where there is none.
    goals: (value, text) of vertical lines."""
    values = [value for _, row in groups for value in row if value is not None]
    most = 1.05 * max([*values, *(value for value, _ in goals), 1e-9])
    inner = WIDTH - LEFT - RIGHT
    each = len(series) * (BAR + GAP) + GROUP_GAP
    height = TOP + len(groups) * each + BOTTOM

    def across(value):
        return LEFT + inner * value / most
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
           f'width="{WIDTH}" height="{height}" role="img">', f"<title>{escape(title)}</title>",
           f"<style>{STYLE}</style>", f'<text class="t" x="8" y="20">{escape(title)}</text>']
    at = 8
    for name, colour in zip(series, COLOURS):
        out.append(f'<rect x="{at}" y="31" width="10" height="10" fill="{colour}"/>'
                   f'<text x="{at + 14}" y="40">{escape(name)}</text>')
        at += 34 + 6.3 * len(name)
    for tick in _ticks(most):
        out.append(f'<line class="g" x1="{across(tick):.1f}" x2="{across(tick):.1f}" y1="{TOP - 6}" '
                   f'y2="{height - BOTTOM}"/><text text-anchor="middle" x="{across(tick):.1f}" '
                   f'y="{height - BOTTOM + 15}">{tick:g}</text>')
    for number, (label, row) in enumerate(groups):
        top = TOP + number * each
        out.append(f'<text text-anchor="end" x="{LEFT - 8}" '
                   f'y="{top + len(series) * (BAR + GAP) / 2 + 4:.1f}">'
                   f"{escape(label)}</text>")
        for place, (value, colour) in enumerate(zip(row, COLOURS)):
            if value is None:
                continue
            y = top + place * (BAR + GAP)
            wide = max(1.0, across(max(0.0, value)) - LEFT)
            out.append(f'<rect x="{LEFT}" y="{y}" width="{wide:.1f}" height="{BAR}" fill="{colour}"/>'
                       f'<text x="{LEFT + wide + 4:.1f}" y="{y + BAR - 2}">{value:.{digits}f}</text>')
    for value, what in goals:
        out.append(f'<line class="l" x1="{across(value):.1f}" x2="{across(value):.1f}" y1="{TOP - 8}" '
                   f'y2="{height - BOTTOM}"/><text text-anchor="middle" x="{across(value):.1f}" '
                   f'y="{height - 4}">{escape(what)}</text>')
    return "\n".join([*out, "</svg>", ""])
