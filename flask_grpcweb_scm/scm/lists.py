"""Rows in pages and streams: columns instead of mapped objects, in one query each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from flask_grpcweb_scm.rpc import CallContext, RpcError, StatusCode
from flask_grpcweb_scm.scm.conversion import CodeMappingRow, RepositoryRow
from flask_grpcweb_scm.scm.db import db
from flask_grpcweb_scm.scm.models import CodeMapping, Organization, Repository, RepositoryStatus
from flask_grpcweb_scm.scm.paging import Position
from flask_grpcweb_scm.scm.queries import EXISTING, find_organization, find_project, visible
from flask_grpcweb_scm.scm.search import name_contains

__all__ = [
    "RepositoryFilter",
    "page_of_code_mappings",
    "page_of_repositories",
    "repository_row",
    "stream_of_repositories",
]

STREAM_ROWS = 1000
"""Rows of a stream that are in memory at a time."""

# SQLAlchemy 2.0 and 2.1 name the types of a statement's columns in different ways.
Statement = Any

_REPOSITORY: Statement = sa.select(
    Repository.id,
    Repository.organization_id,
    Repository.name,
    Repository.url,
    Repository.provider,
    Repository.external_id,
    Repository.status,
    Repository.date_added,
    # It is empty as a rule: most need no parsing.
    sa.cast(Repository.config, sa.Text).label("config"),
)
_BY_NAME = (Repository.name, Repository.id)

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
    statement = _REPOSITORY.join(Repository.organization).where(Repository.id == repository_id, EXISTING)
    row: RepositoryRow | None = db.session.execute(statement.where(visible(context))).one_or_none()
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

    def __call__(self, statement: Statement, context: CallContext) -> Statement:
        """The statement with its repositories restricted to these, as far as the caller may see them."""
        statement = statement.where(
            Repository.organization_id == self.organization_id,
            Repository.status == RepositoryStatus.ACTIVE,
            # Not a join: it is decided once, the order stays that of the index, and nothing is read for a stranger.
            sa.exists().where(Organization.id == self.organization_id, visible(context)),
        )
        if self.providers:
            statement = statement.where(Repository.provider.in_(self.providers))
        return statement.where(name_contains(self.query)) if self.query else statement


def page_of_repositories(
    context: CallContext, wanted: RepositoryFilter, *, after: Position | None, limit: int
) -> Sequence[RepositoryRow]:
    """Repositories in the order (name, id), from after a position on.

    :raises RpcError: NOT_FOUND, for the organization.
    """
    # Which rows those are is read from the index alone, and only they from the table.
    page = wanted(sa.select(Repository.id), context).order_by(*_BY_NAME).limit(limit)
    if after is not None:
        page = page.where(sa.tuple_(*_BY_NAME) > sa.tuple_(*after))
    chosen = page.subquery()
    rows = db.session.execute(_REPOSITORY.join(chosen, chosen.c.id == Repository.id).order_by(*_BY_NAME)).all()
    if not rows:
        find_organization(context, wanted.organization_id)
    return rows


def stream_of_repositories(context: CallContext, wanted: RepositoryFilter) -> Iterator[RepositoryRow]:
    """Repositories in the order (name, id), as they are at one instant, in constant memory.

    :raises RpcError: NOT_FOUND, for the organization.
    """
    statement = wanted(_REPOSITORY, context).order_by(*_BY_NAME)
    row = None
    # A cursor that is read as the rows are used; on PostgreSQL one of the server.
    with db.session.execute(statement, execution_options={"yield_per": STREAM_ROWS}) as result:
        for row in result:
            yield row
    if row is None:
        find_organization(context, wanted.organization_id)


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
