"""What only PostgreSQL does."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_grpcweb_scm import CallContext, RpcError, StatusCode
from flask_grpcweb_scm.pb import scm_pb2
from flask_grpcweb_scm.scm import Group, Organization, db, git_import
from flask_grpcweb_scm.scm.database.db import commit_step
from flask_grpcweb_scm.scm.git_import import BATCH_WEIGHT, CHANGE_WEIGHT
from flask_grpcweb_scm.scm.sources.mirror import Mirror
from flask_grpcweb_scm.transactions import transaction
from tests.scm.databases import PostgresqlDatabases, disposed
from tests.scm.service.test_stream_repositories import fill, stream
from tests.scm.support import GitRepository, Scm, add_organization, make_app

pytestmark = pytest.mark.needs("PostgreSQL")


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


def test_no_transaction_is_open_while_a_stream_is_read(app: Flask) -> None:
    open_ones = sa.text(
        "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in%' AND datname = current_database()"
    )
    with app.app_context():
        db.session.add(Organization(id=1, slug="acme"))
        db.session.commit()
    fill(app, 1)
    with app.app_context():
        for number, _ in enumerate(stream(app, 1)):
            if number % 1000 == 500:
                with db.engine.connect() as other:
                    assert other.scalar(open_ones) == 0


@pytest.mark.parametrize("is_interrupted", [False, True])
def test_an_import_into_empty_tables_makes_plans_for_large_ones(
    app: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_interrupted: bool
) -> None:
    batch, batches = 200, 20  # the plan for a statement is settled after it has run ten times
    monkeypatch.setattr(git_import, "BATCH_COMMITS", batch)
    repository = GitRepository(tmp_path)
    stream = bytearray()
    for number in range(batch * batches):
        who = b"A%d <a%d@b.example> %d +0000" % (number, number, 1_600_000_000 + number)
        stream += b"commit refs/heads/main\ncommitter %s\ndata 1\nx\n" % who
        # The first commit fills a batch.
        for file in range(1 if number else BATCH_WEIGHT // CHANGE_WEIGHT + 1):
            stream += b"M 100644 inline %d/%d\ndata 4\n%04d\n" % (file % 100, file, number)
    repository.fast_import(bytes(stream))
    read = (
        "SELECT (SELECT sum(seq_tup_read) FROM pg_stat_user_tables WHERE relname LIKE 'scm_commit%')"
        " + (SELECT sum(idx_tup_read) FROM pg_stat_user_indexes WHERE relname LIKE 'scm_commit%')"
    )
    with app.app_context():
        organization = Organization(slug="acme")
        db.session.add(organization)
        db.session.commit()
        with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            # It is known then that they are empty.
            connection.execute(sa.text("VACUUM ANALYZE"))
        job = git_import.prepare_import(organization, Mirror.find(repository.path), "big")
        sizes = [*itertools.islice(job.run(), 1)] if is_interrupted else []
        job = git_import.prepare_import(organization, Mirror.find(repository.path), "big")
        sizes += job.run()
        assert sizes == [1, *(batches - 1) * [batch], batch - 1]
        db.session.execute(sa.text("SELECT pg_stat_force_next_flush()"))
        db.session.commit()
        # By reading every row for each that refers to one, it would be millions.
        rows = batch * batches + BATCH_WEIGHT // CHANGE_WEIGHT
        assert db.session.scalar(sa.text(read)) < 2 * rows


def test_a_page_is_planned_once(app: Flask) -> None:
    organization = add_organization(app)
    fill(app, organization, 2000)
    with app.app_context():
        db.session.execute(sa.text("ANALYZE"))
        db.session.commit()
    for _ in range(20):
        page = Scm(app)("ListRepositories", organization_id=organization, page_size=10)
        Scm(app)("ListRepositories", organization_id=organization, page_size=10, page_token=page.next_page_token)
    with app.app_context():
        text = "SELECT generic_plans > custom_plans FROM pg_prepared_statements WHERE statement LIKE '%LIMIT%'"
        assert db.session.scalars(sa.text(text)).all() == [True, True]
