"""Deadlines of calls in the database: for connecting, for the pool, for locks and statements; and servers that hang.

PostgreSQL cancels statements at the deadline by itself, and SQLite is interrupted. A server that hangs does nothing: a
moment after the deadline the connection to it is shut down, which ends whatever waits for it.
"""

from __future__ import annotations

import contextlib
import math
import os
import socket
import sqlite3
import threading
import time
import weakref
from collections.abc import Iterator
from typing import Any, cast

import sqlalchemy as sa
from flask import g, has_app_context
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import orm

from flask_grpcweb_scm.forks import renew_after_fork
from flask_grpcweb_scm.rpc import CallContext
from flask_grpcweb_scm.time_limits import TimeLimit

__all__ = ["CallPool", "ConnectTimeout", "begin_work_elsewhere", "is_in_call", "limit_call"]

CUT_SECONDS = 0.4
"""After the deadline, for PostgreSQL to tell that it has cancelled a statement."""
STORE_SECONDS = 10
"""After the deadline, to store what has had effects elsewhere."""
TICK_SECONDS = 0.2

_LIBPQ = {"psycopg", "psycopg2", "psycopg2cffi"}
# Until the end of the transaction. A limit that the server, the role or the database has is kept.
_LIMITS = sa.text(
    """
    SELECT set_config('lock_timeout', CASE current_setting('lock_timeout')
                                      WHEN '0' THEN '10s' ELSE current_setting('lock_timeout') END, true),
           set_config('statement_timeout', CAST(CAST(coalesce(least(
               CAST(:milliseconds AS float),
               nullif(extract(epoch FROM CAST(current_setting('statement_timeout') AS interval)) * 1000, 0)
           ), 0) AS bigint) AS text), true)
    """
)

# Attribute of flask.g, and keys of the info of a pooled connection
_CALL = "flask_grpcweb_scm.call"
_WATCH = "flask_grpcweb_scm.watch"
_BUSY_TIMEOUT = "flask_grpcweb_scm.busy_timeout"


class ConnectTimeout(sa.exc.TimeoutError):
    """Raised when the database has not accepted a connection before the deadline of the call."""


class _Limits:
    """The limits that the deadline of a call sets to its statements and connections."""

    def __init__(self, context: CallContext) -> None:
        self._context = context
        self.acts_elsewhere = False

    def remaining(self) -> float | None:
        """Seconds for statements and for new connections; None for any number."""
        return None if self.acts_elsewhere else self._context.remaining()

    def end(self, grace: float) -> float:
        """The instant at which a connection is not waited for any longer, which may move."""
        deadline = self._context.deadline
        return math.inf if deadline is None else deadline + (STORE_SECONDS if self.acts_elsewhere else grace)


@contextlib.contextmanager
def limit_call(db: SQLAlchemy, context: CallContext) -> Iterator[None]:
    """Apply the deadline of a call to what sessions of its app context do in the block."""
    _prepare(db)
    # Not the session, which the call may remove, and go on with a new one.
    outer = g.get(_CALL)
    setattr(g, _CALL, _Limits(context))
    try:
        yield
    finally:
        if outer is None:
            g.pop(_CALL)
        else:
            setattr(g, _CALL, outer)


def begin_work_elsewhere() -> None:
    """Give what the call does from now on ten seconds more, so that its effects elsewhere are stored."""
    limits = _current_limits()
    if limits is not None:
        limits.acts_elsewhere = True


def _current_limits() -> _Limits | None:
    return cast("_Limits | None", g.get(_CALL)) if has_app_context() else None


def is_in_call() -> bool:
    """Return whether the app context is that of a call."""
    return _current_limits() is not None


_prepared: weakref.WeakSet[sa.Engine] = weakref.WeakSet()
_preparing = threading.Lock()


def _prepare(db: SQLAlchemy) -> None:
    """Make calls with the sessions and engines of an app heed their deadlines; outside of calls they are as before."""
    for engine in db.engines.values():
        if engine not in _prepared:
            with _preparing:
                if engine not in _prepared:
                    _listen(engine, db.session)
                    _prepared.add(engine)


def _listen(engine: sa.Engine, sessions: orm.scoped_session[Any]) -> None:
    if not sa.event.contains(sessions, "after_begin", _limit_transaction):
        sa.event.listen(sessions, "after_begin", _limit_transaction)
    if not isinstance(engine.pool, sa.QueuePool | sa.NullPool):  # of a database in memory, which does not hang
        return
    if engine.dialect.name == "postgresql" and not engine.dialect.is_async:
        sa.event.listen(engine, "do_connect", _connect)
    if engine.dialect.name == "sqlite":
        sa.event.listen(engine, "do_connect", _refuse_new_file)
    sa.event.listen(engine, "checkout", _watch)
    sa.event.listen(engine, "checkin", _unwatch)


# Locks and statements


def _limit_transaction(session: orm.Session, transaction: orm.SessionTransaction, connection: sa.Connection) -> None:
    limits = _current_limits()
    dialect = connection.dialect.name
    if dialect == "postgresql" and limits is not None and not transaction.nested:
        remaining = limits.remaining()
        # 0 would mean no limit.
        milliseconds = None if remaining is None else max(1, int(remaining * 1000))
        connection.execute(_LIMITS, {"milliseconds": milliseconds})
    elif dialect == "sqlite":
        _limit_busy_timeout(connection, None if limits is None else limits.remaining())


def _limit_busy_timeout(connection: sa.Connection, remaining: float | None) -> None:
    """Have SQLite wait for other writers no longer than the deadline; its own setting is read once."""
    if _BUSY_TIMEOUT not in connection.info:
        if remaining is None:
            return
        usual = connection.exec_driver_sql("PRAGMA busy_timeout").scalar_one()
        connection.info[_BUSY_TIMEOUT] = usual, usual
    usual, current = connection.info[_BUSY_TIMEOUT]
    wanted = usual if remaining is None else min(usual, int(remaining * 1000))
    if wanted != current:
        connection.exec_driver_sql(f"PRAGMA busy_timeout = {wanted}")
        connection.info[_BUSY_TIMEOUT] = usual, wanted


# The pool, and connecting


class CallPool(sa.QueuePool):
    """A pool of connections for which a call waits until its deadline, if that is nearer than the timeout of the pool.

    QueuePool has no other way to tell it than this attribute; where it does not read it, it waits for `pool_timeout`.
    """

    longest_wait: float

    @property
    def _timeout(self) -> float:
        limits = _current_limits()
        remaining = None if limits is None else limits.remaining()
        return self.longest_wait if remaining is None else min(self.longest_wait, remaining)

    @_timeout.setter
    def _timeout(self, seconds: float) -> None:
        self.longest_wait = seconds

    def recreate(self) -> CallPool:
        """Return a new pool with the same parameters."""
        pool = cast("CallPool", super().recreate())
        pool.longest_wait = self.longest_wait
        return pool


_connecting = TimeLimit("connecting to the database")


def _connect(dialect: sa.Dialect, record: object, arguments: Any, options: dict[str, Any]) -> Any:
    """Connect within the deadline: libpq waits for at least two seconds, and the resolver for as long as it likes."""
    limits = _current_limits()
    remaining = None if limits is None else limits.remaining()
    if remaining is None:
        return None
    if dialect.driver in _LIBPQ:
        # The thread is not to live for much longer than anybody waits for it.
        timeout = max(2, math.ceil(remaining))
        options = {**options, "connect_timeout": min(timeout, int(options.get("connect_timeout") or timeout))}
    try:
        return _connecting.call(
            remaining, lambda: dialect.connect(*arguments, **options), discard=lambda connection: connection.close()
        )
    except TimeoutError as error:
        raise ConnectTimeout("the database has not accepted a connection before the deadline") from error


def _refuse_new_file(dialect: sa.Dialect, record: object, arguments: Any, options: dict[str, Any]) -> None:
    """Have no call make a new file for SQLite: the one with the tables has been deleted, or was never made.

    :raises sqlite3.OperationalError: there.
    """
    path = os.fspath(arguments[0]) if arguments else ":memory:"
    is_file = path not in {"", ":memory:"} and not path.startswith("file:")
    if is_file and _current_limits() is not None and not os.path.exists(path):
        text = f"unable to open database file: {path} does not exist; run `flask db upgrade`, or `flask scm init-db`"
        raise sqlite3.OperationalError(text)


# Connections that hang


def _watch(connection: Any, record: Any, proxy: object) -> None:
    limits = _current_limits()
    if limits is not None and limits.end(0) != math.inf:
        record.info[_WATCH] = watch = _Watch(limits, connection)
        _watchdog.add(watch)


def _unwatch(connection: object, record: Any) -> None:
    watch: _Watch | None = record.info.pop(_WATCH, None)
    if watch is not None:
        _watchdog.remove(watch)
        watch.stop()


class _Watch:
    """A connection that a call has, from the pool and back to it."""

    def __init__(self, limits: _Limits, connection: Any) -> None:
        self._limits = limits
        self._lock = threading.Lock()
        self._interrupt = getattr(connection, "interrupt", None)  # SQLite's
        # A descriptor of its own: libpq closes the other one when it likes, and its number is soon another file's.
        self._socket = os.dup(connection.fileno()) if hasattr(connection, "fileno") else None

    def check(self, now: float) -> None:
        """End what waits for the database, if the deadline has passed."""
        if now < self._limits.end(0 if self._interrupt else CUT_SECONDS):
            return
        with self._lock:
            if self._interrupt is not None:
                self._interrupt()
            if self._socket is not None:
                with contextlib.suppress(OSError), socket.socket(fileno=os.dup(self._socket)) as shared:
                    shared.shutdown(socket.SHUT_RDWR)

    def stop(self) -> None:
        """Leave the connection alone: it is another call's."""
        with self._lock:
            if self._socket is not None:
                os.close(self._socket)
            self._interrupt = self._socket = None


class _Watchdog:
    """A thread that looks at all watched connections a few times in a second, and sleeps while there are none."""

    def __init__(self) -> None:
        self._renew()
        renew_after_fork(self, _Watchdog._renew)

    def _renew(self) -> object:
        inherited = vars(self).copy()
        self._watches: dict[int, _Watch] = {}
        self._has_work = threading.Event()
        self._start = threading.Lock()
        self._thread: threading.Thread | None = None
        return inherited

    def add(self, watch: _Watch) -> None:
        self._watches[id(watch)] = watch
        if not self._has_work.is_set():
            self._has_work.set()
        if self._thread is None:
            with self._start:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name=__name__, daemon=True)
                    self._thread.start()

    def remove(self, watch: _Watch) -> None:
        self._watches.pop(id(watch), None)

    def _run(self) -> None:
        while self._has_work.wait():
            self._has_work.clear()
            while self._watches:
                time.sleep(TICK_SECONDS)
                now = time.monotonic()
                for watch in list(self._watches.values()):
                    watch.check(now)


_watchdog = _Watchdog()
