"""Reading request bodies from WSGI servers, whose inputs differ."""

from __future__ import annotations

import time
from collections.abc import Iterator

from flask import Request
from werkzeug.exceptions import HTTPException

from flask_grpcweb_scm.wire import RemoteProtocolError, over_limit

__all__ = ["drain", "read_body"]

CHUNK_BYTES = 256 * 1024
MAX_DRAIN_BYTES = 16 * 2**20
MAX_DRAIN_SECONDS = 5.0


def read_body(request: Request) -> Iterator[bytes]:
    """Read the body in chunks of at most :data:`CHUNK_BYTES`, none of them empty.

    werkzeug's own stream is left aside: it cuts chunked bodies silently at its limit.

    :raises RemoteProtocolError: when the body is malformed, ends before its Content-Length, or is over
        ``MAX_CONTENT_LENGTH``.
    """
    length = request.content_length
    if length is None and not request.environ.get("wsgi.input_terminated"):
        return
    limit = request.max_content_length
    received = 0
    while length is None or received < length:
        if limit is not None and (length or received) > limit:
            raise over_limit(f"body of {length or received} bytes", limit)
        chunk = _read(request, CHUNK_BYTES if length is None else min(CHUNK_BYTES, length - received))
        if not chunk and received == 0:
            chunk = _already_read(request)
        if not chunk and length is not None:
            raise RemoteProtocolError(f"the body ends after {received} of its {length} bytes")
        if not chunk:
            return
        received += len(chunk)
        yield chunk


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


def _read(request: Request, size: int) -> bytes:
    try:
        data: bytes = request.environ["wsgi.input"].read(size)
    except Exception as error:  # every server has its own for malformed chunks and lost connections
        raise RemoteProtocolError(f"the body could not be read ({type(error).__name__})") from error
    return data


def _already_read(request: Request) -> bytes:
    """The body that a hook of the app has read before us, and werkzeug has kept."""
    try:
        return request.get_data()
    except HTTPException:
        return b""
