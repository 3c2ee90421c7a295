"""Reading request bodies from WSGI servers, whose inputs differ."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

from flask import has_request_context, request
from werkzeug.exceptions import HTTPException

from flask_grpcweb_scm.web.peers import end_reading, impatient
from flask_grpcweb_scm.wire import RemoteProtocolError, StatusCode, over_limit

__all__ = ["BodyReader", "content_length", "drain", "has_own_stream", "read_body"]

CHUNK_BYTES = 256 * 1024
MAX_DRAIN_BYTES = 16 * 2**20
MAX_DRAIN_SECONDS = 5.0
LENGTH_DIGITS = 18
"""Of a Content-Length: no body has more bytes, and for thousands of digits int() raises."""
SHOWN_CHARACTERS = 40
_LENGTH = re.compile(r"[ \t]*([0-9]+)[ \t]*")


class BodyReader:
    """Reads bodies at once or in chunks.

    werkzeug's own stream is left aside: it cuts chunked bodies silently at its limit.

    :param at_once: bytes; the longest body to read at once.
    """

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once

    def read_whole(self, environ: dict[str, Any], limit: int | None) -> bytes | None:
        """Read a body whose Content-Length is not too long; None for any other, of which nothing has been read then.

        :param limit: bytes; the app's ``MAX_CONTENT_LENGTH``.
        :raises RemoteProtocolError: when the body cannot be read, or ends before its Content-Length.
        """
        text = environ.get("CONTENT_LENGTH", "")
        is_plain = text.isdecimal() and len(text) <= LENGTH_DIGITS and "HTTP_TRANSFER_ENCODING" not in environ
        length = int(text) if is_plain else content_length(environ)
        if length is None or length > self._at_once or (limit is not None and length > limit):
            return None
        # Granian collects it in buffers that grow, and copies it then: several times the body.
        if length > CHUNK_BYTES and environ.get("SERVER_SOFTWARE") == "Granian":
            return None
        try:
            body: bytes = environ["wsgi.input"].read(length)
        except Exception as error:
            raise _unreadable(error, environ) from error
        return body if len(body) == length else b"".join([body, *_read_on(environ, length, len(body))])

    def read_chunks(self, environ: dict[str, Any], limit: int | None) -> Iterator[bytes]:
        """See :func:`read_body`."""
        return read_body(environ, limit)


def read_body(environ: dict[str, Any], limit: int | None = None) -> Iterator[bytes]:
    """Read the body of a request in chunks of at most :data:`CHUNK_BYTES`, none of them empty.

    :param limit: bytes; the app's ``MAX_CONTENT_LENGTH``.
    :raises RemoteProtocolError: when the body is malformed, ends before its Content-Length, or is over `limit`.
    """
    length = content_length(environ)
    if length is not None:
        yield from _read_on(environ, length, 0, limit)
    elif environ.get("wsgi.input_terminated") or has_own_stream(environ):
        yield from _read_to_end(environ, limit)


def has_own_stream(environ: dict[str, Any]) -> bool:
    """Return whether a request is a stream of its connection, whose end is that of the body, and not the connection."""
    protocol: str = environ.get("SERVER_PROTOCOL", "")
    return protocol.startswith(("HTTP/2", "HTTP/3"))


def content_length(environ: dict[str, Any]) -> int | None:
    """The length of a body in bytes; None for a chunked one, and for one that the request says nothing about.

    "Content-Length = 1*DIGIT" (RFC 9110, section 8.6): what werkzeug reads as 0 could be the next request.

    :raises RemoteProtocolError: for anything else.
    """
    text = environ.get("CONTENT_LENGTH") or ""
    if not text or "chunked" in environ.get("HTTP_TRANSFER_ENCODING", "").lower():
        return None
    match = _LENGTH.fullmatch(text)
    if match is None:
        raise RemoteProtocolError(f"Content-Length {text[:SHOWN_CHARACTERS]!r} is not a number of bytes")
    digits = match[1].lstrip("0")
    if len(digits) > LENGTH_DIGITS:
        text = f"a Content-Length of {len(digits)} digits is over any limit"
        raise RemoteProtocolError(text, code=StatusCode.RESOURCE_EXHAUSTED)
    return int(digits or "0")


def _read_on(environ: dict[str, Any], length: int, received: int, limit: int | None = None) -> Iterator[bytes]:
    """Read the rest of a body with a Content-Length."""
    if limit is not None and length > limit:
        raise over_limit(f"body of {length} bytes", limit)
    while received < length:
        chunk = _read(environ, min(CHUNK_BYTES, length - received), is_first=not received)
        if not chunk:
            raise RemoteProtocolError(f"the body ends after {received} of its {length} bytes")
        received += len(chunk)
        yield chunk


def _read_to_end(environ: dict[str, Any], limit: int | None) -> Iterator[bytes]:
    """A body without one."""
    received = 0
    while chunk := _read(environ, CHUNK_BYTES, is_first=not received):
        received += len(chunk)
        if limit is not None and received > limit:
            raise over_limit(f"body of {received} bytes", limit)
        yield chunk


def _read(environ: dict[str, Any], size: int, *, is_first: bool = True) -> bytes:
    try:
        chunk: bytes = environ["wsgi.input"].read(size)
    except Exception as error:
        raise _unreadable(error, environ) from error
    return chunk if chunk or not is_first else _already_read()


def _unreadable(error: Exception, environ: dict[str, Any]) -> RemoteProtocolError:
    end_reading(environ)
    if isinstance(error, TimeoutError):
        return RemoteProtocolError("the rest of the body did not come", code=StatusCode.CANCELLED)
    # Every server has its own for malformed chunks and lost connections.
    return RemoteProtocolError(f"the body could not be read ({type(error).__name__})")


def drain(chunks: Iterator[bytes], environ: dict[str, Any]) -> bool:
    """Read and drop the rest of a body, so that the next request on its connection is not read from the middle of it.

    :returns: whether the end was reached within :data:`MAX_DRAIN_BYTES` and :data:`MAX_DRAIN_SECONDS`. A client that
        sends nothing is not waited for, where the server gives its socket.
    """
    if has_own_stream(environ):
        # Others do not wait for its end, and a client that sends no more until it has read would wait for us.
        return True
    stop = time.monotonic() + MAX_DRAIN_SECONDS
    dropped = 0
    try:
        with impatient(environ):
            for chunk in chunks:
                dropped += len(chunk)
                if dropped > MAX_DRAIN_BYTES or time.monotonic() > stop:
                    return False
    except RemoteProtocolError:
        return False
    return True


def _already_read() -> bytes:
    """The body that a hook of the app has read before us, and werkzeug has kept."""
    try:
        return request.get_data() if has_request_context() else b""
    except HTTPException:
        return b""
