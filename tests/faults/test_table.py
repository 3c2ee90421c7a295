"""Some of the faults of docs/reliability.md, under load: nothing is lost, doubled or INTERNAL."""

from __future__ import annotations

import pytest

from flask_grpcweb_scm import StatusCode
from tests.documents import ROOT
from tests.faults.table import FAULTS, REDIS, rows

pytestmark = pytest.mark.needs("server")

QUICK = {
    "PostgreSQL": ["restarted", "all connections terminated", "stopped (SIGSTOP)"],
    "SQLite": ["file locked", "a worker killed"],
    REDIS: ["stopped (SIGSTOP)", "killed, started again"],
}
PAUSE = 0.2
"""Else the other tests have no machine meanwhile."""
# Any call may pass its deadline, a second, on a machine that does something else too.
STATUSES = {StatusCode.UNAVAILABLE.name, StatusCode.DEADLINE_EXCEEDED.name}


@pytest.mark.parametrize("database", FAULTS)
def test_a_fault_under_load(database: str) -> None:
    happened = []
    for row in rows("gunicorn", database, QUICK[database], pause=PAUSE):
        happened.append(row.fault)
        assert row.is_right, row
        assert row.outcome.acknowledged > 0
        assert row.outcome.statuses.keys() <= STATUSES, row
    assert sorted(happened) == sorted(QUICK[database])


def test_the_page_has_every_fault() -> None:
    page = (ROOT / "docs/reliability.md").read_text()
    for database, faults in FAULTS.items():
        for fault in faults:
            assert f"| {fault} | gunicorn | {database} |" in page
