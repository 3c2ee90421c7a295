"""Rows that a caller may see.

A NamedTuple declares the columns of a row, and its SELECT is made of its fields, so that no two can be swapped. Queries
return SQLAlchemy's rows, which have these fields in this order. The NamedTuple is their type: to copy each row would
take as long as to fill in its message.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import sqlalchemy as sa

from flask_grpcweb_scm.scm.database.db import Model

__all__ = ["Statement", "select_row"]

Statement = Any
"""SQLAlchemy 2.0 and 2.1 name the types of a statement's columns in different ways."""


def select_row(row: type[NamedTuple], model: type[Model], **expressions: sa.ColumnElement[Any]) -> Statement:
    """Build the SELECT for a row, whose fields are named after the columns of a model.

    :param expressions: for fields that are not read as their column is.
    """
    # Columns of the table, because rows of the model's attributes take a quarter longer.
    columns = {**model.__table__.c, **expressions}
    return sa.select(*[columns[name] for name in row._fields])
