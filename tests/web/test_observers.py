"""The log and the signals tell of every call, once, what its client sees."""

from __future__ import annotations

import dataclasses
import functools
import logging
from contextlib import suppress
from typing import Any

import pytest
from flask import Flask
from flask.signals import got_request_exception

from flask_grpcweb_scm import StatusCode, rpc_finished, rpc_started
from tests.apps import ECHO, know_routes
from tests.observe.mixed import CASES, HOOKED_CASES, Case, hooked_app, in_process, mixed_app

RUNS = [
    *(pytest.param(mixed_app, CASES, is_known, id=f"{is_known=}") for is_known in (False, True)),
    pytest.param(hooked_app, CASES + HOOKED_CASES, False, id="hooks"),
]


class Events:
    """What the receivers of the signals were told, and the lines of the log."""

    def __init__(self, app: Flask, log: pytest.LogCaptureFixture) -> None:
        self.started: list[Any] = []
        self.finished: list[Any] = []
        self._log = log
        log.set_level(logging.INFO, "flask_grpcweb_scm")
        rpc_started.connect(self._start, app)
        rpc_finished.connect(self._finish, app)

    def _start(self, sender: Flask, context: Any) -> None:
        self.started.append(context)

    def _finish(self, sender: Flask, context: Any, code: StatusCode, seconds: float) -> None:
        assert 0 <= seconds < 60
        self.finished.append((context, code))

    @property
    def records(self) -> list[Any]:
        return [record for record in self._log.records if record.levelno == logging.INFO]


@pytest.mark.parametrize(("make", "cases", "is_known"), RUNS)
def test_every_call_is_told_of_once_with_the_code_that_its_client_sees(
    make: Any, cases: list[Case], is_known: bool, caplog: pytest.LogCaptureFixture
) -> None:
    app = make()
    if is_known:
        know_routes(app)
    events = Events(app, caplog)
    for case in cases:
        assert (case.name, in_process(app, case)) == (case.name, case.code)
    expected = [(case.path, case.code) for case in cases]
    assert [(context.path, code) for context, code in events.finished] == expected
    assert [context for context, _ in events.finished] == events.started
    assert [(record.method, StatusCode[record.code]) for record in events.records] == expected
    for case, record, context in zip(cases, events.records, events.started, strict=True):
        line = record.getMessage()
        assert line.startswith(f"{case.path if case.label else repr(case.path)} {case.code.name} ")
        assert f" call {record.call_id}, caller {record.caller!r}" in line
        assert (record.peer, record.call_id) == ("127.0.0.1", context.call_id)
        assert (context.method is None) == (case.label == "")
        assert record.bytes_in == (len(case.body) if case.messages[0] else record.bytes_in)
        assert 0 <= record.seconds < 60


def test_a_line_has_the_name_of_the_caller_and_a_reason(caplog: pytest.LogCaptureFixture) -> None:
    events = Events(app := hooked_app(), caplog)
    by_name = {case.name: case for case in CASES + HOOKED_CASES}
    for name in ("unary", "hook of a call", "foreign origin", "GET"):
        in_process(app, by_name[name])
    assert [record.caller for record in events.records] == ["alice", "anonymous", "anonymous", "anonymous"]
    ends = [record.getMessage().partition("caller ")[2] for record in events.records]
    assert ends == [
        "'alice'",
        "'anonymous', HTTP 401 of the app",
        "'anonymous', origin 'https://evil.example'",
        "'anonymous', HTTP 405",
    ]


@pytest.mark.parametrize("path", ["/page", "/pkg.Other/Page"])
def test_pages_preflights_and_routes_of_the_host_are_no_calls(path: str, caplog: pytest.LogCaptureFixture) -> None:
    app = hooked_app()
    app.add_url_rule(path, "page", lambda: "page", methods=["GET", "POST"])
    events = Events(app, caplog)
    client = app.test_client()
    client.get(path)
    client.post(path, data=b"", content_type="application/grpc-web+proto")
    client.get("/nothing")
    client.options(ECHO + "Unary", headers={"origin": "https://app.example", "access-control-request-method": "POST"})
    assert (events.started, events.records) == ([], [])


@pytest.mark.parametrize(("status", "code"), [(None, StatusCode.OK), (401, StatusCode.UNAUTHENTICATED)])
def test_a_method_has_its_name_also_behind_a_prefix(
    status: int | None, code: StatusCode, caplog: pytest.LogCaptureFixture
) -> None:
    app = hooked_app(GRPC_URL_PREFIX="/rpc")
    events = Events(app, caplog)
    (case,) = [case for case in CASES if case.name == "unary"]
    headers = {**case.headers, **({"x-hook": "y"} if status else {})}
    in_process(app, dataclasses.replace(case, path=f"/rpc{case.path}", headers=headers))
    assert [(context.path, found) for context, found in events.finished] == [(case.path, code)]


@pytest.mark.parametrize("name", ["rpc_started", "rpc_finished"])
@pytest.mark.parametrize("case", ["unary", "stream", "hook of a call", "misspelt"])
def test_a_receiver_that_raises_keeps_no_call_out_of_the_log(
    name: str, case: str, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(sender: Flask, **_: object) -> None:
        raise KeyError("receiver")

    app = hooked_app(PROPAGATE_EXCEPTIONS=False)
    caplog.set_level(logging.INFO, "flask_grpcweb_scm")
    (one,) = [one for one in CASES + HOOKED_CASES if one.name == case]
    with {"rpc_started": rpc_started, "rpc_finished": rpc_finished}[name].connected_to(fail, app), suppress(KeyError):
        in_process(app, one)
    (record,) = [record for record in caplog.records if hasattr(record, "seconds")]
    assert record.method == one.path


@pytest.mark.parametrize("handled", [None, KeyError])
@pytest.mark.parametrize("propagates", [False, True])
def test_a_receiver_that_raises_for_a_request_of_no_protocol_leaves_a_page(handled: Any, propagates: bool) -> None:
    def fail(sender: Flask, **_: object) -> None:
        raise KeyError("receiver")

    app = mixed_app(PROPAGATE_EXCEPTIONS=propagates)
    if handled is not None:
        app.register_error_handler(handled, lambda error: ("handled", 409))
    with rpc_finished.connected_to(fail, app):
        post = functools.partial(app.test_client().post, ECHO + "Unary", content_type="text/plain")
        if propagates and handled is None:
            with pytest.raises(KeyError, match="receiver"):
                post()
        else:
            assert post().status_code == (409 if handled else 500)


@pytest.mark.parametrize("make", [mixed_app, hooked_app])
@pytest.mark.parametrize("is_known", [False, True])
def test_a_receiver_that_raises_after_an_error_handler_has_failed_leaves_a_status(
    make: Any, is_known: bool, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> Any:
        raise KeyError("nothing works")

    app = make(PROPAGATE_EXCEPTIONS=False)
    if is_known:
        know_routes(app)
    app.before_request(fail)
    app.register_error_handler(500, fail)
    with rpc_finished.connected_to(fail, app):
        assert in_process(app, CASES[0]) == StatusCode.INTERNAL
    assert "a receiver of rpc_finished failed after a call of '/tests.echo.v1.Echo/Unary'" in caplog.text


@pytest.mark.parametrize("name", ["unary, crash", "stream, crash"])
@pytest.mark.parametrize("make", [mixed_app, hooked_app])
def test_a_crash_reaches_flasks_signal_before_the_log(make: Any, name: str, caplog: pytest.LogCaptureFixture) -> None:
    (case,) = [case for case in CASES if case.name == name]
    app = make()
    seen = []

    def receive(sender: Flask, exception: BaseException, **_: object) -> None:
        seen.append((exception, [record for record in caplog.records if record.exc_info]))

    with got_request_exception.connected_to(receive, app):
        in_process(app, case)
    (record,) = [record for record in caplog.records if record.exc_info]
    assert [(str(error), records) for error, records in seen] == [("crash of a service function", [])]
    assert record.getMessage() == f"call {record.call_id} of {case.path} failed"
    assert record.method == case.path


class Receiver:
    """Receives a signal in several ways."""

    def __init__(self, seen: list[str]) -> None:
        self.seen = seen

    def receive(self, sender: Flask, **given: object) -> None:
        self.seen.append("method")

    def __call__(self, sender: Flask, **given: object) -> None:
        self.seen.append("object")


class Slotted:
    """A receiver to which there are no weak references."""

    __slots__ = ("seen",)

    def __init__(self, seen: list[str]) -> None:
        self.seen = seen

    def __call__(self, sender: Flask, **given: object) -> None:
        self.seen.append("slotted")


@pytest.mark.parametrize("signal", [rpc_started, rpc_finished], ids=lambda signal: signal.name)
def test_receivers_are_those_of_blinker(signal: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    app, other, seen = mixed_app(), Flask("other"), []  # type: ignore[var-annotated]
    know_routes(app)
    (case,) = [case for case in CASES if case.name == "unary"]

    def heard() -> list[str]:
        """Those who are told of a call, as blinker would tell them."""
        seen.clear()
        signal.send(app, context=None, code=StatusCode.OK, seconds=0.0)
        expected = sorted(seen)
        seen.clear()
        assert in_process(app, case) == StatusCode.OK
        assert sorted(seen) == expected
        return expected

    one, two, kept = Receiver(seen), Receiver(seen), Slotted(seen)
    assert heard() == []
    signal.connect(one.receive, app)
    assert heard() == heard() == ["method"]
    signal.connect(one)
    signal.connect(kept, app, weak=False)
    signal.connect(two, other)
    assert heard() == ["method", "object", "slotted"]
    with signal.muted():
        assert heard() == []
    signal.disconnect(kept)
    signal.disconnect(one.receive, app)
    assert heard() == heard() == ["object"]
    signal.connect(two, app)
    assert heard() == ["object", "object"]
    del two
    assert heard() == ["object"]
    with monkeypatch.context() as patch:
        patch.setattr(signal, "send", lambda sender, **given: seen.append("in place of send()"))
        assert heard() == ["in place of send()"]
    with signal.connected_to(lambda sender, **given: seen.append("for a while"), app):
        assert heard() == ["for a while", "object"]
    del one
    assert heard() == []


def test_a_coroutine_function_is_refused_as_blinker_does_it() -> None:
    app = mixed_app()
    know_routes(app)
    (case,) = [case for case in CASES if case.name == "unary"]

    async def receive(sender: Flask, **given: object) -> None:
        raise AssertionError("it is not called")

    app.config["PROPAGATE_EXCEPTIONS"] = True
    with rpc_finished.connected_to(receive, app), pytest.raises(RuntimeError, match="coroutine function"):
        in_process(app, case)
