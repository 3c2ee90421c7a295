"""Databases that keep a call waiting: it ends soon after its deadline, and the next one finds everything in order."""

from __future__ import annotations

import contextlib
import os
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from flask_sqlalchemy import SQLAlchemy

from flask_grpcweb_scm import CallContext, GrpcWebScm, RpcError, StatusCode
from flask_grpcweb_scm.pb import scm_pb2
from flask_grpcweb_scm.scm import CallPool, db
from flask_grpcweb_scm.scm.database.db import commit_step
from flask_grpcweb_scm.transactions import deadlines, transaction
from tests.faults.postgresql import ROLE, PostgresqlServer
from tests.forking import Child
from tests.scm.databases import PostgresqlDatabases, SqliteDatabases, disposed
from tests.scm.support import make_app

REQUEST = scm_pb2.GetRepositoryRequest()
SECONDS = 0.5
LIMIT = 5
"""Seconds in which such a call has ended, also on a busy machine; without its deadline it would take ten, or hang."""

ENOUGH = 4.0
"""Seconds for what waits for nothing, on such a machine."""


def select_one() -> None:
    db.session.execute(sa.text("SELECT 1"))


def run(function: Callable[[], object] = select_one, timeout: float | None = SECONDS) -> StatusCode:
    """The status of a call that does this with the database of the current app; it ends in time."""

    def serve(request: scm_pb2.GetRepositoryRequest, context: CallContext) -> scm_pb2.Repository:
        function()
        return scm_pb2.Repository()

    started = time.monotonic()
    try:
        transaction(REQUEST, CallContext(timeout=timeout), serve)
    except RpcError as error:
        return error.code
    finally:
        assert time.monotonic() - started < LIMIT
    return StatusCode.OK


@contextlib.contextmanager
def silent_listener() -> Iterator[int]:
    """The port of a server that accepts connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.mark.needs("PostgreSQL")
def test_a_server_that_accepts_and_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with silent_listener() as port, disposed(make_app(f"postgresql+psycopg://u@127.0.0.1:{port}/d")) as app:
        for _ in range(2):
            with app.app_context():
                assert run() is StatusCode.DEADLINE_EXCEEDED
    assert len(caplog.records) == 1
    assert "not accepted a connection" in caplog.text


@pytest.mark.needs("PostgreSQL")
def test_a_name_that_resolves_slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    resolved = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments, **options: resolved.wait(60) and [])
    with disposed(make_app("postgresql+psycopg://u@slow.example/d")) as app, app.app_context():
        assert run() is StatusCode.DEADLINE_EXCEEDED
        resolved.set()


@pytest.mark.needs("PostgreSQL")
@pytest.mark.parametrize("point", ["before", "within", "at the end"])
def test_a_server_that_is_stopped(server: PostgresqlServer, point: str) -> None:
    def hang() -> None:
        select_one()
        stack.enter_context(server.stopped())
        if point == "within":
            select_one()

    with disposed(make_app(server.uri)) as app, app.app_context():
        assert run(timeout=ENOUGH) is StatusCode.OK
        with contextlib.ExitStack() as stack:
            if point == "before":
                stack.enter_context(server.stopped())
            assert run(select_one if point == "before" else hang) is StatusCode.DEADLINE_EXCEEDED
        assert run(timeout=ENOUGH) is StatusCode.OK


@pytest.mark.needs("PostgreSQL")
def test_work_elsewhere_is_stored_a_moment_after_the_deadline_but_not_for_ever(
    server: PostgresqlServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def act(and_then: Callable[[], object]) -> Callable[[], object]:
        def function() -> None:
            select_one()
            commit_step()
            time.sleep(SECONDS)
            and_then()

        return function

    def hang() -> None:
        select_one()
        stack.enter_context(server.stopped())
        select_one()

    stored: list[object] = []
    with disposed(make_app(server.uri)) as app, app.app_context(), contextlib.ExitStack() as stack:
        run(act(lambda: stored.append(db.session.scalar(sa.text("SELECT pg_sleep(0.5)")))))
        assert stored == [""]
        monkeypatch.setattr(deadlines, "STORE_SECONDS", 1)
        assert run(act(hang)) is StatusCode.DEADLINE_EXCEEDED


@pytest.mark.needs("PostgreSQL")
def test_a_row_that_another_session_has_locked(server: PostgresqlServer) -> None:
    with disposed(make_app(server.uri)) as app, app.app_context(), server.connect() as other, other.transaction():
        other.execute("LOCK TABLE scm_repository")
        assert run(lambda: db.session.execute(sa.text("SELECT * FROM scm_repository"))) is StatusCode.DEADLINE_EXCEEDED


def settings_of(*names: str) -> list[Any]:
    """Settings of the server in a call without and in one with a deadline of a minute."""
    seen: list[Any] = []
    show = lambda: seen.extend(db.session.scalar(sa.text(f"SHOW {name}")) for name in names)  # noqa: E731
    run(show, None)
    run(show, 60)
    return seen


@pytest.mark.needs("PostgreSQL")
@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        (None, ["10s", "0", "10s", "59"]),
        ("lock_timeout = '2s'", ["2s", "0", "2s", "59"]),
        ("lock_timeout = '1min'", ["1min", "0", "1min", "59"]),
        ("statement_timeout = '2500ms'", ["10s", "2500ms", "10s", "2500ms"]),
        ("statement_timeout = '1h'", ["10s", "1h", "10s", "59"]),
    ],
)
def test_limits_of_the_server_are_kept(server: PostgresqlServer, setting: str | None, expected: list[str]) -> None:
    if setting:
        server.execute(f"ALTER ROLE {ROLE} SET {setting}")
    with disposed(make_app(server.uri)) as app, app.app_context():
        seen = settings_of("lock_timeout", "statement_timeout")
    assert [value[: len(wanted)] for value, wanted in zip(seen, expected, strict=True)] == expected


def test_a_pool_without_a_free_connection(database: str) -> None:
    options = {"pool_size": 1, "max_overflow": 0}
    with disposed(make_app(database, SQLALCHEMY_ENGINE_OPTIONS=options)) as app, app.app_context():
        assert db.engine.pool._timeout == 30
        with db.engine.connect():
            assert run() is StatusCode.DEADLINE_EXCEEDED
        assert run(timeout=ENOUGH) is StatusCode.OK
        db.engine.dispose()
        assert db.engine.pool._timeout == 30


def test_an_engine_of_the_apps_own(database: str) -> None:
    host_db = SQLAlchemy(engine_options={"poolclass": CallPool, "pool_size": 1, "max_overflow": 0})
    app = Flask(__name__)
    app.testing = True
    app.config["SQLALCHEMY_DATABASE_URI"] = database
    GrpcWebScm(app, db=host_db)
    with disposed(app), app.app_context():
        with host_db.engine.connect():
            assert run() is StatusCode.DEADLINE_EXCEEDED
        statement = "SELECT pg_sleep(60)" if db.engine.dialect.name == "postgresql" else COUNT
        assert run(lambda: db.session.execute(sa.text(statement))) is StatusCode.DEADLINE_EXCEEDED
        assert run(timeout=ENOUGH) is StatusCode.OK


@pytest.mark.needs("PostgreSQL")
def test_a_forked_child_has_deadlines_of_its_own(server: PostgresqlServer) -> None:
    def work() -> StatusCode:
        with app.app_context(), server.stopped():
            return run()

    with disposed(make_app(server.uri)) as app:
        with app.app_context():
            run(timeout=ENOUGH)
        assert Child(work).result() is StatusCode.DEADLINE_EXCEEDED


@pytest.fixture
def descriptors() -> Iterator[None]:
    before = len(os.listdir("/proc/self/fd"))
    yield
    # Of earlier tests, some may be closed meanwhile.
    assert len(os.listdir("/proc/self/fd")) <= before


@pytest.mark.needs("PostgreSQL")
@pytest.mark.usefixtures("descriptors")
def test_connections_that_were_watched_leave_no_descriptor(postgresql_databases: PostgresqlDatabases) -> None:
    uri = postgresql_databases.create()
    with disposed(make_app(uri)) as app:
        for _ in range(5):
            with app.app_context():
                run(timeout=ENOUGH)
    postgresql_databases.drop(uri)


# SQLite

COUNT = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000000) SELECT count(*) FROM n"


@pytest.fixture
def sqlite(sqlite_databases: SqliteDatabases) -> Iterator[str]:
    uri = sqlite_databases.create()
    with disposed(make_app(uri)) as app, app.app_context():
        yield uri.removeprefix("sqlite:///")


def test_a_statement_that_takes_long_is_interrupted(sqlite: str) -> None:
    assert run(lambda: db.session.execute(sa.text(COUNT))) is StatusCode.DEADLINE_EXCEEDED
    assert run(timeout=ENOUGH) is StatusCode.OK


def test_a_file_that_is_locked(sqlite: str) -> None:
    def write() -> None:
        db.session.execute(sa.text("DELETE FROM scm_organization"))

    with contextlib.closing(sqlite3.connect(sqlite, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert run(write) is StatusCode.DEADLINE_EXCEEDED
        other.execute("ROLLBACK")
    assert run(write, ENOUGH) is StatusCode.OK
    # Without a deadline it is as patient as before.
    patience: list[Any] = []
    run(lambda: patience.append(db.session.scalar(sa.text("PRAGMA busy_timeout"))), None)
    assert patience == [10_000]
