"""Storage of git's commits by COPY, PostgreSQL's own statement for many rows, through psycopg 3."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from flask_grpcweb_scm.scm.database.db import db
from flask_grpcweb_scm.scm.database.models import Commit, CommitFileChange, Repository
from flask_grpcweb_scm.scm.git_import.commit_store import COMMIT_COLUMNS, CommitRows, CommitStore, RowFormat, table_of

__all__ = ["COPY_FORMAT", "CopyStore", "copy_rows", "store_for"]

# "Backslash characters (\\) can be used in the COPY data to quote data characters that might otherwise be taken as row
# or column delimiters." (PostgreSQL, COPY, Text Format)
_SPECIAL = re.compile(r"[\\\t\n\r]")
_QUOTED = {"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"}
_ROWS = "flask_grpcweb_scm_rows"


def _write(value: object) -> str:
    return r"\N" if value is None else _SPECIAL.sub(lambda found: _QUOTED[found[0]], str(value))


COPY_FORMAT = RowFormat(_write, "\t", "\n")


def store_for(repository: Repository) -> CommitStore:
    """Make the store for an import into a repository: by COPY, if it has no commits and the driver is psycopg 3."""
    commits = sa.select(Commit.id).where(Commit.repository_id == repository.id)
    if db.engine.dialect.driver != "psycopg" or db.session.scalar(sa.select(commits.exists())):
        return CommitStore(repository)
    return CopyStore(repository)


class CopyStore(CommitStore):
    """Stores the first commits of a repository: COPY takes fewer of the server's steps, but can skip no row."""

    def __init__(self, repository: Repository) -> None:
        super().__init__(repository, COPY_FORMAT)
        self._others = CommitStore(repository)
        self._is_alone = True

    def add_commits(self, commits: Sequence[CommitRows]) -> dict[str, int]:
        """Store the commits that are new, with their authors; see :meth:`CommitStore.add_commits`."""
        authors = self._find_authors(commits)
        if self._is_alone:
            try:
                with db.session.begin_nested():
                    return self._copy_commits(commits, authors)
            except sa.exc.IntegrityError:  # another transaction has stored one of them meanwhile
                self._is_alone = False
        return self._others.add_commits([self._others.rows_of(row.commit) for row in commits])

    def _copy_commits(self, commits: Sequence[CommitRows], authors: dict[tuple[str, str], int]) -> dict[str, int]:
        table, null = table_of(Commit), COPY_FORMAT.write(None)
        ids = _new_ids(table, len(commits))
        rows = "".join(
            f"{row_id}\t{authors.get(commit.author, null)}{commit.values}"
            for row_id, commit in zip(ids, commits, strict=True)
        )
        copy_rows(table, ("id", "author_id", *COMMIT_COLUMNS), rows)
        return {commit.sha: row_id for row_id, commit in zip(ids, commits, strict=True)}

    def _insert_changes(self, names: Sequence[str], rows: str) -> None:
        copy_rows(table_of(CommitFileChange), names, rows)


def _new_ids(table: sa.Table, count: int) -> Sequence[int]:
    name = sa.func.pg_get_serial_sequence(table.fullname, "id")
    # A subquery, or the name would be looked up for each of them.
    sequence = sa.select(sa.cast(name, postgresql.REGCLASS)).scalar_subquery()
    ids = sa.select(sa.func.array_agg(sa.func.nextval(sequence))).select_from(sa.func.generate_series(1, count))
    return db.session.scalar(ids) or ()


def copy_rows(table: sa.Table, names: Sequence[str], rows: str) -> None:
    """Run a COPY of rows in :data:`COPY_FORMAT`.

    :param names: of the columns, in the order of the values.
    """
    if not rows:
        return
    if not sa.event.contains(db.engine, "do_execute", _copy):
        sa.event.listen(db.engine, "do_execute", _copy)
    statement = sa.text(f"COPY {table.fullname} ({', '.join(names)}) FROM STDIN")
    db.session.execute(statement, execution_options={_ROWS: rows})


def _copy(cursor: Any, statement: str, parameters: object, context: Any) -> bool:
    """Run a COPY in place of ``cursor.execute()``, so that SQLAlchemy knows of it and of its errors."""
    rows = context.execution_options.get(_ROWS)
    if rows is None:
        return False
    with cursor.copy(statement) as copy:
        copy.write(rows)
    return True
