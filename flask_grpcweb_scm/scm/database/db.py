"""The database of the SCM models: the app's own SQLAlchemy instance or one of ours."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from flask import Flask, current_app, has_app_context
from flask_sqlalchemy import SQLAlchemy
from flask_sqlalchemy.session import Session
from sqlalchemy import orm
from sqlalchemy.dialects import sqlite
from urllib3.util import wait_for_read

from flask_grpcweb_scm.forks import renew_after_fork
from flask_grpcweb_scm.scm.database.sqlite_file import create_folder, watch_file
from flask_grpcweb_scm.transactions import commit
from flask_grpcweb_scm.transactions.deadlines import CallPool, begin_work_elsewhere

__all__ = [
    "Model",
    "UtcDateTime",
    "commit_step",
    "database_clock",
    "database_now",
    "db",
    "insert_new",
    "release_connection",
]

SQLITE_BUSY_MILLISECONDS = 10_000
_LIBPQ = {"psycopg", "psycopg2", "psycopg2cffi"}
# https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS
_LIBPQ_OPTIONS = {
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
POOL = {"pool_size": 16, "max_overflow": 16, "pool_timeout": 10}
"""Connections that are kept, additional ones when all are in use, and seconds to wait for one."""


class UtcDateTime(sa.TypeDecorator[datetime]):
    """An instant, always read in UTC; one that is written without a time zone counts as UTC."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True
    # For alembic, which writes a type of any other module into a migration as a name that the migration does not have.
    __module__ = "sqlalchemy.types"

    def __repr__(self) -> str:
        return "DateTime(timezone=True)"

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """Convert to UTC, because SQLite stores no time zone."""
        if value is None or value.tzinfo is None:
            return value and value.replace(tzinfo=timezone.utc)
        return value.astimezone(timezone.utc)

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """Convert to UTC: SQLite returns no time zone, PostgreSQL that of its session."""
        return self.process_bind_param(value, dialect)


class Base(orm.DeclarativeBase):
    """Types and constraint names that every model shares."""

    registry = orm.registry(
        metadata=sa.MetaData(
            naming_convention={
                "pk": "pk_%(table_name)s",
                "fk": "fk_%(table_name)s_%(column_0_name)s",
                "ix": "ix_%(table_name)s_%(column_0_name)s",
            }
        ),
        type_annotation_map={
            # SQLite numbers rows by itself only in a column whose type is exactly INTEGER.
            int: sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            datetime: UtcDateTime,
        },
    )


class Database(SQLAlchemy):
    """A Flask-SQLAlchemy instance that delegates, app by app, to the instance that the app has already."""

    _own_session: orm.scoped_session[Session]

    def init_app(self, app: Flask) -> None:
        """Give the app's own SQLAlchemy instance the tables of the SCM models, or register this one.

        Without configuration the database is ``scm.db`` in the instance folder. Sessions and connections that are open
        at a fork stay the parent's.
        """
        active = app.extensions.get("sqlalchemy")
        if active is None:
            app.config.setdefault("SQLALCHEMY_DATABASE_URI", "sqlite:///scm.db")
            app.config["SQLALCHEMY_ENGINE_OPTIONS"] = _engine_options(app.config)
            create_folder(app.instance_path, sa.make_url(app.config["SQLALCHEMY_DATABASE_URI"]))
            super().init_app(app)
            with app.app_context():
                for engine in self.engines.values():
                    if engine.dialect.name == "sqlite":
                        sa.event.listen(engine, "connect", _configure_sqlite)
                        watch_file(engine)
                    elif engine.dialect.driver in _LIBPQ:
                        sa.event.listen(engine, "do_connect", _configure_libpq)
                        sa.event.listen(engine, "checkout", _check_connection)
        elif active is not self:
            _share_tables(self.metadata, active.metadata)
        with app.app_context():
            renew_after_fork(self.session, _renew_sessions)
            for engine in self.engines.values():
                renew_after_fork(engine, _renew_pool)

    @property
    def _active(self) -> SQLAlchemy:
        if not has_app_context():
            return self
        active: SQLAlchemy = current_app.extensions.get("sqlalchemy", self)
        return active

    @property
    def session(self) -> orm.scoped_session[Session]:
        """The session of the current app, of its own instance or of this one."""
        return self._own_session if self._active is self else self._active.session

    @session.setter
    def session(self, session: orm.scoped_session[Session]) -> None:
        self._own_session = session

    @property
    def engines(self) -> Mapping[str | None, sa.Engine]:
        """The engines of the current app, by bind key."""
        return super().engines if self._active is self else self._active.engines


def _engine_options(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return engine options for a server with a few dozen threads, each of which may have a stream open."""
    url = sa.make_url(config["SQLALCHEMY_DATABASE_URI"])
    if url.get_backend_name() == "sqlite" and url.database in {None, "", ":memory:"}:
        # A database in memory is one connection.
        return {**config.get("SQLALCHEMY_ENGINE_OPTIONS", {})}
    options = {**config.get("SQLALCHEMY_ENGINE_OPTIONS", POOL)}
    if options.keys().isdisjoint({"pool", "poolclass"}):
        options["poolclass"] = CallPool
    return options


def _renew_sessions(sessions: orm.scoped_session[Session]) -> object:
    """Begin without sessions: that of an app context around the fork may be in a transaction."""
    registry: Any = sessions.registry
    inherited = registry.registry
    registry.registry = type(inherited)()  # a dict, or a threading.local for a session without a scope
    return inherited


def _renew_pool(engine: sa.Engine) -> object:
    """Begin without connections.

    "Engine.dispose.close=False … the new process will not touch any of the parent process' connections" (SQLAlchemy,
    "Using Connection Pools with Multiprocessing or os.fork()").
    """
    inherited = engine.pool
    # These are for databases in memory, of which the child has a copy.
    if not isinstance(inherited, sa.pool.StaticPool | sa.pool.SingletonThreadPool):
        engine.dispose(close=False)
    return inherited


def _configure_sqlite(connection: sqlite3.Connection, record: object) -> None:
    # First, because turning WAL on waits for other connections too.
    connection.execute(f"PRAGMA busy_timeout = {SQLITE_BUSY_MILLISECONDS}")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA foreign_keys = ON")
    # SQLite's own lower() knows only ASCII letters, and searches for names are case-insensitive.
    connection.create_function("lower", 1, _lower, deterministic=True)


def _configure_libpq(dialect: sa.Dialect, record: object, arguments: object, options: dict[str, Any]) -> None:
    for name, value in _LIBPQ_OPTIONS.items():
        options.setdefault(name, value)


def _check_connection(connection: Any, record: object, proxy: object) -> None:
    """Replace connections that the server has closed.

    A server that has something to say while nobody asked says farewell. To ask it would take a round trip, and hang if
    the server does.
    """
    if wait_for_read(connection, timeout=0):
        raise sa.exc.InvalidatePoolError("the server has closed the connection")


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def _share_tables(ours: sa.MetaData, theirs: sa.MetaData) -> None:
    """Put the tables of the SCM models into the metadata of the app's own instance.

    Table.to_metadata() would make a second Table, which relationships of the app's models could not join to ours. So
    this assumes ``MetaData._add_table(name, schema, table)``, which SQLAlchemy 2.0 and 2.1 have.

    :raises RuntimeError: with a version of SQLAlchemy that adds tables in another way.
    """
    add_table = getattr(theirs, "_add_table", None)
    for table in ours.tables.values():
        if add_table is not None:
            add_table(table.name, table.schema, table)
        if theirs.tables.get(table.key) is not table:
            raise RuntimeError(
                f"SQLAlchemy {sa.__version__} cannot share the tables of the SCM service with the app's own SQLAlchemy"
                " instance; install sqlalchemy<2.2, or set GRPC_SCM = False"
            )
    for table in theirs.tables.values():
        for key in table.foreign_keys:
            # A column without a type takes the type of its target, but these came before their targets.
            if isinstance(key.parent.type, sa.types.NullType) and key.target_fullname.partition(".")[0] in ours.tables:
                key.parent.type = key.column.type


db: Database = Database(model_class=Base)
"""The Flask-SQLAlchemy instance of the models: the app's own in an app that has one, else that of the extension."""

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql

    class Model(Base):
        """Type of the base class of the models, which Flask-SQLAlchemy makes at run time."""

        __abstract__ = True
        query: orm.Query[Any]
else:
    Model = db.Model


def commit_step() -> None:
    """Commit the call's work so far and release the connection, before work that a transaction cannot include.

    It also commits what the app's own hooks have written in this session before the call. Later statements have ten
    seconds after the deadline: effects elsewhere are to be stored.

    :raises DBAPIError: when the database did not commit; UnconfirmedCommit, when it may have.
    """
    release_connection()
    begin_work_elsewhere()


def release_connection(*, keep_rows: bool = False) -> None:
    """Commit the call's work so far and release the connection; the next statement begins a new transaction.

    :param keep_rows: leave the rows of the session as they were read; else each is read again when it is used.
    :raises DBAPIError: see :func:`commit_step`.
    """
    session = db.session()
    usual = session.expire_on_commit
    session.expire_on_commit = usual and not keep_rows
    try:
        commit(session)
    finally:
        session.expire_on_commit = usual


def database_now() -> datetime:
    """Return the instant by the clock of the database; those of servers differ."""
    now: datetime = db.session.execute(sa.select(database_clock())).scalar_one()
    return now


def database_clock() -> sa.ColumnElement[datetime]:
    """Build the expression for that instant."""
    if db.engine.dialect.name == "postgresql":
        # Not now(), which is the start of the transaction: it may have waited for a lock.
        return sa.func.clock_timestamp(type_=UtcDateTime)
    # With as many digits as are stored, so that they compare as texts too.
    return sa.func.strftime("%Y-%m-%d %H:%M:%f000", "now", type_=UtcDateTime)


def insert_new(table: type[Model] | sa.Table, constraint: str | None = None) -> sqlite.Insert | postgresql.Insert:
    """Build an INSERT that skips rows whose unique values exist, also those of a concurrent transaction.

    A failed INSERT would end the transaction on PostgreSQL, and savepoints commit early with Python's SQLite driver.

    :param constraint: name of the only unique constraint that a row is skipped for; another one that does not hold, say
        of ids whose sequence is behind its rows, is an IntegrityError. None for all of them.
    :raises NotImplementedError: for a database that is neither SQLite nor PostgreSQL.
    """
    dialect = db.engine.dialect.name
    columns = None if constraint is None else _columns_of(table, constraint)
    if dialect == "postgresql":
        # Apps on SQLite need not import it.
        from sqlalchemy.dialects import postgresql

        return postgresql.insert(table).on_conflict_do_nothing(index_elements=columns)
    if dialect == "sqlite":
        return sqlite.insert(table).on_conflict_do_nothing(index_elements=columns)
    raise NotImplementedError(f"the SCM service stores in SQLite or PostgreSQL, not in {dialect}")


def _columns_of(model: type[Model] | sa.Table, constraint: str) -> list[str]:
    table = model if isinstance(model, sa.Table) else model.__table__
    assert isinstance(table, sa.Table)
    (unique,) = (found for found in table.constraints if found.name == constraint)
    assert isinstance(unique, sa.UniqueConstraint)
    return [column.name for column in unique.columns]
