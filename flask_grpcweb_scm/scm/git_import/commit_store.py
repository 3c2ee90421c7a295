"""Storage of git's commits in the tables of commits, authors and file changes; thousands of rows in a statement."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from flask_grpcweb_scm.scm.database.db import Model, UtcDateTime, db, insert_new
from flask_grpcweb_scm.scm.database.models import Commit, CommitAuthor, CommitFileChange, Repository
from flask_grpcweb_scm.scm.queries import is_one_of, json_columns
from flask_grpcweb_scm.scm.sources.git_log import GitCommit

__all__ = ["COMMIT_COLUMNS", "CommitRows", "CommitStore", "RowFormat", "insert_rows", "json_format", "table_of"]

MAX_NAME_CHARACTERS = 128
MAX_EMAIL_CHARACTERS = 200
# PostgreSQL indexes no more than 2704 bytes of a row.
MAX_FILENAME_BYTES = 2048
AUTHORS_LOCK = 0x5C3A0704  # among the advisory locks of PostgreSQL, each of which has two numbers
COMMIT_COLUMNS = ("key", "message", "repository_id", "date_added")
"""Those of :attr:`CommitRows.values`."""
JSON_END = "],["

AuthorKey = tuple[str, str]
"""Address and name; either may be empty."""

_as_json = json.JSONEncoder(ensure_ascii=False).encode


class RowFormat(NamedTuple):
    """Rows as a text: values with something between them, and something at the end of each row."""

    write: Callable[[object], str]
    """Writes a value as the app's database stores it; for any thread."""
    comma: str
    end: str


class CommitRows(NamedTuple):
    """The rows of a commit as texts, without ids that only the database knows."""

    sha: str
    author: AuthorKey
    message: str
    committed: datetime
    values: str
    """All of the commit's row after the author's id."""
    changes: list[str]
    """Of the row of each file change what is before the commit's id: path and kind."""
    end: str
    """Of all these rows what is after it: repository and date."""
    is_cut_off: bool


class CommitStore:
    """Stores commits of a repository by INSERT, in the current transaction of the session.

    :meth:`rows_of`, which is slow, needs neither the session nor the app: another thread may call it.
    """

    def __init__(self, repository: Repository, row_format: RowFormat | None = None) -> None:
        self._repository_id = repository.id
        self._organization_id = repository.organization_id
        self._json = json_format()
        self._format = row_format or self._json
        # Of the last commits, because the next ones are mostly by the same people.
        self._author_ids: dict[AuthorKey, int] = {}

    def rows_of(self, commit: GitCommit) -> CommitRows:
        """Prepare the rows of a commit, in any thread."""
        values, end = self.values_of(commit.sha, commit.message, commit.committed)
        # As a dictionary, because two paths may be one, once they are read as UTF-8.
        changes = dict(commit.changes).items()
        return CommitRows(
            sha=commit.sha,
            author=(commit.author_email[:MAX_EMAIL_CHARACTERS], commit.author_name[:MAX_NAME_CHARACTERS]),
            message=commit.message,
            committed=commit.committed,
            values=values,
            changes=[self._change(path, kind) for path, kind in changes if len(path.encode()) <= MAX_FILENAME_BYTES],
            end=end,
            is_cut_off=commit.is_cut_off,
        )

    def values_of(self, sha: str, message: str, committed: datetime) -> tuple[str, str]:
        """Return `values` and `end` of :class:`CommitRows`."""
        write, comma, end = self._format
        end = f"{comma}{self._repository_id}{comma}{write(committed)}{end}"
        return f"{comma}{write(sha)}{comma}{write(message)}{end}", end

    def add_commits(self, commits: Sequence[CommitRows]) -> dict[str, int]:
        """Store the commits that are new, with their authors.

        Returns their ids by SHA; their file changes are for :meth:`add_file_changes`, the others for :meth:`correct`.
        """
        authors = self._find_authors(commits)
        rows = "".join(f"{authors.get(commit.author, 'null')}{commit.values}" for commit in commits)
        table = table_of(Commit)
        statement = insert_new(table).returning(table.c.key, table.c.id)
        new = insert_rows(statement, ("author_id", *COMMIT_COLUMNS), rows)
        return {row.key: row.id for row in new}

    def add_file_changes(self, new: Mapping[str, int], commits: Iterable[CommitRows]) -> None:
        """Store the file changes of new commits, in the transaction that has stored the commits."""
        # Nobody else can have stored any: the commits are visible to this transaction alone.
        rows = "".join(
            f"{new[commit.sha]}{commit.end}".join([*commit.changes, ""]) for commit in commits if commit.sha in new
        )
        self._insert_changes(("filename", "type", "commit_id", "repository_id", "date_added"), rows)

    def _insert_changes(self, names: Sequence[str], rows: str) -> None:
        insert_rows(sa.insert(table_of(CommitFileChange)), names, rows)

    def correct(self, new: Mapping[str, int], commits: Sequence[CommitRows]) -> int:
        """Give commits that were stored already the authors and the file changes that they have.

        They may have been stored when an address had one name, or when their parents were not there to compare with.
        Returns the number of commits that had others.

        :param new: the result of :meth:`add_commits`, which has stored their authors.
        """
        if len(new) == len(commits):
            return 0
        known = {commit.sha: commit for commit in commits if commit.sha not in new}
        commit = table_of(Commit).c
        of_repository = sa.select(commit.id, commit.key, commit.author_id).where(
            commit.repository_id == self._repository_id, is_one_of(commit.key, [*known])
        )
        rows = db.session.execute(of_repository).all()
        authors = [
            {"commit": row.id, "author": self._author_ids.get(known[row.key].author)}
            for row in rows
            if row.author_id != self._author_ids.get(known[row.key].author)
        ]
        if authors:
            statement = sa.update(table_of(Commit)).where(commit.id == sa.bindparam("commit"))
            db.session.execute(statement.values(author_id=sa.bindparam("author")), authors)
        stored: dict[int, set[str]] = {row.id: set() for row in rows}
        change = table_of(CommitFileChange).c
        changes = sa.select(change.commit_id, change.filename, change.type)
        for commit_id, path, kind in db.session.execute(changes.where(is_one_of(change.commit_id, [*stored]))):
            stored[commit_id].add(self._change(path, kind))
        wrong = {
            row.key: row.id
            for row in rows
            if stored[row.id] != set(known[row.key].changes) and not known[row.key].is_cut_off
        }
        if wrong:
            of_wrong = is_one_of(change.commit_id, [*wrong.values()])
            db.session.execute(sa.delete(table_of(CommitFileChange)).where(of_wrong))
            self.add_file_changes(wrong, commits)
        return len({values["commit"] for values in authors} | set(wrong.values()))

    def _change(self, path: str, kind: str) -> str:
        write, comma, _ = self._format
        return f"{write(path)}{comma}{write(kind)}{comma}"

    def _find_authors(self, commits: Sequence[CommitRows]) -> dict[AuthorKey, int]:
        """Return the ids of all authors, stored if they are new, and remember them."""
        keys = {commit.author for commit in commits} - {("", "")}
        known = {key: self._author_ids[key] for key in keys if key in self._author_ids}
        known |= self._stored_authors(keys - known.keys())
        without_email = {key for key in keys - known.keys() if not key[0]}
        if without_email:
            self._lock_authors()
            known |= self._stored_authors(without_email)
        # Sorted, so that two transactions which add the same authors do not wait for each other.
        missing = sorted(keys - known.keys())
        if missing:
            write, comma, end = self._json
            rows = "".join(
                f"{self._organization_id}{comma}{write(name)}{comma}{write(email or None)}{end}"
                for email, name in missing
            )
            table = table_of(CommitAuthor)
            statement = insert_new(table).returning(table.c.email, table.c.name, table.c.id)
            new = insert_rows(statement, ("organization_id", "name", "email"), rows)
            known |= {(row.email or "", row.name): row.id for row in new}
            # What is missing now, another transaction has stored meanwhile.
            known |= self._stored_authors(keys - known.keys())
        self._author_ids = known
        return known

    def _lock_authors(self) -> None:
        """Wait until no other transaction adds authors without an address, for whom no unique constraint holds.

        Nothing of the batch is written yet: no transaction can wait for this one while this one waits for it.
        """
        if db.engine.dialect.name == "postgresql":
            lock: sa.Executable = sa.select(sa.func.pg_advisory_xact_lock(AUTHORS_LOCK, self._organization_id % 2**31))
        else:
            # SQLite has one writer at a time: a transaction that has begun to write, even if it changes nothing.
            author = table_of(CommitAuthor)
            lock = sa.update(author).values(name=author.c.name).where(sa.false())
        db.session.execute(lock)

    def _stored_authors(self, keys: Collection[AuthorKey]) -> dict[AuthorKey, int]:
        if not keys:
            return {}
        names = [name for email, name in keys if not email]
        columns = sa.select(CommitAuthor.email, CommitAuthor.name, CommitAuthor.id)
        authors = columns.where(CommitAuthor.organization_id == self._organization_id)
        without_email = authors.where(CommitAuthor.email.is_(None), is_one_of(CommitAuthor.name, names))
        # For one condition with OR, PostgreSQL would compare every author of the organization.
        rows = db.session.execute(_authors_with_email(db.engine.dialect.name).union_all(without_email), {
            "organization_id": self._organization_id, "keys": json.dumps([key for key in keys if key[0]]),
        })  # fmt: skip
        return {(email or "", name): author_id for email, name, author_id in rows if author_id is not None}


@functools.cache
def _authors_with_email(dialect: str) -> sa.Select[Any]:
    # One after the other: one address, such as a robot's, may have thousands of names.
    columns = json_columns(sa.bindparam("keys", type_=sa.Text), [sa.Text(), sa.Text()])
    names = ("email", "name")
    wanted = sa.select(*[column.label(name) for name, column in zip(names, columns, strict=True)]).subquery("wanted")
    author = table_of(CommitAuthor).c
    same = [author.email == wanted.c.email, author.name == wanted.c.name]
    found = sa.select(author.id).where(author.organization_id == sa.bindparam("organization_id"), *same)
    return sa.select(wanted.c.email, wanted.c.name, found.correlate(wanted).scalar_subquery())


def table_of(model: type[Model]) -> sa.Table:
    """Return the table of a model, for an INSERT without the cost of mapped objects."""
    assert isinstance(model.__table__, sa.Table)
    return model.__table__


def insert_rows(statement: sa.Insert, names: Sequence[str], rows: str) -> Sequence[Any]:
    """Run an INSERT of thousands of rows of text, numbers, instants and None.

    Returns the rows of its RETURNING, if it has one. The values are one parameter, a JSON text: as many parameters take
    several times as long.

    :param statement: without values.
    :param names: of the columns, in the order of the values; all that have a default of Python's must be among them.
    :param rows: in the format of :func:`json_format`.
    """
    if not rows:
        return ()
    document = f"[[{rows.removesuffix(JSON_END)}]]"
    values = json_columns(sa.literal(document, sa.Text), [statement.table.c[name].type for name in names])
    # Without a WHERE, SQLite parses ON CONFLICT as the condition of a join.
    result: Any = db.session.execute(statement.from_select(list(names), sa.select(*values).where(sa.true())))
    return result.all() if result.returns_rows else ()


def json_format() -> RowFormat:
    """Make the format of :func:`insert_rows`."""
    dialect = db.engine.dialect
    as_stored = UtcDateTime().dialect_impl(dialect).bind_processor(dialect)
    assert as_stored is not None

    def write(value: object) -> str:
        return _as_json(str(as_stored(value)) if isinstance(value, datetime) else value)

    return RowFormat(write, ",", JSON_END)
