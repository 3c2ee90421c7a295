"""Some of the faults of docs/reliability.md at trackers: nothing is lost, or there twice, and no lease is too long."""

from __future__ import annotations

import pytest

from tests.combinations import ON_SQLITE
from tests.documents import ROOT
from tests.faults.trackers import FAULTS, LEASE, OPERATIONS, outcomes

pytestmark = pytest.mark.needs("processes that are killed")

# A vendor with a request for many, and one whose fields and searches take two.
QUICK = {operation: ["github"] for operation in OPERATIONS} | {"search": ["vsts"], "fields": ["jira_server"]}


WRITES = [operation for operation in OPERATIONS if operation not in ("search", "fields")]


@pytest.mark.parametrize("operation", WRITES)
def test_faults_at_each_step(database: str, operation: str) -> None:
    check_faults(database, operation)


@ON_SQLITE
@pytest.mark.parametrize("operation", [operation for operation in OPERATIONS if operation not in WRITES])
def test_faults_at_each_step_of_what_writes_nothing(database: str, operation: str) -> None:
    check_faults(database, operation)


def check_faults(database: str, operation: str) -> None:
    happened = set()
    for outcome in outcomes(database, "", [operation], QUICK[operation], is_quick=True):
        assert outcome.wrong == []
        assert (outcome.lost, outcome.twice) == (0, 0)
        assert outcome.longest_claim <= LEASE
        happened.add(outcome.fault)
    assert happened >= FAULTS.keys() - {"killed at a commit"}


def test_the_page_has_every_fault() -> None:
    page = (ROOT / "docs/reliability.md").read_text()
    for operation in OPERATIONS:
        for fault in FAULTS.keys() - {"killed at a commit"}:
            assert f"| {operation} | {fault} | PostgreSQL |" in page
