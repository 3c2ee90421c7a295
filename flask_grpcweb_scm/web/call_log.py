"""The line that the log has of a call, of which nothing is made but what a handler takes.

Most of what a line costs is what :mod:`logging` finds out for it each time: where it is written, and by which process.
For our line these are always the same. Records are made here as ``logging.LogRecord`` makes them; where an app has
replaced a part of that, all of it is left to :mod:`logging`.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import sys
import threading
import time
from collections.abc import Callable
from logging import INFO, Logger, LogRecord
from types import FunctionType
from typing import Any

from flask_grpcweb_scm.forks import renew_after_fork
from flask_grpcweb_scm.observe import Observed, Outcome
from flask_grpcweb_scm.rpc import IncomingCall
from flask_grpcweb_scm.signals import logger

__all__ = ["CallLog", "is_read"]

NAME_CHARACTERS = 80
"""Of a caller's name in a line: some authenticators take it from the request."""
LINE = "%s %s %.1f ms, %d bytes in, %d bytes out, peer %s, call %s, caller %r"


def _logging() -> tuple[Any, ...]:
    """The parts that make records and hand them to handlers; each may be replaced by somebody who watches records."""
    return (
        logger.__class__, logging.getLogRecordFactory(), LogRecord.__init__, LogRecord.__new__,
        Logger.info, Logger.log, Logger.makeRecord, Logger.handle, Logger.callHandlers,
    )  # fmt: skip


def _has_own_code(part: Any) -> bool:
    return type(part) is not FunctionType or part.__globals__ is vars(logging)


_KNOWN = _logging() if all(map(_has_own_code, _logging())) and _logging()[:2] == (Logger, LogRecord) else ()


def is_read() -> bool:
    """Return whether somebody sees a record at INFO: a handler, a filter, or what has replaced a part of logging."""
    if not logger.isEnabledFor(INFO):
        return False
    if logger.filters or _logging() != _KNOWN:
        return True
    found = False
    one: Logger | None = logger
    while one is not None:
        for handler in one.handlers:
            found = True
            if handler.level <= INFO and handler.__class__ is not logging.NullHandler:
                return True
        one = one.parent if one.propagate else None
    return not found and logging.lastResort is not None and logging.lastResort.level <= INFO


class CallLog:
    """Writes a line at the end of each call, at INFO; at DEBUG also one at its beginning."""

    _loaded = 0.0
    """The instant from which the times of records count."""

    def __init__(self) -> None:
        self._parts: dict[str, Any] = {}
        """The attributes that the records of all calls share in a process."""
        renew_after_fork(self, lambda log: log._parts.clear())

    def begin(self, call: Observed, started: float) -> Callable[[Outcome], object]:
        """Write the names of the headers."""
        if isinstance(call, IncomingCall) and logger.isEnabledFor(logging.DEBUG):
            names = sorted(key[5:].lower().replace("_", "-") for key in call.environ if key.startswith("HTTP_"))
            content_type = call.environ.get("CONTENT_TYPE")
            fields = {"method": call.path, "call_id": call.call_id}
            path = call.path if call.method else repr(call.path)
            logger.debug("call %s %s %r, headers %s", call.call_id, path, content_type, names, extra=fields)
        return functools.partial(self._end, call)

    def _end(self, call: Observed, outcome: Outcome) -> None:
        if not is_read():
            return
        status, seconds, reason = outcome
        path, code, caller = call.path, "OK" if status is None else status.code.name, call.caller.name[:NAME_CHARACTERS]
        received, sent, peer, call_id = call.bytes_received, call.bytes_sent, call.peer, call.call_id
        # Of a method that there is not, the path is the caller's choice.
        shown = path if call.method else repr(path)
        values = (shown, code, seconds * 1000, received, sent, peer, call_id, caller)
        fields = {
            "method": path, "code": code, "seconds": seconds, "bytes_in": received, "bytes_out": sent,
            "caller": caller, "peer": peer, "call_id": call_id, "protocol": call.protocol,
        }  # fmt: skip
        if reason:
            logger.info(LINE + ", %s", *values, reason, extra={**fields, "reason": reason})
        elif _logging() != _KNOWN:
            logger.info(LINE, *values, extra=fields)
        else:
            logger.handle(self._record(values, fields))

    def _record(self, values: tuple[Any, ...], fields: dict[str, Any]) -> LogRecord:
        """A record of now and of this thread, as ``logging.LogRecord`` makes it."""
        created = time.time()
        record = LogRecord.__new__(LogRecord)
        known = vars(record)
        known.update(self._parts or self._make_parts())
        known["args"], known["created"] = values, created
        known["msecs"] = int((created - int(created)) * 1000) + 0.0
        known["relativeCreated"] = (created - self._loaded) * 1000
        if logging.logThreads:
            known["thread"], known["threadName"] = threading.get_ident(), threading.current_thread().name
        if _HAS_TASKS:
            known["taskName"] = _task_name()
        known.update(fields)
        return record

    def _make_parts(self) -> dict[str, Any]:
        path, line, function, _ = logger.findCaller()
        parts = vars(LogRecord(logger.name, INFO, path, line, LINE, (), None, function))
        self._loaded = parts["created"] - parts["relativeCreated"] / 1000
        # No two threads see a part of it.
        self._parts = {**parts, "thread": None, "threadName": None}
        return self._parts


_HAS_TASKS = sys.version_info >= (3, 12)


def _task_name() -> str | None:
    try:
        task = asyncio.current_task()
    except RuntimeError:
        return None
    return task.get_name() if task else None
