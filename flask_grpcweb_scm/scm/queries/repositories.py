"""Repositories: one, a page, a stream; columns instead of mapped objects, from statements that are built once."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, cast

import sqlalchemy as sa
from sqlalchemy.orm import joinedload

from flask_grpcweb_scm.rpc import CallContext, RpcError, StatusCode
from flask_grpcweb_scm.scm.database.db import db
from flask_grpcweb_scm.scm.database.models import Organization, Repository, RepositoryStatus
from flask_grpcweb_scm.scm.queries import Statement, select_row
from flask_grpcweb_scm.scm.queries.paging import Position
from flask_grpcweb_scm.scm.queries.tenancy import EXISTING, VISIBLE, find_organization, visible, visible_values
from flask_grpcweb_scm.scm.search import name_contains, name_pattern

__all__ = [
    "RepositoryFilter",
    "RepositoryRow",
    "active_repositories",
    "page_of_repositories",
    "repository_row",
    "stream_of_repositories",
]

STREAM_ROWS = 1000
"""Rows of a stream that are in memory at a time."""

_repository = Repository.__table__.c
_organization = Organization.__table__.c


class RepositoryRow(NamedTuple):
    """The columns of a Repository that callers see."""

    id: int
    organization_id: int
    name: str
    url: str
    provider: str
    external_id: str | None
    status: str
    """The value of a RepositoryStatus."""
    date_added: datetime
    """Instant in UTC; SQLite's have no time zone."""
    config: str
    """JSON, which is rarely more than ``{}``."""


_REPOSITORY = select_row(
    RepositoryRow,
    Repository,
    status=sa.type_coerce(_repository.status, sa.String),
    date_added=sa.type_coerce(_repository.date_added, sa.DateTime),
    config=sa.cast(_repository.config, sa.Text),
)
_BY_NAME = (_repository.name, _repository.id)


def repository_row(context: CallContext, repository_id: int) -> RepositoryRow:
    """Return a repository of any organization, unless it is being deleted.

    :raises RpcError: NOT_FOUND.
    """
    statement = _REPOSITORY.join(Organization.__table__, _organization.id == _repository.organization_id)
    statement = statement.where(_repository.id == repository_id, EXISTING, visible(context))
    row = cast("RepositoryRow | None", db.session.execute(statement).one_or_none())
    if row is None:
        raise RpcError(StatusCode.NOT_FOUND, f"repository {repository_id} does not exist")
    return row


@dataclass(frozen=True, slots=True)
class RepositoryFilter:
    """Conditions on an organization's active repositories."""

    organization_id: int
    providers: Sequence[str]
    """Spellings of the provider; empty for any."""
    query: str
    """A part of the name, in any case."""


def page_of_repositories(
    context: CallContext, wanted: RepositoryFilter, *, after: Position | None, limit: int
) -> Sequence[RepositoryRow]:
    """Return repositories in the order (name, id), beginning after a position.

    :raises RpcError: NOT_FOUND, for the organization.
    """
    key, values = _key_and_values(context, wanted, after)
    rows = cast("Sequence[RepositoryRow]", db.session.execute(_page(key), {**values, "limit": limit}).all())
    if not rows:
        find_organization(context, wanted.organization_id)
    return rows


def stream_of_repositories(context: CallContext, wanted: RepositoryFilter) -> Iterator[RepositoryRow]:
    """Yield repositories in the order (name, id), as they are at one instant, in constant memory.

    :raises RpcError: NOT_FOUND, for the organization.
    """
    key, values = _key_and_values(context, wanted, None)
    row = None
    # A cursor that is read as the rows are used; on PostgreSQL one of the server.
    with db.session.execute(_stream(key), values, execution_options={"yield_per": STREAM_ROWS}) as result:
        for row in cast("Iterable[RepositoryRow]", result):
            yield row
    if row is None:
        find_organization(context, wanted.organization_id)


class StatementKey(NamedTuple):
    """The conditions of a statement, without their values: one statement is built for each."""

    dialect: str
    restricted: bool
    """True for a caller who may reach some organizations only."""
    of_provider: bool
    with_name: bool
    from_position: bool


def _key_and_values(
    context: CallContext, wanted: RepositoryFilter, after: Position | None
) -> tuple[StatementKey, dict[str, Any]]:
    visible = visible_values(context)
    values: dict[str, Any] = {"organization_id": wanted.organization_id, **(visible or {})}
    if wanted.providers:
        values["providers"] = wanted.providers
    if wanted.query:
        values["pattern"] = name_pattern(wanted.query)
    if after is not None:
        values["after_name"], values["after_id"] = after
    key = StatementKey(
        dialect=db.engine.dialect.name,
        restricted=visible is not None,
        of_provider=bool(wanted.providers),
        with_name=bool(wanted.query),
        from_position=after is not None,
    )
    return key, values


@functools.cache
def _page(key: StatementKey) -> Statement:
    # PostgreSQL expects a tenth of all rows where a prepared statement leaves their number open, and so makes a plan at
    # every call. That is better only where the best plan depends on the values.
    planned_once = key.dialect == "postgresql" and not (key.of_provider or key.with_name)
    limit = sa.bindparam("limit", type_=sa.Integer, literal_execute=planned_once)
    # The rows of a page are chosen from the index alone, and only they are read from the table.
    page = _restrict(sa.select(_repository.id), key).order_by(*_BY_NAME).limit(limit)
    if key.from_position:
        position = sa.bindparam("after_name", type_=sa.String), sa.bindparam("after_id", type_=sa.BigInteger)
        page = page.where(sa.tuple_(*_BY_NAME) > sa.tuple_(*position))
    chosen = page.subquery()
    return _REPOSITORY.join(chosen, chosen.c.id == _repository.id).order_by(*_BY_NAME)


@functools.cache
def _stream(key: StatementKey) -> Statement:
    return _restrict(_REPOSITORY, key).order_by(*_BY_NAME)


def _restrict(statement: Statement, key: StatementKey) -> Statement:
    organization_id = sa.bindparam("organization_id", type_=sa.BigInteger)
    statement = statement.where(
        _repository.organization_id == organization_id, _repository.status == RepositoryStatus.ACTIVE
    )
    if key.restricted:
        # Not a join: it is decided once, the order stays that of the index, and nothing is read for a stranger.
        statement = statement.where(sa.exists().where(_organization.id == organization_id, VISIBLE))
    if key.of_provider:
        statement = statement.where(_repository.provider.in_(sa.bindparam("providers", expanding=True)))
    return statement.where(name_contains(sa.bindparam("pattern"), key.dialect)) if key.with_name else statement


@functools.cache  # not at the import, because a relationship configures the mappers, of the app's own models too
def _active() -> Statement:
    readable = sa.or_(Repository.mirror_path.is_not(None), Repository.integration_id.is_not(None))
    active = sa.and_(
        Repository.organization_id == sa.bindparam("organization_id"), Repository.status == RepositoryStatus.ACTIVE
    )
    statement = sa.select(Repository).options(joinedload(Repository.integration))
    return statement.where(active, readable).order_by(Repository.id)


def active_repositories(organization_id: int) -> Sequence[Repository]:
    """Return an organization's active repositories that have a source, oldest first."""
    rows: Sequence[Repository] = db.session.scalars(_active(), {"organization_id": organization_id}).all()
    return rows
