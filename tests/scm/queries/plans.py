"""How a database goes about the statements of a call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from flask import Flask

from flask_grpcweb_scm.scm import db

EXPLAIN = {"sqlite": "EXPLAIN QUERY PLAN ", "postgresql": "EXPLAIN "}

Statement = tuple[str, Any]
"""A text, and the values of its parameters."""


def statements_of(app: Flask, run: Callable[[], object]) -> list[Statement]:
    """The statements of a call, with the values that they had."""
    seen: list[Statement] = []

    def note(connection: Any, cursor: Any, statement: str, parameters: Any, *rest: Any) -> None:
        seen.append((statement, parameters))

    with app.app_context():
        engine = db.engine
    sa.event.listen(engine, "before_cursor_execute", note)
    try:
        run()
    finally:
        sa.event.remove(engine, "before_cursor_execute", note)
    return seen


def plan_of(app: Flask, run: Callable[[], object], text: str = "FROM scm_repository") -> str:
    """The plan of the last statement with a text, by default of the last one that reads repositories."""
    *_, (statement, parameters) = (each for each in statements_of(app, run) if text in each[0])
    with app.app_context(), db.engine.connect() as connection:
        rows = connection.exec_driver_sql(EXPLAIN[db.engine.dialect.name] + statement, parameters)
        return "\n".join(str(row[-1]) for row in rows)
