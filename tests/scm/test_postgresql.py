"""What only PostgreSQL does."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_grpcweb_scm import CallContext, RpcError, StatusCode
from flask_grpcweb_scm.pb import scm_pb2
from flask_grpcweb_scm.scm import Group, Organization, db
from flask_grpcweb_scm.scm.transaction import commit_step, transaction
from tests.scm.databases import PostgresqlDatabases, disposed
from tests.scm.support import make_app
from tests.scm.test_stream_repositories import fill, stream


@pytest.fixture
def app(postgresql_databases: PostgresqlDatabases) -> Iterator[Flask]:
    uri = postgresql_databases.create()
    with disposed(make_app(uri)) as app:
        yield app
    postgresql_databases.drop(uri)


def test_the_database_gives_up_at_the_deadline(app: Flask) -> None:
    def sleep(request: scm_pb2.GetRepositoryRequest, context: CallContext) -> scm_pb2.Repository:
        db.session.execute(sa.text("SELECT pg_sleep(30)"))
        return scm_pb2.Repository()

    started = time.monotonic()
    with app.app_context():
        with pytest.raises(RpcError) as caught:
            transaction(scm_pb2.GetRepositoryRequest(), CallContext(timeout=0.3), sleep)
        assert caught.value.code is StatusCode.DEADLINE_EXCEEDED
        assert time.monotonic() - started < 10
        # The limit was that transaction's alone.
        assert db.session.scalar(sa.text("SHOW statement_timeout")) == "0"


def test_what_follows_a_step_that_is_committed_has_no_limit(app: Flask) -> None:
    def steps(request: scm_pb2.GetRepositoryRequest, context: CallContext) -> scm_pb2.Repository:
        limits.append(db.session.scalar(sa.text("SHOW statement_timeout")))
        commit_step()
        limits.append(db.session.scalar(sa.text("SHOW statement_timeout")))
        return scm_pb2.Repository()

    limits: list[Any] = []
    with app.app_context():
        transaction(scm_pb2.GetRepositoryRequest(), CallContext(timeout=300), steps)
    assert [limit == "0" for limit in limits] == [False, True]


def test_a_parent_deleted_meanwhile_aborts_the_call(app: Flask) -> None:
    def orphan(request: scm_pb2.GetRepositoryRequest, context: CallContext) -> scm_pb2.Repository:
        db.session.add(Group(project_id=4711, title="x"))
        return scm_pb2.Repository()

    with app.app_context(), pytest.raises(RpcError) as caught:
        transaction(scm_pb2.GetRepositoryRequest(), CallContext(), orphan)
    assert caught.value.code is StatusCode.ABORTED
    assert "scm_" not in caught.value.message


def test_the_rows_of_a_stream_wait_in_the_server(app: Flask) -> None:
    cursors = sa.text("SELECT count(*) FROM pg_cursors")
    with app.app_context():
        db.session.add(Organization(id=1, slug="acme"))
        db.session.commit()
    fill(app, 1)
    with app.app_context():
        messages = stream(app, 1)
        next(messages)
        assert db.session.scalar(cursors) == 1
        messages.close()  # type: ignore[attr-defined]
        assert db.session.scalar(cursors) == 0
