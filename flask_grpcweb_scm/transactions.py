"""One transaction per call of a service, in the session of the app's Flask-SQLAlchemy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from flask import current_app
from google.protobuf.message import Message
from sqlalchemy.exc import DBAPIError, IntegrityError

from flask_grpcweb_scm.rpc import CallContext, RpcError, StatusCode

if TYPE_CHECKING:
    from flask_sqlalchemy import SQLAlchemy

__all__ = ["transaction"]

CallNext = Callable[[Any, CallContext], Any]

TRY_AGAIN = "another change got in the way; nothing was stored, try again"

# https://www.postgresql.org/docs/current/errcodes-appendix.html
_SQLSTATES = {
    "40001": (StatusCode.ABORTED, TRY_AGAIN),  # serialization_failure
    "40P01": (StatusCode.ABORTED, TRY_AGAIN),  # deadlock_detected
    "57014": (StatusCode.DEADLINE_EXCEEDED, "the database did not respond before the deadline"),  # query_canceled
}


def transaction(request: Any, context: CallContext, call_next: CallNext) -> Any:
    """Intercept a call: commit the session when it returns within its deadline, else roll back.

    A stream is one transaction too, from its first message to its last. Errors of the database that the caller can act
    on become statuses, unless the service has declared them. For a service of an app with Flask-SQLAlchemy::

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
    try:
        _limit_statements(db, context)
        yield
        context.check_deadline()
        db.session.commit()
    except DBAPIError as error:
        db.session.rollback()
        status = None if _is_declared(context, error) else _translate(error)
        if status is None:
            raise
        raise status from error
    except sa.exc.TimeoutError as error:
        db.session.rollback()
        if _is_declared(context, error):
            raise
        raise RpcError(StatusCode.UNAVAILABLE, "all connections to the database are in use; try again") from error
    except BaseException:
        db.session.rollback()
        raise


def _limit_statements(db: SQLAlchemy, context: CallContext) -> None:
    """Let PostgreSQL cancel statements at the deadline."""
    remaining = context.remaining()
    if remaining is None:
        return
    engine = db.engines.get(None)
    if engine is not None and engine.dialect.name == "postgresql":
        # 0 would mean no limit.
        milliseconds = max(1, int(remaining * 1000))
        db.session.execute(sa.select(sa.func.set_config("statement_timeout", str(milliseconds), True)))


def _is_declared(context: CallContext, error: Exception) -> bool:
    return context.method is not None and context.method.service.declared_error(error) is not None


def _translate(error: DBAPIError) -> RpcError | None:
    """Translate a database error for the caller; None when only the log has it."""
    if isinstance(error, IntegrityError):
        # A race that no query handles: say, a project that is deleted meanwhile.
        return RpcError(StatusCode.ABORTED, TRY_AGAIN)
    if "database is locked" in str(error.orig):
        return RpcError(StatusCode.UNAVAILABLE, "the database is busy; nothing was stored, try again")
    if "unable to open database file" in str(error.orig):
        return RpcError(StatusCode.UNAVAILABLE, "the database is not available at present; try again")
    known = _SQLSTATES.get(getattr(error.orig, "sqlstate", None) or "")
    return None if known is None else RpcError(*known)
