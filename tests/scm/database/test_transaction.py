"""One transaction per call."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_grpcweb_scm import CallContext, RpcError, StatusCode
from flask_grpcweb_scm.pb import scm_pb2
from flask_grpcweb_scm.scm import Group, Organization, db
from flask_grpcweb_scm.scm.database.db import release_connection
from flask_grpcweb_scm.transactions import transaction
from tests.scm.databases import SqliteDatabases, disposed
from tests.scm.queries.plans import statements_of
from tests.scm.support import Scm, Tenant, make_app

REQUEST = scm_pb2.GetRepositoryRequest()


def run(app: Flask, function: Callable[[], None], context: CallContext | None = None) -> None:
    def serve(request: scm_pb2.GetRepositoryRequest, context: CallContext) -> scm_pb2.Repository:
        db.session.add(Organization(slug="written"))
        db.session.flush()
        function()
        return scm_pb2.Repository()

    with app.app_context():
        transaction(REQUEST, context or CallContext(), serve)


def written(app: Flask) -> bool:
    with app.app_context():
        return db.session.scalars(sa.select(Organization).filter_by(slug="written")).one_or_none() is not None


def test_a_call_that_returns_is_committed(app: Flask) -> None:
    run(app, lambda: None)
    assert written(app)


@pytest.mark.parametrize("keep_rows", [False, True])
def test_rows_may_be_kept_when_the_connection_is_released(app: Flask, ours: Tenant, keep_rows: bool) -> None:
    with app.app_context():
        row = db.session.get_one(Organization, ours.organization)
        release_connection(keep_rows=keep_rows)
        db.session.execute(sa.text("UPDATE scm_organization SET name = 'new'"))
        read = len(statements_of(app, lambda: row.name))
        assert (read, row.name) == ((0, "") if keep_rows else (1, "new"))
        release_connection()
        assert row.name == "new"


@pytest.mark.parametrize("error", [RpcError(StatusCode.NOT_FOUND, "x"), ValueError("x"), KeyboardInterrupt()])
def test_a_call_that_raises_leaves_nothing(app: Flask, error: BaseException) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(type(error)):
        run(app, fail)
    assert not written(app)


def test_a_call_that_returns_after_its_deadline_leaves_nothing(app: Flask) -> None:
    context = CallContext()
    with pytest.raises(RpcError) as caught:
        run(app, lambda: context.set_timeout(0), context)
    assert caught.value.code is StatusCode.DEADLINE_EXCEEDED
    assert not written(app)


@pytest.mark.parametrize("orphan", [Group(project_id=4711, title="x"), Organization(slug="written")])
def test_a_constraint_that_fails_unforeseen_aborts_the_call(app: Flask, orphan: object) -> None:
    with pytest.raises(RpcError) as caught:
        run(app, lambda: db.session.add(orphan))
    assert caught.value.code is StatusCode.ABORTED
    assert caught.value.message == "another change got in the way; nothing was stored, try again"
    assert not written(app)


def test_a_sqlite_file_that_stays_locked_is_unavailable(sqlite_databases: SqliteDatabases) -> None:
    uri = sqlite_databases.create()
    with disposed(make_app(uri)) as app:
        with app.app_context():
            impatient = "PRAGMA busy_timeout = 50"
            sa.event.listen(db.engine, "connect", lambda connection, record: connection.execute(impatient))
        with closing(sqlite3.connect(uri.removeprefix("sqlite:///"), isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(RpcError) as caught:
                run(app, lambda: None)
            other.execute("ROLLBACK")
        assert caught.value.code is StatusCode.UNAVAILABLE
        assert not written(app)


def test_an_error_of_our_own_making_is_not_translated(app: Flask) -> None:
    with pytest.raises(sa.exc.DBAPIError):
        run(app, lambda: db.session.execute(sa.text("SELECT * FROM absent")) and None)
    assert not written(app)


def test_a_new_session_has_the_deadline_of_the_call_too(app: Flask) -> None:
    limits: list[str] = []

    def look() -> None:
        statement = {"sqlite": "PRAGMA busy_timeout", "postgresql": "SHOW statement_timeout"}[db.engine.dialect.name]
        limits.append(str(db.session.scalar(sa.text(statement))))

    def begin_anew() -> None:
        db.session.remove()
        look()

    run(app, begin_anew, CallContext(timeout=5))
    with app.app_context():
        look()
    (inside, afterwards) = limits
    assert 4000 < int(inside.removesuffix("ms")) <= 5000
    assert afterwards in {"10000", "0"}


def test_writers_wait_for_each_other(scm: Scm, ours: Tenant) -> None:
    """Many threads write at the same time, on SQLite to one file, and none is refused."""
    failed: list[Exception] = []
    start = threading.Barrier(8)

    def write() -> None:
        start.wait()
        try:
            for _ in range(10):
                scm(
                    "CreateExternalIssue", organization_id=ours.organization, integration_id=ours.integration, title="x"
                )
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=write) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


def test_a_call_that_gets_no_connection_is_unavailable(database: str) -> None:
    options = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 0.1}
    with disposed(make_app(database, SQLALCHEMY_ENGINE_OPTIONS=options)) as app:
        with app.app_context():
            held = db.engine.connect()
        with pytest.raises(RpcError) as caught:
            run(app, lambda: None)
        assert caught.value.code is StatusCode.UNAVAILABLE
        held.close()
        run(app, lambda: None)
        assert written(app)
