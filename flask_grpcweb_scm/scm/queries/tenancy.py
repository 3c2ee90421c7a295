"""The rule of tenancy: which rows a caller may see.

Every query decides whose a row is while it looks for it, so that a row of another tenant and one that does not exist
take the same time and end in the same error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.orm import joinedload

from flask_grpcweb_scm.rpc import CallContext, RpcError, StatusCode
from flask_grpcweb_scm.scm.database.db import Model, db
from flask_grpcweb_scm.scm.database.models import (
    ExternalIssue,
    IssueOperation,
    Organization,
    OrganizationIntegration,
    Project,
    Repository,
    RepositoryStatus,
)

__all__ = [
    "EXISTING",
    "VISIBLE",
    "find_installation",
    "find_one",
    "find_organization",
    "find_project",
    "find_repository",
    "installation_of",
    "installations_of",
    "visible",
    "visible_values",
]

Row = TypeVar("Row", bound=Model)
Values = Sequence[Any] | sa.BindParameter[Any]

EXISTING = Repository.status.in_([RepositoryStatus.ACTIVE, RepositoryStatus.DISABLED, RepositoryStatus.HIDDEN])
"""Condition on a Repository: it is not being deleted."""


def _is_allowed(ids: Values, slugs: Values) -> sa.ColumnElement[bool]:
    organization = Organization.__table__.c
    return sa.or_(organization.id.in_(ids), organization.slug.in_(slugs))


VISIBLE = _is_allowed(
    sa.bindparam("visible_ids", expanding=True), sa.bindparam("visible_slugs", expanding=True, type_=sa.String)
)
"""Condition on an Organization: :func:`visible`, for a statement that is built once and run with `visible_values`."""


def visible(context: CallContext) -> sa.ColumnElement[bool]:
    """Build the condition on an Organization that the caller may reach it."""
    values = visible_values(context)
    return sa.true() if values is None else _is_allowed(values["visible_ids"], values["visible_slugs"])


def visible_values(context: CallContext) -> dict[str, Any] | None:
    """Return the parameters of :data:`VISIBLE`; None for a caller who may reach every organization."""
    allowed = context.caller.organizations
    if allowed is None:
        return None
    return {
        "visible_ids": [item for item in allowed if isinstance(item, int)],
        "visible_slugs": [item for item in allowed if isinstance(item, str)],
    }


def find_one(statement: sa.Select[Row], missing: str) -> Row:
    """Return the row of a statement that has the rule in it.

    :param missing: message of the error.
    :raises RpcError: NOT_FOUND.
    """
    row = db.session.scalars(statement).one_or_none()
    if row is None:
        raise RpcError(StatusCode.NOT_FOUND, missing)
    return row


def find_organization(context: CallContext, organization_id: int) -> Organization:
    """Return an organization by id.

    :raises RpcError: NOT_FOUND.
    """
    statement = sa.select(Organization).where(Organization.id == organization_id, visible(context))
    return find_one(statement, f"organization {organization_id} does not exist")


def find_project(context: CallContext, organization_id: int, project_id: int) -> Project:
    """Return a project of an organization.

    :raises RpcError: NOT_FOUND.
    """
    statement = sa.select(Project).join(Project.organization)
    statement = statement.where(Project.id == project_id, Organization.id == organization_id, visible(context))
    return find_one(statement, f"project {project_id} does not exist in organization {organization_id}")


def find_repository(context: CallContext, repository_id: int, *, organization_id: int | None = None) -> Repository:
    """Return a repository of any organization, or of one, unless it is being deleted.

    :raises RpcError: NOT_FOUND.
    """
    statement = sa.select(Repository).join(Repository.organization)
    statement = statement.where(Repository.id == repository_id, EXISTING, visible(context))
    if organization_id is None:
        return find_one(statement, f"repository {repository_id} does not exist")
    statement = statement.where(Organization.id == organization_id)
    return find_one(statement, f"repository {repository_id} does not exist in organization {organization_id}")


def find_installation(context: CallContext, organization_id: int, integration_id: int) -> OrganizationIntegration:
    """Return an integration as it is installed in an organization, with the integration itself.

    :raises RpcError: NOT_FOUND.
    """
    statement = sa.select(OrganizationIntegration).join(OrganizationIntegration.organization)
    statement = statement.options(joinedload(OrganizationIntegration.integration))
    pair = sa.and_(Organization.id == organization_id, OrganizationIntegration.integration_id == integration_id)
    return find_one(
        statement.where(pair, visible(context)),
        f"integration {integration_id} is not installed in organization {organization_id}",
    )


def installation_of(row: ExternalIssue | IssueOperation | Repository) -> OrganizationIntegration | None:
    """Return the integration of a row as it is installed in the row's organization; None if it is not, or no longer."""
    statement = sa.select(OrganizationIntegration).options(joinedload(OrganizationIntegration.integration))
    same = [
        OrganizationIntegration.organization_id == row.organization_id,
        OrganizationIntegration.integration_id == row.integration_id,
    ]
    return db.session.scalars(statement.where(*same)).one_or_none()


def installations_of(organization_id: int) -> Mapping[int, OrganizationIntegration]:
    """Return all integrations of an organization as they are installed there, by the integration's id."""
    statement = sa.select(OrganizationIntegration).options(joinedload(OrganizationIntegration.integration))
    rows = db.session.scalars(statement.where(OrganizationIntegration.organization_id == organization_id))
    return {row.integration_id: row for row in rows}
