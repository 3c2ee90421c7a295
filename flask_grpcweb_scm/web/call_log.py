"""The line that the log has of a call, of which nothing is made but what a handler takes.

Most of what a line costs is what :mod:`logging` finds out for it each time: where it is written, and by which process.
For our line these are always the same. Records are made here as ``logging.LogRecord`` makes them; where an app has
replaced a part of that, all of it is left to :mod:`logging`.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import operator
import os
import sys
import threading
import time
from collections.abc import Callable
from logging import INFO, Logger, LogRecord
from types import FunctionType
from typing import Any

from flask_grpcweb_scm.forks import renew_after_fork
from flask_grpcweb_scm.observe import Observed, Outcome, trace_id
from flask_grpcweb_scm.rpc import IncomingCall, RpcError
from flask_grpcweb_scm.signals import logger

__all__ = ["CallLog", "is_read"]

NAME_CHARACTERS = 80
"""Of a caller's name in a line: some authenticators take it from the request."""
LINE = "%s %s %.1f ms, %d bytes in, %d bytes out, peer %s, call %s, caller %r"

_HAS_TASKS = sys.version_info >= (3, 12)
_HAS_NANOSECONDS = sys.version_info >= (3, 13)

_STEPS = "info", "log", "_log", "findCaller", "makeRecord", "handle", "callHandlers"
_of_logger = operator.attrgetter(*_STEPS)
_of_record = operator.attrgetter("__new__", "__init__")


def _logging() -> tuple[Any, ...]:
    """The parts that make records and hand them to handlers; each may be replaced by somebody who watches records."""
    factory = logging.getLogRecordFactory()
    return logger.__class__, factory, len(vars(logger)), _of_logger(Logger), _of_record(LogRecord)


def _is_loggings_own() -> bool:
    parts = [*_of_logger(Logger), LogRecord.__init__]
    return (
        (logger.__class__, logging.getLogRecordFactory()) == (Logger, LogRecord)
        and all(type(part) is FunctionType and part.__globals__ is vars(logging) for part in parts)
        and vars(logger).keys().isdisjoint(_STEPS)
    )


_KNOWN = _logging() if _is_loggings_own() else ()


def is_read() -> bool:
    """Return whether somebody sees a record at INFO: a handler, a filter, or what has replaced a part of logging."""
    return logger.isEnabledFor(INFO) and (_is_taken() or _logging() != _KNOWN)


def _is_taken() -> bool:
    if logger.filters:
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

    _loaded: float = 0
    """The instant from which the times of records count, in seconds, or in nanoseconds where logging counts these."""

    def __init__(self) -> None:
        self._template: dict[str, Any] = {}
        """The attributes of a record, in their order; most are the same in all records of a process."""
        renew_after_fork(self, lambda log: log._template.clear())

    def begin(self, call: Observed, started: float) -> Callable[[Outcome], object]:
        """Write the names of the headers."""
        if isinstance(call, IncomingCall) and logger.isEnabledFor(logging.DEBUG):
            names = sorted(key[5:].lower().replace("_", "-") for key in call.environ if key.startswith("HTTP_"))
            content_type = call.environ.get("CONTENT_TYPE")
            fields = {"method": call.path, "call_id": call.call_id}
            path = call.path if call.method else repr(call.path)
            logger.debug("call %s %s %r, headers %s", call.call_id, path, content_type, names, extra=fields)
        return self.ending(call)

    def ending(self, call: Observed) -> Callable[[Outcome], object]:
        """The function that the end of a call calls."""
        return lambda outcome: self.write(call, *outcome)

    def write(self, call: Observed, status: RpcError | None, seconds: float, reason: str = "") -> None:
        """Write the line of a call that has ended, if somebody reads it."""
        if not logger.isEnabledFor(INFO):
            return
        is_known = _logging() == _KNOWN
        if is_known and not _is_taken():
            return
        path, code, caller = call.path, "OK" if status is None else status.code.name, call.caller.name[:NAME_CHARACTERS]
        received, sent, peer, call_id = call.bytes_received, call.bytes_sent, call.peer, call.call_id
        # Of a method that there is not, the path is the caller's choice.
        shown = path if call.method else repr(path)
        trace = trace_id(call.environ)
        line = LINE
        values: tuple[object, ...] = (shown, code, seconds * 1000, received, sent, peer, call_id, caller)
        if trace:
            line, values = line + ", trace %s", (*values, trace)
        fields = {
            "method": path, "code": code, "seconds": seconds, "bytes_in": received, "bytes_out": sent,
            "caller": caller, "peer": peer, "call_id": call_id, "trace_id": trace, "protocol": call.protocol,
        }  # fmt: skip
        if reason:
            logger.info(line + ", %s", *values, reason, extra={**fields, "reason": reason})
        else:
            # In one line, because records have its number.
            (self._info if is_known else logger.info)(line, *values, extra=fields)

    def _info(self, line: str, *values: Any, extra: dict[str, Any]) -> None:
        """Do what ``Logger.info()`` does."""
        known = (self._template or self._make_template(line, extra)).copy()
        if _HAS_NANOSECONDS:
            now = time.time_ns()
            created = now / 1e9
            # Of the last nanoseconds of a second, the float is the next second.
            known["msecs"] = now % 10**9 // 10**6 + 0.0 if int(created) == now // 10**9 else 0.0
            known["relativeCreated"] = (now - self._loaded) / 1e6
        else:
            created = time.time()
            known["msecs"] = int((created - int(created)) * 1000) + 0.0
            known["relativeCreated"] = (created - self._loaded) * 1000
        known["msg"], known["args"] = line, values
        known["created"], known["levelname"] = created, logging.getLevelName(INFO)
        if logging.logThreads:
            known["thread"], known["threadName"] = threading.get_ident(), threading.current_thread().name
        if not logging.logProcesses:
            known["process"] = None
        known["processName"] = _process_name()
        if _HAS_TASKS:
            known["taskName"] = _task_name()
        known.update(extra)
        record = LogRecord.__new__(LogRecord)
        record.__dict__ = known
        logger.handle(record)

    def _make_template(self, line: str, extra: dict[str, Any]) -> dict[str, Any]:
        caller = inspect.currentframe().f_back.f_back  # type: ignore[union-attr]  # as in logging
        assert caller is not None
        code = caller.f_code
        made = vars(LogRecord(logger.name, INFO, code.co_filename, caller.f_lineno, line, (), None, code.co_name))
        if _HAS_NANOSECONDS:
            self._loaded = round(made["created"] * 1e9 - made["relativeCreated"] * 1e6)
        else:
            self._loaded = made["created"] - made["relativeCreated"] / 1000
        # No two threads see a part of it.
        self._template = {**made, "thread": None, "threadName": None, "process": os.getpid(), **extra}
        return self._template


def _process_name() -> str | None:
    if not logging.logMultiprocessing:
        return None
    module = sys.modules.get("multiprocessing")
    return "MainProcess" if module is None else module.current_process().name


def _task_name() -> str | None:
    if not logging.logAsyncioTasks:  # type: ignore[attr-defined,unused-ignore]  # since Python 3.12
        return None
    try:
        task = asyncio.current_task()
    except RuntimeError:
        return None
    return task.get_name() if task else None
