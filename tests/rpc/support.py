"""Exchanges without an HTTP server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flask_grpcweb_scm.rpc import (
    CallContext,
    Dispatcher,
    Exchange,
    Identity,
    Incoming,
    Reply,
    RpcError,
    Server,
    StatusCode,
    StreamReply,
)
from flask_grpcweb_scm.settings import Settings
from flask_grpcweb_scm.wire import CONTENT_TYPES
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
    incoming = Incoming(
        dispatcher.methods[ECHO + method],
        CONTENT_TYPES[content_type],
        environ_of(headers or {}),
        chunks or iter([frame(HI)]),
        settings.max_message_bytes,
    )
    return Exchange(incoming, context_of(incoming), server)


def environ_of(headers: dict[str, str]) -> dict[str, Any]:
    """Headers as WSGI has them."""
    names = {"HTTP_" + name.upper().replace("-", "_"): value for name, value in headers.items()}
    return {"wsgi.version": (1, 0), "REQUEST_METHOD": "POST", **names}


def context_of(incoming: Incoming, peer: str = "") -> CallContext:
    """The context of a call as the HTTP layer makes it."""
    method = incoming.method
    read_message = None if method.client_streaming else incoming.message_bytes
    return CallContext(method, metadata=incoming.metadata, peer=peer, read_message=read_message)


def answer(reply: Reply | StreamReply) -> Answer:
    pieces = reply if isinstance(reply, StreamReply) else reply.pieces
    return read(200, reply.headers, b"".join(pieces))
