"""Growth of each RPC with the number of rows, on PostgreSQL: ``python -m benchmarks.scale``, or ``make scale``.

Two databases of one server have the same kinds of rows, one of them a hundred times as many. Calls take turns, so that
whatever else the machine does meets both. Exits with 1 when a call takes more than its share longer with more rows.
Takes a quarter of an hour for a million rows.
"""

from __future__ import annotations

import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack

import click
from flask import Flask

from flask_grpcweb_scm.scm import db
from tests.scm.databases import PostgresqlDatabases, disposed, postgresql_server
from tests.scm.growth import SCARCE, Calls, grow
from tests.scm.queries.plans import statements_of
from tests.scm.support import Scm, add_tenant, make_app

TIMES = 100
GOAL = 1.5
# The first calls prepare statements, and PostgreSQL keeps a plan after five with other values.
WARM_UP, MEASURED = 12, 300


def filled_app(stack: ExitStack, databases: PostgresqlDatabases, rows: int) -> tuple[Flask, Calls]:
    """Make an app whose database has this many rows."""
    app = stack.enter_context(disposed(make_app(databases.create())))
    with app.app_context():
        tenant = add_tenant("acme")
    started = time.monotonic()
    grow(app, tenant, 1, rows)
    click.echo(f"{rows} rows in {time.monotonic() - started:.0f} s", err=True)
    return app, Calls(Scm(app), tenant, rows)


@click.command()
@click.option("--rows", default=1_000_000, show_default=True, help="Repositories, commits, issues.")
def main(rows: int) -> None:
    """Print a table in Markdown."""
    with ExitStack() as stack:
        databases = PostgresqlDatabases(stack.enter_context(postgresql_server()))
        stack.callback(databases.close)
        (few_app, few), (many_app, many) = (filled_app(stack, databases, count) for count in (rows // TIMES, rows))
        click.echo(_description(many_app, rows))
        click.echo("\n| | statements | ms, p50 | ms, p50, 100 times the rows | ratio |\n|---|---:|---:|---:|---:|")
        missed, more = False, many.all()
        for name, call in few.all().items():
            before, after = _medians(call, more[name])
            counts = {len(statements_of(few_app, call)), len(statements_of(many_app, more[name]))}
            missed |= after > before * GOAL or len(counts) > 1
            shown = " … ".join(map(str, sorted(counts)))
            click.echo(f"| {name} | {shown} | {before:.2f} | {after:.2f} | {after / before:.2f} |")
    sys.exit(int(missed))


def _description(app: Flask, rows: int) -> str:
    with app.app_context(), db.engine.connect() as connection:
        version = str(connection.exec_driver_sql("SHOW server_version").scalar_one())
        size = int(connection.exec_driver_sql("SELECT pg_database_size(current_database())").scalar_one())
    return (
        f"One tenant with {rows} repositories, commits and issues, {rows * 10} file changes, {rows // SCARCE} code"
        f" mappings and links ({size / 2**30:.1f} GiB), beside one with a hundredth of them; PostgreSQL {version},"
        f" Python {platform.python_version()}, {os.cpu_count()} cores."
    )


def _medians(*calls: Callable[[], object]) -> list[float]:
    """Measure calls that take turns, in milliseconds."""
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(WARM_UP + MEASURED):
        for call, taken in zip(calls, times, strict=True):
            started = time.perf_counter()
            call()
            taken.append((time.perf_counter() - started) * 1000)
    return [statistics.median(taken[WARM_UP:]) for taken in times]


if __name__ == "__main__":
    main()
