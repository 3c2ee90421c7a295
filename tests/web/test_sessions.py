"""Session cookies that have been read before: as Flask reads them, for as long as Flask would, and not too many."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from itsdangerous import TimestampSigner

from flask_grpcweb_scm.web import sessions
from flask_grpcweb_scm.web.sessions import MAX_REMEMBERED, open_known_session


def app_with(key: str = "k") -> Flask:
    app = Flask("a")
    app.secret_key = key
    return app


def cookie(app: Flask, values: dict[str, Any], name: str = "session") -> str:
    return f"{name}={app.session_interface.get_signing_serializer(app).dumps(values)}"  # type: ignore[attr-defined]


def opened(app: Flask, cookies: str) -> dict[str, Any] | None:
    session = open_known_session(app, {"HTTP_COOKIE": cookies})
    return None if session is None else dict(session)


def test_each_request_has_a_session_of_its_own() -> None:
    app = app_with()
    text = cookie(app, {"user": "7"})
    first = open_known_session(app, {"HTTP_COOKIE": text})
    assert first is not None
    first["user"] = "8"
    assert opened(app, f"a=1; {text}; b=2") == {"user": "7"}


def test_a_cookie_ages_and_its_keys_may_be_withdrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    app = app_with()
    app.permanent_session_lifetime = timedelta(seconds=10)
    now = 1_700_000_000
    monkeypatch.setattr(TimestampSigner, "get_timestamp", lambda signer: now)
    text = cookie(app, {"user": "7"})
    assert opened(app, text) == {"user": "7"}
    now += 10
    assert opened(app, text) == {"user": "7"}
    now += 1
    assert opened(app, text) == {}
    now -= 12
    assert opened(app, text) == {}
    now += 1
    app.secret_key = "new"
    assert opened(app, text) is None
    # Since Flask 3.1.
    if "SECRET_KEY_FALLBACKS" in app.config:
        app.config["SECRET_KEY_FALLBACKS"] = ["k"]
        assert opened(app, text) == {"user": "7"}


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[:-3] + "abc",
        lambda text: f"{text}; {text}",
        lambda text: f'a="; {text}"',
        lambda text: f"my{text}",
        lambda text: text.replace("=", " = "),
        lambda text: text + " x",
        lambda text: "session=",
        lambda text: f"session; {text}",
        lambda text: f"{text}; a=\xe9",
    ],
)
def test_what_is_not_known_for_sure_is_left_to_flask(change: Any) -> None:
    app = app_with()
    assert opened(app, change(cookie(app, {"user": "7"}))) is None


def test_values_that_may_change_are_read_every_time() -> None:
    app = app_with()
    assert opened(app, cookie(app, {"list": [1]})) is None


def test_what_is_remembered_has_bounds() -> None:
    app = app_with()
    for number in range(MAX_REMEMBERED + 10):
        assert opened(app, cookie(app, {"user": number})) == {"user": number}
    assert len(sessions._remembered) <= MAX_REMEMBERED
    assert opened(app, cookie(app, {str(number): f"{number:06}" for number in range(800)})) is None
