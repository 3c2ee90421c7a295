"""What calls the app: servers, Flask's test client, and a caller of WSGI that does only what a test says."""

from __future__ import annotations

import contextlib
import itertools
import json
import sqlite3
import struct
from collections.abc import Callable, Iterable
from contextvars import Context
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from flask import Flask
from werkzeug.test import EnvironBuilder

from tests import grpcweb
from tests.apps import ECHO
from tests.contexts.app import outside
from tests.echo_pb2 import EchoRequest
from tests.sockets.http1 import Closed, Connection, Response, request

__all__ = [
    "BareCaller",
    "Caller",
    "HttpCaller",
    "Outcome",
    "Traces",
    "Use",
    "call",
    "close",
    "complete",
    "post",
]

Headers = dict[str, str]
T = TypeVar("T")
_names = map("request-{}".format, itertools.count())


@dataclass(frozen=True)
class Outcome:
    """What has come of a request."""

    name: str
    """Its ``X-Name``."""
    http_status: int | None
    """None without a response."""
    answer: grpcweb.Answer | None
    """None when the response is broken, or not gRPC-Web."""

    @property
    def code(self) -> int | None:
        """The status; None when there is none."""
        return (
            None
            if self.answer is None or "grpc-status" not in {**self.answer.headers, **self.answer.trailers}
            else self.answer.code
        )

    @property
    def messages(self) -> int | None:
        """Number of messages in it."""
        return None if self.answer is None else len(self.answer.payloads)


class Caller(Protocol):
    def send(self, path: str, body: bytes, headers: Headers) -> Response | None:
        """POST; None without a whole response."""

    def outside(self) -> dict[str, Any]:
        """What there is in the thread of the app between requests."""


def post(caller: Caller, path: str, body: bytes = b"", **headers: str) -> Outcome:
    name = next(_names)
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    response = caller.send(path, body, {"x-name": name, **named})
    return Outcome(name, response and response.status, response and _read(response))


def call(caller: Caller, method: str, count: int = 3, text: str = "", **headers: str) -> Outcome:
    """Call a method of Echo."""
    body = grpcweb.body_of(EchoRequest(text=text, count=count))
    return post(caller, ECHO + method, body, content_type=grpcweb.PROTO, x_grpc_web="1", **headers)


class HttpCaller:
    """Sends requests one after the other, to the app of a lane.

    :param keeps: whether all are sent on one connection, for servers that serve each in a greenlet of its own.
    """

    def __init__(self, port: int, lane: str, *, keeps: bool) -> None:
        self._port = port
        self._lane = lane
        self._keeps = keeps
        self._connection: Connection | None = None

    def send(self, path: str, body: bytes, headers: Headers) -> Response | None:
        try:
            return self._exchange(path, body, headers)
        except Closed:
            return None

    def outside(self) -> dict[str, Any]:
        state: dict[str, Any] = json.loads(self._exchange("/outside", verb="GET").body)
        return state

    def _exchange(self, path: str, body: bytes = b"", headers: Headers | None = None, verb: str = "POST") -> Response:
        connection, self._connection = self._connection or Connection(self._port), None
        sent = {"x-lane": self._lane, **(headers or {}), **({} if self._keeps else {"connection": "close"})}
        try:
            connection.send(request(path, body, sent.items(), verb=verb))
            response = connection.response()
        except BaseException:
            connection.close()
            raise
        if self._keeps and not response.closes:
            self._connection = connection
        else:
            connection.close()
        return response

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()


Use = Callable[[Iterable[bytes]], list[bytes]]


def complete(iterable: Iterable[bytes]) -> list[bytes]:
    """Iterate and close, as a server does."""
    try:
        return [*iterable]
    finally:
        close(iterable)


def close(iterable: Iterable[bytes]) -> None:
    getattr(iterable, "close", lambda: None)()


class BareCaller:
    """Calls the app in process, as PEP 3333 has it.

    :param use: takes the iterable and gives the pieces of the body; whether it iterates and closes is up to it.
    """

    def __init__(self, app: Flask, use: Use = complete) -> None:
        self.use = use
        self.error: BaseException | None = None
        self._app = app
        self._context = Context()

    def run(self, function: Callable[[], T]) -> T:
        """Call a function as in a thread of this caller's own: what one call leaves there, the next one finds."""
        return self._context.run(function)

    def send(self, path: str, body: bytes, headers: Headers) -> Response | None:
        environ = EnvironBuilder(path, method="POST", data=body, headers=headers).get_environ()
        started: list[Any] = []

        def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            started[:] = [int(status[:3]), headers]

        self.error = None
        try:
            pieces = self.run(lambda: self.use(self._app(environ, start_response)))
        except BaseException as error:
            # Without its frames, which would keep what they hold.
            self.error = error.with_traceback(None)
            self.error.__context__ = None
            return None
        return Response(*started, b"".join(pieces)) if started else None

    def outside(self) -> dict[str, Any]:
        return self.run(outside)


def _read(response: Response) -> grpcweb.Answer | None:
    with contextlib.suppress(AssertionError, ValueError, struct.error):
        return grpcweb.read(response.status, response.headers, response.body)
    return None


@dataclass
class Traces:
    """What the app notes and stores in its folder."""

    folder: Path
    _seen: int = field(default=0)

    def text(self) -> str:
        """The notes since the last look, without looking."""
        with (self.folder / "notes").open("rb") as file:
            file.seek(self._seen)
            return file.read().decode()

    def new(self) -> list[str]:
        """The notes since the last look."""
        text = self.text()
        self._seen += len(text.encode())
        return text.splitlines()

    def rows(self) -> list[str]:
        """Committed rows, which are deleted here."""
        with contextlib.closing(sqlite3.connect(self.folder / "rows.db", timeout=2)) as connection, connection:
            rows = [text for (text,) in connection.execute("SELECT text FROM row ORDER BY id")]
            connection.execute("DELETE FROM row")
        return rows
