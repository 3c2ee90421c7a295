"""Rows by the thousand."""

from __future__ import annotations

import itertools
from datetime import datetime, timedelta, timezone

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_grpcweb_scm.scm import Commit, db
from flask_grpcweb_scm.scm.database.db import insert_new
from flask_grpcweb_scm.scm.git_import.commit_store import insert_rows, json_writer
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


@pytest.mark.needs("time")
def test_thousands_of_rows_are_stored_as_they_are(app: Flask, ours: Tenant) -> None:
    table, names = Commit.__table__, ("repository_id", "key", "author_id", "message", "date_added")
    assert isinstance(table, sa.Table)
    pairs = itertools.islice(itertools.cycle(itertools.product(MESSAGES, INSTANTS)), 2000)
    rows = [(ours.repository, f"{n:040x}", None, message, instant) for n, (message, instant) in enumerate(pairs)]
    with app.app_context():
        as_json = json_writer()
        texts = [",".join(map(as_json, row)) for row in rows]
        insert_rows(sa.insert(table), names, texts[:1000])
        inserted = insert_rows(insert_new(table).returning(table.c.key), names, texts)
        assert [row.key for row in inserted] == [key for _, key, *_ in rows[1000:]]
        stored = db.session.execute(sa.select(*(table.c[name] for name in names)).order_by(table.c.key))
        assert [tuple(row) for row in stored] == rows
        assert not insert_rows(insert_new(table).returning(table.c.key), names, [])
