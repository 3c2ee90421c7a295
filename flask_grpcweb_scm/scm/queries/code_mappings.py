"""Code mappings of a project, and the order of their precedence."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple, cast

import sqlalchemy as sa

from flask_grpcweb_scm.rpc import CallContext
from flask_grpcweb_scm.scm.database.db import db
from flask_grpcweb_scm.scm.database.models import CodeMapping, Repository
from flask_grpcweb_scm.scm.queries import select_row
from flask_grpcweb_scm.scm.queries.paging import Position
from flask_grpcweb_scm.scm.queries.tenancy import EXISTING, find_project

__all__ = ["CodeMappingRow", "code_mappings_of", "code_mappings_with_roots", "page_of_code_mappings", "precedence"]


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
_PRECEDENCE = (CodeMapping.automatically_generated, -sa.func.length(CodeMapping.stack_root), CodeMapping.id)


def precedence(mapping: CodeMapping | CodeMappingRow) -> tuple[bool, int, int]:
    """Return the sort key of a code mapping: of those that cover a path the first one decides."""
    return mapping.automatically_generated, -len(mapping.stack_root), mapping.id or 0


_OF_PROJECT = (
    sa.select(CodeMapping)
    .join(Repository, Repository.id == CodeMapping.repository_id)
    .where(CodeMapping.project_id == sa.bindparam("project_id"), EXISTING)
    .order_by(*_PRECEDENCE)
)


def code_mappings_of(project_id: int) -> Sequence[CodeMapping]:
    """Return a project's code mappings in order of precedence, without those of repositories being deleted."""
    mappings: Sequence[CodeMapping] = db.session.scalars(_OF_PROJECT, {"project_id": project_id}).all()
    return mappings


def code_mappings_with_roots(project_id: int, stack_roots: Collection[str]) -> Sequence[CodeMapping]:
    """Return those of :func:`code_mappings_of` that have one of these stack roots."""
    statement = _OF_PROJECT.where(CodeMapping.stack_root.in_(stack_roots))
    mappings: Sequence[CodeMapping] = db.session.scalars(statement, {"project_id": project_id}).all()
    return mappings


def page_of_code_mappings(
    context: CallContext, organization_id: int, project_id: int, *, after: Position | None, limit: int
) -> Sequence[CodeMappingRow]:
    """Return a project's code mappings in order of precedence, beginning after a position.

    :raises RpcError: NOT_FOUND, for the project.
    """
    project = find_project(context, organization_id, project_id)
    statement = select_row(CodeMappingRow, CodeMapping).join(Repository, Repository.id == CodeMapping.repository_id)
    statement = statement.where(CodeMapping.project_id == project.id, EXISTING)
    if after is not None:
        statement = statement.where(sa.tuple_(*_PRECEDENCE) > sa.tuple_(*after))
    rows = db.session.execute(statement.order_by(*_PRECEDENCE).limit(limit)).all()
    return cast("Sequence[CodeMappingRow]", rows)
