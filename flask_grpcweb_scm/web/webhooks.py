"""Webhooks of providers: requests beside the RPCs, with a proof of their own."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from flask import Flask

from flask_grpcweb_scm.web.body import read_body
from flask_grpcweb_scm.web.peers import strangers_body
from flask_grpcweb_scm.web.response import must_close
from flask_grpcweb_scm.wire import RemoteProtocolError, StatusCode

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication

__all__ = ["WebhookPages"]

logger = logging.getLogger(__name__)

PATH = "/scm/webhooks/"
MAX_BODY_BYTES = 25 * 2**20
"""The most that GitHub sends. https://docs.github.com/en/webhooks/webhook-events-and-payloads"""
RETRY_SECONDS = 10
_STATUSES = {StatusCode.RESOURCE_EXHAUSTED: 413, StatusCode.CANCELLED: 408}

Receive = Callable[[str, Mapping[str, str], Callable[[], bytes]], "tuple[int, str]"]


class _Body:
    """The body of a delivery."""

    is_read = False

    def __init__(self, environ: dict[str, Any]) -> None:
        self._environ = environ

    def read(self) -> bytes:
        """Read it to its end.

        :raises RemoteProtocolError: when it is malformed, too long, or does not come.
        """
        with strangers_body(self._environ):
            body = b"".join(read_body(self._environ, MAX_BODY_BYTES))
        self.is_read = True
        return body


class WebhookPages:
    """A WSGI application around another, for deliveries of webhooks.

    They are in front of the app because providers log in nowhere, have no CSRF token and follow no redirects.

    :param prefix: of the RPCs.
    :param receive: see :func:`flask_grpcweb_scm.scm.webhooks.receive`; is called in an app context.
    """

    def __init__(self, app: Flask, prefix: str, receive: Receive, inner: WSGIApplication) -> None:
        self._app, self._path, self._receive, self._inner = app, prefix + PATH, receive, inner

    def wsgi_app(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Respond to a delivery with JSON; leave any other request to the application."""
        path: str = environ.get("PATH_INFO", "")
        if not path.startswith(self._path):
            return self._inner(environ, start_response)
        body = _Body(environ)
        status, word = 405, "only POST is understood"
        if environ["REQUEST_METHOD"] == "POST":
            status, word = self._respond(path.removeprefix(self._path), environ, body)
        headers = [("Content-Type", "application/json"), ("Cache-Control", "no-store")]
        if status == 405:
            headers.append(("Allow", "POST"))
        elif status == 503:
            headers.append(("Retry-After", str(RETRY_SECONDS)))
        if not body.is_read and must_close(read_body(environ), environ, None, is_open=False):
            headers.append(("Connection", "close"))
        page = json.dumps({"status" if status == 200 else "error": word}).encode() + b"\n"
        start_response(f"{status} {HTTPStatus(status).phrase}", [*headers, ("Content-Length", str(len(page)))])
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [page]

    def _respond(self, name: str, environ: dict[str, Any], body: _Body) -> tuple[int, str]:
        headers = {
            key.removeprefix("HTTP_").replace("_", "-").lower(): value
            for key, value in environ.items()
            if key.startswith("HTTP_") or key == "CONTENT_TYPE"
        }

        try:
            with self._app.app_context():
                return self._receive(name, headers, body.read)
        except RemoteProtocolError as error:
            return _STATUSES.get(error.code, 400), str(error)
        except Exception:
            logger.exception("a delivery of the webhook %r failed", name)
            return 500, "internal error"
