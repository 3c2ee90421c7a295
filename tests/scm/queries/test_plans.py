"""A page costs the same at any depth: how both databases find it."""

from __future__ import annotations

import re
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_grpcweb_scm.scm import ExternalIssue, Organization, Repository, db
from flask_grpcweb_scm.scm.jobs.issues import issue_changed
from tests.scm.queries.plans import plan_of
from tests.scm.support import Scm, Tenant
from tests.tables import check_rows

ROWS = 5000
PAGE = 10


@pytest.fixture
def organization(app: Flask) -> int:
    with app.app_context():
        row = Organization(slug="acme")
        db.session.add(row)
        db.session.flush()
        organization_id = row.id
        rows = [
            {
                "organization_id": organization_id,
                "name": f"r{n * 7 % ROWS:05d}",
                "provider": ("github", "gitlab")[n % 2],
            }
            for n in range(ROWS)
        ]
        db.session.execute(sa.insert(Repository), rows)
        analyze()
        return organization_id


def analyze() -> None:
    db.session.commit()
    # Which rows everybody sees is known after a VACUUM; an index alone is good for them.
    with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("ANALYZE" if db.engine.dialect.name == "sqlite" else "VACUUM ANALYZE"))


def token(scm: Scm, organization: int, rows: int, **fields: Any) -> str:
    page = scm("ListRepositories", organization_id=organization, page_size=rows, **fields)
    assert page.next_page_token
    return str(page.next_page_token)


def test_a_page_is_chosen_from_an_index_alone(app: Flask, scm: Scm, organization: int) -> None:
    def check(depth: int, index: str, fields: dict[str, Any]) -> None:
        after = token(scm, organization, depth, **fields) if depth else ""
        asked = {"organization_id": organization, "page_size": PAGE, "page_token": after, **fields}
        plan = plan_of(app, lambda: scm("ListRepositories", **asked))
        # PostgreSQL's words, and SQLite's.
        assert re.search(rf"(Index Only Scan using|COVERING INDEX) ix_scm_repository_{index}", plan), plan
        assert not re.search(r"Seq Scan on scm_repository|SCAN scm_repository", plan), plan
        # What is sorted are the rows of the page, once they are read.
        assert all(int(limit) <= PAGE + 1 for limit in re.findall(r"Limit .*rows=(\d+)", plan))
        if after:
            assert re.search(r"ROW\(\(?name\)?.*, id\) > ROW|AND name>\?", plan), plan

    indexes: list[tuple[str, dict[str, Any]]] = [("page", {}), ("provider", {"provider": "PROVIDER_GITLAB"})]
    check_rows(check, [(depth, *index) for depth in (0, 10, 900) for index in indexes])


def test_a_stream_is_read_page_by_page_from_the_index(app: Flask, scm: Scm, organization: int) -> None:
    def read() -> None:
        assert len(scm("StreamRepositories", organization_id=organization)) == ROWS

    plan = plan_of(app, read)
    assert re.search(r"(Index Only Scan using|COVERING INDEX) ix_scm_repository_page", plan), plan
    assert not re.search(r"Seq Scan on scm_repository|SCAN scm_repository", plan), plan


def test_issues_of_a_webhook_are_found_by_indexes(app: Flask, ours: Tenant) -> None:
    """Though their names may be in another case."""
    of_ours = {"organization_id": ours.organization, "integration_id": ours.integration}
    with app.app_context():
        rows = [{**of_ours, "key": f"Acme/App#{number}"} for number in range(ROWS)]
        db.session.execute(sa.insert(ExternalIssue), rows)
        analyze()

    def tell() -> None:
        with app.app_context():
            assert issue_changed(ours.integration, "acme/app#4002") == 1

    plan = plan_of(app, tell, "UPDATE scm_external_issue")
    for index, column in (("ix_scm_external_issue_place", "place"), ("uq_scm_external_issue_key", "key")):
        # PostgreSQL's words, and SQLite's, which does not name indexes of constraints.
        scan = rf"Index Scan (?:on|using) {index}[^\n]*\n *Index Cond: [^\n]*{column}\)::text = "
        search = rf"INDEX (?:{index}|sqlite_autoindex_scm_external_issue_\d) \([^)]*integration_id=\? AND {column}=\?\)"
        assert re.search(f"{scan}|{search}", plan), plan
    assert not re.search(r"Seq Scan on scm_external_issue|SCAN scm_external_issue", plan), plan
