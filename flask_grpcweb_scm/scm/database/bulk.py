"""INSERT and IN for many rows, and INSERT without conflicts, on SQLite and PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import orm
from sqlalchemy.dialects import postgresql, sqlite

from flask_grpcweb_scm.scm.database.db import Model, UtcDateTime, db

__all__ = ["JsonWriter", "insert_new", "insert_rows", "is_one_of", "json_writer"]

JsonWriter = Callable[[object], str]

_as_json = json.JSONEncoder(ensure_ascii=False).encode


def insert_new(table: type[Model] | sa.Table) -> sqlite.Insert | postgresql.Insert:
    """Build an INSERT that skips rows whose unique values exist, also those of a concurrent transaction.

    A failed INSERT would end the transaction on PostgreSQL, and savepoints commit early with Python's SQLite driver.

    :raises NotImplementedError: for a database that is neither SQLite nor PostgreSQL.
    """
    dialect = db.engine.dialect.name
    if dialect == "postgresql":
        return postgresql.insert(table).on_conflict_do_nothing()
    if dialect == "sqlite":
        return sqlite.insert(table).on_conflict_do_nothing()
    raise NotImplementedError(f"the SCM service stores in SQLite or PostgreSQL, not in {dialect}")


def is_one_of(column: orm.InstrumentedAttribute[Any], values: Sequence[object]) -> sa.ColumnElement[bool]:
    """Build an ``IN`` for hundreds of values.

    PostgreSQL gets them as one parameter: as many parameters would take longer to prepare than the query itself.
    """
    if db.engine.dialect.name == "postgresql":
        return column == sa.any_(sa.literal(values, postgresql.ARRAY(column.type)))
    return column.in_(values)


def insert_rows(statement: sa.Insert, names: Sequence[str], rows: Iterable[str]) -> Sequence[Any]:
    """Run an INSERT of thousands of rows of text, numbers, instants and None.

    Returns the rows of its RETURNING, if it has one. The values are one parameter, a JSON text: as many parameters take
    several times as long.

    :param statement: without values.
    :param names: of the columns, in the order of the values; all that have a default of Python's must be among them.
    :param rows: the values of each as :func:`json_writer` writes them, separated by commas.
    """
    text = "],[".join(rows)
    if not text:
        return ()
    document = sa.literal(f"[[{text}]]", sa.Text)
    values: list[sa.ColumnElement[Any]] = []
    if db.engine.dialect.name == "postgresql":
        each = sa.func.jsonb_array_elements(sa.cast(document, postgresql.JSONB)).table_valued("value", name="each")
        types = [statement.table.c[name].type for name in names]
        values += [sa.cast(each.c.value.op("->>")(place), type_) for place, type_ in enumerate(types)]
    else:
        each = sa.func.json_each(document).table_valued("value", name="each")
        values += [sa.func.json_extract(each.c.value, f"$[{place}]") for place in range(len(names))]
    # Without a WHERE, SQLite parses ON CONFLICT as the condition of a join.
    result: Any = db.session.execute(statement.from_select(list(names), sa.select(*values).where(sa.true())))
    return result.all() if result.returns_rows else ()


def json_writer() -> JsonWriter:
    """Make a function that writes a value for :func:`insert_rows` as the app's database stores it; for any thread."""
    dialect = db.engine.dialect
    as_stored = UtcDateTime().dialect_impl(dialect).bind_processor(dialect)
    assert as_stored is not None

    def write(value: object) -> str:
        return _as_json(str(as_stored(value)) if isinstance(value, datetime) else value)

    return write
