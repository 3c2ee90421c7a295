"""ListProjects, ListIntegrations, UpsertGroup and SyncRepository."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_grpcweb_scm import StatusCode
from flask_grpcweb_scm.scm import (
    Group,
    Integration,
    OrganizationIntegration,
    Project,
    Repository,
    RepositoryStatus,
    db,
)
from flask_grpcweb_scm.scm.database.db import database_now
from flask_grpcweb_scm.scm.database.models import Job
from flask_grpcweb_scm.scm.jobs import JobFailed, Kind, Lease, run_due
from flask_grpcweb_scm.scm.providers import ProviderRateLimited
from tests.scm.databases import disposed
from tests.scm.support import Scm, Tenant, add_tenant, make_app


@pytest.fixture
def app(database: str) -> Iterator[Flask]:
    with disposed(make_app(database, GRPC_SCM_MIRRORS="/nonexistent")) as app:
        yield app


def pages(scm: Scm, method: str, field: str, **fields: Any) -> list[Any]:
    found, token = [], ""
    while True:
        page = scm(method, **fields, page_size=2, page_token=token)
        found += getattr(page, field)
        token = page.next_page_token
        if not token:
            return found


def test_projects_come_by_slug(app: Flask, scm: Scm, ours: Tenant, theirs: Tenant) -> None:
    with app.app_context():
        for slug in ("b", "api", "Zoo", "a-b"):
            db.session.add(Project(organization_id=ours.organization, slug=slug, name=slug.upper(), platform="python"))
        db.session.commit()
    rows = pages(scm, "ListProjects", "projects", organization_id=ours.organization)
    slugs = [row.slug for row in rows]
    assert sorted(slugs) == ["Zoo", "a-b", "api", "b", "web"]
    assert slugs == [row.slug for row in scm("ListProjects", organization_id=ours.organization).projects]
    (row,) = (row for row in rows if row.slug == "api")
    assert (row.organization_id, row.name, row.platform, row.date_added.seconds > 0) == (
        *(ours.organization, "API", "python", True),
    )


def test_integrations_say_what_they_do_and_no_settings(app: Flask, scm: Scm, ours: Tenant) -> None:
    base_url, credentials = "https://git.internal", {"credentials": "bot"}
    with app.app_context():
        for number, (provider, metadata) in enumerate(
            [
                ("integrations:github", credentials),
                ("jira", {"base_url": base_url}),
                ("bitbucket", credentials),
                ("gitlab", {}),
            ]
        ):
            row = Integration(provider=provider, external_id=str(number), name=f"n{number}", metadata_=metadata)
            db.session.add(row)
            db.session.flush()
            pair = {"organization_id": ours.organization, "integration_id": row.id}
            db.session.add(OrganizationIntegration(**pair, config={"projects": "secret/*"}))
        db.session.commit()
    rows = pages(scm, "ListIntegrations", "integrations", organization_id=ours.organization)
    assert [(row.provider, row.name, row.has_tracker, row.lists_repositories) for row in rows] == [
        ("jira", "Jira", False, False),
        ("github", "n0", True, True),
        ("jira", "n1", True, False),
        ("bitbucket", "n2", False, False),
        ("gitlab", "n3", False, False),
    ]
    assert rows[0].id == ours.integration
    assert not any(text in str(rows) for text in ("internal", "bot", "secret"))


def test_a_group_is_added_and_changed(app: Flask, scm: Scm, ours: Tenant) -> None:
    fields = {"organization_id": ours.organization, "project_id": ours.project}
    seen = datetime(2026, 1, 2, tzinfo=timezone.utc)
    added = scm("UpsertGroup", **fields, short_id=7, title="KeyError", first_seen=seen)
    assert (added.short_id, added.title, added.first_seen.ToDatetime(timezone.utc)) == (7, "KeyError", seen)
    assert scm("UpsertGroup", **fields, short_id=7) == added
    changed = scm("UpsertGroup", **fields, short_id=7, title="KeyError: x")
    assert (changed.id, changed.title, changed.first_seen) == (added.id, "KeyError: x", added.first_seen)
    assert scm("UpsertGroup", **fields, short_id=1).id == ours.group
    new = scm("UpsertGroup", **fields, short_id=2**63 - 1)
    assert (new.title, new.first_seen.seconds > seen.timestamp()) == ("", True)
    with app.app_context():
        assert db.session.scalar(sa.select(sa.func.count()).select_from(Group)) == 3
    link = scm("LinkExternalIssue", group_id=added.id, external_issue_id=ours.issue)
    assert link.id == ours.issue


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"short_id": 0}, "short_id"),
        ({"short_id": -1}, "short_id"),
        ({"title": "x" * (64 * 2**10 + 1)}, "title"),
        ({"title": "\0"}, "title"),
        ({"first_seen": {"seconds": 2**60}}, "first_seen"),
    ],
)
def test_a_wrong_group_is_refused(scm: Scm, ours: Tenant, wrong: dict[str, Any], field: str) -> None:
    fields = {"organization_id": ours.organization, "project_id": ours.project, "short_id": 7, **wrong}
    error = scm.error(StatusCode.INVALID_ARGUMENT, "UpsertGroup", **fields)
    assert [violation.field for violation in error.details[0].field_violations] == [field]


def test_a_project_of_another_organization_has_no_groups_of_ours(scm: Scm, ours: Tenant, theirs: Tenant) -> None:
    fields = {"organization_id": ours.organization, "project_id": theirs.project, "short_id": 1}
    scm.error(StatusCode.NOT_FOUND, "UpsertGroup", **fields)


def jobs(app: Flask) -> list[Any]:
    with app.app_context():
        rows = db.session.execute(sa.select(Job.kind, Job.subject_id, Job.organization_id, Job.requests))
        return [tuple(row) for row in rows]


def test_a_repository_is_made_due_once(app: Flask, scm: Scm, ours: Tenant) -> None:
    with app.app_context():
        db.session.get_one(Repository, ours.repository).url = "https://github.com/acme/app"
        db.session.commit()
    for _ in range(2):
        assert not scm("SyncRepository", repository_id=ours.repository).HasField("synced_at")
    assert jobs(app) == [("sync_repository", ours.repository, ours.organization, 1)]
    then = datetime(2026, 1, 2, tzinfo=timezone.utc)
    with app.app_context():
        db.session.get_one(Repository, ours.repository).mirror_fetched_at = then
        db.session.commit()
    synced = scm("SyncRepository", repository_id=ours.repository).synced_at
    assert synced.ToDatetime(timezone.utc) == then


def test_the_response_says_when_it_is_due(app: Flask, scm: Scm, ours: Tenant) -> None:
    with app.app_context():
        db.session.get_one(Repository, ours.repository).url = "https://github.com/acme/app"
        db.session.commit()

    def due_in() -> float:
        due_at = scm("SyncRepository", repository_id=ours.repository).due_at.ToDatetime(timezone.utc)
        with app.app_context():
            return (due_at - database_now()).total_seconds()

    def fail(error: Exception) -> None:
        def run(repository_id: int, lease: Lease) -> None:
            raise error

        with app.app_context():
            db.session.execute(sa.update(Job).values(due_at=Job.date_added, not_before=None))
            db.session.commit()
            assert run_due({"sync_repository": Kind(run, lambda: 3600.0)}) == 1

    assert -60 < due_in() <= 0
    fail(ProviderRateLimited("slow down", provider="github", retry_after=3000))
    assert 2900 < due_in() <= 3000
    fail(JobFailed("no folder"))
    assert 0 < due_in() <= 60


@pytest.mark.parametrize(
    ("url", "status", "text"),
    [
        ("", RepositoryStatus.ACTIVE, "has no remote on a host"),
        ("/srv/git/app", RepositoryStatus.ACTIVE, "has no remote on a host"),
        ("https://github.com/acme/app", RepositoryStatus.DISABLED, "is disabled"),
        ("https://github.com/acme/app", RepositoryStatus.HIDDEN, "is hidden"),
    ],
)
def test_what_is_not_synced_is_told(
    app: Flask, scm: Scm, ours: Tenant, url: str, status: RepositoryStatus, text: str
) -> None:
    with app.app_context():
        row = db.session.get_one(Repository, ours.repository)
        row.url, row.status = url, status
        db.session.commit()
    error = scm.error(StatusCode.FAILED_PRECONDITION, "SyncRepository", repository_id=ours.repository)
    assert error.message == f"repository {ours.repository} {text}"
    assert jobs(app) == []


def test_a_server_without_mirrors_syncs_nothing(database: str) -> None:
    with disposed(make_app(database)) as app:
        with app.app_context():
            ours = add_tenant("ours")
            db.session.get_one(Repository, ours.repository).url = "https://github.com/acme/app"
            db.session.commit()
        error = Scm(app).error(StatusCode.FAILED_PRECONDITION, "SyncRepository", repository_id=ours.repository)
        assert "this server keeps no mirrors" in error.message
