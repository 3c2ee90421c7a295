"""A cluster whose hosts are killed and cut off, one after the other, during syncs and traffic; ``make cluster``.

What was acknowledged is compared with the database, and the database with git. Writes the table of docs/scaling.md.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from flask_grpcweb_scm import StatusCode
from tests.cluster.cluster import Cluster, cluster
from tests.cluster.traffic import Traffic
from tests.faults.integrity import check_integrity
from tests.servers import ROOT

pytestmark = [
    pytest.mark.needs("network namespaces"),
    pytest.mark.skipif("ROUNDS" not in os.environ, reason="it takes a minute: make cluster ROUNDS=1"),
]

logger = logging.getLogger(__name__)

ROUNDS = int(os.environ.get("ROUNDS", "1"))
PAGE = ROOT / "docs/scaling.md"
BEFORE, SECONDS = (0.5, 1.0) if ROUNDS == 1 else (1.0, 2.0)

Fault = Callable[[Cluster], contextlib.AbstractContextManager[None]]


def killed(name: str) -> Fault:
    return lambda cluster: cluster.killed(name)


def unplugged(name: str) -> Fault:
    return lambda cluster: cluster.hosts[name].unplugged()


FAULTS: dict[str, Fault] = {
    "an app host is killed": killed("app1"),
    "a worker host is killed": killed("worker1"),
    "the broker is killed": killed("redis"),
    "PostgreSQL is killed": killed("postgresql"),
    "the network of PostgreSQL is cut": unplugged("postgresql"),
    "the network of an app host is cut": unplugged("app2"),
    "the network of a worker host is cut": unplugged("worker2"),
    "the network of the broker is cut": unplugged("redis"),
}
SHORT = 4
"""Of the faults, for one round: whatever is killed."""


class Outcome(NamedTuple):
    """What became of the calls around a fault."""

    fault: str
    traffic: Traffic
    lost: int
    twice: int
    claimed: float
    """Seconds from the fault until the last job that was under way then was released, or claimed anew."""
    synced: float
    """Seconds from the end of the fault until all that was pushed until then, and meanwhile, is stored."""


def outcome(running: Cluster, fault: str, name: str) -> Outcome:
    traffic = Traffic(running, name)
    with traffic.running():
        time.sleep(BEFORE)
        running.until(lambda: bool(running.claims()))
        before, began = running.claims(), time.monotonic()
        with FAULTS[fault](running):
            time.sleep(SECONDS)
        ended = time.monotonic()
        running.until(lambda: not {*before.items()} & {*running.claims().items()})
        claimed = time.monotonic() - began
        for each in ("app1", "app2"):
            running.wait_for(each)
        time.sleep(BEFORE)
    running.wait_until_synced()
    synced = time.monotonic() - ended
    return Outcome(fault, traffic, *traffic.lost_and_twice(), claimed, synced)


def test_nothing_is_lost_and_nothing_is_twice(tmp_path: Path) -> None:
    with cluster(tmp_path) as running:
        found = []
        for number in range(ROUNDS):
            for place, fault in enumerate([*FAULTS][: SHORT if ROUNDS == 1 else None]):
                found.append(outcome(running, fault, f"{number}.{place}"))
                logger.info("%s", line([found[-1]]))
                check(found[-1])
        running.finish_issues()
        assert {*running.provider.titles().values()} == {1}
        assert running.provider.refusals == []
        check_integrity(running.app)
    if "CLUSTER_PAGE" in os.environ:
        write(found)


def check(outcome: Outcome) -> None:
    traffic = outcome.traffic
    assert (outcome.lost, outcome.twice, traffic.wrong) == (0, 0, []), outcome.fault
    assert {*traffic.failed} <= {(False, StatusCode.UNAVAILABLE)}, traffic.failures
    assert min(traffic.calls[True], traffic.calls[False], traffic.acknowledged) > 0


HEAD = (
    "| fault | times | calls without retries | failed | calls with retries | failed | slowest | acknowledged writes"
    " | lost | twice | jobs free again after | pushes stored after |"
)


def line(rows: list[Outcome]) -> str:
    """The row of a fault."""
    all_of = [row.traffic for row in rows]
    failed: dict[bool, Counter[str]] = {True: Counter(), False: Counter()}
    for traffic in all_of:
        for (has_retries, code), count in traffic.failed.items():
            failed[has_retries][code.name] += count
    shown = {
        has_retries: ", ".join(f"{count} {name}" for name, count in counts.items()) or "0"
        for has_retries, counts in failed.items()
    }
    cells = [
        *(rows[0].fault, len(rows)),
        *(sum(traffic.calls[False] for traffic in all_of), shown[False]),
        *(sum(traffic.calls[True] for traffic in all_of), shown[True]),
        f"{max(traffic.slowest for traffic in all_of):.1f} s",
        *(
            sum(traffic.acknowledged for traffic in all_of),
            sum(row.lost for row in rows),
            sum(row.twice for row in rows),
        ),
        f"{max(row.claimed for row in rows):.1f} s",
        f"{max(row.synced for row in rows):.1f} s",
    ]
    return "| " + " | ".join(map(str, cells)) + " |"


def write(found: list[Outcome]) -> None:
    rows = [line([row for row in found if row.fault == fault]) for fault in FAULTS]
    text = "\n".join([HEAD, re.sub("[^|]+", "---", HEAD), *rows, ""])
    place = r"(?<=<!-- make cluster -->\n).*?(?=<!-- end -->)"
    PAGE.write_text(re.sub(place, lambda match: text, PAGE.read_text(), count=1, flags=re.DOTALL))
