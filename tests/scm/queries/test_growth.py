"""No call does more work, the more rows there are."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_grpcweb_scm.scm import db
from tests.scm.growth import Calls, grow
from tests.scm.queries.plans import Statement, statements_of
from tests.scm.support import Scm, Tenant

FEW, MANY = 1000, 10_000
# How much more work is no growth: one level of an index, and pages that are fuller.
TOLERANCE = 1.5
SLACK = {"sqlite": 400, "postgresql": 40}


def rows_read(app: Flask, statements: list[Statement]) -> int:
    """Rows that PostgreSQL has touched for statements, with a plan for their values and with one for any."""
    total = 0
    with app.app_context(), db.engine.connect() as connection:
        for text, values in statements:
            for mode in ("force_custom_plan", "force_generic_plan"):
                connection.exec_driver_sql(f"SET LOCAL plan_cache_mode = {mode}")
                total += _touched(_explained(connection, text, values))
                connection.rollback()
    return total


def _explained(connection: sa.Connection, text: str, values: Any) -> Mapping[str, Any]:
    from psycopg import sql

    names = list(values)
    prepared = re.sub(r"%\((\w+)\)s", lambda match: f"${names.index(match[1]) + 1}", text).replace("%%", "%")
    raw: Any = connection.connection.driver_connection
    raw.execute("DEALLOCATE ALL")
    raw.execute(f"PREPARE explained AS {prepared}")
    given = sql.SQL("({})").format(sql.SQL(", ").join(map(sql.Literal, values.values()))) if names else sql.SQL("")
    ((plan,),) = raw.execute(sql.SQL("EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE explained ") + given).fetchall()
    found: Mapping[str, Any] = (json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"]
    return found


def _touched(plan: Mapping[str, Any]) -> int:
    removed = sum(count for name, count in plan.items() if name.startswith("Rows Removed"))
    below = sum(map(_touched, plan.get("Plans", ())))
    return int((plan["Actual Rows"] + removed) * plan["Actual Loops"]) + below


def steps_taken(app: Flask, statements: list[Statement]) -> int:
    """Instructions of SQLite's virtual machine."""
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 10
        return 0

    with app.app_context(), db.engine.connect() as connection:
        raw: Any = connection.connection.driver_connection
        raw.set_progress_handler(count, 10)
        try:
            for text, values in statements:
                connection.exec_driver_sql(text, values).close()
        finally:
            raw.set_progress_handler(None, 0)
        connection.rollback()
    return steps


WORK: Mapping[str, Callable[[Flask, list[Statement]], int]] = {"sqlite": steps_taken, "postgresql": rows_read}


@pytest.fixture
def dialect(app: Flask) -> str:
    with app.app_context():
        return db.engine.dialect.name


@pytest.mark.needs("time")
def test_work_and_statements_stay_the_same(app: Flask, scm: Scm, ours: Tenant, dialect: str) -> None:
    measured: list[dict[str, tuple[int, int]]] = []
    for first, last in ((1, FEW), (FEW + 1, MANY)):
        grow(app, ours, first, last)
        measured.append({})
        for name, call in Calls(scm, ours, last).all().items():
            call()
            statements = statements_of(app, call)
            measured[-1][name] = (len(statements), WORK[dialect](app, statements))
    few, many = measured
    grown = {
        name: (few[name], (count, work))
        for name, (count, work) in many.items()
        if count != few[name][0] or work > few[name][1] * TOLERANCE + SLACK[dialect]
    }
    assert grown == {}, "statements and work with few rows, and with many"
