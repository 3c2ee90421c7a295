"""Stored commits, their authors, and the files they changed: one statement for any number of them."""

from __future__ import annotations

import functools
import json
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple, cast

import sqlalchemy as sa
from sqlalchemy.orm import joinedload

from flask_grpcweb_scm.scm.database.db import db
from flask_grpcweb_scm.scm.database.models import Commit, CommitAuthor, CommitFileChange, Repository
from flask_grpcweb_scm.scm.queries import Statement, is_one_of, json_columns, select_row

__all__ = [
    "AuthorRow",
    "LastChange",
    "find_authors",
    "find_commit",
    "find_commits_starting_with",
    "last_changes",
]


class AuthorRow(NamedTuple):
    """The columns of a CommitAuthor that callers see."""

    name: str
    email: str | None
    external_id: str | None


_AUTHOR = select_row(AuthorRow, CommitAuthor)


class LastChange(NamedTuple):
    """The change of a file by the last commit that changed it."""

    sha: str
    kind: str
    """A added, D deleted, M modified."""
    author: AuthorRow | None


def find_commit(repository: Repository, sha: str) -> Commit | None:
    """Return the stored commit with a full SHA, and its author."""
    statement = sa.select(Commit).options(joinedload(Commit.author))
    return db.session.scalars(statement.where(Commit.repository_id == repository.id, Commit.key == sha)).one_or_none()


def find_commits_starting_with(repository: Repository, prefixes: Collection[str]) -> Mapping[str, Sequence[str]]:
    """Return the SHAs of stored commits by the prefixes that they have, 7 digits or more; only those with any."""
    found: dict[str, list[str]] = {}
    if prefixes:
        values = {"repository_id": repository.id, "prefixes": json.dumps([[prefix] for prefix in prefixes])}
        for prefix, key in db.session.execute(_starting_with(db.engine.dialect.name), values):
            found.setdefault(prefix, []).append(key)
    return found


@functools.cache
def _starting_with(dialect: str) -> Statement:
    (prefix,) = json_columns(sa.bindparam("prefixes", type_=sa.Text), [sa.Text()])
    wanted = sa.select(prefix.label("prefix")).subquery("wanted")
    # A range, because SQLite uses no index for LIKE; "g" sorts after every hexadecimal digit.
    between = sa.and_(Commit.key >= wanted.c.prefix, Commit.key < wanted.c.prefix + "g")
    of_repository = Commit.repository_id == sa.bindparam("repository_id")
    return sa.select(wanted.c.prefix, Commit.key).join_from(wanted, Commit, sa.and_(of_repository, between))


def find_authors(repository: Repository, blamed: Collection[tuple[str, str]]) -> Mapping[tuple[str, str], AuthorRow]:
    """Return the author of each stored commit, else the organization's author with an e-mail address.

    :param blamed: SHAs, each with the address to fall back on; commits whose author is unknown are left out.
    """
    with_key = _AUTHOR.add_columns(Commit.key).join(Commit, Commit.author_id == CommitAuthor.id)
    shas = {sha for sha, _ in blamed}
    rows = db.session.execute(with_key.where(Commit.repository_id == repository.id, is_one_of(Commit.key, [*shas])))
    by_sha = {row.key: AuthorRow(*row[:-1]) for row in rows}
    emails = {email for sha, email in blamed if sha not in by_sha}
    by_email: dict[str | None, AuthorRow] = {}
    if emails:
        statement = _AUTHOR.where(CommitAuthor.organization_id == repository.organization_id)
        rows = db.session.execute(statement.where(is_one_of(CommitAuthor.email, [*emails])))
        by_email = {row.email: AuthorRow(*row) for row in rows}
    found = {pair: by_sha.get(pair[0]) or by_email.get(pair[1]) for pair in blamed}
    return {pair: author for pair, author in found.items() if author is not None}


def last_changes(
    repository: Repository, files: Collection[tuple[str, str]]
) -> Mapping[tuple[str, str], LastChange | None]:
    """Return the last change of each file, by the newest stored commit at or before another by date.

    :param files: full SHAs, each with a path. A commit that is not stored is missing in the result; None stands for a
        file that no commit changed.
    """
    values = {"repository_id": repository.id, "files": json.dumps([*files])}
    rows = db.session.execute(_last_changes(db.engine.dialect.name), values)
    return {(sha, path): _change(*columns) for sha, path, *columns in rows}


def _change(sha: str | None, kind: str, author_id: int | None, *author: str | None) -> LastChange | None:
    if sha is None:
        return None
    return LastChange(sha, kind, None if author_id is None else AuthorRow(*cast("tuple[str, str, str]", author)))


@functools.cache
def _last_changes(dialect: str) -> Statement:
    repository_id: sa.BindParameter[int] = sa.bindparam("repository_id")
    sha, path = json_columns(sa.bindparam("files", type_=sa.Text), [sa.Text(), sa.Text()])
    wanted = sa.select(sha.label("sha"), path.label("path")).subquery("wanted")
    given, change, changing = sa.orm.aliased(Commit), sa.orm.aliased(CommitFileChange), sa.orm.aliased(Commit)
    earlier = CommitFileChange.__table__.c
    # Of commits in the same second the given one is the newest, so it is the last if it changed the file.
    own = sa.select(earlier.commit_id).where(earlier.commit_id == given.id, earlier.filename == wanted.c.path)
    newest = (
        sa.select(earlier.commit_id)
        .where(earlier.repository_id == repository_id, earlier.filename == wanted.c.path)
        .where(earlier.date_added <= given.date_added)
        .order_by(earlier.date_added.desc(), earlier.commit_id.desc())
        .limit(1)
    )
    last = sa.func.coalesce(*(each.correlate(given, wanted).scalar_subquery() for each in (own, newest)))
    found = (
        sa.select(wanted.c.sha, wanted.c.path, last.label("commit_id"))
        .join_from(wanted, given, sa.and_(given.repository_id == repository_id, given.key == wanted.c.sha))
        .subquery("found")
    )
    author = sa.orm.aliased(CommitAuthor)
    columns = [getattr(author, name) for name in AuthorRow._fields]
    return (
        sa.select(found.c.sha, found.c.path, changing.key, change.type, author.id, *columns)
        .outerjoin_from(found, changing, changing.id == found.c.commit_id)
        .outerjoin(change, sa.and_(change.commit_id == found.c.commit_id, change.filename == found.c.path))
        .outerjoin(author, author.id == changing.author_id)
    )
