"""Columns that several tables have."""

from __future__ import annotations

import enum
from datetime import datetime, timezone
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import MappedColumn, mapped_column

__all__ = ["choice", "now", "reference"]


def now() -> datetime:
    """Return the time of a new row."""
    return datetime.now(timezone.utc)


def choice(values: type[enum.Enum], **how: Any) -> MappedColumn[Any]:
    """Declare a column with one of a few values, which has their texts."""
    texts = {"values_callable": lambda kind: [value.value for value in kind]}
    return mapped_column(sa.Enum(values, native_enum=False, length=24, **texts), **how)


def reference(target: str, *, index: bool = False, ondelete: str = "CASCADE") -> MappedColumn[Any]:
    """Declare a foreign key, with an index unless a unique constraint begins with it."""
    return mapped_column(sa.ForeignKey(f"{target}.id", ondelete=ondelete), index=index)
