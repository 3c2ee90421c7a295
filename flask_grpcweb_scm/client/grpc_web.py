"""gRPC-Web, as a client speaks it: frames, binary or in base64, and the status in trailers."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator
from typing import Any

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc import status_pb2

from flask_grpcweb_scm.client.errors import MAX_DETAILS, MAX_DETAILS_CHARACTERS, CallError, http_error, status_error
from flask_grpcweb_scm.client.http import Head, Pairs, Request
from flask_grpcweb_scm.client.protocol import ChannelOptions, method_path
from flask_grpcweb_scm.wire import (
    ENCODINGS,
    TRAILERS,
    ContentType,
    Encoding,
    FrameReader,
    Metadata,
    RemoteProtocolError,
    StatusCode,
    decode_binary,
    decode_frames,
    decode_message,
    encode_text,
    find_encoding,
    format_timeout,
    parse_content_type,
    parse_trailers,
)

__all__ = ["GrpcWebProtocol"]

USER_AGENT = "grpc-web-python-flask-grpcweb-scm"

_STATUS = re.compile(r"[0-9]{1,3}", re.ASCII)


class GrpcWebProtocol:
    """The protocol of a channel.

    :param text: send base64.
    """

    system = "grpc"

    def __init__(self, options: ChannelOptions, *, text: bool) -> None:
        self._options = options
        codec = options.codec.name
        # Sonora's server knows text mode by the media type without suffix only.
        self._content_type = ContentType(text, "" if text and codec == "proto" else f"+{codec}")

    def request(
        self, method: MethodDescriptor, message: Any, metadata: Metadata, deadline: float | None, attempts: int
    ) -> Request:
        """Make the request of a call."""
        signature, body = self._options.framed(method, message, self._frame)
        headers = self._headers(deadline, attempts) + metadata.to_headers() + signature
        return Request(self._options.prefix + method_path(method), headers, body, deadline)

    def _headers(self, deadline: float | None, attempts: int) -> Pairs:
        content_type = str(self._content_type)
        headers = [
            ("content-type", content_type),
            ("accept", content_type),
            ("grpc-accept-encoding", ",".join(["identity", *ENCODINGS])),
            ("user-agent", USER_AGENT),
            ("x-grpc-web", "1"),
        ]
        if self._options.encoding is not None:
            headers.append(("grpc-encoding", self._options.encoding.name))
        if deadline is not None:
            headers.append(("grpc-timeout", format_timeout(deadline - time.monotonic())))
        if attempts:
            headers.append(("grpc-previous-rpc-attempts", str(attempts)))
        return headers

    def _frame(self, payload: bytes) -> bytes:
        frame = self._options.frame(payload)
        return encode_text(frame) if self._content_type.text else frame

    def response(self, method: MethodDescriptor, head: Head) -> GrpcWebResponse:
        """Begin to read a response."""
        return GrpcWebResponse(head, method, self._options)


class GrpcWebResponse:
    """Reads a response."""

    def __init__(self, head: Head, method: MethodDescriptor, options: ChannelOptions) -> None:
        self.initial_metadata = Metadata.from_headers(head.headers)
        self.trailing_metadata = Metadata()
        self._head = head
        self._headers = dict(head.headers)
        self._message_class = GetMessageClass(method.output_type)
        self._streams = method.server_streaming
        self._codec = options.codec
        self._limit = options.max_message_bytes

    def messages(self, chunks: Iterator[bytes]) -> Iterator[Message]:
        """Read the body."""
        content_type = self._content_type(chunks)
        reader = FrameReader(max_payload=self._limit, trailers=True)
        frames = decode_frames(chunks, reader, text=content_type.text, encoding=self._encoding(), limit=self._limit)
        trailers: Pairs | None = None
        count = 0
        for frame in frames:
            if trailers is not None:
                raise RemoteProtocolError("a frame follows the trailers")
            if frame.flags & TRAILERS:
                trailers = parse_trailers(frame.payload)
            else:
                count += 1
                yield self._codec.decode(self._message_class, frame.payload)
        self._end(trailers, count)

    def _content_type(self, chunks: Iterator[bytes]) -> ContentType:
        value = self._headers.get("content-type", "")
        content_type = parse_content_type(value)
        if self._head.status != 200 or content_type is None:
            status = read_status(self._head.headers) if "grpc-status" in self._headers else None
            raise status or http_error(self._head, chunks, protocol="gRPC-Web", status="a gRPC status")
        if content_type.codec != self._codec.name:
            raise RemoteProtocolError(f"requested messages in {self._codec.name}, got content type {value[:100]!r}")
        return content_type

    def _encoding(self) -> Encoding | None:
        try:
            return find_encoding(self._headers.get("grpc-encoding"))
        except RemoteProtocolError as error:
            # UNIMPLEMENTED is for a request in an encoding that the server does not know.
            raise RemoteProtocolError(error.message) from None

    def _end(self, trailers: Pairs | None, count: int) -> None:
        status = trailers or []
        if "grpc-status" not in dict(status):
            if "grpc-status" in self._headers:
                # "Trailers-Only": proxies may add a trailers frame, without what they have sent in the headers.
                status = self._head.headers
            elif trailers is None:
                raise RemoteProtocolError("the response ends without trailers: it was cut short")
        if status is self._head.headers and not count:
            self.initial_metadata = Metadata()
            self.trailing_metadata = Metadata.from_headers([*self._head.headers, *(trailers or [])])
        else:
            self.trailing_metadata = Metadata.from_headers(trailers or [])
        error = read_status(status)
        if error is not None:
            raise error
        if trailers is None and count and self._streams:
            raise RemoteProtocolError("the stream ends without trailers: it was cut short")


def read_status(pairs: Iterable[tuple[str, str]]) -> CallError | None:
    """Read the status from trailers or headers; None for OK.

    :raises RemoteProtocolError: when there is none, or more than one.
    """
    pairs = list(pairs)
    values = [value for name, value in pairs if name == "grpc-status"]
    if len(values) != 1:
        raise RemoteProtocolError(f"the response has grpc-status {len(values)} times")
    code = _code(values[0])
    if code is StatusCode.OK:
        return None
    headers = dict(pairs)
    details = _details(headers.get("grpc-status-details-bin", ""))
    message = decode_message(headers.get("grpc-message", ""))
    return status_error(code, message, details, headers.get("grpc-retry-pushback-ms"))


def _code(value: str) -> StatusCode:
    if _STATUS.fullmatch(value) is None or int(value) > max(StatusCode):
        # A newer server may know more codes.
        return StatusCode.UNKNOWN
    return StatusCode(int(value))


def _details(value: str) -> list[AnyMessage]:
    if len(value) > MAX_DETAILS_CHARACTERS:
        return []
    try:
        status = status_pb2.Status.FromString(decode_binary(value))
    except (ValueError, DecodeError):
        # The code and the message are worth more than a complaint about the details.
        return []
    return list(status.details[:MAX_DETAILS])
