"""One neighbour in a process of its own, for many patch what all apps share.

``python -m tests.neighbours.run NAME`` prints a JSON object: for each cell of each lane, what is wrong there, or "".
"""

from __future__ import annotations

import contextlib
import json
import sys
import traceback
import warnings
from typing import TYPE_CHECKING

from tests.neighbours.neighbour import CELLS, LANES, Neighbour
from tests.neighbours.table import NEIGHBOURS

if TYPE_CHECKING:
    from tests.neighbours.host import Host

__all__ = ["run"]


def run(kind: type[Neighbour]) -> dict[str, str]:
    """Without the neighbour first: what it patches stays."""
    kind.before_import()
    cells = [(lane, cell) for lane in LANES for cell in CELLS]
    wrong = {f"{lane}/{cell}": _check(kind, lane, cell, "never") for lane, cell in cells}
    for lane, cell in cells:
        for order in kind.orders:
            wrong[f"{lane}/{cell}"] += _check(kind, lane, cell, order)
    return wrong


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
        results = run(NEIGHBOURS[sys.argv[1]])
    sys.stdout.write(json.dumps(results))
