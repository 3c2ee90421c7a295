"""One response of a server: HTTP in, messages and a status out."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterable, Iterator

from google.protobuf import descriptor_pool
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2, status_pb2
from urllib3.util import parse_url

from flask_grpcweb_scm.client.http import Head, Pairs, TransportError
from flask_grpcweb_scm.rpc import Codec, RpcError, printable
from flask_grpcweb_scm.wire import (
    MAX_TIMEOUT,
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
    find_encoding,
    parse_content_type,
    parse_trailers,
)

__all__ = ["CallError", "Response"]

MAX_PAGE_BYTES = 8192
MAX_LINE = 200
# Further details of a status are left out, as are details that are longer in base64.
MAX_DETAILS = 100
MAX_DETAILS_CHARACTERS = 2**18

_TEXT = re.compile(r"text/|application/(?:[\w.-]+\+)?(?:json|xml)\b", re.ASCII)
_TAG = re.compile(r"<(style|script)\b.*?</\1[^>]*>|<[^>]*>?", re.DOTALL | re.IGNORECASE)

# "HTTP to gRPC Status Code Mapping" (gRPC, http-grpc-status-mapping.md); any other status is UNKNOWN.
_HTTP_CODES = {
    400: StatusCode.INTERNAL,
    401: StatusCode.UNAUTHENTICATED,
    403: StatusCode.PERMISSION_DENIED,
    404: StatusCode.UNIMPLEMENTED,
    429: StatusCode.UNAVAILABLE,
    502: StatusCode.UNAVAILABLE,
    503: StatusCode.UNAVAILABLE,
    504: StatusCode.UNAVAILABLE,
}


class Response:
    """Reads a response.

    :param streams: the method has a stream of responses.
    :param codec: that the request was written in.
    :param max_message_bytes: of a message, also after decompression.
    """

    def __init__(
        self, head: Head, message_class: type[Message], *, streams: bool, codec: Codec, max_message_bytes: int
    ) -> None:
        self.initial_metadata = Metadata.from_headers(head.headers)
        self.trailing_metadata = Metadata()
        self._head = head
        self._headers = dict(head.headers)
        self._message_class = message_class
        self._streams = streams
        self._codec = codec
        self._limit = max_message_bytes

    def messages(self, chunks: Iterator[bytes]) -> Iterator[Message]:
        """Read the body. At the end without an exception, the response was complete and its status is OK.

        :raises CallError: the status, when it is not OK.
        :raises RemoteProtocolError: when the response breaks the protocol, or is cut short.
        """
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
        status, value = self._head.status, self._headers.get("content-type", "")
        content_type = parse_content_type(value)
        if status != 200 or content_type is None:
            raise self._not_grpc(chunks)
        if content_type.codec != self._codec.name:
            raise RemoteProtocolError(f"requested messages in {self._codec.name}, got content type {value[:100]!r}")
        return content_type

    def _not_grpc(self, chunks: Iterator[bytes]) -> CallError:
        if "grpc-status" in self._headers:
            error = read_status(self._head.headers)
            if error is not None:
                return error
        status = self._head.status
        if 300 <= status < 400:
            return CallError(StatusCode.UNKNOWN, f"HTTP status {status}, {self._elsewhere()}")
        content_type = self._headers.get("content-type", "")
        line = _first_line(chunks, content_type.lower())
        if status == 200:
            told = f" It begins with {line!r}" if line else ""
            text = f"content type {content_type[:100]!r} is not gRPC-Web; is the URL right?{told}"
            return CallError(StatusCode.UNKNOWN, text)
        told = f": {line!r}" if line else ""
        code = _HTTP_CODES.get(status, StatusCode.UNKNOWN)
        return CallError(code, f"HTTP status {status} without a gRPC status{told}")

    def _elsewhere(self) -> str:
        try:
            host = parse_url(self._headers.get("location", "")).host
        except ValueError:
            host = None
        return f"a redirect to {host or 'another path'}; redirects are not followed: they could leak credentials"

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


def _first_line(chunks: Iterator[bytes], content_type: str) -> str:
    """Read the first line of text of a page; empty when there is none."""
    if _TEXT.match(content_type) is None:
        return ""
    try:
        text = next(chunks, b"")[:MAX_PAGE_BYTES].decode(errors="replace")
    except TransportError:
        return ""
    if "html" in content_type:
        text = html.unescape(_TAG.sub("\n", text))
    elif "json" in content_type:
        text = " ".join(text.split())
    return next(filter(None, map(str.strip, text.splitlines())), "")[:MAX_LINE]


# The status, as an exception

_STATUS = re.compile(r"[0-9]{1,3}", re.ASCII)
_CALL_ID = re.compile(r"\(call ([0-9a-f]{8,64})\)\Z")
_MILLISECONDS = re.compile(r"[0-9]{1,9}", re.ASCII)


class CallError(RpcError):
    """Raised when a call ends with a status other than OK.

    ``details`` are messages of their own classes when their code has been imported, else ``google.protobuf.Any``.

    :param retry_after: see the attribute.
    """

    def __init__(
        self,
        code: StatusCode | int,
        message: str = "",
        details: Iterable[Message] = (),
        *,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(code, message, details)
        self.initial_metadata = Metadata()
        """Sent by the server before its first message."""
        self.trailing_metadata = Metadata()
        """Sent by the server with the status."""
        self.retry_after = retry_after
        """Seconds to wait before a retry, set by the server; infinite when it forbids one, None when it sets none."""

    def __str__(self) -> str:
        # In one line and without control characters: the server may be hostile to a terminal, or to a log.
        return f"{self.code.name}: {printable(self.message)}"

    @property
    def call_id(self) -> str | None:
        """The id of the call in the server's log, from the text of an internal error; None when the text has none."""
        match = _CALL_ID.search(self.message)
        return match[1] if match else None


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
    retry_after = _retry_after(headers.get("grpc-retry-pushback-ms"), details)
    return CallError(code, decode_message(headers.get("grpc-message", "")), details, retry_after=retry_after)


def _code(value: str) -> StatusCode:
    if _STATUS.fullmatch(value) is None or int(value) > max(StatusCode):
        # A newer server may know more codes.
        return StatusCode.UNKNOWN
    return StatusCode(int(value))


def _details(value: str) -> list[Message]:
    if len(value) > MAX_DETAILS_CHARACTERS:
        return []
    try:
        status = status_pb2.Status.FromString(decode_binary(value))
    except (ValueError, DecodeError):
        # The code and the message are worth more than a complaint about the details.
        return []
    return [_unpack(detail) for detail in status.details[:MAX_DETAILS]]


def _unpack(detail: AnyMessage) -> Message:
    try:
        descriptor = descriptor_pool.Default().FindMessageTypeByName(detail.TypeName())
        return GetMessageClass(descriptor).FromString(detail.value)
    except (KeyError, ValueError, TypeError, DecodeError):
        return detail


def _retry_after(pushback: str | None, details: Iterable[Message]) -> float | None:
    if pushback is not None:
        # "If the value is negative or unparseable, then it will be seen as the server asking the client not to retry at
        # all" (gRFC A6)
        return int(pushback) / 1000 if _MILLISECONDS.fullmatch(pushback) else math.inf
    for detail in details:
        if isinstance(detail, error_details_pb2.RetryInfo):
            delay = detail.retry_delay.seconds + detail.retry_delay.nanos / 1e9
            return min(max(0.0, float(delay)), MAX_TIMEOUT)
    return None
