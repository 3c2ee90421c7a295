"""The request of one call: headers and chunks of a body in, payloads out."""

from __future__ import annotations

import functools
import itertools
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, cast

from flask_grpcweb_scm.rpc.service import RpcMethod
from flask_grpcweb_scm.wire import (
    PREFIX_BYTES,
    ContentType,
    FrameReader,
    Metadata,
    RemoteProtocolError,
    StatusCode,
    decode_frames,
    decode_text,
    find_encoding,
    is_plain_frame,
    over_limit,
)

__all__ = ["LARGE_BYTES", "Incoming"]

LARGE_BYTES = 64 * 2**10
"""A larger payload is handed on as it is: what copying costs is more than that of a view, or of a piece of its own."""


class Incoming:
    """A request for a known method. It reads its messages when they are asked for.

    :param environ: has the headers, by the names of PEP 3333: ``HTTP_GRPC_TIMEOUT``.
    :param chunks: of the body.
    :param max_message_bytes: of a payload, also after decompression.
    """

    __slots__ = (
        "_max_message_bytes",
        "_message",
        "bytes_received",
        "chunks",
        "content_type",
        "environ",
        "is_read",
        "method",
    )

    def __init__(
        self,
        method: RpcMethod,
        content_type: ContentType,
        environ: Mapping[str, Any],
        chunks: Iterator[bytes],
        max_message_bytes: int,
    ) -> None:
        self.method = method
        self.content_type = content_type
        self.environ = environ
        self.chunks = chunks
        self.bytes_received = 0
        self.is_read = False
        """Whether the body has been read to its end; some bodies of which this is not known have too."""
        self._max_message_bytes = max_message_bytes
        self._message: bytes | None = None

    def headers(self) -> list[tuple[str, str]]:
        """All headers but those of the body, names in lower case."""
        environ = self.environ
        return [(key[5:].lower().replace("_", "-"), environ[key]) for key in environ if key.startswith("HTTP_")]

    def metadata(self) -> Metadata:
        """The custom metadata."""
        return Metadata.from_headers(self.headers())

    def check_metadata(self, limit: int) -> None:
        """Check that names and values of the custom metadata have no more than `limit` bytes together.

        :raises RemoteProtocolError: RESOURCE_EXHAUSTED, when they have.
        """
        environ = self.environ
        # All headers together first: to look at them one by one would take longer than all the rest of a short call.
        values, size = _header_values(tuple(environ))
        if size + len("".join(values(environ))) <= limit:
            return
        size = sum(len(name) + len(value) for name, value in self.metadata())
        if size > limit:
            raise over_limit(f"metadata of {size} bytes", limit)

    def message(self) -> bytes:
        """The payload of the only message, uncompressed; for the proto codec it may be a view of the body.

        :raises RemoteProtocolError: when the body has another number of messages, or is malformed.
        """
        if self._message is None:
            first = next(self.chunks, b"")
            more = next(self.chunks, None)
            self._message = self._plain_payload(first)
            self.is_read = more is None
            if self._message is None or more is not None:
                self._message = self._only_payload(itertools.chain(_cut(first), [more] if more else [], self.chunks))
        return self._message

    def message_bytes(self) -> bytes:
        """The same in bytes."""
        return bytes(self.message())

    def payloads(self) -> Iterator[bytes]:
        """The payloads of all messages, uncompressed.

        :raises RemoteProtocolError: when the body is malformed.
        """
        return self._payloads(self.chunks)

    def _plain_payload(self, body: bytes) -> bytes | None:
        """What nearly every body has: one frame, uncompressed; None for all that needs a closer look."""
        content_type = self.content_type
        data = decode_text(body) if content_type.text else body
        if data is None or not is_plain_frame(data, self._max_message_bytes):
            return None
        self.bytes_received = len(body)
        if len(data) > LARGE_BYTES and content_type.codec == "proto":
            # Protobuf reads it like bytes, and that is all it is for.
            return cast("bytes", memoryview(data)[PREFIX_BYTES:])
        return data[PREFIX_BYTES:]

    def _only_payload(self, chunks: Iterable[bytes]) -> bytes:
        payloads = self._payloads(chunks)
        first = next(payloads, None)
        if first is None:
            raise RemoteProtocolError(
                "the method takes exactly one message, the body has none", code=StatusCode.UNIMPLEMENTED
            )
        # To the end of the body, where the last mistakes show.
        next(payloads, None)
        return first

    def _payloads(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        self.bytes_received = 0
        limit = self._max_message_bytes
        reader = FrameReader(max_payload=limit, single=not self.method.client_streaming)
        encoding = find_encoding(self.environ.get("HTTP_GRPC_ENCODING"))
        chunks = self._counted(chunks)
        for frame in decode_frames(chunks, reader, text=self.content_type.text, encoding=encoding, limit=limit):
            yield frame.payload

    def _counted(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self.bytes_received += len(chunk)
            yield chunk


@functools.lru_cache(maxsize=64)
def _header_values(keys: tuple[str, ...]) -> tuple[Callable[[Mapping[str, Any]], Iterable[str]], int]:
    """What gets the headers out of an environment with these keys, and the length of their names.

    Most requests have the keys of one before.
    """
    names = [key for key in keys if key.startswith("HTTP_")]
    return operator.itemgetter(*names) if names else lambda _: (), len("".join(names))


def _cut(chunk: bytes) -> Iterator[bytes]:
    """A large chunk in smaller ones: what is wrong with it may show before all of it is copied."""
    return (chunk[start : start + LARGE_BYTES] for start in range(0, len(chunk), LARGE_BYTES))
