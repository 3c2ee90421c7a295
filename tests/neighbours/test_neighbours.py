"""Real extensions, middlewares and agents in an app that serves RPCs: each is seen acting, and breaks nothing.

`make neighbours` runs this in an environment of its own. The table is in table.py, what a cell has to show in run.py.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.neighbours.neighbour import CELLS, LANES
from tests.neighbours.report import PAGE, Results, neighbours_page
from tests.neighbours.table import NEIGHBOURS
from tests.servers import ROOT

Runs = dict[str, "Future[dict[str, str]]"]


@pytest.fixture(scope="module")
def runs(request: pytest.FixtureRequest) -> Iterator[Runs]:
    """What is wrong in the cells of all neighbours whose tests were selected; they run beside each other."""
    selected = {item.callspec.params["name"]: None for item in request.session.items if hasattr(item, "callspec")}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield {name: pool.submit(run, name) for name in selected}
        pool.shutdown(cancel_futures=True)


def run(name: str) -> dict[str, str]:
    command = [sys.executable, "-m", "tests.neighbours.run", name]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    wrong: dict[str, str] = json.loads(done.stdout)
    return wrong


@pytest.fixture(scope="module")
def results() -> Results:
    return {}


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("lane", LANES)
@pytest.mark.parametrize("name", NEIGHBOURS)
def test_neighbour(runs: Runs, results: Results, name: str, lane: str, cell: str) -> None:
    results[name, lane, cell] = False
    wrong = runs[name].result()[f"{lane}/{cell}"]
    assert not wrong, wrong
    results[name, lane, cell] = True


def test_page_is_what_this_run_gives(results: Results) -> None:
    if len(results) < len(NEIGHBOURS) * len(LANES) * len(CELLS):
        pytest.skip("not all cells were run")
    committed = PAGE.read_text()
    PAGE.write_text(neighbours_page(results))
    assert committed == PAGE.read_text(), "the page was not; it is written anew"
