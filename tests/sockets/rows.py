"""The vocabulary of the hostile table: what is sent, what must come of it."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.echo_pb2 import EchoRequest
from tests.grpcweb import PROTO, frame
from tests.sockets.http1 import request

__all__ = [
    "ANY",
    "HELLO",
    "REQUESTS",
    "STREAM",
    "UNARY",
    "Outcome",
    "Row",
    "Sent",
    "accepted",
    "answered",
    "gzipped",
    "message",
    "refused",
    "row",
    "rpc",
    "zlibbed",
]

UNARY = "/tests.echo.v1.Echo/Unary"
STREAM = "/tests.echo.v1.Echo/ServerStream"
REQUESTS = "/tests.echo.v1.Echo/ClientStream"


Row = tuple[str, "Sent", "Outcome", Mapping[str, "Outcome"]]
"""A name, what is sent, what must come of it, and what of it on some servers."""


def message(text: str = "hello", **fields: Any) -> bytes:
    return EchoRequest(text=text, **fields).SerializeToString()


HELLO = frame(message())


@dataclass(frozen=True)
class Sent:
    """Bytes, and how they go out."""

    data: bytes
    step: int = 0
    """Bytes at a time; 0 for all at once."""
    end: bool = False
    """Whether nothing more can follow: the connection is half-closed."""
    verb: str = "POST"
    connect: str = ""
    """The content type of a request of Connect; none for gRPC-Web."""


@dataclass(frozen=True)
class Outcome:
    """What must come back."""

    http: int | None = 200
    """None when it may be any, and nothing at all."""
    code: int | None = None
    """The code of the status; None when it does not matter."""
    text: str = ""
    """Part of the status message, or of the reply's text."""
    closes: bool = False
    """Whether the server closes the connection after its answer."""
    lost: bool = False
    """Whether it may close so soon that the answer is lost."""


ANY = Outcome(http=None)
"""Not quite HTTP: the server answers an error, closes the connection, or makes a request of it, as it likes."""


def accepted(text: str = "HELLO") -> Outcome:
    return Outcome(code=0, text=text)


def refused(code: int, text: str, **options: bool) -> Outcome:
    return Outcome(code=code, text=text, **options)


def answered(http: int, code: int | None = None, text: str = "", **options: bool) -> Outcome:
    return Outcome(http, code, text, **options)


def rpc(
    body: bytes = HELLO,
    headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
    *,
    target: str = UNARY,
    content_type: str | None = PROTO,
    **options: Any,
) -> bytes:
    """The bytes of a gRPC-Web request; `options` are those of :func:`request`."""
    pairs = list(headers.items() if isinstance(headers, Mapping) else headers)
    if content_type is not None:
        pairs.insert(0, ("Content-Type", content_type))
    return request(target, body, pairs, **options)


def row(name: str, sent: bytes | Sent, outcome: Outcome, **differences: Outcome) -> Row:
    """One row of the table.

    :param differences: by the name of a server, where HTTP leaves it to the server; for ``fast_lane`` where a hook of
        the app, or CORS, is missing.
    """
    sent = sent if isinstance(sent, Sent) else Sent(sent)
    return name, sent, outcome, differences


def gzipped(payload: bytes) -> bytes:
    return frame(gzip.compress(payload, 1), 1)


def zlibbed(payload: bytes) -> bytes:
    return frame(zlib.compress(payload), 1)
