"""Advice on how an app is run: its probes, its metrics, its tables and its connections."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from flask import Flask

from flask_grpcweb_scm.access import shared_counts
from flask_grpcweb_scm.settings import Settings

__all__ = ["operation_findings", "threads_of"]

MULTIPROCESS = "PROMETHEUS_MULTIPROC_DIR"
THREADS = 16
"""Of a process, where nothing says how many it has."""
SHOWN = 3

_GUNICORN_THREADS = re.compile(r"--threads[ =](\d+)")


def operation_findings(app: Flask, settings: Settings, environment: Mapping[str, str]) -> Iterator[str]:
    """Yield advice on how an app is run.

    :param environment: of its server: ``WEB_CONCURRENCY``, ``GUNICORN_CMD_ARGS``, ``PROMETHEUS_MULTIPROC_DIR``.
    """
    workers = environment.get("WEB_CONCURRENCY", "1")
    processes = int(workers) if workers.isdecimal() else 1
    yield from _drain_file(settings)
    yield from _metrics(settings, processes, environment)
    yield from _storage(settings)
    if settings.scm:
        yield from _mirrors(settings)
        yield from _database(app, processes, environment)


def threads_of(environment: Mapping[str, str]) -> int | None:
    """Return the threads of a process of gunicorn, where its arguments are in the environment."""
    found = _GUNICORN_THREADS.search(environment.get("GUNICORN_CMD_ARGS", ""))
    return int(found[1]) if found else None


def _drain_file(settings: Settings) -> Iterator[str]:
    path = settings.drain_file
    if path is None:
        return
    if not (settings.health or settings.health_path):
        yield "GRPC_DRAIN_FILE is set, but nothing tells of it; set GRPC_HEALTH_PATH."
    if os.path.exists(path):
        yield f"GRPC_DRAIN_FILE: {path!r} is there, so no server is ready; remove it, and whenever one starts."
    elif not Path(path).absolute().parent.is_dir():
        yield f"GRPC_DRAIN_FILE: {path!r} cannot be made, its folder is not there."


def _metrics(settings: Settings, processes: int, environment: Mapping[str, str]) -> Iterator[str]:
    folder = environment.get(MULTIPROCESS)
    if not settings.metrics_path:
        return
    if folder is None and processes > 1:
        yield (
            f"GRPC_METRICS_PATH is set and WEB_CONCURRENCY is {processes}, but {MULTIPROCESS} is not: each page has the"
            " calls of one process; set it to an empty folder."
        )
    elif folder and not os.path.isdir(folder):
        yield f"{MULTIPROCESS} is {folder!r}, which is no folder; make it before the server starts."


def _storage(settings: Settings) -> Iterator[str]:
    try:
        counts = shared_counts(settings)
        responds = counts is None or counts.check()
    except Exception:  # of clients that `limits` does not wrap
        responds = False
    if not responds:
        yield "GRPC_RATE_LIMIT_STORAGE does not respond: what is counted there, or revoked, is refused until it does."


def _mirrors(settings: Settings) -> Iterator[str]:
    if settings.scm_mirrors is None:
        return
    folder = Path(settings.scm_mirrors)
    there = next(each for each in (folder, *folder.parents) if each.exists())
    if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        yield f"GRPC_SCM_MIRRORS: {settings.scm_mirrors!r} cannot be made or written to by this user."


def _database(app: Flask, processes: int, environment: Mapping[str, str]) -> Iterator[str]:
    with app.app_context():
        database = app.extensions["sqlalchemy"]
        engine, metadata = database.engine, database.metadata
    url = engine.url
    if url.get_backend_name() == "sqlite" and not os.path.isfile(url.database or ""):
        return  # not there yet, or in memory
    try:
        with engine.connect() as connection:
            yield from _tables(connection, metadata)
            if url.get_backend_name() == "postgresql":
                yield from _privileges(connection, metadata)
                allowed = int(connection.exec_driver_sql("SHOW max_connections").scalar_one())
                yield from _connections(allowed, processes, environment)
    except Exception as error:
        # Its text may have the password.
        yield f"The database of SQLALCHEMY_DATABASE_URI cannot be looked at: {type(error).__name__}."


def _tables(connection: Any, metadata: Any) -> Iterator[str]:
    """Compare the tables with the models, whoever has made them."""
    dialect, missing = connection.dialect, []
    for table in metadata.sorted_tables:
        if not table.name.startswith("scm_"):
            continue
        if not dialect.has_table(connection, table.name):
            missing.append(table.name)
            continue
        known = {column["name"] for column in dialect.get_columns(connection, table.name)}
        missing += [f"{table.name}.{column.name}" for column in table.columns if column.name not in known]
    if missing:
        yield (
            f"The database is behind the code: it has no {_shown(missing)}; run flask db upgrade, or"
            " flask scm init-db for a new one."
        )


def _privileges(connection: Any, metadata: Any) -> Iterator[str]:
    """Look for tables that another user owns, as after a restore by the administrator."""
    rows = connection.exec_driver_sql(
        "SELECT relname FROM pg_class WHERE pg_table_is_visible(oid) AND relkind IN ('r', 'p') AND NOT"
        " (has_table_privilege(oid, 'SELECT') AND has_table_privilege(oid, 'INSERT')"
        " AND has_table_privilege(oid, 'UPDATE') AND has_table_privilege(oid, 'DELETE')) ORDER BY relname"
    )
    refused = [name for (name,) in rows if name.startswith("scm_") and name in metadata.tables]
    if refused:
        yield (
            f"The user of SQLALCHEMY_DATABASE_URI may not read and write {_shown(refused)}: another one owns them; run"
            " REASSIGN OWNED, or restore the backup as this user."
        )


def _shown(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _connections(allowed: int, processes: int, environment: Mapping[str, str]) -> Iterator[str]:
    each = threads_of(environment) or THREADS
    if 2 * processes * each > allowed:
        yield (
            f"max_connections of PostgreSQL is {allowed}, and {processes} processes of {each} threads may have"
            f" {processes * each}, twice as many while a release replaces them; raise it, or put a PgBouncer before it."
        )
