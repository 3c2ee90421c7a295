"""One request through the whole app in process, and what must hold of the answer whatever the request was."""

from __future__ import annotations

import base64
import gzip
import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from flask import Flask
from werkzeug.test import EnvironBuilder, run_wsgi_app

from flask_grpcweb_scm import CallContext, RpcError, StatusCode
from tests.apps import ECHO, echo_app
from tests.echo_pb2 import EchoReply, EchoRequest
from tests.grpcweb import FOUR_CONTENT_TYPES, frame
from tests.sockets.contract import check_answer

__all__ = ["CONTENT_TYPES", "HEADERS", "PATHS", "TRANSFORMS", "FuzzedRequest", "check", "create_app"]

PATHS = [ECHO + name for name in ("Unary", "ServerStream", "ClientStream", "Bidi", "Missing", "Misspelt")]
CONTENT_TYPES = [*FOUR_CONTENT_TYPES, "application/grpc-web", "application/grpc-web-text+json", "text/plain"]
HEADERS = [
    *("grpc-timeout", "grpc-encoding", "grpc-accept-encoding", "accept", "content-type", "x-grpc-web", "x-text"),
    *("x-data-bin", "x-user-agent", "x-grpc-auth-token", "authorization", "host", "origin", "cookie"),
]
TRANSFORMS = {
    "frame": frame,
    "flagged": lambda body: frame(body, 1),
    "gzip": gzip.compress,
    "zlib": zlib.compress,
    "base64": base64.b64encode,
    "twice": lambda body: body * 2,
    "cut": lambda body: body[:-1],
}


@dataclass(frozen=True)
class FuzzedRequest:
    path: str
    content_type: str
    headers: list[tuple[str, str]]
    body: bytes
    verb: str = "POST"
    length: int | None = 0
    """What Content-Length says more than the body has; None for a chunked body."""


def create_app() -> Flask:
    """The Echo service, with short streams, sending back what metadata it can."""
    return echo_app(Unary=_unary, ServerStream=_server_stream, GRPC_MAX_MESSAGE_BYTES=4096)


def _unary(request: EchoRequest, context: CallContext) -> EchoReply:
    for name, value in context.metadata:
        context.trailing_metadata.add(name, value)
    if request.text.startswith("fail"):
        raise RpcError(StatusCode.NOT_FOUND, request.text, [request])
    return EchoReply(text=request.text, number=request.count)


def _server_stream(request: EchoRequest, context: CallContext) -> Iterator[EchoReply]:
    for name, value in context.metadata:
        context.initial_metadata.add(name, value)
    for number in range(min(request.count, 3)):
        yield EchoReply(text=request.text, number=number)
    if request.text.startswith("fail"):
        raise RpcError(StatusCode.DATA_LOSS, request.text, [request])


def check(app: Flask, fuzzed: FuzzedRequest) -> None:
    """Send a request, and a good one after it.

    :raises AssertionError: when an answer breaks the protocol, or blames the server for what the client did.
    """
    status, headers, body = _send(app, fuzzed)
    if status == 404 or (status == 400 and not body.startswith(b"\0")):
        # The app's own answer to a path or a Host that is not ours.
        assert not any(name.lower() == "grpc-status" for name, _ in headers)
    elif fuzzed.verb == "OPTIONS":
        assert (status, body) == (200, b"")
    else:
        answer = check_answer(status, headers, body)
        assert not answer.message.startswith("internal error"), answer.message
    good = FuzzedRequest(PATHS[0], CONTENT_TYPES[0], [], frame(EchoRequest(text="good").SerializeToString()))
    assert check_answer(*_send(app, good)).only(EchoReply).text == "good"


def _send(app: Flask, fuzzed: FuzzedRequest) -> tuple[int, list[tuple[str, str]], bytes]:
    environ = EnvironBuilder(method=fuzzed.verb).get_environ()
    environ["PATH_INFO"] = fuzzed.path.encode("utf-8", "replace").decode("latin-1")
    environ["CONTENT_TYPE"] = fuzzed.content_type
    for name, value in fuzzed.headers:
        key = name.upper().replace("-", "_")
        environ[key if key == "CONTENT_TYPE" else "HTTP_" + key] = value
    environ["wsgi.input"] = io.BytesIO(fuzzed.body)
    environ.pop("CONTENT_LENGTH", None)
    if fuzzed.length is None:
        environ["wsgi.input_terminated"] = True
        environ["HTTP_TRANSFER_ENCODING"] = "chunked"
    else:
        environ["CONTENT_LENGTH"] = str(max(0, len(fuzzed.body) + fuzzed.length))
    chunks, status, headers = run_wsgi_app(app.wsgi_app, environ, buffered=True)
    return int(status.split(" ")[0]), list(headers), b"".join(chunks)
