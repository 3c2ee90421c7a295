"""The search for repositories by trigrams, on a server that has them; and the order of names in a language."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_grpcweb_scm.scm import Repository, db
from flask_grpcweb_scm.scm.search import SEARCH_INDEX
from tests.scm.conftest import FlaskDb
from tests.scm.databases import PostgresqlDatabases, disposed, installed_postgresql, installed_server
from tests.scm.queries.plans import plan_of
from tests.scm.support import Scm, make_app

PROGRAMS = installed_postgresql()
ROWS = 20_000

pytestmark = [
    pytest.mark.needs("PostgreSQL"),
    pytest.mark.skipif(PROGRAMS is None, reason="no PostgreSQL with pg_trgm: apt install postgresql"),
]


@pytest.fixture(scope="module")
def english() -> Iterator[PostgresqlDatabases]:
    """Databases that sort like a dictionary."""
    assert PROGRAMS is not None
    with installed_server(PROGRAMS) as uri:
        databases = PostgresqlDatabases(uri, locale="LOCALE_PROVIDER icu ICU_LOCALE 'en'")
        yield databases
        databases.close()


@pytest.fixture
def database(english: PostgresqlDatabases) -> Iterator[str]:
    uri = english.create()
    yield uri
    english.drop(uri)


def add(app: Flask, organization: int, *names: str) -> None:
    with app.app_context():
        db.session.execute(sa.insert(Repository), [{"organization_id": organization, "name": name} for name in names])
        db.session.commit()


def indexes(app: Flask) -> set[str]:
    with app.app_context():
        return set(db.session.scalars(sa.text("SELECT indexname FROM pg_indexes WHERE schemaname = 'public'")))


def test_a_search_for_a_rare_part_of_a_name_reads_the_trigrams(app: Flask, scm: Scm, organization: int) -> None:
    add(app, organization, *(f"group{n % 100}/repository{n}" for n in range(ROWS)), "Größe/Zürich_1", "größe/zürichX1")
    with app.app_context():
        db.session.execute(sa.text("ANALYZE"))
        db.session.commit()
    fields = {"organization_id": organization, "query": "ZÜRICH_"}
    assert [row.name for row in scm("ListRepositories", **fields).repositories] == ["Größe/Zürich_1"]
    assert SEARCH_INDEX in plan_of(app, lambda: scm("ListRepositories", **fields))


def test_the_order_is_that_of_the_bytes_and_not_of_the_language(app: Flask, scm: Scm, organization: int) -> None:
    names = ["Z", "a", "B", "_", "b", "A-b", "Ab", "aa", "ä", "a b", "a/b", "é"]
    add(app, organization, *names)
    with app.app_context():
        assert db.session.scalar(sa.text("SELECT 'a' < 'B'")), "the database itself sorts by language"
    token, paged = "", []
    for _ in names:
        page = scm("ListRepositories", organization_id=organization, page_size=1, page_token=token)
        paged += [row.name for row in page.repositories]
        token = page.next_page_token
    assert paged == sorted(names, key=str.encode)
    assert token == ""


def test_a_role_that_may_not_create_the_extension_gets_the_tables(english: PostgresqlDatabases) -> None:
    uri = english.create(tables=False)
    with disposed(make_app(uri)) as owner, owner.app_context():
        db.session.execute(sa.text("CREATE ROLE guest LOGIN"))
        db.session.execute(sa.text("GRANT CREATE ON SCHEMA public TO guest"))
        db.session.commit()
    with disposed(make_app(uri.replace("postgres@", "guest@"))) as guest:
        with guest.app_context():
            db.create_all()
        assert "ix_scm_repository_page" in indexes(guest)
        assert SEARCH_INDEX not in indexes(guest)
    english.drop(uri)


def test_migrations_make_the_index_and_leave_it_alone(english: PostgresqlDatabases, flask_db: FlaskDb) -> None:
    uri = english.create(tables=False)
    flask_db("own", uri, "upgrade")
    flask_db("own", uri, "check")
    with disposed(make_app(uri)) as app:
        assert SEARCH_INDEX in indexes(app)
    english.drop(uri)
