"""How a database goes about the statements of a call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from flask import Flask

from flask_grpcweb_scm.scm import db

EXPLAIN = {"sqlite": "EXPLAIN QUERY PLAN ", "postgresql": "EXPLAIN "}


def plan_of(app: Flask, run: Callable[[], object]) -> str:
    """The plan of the only statement that reads repositories, with the values that it had."""
    seen: list[tuple[str, Any]] = []

    def note(connection: Any, cursor: Any, statement: str, parameters: Any, *rest: Any) -> None:
        if "FROM scm_repository" in statement:
            seen.append((statement, parameters))

    with app.app_context():
        engine = db.engine
    sa.event.listen(engine, "before_cursor_execute", note)
    try:
        run()
    finally:
        sa.event.remove(engine, "before_cursor_execute", note)
    ((statement, parameters),) = seen
    with engine.connect() as connection:
        rows = connection.exec_driver_sql(EXPLAIN[engine.dialect.name] + statement, parameters)
        return "\n".join(str(row[-1]) for row in rows)
