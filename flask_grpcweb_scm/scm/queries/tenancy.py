"""The rule of tenancy: which rows a caller may see.

Every query decides whose a row is while it looks for it, so that a row of another tenant and one that does not exist
take the same time and end in the same error.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.orm import joinedload

from flask_grpcweb_scm.rpc import CallContext, RpcError, StatusCode
from flask_grpcweb_scm.scm.database.db import Model, db
from flask_grpcweb_scm.scm.database.models import (
    CodeMapping,
    ExternalIssue,
    GroupLink,
    IssueOperation,
    LinkedType,
    Organization,
    OrganizationIntegration,
    Project,
    Repository,
    RepositoryStatus,
)

__all__ = [
    "EXISTING",
    "VISIBLE",
    "VISIBLE_REPOSITORY",
    "find_installation",
    "find_one",
    "find_organization",
    "find_project",
    "find_repository",
    "installation_of",
    "installations_of",
    "visible",
    "visible_issue",
    "visible_mapping",
    "visible_repository",
    "visible_repository_values",
    "visible_values",
]

Row = TypeVar("Row", bound=Model)
Values = Sequence[Any] | sa.BindParameter[Any]
Scope = frozenset[int | str] | str | None
"""Ids and names, or the prefix of the parameters for both; None for all rows."""

NAMES: dict[type[Model], str] = {Organization: "slug", Project: "slug", Repository: "name"}
"""Columns that scopes name rows by, beside their ids."""
PREFIXES: dict[type[Model], str] = {Organization: "visible", Project: "project", Repository: "repository"}
"""Of the parameters for scopes."""

EXISTING = Repository.status.in_([RepositoryStatus.ACTIVE, RepositoryStatus.DISABLED, RepositoryStatus.HIDDEN])
"""Condition on a Repository: it is not being deleted."""


def _is_allowed(model: type[Model], ids: Values, names: Values, table: Any = None) -> sa.ColumnElement[bool]:
    columns = (model.__table__ if table is None else table).c
    return sa.or_(columns.id.in_(ids), columns[NAMES[model]].in_(names))


def _given(prefix: str) -> tuple[Values, Values]:
    ids = sa.bindparam(f"{prefix}_ids", expanding=True, type_=sa.BigInteger)
    return ids, sa.bindparam(f"{prefix}_names", expanding=True, type_=sa.String)


VISIBLE = _is_allowed(Organization, *_given(PREFIXES[Organization]))
"""Condition on an Organization: :func:`visible`, for a statement that is built once and run with `visible_values`."""
VISIBLE_REPOSITORY = _is_allowed(Repository, *_given(PREFIXES[Repository]))
"""Condition on a Repository, likewise with `visible_repository_values`."""


def visible(context: CallContext, *models: type[Model]) -> sa.ColumnElement[bool]:
    """Build the condition on an Organization that the caller may reach it, and on its rows of these models.

    :param models: of Project, Repository.
    """
    return _visible(_scopes(context), models)


def _visible(scopes: Mapping[type[Model], Scope], models: Sequence[type[Model]]) -> sa.ColumnElement[bool]:
    conditions = [
        _is_reached(scopes),
        *[_in_scope(model, scopes[model]) for model in models if scopes[model] is not None],
    ]
    return conditions[0] if len(conditions) == 1 else sa.and_(*conditions)


def _scopes(context: CallContext) -> dict[type[Model], Scope]:
    caller = context.caller
    return {Organization: caller.organizations, Project: caller.projects, Repository: caller.repositories}


def _is_reached(scopes: Mapping[type[Model], Scope]) -> sa.ColumnElement[bool]:
    """Build the condition on an Organization alone.

    A caller with a scope of rows, and none of organizations, reaches those that have one of its rows.
    """
    scopes_of_rows = [(model, scopes[model]) for model in (Project, Repository) if scopes[model] is not None]
    if scopes[Organization] is not None or not scopes_of_rows:
        return _in_scope(Organization, scopes[Organization])
    rows = [(model.__table__.alias(), model, scope) for model, scope in scopes_of_rows]
    return sa.or_(
        *[
            sa.exists()
            .where(row.c.organization_id == Organization.id, _is_allowed(model, *_parted(scope), row))
            .correlate(Organization)
            for row, model, scope in rows
        ]
    )


def _in_scope(model: type[Model], scope: Scope) -> sa.ColumnElement[bool]:
    return sa.true() if scope is None else _is_allowed(model, *_parted(scope))


def visible_repository(context: CallContext) -> sa.ColumnElement[bool]:
    """Build the condition on a Repository of an organization that the caller may reach."""
    return _in_scope(Repository, context.caller.repositories)


def visible_issue(context: CallContext, *, new: bool = False) -> sa.ColumnElement[bool]:
    """Build the condition on an ExternalIssue of an organization that the caller may reach.

    It belongs to the projects of the groups that it is linked to; before there are any, to the organization.

    :param new: whether to include those that are not linked yet.
    """
    if context.caller.projects is None:
        return sa.true()
    # By the projects, because links have no index by issues.
    project, link = Project.__table__.c, GroupLink.__table__.alias("link").c
    linked = sa.select(link.linked_id).where(link.linked_type == LinkedType.ISSUE)
    own = sa.select(project.id).where(_in_scope(Project, context.caller.projects))
    is_own = ExternalIssue.id.in_(linked.where(link.project_id.in_(own)))
    if not new:
        return is_own
    of_same = sa.select(project.id).where(project.organization_id == ExternalIssue.organization_id)
    any_link = linked.where(link.project_id.in_(of_same.correlate(ExternalIssue)), link.linked_id == ExternalIssue.id)
    return sa.or_(is_own, ~any_link.correlate(ExternalIssue).exists())


def visible_mapping(context: CallContext) -> sa.ColumnElement[bool]:
    """Build the condition on a CodeMapping of an organization that the caller may reach."""
    conditions: list[sa.ColumnElement[bool]] = []
    if context.caller.projects is not None:
        own = _in_scope(Project, context.caller.projects)
        conditions.append(sa.exists().where(Project.id == CodeMapping.project_id, own).correlate(CodeMapping))
    if context.caller.repositories is not None:
        own = _in_scope(Repository, context.caller.repositories)
        conditions.append(sa.exists().where(Repository.id == CodeMapping.repository_id, own).correlate(CodeMapping))
    return sa.and_(*conditions) if conditions else sa.true()


def visible_values(context: CallContext) -> dict[str, Any] | None:
    """Return the parameters of :data:`VISIBLE`; None for a caller who may reach every organization."""
    return _values(Organization, context.caller.organizations)


def visible_repository_values(context: CallContext) -> dict[str, Any] | None:
    """Return the parameters of :data:`VISIBLE_REPOSITORY`; None for one who may reach every repository."""
    return _values(Repository, context.caller.repositories)


def _values(model: type[Model], scope: Scope) -> dict[str, Any] | None:
    if scope is None:
        return None
    ids, names = _parted(scope)
    return {f"{PREFIXES[model]}_ids": ids, f"{PREFIXES[model]}_names": names}


def _parted(scope: Scope) -> tuple[Values, Values]:
    """Return the ids and the names in a scope."""
    if isinstance(scope, str):
        return _given(scope)
    allowed = scope or ()
    return [item for item in allowed if isinstance(item, int)], [item for item in allowed if isinstance(item, str)]


def find_one(statement: sa.Select[Row], missing: str, values: Mapping[str, Any] | None = None) -> Row:
    """Return the row of a statement that has the rule in it.

    :param missing: message of the error.
    :param values: the parameters of a statement that is built once.
    :raises RpcError: NOT_FOUND.
    """
    row = db.session.scalars(statement, values).one_or_none()
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
    statement = statement.where(Project.id == project_id, Organization.id == organization_id, visible(context, Project))
    return find_one(statement, f"project {project_id} does not exist in organization {organization_id}")


def find_repository(context: CallContext, repository_id: int, *, organization_id: int | None = None) -> Repository:
    """Return a repository of any organization, or of one, unless it is being deleted.

    :raises RpcError: NOT_FOUND.
    """
    scopes = _scopes(context)
    limited = frozenset(model for model, scope in scopes.items() if scope is not None)
    values: dict[str, Any] = {"id": repository_id, "organization_id": organization_id}
    for model in limited:
        values.update(_values(model, scopes[model]) or {})
    of_organization = "" if organization_id is None else f" in organization {organization_id}"
    missing = f"repository {repository_id} does not exist{of_organization}"
    return find_one(_repository_by_id(limited, organization_id is not None), missing, values)


@functools.cache
def _repository_by_id(limited: frozenset[type[Model]], of_organization: bool) -> sa.Select[Repository]:
    """Build the statement of :func:`find_repository` for callers with scopes of these models."""
    scopes = {model: PREFIXES[model] if model in limited else None for model in PREFIXES}
    statement = sa.select(Repository).join(Repository.organization)
    statement = statement.where(Repository.id == sa.bindparam("id"), EXISTING, _visible(scopes, [Repository]))
    return statement.where(Organization.id == sa.bindparam("organization_id")) if of_organization else statement


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
