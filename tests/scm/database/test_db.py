"""The models on the extension's own database and on a host's; transactions."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from flask import Flask
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy

from flask_grpcweb_scm import GrpcWebScm, StatusCode
from flask_grpcweb_scm.pb import scm_pb2
from flask_grpcweb_scm.scm import Commit, Organization, Repository, db
from tests.grpcweb import call
from tests.scm.databases import PostgresqlDatabases, SqliteDatabases, disposed
from tests.scm.support import SERVICE, Scm, Tenant, make_app


def host_app(uri: str, *, before: bool) -> tuple[Flask, Any, Any]:
    """An app with a SQLAlchemy of its own, and a model that refers to ours."""
    host_db = SQLAlchemy()

    class Team(host_db.Model):  # type: ignore[name-defined,misc]
        id = sa.Column(sa.Integer, primary_key=True)
        # Without a type: it takes that of its target.
        repository_id = sa.Column(sa.ForeignKey("scm_repository.id"))
        repository = host_db.relationship(Repository)

    app = Flask(__name__)
    app.testing = True
    app.config["SQLALCHEMY_DATABASE_URI"] = uri
    if before:
        host_db.init_app(app)
    GrpcWebScm(app, db=None if before else host_db)
    return app, host_db, Team


@pytest.mark.parametrize("before", [True, False], ids=["initialised by the app", "initialised by the extension"])
def test_a_hosts_own_database_has_the_tables_one_session_and_relationships(empty_database: str, before: bool) -> None:
    app, host_db, team_class = host_app(empty_database, before=before)
    with app.app_context():
        host_db.create_all()
        assert "scm_repository" in sa.inspect(host_db.engine).get_table_names()
        assert db.engine is host_db.engine
        repository = Repository(organization=Organization(slug="demo"), name="one")
        host_db.session.add(team_class(repository=repository))
        assert repository in db.session
        db.session.commit()
        (name,) = host_db.session.scalars(sa.select(Repository.name).join(team_class.repository)).all()
        assert name == Repository.query.one().name == "one"
        repository_id = repository.id
        host_db.session.remove()
        answer = call(
            app.test_client(), SERVICE + "GetRepository", scm_pb2.GetRepositoryRequest(repository_id=repository_id)
        )
        assert answer.only(scm_pb2.Repository).name == "one"
        host_db.engine.dispose()


def test_flask_migrate_sees_the_tables(empty_database: str) -> None:
    app, host_db, _ = host_app(empty_database, before=True)
    Migrate(app, host_db)
    with app.app_context(), host_db.engine.connect() as connection:
        metadata = app.extensions["migrate"].db.metadata
        compare = lambda: compare_metadata(MigrationContext.configure(connection), metadata)  # noqa: E731
        added = {operation[1].name for operation in compare() if operation[0] == "add_table"}
        assert added == {*db.metadata.tables, "team"}
        host_db.create_all()
        connection.rollback()
        assert compare() == []
    with app.app_context():
        host_db.engine.dispose()


def test_a_hosts_engine_is_not_altered(tmp_path: Path) -> None:
    app, host_db, _ = host_app(f"sqlite:///{tmp_path}/host.db", before=True)
    with app.app_context():
        assert host_db.session.scalar(sa.text("PRAGMA foreign_keys")) == 0
        host_db.session.remove()
        host_db.engine.dispose()


def test_our_own_sqlite_has_wal_foreign_keys_and_patience(sqlite_databases: SqliteDatabases) -> None:
    with disposed(make_app(sqlite_databases.create())) as app, app.app_context():
        values = [db.session.scalar(sa.text(f"PRAGMA {name}")) for name in ("journal_mode", "foreign_keys")]
        assert values == ["wal", 1]
        assert db.session.scalar(sa.text("PRAGMA busy_timeout")) >= 5000


def test_without_configuration_the_database_is_in_the_instance_folder(tmp_path: Path) -> None:
    app = Flask(__name__, instance_path=str(tmp_path))
    app.testing = True
    GrpcWebScm(app)
    with app.app_context():
        db.create_all()
        db.engine.dispose()
    assert (tmp_path / "scm.db").exists()


@pytest.mark.needs("PostgreSQL")
def test_two_apps_of_one_process_have_their_own_rows(
    database: str, sqlite_databases: SqliteDatabases, postgresql_databases: PostgresqlDatabases
) -> None:
    other = sqlite_databases.create() if database.startswith("postgresql") else postgresql_databases.create()
    with disposed(make_app(database)) as one, disposed(make_app(other)) as two:
        for app in (one, two):
            with app.app_context():
                db.session.add(Organization(slug=db.engine.dialect.name))
                db.session.commit()
        for app in (one, two):
            with app.app_context():
                assert db.session.scalars(sa.select(Organization.slug)).all() == [db.engine.dialect.name]


def test_instants_come_back_in_utc(app: Flask, ours: Tenant) -> None:
    written = datetime(2024, 5, 1, 12, tzinfo=timezone(timedelta(hours=5)))
    with app.app_context():
        commit = Commit(repository_id=ours.repository, key="a" * 40, message="", date_added=written)
        db.session.add(commit)
        db.session.commit()
        db.session.expire_all()
        assert commit.date_added == written
        assert commit.date_added.utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    "make",
    [
        lambda t: Organization(slug="ours"),
        lambda t: Repository(organization_id=t.organization, name="x", provider="github", external_id="7"),
        lambda t: Commit(repository_id=t.repository, key="a" * 40, message=""),
    ],
)
def test_a_unique_value_is_unique(app: Flask, ours: Tenant, make: Any) -> None:
    with app.app_context():
        if not isinstance(make(ours), Organization):
            db.session.add(make(ours))
            db.session.commit()
        db.session.add(make(ours))
        with pytest.raises(sa.exc.IntegrityError):
            db.session.commit()
        db.session.rollback()


def test_a_database_error_is_internal_and_shows_no_sql(empty_database: str, caplog: pytest.LogCaptureFixture) -> None:
    app = make_app(empty_database)
    answer = call(app.test_client(), SERVICE + "GetRepository", scm_pb2.GetRepositoryRequest(repository_id=1))
    assert answer.code == StatusCode.INTERNAL
    assert answer.message.startswith("internal error (call ")
    assert "no such table" in caplog.text or 'relation "scm_repository" does not exist' in caplog.text
    with app.app_context():
        db.engine.dispose()


def test_a_response_that_fails_on_its_way_out_leaves_nothing(scm: Scm, app: Flask, ours: Tenant) -> None:
    fields = {"organization_id": ours.organization, "integration_id": ours.integration, "title": "x"}
    scm.error(StatusCode.DEADLINE_EXCEEDED, "CreateExternalIssue", **fields, timeout=0)
    with app.app_context():
        assert db.session.scalars(sa.text("SELECT count(*) FROM scm_external_issue")).one() == 1


@pytest.mark.parametrize(
    ("uri", "size", "ping"),
    [
        ("sqlite:///{}/x.db", 16, False),
        pytest.param("postgresql+psycopg://localhost/x", 16, False, marks=pytest.mark.needs("PostgreSQL")),
        ("sqlite://", None, False),
    ],
)
def test_engine_options_suit_the_database(tmp_path: Path, uri: str, size: int | None, ping: bool) -> None:
    with disposed(make_app(uri.format(tmp_path))) as app, app.app_context():
        pool = db.engine.pool
        assert (pool.size() if isinstance(pool, sa.pool.QueuePool) else None) == size
        assert pool._pre_ping is ping


def test_engine_options_of_the_app_are_left_alone(tmp_path: Path) -> None:
    options = {"pool_size": 2}
    with disposed(make_app(f"sqlite:///{tmp_path}/x.db", SQLALCHEMY_ENGINE_OPTIONS=options)) as app, app.app_context():
        assert db.engine.pool.size() == 2  # type: ignore[attr-defined]


@pytest.mark.parametrize("add_table", [None, lambda name, schema, table: None])
def test_a_sqlalchemy_that_adds_tables_in_another_way_is_named(add_table: Any, tmp_path: Path) -> None:
    host_db = SQLAlchemy(metadata=sa.MetaData())
    host_db.metadata._add_table = add_table
    app = Flask(__name__)
    app.config.update(SQLALCHEMY_DATABASE_URI=f"sqlite:///{tmp_path}/host.db", TESTING=True)
    host_db.init_app(app)
    with pytest.raises(RuntimeError, match=rf"SQLAlchemy {sa.__version__} cannot share .* or set GRPC_SCM = False"):
        GrpcWebScm(app)
