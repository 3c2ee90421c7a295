"""docs/databases.md says what is true: its apps and commands run as printed, on both databases."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from flask_grpcweb_scm.scm import db
from flask_grpcweb_scm.scm.search import SEARCH_INDEX
from tests.documents import PAGES, blocks, files
from tests.scm.databases import PostgresqlDatabases, disposed
from tests.scm.support import make_app

PAGE = PAGES["databases"]
FILES = files(PAGE)


@pytest.mark.parametrize("name", ["own_app", "host_app"])
def test_the_apps_and_their_commands(empty_database: str, tmp_path: Path, shell_path: str, name: str) -> None:
    (tmp_path / f"{name}.py").write_text(FILES[f"{name}.py"])
    environ = {
        **os.environ,
        "PATH": shell_path,
        "FLASK_SQLALCHEMY_DATABASE_URI": empty_database,
        "FLASK_TESTING": "true",
    }
    (console,) = [code for code in blocks(PAGE, "console") if name in code]
    for command, expected in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", console, re.MULTILINE):
        done = subprocess.run(
            ["bash", "-c", command], cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        assert expected in done.stdout, command
    with disposed(make_app(empty_database)) as app, app.app_context():
        tables = set(sa.inspect(db.engine).get_table_names())
    assert {*db.metadata.tables, "alembic_version"} | ({"team"} if name == "host_app" else set()) == tables
    assert SEARCH_INDEX not in "".join(path.read_text() for path in tmp_path.glob("migrations/versions/*.py"))


@pytest.fixture
def postgresql(postgresql_databases: PostgresqlDatabases) -> Iterator[str]:
    uri = postgresql_databases.create()
    yield uri
    postgresql_databases.drop(uri)


@pytest.mark.needs("PostgreSQL")
def test_the_search_index_can_be_made_later(postgresql: str) -> None:
    with disposed(make_app(postgresql)) as app, app.app_context():
        exec(FILES["search_index.py"], {})


@pytest.mark.needs("PostgreSQL")
def test_the_options_for_pgbouncer_are_options(postgresql: str) -> None:
    names: dict[str, dict[str, object]] = {}
    exec(FILES["pgbouncer.py"], names)
    options = names["SQLALCHEMY_ENGINE_OPTIONS"]
    with disposed(make_app(postgresql, SQLALCHEMY_ENGINE_OPTIONS=options)) as app, app.app_context():
        assert db.session.scalar(sa.select(1)) == 1


def test_every_file_of_the_page_is_run() -> None:
    assert set(FILES) == {"own_app.py", "host_app.py", "search_index.py", "pgbouncer.py"}
