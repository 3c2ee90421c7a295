"""Rows in pages and streams: columns instead of mapped objects, in one query each, built once for each form of it."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import sqlalchemy as sa

from flask_grpcweb_scm.rpc import CallContext, RpcError, StatusCode
from flask_grpcweb_scm.scm.database.db import db
from flask_grpcweb_scm.scm.database.models import CodeMapping, Organization, Repository, RepositoryStatus
from flask_grpcweb_scm.scm.database.name_search import name_contains, name_pattern
from flask_grpcweb_scm.scm.queries.paging import Position
from flask_grpcweb_scm.scm.queries.tenancy import EXISTING, Statement, find_organization, find_project, visible

__all__ = [
    "RepositoryFilter",
    "page_of_code_mappings",
    "page_of_repositories",
    "repository_row",
    "stream_of_repositories",
]

RepositoryRow = Any
"""A row of what callers see of a repository, in the order of the fields of its message; its config as JSON text."""

CodeMappingRow = Any
"""A CodeMapping, or a row with attributes of the same names."""

STREAM_ROWS = 1000
"""Rows of a stream that are in memory at a time."""

# Columns of the tables, because those of the models cost a quarter more.
_repository = Repository.__table__.c
_organization = Organization.__table__.c
_REPOSITORY: Statement = sa.select(
    _repository.id,
    _repository.organization_id,
    _repository.name,
    _repository.url,
    _repository.provider,
    _repository.external_id,
    # As they come: a status is as good as its member, SQLite's dates are in UTC, and an empty config needs no parsing.
    sa.type_coerce(_repository.status, sa.String),
    sa.type_coerce(_repository.date_added, sa.DateTime),
    sa.cast(_repository.config, sa.Text),
)
_BY_NAME = (_repository.name, _repository.id)

_CODE_MAPPING: Statement = sa.select(
    CodeMapping.id,
    CodeMapping.organization_id,
    CodeMapping.project_id,
    CodeMapping.repository_id,
    CodeMapping.stack_root,
    CodeMapping.source_root,
    CodeMapping.default_branch,
    CodeMapping.automatically_generated,
)
_BY_PRECEDENCE = (CodeMapping.automatically_generated, -sa.func.length(CodeMapping.stack_root), CodeMapping.id)


def repository_row(context: CallContext, repository_id: int) -> RepositoryRow:
    """A repository of any organization, unless it is being deleted.

    :raises RpcError: NOT_FOUND.
    """
    statement = _REPOSITORY.join(Organization, Organization.id == _repository.organization_id)
    statement = statement.where(_repository.id == repository_id, EXISTING, visible(context))
    row: RepositoryRow | None = db.session.execute(statement).one_or_none()
    if row is None:
        raise RpcError(StatusCode.NOT_FOUND, f"repository {repository_id} does not exist")
    return row


@dataclass(frozen=True, slots=True)
class RepositoryFilter:
    """Which of an organization's active repositories are wanted."""

    organization_id: int
    providers: Sequence[str]
    """Spellings of the provider; empty for any."""
    query: str
    """A part of the name, in any case."""


class _Form(NamedTuple):
    """What a statement looks like, whatever its values are."""

    dialect: str
    of_caller: bool
    of_provider: bool
    with_name: bool
    from_position: bool


def page_of_repositories(
    context: CallContext, wanted: RepositoryFilter, *, after: Position | None, limit: int
) -> Sequence[RepositoryRow]:
    """Repositories in the order (name, id), from after a position on.

    :raises RpcError: NOT_FOUND, for the organization.
    """
    form, values = _form(context, wanted, after)
    rows = db.session.execute(_page(form), {**values, "limit": limit}).all()
    if not rows:
        find_organization(context, wanted.organization_id)
    return rows


def stream_of_repositories(context: CallContext, wanted: RepositoryFilter) -> Iterator[RepositoryRow]:
    """Repositories in the order (name, id), as they are at one instant, in constant memory.

    :raises RpcError: NOT_FOUND, for the organization.
    """
    form, values = _form(context, wanted, None)
    row = None
    # A cursor that is read as the rows are used; on PostgreSQL one of the server.
    with db.session.execute(_stream(form), values, execution_options={"yield_per": STREAM_ROWS}) as result:
        for row in result:
            yield row
    if row is None:
        find_organization(context, wanted.organization_id)


def _form(context: CallContext, wanted: RepositoryFilter, after: Position | None) -> tuple[_Form, dict[str, Any]]:
    """The form of the statement, and the values of its parameters."""
    values: dict[str, Any] = {"organization_id": wanted.organization_id}
    allowed = context.caller.organizations
    if allowed is not None:
        values["ids"] = [item for item in allowed if isinstance(item, int)]
        values["slugs"] = [item for item in allowed if isinstance(item, str)]
    if wanted.providers:
        values["providers"] = wanted.providers
    if wanted.query:
        values["pattern"] = name_pattern(wanted.query)
    if after is not None:
        values["after_name"], values["after_id"] = after
    dialect = db.engine.dialect.name
    return _Form(dialect, allowed is not None, bool(wanted.providers), bool(wanted.query), after is not None), values


@functools.cache
def _page(form: _Form) -> Statement:
    # PostgreSQL expects a tenth of all rows where a prepared statement leaves their number open, and so makes a plan at
    # every call. That is as well where the best plan depends on what is looked for.
    planned_once = form.dialect == "postgresql" and not (form.of_provider or form.with_name)
    limit = sa.bindparam("limit", type_=sa.Integer, literal_execute=planned_once)
    # Which rows it has is read from the index alone, and only they from the table.
    page = _restrict(sa.select(_repository.id), form).order_by(*_BY_NAME).limit(limit)
    if form.from_position:
        position = sa.bindparam("after_name", type_=sa.String), sa.bindparam("after_id", type_=sa.BigInteger)
        page = page.where(sa.tuple_(*_BY_NAME) > sa.tuple_(*position))
    chosen = page.subquery()
    return _REPOSITORY.join(chosen, chosen.c.id == _repository.id).order_by(*_BY_NAME)


@functools.cache
def _stream(form: _Form) -> Statement:
    return _restrict(_REPOSITORY, form).order_by(*_BY_NAME)


def _restrict(statement: Statement, form: _Form) -> Statement:
    organization_id = sa.bindparam("organization_id", type_=sa.BigInteger)
    statement = statement.where(
        _repository.organization_id == organization_id, _repository.status == RepositoryStatus.ACTIVE
    )
    if form.of_caller:
        allowed = sa.or_(
            _organization.id.in_(sa.bindparam("ids", expanding=True)),
            _organization.slug.in_(sa.bindparam("slugs", expanding=True)),
        )
        # Not a join: it is decided once, the order stays that of the index, and nothing is read for a stranger.
        statement = statement.where(sa.exists().where(_organization.id == organization_id, allowed))
    if form.of_provider:
        statement = statement.where(_repository.provider.in_(sa.bindparam("providers", expanding=True)))
    return statement.where(name_contains(sa.bindparam("pattern"), form.dialect)) if form.with_name else statement


def page_of_code_mappings(
    context: CallContext, organization_id: int, project_id: int, *, after: Position | None, limit: int
) -> Sequence[CodeMappingRow]:
    """A project's code mappings in order of precedence, from after a position on.

    :raises RpcError: NOT_FOUND, for the project.
    """
    project = find_project(context, organization_id, project_id)
    statement = _CODE_MAPPING.join(CodeMapping.repository).where(CodeMapping.project_id == project.id, EXISTING)
    if after is not None:
        statement = statement.where(sa.tuple_(*_BY_PRECEDENCE) > sa.tuple_(*after))
    return db.session.execute(statement.order_by(*_BY_PRECEDENCE).limit(limit)).all()
