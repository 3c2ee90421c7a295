"""Connect, as a client speaks it: bodies of one message, GET, errors in JSON, and streams of frames."""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Iterable, Iterator
from typing import Any

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from flask_grpcweb_scm.client.errors import (
    MAX_DETAILS,
    MAX_DETAILS_CHARACTERS,
    CallError,
    http_error,
    status_error,
)
from flask_grpcweb_scm.client.http import Head, Pairs, Request, TransportError
from flask_grpcweb_scm.client.protocol import ChannelOptions, method_path
from flask_grpcweb_scm.wire import (
    CONNECT_VERSION,
    ENCODINGS,
    END_STREAM,
    ConnectError,
    ConnectType,
    Encoding,
    FrameReader,
    Metadata,
    RemoteProtocolError,
    StatusCode,
    code_name,
    decode_connect_error,
    decode_end,
    decode_frames,
    encode_query,
    find_encoding,
    format_timeout_ms,
    over_limit,
    parse_connect_type,
)

__all__ = ["ConnectProtocol"]

USER_AGENT = "connect-python-flask-grpcweb-scm"
MAX_TARGET_CHARACTERS = 4000
"""Of a path with a query: gunicorn refuses lines of more than 4094, other servers of more than 8 KiB."""
MAX_ERROR_BYTES = 2**20
MAX_TRAILERS = 1000

_SECONDS = re.compile(r"[0-9]{1,6}", re.ASCII)
_TRAILER = "trailer-"


class ConnectProtocol:
    """The protocol of a channel.

    :param use_get: send calls of methods without side effects by GET, unless the URL would be too long.
    """

    system = "connectrpc"

    def __init__(self, options: ChannelOptions, *, use_get: bool) -> None:
        if use_get and options.codec.name == "proto":
            # "serialize in a deterministic way … to facilitate HTTP caching"
            options = dataclasses.replace(options, codec=dataclasses.replace(options.codec, encode=_encode_stable))
        self._options = options
        self._use_get = use_get

    def request(
        self, method: MethodDescriptor, message: Any, metadata: Metadata, deadline: float | None, attempts: int
    ) -> Request:
        """Make the request of a call."""
        if "accept-encoding" in metadata:
            raise ValueError("metadata name 'accept-encoding' is reserved: Connect compresses responses by it")
        options = self._options
        path = options.prefix + method_path(method)
        headers = [("user-agent", USER_AGENT), *_timeout(deadline)]
        body: bytes | Iterable[bytes]
        if _is_stream(method):
            signature, body = options.framed(method, message, options.frame)
            headers += _negotiation("connect-", options.encoding)
        else:
            payload = options.encode(method, message)
            signature = options.signature(method, payload)
            target = self._target(path, payload) if self._use_get and _is_safe(method) else None
            if target is not None:
                sent = [*headers, *_negotiation("", None), *metadata.to_headers(), *signature]
                # With a Content-Length of 0: connectrpc's server waits for a body otherwise, on wsgiref.
                return Request(target, sent, b"", deadline, "GET")
            headers += _negotiation("", options.encoding)
            body = payload if options.encoding is None else options.encoding.compress(payload)
        content_type = str(ConnectType(options.codec.name, _is_stream(method)))
        headers += [("content-type", content_type), ("connect-protocol-version", CONNECT_VERSION)]
        return Request(path, [*headers, *metadata.to_headers(), *signature], body, deadline)

    def _target(self, path: str, payload: bytes) -> str | None:
        """Return the path with the query of a GET request; None when it is too long."""
        codec, encoding = self._options.codec.name, self._options.encoding
        if len(payload) <= MAX_TARGET_CHARACTERS:
            target = f"{path}?{encode_query(codec, payload)}"
            if len(target) <= MAX_TARGET_CHARACTERS:
                return target
        if encoding is None:
            return None
        target = f"{path}?{encode_query(codec, encoding.compress(payload), encoding.name)}"
        return target if len(target) <= MAX_TARGET_CHARACTERS else None

    def response(self, method: MethodDescriptor, head: Head) -> ConnectResponse:
        """Begin to read a response."""
        return ConnectResponse(head, method, self._options)


def _is_stream(method: MethodDescriptor) -> bool:
    return bool(method.client_streaming or method.server_streaming)


def _is_safe(method: MethodDescriptor) -> bool:
    return bool(method.GetOptions().idempotency_level == MethodOptions.NO_SIDE_EFFECTS)


def _encode_stable(message: Message) -> bytes:
    return message.SerializeToString(deterministic=True)


def _timeout(deadline: float | None) -> Pairs:
    return [] if deadline is None else [("connect-timeout-ms", format_timeout_ms(deadline - time.monotonic()))]


def _negotiation(prefix: str, encoding: Encoding | None) -> Pairs:
    """Return the headers about compression.

    :param prefix: of their names, for streams.
    """
    accept = (f"{prefix}accept-encoding", ", ".join(ENCODINGS))
    return [accept] if encoding is None else [accept, (f"{prefix}content-encoding", encoding.name)]


class ConnectResponse:
    """Reads a response."""

    def __init__(self, head: Head, method: MethodDescriptor, options: ChannelOptions) -> None:
        self._streams = _is_stream(method)
        trailers = [] if self._streams else [pair for pair in head.headers if pair[0].startswith(_TRAILER)]
        self.initial_metadata = Metadata.from_headers(pair for pair in head.headers if pair not in trailers)
        self.trailing_metadata = Metadata()
        self._trailers = [(name.removeprefix(_TRAILER), value) for name, value in trailers]
        self._head = head
        self._headers = dict(head.headers)
        self._message_class = GetMessageClass(method.output_type)
        self._codec = options.codec
        self._limit = options.max_message_bytes

    def messages(self, chunks: Iterator[bytes]) -> Iterator[Message]:
        """Read the body."""
        if self._head.status != 200:
            self.trailing_metadata = Metadata.from_headers(self._trailers)
            raise self._error(chunks)
        self._check_content_type(chunks)
        if self._streams:
            yield from self._stream(chunks)
        else:
            message = self._codec.decode(self._message_class, self._body(chunks, self._limit))
            self.trailing_metadata = Metadata.from_headers(self._trailers)
            yield message

    def _check_content_type(self, chunks: Iterator[bytes]) -> None:
        value = self._headers.get("content-type", "")
        content_type = parse_connect_type(value)
        if content_type is None:
            raise self._http_error(chunks)
        expected = ConnectType(self._codec.name, self._streams)
        if content_type != expected:
            raise RemoteProtocolError(f"requested {expected}, got content type {value[:100]!r}")

    def _body(self, chunks: Iterator[bytes], limit: int) -> bytes:
        encoding = self._encoding("content-encoding")
        pieces, room = [], limit
        for chunk in chunks:
            room -= len(chunk)
            if room < 0:
                raise over_limit("message", limit)
            pieces.append(chunk)
        body = b"".join(pieces)
        return encoding.decompress(body, limit) if body and encoding is not None else body

    def _stream(self, chunks: Iterator[bytes]) -> Iterator[Message]:
        reader = FrameReader(max_payload=self._limit, trailers=True, trailers_flag=END_STREAM)
        encoding = self._encoding("connect-content-encoding")
        end: bytes | None = None
        for frame in decode_frames(chunks, reader, text=False, encoding=encoding, limit=self._limit):
            if end is not None:
                raise RemoteProtocolError("a frame follows the end of the stream")
            if frame.flags & END_STREAM:
                end = frame.payload
            else:
                yield self._codec.decode(self._message_class, frame.payload)
        if end is None:
            raise RemoteProtocolError("the stream ends without its last frame: it was cut short")
        error, trailers = decode_end(end)
        if len(trailers) > MAX_TRAILERS:
            text = f"the end of the stream has more than {MAX_TRAILERS} values of metadata"
            raise RemoteProtocolError(text, code=StatusCode.RESOURCE_EXHAUSTED)
        self.trailing_metadata = Metadata.from_headers(trailers)
        if error is not None:
            raise _call_error(error)

    def _encoding(self, header: str) -> Encoding | None:
        try:
            return find_encoding(self._headers.get(header), header)
        except RemoteProtocolError as error:
            # UNIMPLEMENTED is for a request in an encoding that the server does not know.
            raise RemoteProtocolError(error.message) from None

    def _error(self, chunks: Iterator[bytes]) -> CallError:
        error = self._json_error(chunks) or self._http_error(chunks)
        pause = self._headers.get("retry-after", "")
        if error.retry_after is None and _SECONDS.fullmatch(pause):
            error.retry_after = float(pause)
        return error

    def _json_error(self, chunks: Iterator[bytes]) -> CallError | None:
        if parse_connect_type(self._headers.get("content-type")) != ConnectType("json", False):
            return None
        try:
            body = self._body(chunks, MAX_ERROR_BYTES)
        except (RemoteProtocolError, TransportError):
            # The HTTP status is worth more than a complaint about the body.
            return None
        error = decode_connect_error(body, self._head.status)
        if not error.message and code_name(error.code).encode() not in body:
            # JSON of somebody else.
            return http_error(self._head, iter([body]), protocol="Connect", status="an error of Connect")
        return _call_error(error)

    def _http_error(self, chunks: Iterator[bytes]) -> CallError:
        if "content-encoding" in self._headers:
            # A proxy compresses its pages, too, when they may be compressed.
            try:
                chunks = iter([self._body(chunks, MAX_ERROR_BYTES)])
            except (RemoteProtocolError, TransportError):
                chunks = iter(())
        return http_error(self._head, chunks, protocol="Connect", status="an error of Connect")


def _call_error(error: ConnectError) -> CallError:
    details = [
        AnyMessage(type_url=_type_url(detail.type), value=detail.value)
        for detail in error.details[:MAX_DETAILS]
        if len(detail.value) <= MAX_DETAILS_CHARACTERS
    ]
    return status_error(error.code, error.message, details)


def _type_url(name: str) -> str:
    return name if "/" in name else f"type.googleapis.com/{name}"
