"""Projects of an organization, its integrations, and error groups by their numbers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.orm import joinedload

from flask_grpcweb_scm.rpc import CallContext, RpcError, StatusCode
from flask_grpcweb_scm.scm.database.db import db, insert_new
from flask_grpcweb_scm.scm.database.models import (
    CodeMapping,
    ExternalIssue,
    Group,
    Organization,
    OrganizationIntegration,
    Project,
    Repository,
)
from flask_grpcweb_scm.scm.queries.paging import Position
from flask_grpcweb_scm.scm.queries.tenancy import (
    EXISTING,
    find_organization,
    find_project,
    visible,
    visible_issue,
    visible_mapping,
    visible_repository,
)

__all__ = ["InstalledIntegration", "page_of_integrations", "page_of_projects", "upsert_group"]


class InstalledIntegration(NamedTuple):
    """An integration as it is installed in an organization."""

    row: OrganizationIntegration
    is_named: bool
    """False for a caller in whose scope of repositories and projects it has nothing."""


def page_of_projects(
    context: CallContext, organization_id: int, *, after: Position | None, limit: int
) -> Sequence[Project]:
    """Return the projects of an organization that the caller may reach, in the order of their slugs.

    :raises RpcError: NOT_FOUND, for the organization.
    """
    find_organization(context, organization_id)
    statement = sa.select(Project).join(Project.organization)
    statement = statement.where(Project.organization_id == organization_id, visible(context, Project))
    if after is not None:
        statement = statement.where(Project.slug > str(after[0]))
    rows: Sequence[Project] = db.session.scalars(statement.order_by(Project.slug).limit(limit)).all()
    return rows


def page_of_integrations(
    context: CallContext, organization_id: int, *, after: Position | None, limit: int
) -> Sequence[InstalledIntegration]:
    """Return the integrations of an organization as they are installed there, the oldest first.

    :raises RpcError: NOT_FOUND, for the organization.
    """
    find_organization(context, organization_id)
    statement = sa.select(OrganizationIntegration, _has_rows_of(context)).join(OrganizationIntegration.organization)
    statement = statement.options(joinedload(OrganizationIntegration.integration))
    statement = statement.where(Organization.id == organization_id, visible(context))
    key = OrganizationIntegration.integration_id
    if after is not None:
        statement = statement.where(key > int(after[0]))
    return [InstalledIntegration(*row) for row in db.session.execute(statement.order_by(key).limit(limit))]


def _has_rows_of(context: CallContext) -> sa.ColumnElement[bool]:
    """Build the condition on an OrganizationIntegration that one of its rows is in the caller's scopes."""
    caller = context.caller
    if caller.repositories is None and caller.projects is None:
        return sa.true()
    repositories = sa.select(Repository.id).where(_is_of(Repository), EXISTING, visible_repository(context))
    mapped = repositories.join(CodeMapping, CodeMapping.repository_id == Repository.id).where(visible_mapping(context))
    issues = sa.select(ExternalIssue.id).where(_is_of(ExternalIssue), visible_issue(context))
    rows = [
        repositories if caller.repositories is not None else mapped,
        *([issues] if caller.projects is not None else []),
    ]
    return sa.or_(*[each.correlate(OrganizationIntegration).exists() for each in rows])


def _is_of(model: type[Repository | ExternalIssue]) -> sa.ColumnElement[bool]:
    return sa.and_(
        model.organization_id == OrganizationIntegration.organization_id,
        model.integration_id == OrganizationIntegration.integration_id,
    )


def upsert_group(
    context: CallContext,
    organization_id: int,
    project_id: int,
    short_id: int,
    *,
    title: str,
    first_seen: datetime | None,
) -> Group:
    """Return the group with a number in a project, added or changed.

    :param title: empty leaves it as it is.
    :param first_seen: None leaves it as it is; of a new group, now.
    :raises RpcError: NOT_FOUND, for the project; ABORTED, when it is being deleted.
    """
    project = find_project(context, organization_id, project_id)
    given: dict[str, Any] = {"title": title} if title else {}
    if first_seen is not None:
        given["first_seen"] = first_seen
    unique = {"project_id": project.id, "short_id": short_id}
    statement = insert_new(Group, "uq_scm_group_short_id").values(**unique, **given)
    group = db.session.scalars(statement.returning(Group)).one_or_none()
    if group is None:
        group = db.session.scalars(sa.select(Group).filter_by(**unique).with_for_update()).one_or_none()
        if group is None:
            raise RpcError(StatusCode.ABORTED, f"group {short_id} of project {project_id} is being deleted; try again")
        for name, value in given.items():
            setattr(group, name, value)
    return group
