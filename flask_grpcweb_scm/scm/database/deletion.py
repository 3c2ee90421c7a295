"""Deletion of a row with all that depends on it, in batches.

A cascade of foreign keys would be one statement for millions of rows, and a database of an app's own may have none.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from flask_grpcweb_scm.scm.database.db import Model, database_now, db
from flask_grpcweb_scm.scm.database.models import (
    CodeMapping,
    Commit,
    CommitAuthor,
    CommitFileChange,
    ExternalIssue,
    Group,
    GroupLink,
    Integration,
    IssueOperation,
    Job,
    LinkedType,
    Organization,
    OrganizationIntegration,
    Project,
    Repository,
    RepositoryStatus,
)
from flask_grpcweb_scm.scm.database.values import SYNC_REPOSITORY

__all__ = ["Dependents", "count", "delete_with", "dependents_of"]

BATCH_ROWS = 10_000


class Dependents(NamedTuple):
    """Rows of one table that depend on a row."""

    name: str
    """In the plural."""
    model: type[Model]
    where: sa.ColumnElement[bool]
    is_kept: bool = False
    """True for repositories that only lose their integration."""


def dependents_of(row: Model) -> list[Dependents]:
    """Return what is to be deleted before a row, in that order."""
    if isinstance(row, Repository):
        return _of_repositories(Repository.id == row.id)
    if isinstance(row, Group):
        return [Dependents("links", GroupLink, GroupLink.group_id == row.id)]
    if isinstance(row, Project):
        return _of_projects(Project.id == row.id)
    if isinstance(row, OrganizationIntegration):
        mine = {"organization_id": row.organization_id, "integration_id": row.integration_id}
        repositories = _equal(Repository, **mine)
        return [*_of_issues(**mine), Dependents("repositories", Repository, repositories, is_kept=True)]
    assert isinstance(row, Organization)
    mine = {"organization_id": row.id}
    repositories = _equal(Repository, **mine)
    return [
        *_of_projects(_equal(Project, **mine)),
        Dependents("projects", Project, _equal(Project, **mine)),
        *_of_issues(**mine),
        *_of_repositories(repositories),
        Dependents("repositories", Repository, repositories),
        Dependents("jobs", Job, _equal(Job, **mine)),
        Dependents("authors", CommitAuthor, _equal(CommitAuthor, **mine)),
        Dependents("integrations", OrganizationIntegration, _equal(OrganizationIntegration, **mine)),
    ]


def _of_projects(which: sa.ColumnElement[bool]) -> list[Dependents]:
    ids = sa.select(Project.id).where(which).scalar_subquery()
    return [
        Dependents("links", GroupLink, GroupLink.project_id.in_(ids)),
        Dependents("groups", Group, Group.project_id.in_(ids)),
        Dependents("code mappings", CodeMapping, CodeMapping.project_id.in_(ids)),
    ]


def _of_repositories(which: sa.ColumnElement[bool]) -> list[Dependents]:
    ids = sa.select(Repository.id).where(which).scalar_subquery()
    return [
        Dependents("code mappings", CodeMapping, CodeMapping.repository_id.in_(ids)),
        Dependents("file changes", CommitFileChange, CommitFileChange.repository_id.in_(ids)),
        Dependents("commits", Commit, Commit.repository_id.in_(ids)),
    ]


def _of_issues(**mine: int) -> list[Dependents]:
    issues = _equal(ExternalIssue, **mine)
    linked = GroupLink.linked_id.in_(sa.select(ExternalIssue.id).where(issues).scalar_subquery())
    return [
        Dependents("links", GroupLink, sa.and_(GroupLink.linked_type == LinkedType.ISSUE, linked)),
        Dependents("operations", IssueOperation, _equal(IssueOperation, **mine)),
        Dependents("issues", ExternalIssue, issues),
    ]


def _equal(model: type[Model], **values: int) -> sa.ColumnElement[bool]:
    return sa.and_(*[model.__table__.c[name] == value for name, value in values.items()])


def count(dependents: Sequence[Dependents]) -> dict[str, int]:
    """Return how many rows there are of each name, without those that have none."""
    counts: dict[str, int] = {}
    for name, model, where, _ in dependents:
        number = db.session.scalar(sa.select(sa.func.count()).select_from(model).where(where)) or 0
        counts[name] = counts.get(name, 0) + number
    return {name: number for name, number in counts.items() if number}


def delete_with(row: Model, dependents: Sequence[Dependents]) -> Iterator[int]:
    """Delete rows that depend on a row, and then itself; yield the size of each batch after its commit.

    Callers see no repository of it from the beginning on. After an interruption the next deletion goes on.
    """
    if isinstance(row, Repository | Organization):
        mine = Repository.id == row.id if isinstance(row, Repository) else Repository.organization_id == row.id
        gone = RepositoryStatus.DELETION_IN_PROGRESS
        deque(_change(Repository, sa.and_(mine, Repository.status != gone), status=gone), maxlen=0)
    integration_ids: list[int] = []
    if isinstance(row, OrganizationIntegration | Organization):
        key = "organization_id" if isinstance(row, Organization) else "id"
        installed = sa.select(OrganizationIntegration.integration_id).filter_by(**{key: row.id})
        integration_ids = [*db.session.scalars(installed)]
    for _, model, where, is_kept in dependents:
        yield from _change(model, where, integration_id=None) if is_kept else _change(model, where)
    if isinstance(row, Repository):
        # A worker deletes its mirror, and the job; should the next row have its id, then nothing of this one is left.
        anew = {"due_at": database_now(), "not_before": None, "attempts": 0, "error": "", "succeeded_at": None}
        job = sa.update(Job).where(Job.kind == SYNC_REPOSITORY, Job.subject_id == row.id)
        db.session.execute(job.values({**anew, "requests": Job.requests + 1}))
    db.session.delete(row)
    db.session.flush()
    is_installed = sa.exists().where(OrganizationIntegration.integration_id == Integration.id)
    unused = sa.delete(Integration).where(Integration.id.in_(integration_ids), ~is_installed)
    db.session.execute(unused.execution_options(synchronize_session=False))
    db.session.commit()


def _change(model: type[Model], where: sa.ColumnElement[bool], **values: Any) -> Iterator[int]:
    """Update rows, or delete them without values, batch by batch until the condition holds for none."""
    table: Any = model.__table__
    columns = [*table.primary_key]
    key = columns[0] if len(columns) == 1 else sa.tuple_(*columns)
    batch = key.in_(sa.select(*columns).where(where).limit(BATCH_ROWS))
    statement = sa.update(table).where(batch).values(values) if values else sa.delete(table).where(batch)
    while True:
        done: Any = db.session.execute(statement)
        db.session.commit()
        if done.rowcount == 0:
            return
        yield done.rowcount
