"""Apps whose integrations have a tracker; as fixtures, one whose tracker is a server of ours."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_grpcweb_scm.pb import scm_pb2
from flask_grpcweb_scm.scm import ExternalIssue, Integration, IssueOperation, OrganizationIntegration, db
from flask_grpcweb_scm.scm.trackers.tracker import Tracker
from tests.grpcweb import Answer, call
from tests.scm.databases import disposed
from tests.scm.support import SERVICE, Tenant, add_tenant, make_app
from tests.scm.trackers.github_server import GitHubServer, serve_github

SECRET = "s3cret-t0ken"
# Seconds: more than a busy machine needs for anything.
PATIENCE = 30.0


def tracking_app(database: str, timeout: float, **config: Any) -> Flask:
    return make_app(
        database,
        **config,
        GRPC_SCM_CREDENTIALS={"bot": SECRET},
        GRPC_SCM_ALLOWED_HOSTS="127.0.0.1",
        GRPC_TRACKER_TIMEOUT=timeout,
    )


def tracked(app: Flask, slug: str, url: str, provider: str = "github", **config: Any) -> Tenant:
    """A tenant whose integration has a tracker."""
    with app.app_context():
        tenant = add_tenant(slug)
        integration = db.session.get_one(Integration, tenant.integration)
        integration.provider = provider
        integration.metadata_ = {"base_url": url, "credentials": "bot"}
        installation = db.session.scalars(sa.select(OrganizationIntegration).filter_by(integration=integration)).one()
        installation.config = {"repo": "o/r", **config}
        db.session.commit()
    return tenant


@dataclass(frozen=True)
class Stored:
    """What the database has: issues by key, and the errors of operations."""

    issues: dict[str, str]
    operations: list[str]


def stored(app: Flask, tenant: Tenant) -> Stored:
    with app.app_context():
        issues = db.session.scalars(sa.select(ExternalIssue).where(ExternalIssue.id != tenant.issue)).all()
        operations = db.session.scalars(sa.select(IssueOperation)).all()
        return Stored({issue.key: issue.title for issue in issues}, [operation.error for operation in operations])


def create(app: Flask, tenant: Tenant, key: str = "", *, timeout: str = "", **fields: Any) -> Answer:
    ids = {"organization_id": tenant.organization, "integration_id": tenant.integration}
    request = scm_pb2.CreateExternalIssueRequest(**{**ids, "title": "Bug", "description": "It breaks.", **fields})
    headers = {name: value for name, value in (("idempotency-key", key), ("grpc-timeout", timeout)) if value}
    answer = call(app.test_client(), SERVICE + "CreateExternalIssue", request, headers=headers)
    assert SECRET not in answer.message
    return answer


@pytest.fixture
def github() -> Iterator[GitHubServer]:
    with serve_github() as github:
        yield github


@pytest.fixture
def app(database: str, github: GitHubServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Flask]:
    # Whatever is cut off here has ended, and nobody waits for half a minute.
    monkeypatch.setattr(Tracker, "search_delay", 0)
    with disposed(tracking_app(database, PATIENCE)) as app:
        yield app


@pytest.fixture
def ours(app: Flask, github: GitHubServer) -> Tenant:
    return tracked(app, "ours", github.url)
