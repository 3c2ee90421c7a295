"""One call on the wire, server side: headers and chunks of a body in, headers and pieces of a body out."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from google.protobuf.message import Message

from flask_grpcweb_scm.rpc.context import CallContext
from flask_grpcweb_scm.rpc.dispatcher import Dispatcher
from flask_grpcweb_scm.rpc.errors import RpcError
from flask_grpcweb_scm.rpc.identity import Identity
from flask_grpcweb_scm.rpc.service import RpcMethod
from flask_grpcweb_scm.wire import (
    COMPRESSED,
    ENCODINGS,
    ContentType,
    Encoding,
    Frame,
    FrameReader,
    Metadata,
    RemoteProtocolError,
    StatusCode,
    TextDecoder,
    choose_encoding,
    encode_binary,
    encode_frame,
    encode_message,
    encode_text,
    encode_trailers,
    find_encoding,
    over_limit,
    parse_timeout,
    response_content_type,
)

__all__ = ["Authenticate", "Exchange", "Incoming", "Reply", "StreamReply", "error_headers"]

MAX_TRAILERS_ONLY_BYTES = 6144
"""A larger status goes into a trailers frame: common servers and proxies refuse headers over 8 KiB in all."""

# "User Agent: Use X-User-Agent" (PROTOCOL-WEB.md)
_CLIENT_HEADERS = {"x-grpc-web", "x-user-agent", "te"}

Pairs = list[tuple[str, str]]
Authenticate = Callable[[CallContext], Identity]
Translate = Callable[[Exception, CallContext], RpcError]


class _Settings(Protocol):
    """What an exchange needs of the settings; sizes in bytes, durations in seconds."""

    @property
    def max_message_bytes(self) -> int: ...
    @property
    def max_response_bytes(self) -> int | None: ...
    @property
    def max_metadata_bytes(self) -> int: ...
    @property
    def default_timeout(self) -> float | None: ...
    @property
    def max_timeout(self) -> float | None: ...
    @property
    def compression_min_bytes(self) -> int | None: ...
    @property
    def status_header(self) -> bool | str: ...


class _Headers(Protocol):
    """Request headers, looked up without regard to case."""

    def get(self, name: str, /) -> str | None: ...
    def items(self) -> Iterable[tuple[str, str]]: ...


@dataclass(frozen=True, slots=True)
class Incoming:
    """A request for a known method, its body still unread."""

    method: RpcMethod
    content_type: ContentType
    headers: _Headers
    chunks: Iterator[bytes]
    peer: str


@dataclass(slots=True)
class Reply:
    """A response whose body is complete."""

    headers: Pairs
    body: bytes


class Exchange:
    """Serves one request.

    :param translate: turns an exception that nobody declared into the status to answer, and logs it.
    :param on_end: called once, when the last byte is produced or the client has gone; by then :attr:`status` is set.
    """

    def __init__(
        self,
        incoming: Incoming,
        settings: _Settings,
        *,
        dispatcher: Dispatcher,
        authenticate: Authenticate,
        translate: Translate,
        on_end: Callable[[Exchange], None],
    ) -> None:
        self.method = incoming.method
        self.context = CallContext(
            incoming.method,
            metadata=Metadata.from_headers(incoming.headers.items()),
            peer=incoming.peer,
            read_message=None if incoming.method.client_streaming else self._read_message,
        )
        self.status: RpcError | None = None
        """What the call ended with; None for OK, and until it has ended."""
        self.bytes_received = 0
        self.bytes_sent = 0
        self._incoming = incoming
        self._settings = settings
        self._dispatcher = dispatcher
        self._authenticate = authenticate
        self._translate = translate
        self._on_end = on_end
        self._codec = dispatcher.codecs[incoming.content_type.codec]
        self._response_type = response_content_type(incoming.content_type, incoming.headers.get("accept"))
        self._encoding = self._response_encoding()
        self._message: bytes | None = None

    def run(self) -> Reply | StreamReply:
        """Do the call, up to the first message of a stream. Never raises an exception of the call's making."""
        try:
            self._open()
            response = self._dispatcher.call(self.method, self._request(), self.context)
            if self.method.server_streaming:
                return self._start_stream(response)
            body = self._frame(response)
        except Exception as error:
            return self._fail(self._status_of(error))
        return self._succeed(body)

    def _open(self) -> None:
        headers, context = self._incoming.headers, self.context
        find_encoding(headers.get("grpc-encoding"))
        timeout = headers.get("grpc-timeout")
        context.set_timeout(self._timeout(None if timeout is None else parse_timeout(timeout.strip())))
        size = sum(len(name) + len(value) for name, value in context.metadata)
        if size > self._settings.max_metadata_bytes:
            raise over_limit(f"metadata of {size} bytes", self._settings.max_metadata_bytes)
        context.check_deadline()
        context.caller = self._authenticate(context)

    def _timeout(self, asked: float | None) -> float | None:
        timeout = self._settings.default_timeout if asked is None else asked
        limits = [seconds for seconds in (timeout, self._settings.max_timeout) if seconds is not None]
        return min(limits, default=None)

    # Requests

    def _request(self) -> Message | Iterator[Message]:
        if self.method.client_streaming:
            return self._requests()
        return self._decode(self._read_message())

    def _requests(self) -> Iterator[Message]:
        for payload in self._payloads():
            # A caller that dribbles would otherwise hold a worker thread for as long as it likes.
            self.context.check_deadline()
            yield self._decode(payload)

    def _decode(self, payload: bytes) -> Message:
        return self._codec.decode(self.method.request_class, payload)

    def _read_message(self) -> bytes:
        if self._message is None:
            payloads = self._payloads()
            first = next(payloads, None)
            if first is None:
                raise RemoteProtocolError(
                    "the method takes exactly one message, the body has none", code=StatusCode.UNIMPLEMENTED
                )
            # To the end of the body, where the last mistakes show.
            next(payloads, None)
            self._message = first
        return self._message

    def _payloads(self) -> Iterator[bytes]:
        reader = FrameReader(max_payload=self._settings.max_message_bytes, single=not self.method.client_streaming)
        text = TextDecoder() if self._incoming.content_type.text else None
        encoding = find_encoding(self._incoming.headers.get("grpc-encoding"))
        for chunk in self._incoming.chunks:
            self.bytes_received += len(chunk)
            for frame in reader.feed(text.feed(chunk) if text else chunk):
                yield self._decompress(frame, encoding)
        if text:
            text.finish()
        reader.finish()

    def _decompress(self, frame: Frame, encoding: Encoding | None) -> bytes:
        if not frame.flags & COMPRESSED:
            return frame.payload
        if encoding is None:
            raise RemoteProtocolError("a message is flagged as compressed, but grpc-encoding names no compression")
        return encoding.decompress(frame.payload, self._settings.max_message_bytes)

    # Responses

    def _succeed(self, frame: bytes) -> Reply:
        headers = self._headers()
        # For scripts that read the status from the HTTP headers. Browser clients send X-Grpc-Web; some of them take a
        # status in both places for an error.
        if self._settings.status_header and "x-grpc-web" not in self.context.metadata:
            headers.append(("grpc-status", "0"))
        trailers = self._trailers(None)
        if self._settings.status_header == "only" and _is_plain_http(self._incoming.headers):
            headers += self.context.trailing_metadata.to_headers()
            trailers = b""
        reply = Reply(headers, self._piece(frame + trailers))
        self._on_end(self)
        return reply

    def _fail(self, error: RpcError) -> Reply:
        self.status = error
        context = self.context
        status = _status_pairs(error)
        size = sum(len(name) + len(value) for name, value in status)
        # "Trailers-Only": only without custom metadata, whose two kinds it could not tell apart.
        if context.initial_metadata or context.trailing_metadata or size > MAX_TRAILERS_ONLY_BYTES:
            reply = Reply(self._headers(), self._piece(self._trailers(error)))
        else:
            reply = Reply(error_headers(error, self._response_type), b"")
        self._on_end(self)
        return reply

    def _start_stream(self, responses: Iterable[Message]) -> StreamReply:
        # The first step comes before the headers, so that an immediate error can be trailers-only.
        iterator = iter(responses)
        try:
            first = [self._frame(message) for message in itertools.islice(iterator, 1)]
        except Exception:
            # Not left to the garbage collector: what the function holds is free before the call ends.
            _close(iterator)
            raise
        return StreamReply(self._headers(), self, first, iterator)

    def _headers(self) -> Pairs:
        headers = [("content-type", str(self._response_type))]
        if self._encoding is not None:
            headers.append(("grpc-encoding", self._encoding.name))
        return headers + self.context.initial_metadata.to_headers()

    def _trailers(self, error: RpcError | None) -> bytes:
        return encode_trailers(_status_pairs(error) + self.context.trailing_metadata.to_headers())

    def _frame(self, message: Message) -> bytes:
        payload = self._codec.encode(message)
        limit, minimum = self._settings.max_response_bytes, self._settings.compression_min_bytes
        if limit is not None and len(payload) > limit:
            raise over_limit(f"response of {len(payload)} bytes", limit)
        if self._encoding is None or minimum is None or len(payload) < minimum:
            return encode_frame(payload)
        return encode_frame(self._encoding.compress(payload), flags=COMPRESSED)

    def _piece(self, data: bytes) -> bytes:
        piece = encode_text(data) if self._response_type.text else data
        self.bytes_sent += len(piece)
        return piece

    def _response_encoding(self) -> Encoding | None:
        if self._settings.compression_min_bytes is None:
            return None
        return choose_encoding(self._incoming.headers.get("grpc-accept-encoding"))

    def _status_of(self, error: Exception) -> RpcError:
        return self._dispatcher.status_of(self.method, error) or self._translate(error, self.context)


class StreamReply:
    """A response whose body is still being produced: an iterator of pieces, to flush one by one and to close."""

    def __init__(self, headers: Pairs, exchange: Exchange, first: list[bytes], responses: Iterator[Message]) -> None:
        self.headers = headers
        self.ended = False
        self._exchange = exchange
        self._responses = responses
        self._frames = itertools.chain(first, map(exchange._frame, responses))

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self.ended:
            raise StopIteration
        exchange = self._exchange
        try:
            frame = next(self._frames, None)
        except Exception as error:
            self._stop(exchange._status_of(error))
        else:
            if frame is not None:
                return exchange._piece(frame)
            self._stop(None)
        piece = exchange._piece(exchange._trailers(exchange.status))
        exchange._on_end(exchange)
        return piece

    def close(self) -> None:
        """Say that no more pieces are wanted; before the end this cancels the call and closes its generator."""
        if not self.ended:
            self._stop(RpcError(StatusCode.CANCELLED, "the client has gone"))
            self._exchange._on_end(self._exchange)

    def _stop(self, status: RpcError | None) -> None:
        self.ended = True
        self._exchange.status = status
        try:
            _close(self._responses)
        except Exception as error:
            self._exchange.status = self._exchange._status_of(error)


def _close(responses: Iterator[Message]) -> None:
    # An interceptor may have wrapped the generator in an iterator that cannot be closed.
    close: Callable[[], Any] = getattr(responses, "close", lambda: None)
    close()


def _is_plain_http(headers: _Headers) -> bool:
    """Whether nothing but the content type says that the caller speaks gRPC-Web: a script with an HTTP library."""
    names = [name.lower() for name, _ in headers.items()]
    accepted = (headers.get("accept") or "").lower()
    return "application/grpc-web" not in accepted and not any(
        name in _CLIENT_HEADERS or name.startswith("grpc-") for name in names
    )


def error_headers(error: RpcError, content_type: ContentType | None = None) -> Pairs:
    """The headers of a trailers-only answer; without a content type, for an answer that is not gRPC-Web."""
    headers = [] if content_type is None else [("content-type", str(content_type))]
    if error.code is StatusCode.UNIMPLEMENTED:
        # "… with a status of UNIMPLEMENTED … the server MUST … include grpc-accept-encoding" (compression.md)
        headers.append(("grpc-accept-encoding", ",".join(["identity", *ENCODINGS])))
    return headers + _status_pairs(error)


def _status_pairs(error: RpcError | None) -> Pairs:
    if error is None:
        return [("grpc-status", "0")]
    pairs = [("grpc-status", str(int(error.code))), ("grpc-message", encode_message(error.message))]
    if error.details:
        pairs.append(("grpc-status-details-bin", encode_binary(error.status_proto().SerializeToString())))
    return pairs
