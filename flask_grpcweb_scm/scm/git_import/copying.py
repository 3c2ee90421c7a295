"""Storage of git's commits by COPY, PostgreSQL's own statement for many rows, through psycopg 3."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from flask_grpcweb_scm.scm.database.db import db
from flask_grpcweb_scm.scm.database.models import Commit, CommitFileChange, Repository
from flask_grpcweb_scm.scm.git_import.commit_store import COMMIT_COLUMNS, CommitRows, CommitStore, RowFormat, table_of

__all__ = ["COPY_FORMAT", "CopyStore", "copy_rows", "store_for"]

_ROWS = "flask_grpcweb_scm_rows"


def _write(value: object) -> str:
    r"""Write a value as PostgreSQL reads it from a COPY.

    "Backslash characters (\\) can be used in the COPY data to quote data characters that might otherwise be taken as
    row or column delimiters." (PostgreSQL, COPY, Text Format)
    """
    if value is None:
        return r"\N"
    return str(value).replace("\\", r"\\").replace("\t", r"\t").replace("\n", r"\n").replace("\r", r"\r")


COPY_FORMAT = RowFormat(_write, "\t", "\n")


# On tables as the migrations make them, COPY with numbers of the sequence stores what INSERT does; triggers, rules and
# other defaults may have it otherwise. "COPY FROM is not supported for tables with row-level security enabled."
# (PostgreSQL, COPY)
_CAN_COPY = sa.text("""
    SELECT bool_and(relkind = 'r' AND NOT relhasrules AND NOT row_security_active(table_.oid)
               AND has_table_privilege(table_.oid, 'INSERT')
               AND NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = table_.oid AND NOT tgisinternal))
       AND (SELECT has_sequence_privilege(sequence, 'USAGE')
                   AND (attidentity <> '' OR pg_get_expr(adbin, attrelid) = format('nextval(%L::regclass)', sequence))
              FROM CAST(pg_get_serial_sequence('scm_commit', 'id') AS regclass) AS sequence, pg_attribute
              LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
             WHERE attrelid = regclass 'scm_commit' AND attname = 'id')
       AND NOT EXISTS (SELECT FROM scm_commit WHERE repository_id = :repository)
      FROM pg_class AS table_ WHERE oid IN (regclass 'scm_commit', regclass 'scm_commit_file_change')
""")


def store_for(repository: Repository) -> CommitStore:
    """Make the store for an import: of the first commits of a repository by COPY, where that does what INSERT does."""
    # The names in the text of a statement are not translated.
    is_translated = db.session.connection().get_execution_options().get("schema_translate_map")
    is_psycopg = db.engine.dialect.driver == "psycopg"
    if is_psycopg and not is_translated and db.session.scalar(_CAN_COPY, {"repository": repository.id}):
        return CopyStore(repository)
    return CommitStore(repository)


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
        values_of = self._others.values_of
        return self._others.add_commits(
            [row._replace(values=values_of(row.sha, row.message, row.committed)[0]) for row in commits]
        )

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


# A subquery, or the name of the sequence would be looked up for each of them.
_NEW_IDS = sa.text("""
    SELECT array_agg(nextval((SELECT CAST(pg_get_serial_sequence(:name, 'id') AS regclass))))
    FROM generate_series(1, :count)
""")


def _new_ids(table: sa.Table, count: int) -> Sequence[int]:
    return db.session.scalar(_NEW_IDS, {"name": table.fullname, "count": count}) or ()


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
