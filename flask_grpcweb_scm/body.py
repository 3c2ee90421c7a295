"""Reading request bodies from WSGI servers, whose inputs differ."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from flask import request
from werkzeug.exceptions import HTTPException
from werkzeug.wsgi import get_content_length

from flask_grpcweb_scm.wire import RemoteProtocolError, over_limit

__all__ = ["drain", "read_body"]

CHUNK_BYTES = 256 * 1024
MAX_DRAIN_BYTES = 16 * 2**20
MAX_DRAIN_SECONDS = 5.0


def read_body(environ: dict[str, Any], limit: int | None = None, *, at_once: int = CHUNK_BYTES) -> Iterator[bytes]:
    """Read the body of a request in chunks, none of them empty.

    werkzeug's own stream is left aside: it cuts chunked bodies silently at its limit.

    :param limit: bytes; the app's ``MAX_CONTENT_LENGTH``.
    :param at_once: bytes; a body whose Content-Length is not over this is one chunk. Other chunks have at most
        :data:`CHUNK_BYTES`.
    :raises RemoteProtocolError: when the body is malformed, ends before its Content-Length, or is over `limit`.
    """
    length = _content_length(environ)
    if length is None and not environ.get("wsgi.input_terminated"):
        return
    # Granian collects what it is asked for in buffers that grow, and copies it then: several times the body.
    in_chunks = length is None or length > at_once or environ.get("SERVER_SOFTWARE") == "Granian"
    size = CHUNK_BYTES if in_chunks or length is None else length
    received = 0
    while length is None or received < length:
        if limit is not None and (length or received) > limit:
            raise over_limit(f"body of {length or received} bytes", limit)
        try:
            chunk: bytes = environ["wsgi.input"].read(size if length is None else min(size, length - received))
        except Exception as error:  # every server has its own for malformed chunks and lost connections
            raise RemoteProtocolError(f"the body could not be read ({type(error).__name__})") from error
        if not chunk and received == 0:
            chunk = _already_read()
        if not chunk and length is not None:
            raise RemoteProtocolError(f"the body ends after {received} of its {length} bytes")
        if not chunk:
            return
        received += len(chunk)
        yield chunk


def _content_length(environ: dict[str, Any]) -> int | None:
    text = environ.get("CONTENT_LENGTH", "")
    if text.isdecimal() and "HTTP_TRANSFER_ENCODING" not in environ:
        return int(text)
    return get_content_length(environ)


def drain(chunks: Iterator[bytes]) -> bool:
    """Read and drop the rest of a body, so that the next request on its connection is not taken from the middle of it.

    :returns: whether the end was reached within :data:`MAX_DRAIN_BYTES` and :data:`MAX_DRAIN_SECONDS`.
    """
    stop = time.monotonic() + MAX_DRAIN_SECONDS
    dropped = 0
    try:
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
        return request.get_data()
    except HTTPException:
        return b""
