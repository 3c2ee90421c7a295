"""Rows that a caller may see.

A NamedTuple declares the columns of a row, and its SELECT is made of its fields, so that no two can be swapped. Queries
return SQLAlchemy's rows, which have these fields in this order. The NamedTuple is their type: to copy each row would
take as long as to fill in its message.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy import orm

from flask_grpcweb_scm.scm.database.db import Model, db

__all__ = ["Statement", "is_one_of", "is_one_of_given", "json_columns", "select_row"]

Statement = Any
"""SQLAlchemy 2.0 and 2.1 name the types of a statement's columns in different ways."""
Column = orm.InstrumentedAttribute[Any] | sa.ColumnElement[Any]


def select_row(row: type[NamedTuple], model: type[Model], **expressions: sa.ColumnElement[Any]) -> Statement:
    """Build the SELECT for a row, whose fields are named after the columns of a model.

    :param expressions: for fields that are not read as their column is.
    """
    # Columns of the table, because rows of the model's attributes take a quarter longer.
    columns = {**model.__table__.c, **expressions}
    return sa.select(*[columns[name] for name in row._fields])


def is_one_of(
    column: orm.InstrumentedAttribute[Any] | sa.ColumnElement[Any], values: Sequence[object]
) -> sa.ColumnElement[bool]:
    """Build an ``IN`` for hundreds of values.

    PostgreSQL gets them as one parameter: as many parameters would take longer to prepare than the query itself.
    """
    if db.engine.dialect.name == "postgresql":
        return column == sa.any_(sa.literal(values, sa.ARRAY(column.type)))
    return column.in_(values)


def is_one_of_given(column: sa.ColumnElement[Any], name: str, dialect: str) -> sa.ColumnElement[bool]:
    """Build the condition of :func:`is_one_of` on the values of a parameter, for a statement that is built once."""
    if dialect == "postgresql":
        return column == sa.any_(sa.bindparam(name, type_=sa.ARRAY(column.type)))
    return column.in_(sa.bindparam(name, expanding=True, type_=column.type))


def json_columns(document: sa.ColumnElement[str], types: Sequence[Any]) -> list[sa.ColumnElement[Any]]:
    """Build the columns of a table whose rows are one parameter, a JSON text: a list of lists of values.

    A statement for thousands of values stays the same, and as many parameters take several times as long.

    :param types: of the values.
    """
    if db.engine.dialect.name == "postgresql":
        # Apps on SQLite need not import it.
        from sqlalchemy.dialects.postgresql import JSONB

        each = sa.func.jsonb_array_elements(sa.cast(document, JSONB)).table_valued("value", name="each")
        return [sa.cast(each.c.value.op("->>")(place), type_) for place, type_ in enumerate(types)]
    each = sa.func.json_each(document).table_valued("value", name="each")
    return [sa.func.json_extract(each.c.value, f"$[{place}]", type_=type_) for place, type_ in enumerate(types)]
