"""Neighbours in processes of their own, for many patch what all apps share.

``python -m tests.neighbours.run with NAME`` prints as JSON, for each lane and cell, what is wrong there, or "".
``… without NAME NAME …`` does so for apps without the neighbours, where being seen acting is wrong; by their names.
"""

from __future__ import annotations

import contextlib
import json
import sys
import traceback
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tests.neighbours.neighbour import CELLS, LANES, Neighbour
from tests.neighbours.table import NEIGHBOURS

if TYPE_CHECKING:
    from tests.neighbours.host import Host

Wrong = dict[str, str]


def run_with(name: str) -> Wrong:
    kind = NEIGHBOURS[name]
    kind.before_import()
    return _check_cells(kind, kind.orders)


def run_without(*names: str) -> dict[str, Wrong]:
    return {name: _check_cells(NEIGHBOURS[name], ["never"]) for name in names}


def _check_cells(kind: type[Neighbour], orders: Sequence[str]) -> Wrong:
    return {
        f"{lane}/{cell}": "".join(_check(kind, lane, cell, order) for order in orders)
        for lane in LANES
        for cell in CELLS
    }


def _check(kind: type[Neighbour], lane: str, cell: str, order: str) -> str:
    from tests.neighbours.host import Host  # imports the extension

    host = None
    try:
        neighbour = kind()
        with Host(neighbour, order=order, fast_lane=LANES[lane]) as host:
            if cell in kind.cannot:
                host.call(cell)
            elif bool(neighbour.acts(cell, host)) != (order != "never"):
                raise AssertionError(f"it is {'not ' if order != 'never' else ''}seen acting")
            # Where it is not installed, it is enough that nothing is seen.
            if order != "never" and not any(response.is_right for response in host.responses if response.cell == cell):
                raise AssertionError("no response is that of the host")
            if len(host.errors) != sum(response.cell == "crash" for response in host.responses):
                raise AssertionError("an error was logged")
    except Exception:
        return _told(order, host)
    return ""


def _told(order: str, host: Host | None) -> str:
    lines: list[object] = [f"installed {order}: {traceback.format_exc()}"]
    if host is not None:
        lines += host.responses + host.log
    return "\n  ".join(map(str, lines)) + "\n"


if __name__ == "__main__":
    # What others deprecate is theirs; that we use nothing deprecated is ours.
    warnings.filterwarnings("error", module="flask_grpcweb_scm")
    with contextlib.redirect_stdout(sys.stderr):
        results = {"with": run_with, "without": run_without}[sys.argv[1]](*sys.argv[2:])
    sys.stdout.write(json.dumps(results))
