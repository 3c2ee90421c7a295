"""Repositories: one, a page, a stream; columns instead of mapped objects, from statements that are built once."""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, cast

import sqlalchemy as sa

from flask_grpcweb_scm.rpc import CallContext, RpcError, StatusCode
from flask_grpcweb_scm.scm.database.db import db, release_connection
from flask_grpcweb_scm.scm.database.models import Organization, Repository, RepositoryStatus
from flask_grpcweb_scm.scm.queries import Statement, is_one_of, select_row
from flask_grpcweb_scm.scm.queries.paging import Position
from flask_grpcweb_scm.scm.queries.tenancy import (
    EXISTING,
    VISIBLE,
    VISIBLE_REPOSITORY,
    find_organization,
    visible,
    visible_repository,
    visible_repository_values,
    visible_values,
)
from flask_grpcweb_scm.scm.search import name_contains, name_pattern

__all__ = [
    "RepositoryFilter",
    "RepositoryRow",
    "page_of_repositories",
    "repositories_by_id",
    "repositories_to_search",
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
    statement = statement.where(_repository.id == repository_id, EXISTING, visible(context, Repository))
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
    """Yield repositories in the order (name, id): once each that is there, with this name, from beginning to end.

    Page by page, each in a transaction of its own: whoever reads slowly keeps no connection from others, and no version
    of any row alive.

    :raises RpcError: NOT_FOUND, for the organization.
    """
    after: Position | None = None
    while True:
        key, values = _key_and_values(context, wanted, after)
        rows = cast("Sequence[RepositoryRow]", db.session.execute(_page(key), {**values, "limit": STREAM_ROWS}).all())
        if not rows and after is None:
            find_organization(context, wanted.organization_id)
        release_connection()
        yield from rows
        if len(rows) < STREAM_ROWS:
            return
        after = rows[-1].name, rows[-1].id


class StatementKey(NamedTuple):
    """The conditions of a statement, without their values: one statement is built for each."""

    dialect: str
    restricted: bool
    """True for a caller who may reach some organizations only."""
    of_repositories: bool
    """True for one who may reach some of their repositories only."""
    providers: int
    """Number of spellings of the provider; 0 for any provider."""
    with_name: bool
    from_position: bool


def _key_and_values(
    context: CallContext, wanted: RepositoryFilter, after: Position | None
) -> tuple[StatementKey, dict[str, Any]]:
    if context.caller.organizations is None and context.caller.projects is not None:
        # It reaches the organizations of its projects, which the statements below do not know.
        find_organization(context, wanted.organization_id)
    organizations, repositories = visible_values(context), visible_repository_values(context)
    values: dict[str, Any] = {
        "organization_id": wanted.organization_id,
        **(organizations or {}),
        **(repositories or {}),
    }
    values.update({f"provider_{number}": spelling for number, spelling in enumerate(wanted.providers)})
    if wanted.query:
        values["pattern"] = name_pattern(wanted.query)
    if after is not None:
        values["after_name"], values["after_id"] = after
    key = StatementKey(
        dialect=db.engine.dialect.name,
        restricted=organizations is not None,
        of_repositories=repositories is not None,
        providers=len(wanted.providers),
        with_name=bool(wanted.query),
        from_position=after is not None,
    )
    return key, values


@functools.cache
def _page(key: StatementKey) -> Statement:
    # PostgreSQL expects a tenth of all rows where a prepared statement leaves their number open, and so makes a plan at
    # every call. That is better only where the best plan depends on the values.
    planned_once = key.dialect == "postgresql" and not key.with_name
    limit = sa.bindparam("limit", type_=sa.Integer, literal_execute=planned_once)
    # The rows of a page are chosen from an index alone, and only they are read from the table.
    page = _after(_restrict(sa.select(_repository.id, _repository.name), key), key).order_by(*_BY_NAME).limit(limit)
    if key.providers:
        # For each spelling a page of its own, of which the index has the order; with both it has none.
        pages = [page.where(_repository.provider == provider).subquery() for provider in _spellings(key)]
        rows = sa.union_all(*[sa.select(each) for each in pages]).subquery()
        page = sa.select(rows.c.id).order_by(rows.c.name, rows.c.id).limit(limit)
    chosen = page.subquery()
    return _REPOSITORY.join(chosen, chosen.c.id == _repository.id).order_by(*_BY_NAME)


def _after(statement: Statement, key: StatementKey) -> Statement:
    if not key.from_position:
        return statement
    position = sa.bindparam("after_name", type_=sa.String), sa.bindparam("after_id", type_=sa.BigInteger)
    return statement.where(sa.tuple_(*_BY_NAME) > sa.tuple_(*position))


def _spellings(key: StatementKey) -> list[sa.BindParameter[str]]:
    return [sa.bindparam(f"provider_{number}", type_=sa.String) for number in range(key.providers)]


def _restrict(statement: Statement, key: StatementKey) -> Statement:
    organization_id = sa.bindparam("organization_id", type_=sa.BigInteger)
    statement = statement.where(
        _repository.organization_id == organization_id, _repository.status == RepositoryStatus.ACTIVE
    )
    if key.restricted:
        # Not a join: it is decided once, the order stays that of the index, and nothing is read for a stranger.
        statement = statement.where(sa.exists().where(_organization.id == organization_id, VISIBLE))
    if key.of_repositories:
        statement = statement.where(VISIBLE_REPOSITORY)
    return statement.where(name_contains(sa.bindparam("pattern"), key.dialect)) if key.with_name else statement


def repositories_to_search(
    context: CallContext,
    organization_id: int,
    integration_ids: Collection[int],
    *,
    only: Collection[int] | None = None,
) -> Sequence[Repository]:
    """Return repositories that have a mirror or one of these integrations, and that the caller may reach.

    :param organization_id: of an organization that the caller may reach. The oldest repository comes first.
    :param only: ids of repositories, which may be disabled; None for all active ones.
    """
    wanted = sa.select(Repository).where(
        Repository.organization_id == organization_id,
        Repository.status == RepositoryStatus.ACTIVE if only is None else EXISTING,
        visible_repository(context),
    )
    if only is not None:
        wanted = wanted.where(is_one_of(Repository.id, [*only]))
    is_mirrored = sa.or_(Repository.mirror_path.is_not(None), Repository.mirror_fetched_at.is_not(None))
    found = {row.id: row for row in db.session.scalars(wanted.where(is_mirrored))}
    if integration_ids:
        integrated = wanted.where(is_one_of(Repository.integration_id, [*integration_ids]))
        found.update({row.id: row for row in db.session.scalars(integrated)})
    return [found[row_id] for row_id in sorted(found)]


def repositories_by_id(
    context: CallContext, organization_id: int, repository_ids: Collection[int]
) -> dict[int, Repository]:
    """Return those of these repositories that are the organization's, and that the caller may reach, by id.

    :param organization_id: of an organization that the caller may reach.
    """
    wanted = sa.select(Repository).where(
        Repository.organization_id == organization_id, EXISTING, visible_repository(context)
    )
    rows = db.session.scalars(wanted.where(is_one_of(Repository.id, [*repository_ids])))
    return {row.id: row for row in rows}
