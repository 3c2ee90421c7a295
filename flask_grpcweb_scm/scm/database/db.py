"""The database of the SCM models: the app's own SQLAlchemy instance when it has one, else an instance of ours."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from flask import Flask, current_app, has_app_context
from flask_sqlalchemy import SQLAlchemy
from flask_sqlalchemy.session import Session
from sqlalchemy import orm
from sqlalchemy.dialects import postgresql, sqlite

__all__ = ["JsonWriter", "Model", "UtcDateTime", "db", "insert_new", "insert_rows", "is_one_of", "json_writer"]

JsonWriter = Callable[[object], str]

SQLITE_BUSY_MILLISECONDS = 10_000
POOL = {"pool_size": 16, "max_overflow": 16, "pool_timeout": 10}
"""Connections that are kept, and made beside them when all are in use; seconds to wait for one."""

_as_json = json.JSONEncoder(ensure_ascii=False).encode


class UtcDateTime(sa.TypeDecorator[datetime]):
    """An instant, always read back in UTC; one written without a time zone is taken as UTC."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True
    # For alembic, which writes a type of any other module into a migration as a name that the migration does not have.
    __module__ = "sqlalchemy.types"

    def __repr__(self) -> str:
        return "DateTime(timezone=True)"

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """In UTC, because SQLite keeps no time zone."""
        if value is None or value.tzinfo is None:
            return value and value.replace(tzinfo=timezone.utc)
        return value.astimezone(timezone.utc)

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """SQLite answers without a time zone, PostgreSQL in the one of its session."""
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
    """A Flask-SQLAlchemy instance that steps aside, app by app, for the one that the app has already."""

    _own_session: orm.scoped_session[Session]

    def init_app(self, app: Flask) -> None:
        """Give the app's own SQLAlchemy instance the tables of the SCM models, or register this one.

        Without configuration the database is ``scm.db`` in the instance folder.
        """
        active = app.extensions.get("sqlalchemy")
        if active is None:
            app.config.setdefault("SQLALCHEMY_DATABASE_URI", "sqlite:///scm.db")
            app.config.setdefault("SQLALCHEMY_ENGINE_OPTIONS", _engine_options(app.config["SQLALCHEMY_DATABASE_URI"]))
            super().init_app(app)
            with app.app_context():
                for engine in self.engines.values():
                    if engine.dialect.name == "sqlite":
                        sa.event.listen(engine, "connect", _configure_sqlite)
        elif active is not self:
            _share_tables(self.metadata, active.metadata)

    @property
    def _active(self) -> SQLAlchemy:
        if not has_app_context():
            return self
        active: SQLAlchemy = current_app.extensions.get("sqlalchemy", self)
        return active

    @property
    def session(self) -> orm.scoped_session[Session]:
        """The session of the current app, whoever's it is."""
        return self._own_session if self._active is self else self._active.session

    @session.setter
    def session(self, session: orm.scoped_session[Session]) -> None:
        self._own_session = session

    @property
    def engines(self) -> Mapping[str | None, sa.Engine]:
        """The engines of the current app, by bind key."""
        return super().engines if self._active is self else self._active.engines


def _engine_options(uri: str | sa.URL) -> dict[str, Any]:
    """For a server with a few dozen threads, each of which may have a stream open."""
    url = sa.make_url(uri)
    if url.get_backend_name() == "sqlite":
        # A database in memory is one connection.
        return {} if url.database in {None, "", ":memory:"} else dict(POOL)
    # Connections that a restart of the server has cut are found out before a call gets them.
    return {**POOL, "pool_pre_ping": True}


def _configure_sqlite(connection: sqlite3.Connection, record: object) -> None:
    # First of all, because turning WAL on waits for other connections too.
    connection.execute(f"PRAGMA busy_timeout = {SQLITE_BUSY_MILLISECONDS}")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA foreign_keys = ON")
    # SQLite's own lower() knows only ASCII letters, and searches for names are case-insensitive.
    connection.create_function("lower", 1, _lower, deterministic=True)


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def _share_tables(ours: sa.MetaData, theirs: sa.MetaData) -> None:
    for table in ours.tables.values():
        # Table.to_metadata() would make a second Table, which relationships of the app's models could not join to ours.
        theirs._add_table(table.name, table.schema, table)
    for table in theirs.tables.values():
        for key in table.foreign_keys:
            # A column without a type takes the type of its target, but these came before their targets.
            if isinstance(key.parent.type, sa.types.NullType) and key.target_fullname.partition(".")[0] in ours.tables:
                key.parent.type = key.column.type


db = Database(model_class=Base)

if TYPE_CHECKING:

    class Model(Base):
        """What the models inherit at run time is made by Flask-SQLAlchemy."""

        __abstract__ = True
        query: orm.Query[Any]
else:
    Model = db.Model


def insert_new(table: type[Model] | sa.Table) -> sqlite.Insert | postgresql.Insert:
    """INSERT that leaves out rows whose unique values are taken, also by a transaction that commits meanwhile.

    A failed INSERT would end the transaction on PostgreSQL, and savepoints commit early with Python's SQLite driver.

    :raises NotImplementedError: for a database that is neither SQLite nor PostgreSQL.
    """
    dialect = db.engine.dialect.name
    if dialect == "postgresql":
        return postgresql.insert(table).on_conflict_do_nothing()
    if dialect == "sqlite":
        return sqlite.insert(table).on_conflict_do_nothing()
    raise NotImplementedError(f"the SCM service stores in SQLite or PostgreSQL, not in {dialect}")


def is_one_of(column: orm.InstrumentedAttribute[Any], values: Sequence[object]) -> sa.ColumnElement[bool]:
    """``IN`` for hundreds of values.

    PostgreSQL gets them as one parameter: as many parameters would take longer to prepare than the query itself.
    """
    if db.engine.dialect.name == "postgresql":
        return column == sa.any_(sa.literal(values, postgresql.ARRAY(column.type)))
    return column.in_(values)


def insert_rows(statement: sa.Insert, names: Sequence[str], rows: Iterable[str]) -> Sequence[Any]:
    """Run an INSERT without values for thousands of rows of text, numbers, instants and None.

    Returns the rows of its RETURNING, if it has one. The values are one parameter, a JSON text: as many parameters take
    several times as long.

    :param names: of the columns that the values of a row are for: all that have a default of Python's, in their order.
    :param rows: of each its values in JSON, as :func:`json_writer` writes them, with commas between them.
    """
    text = "],[".join(rows)
    if not text:
        return ()
    document = sa.literal(f"[[{text}]]", sa.Text)
    values: list[sa.ColumnElement[Any]] = []
    if db.engine.dialect.name == "postgresql":
        each = sa.func.jsonb_array_elements(sa.cast(document, postgresql.JSONB)).table_valued("value", name="each")
        types = [statement.table.c[name].type for name in names]
        values += [sa.cast(each.c.value.op("->>")(place), type_) for place, type_ in enumerate(types)]
    else:
        each = sa.func.json_each(document).table_valued("value", name="each")
        values += [sa.func.json_extract(each.c.value, f"$[{place}]") for place in range(len(names))]
    # Without a WHERE, SQLite would take ON CONFLICT for the condition of a join.
    result: Any = db.session.execute(statement.from_select(list(names), sa.select(*values).where(sa.true())))
    return result.all() if result.returns_rows else ()


def json_writer() -> JsonWriter:
    """What writes a value for :func:`insert_rows`, as the database of the current app stores it; in any thread."""
    dialect = db.engine.dialect
    as_stored = UtcDateTime().dialect_impl(dialect).bind_processor(dialect)
    assert as_stored is not None

    def write(value: object) -> str:
        return _as_json(str(as_stored(value)) if isinstance(value, datetime) else value)

    return write
