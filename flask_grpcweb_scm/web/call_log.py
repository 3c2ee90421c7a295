"""The line that the log has of a call, of which nothing is made but what a handler reads.

Most of what a line costs is what :mod:`logging` finds out for it each time, and the attributes of its record. A handler
that drops the record reads none of them. So it gets one whose attributes are made when the first of them is read, as
``logging.LogRecord`` makes them; where an app has replaced a part of that, all of it is left to :mod:`logging`.
"""

from __future__ import annotations

import asyncio
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

_BYPASSED = "info", "_log", "findCaller", "makeRecord"
"""The steps of a logger before ``handle()``."""
_record_factory = logging.getLogRecordFactory
_of_logger = operator.attrgetter(*_BYPASSED)
_of_record = operator.attrgetter("__new__", "__init__")


def _makers() -> tuple[Any, ...]:
    """The parts of logging that make records; each may be replaced by somebody who watches records."""
    return logger.__class__, _record_factory(), len(logger.__dict__), _of_logger(Logger), _of_record(LogRecord)


def _are_loggings_own(*parts: object) -> bool:
    return all(type(part) is FunctionType and part.__globals__ is vars(logging) for part in parts)


_IS_LOGGINGS_OWN = (
    (logger.__class__, logging.getLogRecordFactory()) == (Logger, LogRecord)
    and _are_loggings_own(*_of_logger(Logger), LogRecord.__init__)
    and vars(logger).keys().isdisjoint(_BYPASSED)
)
_KNOWN = _makers() if _IS_LOGGINGS_OWN else ()


def _loaded() -> float:
    """The instant from which the times of records count, in seconds, or in nanoseconds where logging counts these."""
    record = LogRecord(logger.name, INFO, "", 0, "", (), None)
    if _HAS_NANOSECONDS:
        return round(record.created * 1e9 - record.relativeCreated * 1e6)
    return record.created - record.relativeCreated / 1000


_LOADED = _loaded()


def is_read() -> bool:
    """Return whether somebody sees a record at INFO: a handler, a filter, or what has replaced a part of logging."""
    return logger.isEnabledFor(INFO) and (
        _is_taken() or _makers() != _KNOWN or not _are_loggings_own(Logger.handle, Logger.callHandlers)
    )


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

    def __init__(self) -> None:
        self._template: dict[str, Any] = {}
        """The attributes of a record, in their order; most are the same in all records of a process."""
        self.making = threading.RLock()
        renew_after_fork(self, CallLog._renew)

    def _renew(self) -> None:
        self._template.clear()
        self.making = threading.RLock()

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
        return lambda outcome: self.write(call, *outcome) if logger.isEnabledFor(INFO) else None

    def write(self, call: Observed, status: RpcError | None, seconds: float, reason: str = "") -> None:
        """Write the line of a call that has ended, while the logger is enabled for it."""
        # Before a handler may hand it to another thread.
        trace = trace_id(call.environ)
        if _makers() != _KNOWN:
            _write(*_line(call, status, seconds, reason, trace))
            return
        now = time.time_ns() if _HAS_NANOSECONDS else time.time()
        thread = threading.current_thread() if logging.logThreads else None
        record = _new_record(_LateRecord)
        record.late = self, now, thread, (call, status, seconds, reason, trace)
        logger.handle(record)
        if _references(record) != _ONE:
            # A handler keeps it, and should not keep the call.
            _make(record)

    def attributes(self, now: float, thread: threading.Thread | None, parts: tuple[Any, ...]) -> dict[str, Any]:
        """Make the attributes of a record that ``Logger.info()`` would have made.

        :param now: as logging counts it, in seconds or, since Python 3.13, in nanoseconds.
        """
        line, values, fields = _line(*parts)
        made = (self._template or self._make_template(fields)).copy()
        if _HAS_NANOSECONDS:
            created = now / 1e9
            # Of the last nanoseconds of a second, the float is the next second.
            made["msecs"] = now % 10**9 // 10**6 + 0.0 if int(created) == now // 10**9 else 0.0
            made["relativeCreated"] = (now - _LOADED) / 1e6
        else:
            created = now
            made["msecs"] = int((created - int(created)) * 1000) + 0.0
            made["relativeCreated"] = (created - _LOADED) * 1000
        made["msg"], made["args"] = line, values
        made["created"], made["levelname"] = created, logging.getLevelName(INFO)
        if thread is not None:
            made["thread"], made["threadName"] = thread.ident, thread.name
        if not logging.logProcesses:
            made["process"] = None
        made["processName"] = _process_name()
        if _HAS_TASKS:
            made["taskName"] = _task_name()
        made.update(fields)
        return made

    def _make_template(self, fields: dict[str, Any]) -> dict[str, Any]:
        code = _write.__code__
        made = LogRecord(logger.name, INFO, code.co_filename, code.co_firstlineno + 1, LINE, (), None, code.co_name)
        # No two threads see a part of it.
        self._template = {**vars(made), "thread": None, "threadName": None, "process": os.getpid(), **fields}
        return self._template


def _write(line: str, values: tuple[object, ...], fields: dict[str, Any]) -> None:
    logger.info(line, *values, extra=fields)


def _line(
    call: Observed, status: RpcError | None, seconds: float, reason: str, trace: str
) -> tuple[str, tuple[object, ...], dict[str, Any]]:
    """The text of a line, its values, and the attributes of the record."""
    path, code, caller = call.path, "OK" if status is None else status.code.name, call.caller.name[:NAME_CHARACTERS]
    received, sent, peer, call_id = call.bytes_received, call.bytes_sent, call.peer, call.call_id
    # Of a method that there is not, the path is the caller's choice.
    shown = path if call.method else repr(path)
    line = LINE
    values: tuple[object, ...] = (shown, code, seconds * 1000, received, sent, peer, call_id, caller)
    fields = {
        "method": path, "code": code, "seconds": seconds, "bytes_in": received, "bytes_out": sent,
        "caller": caller, "peer": peer, "call_id": call_id, "trace_id": trace, "protocol": call.protocol,
    }  # fmt: skip
    if trace:
        line, values = line + ", trace %s", (*values, trace)
    if reason:
        line, values, fields["reason"] = line + ", %s", (*values, reason), reason
    return line, values, fields


class _LateRecord(LogRecord):
    """A record whose attributes are made when one of them is read or deleted; from then on it is a LogRecord.

    Loggers and handlers read the level.
    """

    levelno = INFO
    late: tuple[Any, ...]

    def __getattr__(self, name: str) -> Any:
        _make(self)
        return object.__getattribute__(self, name)

    def __delattr__(self, name: str) -> None:
        _make(self)
        object.__delattr__(self, name)

    def __reduce_ex__(self, protocol: Any) -> Any:
        _make(self)
        return object.__reduce_ex__(self, protocol)

    @property
    def __dict__(self) -> dict[str, Any]:  # type: ignore[override]  # of the type there is nothing else
        _make(self)
        made: dict[str, Any] = _attributes_of.__get__(self)
        return made


_new_record = LogRecord.__new__
_attributes_of = vars(LogRecord)["__dict__"]
_references = sys.getrefcount


def _references_of_one() -> int:
    record = _new_record(_LateRecord)
    # As many as interpreters count, of which the newest borrow those of variables.
    return _references(record)


_ONE = _references_of_one()


def _make(record: LogRecord) -> None:
    """Make the attributes of a late record; those that were set before stay."""
    late = _attributes_of.__get__(record).get("late")
    if late is None:
        return
    log, *parts = late
    # Handlers may have another thread read it, while this one lets go of the call.
    with log.making:
        own = _attributes_of.__get__(record)
        if "late" in own:
            made = {**log.attributes(*parts), **own}
            del made["late"]
            _attributes_of.__set__(record, made)
            record.__class__ = LogRecord


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
