"""Code mappings of a project, and the order of their precedence."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple, cast

import sqlalchemy as sa

from flask_grpcweb_scm.rpc import CallContext
from flask_grpcweb_scm.scm.database.db import db
from flask_grpcweb_scm.scm.database.models import CodeMapping, Repository
from flask_grpcweb_scm.scm.queries import is_one_of, select_row
from flask_grpcweb_scm.scm.queries.paging import Position
from flask_grpcweb_scm.scm.queries.tenancy import EXISTING, find_project, visible_mapping

__all__ = [
    "CodeMappingRow",
    "all_code_mappings",
    "code_mappings_with_roots",
    "page_of_code_mappings",
    "precedence",
    "stack_roots_of",
]


class CodeMappingRow(NamedTuple):
    """The columns of a CodeMapping that callers see."""

    id: int
    organization_id: int
    project_id: int
    repository_id: int
    stack_root: str
    source_root: str
    default_branch: str
    automatically_generated: bool


# Users' mappings before generated ones, then longer stack roots first: the same rule in SQL and in Python.
_PRECEDENCE = (CodeMapping.automatically_generated, CodeMapping.root_rank, CodeMapping.id)
# Not a join, for which PostgreSQL may read all repositories: this is looked up for each mapping that is read.
_OF_EXISTING = sa.select(EXISTING).where(Repository.id == CodeMapping.repository_id).correlate(CodeMapping)


def precedence(mapping: CodeMapping | CodeMappingRow) -> tuple[bool, int, int]:
    """Return the sort key of a code mapping: of those that cover a path the first one decides."""
    return mapping.automatically_generated, -len(mapping.stack_root), mapping.id or 0


def code_mappings_with_roots(
    context: CallContext, project_id: int, stack_roots: Collection[str]
) -> Sequence[CodeMapping]:
    """Return a project's code mappings with these stack roots in order of precedence.

    Those of repositories being deleted are left out, and of others than the caller's.
    """
    statement = sa.select(CodeMapping).where(CodeMapping.project_id == project_id, _OF_EXISTING.scalar_subquery())
    statement = statement.where(visible_mapping(context))
    statement = statement.where(is_one_of(CodeMapping.stack_root, [*stack_roots]))
    mappings: Sequence[CodeMapping] = db.session.scalars(statement.order_by(*_PRECEDENCE)).all()
    return mappings


def stack_roots_of(project_id: int) -> Collection[str]:
    """Return the stack roots of all code mappings of a project."""
    return set(db.session.scalars(sa.select(CodeMapping.stack_root).where(CodeMapping.project_id == project_id)))


def all_code_mappings(project_id: int) -> Sequence[CodeMapping]:
    """Return a project's code mappings in order of precedence, but those of repositories being deleted."""
    statement = sa.select(CodeMapping).where(CodeMapping.project_id == project_id, _OF_EXISTING.scalar_subquery())
    mappings: Sequence[CodeMapping] = db.session.scalars(statement.order_by(*_PRECEDENCE)).all()
    return mappings


def page_of_code_mappings(
    context: CallContext, organization_id: int, project_id: int, *, after: Position | None, limit: int
) -> Sequence[CodeMappingRow]:
    """Return a project's code mappings in order of precedence, beginning after a position.

    :raises RpcError: NOT_FOUND, for the project.
    """
    project = find_project(context, organization_id, project_id)
    row = select_row(CodeMappingRow, CodeMapping).add_columns(CodeMapping.root_rank)
    of_project = row.where(CodeMapping.project_id == project.id, _OF_EXISTING.scalar_subquery())
    of_project = of_project.where(visible_mapping(context))
    pages = [
        sa.select(of_project.where(part).order_by(*_PRECEDENCE).limit(limit).subquery()) for part in _parts_after(after)
    ]
    rows = sa.union_all(*pages).subquery("rows").c
    statement = sa.select(*[rows[name] for name in CodeMappingRow._fields])
    statement = statement.order_by(rows.automatically_generated, rows.root_rank, rows.id).limit(limit)
    return cast("Sequence[CodeMappingRow]", db.session.execute(statement).all())


def _parts_after(position: Position | None) -> list[sa.ColumnElement[bool]]:
    """Build conditions for the mappings after a position, of which an index has those of each in their order.

    For all of them at once, as a comparison of rows, SQLite would use the first column alone.
    """
    if position is None:
        return [sa.true()]
    generated, rank, row_id = position
    same_kind = CodeMapping.automatically_generated.is_(bool(generated))
    return [
        sa.and_(same_kind, CodeMapping.root_rank == rank, CodeMapping.id > row_id),
        sa.and_(same_kind, CodeMapping.root_rank > rank),
        *([] if generated else [CodeMapping.automatically_generated.is_(True)]),
    ]
