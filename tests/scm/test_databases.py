"""The databases of the tests: what one test leaves in its own does not come to another."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from flask_grpcweb_scm.scm import Organization, Repository, db
from tests.scm.databases import PostgresqlDatabases, disposed
from tests.scm.support import add_tenant, make_app

pytestmark = pytest.mark.needs("PostgreSQL")


def change(uri: str, statement: str = "SELECT 1") -> int:
    """Add rows and run a statement; the id of the repository."""
    with disposed(make_app(uri)) as app, app.app_context():
        assert db.session.scalars(sa.select(Organization)).all() == []
        repository = add_tenant("ours").repository
        db.session.execute(sa.text(statement))
        db.session.commit()
        return repository


def test_rows_are_deleted_and_ids_begin_anew(postgresql_databases: PostgresqlDatabases) -> None:
    first = postgresql_databases.create()
    assert change(first) == 1
    postgresql_databases.drop(first)
    second = postgresql_databases.create()
    assert second == first, "it is used again"
    assert change(second) == 1
    postgresql_databases.drop(second)


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE scm_repository RENAME TO elsewhere",
        "ALTER TABLE scm_repository ALTER name DROP NOT NULL",
        "CREATE TABLE more (id int)",
        "CREATE INDEX more ON scm_repository (status)",
        "DROP INDEX ix_scm_repository_page",
        "ANALYZE scm_repository",
    ],
)
def test_a_database_with_anything_else_is_dropped(postgresql_databases: PostgresqlDatabases, statement: str) -> None:
    first = postgresql_databases.create()
    change(first, statement)
    postgresql_databases.drop(first)
    second = postgresql_databases.create()
    assert second != first
    change(second)
    postgresql_databases.drop(second)


def test_connections_that_were_left_open_are_closed(postgresql_databases: PostgresqlDatabases) -> None:
    first = postgresql_databases.create()
    with disposed(make_app(first)) as app, app.app_context():
        db.session.add(Repository(organization=Organization(slug="ours"), name="one"))
        db.session.flush()
        postgresql_databases.drop(first)
        with pytest.raises(sa.exc.OperationalError):
            db.session.commit()
        db.session.rollback()
    change(postgresql_databases.create())
