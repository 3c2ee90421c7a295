"""The request of one call: an environment and its body in, payloads out."""

from __future__ import annotations

import functools
import operator
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast

from flask_grpcweb_scm.rpc.context import CallContext
from flask_grpcweb_scm.rpc.service import RpcMethod
from flask_grpcweb_scm.wire import (
    ContentType,
    FrameReader,
    Metadata,
    RemoteProtocolError,
    StatusCode,
    decode_frames,
    decode_text,
    find_encoding,
    over_limit,
    plain_payload,
)

if TYPE_CHECKING:
    from flask_grpcweb_scm.rpc.exchange import Reply, StreamReply

__all__ = ["LARGE_BYTES", "BodyReader", "CallForm", "IncomingCall", "peer_name", "shape_of"]

LARGE_BYTES = 64 * 2**10
"""A larger payload is handed on as it is: what copying costs is more than that of a view, or of a piece of its own."""

MAX_SHAPE_CHARACTERS = 4096
"""Names of headers are the caller's choice, and shapes are kept."""

# Headers that ask for more than one message for another.
_ASKING = frozenset({"HTTP_GRPC_TIMEOUT", "HTTP_GRPC_ENCODING", "HTTP_GRPC_ACCEPT_ENCODING"})

Environ = dict[str, Any]


class BodyReader(Protocol):
    """Reads bodies; `limit` is the most bytes that one may have, None for any number."""

    def read_whole(self, environ: Environ, limit: int | None) -> bytes | None:
        """All of a body; None when it is better read in chunks, of which nothing has been read then."""

    def read_chunks(self, environ: Environ, limit: int | None) -> Iterator[bytes]:
        """A body in chunks, none of them empty."""


@dataclass(frozen=True, slots=True)
class CallForm:
    """What is known of a call before it comes: calls of one form differ in headers and messages only."""

    method: RpcMethod
    content_type: ContentType
    response_type: ContentType
    reader: BodyReader
    max_message_bytes: int
    """Of a payload, also after decompression."""
    run: Callable[[IncomingCall], Reply | StreamReply]
    """Does a call as :meth:`Exchange.run` does; but :attr:`Server.on_end` is not told of plain ones that succeed."""


class IncomingCall(CallContext):
    """A call that has come in: what a service function sees of it, and its request, which is read when asked for.

    :param environ: has the headers, by the names of PEP 3333: ``HTTP_GRPC_TIMEOUT``.
    :param body_limit: bytes that the body may have.
    :param address: of the caller. Behind ProxyFix that is whatever the caller's headers say, and it gets into the log.
    """

    def __init__(
        self, form: CallForm, environ: Environ, body_limit: int | None = None, address: str | None = None
    ) -> None:
        # Not by the base class, nor with attributes of the class: both would take longer.
        self.method = form.method
        self.deadline = None
        self._initial_metadata = self._trailing_metadata = None
        self.form = form
        self.environ = environ
        self.body_limit = body_limit
        self.bytes_received = 0
        self.is_read = False
        """Whether there is nothing left of the body; of some bodies this is not known."""
        self._address = address
        self._message: bytes | None = None

    unhandled: BaseException | None = None
    """An exception that no error handler of the app has taken: its teardown functions are to know of it."""

    @functools.cached_property
    def peer(self) -> str:  # type: ignore[override]  # most calls do without
        """The caller's network address."""
        return peer_name(self._address)

    def headers(self) -> list[tuple[str, str]]:
        """All headers but those of the body, names in lower case."""
        environ = self.environ
        return [(key[5:].lower().replace("_", "-"), environ[key]) for key in environ if key.startswith("HTTP_")]

    @functools.cached_property
    def metadata(self) -> Metadata:
        """Sent by the caller."""
        return Metadata.from_headers(self.headers())

    def check_metadata(self, limit: int, shape: Shape) -> None:
        """Check that names and values of the metadata have no more than `limit` bytes together.

        :param shape: of this request.
        :raises RemoteProtocolError: RESOURCE_EXHAUSTED, when they have.
        """
        # All headers together first: to look at them one by one would take longer than all the rest of a short call.
        if shape.name_bytes + len("".join(shape.values(self.environ))) <= limit:
            return
        size = sum(len(name) + len(value) for name, value in self.metadata)
        if size > limit:
            raise over_limit(f"metadata of {size} bytes", limit)

    @functools.cached_property
    def chunks(self) -> Iterator[bytes]:
        """What has not been read of the body."""
        return iter(()) if self.is_read else self.form.reader.read_chunks(self.environ, self.body_limit)

    @property
    def message_bytes(self) -> bytes:
        """The request message as its sender serialized it."""
        return super().message_bytes if self.form.method.client_streaming else bytes(self.message())

    def message(self) -> bytes:
        """The payload of the only message, uncompressed; for the proto codec it may be a view of the body.

        :raises RemoteProtocolError: when the body has another number of messages, or is malformed.
        """
        if self._message is not None:
            return self._message
        form = self.form
        # Also when this fails: nothing more would come.
        self.is_read = True
        body = form.reader.read_whole(self.environ, self.body_limit)
        if body is None:
            self.is_read = False
            self._message = self._only_payload(self.chunks)
            return self._message
        data = decode_text(body) if form.content_type.text else body
        if len(body) > LARGE_BYTES and data and form.content_type.codec == "proto":
            # Protobuf reads it like bytes, and that is all it is for.
            data = cast("bytes", memoryview(data))
        payload = None if data is None else plain_payload(data, form.max_message_bytes)
        self._message = self._only_payload(_cut(body)) if payload is None else payload
        self.bytes_received = len(body)
        return self._message

    def payloads(self) -> Iterator[bytes]:
        """The payloads of all messages, uncompressed.

        :raises RemoteProtocolError: when the body is malformed.
        """
        return self._payloads(self.chunks)

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
        limit = self.form.max_message_bytes
        reader = FrameReader(max_payload=limit, single=not self.form.method.client_streaming)
        encoding = find_encoding(self.environ.get("HTTP_GRPC_ENCODING"))
        chunks = self._counted(chunks)
        for frame in decode_frames(chunks, reader, text=self.form.content_type.text, encoding=encoding, limit=limit):
            yield frame.payload

    def _counted(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self.bytes_received += len(chunk)
            yield chunk


@functools.lru_cache(maxsize=1024)
def peer_name(address: str | None) -> str:
    """An address as it may stand in a log."""
    return re.sub(r"[^\w.:%-]", "?", (address or "")[:64], flags=re.ASCII)


@dataclass(frozen=True, slots=True)
class Shape:
    """What requests have in common whose environments have the same keys."""

    is_plain: bool
    """Whether no header asks for more than one message for another."""
    name_bytes: int
    values: Callable[[Environ], Iterable[str]]
    """Gets the values of all headers out of an environment."""


def shape_of(environ: Environ) -> Shape:
    """The shape of a request. Most have that of the one before, and nearly all that of one before."""
    global _last  # a pair is replaced at once
    keys = [*environ]
    last_keys, shape = _last
    if keys != last_keys:
        is_short = sum(map(len, keys)) <= MAX_SHAPE_CHARACTERS
        shape = (_shape_of if is_short else _shape_of.__wrapped__)(tuple(keys))
        _last = keys, shape
    return shape


@functools.lru_cache(maxsize=256)
def _shape_of(keys: tuple[str, ...]) -> Shape:
    names = [key for key in keys if key.startswith("HTTP_")]
    values = operator.itemgetter(*names) if len(names) > 1 else lambda environ: [environ[name] for name in names]
    return Shape(_ASKING.isdisjoint(keys), len("".join(names)), values)


_last: tuple[list[str], Shape] = [], _shape_of(())


def _cut(chunk: bytes) -> Iterator[bytes]:
    """A large chunk in smaller ones: what is wrong with it may show before all of it is copied."""
    return (chunk[start : start + LARGE_BYTES] for start in range(0, len(chunk), LARGE_BYTES))
