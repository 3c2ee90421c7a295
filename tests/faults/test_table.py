"""Some of the faults of docs/reliability.md, under load: nothing is lost, doubled or INTERNAL."""

from __future__ import annotations

import pytest

from flask_grpcweb_scm import StatusCode
from tests.documents import ROOT
from tests.faults.table import FAULTS, REDIS, rows

pytestmark = pytest.mark.needs("server")

QUICK = [
    ("PostgreSQL", "restarted", {StatusCode.UNAVAILABLE}),
    ("PostgreSQL", "all connections terminated", {StatusCode.UNAVAILABLE}),
    ("PostgreSQL", "stopped (SIGSTOP)", {StatusCode.DEADLINE_EXCEEDED, StatusCode.UNAVAILABLE}),
    ("SQLite", "file locked", {StatusCode.DEADLINE_EXCEEDED}),
    ("SQLite", "a worker killed", {StatusCode.UNAVAILABLE}),
    (REDIS, "stopped (SIGSTOP)", {StatusCode.DEADLINE_EXCEEDED, StatusCode.UNAVAILABLE}),
    (REDIS, "killed, started again", {StatusCode.UNAVAILABLE}),
]


@pytest.mark.parametrize("database", FAULTS)
def test_a_fault_under_load(database: str) -> None:
    expected = {fault: codes for where, fault, codes in QUICK if where == database}
    for row in rows("gunicorn", database, expected):
        outcome = row.outcome
        assert row.is_right, row
        assert outcome.acknowledged > 0
        assert outcome.statuses.keys() <= {code.name for code in expected.pop(row.fault)}, row
    assert not expected


def test_the_page_has_every_fault() -> None:
    page = (ROOT / "docs/reliability.md").read_text()
    for database, faults in FAULTS.items():
        for fault in faults:
            assert f"| {fault} | gunicorn | {database} |" in page
