"""Flask's sessions in cookies: read and saved as Flask does it, with nothing done twice for a cookie that is the same.

A browser sends the same cookie with every call. Its signature is good or bad for ever, so those of good ones are
remembered; their age is looked at every time.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any

from flask import Flask, Response
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface
from itsdangerous import BadSignature, TimestampSigner

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

__all__ = ["has_session_cookie", "open_known_session", "save_session"]

MAX_REMEMBERED = 1000
MAX_COOKIE_CHARACTERS = 1000

# Of others, each request has to have its own.
_IMMUTABLE = {str, int, float, bool, type(None)}
_signer = TimestampSigner("for its clock")
_remembered: dict[tuple[object, ...], tuple[dict[str, Any], int]] = {}
"""The values in cookies, and when they were signed; by the text and all that it was verified with."""


def has_session_cookie(app: Flask, environ: WSGIEnvironment) -> bool:
    """Return whether a request may have the cookie of a session that the app can read."""
    cookies = environ.get("HTTP_COOKIE")
    # Werkzeug decodes all of them together, and raises for what is no UTF-8.
    return (
        cookies is not None
        and bool(app.secret_key)
        and (app.config["SESSION_COOKIE_NAME"] in cookies or not cookies.isascii())
    )


def open_known_session(app: Flask, environ: WSGIEnvironment) -> SecureCookieSession | None:
    """The session of a request, whose cookie has been read before; None for any other."""
    sessions: Any = app.session_interface
    text = _cookie(environ["HTTP_COOKIE"], app.config["SESSION_COOKIE_NAME"])
    if type(sessions) is not SecureCookieSessionInterface or text is None or len(text) > MAX_COOKIE_CHARACTERS:
        return None
    keys = *(app.config.get("SECRET_KEY_FALLBACKS") or ()), app.secret_key
    made_with = sessions.salt, sessions.digest_method, sessions.key_derivation, sessions.serializer
    key = text, keys, made_with
    found = _remembered.get(key) or _read(sessions, app, text, key)
    if found is None:
        return None
    values, signed = found
    age = _signer.get_timestamp() - signed
    session: SecureCookieSession = sessions.session_class(
        values if 0 <= age <= int(app.permanent_session_lifetime.total_seconds()) else None
    )
    return session


def _read(
    sessions: SecureCookieSessionInterface, app: Flask, text: str, key: tuple[object, ...]
) -> tuple[dict[str, Any], int] | None:
    """Read a cookie for the first time; None when it is not to be remembered."""
    serializer = sessions.get_signing_serializer(app)
    try:
        assert serializer is not None, "there is a key"
        values, signed = serializer.loads(text, return_timestamp=True)
    except BadSignature:
        return None
    if type(values) is not dict or not _IMMUTABLE.issuperset(map(type, values.values())):
        return None
    if len(_remembered) >= MAX_REMEMBERED:
        _remembered.clear()
    found = _remembered[key] = values, int(signed.timestamp())
    return found


def _cookie(cookies: str, name: str) -> str | None:
    """The value of a cookie of which there is one, with nothing but what is in signed texts; None for any other."""
    # A value in quotes may have another cookie in it.
    if '"' in cookies or cookies.count(name) != 1 or not cookies.isascii():
        return None
    match = _pattern(name).search(cookies)
    return match[1] if match else None


@functools.lru_cache
def _pattern(name: str) -> re.Pattern[str]:
    return re.compile(rf"(?:^|;) *{re.escape(name)}=([-.0-9A-Z_a-z]+)(?:;|\Z)")


def save_session(app: Flask, session: Any, response: Response) -> None:
    """Save a session, as the app's interface does."""
    sessions = app.session_interface
    if sessions.is_null_session(session):
        return
    if type(session) is not SecureCookieSession or session.modified:
        sessions.save_session(app, session, response)
        return
    if session.accessed:
        value = response.headers.get("vary", "")
        varying = _with_cookie(value)
        if varying != value:
            response.headers["Vary"] = varying
    if session and session.permanent and app.config["SESSION_REFRESH_EACH_REQUEST"]:
        sessions.save_session(app, session, response)


@functools.lru_cache
def _with_cookie(value: str) -> str:
    """A ``Vary`` with the cookie in it, as werkzeug writes it; the same if it is there already."""
    response = Response()
    if value:
        response.headers["Vary"] = value
    response.vary.add("Cookie")
    return response.headers["Vary"]
