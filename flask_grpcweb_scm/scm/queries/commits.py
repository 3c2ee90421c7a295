"""Stored commits, their authors, and the files they changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

import sqlalchemy as sa
from sqlalchemy.orm import joinedload

from flask_grpcweb_scm.scm.database.db import db
from flask_grpcweb_scm.scm.database.models import Commit, CommitAuthor, CommitFileChange, Repository
from flask_grpcweb_scm.scm.queries import select_row

__all__ = [
    "AuthorRow",
    "LastChange",
    "find_author",
    "find_commit",
    "find_commits_starting_with",
    "last_change_of_file",
]


class AuthorRow(NamedTuple):
    """The columns of a CommitAuthor that callers see."""

    name: str
    email: str | None
    external_id: str | None


_AUTHOR = select_row(AuthorRow, CommitAuthor)
_AUTHOR_OF_COMMIT = _AUTHOR.join(Commit, Commit.author_id == CommitAuthor.id).where(
    Commit.repository_id == sa.bindparam("repository_id"), Commit.key == sa.bindparam("sha")
)
_AUTHOR_WITH_EMAIL = _AUTHOR.where(
    CommitAuthor.organization_id == sa.bindparam("organization_id"), CommitAuthor.email == sa.bindparam("email")
)


class LastChange(NamedTuple):
    """A commit that changed a file."""

    commit: Commit
    kind: str
    """A added, D deleted, M modified."""


def find_commit(repository: Repository, sha: str) -> Commit | None:
    """Return the stored commit with a full SHA, and its author."""
    statement = sa.select(Commit).options(joinedload(Commit.author))
    return db.session.scalars(statement.where(Commit.repository_id == repository.id, Commit.key == sha)).one_or_none()


def find_commits_starting_with(repository: Repository, prefix: str) -> Sequence[str]:
    """Return up to two SHAs of stored commits, which is enough to know whether a prefix is ambiguous."""
    # A range, because SQLite uses no index for LIKE; "g" sorts after every hexadecimal digit.
    between = sa.and_(Commit.key >= prefix, Commit.key < prefix + "g")
    return db.session.scalars(
        sa.select(Commit.key).where(Commit.repository_id == repository.id, between).limit(2)
    ).all()


def find_author(repository: Repository, sha: str, email: str) -> AuthorRow | None:
    """Return the author of a stored commit, else the organization's author with an e-mail address."""
    values: dict[str, object] = {"repository_id": repository.id, "sha": sha}
    row = db.session.execute(_AUTHOR_OF_COMMIT, values).one_or_none()
    if row is None:
        values = {"organization_id": repository.organization_id, "email": email}
        row = db.session.execute(_AUTHOR_WITH_EMAIL, values).one_or_none()
    return cast("AuthorRow | None", row)


def last_change_of_file(commit: Commit, path: str) -> LastChange | None:
    """Return the newest stored commit, at or before another by date, that changed a file."""
    statement = (
        sa.select(Commit, CommitFileChange.type)
        .join(CommitFileChange)
        .options(joinedload(Commit.author))
        .where(
            Commit.repository_id == commit.repository_id,
            Commit.date_added <= commit.date_added,
            CommitFileChange.filename == path,
        )
        # Of commits in the same second the given one is the newest.
        .order_by(Commit.date_added.desc(), sa.case((Commit.id == commit.id, 0), else_=1), Commit.id.desc())
        .limit(1)
    )
    row = db.session.execute(statement).one_or_none()
    return None if row is None else LastChange(row[0], row[1])
