"""Records of calls: only for handlers that take them, and like those that logging makes."""

from __future__ import annotations

import copy
import gc
import logging
import multiprocessing
import pickle
import queue
import re
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask
from opentelemetry import trace

from flask_grpcweb_scm import rpc_finished
from flask_grpcweb_scm.signals import logger
from flask_grpcweb_scm.web.call_log import CallLog, is_read
from flask_grpcweb_scm.web.observers import RefusedCall
from tests.apps import ECHO, echo_app
from tests.echo_pb2 import EchoReply, EchoRequest
from tests.grpcweb import call
from tests.tables import check_rows


class Keeping(logging.Handler):
    """A handler that keeps its records."""

    def __init__(self, level: int = logging.NOTSET) -> None:
        super().__init__(level)
        self.records: list[Any] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[logging.Logger]:
    """The logger of calls, at INFO and without handlers."""
    monkeypatch.setattr(logger, "handlers", [])
    monkeypatch.setattr(logger, "propagate", False)
    level = logger.level
    logger.setLevel(logging.INFO)
    yield logger
    logger.setLevel(level)


def _replaced(name: str) -> Callable[[logging.Logger, pytest.MonkeyPatch], None]:
    original = getattr(logging.Logger, name)
    return lambda log, patch: patch.setattr(logging.Logger, name, lambda self, *args, **kw: original(self, *args, **kw))


READERS: list[tuple[str, bool, Callable[[logging.Logger, pytest.MonkeyPatch], object]]] = [
    ("no handler", False, lambda log, patch: None),
    ("a handler that is none", False, lambda log, patch: log.addHandler(logging.NullHandler())),
    ("a handler of warnings", False, lambda log, patch: log.addHandler(Keeping(logging.WARNING))),
    ("a handler", True, lambda log, patch: log.addHandler(Keeping())),
    ("a handler of the root", True, lambda log, patch: patch.setattr(log, "propagate", True)),
    ("warnings only", False, lambda log, patch: (log.addHandler(Keeping()), log.setLevel(logging.WARNING))),
    ("a handler of last resort", True, lambda log, patch: patch.setattr(logging, "lastResort", Keeping())),
    ("no handler of last resort", False, lambda log, patch: patch.setattr(logging, "lastResort", None)),
    ("a filter", True, lambda log, patch: patch.setattr(log, "filters", [lambda record: True])),
    ("callHandlers of a monitor", True, _replaced("callHandlers")),
    ("handle of a monitor", True, _replaced("handle")),
    ("makeRecord of a monitor", True, _replaced("makeRecord")),
]


def test_a_record_is_made_for_those_who_see_it(log: logging.Logger, caplog: pytest.LogCaptureFixture) -> None:
    def check(name: str, expected: bool, prepare: Callable[[logging.Logger, pytest.MonkeyPatch], object]) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(log, "handlers", [])
            log.setLevel(logging.INFO)
            prepare(log, patch)
            assert is_read() is expected

    check_rows(check, READERS)


def _record_of(app: Flask, log: logging.Logger) -> Any:
    handler = Keeping()
    log.handlers[:] = [handler]
    call(app.test_client(), ECHO + "Unary", EchoRequest(text="a"))
    (record,) = handler.records
    return record


Settings = Callable[[pytest.MonkeyPatch], object]
SETTINGS: list[tuple[str, Settings]] = [
    ("as it comes", lambda patch: None),
    ("a level of another name", lambda patch: patch.setitem(vars(logging)["_levelToName"], logging.INFO, "info")),
    ("no threads", lambda patch: patch.setattr(logging, "logThreads", False)),
    ("no processes", lambda patch: patch.setattr(logging, "logProcesses", False)),
    ("no multiprocessing", lambda patch: patch.setattr(logging, "logMultiprocessing", False)),
    ("no tasks", lambda patch: patch.setattr(logging, "logAsyncioTasks", False, raising=False)),
    ("a process with a name", lambda patch: patch.setattr(multiprocessing.current_process(), "name", "worker 7")),
    ("the end of a second", lambda patch: _stop_the_clock(patch, 1_900_000_000_999_999_999)),
    ("the beginning of a second", lambda patch: _stop_the_clock(patch, 1_900_000_000_000_000_000)),
]
CHANGING = {"args", "created", "msecs", "relativeCreated", "seconds", "call_id"}


def _stop_the_clock(patch: pytest.MonkeyPatch, nanoseconds: int) -> None:
    patch.setattr(time, "time", lambda: nanoseconds / 1e9)
    patch.setattr(time, "time_ns", lambda: nanoseconds)


def test_a_record_has_all_that_logging_gives_to_one(log: logging.Logger, caplog: pytest.LogCaptureFixture) -> None:
    app = echo_app()

    def check(name: str, change: Settings) -> None:
        with pytest.MonkeyPatch.context() as patch:
            change(patch)
            record = _record_of(app, log)
            with pytest.MonkeyPatch.context() as inner:
                inner.setattr(logging.Logger, "makeRecord", _makes_records(logging.Logger.makeRecord))
                expected = _record_of(app, log)
        changing = CHANGING - {"created", "msecs"} if "second" in name else CHANGING
        assert type(record) is type(expected)
        assert [(key, type(value)) for key, value in vars(record).items()] == [
            (key, type(value)) for key, value in vars(expected).items()
        ]
        assert {key: value for key, value in vars(record).items() if key not in changing} == {
            key: value for key, value in vars(expected).items() if key not in changing
        }
        assert 0 <= expected.created - record.created < 60
        difference = expected.relativeCreated - record.relativeCreated
        assert difference == pytest.approx((expected.created - record.created) * 1000, abs=1)
        assert pickle.loads(pickle.dumps(record)).getMessage() == record.getMessage()

    check_rows(check, SETTINGS)


def _makes_records(original: Any) -> Any:
    return lambda self, *args, **kw: original(self, *args, **kw)


class Own(logging.LogRecord):
    """A record of an app."""


class Deciding(logging.Logger):
    """A logger that decides for each line, whatever its level is."""

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802  # the base class's name
        return level >= logging.INFO


class Demoting(logging.Filter):
    """A filter that changes the record for the handlers after it."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.levelno, record.tenant = logging.DEBUG, "a"
        return getattr(record, "method", "") != ECHO + "Nope"


FORMATTER = logging.Formatter(
    "%(asctime)s %(levelname)s %(name)s %(module)s:%(lineno)d %(funcName)s %(thread)d %(threadName)s %(processName)s"
    " %(process)d %(message)s; %(method)s %(code)s %(seconds)s %(bytes_in)s %(bytes_out)s %(peer)s %(protocol)s",
    defaults=dict.fromkeys(("code", "seconds", "bytes_in", "bytes_out", "peer", "protocol"), "-"),
)


class Writing(logging.Handler):
    """A handler that keeps what it would write, and the class and the attributes of the record."""

    def __init__(self, lines: list[Any], level: int = logging.NOTSET) -> None:
        super().__init__(level)
        self.setFormatter(FORMATTER)
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        line = re.sub(r"[0-9a-f]{16}", "an id", self.format(record))
        self._lines.append((self.level, type(record), line, [*vars(record)], getattr(record, "tenant", "")))


Way = Callable[[logging.Logger, pytest.MonkeyPatch, list[Any]], object]


def _of_the_root(log: logging.Logger, patch: pytest.MonkeyPatch, lines: list[Any]) -> None:
    log.handlers[:] = []
    log.setLevel(logging.NOTSET)
    patch.setattr(log, "propagate", True)
    patch.setattr(logging.root, "handlers", [Writing(lines)])
    patch.setattr(logging.root, "level", logging.INFO)


def _of_both(log: logging.Logger, patch: pytest.MonkeyPatch, lines: list[Any]) -> None:
    patch.setattr(log, "propagate", True)
    patch.setattr(logging.root, "handlers", [Writing(lines, logging.INFO)])


def _filtered(log: logging.Logger, patch: pytest.MonkeyPatch, lines: list[Any]) -> None:
    log.handlers[0].addFilter(Demoting())
    log.addHandler(Writing(lines, logging.INFO))


def _of_an_app(log: logging.Logger, patch: pytest.MonkeyPatch, lines: list[Any]) -> None:
    patch.setattr(log, "__class__", Deciding)
    log.setLevel(logging.ERROR)


WAYS: list[tuple[str, Way]] = [
    ("one handler", lambda log, patch, lines: None),
    ("two", lambda log, patch, lines: log.addHandler(Writing(lines, logging.DEBUG))),
    ("one more of the root", _of_both),
    ("one of the root", _of_the_root),
    ("a filter of the logger", lambda log, patch, lines: patch.setattr(log, "filters", [Demoting()])),
    ("a filter of a handler, and another handler", _filtered),
    ("another level of the handler", lambda log, patch, lines: log.handlers[0].setLevel(logging.WARNING)),
    ("a level for others, too", lambda log, patch, lines: log.setLevel(logging.DEBUG)),
    ("a factory", lambda log, patch, lines: logging.setLogRecordFactory(Own)),
    ("a logger that is disabled", lambda log, patch, lines: patch.setattr(log, "disabled", True)),
    ("a manager that is disabled", lambda log, patch, lines: patch.setattr(log.manager, "disable", logging.INFO)),
    ("a logger of an app", _of_an_app),
    ("a method of this logger", lambda log, patch, lines: patch.setitem(vars(log), "makeRecord", log.makeRecord)),
]


def test_handlers_see_what_logging_would_show_them(log: logging.Logger, caplog: pytest.LogCaptureFixture) -> None:
    # One app, so that what it has found out is used where something else has changed.
    app = echo_app()

    def lines_of(change: Way, *, by_logging: bool) -> list[Any]:
        lines: list[Any] = []
        factory = logging.getLogRecordFactory()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(log, "handlers", [Writing(lines)])
            log.setLevel(logging.INFO)
            _stop_the_clock(patch, 1_900_000_000_123_456_789)
            patch.setattr(time, "monotonic", lambda: 7.0)
            change(log, patch, lines)
            if by_logging:
                patch.setattr(logging.Logger, "makeRecord", _makes_records(logging.Logger.makeRecord))
            try:
                for name in ("Unary", "Nope", "Unary"):
                    call(app.test_client(), ECHO + name, EchoRequest(text="a"))
            finally:
                logging.setLogRecordFactory(factory)
        return lines

    def check(name: str, change: Way) -> None:
        expected = lines_of(change, by_logging=True)
        assert bool(expected) is not ("disabled" in name or name.startswith("another level"))
        assert lines_of(change, by_logging=False) == expected

    check_rows(check, WAYS)


def test_a_record_names_the_thread_as_it_is_called_now(log: logging.Logger) -> None:
    app, names = echo_app(), []

    def serve() -> None:
        for name in ("a", "b"):
            threading.current_thread().name = name
            record = _record_of(app, log)
            names.append((record.threadName, record.thread == threading.get_ident()))

    thread = threading.Thread(target=serve)
    thread.start()
    thread.join()
    assert names == [("a", True), ("b", True)]


TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.mark.parametrize("method", ["Unary", "ServerStream"])
def test_a_line_names_the_trace_of_its_call(method: str, log: logging.Logger) -> None:
    app, handler = echo_app(), Keeping()
    log.addHandler(handler)
    for headers in ({}, {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}, {}):
        call(app.test_client(), ECHO + method, EchoRequest(text="a", count=1), headers=headers)
    assert [record.trace_id for record in handler.records] == ["", TRACE, ""]
    assert [f", trace {TRACE}" in record.getMessage() for record in handler.records] == [False, True, False]


def test_a_line_names_the_trace_of_the_span_first(log: logging.Logger) -> None:
    handler = Keeping()
    log.addHandler(handler)
    number = 0xA3CE929D0E0E4736
    span = trace.NonRecordingSpan(trace.SpanContext(number, 1, is_remote=False))
    with trace.use_span(span):
        call(echo_app().test_client(), ECHO + "Unary", headers={"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"})
    assert [record.trace_id for record in handler.records] == [f"{number:032x}"]


class Looking(logging.Handler):
    """A handler that notes what a look at a record gives, in place of what it would write."""

    def __init__(self, look: Callable[[Any], object]) -> None:
        super().__init__()
        self.seen: list[Any] = []
        self._look = look

    def emit(self, record: logging.LogRecord) -> None:
        self.seen.append((isinstance(record, logging.LogRecord), self._look(record), type(record)))


def _with_another_peer(record: Any) -> object:
    record.peer = "-"
    return record.peer, record.code


def _without_peer(record: Any) -> object:
    del record.peer
    return hasattr(record, "peer"), record.code


def _in_another_thread(look: Callable[[Any], object]) -> Callable[[Any], object]:
    def run(record: Any) -> object:
        found: list[object] = []
        thread = threading.Thread(target=lambda: found.append(look(record)), name="of the handler")
        thread.start()
        thread.join()
        return found

    return run


LOOKS: list[tuple[str, Callable[[Any], object], object]] = [
    ("an attribute", lambda record: (record.code, record.levelname, record.levelno), ("OK", "INFO", 20)),
    ("another is not there", lambda record: getattr(record, "reason", None), None),
    ("all of them", lambda record: vars(record)["method"], ECHO + "Unary"),
    ("their names", lambda record: "call_id" in dir(record), True),
    (
        "one that is set first",
        lambda record: (setattr(record, "peer", "-"), record.peer, record.code),
        (None, "-", "OK"),
    ),
    ("one that is deleted", _without_peer, (False, "OK")),
    ("a copy", lambda record: copy.copy(record).code, "OK"),
    ("its representation", lambda record: repr(record).startswith("<LogRecord: flask_grpcweb_scm, 20, "), True),
    ("a message", lambda record: record.getMessage().startswith(ECHO + "Unary OK "), True),
    ("pickled", lambda record: pickle.loads(pickle.dumps(record)).code, "OK"),
    ("in another thread", _in_another_thread(lambda record: (record.threadName, record.trace_id)), [("caller", TRACE)]),
]


def test_a_record_has_its_attributes_when_they_are_looked_at(log: logging.Logger) -> None:
    app = echo_app()

    def check(name: str, look: Callable[[Any], object], expected: object) -> None:
        handler = Looking(look)
        log.handlers[:] = [handler]
        span = trace.NonRecordingSpan(trace.SpanContext(int(TRACE, 16), 1, is_remote=False))

        def serve() -> None:
            with trace.use_span(span):
                call(app.test_client(), ECHO + "Unary", EchoRequest(text="a"))

        thread = threading.Thread(target=serve, name="caller")
        thread.start()
        thread.join()
        assert handler.seen == [(True, expected, logging.LogRecord)]

    check_rows(check, LOOKS)


def test_nothing_is_made_for_a_handler_that_looks_at_nothing(log: logging.Logger) -> None:
    handler = Looking(lambda record: (record.levelno, type(record) is logging.LogRecord))
    log.handlers[:] = [handler]
    call(echo_app().test_client(), ECHO + "Unary", EchoRequest(text="a"))
    ((is_record, looked, _),) = handler.seen
    assert (is_record, looked) == (True, (logging.INFO, False))


class Handing(logging.Handler):
    """A handler that hands records to another thread as they are."""

    def __init__(self) -> None:
        super().__init__()
        self.records: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def emit(self, record: logging.LogRecord) -> None:
        self.records.put(record)


def test_a_record_may_be_read_in_another_thread_at_once(log: logging.Logger) -> None:
    handler, lines, count = Handing(), [], 1_000
    log.handlers[:] = [handler]
    formatter = logging.Formatter("%(method)s %(threadName)s")

    def read() -> None:
        for _ in range(count):
            record = handler.records.get(timeout=60)
            # As handlers of queues do.
            record.msg, record.args = formatter.format(record), None
            lines.append(record.getMessage())

    reader = threading.Thread(target=read)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        reader.start()
        call_log = CallLog()
        for _ in range(count):
            call_log.write(RefusedCall(None, "/a", {}, ""), None, 0.5)
        reader.join()
    finally:
        sys.setswitchinterval(interval)
    assert lines == [f"/a {threading.current_thread().name}"] * count


def test_receivers_are_found_whenever_they_connect() -> None:
    app, other, seen = echo_app(), Flask("other"), []

    def receive(sender: Flask, **given: object) -> None:
        seen.append(sender)

    def count() -> int:
        seen.clear()
        call(app.test_client(), ECHO + "Unary", EchoRequest(text="a"))
        return len(seen)

    assert count() == 0
    with rpc_finished.connected_to(receive, other):
        assert count() == count() == 0
        rpc_finished.connect(receive, app)
        assert count() == count() == 1
        rpc_finished.disconnect(receive, app)
        assert count() == 0
    with rpc_finished.connected_to(receive):
        assert count() == 1
    assert count() == 0


def test_a_call_that_was_watched_needs_no_garbage_collector(log: logging.Logger) -> None:
    calls: list[weakref.ref[Any]] = []

    def serve(request: EchoRequest, context: Any) -> EchoReply:
        calls.append(weakref.ref(context))
        return EchoReply()

    app = echo_app(Unary=serve)
    log.addHandler(Keeping())
    client = app.test_client()
    call(client, ECHO + "Unary", EchoRequest())
    gc.collect()
    gc.disable()
    try:
        call(client, ECHO + "Unary", EchoRequest())
        call(client, ECHO + "Unary", EchoRequest())
    finally:
        gc.enable()
    assert [made() for made in calls[:2]] == [None, None]
