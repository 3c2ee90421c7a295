"""Exchanges without an HTTP server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from werkzeug.datastructures import Headers

from flask_grpcweb_scm.rpc import Dispatcher, Exchange, Identity, Incoming, Reply, RpcError, StatusCode, StreamReply
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
    sent = Headers({"content-type": content_type, **(headers or {})})
    ends = [] if notes is None else notes
    return Exchange(
        Incoming(dispatcher.methods[ECHO + method], CONTENT_TYPES[content_type], sent, chunks or iter([frame(HI)]), ""),
        settings or Settings(),
        dispatcher=dispatcher,
        authenticate=lambda context: Identity(),
        translate=lambda error, context: RpcError(StatusCode.INTERNAL, f"translated {error}"),
        on_end=lambda exchange: ends.append(exchange.status.code if exchange.status else StatusCode.OK),
    )


def answer(reply: Reply | StreamReply) -> Answer:
    pieces = reply if isinstance(reply, StreamReply) else [reply.body]
    return read(200, reply.headers, b"".join(pieces))
