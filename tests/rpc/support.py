"""Calls without an HTTP server."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from flask_grpcweb_scm.rpc import (
    Dispatcher,
    Identity,
    IncomingCall,
    Reply,
    RpcError,
    RpcMethod,
    Server,
    StatusCode,
    StreamReply,
    serve_stream,
    serve_unary,
)
from flask_grpcweb_scm.rpc.protocols import TRAILERS_KEY, Protocols
from flask_grpcweb_scm.settings import Settings
from tests.apps import ECHO, echo_service
from tests.echo_pb2 import EchoRequest
from tests.grpcweb import PROTO, Answer, frame, read

HI = EchoRequest(text="hi").SerializeToString()


class Served:
    """A call of HI, or of `chunks`, that appends the code of its end to `notes`."""

    def __init__(
        self,
        method: str,
        function: Any,
        notes: list[object] | None = None,
        *,
        chunks: Iterator[bytes] | None = None,
        content_type: str = PROTO,
        settings: Settings | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        dispatcher = Dispatcher([echo_service(**{method: function})])
        self._notes = [] if notes is None else notes
        self._endpoints = Server(
            settings or Settings(),
            dispatcher,
            authenticate=lambda context: Identity(),
            translate=lambda error, context: RpcError(StatusCode.INTERNAL, f"translated {error}"),
            reader=GivenBody(frame(HI) if chunks is None else chunks),
        )
        self.call = incoming_call(dispatcher.methods[ECHO + method], content_type, self._endpoints, headers)

    def run(self) -> Reply | StreamReply:
        """Serve it, up to the first message of a stream."""
        reply = serve(self.call)
        if isinstance(reply, StreamReply):
            reply.on_end = lambda: self._notes.append(self.call.code)
        else:
            self._notes.append(self.call.code)
        return reply


def serve(call: IncomingCall) -> Reply | StreamReply:
    return (serve_stream if call.endpoint.method.server_streaming else serve_unary)(call)


class GivenBody:
    """A body in one piece, or in chunks."""

    def __init__(self, body: bytes | Iterable[bytes]) -> None:
        self._body = body

    def read_whole(self, environ: dict[str, Any], limit: int | None) -> bytes | None:
        return self._body if isinstance(self._body, bytes) else None

    def read_chunks(self, environ: dict[str, Any], limit: int | None) -> Iterator[bytes]:
        return iter([self._body] if isinstance(self._body, bytes) else self._body)


def incoming_call(
    method: RpcMethod,
    content_type: str,
    server: Server,
    headers: dict[str, str] | None = None,
    address: str = "",
) -> IncomingCall:
    """A call as the HTTP layer makes it."""
    environ = {**environ_of(headers or {}), "CONTENT_TYPE": content_type}
    protocol = Protocols().find(environ)
    assert protocol is not None
    return IncomingCall(server.endpoint(method, protocol), environ, address=address)


def environ_of(headers: dict[str, str]) -> dict[str, Any]:
    """Headers as WSGI has them."""
    names = {"HTTP_" + name.upper().replace("-", "_"): value for name, value in headers.items()}
    return {"wsgi.version": (1, 0), "REQUEST_METHOD": "POST", TRAILERS_KEY: [], **names}


def parts(reply: Reply | StreamReply) -> tuple[list[tuple[str, str]], list[bytes]]:
    """The headers, but for the last, which is the length of the body, and the pieces of the body."""
    if isinstance(reply, StreamReply):
        return reply.headers, list(reply)
    status, [*headers, length], pieces = reply
    assert status == "200 OK"
    assert length == ("content-length", str(sum(map(len, pieces))))
    return headers, pieces


def answer(reply: Reply | StreamReply) -> Answer:
    headers, pieces = parts(reply)
    return read(200, headers, b"".join(pieces))
