"""Sentry reports the crash of an RPC as it reports that of a view."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import sentry_sdk
from flask import Flask
from sentry_sdk.envelope import Envelope
from sentry_sdk.integrations.flask import FlaskIntegration
from sentry_sdk.transport import Transport

from tests.apps import know_routes
from tests.observe.mixed import CASES, hooked_app, in_process, mixed_app

EVENTS: list[dict[str, Any]] = []


class Kept(Transport):
    """Keeps what would be sent."""

    def capture_envelope(self, envelope: Envelope) -> None:
        EVENTS.extend(event for item in envelope.items if (event := item.payload.json))


@pytest.fixture(autouse=True)
def _sentry() -> Iterator[None]:
    EVENTS.clear()
    with sentry_sdk.isolation_scope():
        sentry_sdk.init("http://key@localhost/1", transport=Kept, integrations=[FlaskIntegration()])
        yield
        sentry_sdk.init()


def crash() -> str:
    raise ZeroDivisionError("crash of a service function")


def report_of_a_view(make: Any) -> dict[str, Any]:
    app: Flask = make()
    app.add_url_rule("/crash", "crash", crash, methods=["POST"])
    app.test_client().post("/crash")
    (event,) = EVENTS
    EVENTS.clear()
    return event


def parts(event: dict[str, Any]) -> object:
    """Everything that does not name the place."""
    (error,) = event["exception"]["values"]
    return (
        {key: error[key] for key in ("type", "value", "mechanism", "module")},
        event["level"],
        event["transaction_info"],
        "logger" in event,
        event["request"]["method"],
        sorted(event["request"]),
        sorted(event["contexts"]),
    )


@pytest.mark.parametrize("name", ["unary, crash", "stream, crash", "client stream, crash", "both, crash"])
@pytest.mark.parametrize("make", [mixed_app, hooked_app])
def test_a_crash_is_reported_once_and_as_that_of_a_view(make: Any, name: str) -> None:
    view = report_of_a_view(make)
    (case,) = [case for case in CASES if case.name == name]
    app = make()
    know_routes(app)
    in_process(app, case)
    (event,) = EVENTS
    assert parts(event) == parts(view)
    (error,) = event["exception"]["values"]
    assert error["mechanism"] == {"type": "flask", "handled": False}
    assert error["stacktrace"]["frames"][-1]["function"] == "act"
    assert event["transaction"] == "grpcweb_scm." + case.path[1:].replace(".", "_")
    assert event["request"]["url"] == f"http://localhost{case.path}"


def test_what_is_no_crash_is_not_reported() -> None:
    app = hooked_app()
    for case in CASES:
        if "crash" not in case.name:
            in_process(app, case)
    assert EVENTS == []
