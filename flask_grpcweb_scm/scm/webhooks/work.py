"""Work that an event makes due: the integrations, organizations and repositories that it is about.

Statements are built once, for a delivery is to cost little.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from flask_grpcweb_scm.scm.database.db import database_clock, database_now, db
from flask_grpcweb_scm.scm.database.models import (
    Integration,
    Job,
    OrganizationIntegration,
    Repository,
    RepositoryStatus,
)
from flask_grpcweb_scm.scm.database.values import provider_name, provider_spellings
from flask_grpcweb_scm.scm.git_import.destination import host_at_provider
from flask_grpcweb_scm.scm.jobs import SYNC_ORGANIZATION, SYNC_REPOSITORY, is_free
from flask_grpcweb_scm.scm.providers import ProviderMisconfigured, is_configured
from flask_grpcweb_scm.scm.remotes import numbered_ids
from flask_grpcweb_scm.scm.settings import current_settings
from flask_grpcweb_scm.scm.trackers import allowed_projects
from flask_grpcweb_scm.scm.trackers.issues import matches_project
from flask_grpcweb_scm.scm.webhooks.deliveries import PUSH, REPOSITORIES, Event

__all__ = ["Work", "changed_issues", "providers_named", "works_of"]

UNKNOWN_SECONDS = 60.0
"""From a push to a repository that is not known here until its organization is listed: at most one listing a minute."""
MAX_INSTALLATIONS = 1000
"""Of integrations with the name of a webhook; those of GitHub Apps are found by their numbers."""


class Work(NamedTuple):
    """A job, in an order that is the same for all deliveries, so that no two wait for each other."""

    kind: str
    subject_id: int
    organization_id: int
    after: float = 0.0
    is_due: bool = False
    """True when it is due already, so that it will see what the event is about, or is not to be due again."""


class Installation(NamedTuple):
    """An integration as it is installed in an organization."""

    id: int
    organization_id: int
    integration_id: int
    provider: str
    external_id: str
    name: str
    metadata: Mapping[str, Any]


def works_of(name: str, providers: Sequence[str], event: Event) -> list[Work]:
    """Return the work that follows from an event of a webhook, in order.

    :param providers: that the webhook may be of.
    """
    installed: dict[int, list[Installation]] = {}
    for row in _installations(name, providers, event):
        installed.setdefault(row.integration_id, []).append(row)
    return sorted({work for rows in installed.values() for work in _works(rows, event)})


def changed_issues(name: str, providers: Sequence[str], event: Event) -> list[tuple[int, str]]:
    """Return the integrations that an event of a webhook is about, in order, each with the key of the issue there."""
    rows = {row.integration_id: row for row in _installations(name, providers, event)}
    if not (event.name and event.issue):
        return []
    return [(number, _place_of(row) + f"{event.name}#{event.issue}") for number, row in sorted(rows.items())]


# Integrations


def _installations(name: str, providers: Sequence[str], event: Event) -> list[Installation]:
    """Return the integrations of a webhook that an event is about, as they are installed in organizations."""
    rows: list[Installation] = []
    values: dict[str, Any] = {"providers": [text for each in providers for text in provider_spellings(each)]}
    if event.installation:
        # A GitHub App has one webhook for all its installations.
        found = db.session.execute(_by_number(), {**values, "number": event.installation})
        rows = [row for row in map(Installation._make, found) if _is_named(row, name)]
    if not rows:
        named = db.session.execute(_by_name(), {**values, "name": name, "id": _id(name)})
        rows = [*map(Installation._make, named)]
    known = {"", event.installation}
    return [row for row in rows if not event.installation or _number_of(row) in known]


def _id(name: str) -> int:
    return int(name) if re.fullmatch("[0-9]{1,18}", name, re.ASCII) else 0


_integration, _installation = Integration.__table__.c, OrganizationIntegration.__table__.c
_HAS_NAME = sa.or_(_integration.name == sa.bindparam("name"), _integration.id == sa.bindparam("id"))


@functools.cache
def _by_name() -> sa.Select[Any]:
    return _of_providers().where(_HAS_NAME).order_by(_installation.id).limit(MAX_INSTALLATIONS)


@functools.cache
def _by_number() -> sa.Select[Any]:
    return _of_providers().where(_integration.external_id == sa.bindparam("number"))


def _of_providers() -> sa.Select[Any]:
    columns = (
        *(_installation.id, _installation.organization_id, _installation.integration_id),
        *(_integration.provider, _integration.external_id, _integration.name, _integration.metadata),
    )
    rows = sa.select(*columns).where(_integration.id == _installation.integration_id)
    return rows.where(_integration.provider.in_(sa.bindparam("providers", expanding=True)))


def providers_named(name: str) -> set[str]:
    """Return the providers of the integrations with a name, or an id."""
    rows = sa.select(_integration.provider).where(_HAS_NAME).distinct()
    return {provider_name(provider) for provider in db.session.scalars(rows, {"name": name, "id": _id(name)})}


def _is_named(row: Installation, name: str) -> bool:
    return name in {row.name, str(row.integration_id), row.metadata.get("credentials")}


def _number_of(row: Installation) -> str:
    """Return the installation of a GitHub App that an integration is; empty when it is none."""
    credential = current_settings().scm_credentials.get(str(row.metadata.get("credentials")), {})
    return credential.get("installation_id", row.external_id) if "app_id" in credential else ""


def _place_of(row: Installation) -> str:
    """Return the beginning of keys of issues: those of GitLab have the host."""
    return f"{_host_of(row)}:" if provider_name(row.provider) == "gitlab" else ""


def _host_of(row: Installation) -> str:
    return host_at_provider(row.provider, Integration(provider=row.provider, metadata_=row.metadata))


# Work


def _works(installations: Sequence[Installation], event: Event) -> Iterator[Work]:
    """Yield the work that follows from an event in the organizations of one integration."""
    if event.kind == REPOSITORIES and is_configured(installations[0].metadata):
        for row in installations:
            yield Work(SYNC_ORGANIZATION, row.organization_id, row.organization_id)
    elif event.kind == PUSH and event.repository:
        yield from _works_of_push(installations, event)


def _works_of_push(installations: Sequence[Installation], event: Event) -> Iterator[Work]:
    first, organizations = installations[0], [row.organization_id for row in installations]
    provider = provider_name(first.provider)
    values = {
        "organizations": organizations,
        "providers": provider_spellings(provider),
        "numbers": numbered_ids(_host_of(first), event.repository),
    }
    known = db.session.execute(_numbered(db.engine.dialect.name), values).all()
    for row in known:
        if row.integration_id == first.integration_id and row.status is RepositoryStatus.ACTIVE:
            yield Work(SYNC_REPOSITORY, row.id, row.organization_id, is_due=bool(row.is_due))
    # One that is not seen any more, or not yet. What people have disabled, or another integration has, stays so.
    seen = {row.organization_id for row in known if row.status is not RepositoryStatus.HIDDEN}
    for installed in installations if is_configured(first.metadata) else ():
        organization_id = installed.organization_id
        if organization_id not in seen and _is_inside(installed, event.name):
            is_listed = _is_being_listed(organization_id)
            yield Work(SYNC_ORGANIZATION, organization_id, organization_id, UNKNOWN_SECONDS, is_listed)


@functools.cache
def _numbered(dialect: str) -> sa.Select[Any]:
    """Build the statement for repositories with a number, and the state of their jobs."""
    repository, job = Repository.__table__, Job.__table__
    now = database_clock()
    is_due = sa.and_(job.c.due_at <= now, is_free(now))
    column = repository.c
    rows = sa.select(column.id, column.organization_id, column.integration_id, column.status, is_due.label("is_due"))
    of_repository = sa.and_(job.c.kind == SYNC_REPOSITORY, job.c.subject_id == column.id)
    return rows.select_from(repository.outerjoin(job, of_repository)).where(
        column.organization_id.in_(sa.bindparam("organizations", expanding=True)),
        column.provider.in_(sa.bindparam("providers", expanding=True)),
        column.external_id.in_(sa.bindparam("numbers", expanding=True)),
    )


def _is_being_listed(organization_id: int) -> bool:
    """Tell whether a worker lists an organization now; made due, it would begin again at its end, push after push."""
    this = sa.and_(Job.kind == SYNC_ORGANIZATION, Job.subject_id == organization_id)
    return db.session.scalar(sa.select(Job.id).where(this, sa.not_(is_free(database_now())))) is not None


def _is_inside(row: Installation, name: str) -> bool:
    installation = db.session.get(OrganizationIntegration, row.id)
    try:
        allowed = None if installation is None else allowed_projects(installation)
    except ProviderMisconfigured:
        return False
    return allowed is None or any(matches_project(pattern, name) for pattern in allowed)
