"""Records of calls: only for handlers that take them, and like those that logging makes."""

from __future__ import annotations

import gc
import logging
import pickle
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask

from flask_grpcweb_scm import rpc_finished
from flask_grpcweb_scm.signals import logger
from flask_grpcweb_scm.web.call_log import is_read
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


def test_a_record_has_all_that_logging_gives_to_one(log: logging.Logger, monkeypatch: pytest.MonkeyPatch) -> None:
    app = echo_app()
    record = _record_of(app, log)
    monkeypatch.setattr(logging.Logger, "makeRecord", _makes_records(logging.Logger.makeRecord))
    expected = _record_of(app, log)
    changing = {"args", "created", "msecs", "relativeCreated", "lineno", "funcName", "seconds", "call_id"}
    assert vars(record).keys() == vars(expected).keys()
    assert {key: value for key, value in vars(record).items() if key not in changing} == {
        key: value for key, value in vars(expected).items() if key not in changing
    }
    assert 0 <= expected.created - record.created < 60
    assert expected.relativeCreated - record.relativeCreated == pytest.approx(
        (expected.created - record.created) * 1000, abs=1
    )
    assert pickle.loads(pickle.dumps(record)).getMessage() == record.getMessage()


def _makes_records(original: Any) -> Any:
    return lambda self, *args, **kw: original(self, *args, **kw)


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
