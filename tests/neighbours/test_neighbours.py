"""Real extensions, middlewares and agents in an app that serves RPCs: each is seen acting, and breaks nothing.

`make neighbours` runs this in an environment of its own. The table is in table.py, what a cell has to show in run.py.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.neighbours.neighbour import CELLS, LANES
from tests.neighbours.report import PAGE, Results, neighbours_page
from tests.neighbours.table import NEIGHBOURS
from tests.servers import ROOT

WrongIn = Callable[[str, str], str]
"""What is wrong in a cell, with its neighbour and without: given the name, and the lane and cell."""


@pytest.fixture(scope="module")
def wrong_in(request: pytest.FixtureRequest) -> Iterator[WrongIn]:
    """The neighbours whose tests were selected run beside each other."""
    names = {item.callspec.params["name"]: None for item in request.session.items if hasattr(item, "callspec")}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        without = pool.submit(run, "without", *names)
        runs = {name: pool.submit(run, "with", name) for name in names}
        yield lambda name, cell: without.result()[name][cell] + runs[name].result()[cell]
        pool.shutdown(cancel_futures=True)


def run(*arguments: str) -> Any:
    command = [sys.executable, "-m", "tests.neighbours.run", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def results() -> Results:
    return {}


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("lane", LANES)
@pytest.mark.parametrize("name", NEIGHBOURS)
def test_neighbour(wrong_in: WrongIn, results: Results, name: str, lane: str, cell: str) -> None:
    results[name, lane, cell] = False
    wrong = wrong_in(name, f"{lane}/{cell}")
    assert not wrong, wrong
    results[name, lane, cell] = True


def test_page_is_what_this_run_gives(results: Results) -> None:
    if len(results) < len(NEIGHBOURS) * len(LANES) * len(CELLS):
        pytest.skip("not all cells were run")
    committed = PAGE.read_text()
    PAGE.write_text(neighbours_page(results))
    assert committed == PAGE.read_text(), "the page was not; it is written anew"
