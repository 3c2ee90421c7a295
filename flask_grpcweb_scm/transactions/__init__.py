"""One transaction per call of a service, in the session of the app's Flask-SQLAlchemy; and errors of the database."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from flask import current_app
from flask_sqlalchemy import SQLAlchemy
from google.protobuf.message import Message
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.orm import Session

from flask_grpcweb_scm.rpc import CallContext, CallNext, Incidents, RpcError, StatusCode, unavailable
from flask_grpcweb_scm.transactions.deadlines import ConnectTimeout, limit_call

__all__ = [
    "TRY_AGAIN",
    "UnconfirmedCommit",
    "commit",
    "is_full",
    "is_outage",
    "lacks_schema",
    "reason_of",
    "transaction",
]


logger = logging.getLogger(__name__)
_INCIDENTS = "flask_grpcweb_scm.transactions"
"""The key of app.extensions that has what was logged of the database of an app."""


def transaction(request: Any, context: CallContext, call_next: CallNext) -> Any:
    """Intercept a call: commit the session when it returns within its deadline, else roll back.

    A stream is one transaction too, from its first message to its last. Errors of the database that the caller can act
    on become statuses, unless the service has declared them; no status has the text of a statement. For a service of an
    app with Flask-SQLAlchemy::

        notes.intercept(transaction)

    :raises RuntimeError: in an app without a ``SQLAlchemy()``.
    """
    db = _app_db()
    if context.method is not None and context.method.server_streaming:
        return _stream(db, request, context, call_next)
    with _committed(db, context):
        return call_next(request, context)


def _app_db() -> SQLAlchemy:
    db: SQLAlchemy | None = current_app.extensions.get("sqlalchemy")
    if db is None:
        raise RuntimeError("transaction() commits the session of Flask-SQLAlchemy; give the app one: SQLAlchemy(app)")
    return db


def _stream(db: SQLAlchemy, request: Any, context: CallContext, call_next: CallNext) -> Iterator[Message]:
    with _committed(db, context):
        # Closes the function's generator with this one, before the session gives its connection back.
        yield from call_next(request, context)


@contextmanager
def _committed(db: SQLAlchemy, context: CallContext) -> Iterator[None]:
    # Looked up again at the end: the function may have removed the session, and gone on with a new one.
    session = db.session
    with limit_call(db, context):
        try:
            yield
            context.check_deadline()
            commit(session())
        except SQLAlchemyError as error:
            _roll_back(session())
            status = _declared_status(error, context) or _status_of(error, db, context)
            if status is None:
                _advise(error)
                raise
            raise status from error
        except BaseException:
            _roll_back(session())
            raise


class UnconfirmedCommit(DBAPIError):
    """Raised when the connection is lost between a COMMIT and its response: the database may have committed."""


def commit(session: Session) -> None:
    """Commit a session.

    :raises UnconfirmedCommit: see there.
    :raises DBAPIError: when the database has not committed.
    """
    try:
        session.commit()
    except DBAPIError as error:
        if error.connection_invalidated and error.statement is None:
            raise UnconfirmedCommit(None, None, error.orig or error, connection_invalidated=True) from error
        raise


def _roll_back(session: Session) -> None:
    try:
        session.rollback()
    except SQLAlchemyError:
        # With its connection the transaction is gone, too.
        session.invalidate()


# Errors of the database, and their statuses

TRY_AGAIN = "another change got in the way; nothing was stored, try again"
OUT = "the database is not available at present; try again"
IN_USE = "all connections to the database are in use; try again"
BUSY = "the database is busy; nothing was stored, try again"
UNCONFIRMED = "the connection to the database was lost at the end: the changes may have been stored, or not"
FULL = "the disk or the memory of the database is full; nothing was stored"
UNFULFILLED = "a constraint of the database does not hold; nothing was stored"
REFUSED = "the database refused the statement; nothing was stored"
DAMAGED = "the database is damaged; its administrator finds more in the log"
LATE = "the database did not respond before the deadline"
CANCELLED = StatusCode.DEADLINE_EXCEEDED, LATE

# Beginnings of codes; the longest one decides. https://www.postgresql.org/docs/current/errcodes-appendix.html
_SQLSTATES = {
    "08": (StatusCode.UNAVAILABLE, OUT),  # connection_exception
    "25006": (StatusCode.UNAVAILABLE, OUT),  # read_only_sql_transaction: a server that has become a standby
    "25P03": (StatusCode.UNAVAILABLE, OUT),  # idle_in_transaction_session_timeout
    "25P04": (StatusCode.UNAVAILABLE, OUT),  # transaction_timeout
    "40": (StatusCode.ABORTED, TRY_AGAIN),  # transaction_rollback: serialization_failure, deadlock_detected
    "53": (StatusCode.RESOURCE_EXHAUSTED, FULL),  # insufficient_resources: disk_full, out_of_memory
    "53300": (StatusCode.UNAVAILABLE, OUT),  # too_many_connections
    "55P03": (StatusCode.UNAVAILABLE, BUSY),  # lock_not_available
    "57014": CANCELLED,  # query_canceled
    "57P": (StatusCode.UNAVAILABLE, OUT),  # admin_shutdown, crash_shutdown, cannot_connect_now …
    "58": (StatusCode.UNAVAILABLE, OUT),  # system_error: io_error
    "58P01": (StatusCode.DATA_LOSS, DAMAGED),  # undefined_file
    "XX001": (StatusCode.DATA_LOSS, DAMAGED),  # data_corrupted
    "XX002": (StatusCode.DATA_LOSS, DAMAGED),  # index_corrupted
}

# Python 3.10 has no codes of SQLite's errors. https://www.sqlite.org/rescode.html
_SQLITE_TEXTS = {
    "is locked": (StatusCode.UNAVAILABLE, BUSY),
    "locking protocol": (StatusCode.UNAVAILABLE, BUSY),
    "interrupted": CANCELLED,
    "disk I/O error": (StatusCode.UNAVAILABLE, OUT),
    "unable to open database file": (StatusCode.UNAVAILABLE, OUT),
    "readonly database": (StatusCode.UNAVAILABLE, OUT),
    "database or disk is full": (StatusCode.RESOURCE_EXHAUSTED, FULL),
    "disk image is malformed": (StatusCode.DATA_LOSS, DAMAGED),
    "file is not a database": (StatusCode.DATA_LOSS, DAMAGED),
}


def _declared_status(error: SQLAlchemyError, context: CallContext) -> RpcError | None:
    """The status that the service has declared for an error; None when it has declared none."""
    declared = context.method.service.declared_error(error) if context.method is not None else None
    if declared is None or not isinstance(error, DBAPIError):
        return declared
    # The error's own text has the statement and its parameters.
    text = UNFULFILLED if isinstance(error, IntegrityError) else REFUSED
    return RpcError(declared.code, text, declared.details)


def _status_of(error: SQLAlchemyError, db: SQLAlchemy, context: CallContext) -> RpcError | None:
    """Translate an error of the database for the caller, and log it; None when it is one of ours."""
    found = _find_status(error, db)
    if found is None:
        return None
    code, text = found
    if found == CANCELLED:
        return RpcError(code, text)
    reason = reason_of(error)
    if code is StatusCode.UNAVAILABLE and context.remaining() == 0:
        # It was waited for until now, or cut off because nothing came.
        code, text = StatusCode.DEADLINE_EXCEEDED, UNCONFIRMED if text is UNCONFIRMED else LATE
        reason = f"the database has not responded in time: {reason}"
    _incidents_of_app().log(re.sub(r"\d+", "", reason), "calls end with %s: %s", code.name, reason)
    return unavailable(text) if code is StatusCode.UNAVAILABLE else RpcError(code, text)


def lacks_schema(error: SQLAlchemyError) -> bool:
    """Tell whether a table or a column is missing."""
    return isinstance(error, DBAPIError) and (
        _sqlstate(error) in ("42P01", "42703")
        or any(text in str(error.orig) for text in ("no such table", "no such column", "has no column"))
    )


def is_full(error: SQLAlchemyError) -> bool:
    """Tell whether the disk or the memory of the database is full."""
    return isinstance(error, DBAPIError) and (_sqlstate(error)[:2] == "53" or "disk is full" in str(error.orig))


def is_outage(error: Exception, db: SQLAlchemy) -> bool:
    """Tell whether the database cannot be used at present, whatever is asked of it: it is gone, or busy."""
    found = _find_status(error, db) if isinstance(error, SQLAlchemyError) else None
    return found is not None and found[0] is StatusCode.UNAVAILABLE


def reason_of(error: SQLAlchemyError) -> str:
    """Return the first line of what the database says, without a statement and its parameters."""
    return str(getattr(error, "orig", None) or error).strip().partition("\n")[0]


def _advise(error: SQLAlchemyError) -> None:
    """Add what to do about a table or a column that is missing to the text of an error, for the log."""
    if isinstance(error, DBAPIError) and lacks_schema(error):
        error.add_detail("run `flask db upgrade`, or `flask scm init-db` for the tables of ScmService")


def _find_status(error: SQLAlchemyError, db: SQLAlchemy) -> tuple[StatusCode, str] | None:
    if isinstance(error, sa.exc.TimeoutError):
        return StatusCode.UNAVAILABLE, OUT if isinstance(error, ConnectTimeout) else IN_USE
    if not isinstance(error, DBAPIError):
        return None
    if isinstance(error, UnconfirmedCommit):
        return StatusCode.UNAVAILABLE, UNCONFIRMED
    if isinstance(error, IntegrityError):
        # A race that no query handles, say a project that is deleted meanwhile; or a sequence that is behind its rows.
        return StatusCode.ABORTED, TRY_AGAIN
    state = _sqlstate(error)
    for length in (5, 3, 2):
        if state[:length] in _SQLSTATES:
            return _SQLSTATES[state[:length]]
    for text, status in _SQLITE_TEXTS.items():
        if text in str(error.orig):
            return status
    # Without a code: the server has not been reached, or is gone.
    is_postgresql = any(engine.dialect.name == "postgresql" for engine in db.engines.values())
    is_cut_off = isinstance(error, sa.exc.OperationalError) and is_postgresql and not state
    return (StatusCode.UNAVAILABLE, OUT) if error.connection_invalidated or is_cut_off else None


def _sqlstate(error: DBAPIError) -> str:
    return getattr(error.orig, "sqlstate", None) or getattr(error.orig, "pgcode", None) or ""


def _incidents_of_app() -> Incidents:
    incidents: Incidents = current_app.extensions.setdefault(_INCIDENTS, Incidents(logger))
    return incidents
