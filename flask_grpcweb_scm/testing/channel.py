"""Channels to an app in this process: the same stubs and bytes as over HTTP, without a socket."""

from __future__ import annotations

from collections.abc import Iterator
from contextvars import Context
from typing import Any

from flask import Flask
from flask.testing import FlaskClient

from flask_grpcweb_scm.client import Channel, Exchange, Head, Request
from flask_grpcweb_scm.rpc.protocols import HTTP1_PROTOCOLS

__all__ = ["channel_for"]


def channel_for(app: Flask, **options: Any) -> Channel:
    """Open a channel to an app's services, through all of its hooks.

    A call shares the thread with its caller, and nothing else: as over a socket, neither sees contexts of the other.

    :param options: those of :class:`~flask_grpcweb_scm.client.Channel`; the protocol is one that the app serves.
    """
    settings = app.extensions["grpcweb_scm"].settings
    options.setdefault("protocol", next(filter(settings.protocols.__contains__, HTTP1_PROTOCOLS), HTTP1_PROTOCOLS[0]))
    return Channel(f"http://localhost{settings.url_prefix}", transport=_AppTransport(app), **options)


class _AppTransport:
    def __init__(self, app: Flask) -> None:
        self._app = app

    def exchange(self, request: Request) -> Exchange:
        return _AppExchange(self._app.test_client(use_cookies=False), request)

    def close(self) -> None:
        pass


class _AppExchange:
    def __init__(self, client: FlaskClient, request: Request) -> None:
        self._client = client
        self._request = request
        self._response: Any = None
        self._chunks: Iterator[bytes] = iter(())
        # Empty, as that of a thread of a server.
        self._context = Context()

    def start(self) -> Head:
        request = self._request
        body = request.body if isinstance(request.body, bytes) else b"".join(request.body)
        self._response = self._context.run(
            self._client.open,
            request.path,
            method=request.method,
            data=body,
            headers=request.headers,
            base_url=self._client.application.extensions["grpcweb_scm"].base_url,
        )
        self._chunks = self._response.iter_encoded()
        headers = [(name.lower(), value) for name, value in self._response.headers.items()]
        return Head(self._response.status_code, headers)

    def read(self) -> bytes:
        return self._context.run(next, filter(None, self._chunks), b"")

    def abort(self) -> None:
        # The server runs in the thread of the caller: no other thread waits.
        pass

    def close(self) -> None:
        if self._response is not None:
            self._context.run(self._response.close)
