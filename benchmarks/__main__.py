"""``python -m benchmarks``: measure, print, compare with the committed ratios."""

from __future__ import annotations

import importlib
import json
import os
import platform
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from benchmarks.harness import CONTROL, LOADS, Load, Result, run, to_json
from benchmarks.pictures import write_page

FILES = ("calls", "neighbours", "json_codec", "streams", "sockets", "imports", "database", "derivation", "suspects")
BASELINE = Path(__file__).parent / "baseline.json"
# Of Debian and Ubuntu, for each command that a load needs.
PACKAGES = {"wrk": "wrk", "h2load": "nghttp2-client"}
# What a ratio moves by from run to run on a machine that does nothing else.
NOISE = 0.07


@click.command()
@click.option("--quick", is_flag=True, help="Few processes, short ones, and no servers.")
@click.option("--only", default="", metavar="TEXT", help="Only loads whose name has this text.")
@click.option("--processes", type=int, help="Fresh processes for each load; 3 when quick, else 7.")
@click.option("--seconds", type=float, help="Of each process; 1 when quick, else 3.")
@click.option("--json", "out", type=click.Path(path_type=Path), help="Write all results to this file.")
@click.option("--write-baseline", is_flag=True, help="Keep the ratios as those to compare with.")
@click.option("--write-page", "page", is_flag=True, help="Put the results into docs/performance.md.")
def main(
    quick: bool,
    only: str,
    processes: int | None,
    seconds: float | None,
    out: Path | None,
    write_baseline: bool,
    page: bool,
) -> None:
    """Measure this package beside its peers."""
    for name in FILES:
        if Path(__file__).with_name(f"{name}.py").exists():
            importlib.import_module(f"benchmarks.{name}")
    baseline = json.loads(BASELINE.read_text()) if BASELINE.exists() else {}
    results = {}
    host = _host()
    wanted = [one for name, one in LOADS.items() if only in name and (one.quick or not quick)]
    for one in _installed(wanted):
        started = time.monotonic()
        result = run(one, processes=processes or (3 if quick else 7), seconds=seconds or (1 if quick else 3))
        results[one.name] = result
        click.echo(f"\n{one.name}  ({time.monotonic() - started:.0f} s)")
        _print(result, baseline.get(one.name, {}))
    report = {"host": host, "loads": {name: to_json(result) for name, result in results.items()}}
    if out:
        out.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    if page:
        write_page(report)
    if write_baseline:
        _write_baseline(baseline, results)


def _installed(loads: Sequence[Load]) -> list[Load]:
    """The loads whose command is there; says at once which are left out, and the way out."""
    missing = [command for command in PACKAGES if not shutil.which(command)]
    for command in missing:
        names = [one.name for one in loads if one.needs == command]
        if names:
            click.echo(
                f"{command} is missing (apt install {PACKAGES[command]}); left out: {'; '.join(names)}", err=True
            )
    return [one for one in loads if one.needs not in missing]


def _print(result: Result, baseline: dict[str, float]) -> None:
    click.echo(f"  {'':32}{result.unit:>12}{'minimum':>12}{'ratio':>9}   of processes")
    for name in result.medians:
        ratios = sorted(result.ratios[name])
        ratio = result.ratio(name)
        line = f"  {name:32}{result.medians[name]:12.2f}{result.minima[name]:12.2f}{ratio:9.3f}"
        line += f"   {ratios[0]:.3f} … {ratios[-1]:.3f}"
        before = baseline.get(name)
        if before and name != CONTROL and abs(ratio / before - 1) > NOISE:
            line += f"   was {before:.3f}"
        click.echo(line)
    if not result.says_something:
        click.echo(f"  the control is {result.control:.3f}: the machine is busy, this load says nothing")
    for goal, ratio in result.goals:
        limit = f"≤ {goal.at_most}" if goal.at_most else f"≥ {goal.at_least}"
        click.echo(f"  {'met ' if goal.met(ratio) else 'MISS'} {goal.variant} / {goal.reference} {ratio:.3f} {limit}")


def _write_baseline(baseline: dict[str, Any], results: dict[str, Result]) -> None:
    for name, result in results.items():
        baseline[name] = {variant: round(result.ratio(variant), 3) for variant in result.medians if variant != CONTROL}
    BASELINE.write_text(json.dumps(baseline, indent=1, ensure_ascii=False, sort_keys=True) + "\n")


def _host() -> dict[str, object]:
    return {
        "date": time.strftime("%Y-%m-%d"),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "load": os.getloadavg()[0],
    }


if __name__ == "__main__":
    main()
