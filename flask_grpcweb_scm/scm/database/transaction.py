"""One transaction per RPC."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from google.protobuf.message import Message
from sqlalchemy.exc import DBAPIError, IntegrityError

from flask_grpcweb_scm.rpc import CallContext, RpcError, StatusCode
from flask_grpcweb_scm.scm.database.db import db

__all__ = ["commit_step", "transaction"]

CallNext = Callable[[Any, CallContext], Any]

TRY_AGAIN = "another change got in the way; nothing was stored, try again"

# https://www.postgresql.org/docs/current/errcodes-appendix.html
_SQLSTATES = {
    "40001": (StatusCode.ABORTED, TRY_AGAIN),  # serialization_failure
    "40P01": (StatusCode.ABORTED, TRY_AGAIN),  # deadlock_detected
    "57014": (StatusCode.DEADLINE_EXCEEDED, "the database did not respond before the deadline"),  # query_canceled
}


def transaction(request: Message, context: CallContext, call_next: CallNext) -> Any:
    """Intercept a call: commit when it returns within its deadline, else roll back.

    A stream is one transaction too, from its first message to its last.
    """
    if context.method is not None and context.method.server_streaming:
        return _stream(request, context, call_next)
    with _committed(context):
        return call_next(request, context)


def _stream(request: Message, context: CallContext, call_next: CallNext) -> Iterator[Message]:
    with _committed(context):
        # Closes the function's generator with this one, before the session gives its connection back.
        yield from call_next(request, context)


@contextmanager
def _committed(context: CallContext) -> Iterator[None]:
    try:
        _limit_statements(context)
        yield
        context.check_deadline()
        db.session.commit()
    except DBAPIError as error:
        db.session.rollback()
        status = _translate(error)
        if status is None:
            raise
        raise status from error
    except sa.exc.TimeoutError as error:
        db.session.rollback()
        raise RpcError(StatusCode.UNAVAILABLE, "all connections to the database are in use; try again") from error
    except BaseException:
        db.session.rollback()
        raise


def commit_step() -> None:
    """Commit the call's work so far and release the connection, before work that a transaction cannot include.

    It also commits what the app's own hooks have written in this session before the call. Later statements have no
    deadline: effects elsewhere are to be stored in any case.
    """
    db.session.commit()


def _limit_statements(context: CallContext) -> None:
    """Let PostgreSQL cancel statements at the deadline."""
    remaining = context.remaining()
    if remaining is not None and db.engine.dialect.name == "postgresql":
        # 0 would mean no limit.
        milliseconds = max(1, int(remaining * 1000))
        db.session.execute(sa.select(sa.func.set_config("statement_timeout", str(milliseconds), True)))


def _translate(error: DBAPIError) -> RpcError | None:
    """Translate a database error for the caller; None when only the log has it."""
    if isinstance(error, IntegrityError):
        # A race that no query handles: say, a project that is deleted meanwhile.
        return RpcError(StatusCode.ABORTED, TRY_AGAIN)
    if "database is locked" in str(error.orig):
        return RpcError(StatusCode.UNAVAILABLE, "the database is busy; nothing was stored, try again")
    known = _SQLSTATES.get(getattr(error.orig, "sqlstate", None) or "")
    return None if known is None else RpcError(*known)
