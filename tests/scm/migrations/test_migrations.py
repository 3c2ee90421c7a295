"""``flask db upgrade`` makes what ``create_all()`` makes, on both databases; revisions are frozen."""

from __future__ import annotations

import importlib.util
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from flask import Flask

from flask_grpcweb_scm.scm import (
    MIGRATIONS,
    CodeMapping,
    Commit,
    CommitAuthor,
    CommitFileChange,
    ExternalIssue,
    Repository,
    db,
)
from flask_grpcweb_scm.scm.database.values import place_of
from flask_grpcweb_scm.scm.remotes import own_external_id, remote_of
from flask_grpcweb_scm.scm.search import include_object
from tests.scm.conftest import FlaskDb
from tests.scm.databases import Databases, disposed
from tests.scm.migrations.write_migration import revisions, write_migration
from tests.scm.support import make_app
from tests.scm.test_remotes import SAME

ROOT = Path(__file__).parent.parent.parent.parent

# Everything that a database says of its schema, in its own words.
SCHEMA = {
    "sqlite": "SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL",
    "postgresql": """
        SELECT 'column', table_name || '.' || column_name,
               concat_ws(' ', data_type, character_maximum_length, collation_name, is_nullable, column_default)
          FROM information_schema.columns WHERE table_schema = 'public'
        UNION ALL SELECT 'index', indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'
        UNION ALL SELECT 'constraint', conname, conrelid::regclass || ' ' || pg_get_constraintdef(oid)
          FROM pg_constraint WHERE connamespace = 'public'::regnamespace
    """,
}


@pytest.fixture
def other_database(databases: Databases) -> Iterator[str]:
    uri = databases.create(tables=False)
    yield uri
    databases.drop(uri)


def schema(app: Flask) -> set[tuple[Any, ...]]:
    with app.app_context():
        rows = db.session.execute(sa.text(SCHEMA[db.engine.dialect.name])).all()
    # What comes first in a CREATE TABLE means nothing, nor do spaces.
    parts = re.compile(r"\s*(?:,(?![^(]*\))|\n|\)\Z)\s*")
    return {(kind, name, *sorted(filter(None, parts.split(sql)))) for kind, name, sql in rows if "alembic" not in name}


def differences(app: Flask) -> Any:
    options = {"compare_type": True, "include_object": include_object}
    with app.app_context(), db.engine.connect() as connection:
        return compare_metadata(MigrationContext.configure(connection, opts=options), db.metadata)


def test_upgrade_makes_the_schema_that_create_all_makes(database: str, other_database: str, flask_db: FlaskDb) -> None:
    flask_db("own", other_database, "upgrade")
    with disposed(make_app(database)) as created, disposed(make_app(other_database)) as migrated:
        assert schema(migrated) == schema(created)
        assert differences(created) == []
        assert differences(migrated) == [], "the models have changed; run: make migration MESSAGE=…"


def test_what_syncs_have_disabled_or_hidden_is_known_by_its_row(empty_database: str, flask_db: FlaskDb) -> None:
    flask_db("own", empty_database, "upgrade", "scm0006")
    now = "'2026-01-02 03:04:05.000000'"
    states = {1: '{"marked": [1, 2, 3], "place": []}', 2: "null", 3: "{}", 4: '{"marked": []}', 5: None}
    with disposed(make_app(empty_database)) as app:
        with app.app_context():
            db.session.execute(sa.text(f"INSERT INTO scm_organization VALUES (1, 'acme', '', {now})"))
            for number, state in states.items():
                db.session.execute(
                    sa.text(f"INSERT INTO scm_integration VALUES ({number}, '', '{number}', '', '{{}}', {now})")
                )
                installed = (
                    f"INSERT INTO scm_organization_integration VALUES ({number}, 1, {number}, '{{}}', {now}, :state)"
                )
                db.session.execute(
                    sa.text(
                        installed.replace(":state", "NULL" if state is None else f"'{state}'").replace(": ", r"\: ")
                    )
                )
            for number, status in enumerate(("disabled", "hidden", "active", "disabled"), 1):
                db.session.execute(
                    sa.text(
                        "INSERT INTO scm_repository (id, organization_id, name, url, provider, status, config,"
                        f" date_added, default_branch) VALUES ({number}, 1, 'r', '', '', '{status}', '{{}}', {now}, '')"
                    )
                )
            db.session.commit()
        flask_db("own", empty_database, "upgrade")
        with app.app_context():
            rows = db.session.execute(sa.select(Repository.id, Repository.synced_status).order_by(Repository.id))
            assert [(row.id, row.synced_status and row.synced_status.value) for row in rows] == [
                *[(1, "disabled"), (2, "hidden"), (3, None), (4, None)]
            ]


def test_downgrade_takes_everything_away(empty_database: str, flask_db: FlaskDb) -> None:
    with disposed(make_app(empty_database)) as app:
        before = schema(app)
        flask_db("own", empty_database, "upgrade")
        flask_db("own", empty_database, "downgrade", "base")
        assert schema(app) == before


def test_rows_stay_and_get_what_is_new(empty_database: str, flask_db: FlaskDb) -> None:
    flask_db("own", empty_database, "upgrade", "scm0002")
    now = "'2026-01-02 03:04:05.000000'"
    with disposed(make_app(empty_database)) as app:
        with app.app_context():
            for statement in (
                f"INSERT INTO scm_organization VALUES (1, 'acme', '', {now})",
                f"INSERT INTO scm_project VALUES (2, 1, 'web', '', NULL, {now})",
                "INSERT INTO scm_repository (id, organization_id, name, url, provider, status, config, date_added,"
                f" default_branch) VALUES (3, 1, 'r', '', '', 'active', '{{}}', {now}, '')",
                f"INSERT INTO scm_commit VALUES (4, 3, '{40 * 'a'}', NULL, '', {now})",
                "INSERT INTO scm_commit_file_change VALUES (4, 'x.py', 'A')",
                f"INSERT INTO scm_code_mapping VALUES (5, 1, 2, 3, '/äpp', 'src', '', false, {now})",
            ):
                db.session.execute(sa.text(statement))
            db.session.commit()
        flask_db("own", empty_database, "upgrade")
        with app.app_context():
            change = db.session.scalars(sa.select(CommitFileChange)).one()
            assert (change.commit_id, change.filename, change.type, change.repository_id) == (4, "x.py", "A", 3)
            assert change.date_added == change.commit.date_added
            mapping = db.session.scalars(sa.select(CodeMapping)).one()
            assert (mapping.id, mapping.stack_root, mapping.root_rank) == (5, "/äpp", -4)
            db.session.remove()
            db.engine.dispose()
        flask_db("own", empty_database, "downgrade", "scm0002")
        with app.app_context():
            rows = [
                db.session.execute(sa.text(f"SELECT * FROM {name}")).all()
                for name in ("scm_commit_file_change", "scm_code_mapping")
            ]
            assert [tuple(row)[:5] for (row,) in rows] == [(4, "x.py", "A"), (5, 1, 2, 3, "/äpp")]


def test_repositories_get_their_remotes_and_authors_keep_their_commits(
    empty_database: str, flask_db: FlaskDb, tmp_path: Path
) -> None:
    flask_db("own", empty_database, "upgrade", "scm0003")
    now = "'2026-01-02 03:04:05.000000'"
    repositories = [
        (1, "api", "github", "api", "git@github.com:Acme/API.git"),
        (2, "acme/web", "github", "77", "https://github.com/acme/web"),
        (3, "local", "", "local", ""),
        (4, "x" * 70, "", own_external_id("x" * 70, 64), "https://git.example/a/b.git"),
        (5, "again", "github", "again", "https://github.com/acme/api"),
    ]
    with disposed(make_app(empty_database)) as app:
        with app.app_context():
            db.session.execute(sa.text(f"INSERT INTO scm_organization VALUES (1, 'acme', '', {now})"))
            for row in repositories:
                db.session.execute(
                    sa.text(
                        "INSERT INTO scm_repository (id, organization_id, name, provider, external_id, url, status,"
                        " config, date_added, default_branch, mirror_path, imported_key) VALUES"
                        f" (:id, 1, :name, :provider, :external_id, :url, 'active', '{{}}', {now}, '', '/m', 'k')"
                    ),
                    dict(zip(("id", "name", "provider", "external_id", "url"), row, strict=True)),
                )
            for statement in (
                "INSERT INTO scm_commit_author VALUES (7, 1, 'Ann', 'ann@x', 'github:7')",
                f"INSERT INTO scm_commit VALUES (4, 3, '{40 * 'a'}', 7, '', {now})",
                f"INSERT INTO scm_commit_file_change VALUES (4, 'x.py', 'A', 3, {now})",
            ):
                db.session.execute(sa.text(statement))
            db.session.commit()
        flask_db("own", empty_database, "upgrade")
        with app.app_context():
            columns = sa.select(Repository.id, Repository.external_id, Repository.remote, Repository.imported_key)
            assert [tuple(row) for row in db.session.execute(columns.order_by(Repository.id))] == [
                (1, "github.com/acme/api", "github.com/acme/api", None),
                (2, "77", "github.com/acme/web", None),
                (3, "local", None, None),
                (4, "git.example/a/b", "git.example/a/b", None),
                (5, "again", "github.com/acme/api", None),
            ]
            change = db.session.scalars(sa.select(CommitFileChange)).one()
            assert change.commit.author is not None
            assert (change.commit.author.id, change.commit.author.external_id) == (7, "github:7")
            db.session.add_all(
                CommitAuthor(id=8 + number, organization_id=1, name="Annie", email=email)
                for number, email in enumerate(("ann@x", "annie@x"))
            )
            db.session.flush()
            for author in (8, 9):
                db.session.add(Commit(repository_id=3, key=str(author), author_id=author))
            db.session.commit()
            db.session.remove()
            db.engine.dispose()
        flask_db("own", empty_database, "downgrade", "scm0003")
        with app.app_context():
            authors = db.session.execute(sa.text("SELECT id, name, email FROM scm_commit_author ORDER BY id")).all()
            assert [tuple(row) for row in authors] == [(7, "Ann", "ann@x"), (9, "Annie", "annie@x")]
            commits = db.session.execute(sa.text("SELECT author_id FROM scm_commit ORDER BY key")).scalars()
            assert [*commits] == [7, 9, 7]
            db.session.remove()
            db.engine.dispose()
        flask_db("own", empty_database, "upgrade")
        assert differences(app) == []


def test_issues_get_their_places(empty_database: str, flask_db: FlaskDb) -> None:
    flask_db("own", empty_database, "upgrade", "scm0009")
    now = "'2026-01-02 03:04:05.000000'"
    keys = [("Acme/App#1", ""), ("Acme/App#2", "New/App#3"), ("Ärmel/ß#4", "")]
    with disposed(make_app(empty_database)) as app, app.app_context():
        db.session.execute(sa.text(f"INSERT INTO scm_organization VALUES (1, 'acme', '', {now})"))
        db.session.execute(sa.text(f"INSERT INTO scm_integration VALUES (1, '', '1', '', '{{}}', {now})"))
        for key, moved_to in keys:
            statement = (
                "INSERT INTO scm_external_issue (organization_id, integration_id, key, title, description, metadata,"
                f" web_url, date_added, moved_to) VALUES (1, 1, :key, '', '', '{{}}', '', {now}, :moved_to)"
            )
            db.session.execute(sa.text(statement), {"key": key, "moved_to": moved_to})
        db.session.commit()
        flask_db("own", empty_database, "upgrade")
        places = {row.key: row.place for row in db.session.scalars(sa.select(ExternalIssue))}
    assert places == {key: place_of(moved_to or key) for key, moved_to in keys}


def test_the_migration_reads_urls_as_the_package_does() -> None:
    path = next(Path(MIGRATIONS, "versions").glob("scm0004*.py"))
    spec = importlib.util.spec_from_file_location("scm0004", path)
    assert spec is not None
    assert spec.loader is not None
    migration = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(migration)
    for url in [url for urls in SAME.values() for url in urls]:
        assert migration._remote_of(url) == remote_of(url)


def test_tables_that_init_db_made_are_taken_over_by_a_stamp(database: str, flask_db: FlaskDb) -> None:
    flask_db("own", database, "stamp", "head")
    flask_db("own", database, "upgrade")
    flask_db("own", database, "check")


def test_it_can_be_read_before_it_is_done(empty_database: str, flask_db: FlaskDb) -> None:
    script = flask_db("own", empty_database, "upgrade", "--sql")
    assert "CREATE TABLE scm_repository" in script
    assert ("pg_trgm" in script) == empty_database.startswith("postgresql")


def test_a_hosts_own_migrations_have_the_tables_too(
    database: str, empty_database: str, tmp_path: Path, flask_db: FlaskDb
) -> None:
    host = {"HOST_MIGRATIONS": str(tmp_path / "migrations")}
    flask_db("host", empty_database, "init", **host)
    flask_db("host", empty_database, "migrate", **host)
    flask_db("host", empty_database, "upgrade", **host)
    flask_db("host", empty_database, "check", **host)
    with disposed(make_app(empty_database)) as migrated, disposed(make_app(database)) as created:
        assert schema(migrated) > schema(created)


@pytest.mark.parametrize("file", sorted(Path(MIGRATIONS).rglob("*.py")), ids=lambda file: file.name)
def test_a_migration_imports_nothing_of_the_package(file: Path) -> None:
    """The models change after it is written, and it does not."""
    assert "flask_grpcweb_scm" not in file.read_text()


class Table(NamedTuple):
    optional: dict[str, bool]
    """The columns, and if a row may be written without them."""
    unique: set[tuple[str, ...]]


def tables_of(engine: sa.Engine) -> dict[str, Table]:
    inspector = sa.inspect(engine)
    return {
        name: Table(
            {each["name"]: each["nullable"] or each["default"] is not None for each in inspector.get_columns(name)},
            {tuple(map(str, each["column_names"])) for each in inspector.get_unique_constraints(name)},
        )
        for name in inspector.get_table_names()
    }


def broken_for_older_code(before: dict[str, Table], after: dict[str, Table]) -> list[str]:
    """What code that knows the tables of before does not survive: nothing may be gone, renamed or demanded."""
    found = [f"{name} is gone" for name in before.keys() - after.keys()]
    for name in before.keys() & after.keys():
        old, new = before[name], after[name]
        found += [f"{name}.{column} is gone" for column in old.optional.keys() - new.optional.keys()]
        demanded = {column for column, optional in new.optional.items() if not optional}
        found += [f"{name}.{column} is demanded" for column in demanded if old.optional.get(column, True)]
        found += [f"{name} has one row for each {columns}" for columns in new.unique - old.unique]
    return found


# Until then nothing was released.
FIRST_RELEASED = "scm0004"


def test_code_of_the_release_before_runs_on_newer_tables(empty_database: str, flask_db: FlaskDb) -> None:
    """docs/operations.md promises it: both serve while a release is taken into use."""
    names = [file.name[:7] for file in revisions()]
    before: dict[str, Table] = {}
    for revision in names[names.index(FIRST_RELEASED) :]:
        flask_db("own", empty_database, "upgrade", revision)
        with disposed(make_app(empty_database)) as app, app.app_context():
            after = tables_of(db.engine)
        assert broken_for_older_code(before, after) == [], revision
        before = after


@pytest.mark.parametrize(
    ("statement", "count"),
    [
        ("ALTER TABLE t ADD COLUMN b TEXT", 0),
        ("ALTER TABLE t ADD COLUMN b TEXT NOT NULL DEFAULT ''", 0),
        ("CREATE TABLE new (a INTEGER NOT NULL UNIQUE)", 0),
        ("CREATE INDEX i ON t (a)", 0),
        ("ALTER TABLE t RENAME COLUMN a TO b", 1),
        ("DROP TABLE t; CREATE TABLE t (a TEXT, b TEXT NOT NULL)", 1),
        ("DROP TABLE t; CREATE TABLE t (a TEXT UNIQUE)", 1),
        ("DROP TABLE t; CREATE TABLE t (a TEXT NOT NULL)", 1),
        ("DROP TABLE t", 1),
    ],
)
def test_what_older_code_does_not_survive_is_seen(statement: str, count: int) -> None:
    found = []
    for statements in (["CREATE TABLE t (a TEXT)"], ["CREATE TABLE t (a TEXT)", *statement.split("; ")]):
        engine = sa.create_engine("sqlite://", poolclass=sa.StaticPool)
        with engine.begin() as connection:
            for each in statements:
                connection.exec_driver_sql(each)
        found.append(tables_of(engine))
        engine.dispose()
    assert len(broken_for_older_code(*found)) == count


@pytest.mark.needs("time")
def test_a_change_of_the_models_becomes_a_new_revision(tmp_path: Path) -> None:
    directory = str(shutil.copytree(MIGRATIONS, tmp_path / "migrations"))
    table = sa.Table("scm_new", db.metadata, sa.Column("id", sa.Integer, primary_key=True))
    try:
        written = write_migration("a new table", directory)
        assert written is not None
        assert written.name == f"scm{len(revisions()) + 1:04}_a_new_table.py"
        assert f"down_revision = {revisions()[-1].name[:7]!r}" in written.read_text()
        assert "create_table('scm_new'" in written.read_text()
        assert write_migration("nothing else", directory) is None
    finally:
        db.metadata.remove(table)
