"""Results as a page: tables in Markdown, and a picture of horizontal bars for each load."""

from __future__ import annotations

import html
import json
import re
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.harness import CONTROL_RANGE, LOADS

__all__ = ["write_page"]

PAGE = Path("docs/performance.md")
FOLDER = Path("docs/performance")
RESULTS = FOLDER / "results.json"
WIDTH, LABEL, BAR, GAP, TOP = 720, 190, 20, 8, 44
OURS = ("blueprint", "fast lane", "package", "page", "import", "indexed", "asked for")
STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#57606a}.title{font-weight:600;fill:#24292f}"
    ".bar{fill:#afb8c1}.ours{fill:#1f883d}.reference{fill:#57606a}"
    "@media(prefers-color-scheme:dark){text{fill:#9198a1}.title{fill:#f0f6fc}.bar{fill:#3d444d}.reference{fill:#9198a1}}"
)
MARKS = ("<!-- results -->", "<!-- end of results -->")


def write_page(measured: Mapping[str, Any]) -> None:
    """Put results into the page, beside those of the loads that were not measured now, and draw the pictures.

    :param measured: the report, with `host` and `loads`.
    """
    kept = json.loads(RESULTS.read_text())["loads"] if RESULTS.exists() else {}
    loads = {**kept, **measured["loads"]}
    # In the order of the files of benchmarks, whatever was measured last.
    report = {**measured, "loads": {name: loads[name] for name in LOADS if name in loads}}
    RESULTS.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    parts = [_host(report["host"])]
    for name, load in report["loads"].items():
        file = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") + ".svg"
        (FOLDER / file).write_text(_picture(name, load))
        parts.append(f"### {name[0].upper()}{name[1:]}\n\n![{name}](performance/{file})\n\n{_table(load)}")
    before, _, rest = PAGE.read_text().partition(MARKS[0])
    after = rest.partition(MARKS[1])[2]
    PAGE.write_text(before + MARKS[0] + "\n\n" + "\n\n".join(parts) + "\n\n" + MARKS[1] + after)


def _host(host: Mapping[str, Any]) -> str:
    return f"Measured on {host['date']} with Python {host['python']} on {host['cpus']} cores ({host['machine']})."


def _table(load: Mapping[str, Any]) -> str:
    unit = load["unit"]
    lines = [f"| | {unit}, median | {unit}, minimum | ratio | in processes |", "| --- | ---: | ---: | ---: | ---: |"]
    for name, median in load["medians"].items():
        ratios = load["ratios"][name]
        spread = f"{_ratio(ratios[0])} … {_ratio(ratios[-1])}"
        middle = _ratio(statistics.median(ratios), digits=3)
        lines.append(f"| {name} | {_number(median)} | {_number(load['minima'][name])} | {middle} | {spread} |")
    remarks = ["; ".join(map(_goal, load["goals"])) + "."] if load["goals"] else []
    if not CONTROL_RANGE[0] <= load["control"] <= CONTROL_RANGE[1]:
        remarks.append(f"The control is {load['control']:.2f}: the machine was busy, and this load says little.")
    return "\n\n".join(["\n".join(lines), *remarks])


def _goal(goal: Mapping[str, Any]) -> str:
    limit = f"at most {goal['at_most']}" if goal["at_most"] else f"at least {goal['at_least']}"
    verdict = "met" if goal["met"] else "**missed**"
    return f"{goal['variant']} / {goal['reference']}: {_ratio(goal['ratio'])}, goal {limit}, {verdict}"


def _ratio(value: float, *, digits: int = 2) -> str:
    """So many digits after the point, or as many as it takes to see two that count."""
    return f"{value:.{digits}f}" if value >= 0.1 else f"{value:#.2g}"


def _number(value: float) -> str:
    return f"{value:,.1f}" if value < 100 else f"{value:,.0f}"


def _picture(name: str, load: Mapping[str, Any]) -> str:
    medians = {variant: value for variant, value in load["medians"].items() if variant != "control"}
    longest = max(medians.values())
    height = TOP + len(medians) * (BAR + GAP)
    better = "more is better" if "/s" in load["unit"] else "less is better"
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
        f"<title>{html.escape(name)}</title><style>{STYLE}</style>",
        f'<text class="title" x="0" y="20">{html.escape(name)}: {html.escape(load["unit"])}, {better}</text>',
    ]
    for row, (variant, value) in enumerate(medians.items()):
        y = TOP + row * (BAR + GAP)
        width = max(1, value / longest * (WIDTH - LABEL - 80))
        kind = "ours" if variant.startswith(OURS) else "reference" if variant == load["reference"] else "bar"
        lines += [
            f'<text x="{LABEL - 8}" y="{y + 15}" text-anchor="end">{html.escape(variant)}</text>',
            f'<rect class="{kind}" x="{LABEL}" y="{y}" width="{width:.1f}" height="{BAR}" rx="3"/>',
            f'<text x="{LABEL + width + 6:.1f}" y="{y + 15}">{_number(value)}</text>',
        ]
    return "\n".join([*lines, "</svg>"]) + "\n"
