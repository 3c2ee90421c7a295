"""Rows by the thousand."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_grpcweb_scm.scm import Commit, db
from flask_grpcweb_scm.scm.database.db import insert_new
from flask_grpcweb_scm.scm.git_import.commit_store import RowFormat, insert_rows, json_format
from tests.scm.support import Tenant

MESSAGES = [
    "",
    "null",
    "[1]",
    "quotes \" ' \\ and \\u0000",
    "tab\t\r\n\x01",
    "naïve 漢字 😀",
    "%s :name $1",
    "x" * 100_000,
]


INSTANTS = [
    datetime(1, 1, 1, tzinfo=timezone.utc),
    datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=timezone.utc),
    datetime(2024, 1, 1, 12, tzinfo=timezone(timedelta(hours=5, minutes=30))),
    datetime(9999, 12, 31, 23, 59, 59, tzinfo=timezone.utc),
]


NAMES = ("repository_id", "key", "author_id", "message", "date_added")


def rows_in(repository: int, count: int) -> list[tuple[object, ...]]:
    pairs = itertools.islice(itertools.cycle(itertools.product(MESSAGES, INSTANTS)), count)
    return [(repository, f"{n:040x}", None, message, instant) for n, (message, instant) in enumerate(pairs)]


def texts(row_format: RowFormat, rows: Iterable[tuple[object, ...]]) -> str:
    write, comma, end = row_format
    return "".join(f"{comma.join(map(write, row))}{end}" for row in rows)


def stored() -> list[tuple[object, ...]]:
    columns = sa.select(*(Commit.__table__.c[name] for name in NAMES))
    return [tuple(row) for row in db.session.execute(columns.order_by(Commit.key))]


@pytest.mark.needs("time")
def test_thousands_of_rows_are_stored_as_they_are(app: Flask, ours: Tenant) -> None:
    table, rows = Commit.__table__, rows_in(ours.repository, 2000)
    assert isinstance(table, sa.Table)
    with app.app_context():
        as_json = json_format()
        insert_rows(sa.insert(table), NAMES, texts(as_json, rows[:1000]))
        inserted = insert_rows(insert_new(table).returning(table.c.key), NAMES, texts(as_json, rows))
        assert [row.key for row in inserted] == [key for _, key, *_ in rows[1000:]]
        assert stored() == rows
        assert not insert_rows(insert_new(table).returning(table.c.key), NAMES, "")
