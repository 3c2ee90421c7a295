"""Stored commits, their authors, and the files they changed: one statement for any number, of any repositories."""

from __future__ import annotations

import functools
import json
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.orm import joinedload

from flask_grpcweb_scm.scm.database.db import db
from flask_grpcweb_scm.scm.database.models import MAX_FILE_CHANGES, Commit, CommitAuthor, CommitFileChange, Repository
from flask_grpcweb_scm.scm.queries import Statement, is_one_of, is_one_of_given, json_columns, select_row

__all__ = [
    "AuthorRow",
    "BlamedCommit",
    "CommitFilter",
    "FileAtCommit",
    "LastChange",
    "find_authors",
    "find_commit",
    "find_commits_starting_with",
    "find_newest_commits",
    "last_changes",
    "page_of_commits",
    "stored_commits",
]


class AuthorRow(NamedTuple):
    """The columns of a CommitAuthor that callers see."""

    name: str
    email: str | None
    external_id: str | None


FEW_COMMITS = 1000
"""That are looked up one by one."""
MESSAGE_CHARACTERS = 1000  # of which its first line is read

_AUTHOR = select_row(AuthorRow, CommitAuthor)


class BlamedCommit(NamedTuple):
    """A commit, and the author that it has."""

    repository_id: int
    sha: str
    name: str
    email: str


FileAtCommit = tuple[int, str, str]
"""A repository, the full SHA of a commit, and the path of a file."""


class LastChange(NamedTuple):
    """The change of a file by the last commit that changed it."""

    sha: str
    kind: str
    """A added, D deleted, M modified."""
    author: AuthorRow | None
    date: datetime
    """The commit date."""
    message: str
    """The beginning of the commit's message."""


def find_commit(repository: Repository, sha: str) -> tuple[Commit, bool] | None:
    """Return the stored commit with a full SHA, its author, and whether it changed more files than are stored."""
    statement = _with_truncation()
    row = db.session.execute(statement.where(Commit.repository_id == repository.id, Commit.key == sha)).one_or_none()
    return None if row is None else (row[0], row[1])


class CommitFilter(NamedTuple):
    """Conditions on commits of a repository."""

    path: str
    """Of a file that they have changed; empty for any."""
    author: str
    """An address, which has an ``@``, or a name; empty for anybody."""
    since: datetime | None
    until: datetime | None
    """Exclusive."""


def page_of_commits(
    repository: Repository, wanted: CommitFilter, *, after: tuple[datetime, int] | None, limit: int
) -> Sequence[tuple[Commit, bool]]:
    """Return stored commits and whether each changed more files than are stored, the newest first by date and id.

    :param after: date and id of the last commit of the page before.
    """
    change = CommitFileChange
    # Either has an index in the order of the page.
    columns = (change.date_added, change.commit_id) if wanted.path else (Commit.date_added, Commit.id)
    chosen = sa.select(columns[1].label("id"))
    if wanted.path:
        chosen = chosen.where(change.repository_id == repository.id, change.filename == wanted.path)
    else:
        chosen = chosen.where(Commit.repository_id == repository.id)
    if wanted.author:
        authors = _authors_named(repository, wanted.author)
        commits = sa.select(Commit.id).where(is_one_of(Commit.author_id, authors)).limit(FEW_COMMITS + 1)
        few = db.session.scalars(commits).all() if authors else []
        if len(few) <= FEW_COMMITS:
            # Else all commits of the repository might be read, to find hardly any.
            chosen = chosen.where(is_one_of(columns[1], few) if few else sa.false())
        else:
            author_id = sa.select(Commit.author_id).where(Commit.id == change.commit_id).correlate(change)
            is_theirs = is_one_of(author_id.scalar_subquery() if wanted.path else Commit.author_id, authors)
            chosen = chosen.where(is_theirs)
    if wanted.since is not None:
        chosen = chosen.where(columns[0] >= wanted.since)
    if wanted.until is not None:
        chosen = chosen.where(columns[0] < wanted.until)
    if after is not None:
        chosen = chosen.where(sa.tuple_(*columns) < sa.tuple_(*after))
    # In the statement, because PostgreSQL expects a tenth of all rows of one that is prepared without it.
    number = sa.bindparam("limit", limit, type_=sa.Integer, literal_execute=True)
    page = chosen.order_by(*[column.desc() for column in columns]).limit(number).subquery()
    statement = _with_truncation().join(page, page.c.id == Commit.id)
    return _pairs(statement.order_by(Commit.date_added.desc(), Commit.id.desc()))


def _authors_named(repository: Repository, author: str) -> Sequence[int]:
    named = CommitAuthor.email == author.lower() if "@" in author else CommitAuthor.name == author
    mine = sa.select(CommitAuthor.id).where(CommitAuthor.organization_id == repository.organization_id)
    ids: Sequence[int] = db.session.scalars(mine.where(named)).all()
    return ids


def stored_commits(repository: Repository, shas: Sequence[str]) -> Mapping[str, tuple[Commit, bool]]:
    """Return those of these commits that are stored, by SHA."""
    statement = _with_truncation().where(Commit.repository_id == repository.id, is_one_of(Commit.key, shas))
    return {commit.key: (commit, is_truncated) for commit, is_truncated in _pairs(statement)}


def _with_truncation() -> Statement:
    changes = sa.select(CommitFileChange.commit_id).where(CommitFileChange.commit_id == Commit.id).correlate(Commit)
    return sa.select(Commit, changes.offset(MAX_FILE_CHANGES).limit(1).exists()).options(joinedload(Commit.author))


def _pairs(statement: Statement) -> list[tuple[Commit, bool]]:
    return [(row[0], row[1]) for row in db.session.execute(statement)]


def find_newest_commits(repository_ids: Collection[int]) -> Mapping[int, str]:
    """Return the SHA of the tip that was imported last, else of the newest stored commit by date, by repository."""
    if not repository_ids:
        return {}
    key = sa.select(Commit.key).where(Commit.repository_id == Repository.id).correlate(Repository)
    imported = key.where(Commit.key == Repository.imported_key)
    newest = key.order_by(Commit.date_added.desc(), Commit.id.desc()).limit(1)
    sha = sa.func.coalesce(imported.scalar_subquery(), newest.scalar_subquery())
    rows = db.session.execute(sa.select(Repository.id, sha).where(is_one_of(Repository.id, [*repository_ids])))
    return {repository_id: key for repository_id, key in rows if key is not None}


def find_commits_starting_with(wanted: Collection[tuple[int, str]]) -> Mapping[tuple[int, str], Sequence[str]]:
    """Return up to two SHAs of stored commits by repository and prefix; only for the prefixes with any."""
    if not wanted:
        return {}
    rows = db.session.execute(_starting_with(db.engine.dialect.name), {"wanted": json.dumps([*wanted])})
    return {
        (repository_id, prefix): [first] if first == last else [first, last]
        for repository_id, prefix, first, last in rows
        if first is not None
    }


@functools.cache
def _starting_with(dialect: str) -> Statement:
    # One after the other: for a join, PostgreSQL may read all commits of the repository.
    repository_id, prefix = json_columns(sa.bindparam("wanted", type_=sa.Text), [sa.BigInteger(), sa.Text()])
    wanted = sa.select(repository_id.label("repository_id"), prefix.label("prefix")).subquery("wanted")
    key = Commit.__table__.c.key
    # A range, because SQLite uses no index for LIKE; "g" sorts after every hexadecimal digit.
    between = sa.and_(key >= wanted.c.prefix, key < wanted.c.prefix + "g")
    of_repository = Commit.__table__.c.repository_id == wanted.c.repository_id
    ends = [sa.select(end(key)).where(of_repository, between).correlate(wanted) for end in (sa.func.min, sa.func.max)]
    return sa.select(wanted.c.repository_id, wanted.c.prefix, *[end.scalar_subquery() for end in ends])


def find_authors(organization_id: int, blamed: Collection[BlamedCommit]) -> Mapping[BlamedCommit, AuthorRow]:
    """Return the author of each stored commit, else the organization's author with this name and address.

    Commits whose author is unknown are left out.
    """
    dialect = db.engine.dialect.name
    repositories, shas = ([*{commit[place] for commit in blamed}] for place in (0, 1))
    rows = db.session.execute(_authors_by_sha(dialect), {"repositories": repositories, "shas": shas})
    by_sha = {(repository_id, sha): AuthorRow(*columns) for *columns, repository_id, sha in rows}
    missing = [(commit.name, commit.email) for commit in blamed if commit[:2] not in by_sha]
    by_name: dict[tuple[str, str | None], AuthorRow] = {}
    if missing:
        names, emails = ([*dict.fromkeys(column)] for column in zip(*missing, strict=True))
        values = {"organization_id": organization_id, "names": names, "emails": emails}
        by_name = {
            (row.name, row.email): AuthorRow(*row) for row in db.session.execute(_authors_by_name(dialect), values)
        }
    found = {commit: by_sha.get(commit[:2]) or by_name.get((commit.name, commit.email)) for commit in blamed}
    # A commit that was stored while an address had one name may have another's.
    return {
        commit: author
        for commit, author in found.items()
        if author is not None and (author.email != commit.email or author.name == commit.name)
    }


@functools.cache
def _authors_by_sha(dialect: str) -> Statement:
    author, commit = CommitAuthor.__table__, Commit.__table__
    statement = _AUTHOR.add_columns(commit.c.repository_id, commit.c.key)
    return statement.join(commit, commit.c.author_id == author.c.id).where(
        is_one_of_given(commit.c.repository_id, "repositories", dialect), is_one_of_given(commit.c.key, "shas", dialect)
    )


@functools.cache
def _authors_by_name(dialect: str) -> Statement:
    author = CommitAuthor.__table__.c
    return _AUTHOR.where(
        author.organization_id == sa.bindparam("organization_id"),
        is_one_of_given(author.email, "emails", dialect),
        is_one_of_given(author.name, "names", dialect),
    )


def last_changes(files: Collection[FileAtCommit]) -> Mapping[FileAtCommit, LastChange | None]:
    """Return the last change of each file, by the newest stored commit at or before another by date.

    A commit that is not stored is missing in the result; None stands for a file that no commit changed.
    """
    if not files:
        return {}
    commit = Commit.__table__.c
    repositories, shas = ([*{file[place] for file in files}] for place in (0, 1))
    given = sa.select(commit.repository_id, commit.key, commit.id)
    given = given.where(is_one_of(commit.repository_id, repositories), is_one_of(commit.key, shas))
    ids = {(repository_id, key): row_id for repository_id, key, row_id in db.session.execute(given)}
    known = [file for file in files if file[:2] in ids]
    if not known:
        return {}
    document = json.dumps([[place, file[0], ids[file[:2]], file[2]] for place, file in enumerate(known)])
    changed = db.session.execute(_last_changes(db.engine.dialect.name), {"files": document}).all()
    newest = _commits_with_authors({row.commit_id for row in changed if row.commit_id is not None})
    return {
        known[place]: None if commit_id is None else newest[commit_id]._replace(kind=kind)
        for place, commit_id, kind in changed
    }


@functools.cache
def _last_changes(dialect: str) -> Statement:
    # One file after the other: for joins, PostgreSQL may read all commits and all changes.
    numbers = sa.BigInteger()
    columns = json_columns(sa.bindparam("files", type_=sa.Text), [numbers, numbers, numbers, sa.Text()])
    names = ("place", "repository_id", "commit_id", "path")
    wanted = sa.select(*[column.label(name) for name, column in zip(names, columns, strict=True)]).subquery("wanted")
    commit, change = Commit.__table__.c, CommitFileChange.__table__.alias("change").c
    date = sa.select(commit.date_added).where(commit.id == wanted.c.commit_id).correlate(wanted).scalar_subquery()
    # Of commits in the same second the given one is the newest, so it is the last if it changed the file.
    own = sa.select(change.commit_id).where(change.commit_id == wanted.c.commit_id, change.filename == wanted.c.path)
    earlier = (
        sa.select(change.commit_id)
        .where(change.repository_id == wanted.c.repository_id, change.filename == wanted.c.path)
        .where(change.date_added <= date)
        .order_by(change.date_added.desc(), change.commit_id.desc())
        .limit(1)
    )
    last = sa.func.coalesce(*(each.correlate(wanted).scalar_subquery() for each in (own, earlier)))
    found = sa.select(wanted.c.place, wanted.c.path, last.label("commit_id")).cte("found")
    found = found.prefix_with("MATERIALIZED", dialect="postgresql")
    kind = sa.select(change.type).where(change.commit_id == found.c.commit_id, change.filename == found.c.path)
    return sa.select(found.c.place, found.c.commit_id, kind.correlate(found).scalar_subquery().label("kind"))


def _commits_with_authors(ids: Collection[int]) -> dict[int, LastChange]:
    """Return commits with their authors, and no kind of change, by their ids."""
    if not ids:
        return {}
    commit, author = Commit.__table__.c, CommitAuthor.__table__.c
    beginning = sa.func.substr(commit.message, 1, MESSAGE_CHARACTERS)
    statement = _AUTHOR.add_columns(author.id, commit.id, commit.key, commit.date_added, beginning)
    statement = statement.select_from(Commit.__table__).outerjoin(CommitAuthor.__table__, author.id == commit.author_id)
    rows = db.session.execute(statement.where(is_one_of(commit.id, [*ids])))
    return {
        commit_id: LastChange(key, "", None if author_id is None else AuthorRow(*columns), date, message)
        for *columns, author_id, commit_id, key, date, message in rows
    }
