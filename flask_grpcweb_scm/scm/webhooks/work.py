"""Work that an event makes due: the integrations, organizations and repositories that it is about.

Statements are built once, for a delivery is to cost little.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.orm import contains_eager

from flask_grpcweb_scm.scm.database.db import db
from flask_grpcweb_scm.scm.database.models import Integration, OrganizationIntegration, Repository, RepositoryStatus
from flask_grpcweb_scm.scm.database.values import provider_name, provider_spellings
from flask_grpcweb_scm.scm.git_import.destination import host_at_provider
from flask_grpcweb_scm.scm.jobs import SYNC_ORGANIZATION, SYNC_REPOSITORY
from flask_grpcweb_scm.scm.providers import ProviderMisconfigured, is_configured
from flask_grpcweb_scm.scm.remotes import numbered_ids
from flask_grpcweb_scm.scm.settings import current_settings
from flask_grpcweb_scm.scm.trackers import allowed_projects
from flask_grpcweb_scm.scm.trackers.tracker import matches_project
from flask_grpcweb_scm.scm.webhooks.deliveries import PUSH, REPOSITORIES, Event

__all__ = ["Work", "providers_named", "works_of"]

UNKNOWN_SECONDS = 60.0
"""From a push to a repository that is not known here until its organization is listed: at most one listing a minute."""
MAX_INSTALLATIONS = 1000
"""Of integrations with the name of a webhook; those of GitHub Apps are found by their numbers."""

Installations = Sequence[OrganizationIntegration]


class Work(NamedTuple):
    """A job to make due; in an order that is the same for all deliveries, so that no two wait for each other."""

    kind: str
    subject_id: int
    organization_id: int
    after: float


def works_of(name: str, providers: Sequence[str], event: Event) -> list[Work]:
    """Return the work that an event of a webhook makes due, in order.

    :param providers: that the webhook may be of.
    """
    installed: dict[int, list[OrganizationIntegration]] = {}
    for row in _installations(name, providers, event):
        installed.setdefault(row.integration_id, []).append(row)
    return sorted({work for rows in installed.values() for work in _works(rows[0].integration, rows, event)})


# Integrations


def _installations(name: str, providers: Sequence[str], event: Event) -> list[OrganizationIntegration]:
    """Return the integrations of a webhook that an event is about, as they are installed in organizations."""
    rows: Installations = []
    values: dict[str, Any] = {"providers": [text for each in providers for text in provider_spellings(each)]}
    if event.installation:
        # A GitHub App has one webhook for all its installations.
        found = db.session.scalars(_by_number(), {**values, "number": event.installation})
        rows = [row for row in found if _is_named(row.integration, name)]
    if not rows:
        rows = db.session.scalars(_by_name(), {**values, "name": name, "id": _id(name)}).all()
    known = {"", event.installation}
    return [row for row in rows if not event.installation or _installation_of(row.integration) in known]


def _id(name: str) -> int:
    return int(name) if re.fullmatch("[0-9]{1,18}", name, re.ASCII) else 0


_HAS_NAME = sa.or_(Integration.name == sa.bindparam("name"), Integration.id == sa.bindparam("id"))


@functools.cache
def _by_name() -> sa.Select[OrganizationIntegration]:
    return _of_providers().where(_HAS_NAME).order_by(OrganizationIntegration.id).limit(MAX_INSTALLATIONS)


@functools.cache
def _by_number() -> sa.Select[OrganizationIntegration]:
    return _of_providers().where(Integration.external_id == sa.bindparam("number"))


def _of_providers() -> sa.Select[OrganizationIntegration]:
    rows = sa.select(OrganizationIntegration).join(OrganizationIntegration.integration)
    rows = rows.options(contains_eager(OrganizationIntegration.integration))
    return rows.where(Integration.provider.in_(sa.bindparam("providers", expanding=True)))


def providers_named(name: str) -> set[str]:
    """Return the providers of the integrations with a name, or an id."""
    rows = sa.select(Integration.provider).where(_HAS_NAME).distinct()
    return {provider_name(provider) for provider in db.session.scalars(rows, {"name": name, "id": _id(name)})}


def _is_named(row: Integration, name: str) -> bool:
    return name in {row.name, str(row.id), row.metadata_.get("credentials")}


def _installation_of(row: Integration) -> str:
    """Return the installation of a GitHub App that an integration is; empty when it is none."""
    credential = current_settings().scm_credentials.get(str(row.metadata_.get("credentials")), {})
    return credential.get("installation_id", row.external_id) if "app_id" in credential else ""


# Work


def _works(integration: Integration, installations: Installations, event: Event) -> Iterator[Work]:
    """Yield the work that an event makes due in the organizations of an integration."""
    if event.kind == REPOSITORIES and is_configured(integration.metadata_):
        for row in installations:
            yield Work(SYNC_ORGANIZATION, row.organization_id, row.organization_id, 0.0)
    elif event.kind == PUSH and event.repository:
        yield from _works_of_push(integration, installations, event)


def _works_of_push(integration: Integration, installations: Installations, event: Event) -> Iterator[Work]:
    provider = provider_name(integration.provider)
    values = {
        "organizations": [row.organization_id for row in installations],
        "providers": provider_spellings(provider),
        "numbers": numbered_ids(host_at_provider(provider, integration), event.repository),
    }
    known = db.session.execute(_numbered(), values).all()
    for row in known:
        if row.integration_id == integration.id and row.status is RepositoryStatus.ACTIVE:
            yield Work(SYNC_REPOSITORY, row.id, row.organization_id, 0.0)
    # One that is not seen any more, or not yet. What people have disabled, or another integration has, stays so.
    seen = {row.organization_id for row in known if row.status is not RepositoryStatus.HIDDEN}
    for installation in installations:
        is_unknown = installation.organization_id not in seen and is_configured(integration.metadata_)
        if is_unknown and _is_inside(installation, event.name):
            yield Work(SYNC_ORGANIZATION, installation.organization_id, installation.organization_id, UNKNOWN_SECONDS)


@functools.cache
def _numbered() -> sa.Select[Any]:
    column = Repository.__table__.c
    return sa.select(column.id, column.organization_id, column.integration_id, column.status).where(
        column.organization_id.in_(sa.bindparam("organizations", expanding=True)),
        column.provider.in_(sa.bindparam("providers", expanding=True)),
        column.external_id.in_(sa.bindparam("numbers", expanding=True)),
    )


def _is_inside(installation: OrganizationIntegration, name: str) -> bool:
    try:
        allowed = allowed_projects(installation)
    except ProviderMisconfigured:
        return False
    return allowed is None or any(matches_project(pattern, name) for pattern in allowed)
