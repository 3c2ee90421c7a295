"""Exchanges without an HTTP server."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from flask_grpcweb_scm.rpc import (
    Dispatcher,
    Exchange,
    Identity,
    IncomingCall,
    Reply,
    RpcError,
    RpcMethod,
    Server,
    StatusCode,
    StreamReply,
    call_form,
)
from flask_grpcweb_scm.settings import Settings
from flask_grpcweb_scm.wire import CONTENT_TYPES, response_content_type
from tests.apps import ECHO, echo_service
from tests.echo_pb2 import EchoRequest
from tests.grpcweb import PROTO, Answer, frame, read

HI = EchoRequest(text="hi").SerializeToString()


def exchange(
    method: str,
    function: Any,
    notes: list[object] | None = None,
    *,
    chunks: Iterator[bytes] | None = None,
    content_type: str = PROTO,
    settings: Settings | None = None,
    headers: dict[str, str] | None = None,
) -> Exchange:
    """An exchange of HI, or of `chunks`, that appends the status of its end to `notes`."""
    dispatcher = Dispatcher([echo_service(**{method: function})])
    ends = [] if notes is None else notes
    settings = settings or Settings()
    server = Server(
        settings,
        dispatcher,
        authenticate=lambda context: Identity(),
        translate=lambda error, context: RpcError(StatusCode.INTERNAL, f"translated {error}"),
        on_end=lambda exchange: ends.append(exchange.code),
    )
    body = GivenBody(frame(HI) if chunks is None else chunks)
    return Exchange(incoming_call(dispatcher.methods[ECHO + method], content_type, body, server, headers), server)


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
    body: GivenBody,
    server: Server,
    headers: dict[str, str] | None = None,
    address: str = "",
) -> IncomingCall:
    """A call as the HTTP layer makes it."""
    environ = environ_of(headers or {})
    asked = CONTENT_TYPES[content_type]
    answered = response_content_type(asked, environ.get("HTTP_ACCEPT"))
    return IncomingCall(call_form(method, asked, answered, body, server), environ, address=address)


def environ_of(headers: dict[str, str]) -> dict[str, Any]:
    """Headers as WSGI has them."""
    names = {"HTTP_" + name.upper().replace("-", "_"): value for name, value in headers.items()}
    return {"wsgi.version": (1, 0), "REQUEST_METHOD": "POST", **names}


def parts(reply: Reply | StreamReply) -> tuple[list[tuple[str, str]], list[bytes]]:
    """The headers and the pieces of the body."""
    return (reply.headers, list(reply)) if isinstance(reply, StreamReply) else reply


def answer(reply: Reply | StreamReply) -> Answer:
    headers, pieces = parts(reply)
    return read(200, headers, b"".join(pieces))
