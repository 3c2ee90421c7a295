"""The status of a failed call as an exception; also of HTTP responses that no service has made."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterable, Iterator

from google.protobuf import descriptor_pool
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2
from urllib3.util import parse_url

from flask_grpcweb_scm.client.http import Head, TransportError
from flask_grpcweb_scm.rpc import RpcError, printable
from flask_grpcweb_scm.wire import MAX_TIMEOUT, Metadata, StatusCode, code_from_http

__all__ = ["MAX_DETAILS", "MAX_DETAILS_CHARACTERS", "CallError", "http_error", "status_error"]

# Further details of a status are left out, as are details that are longer in base64.
MAX_DETAILS = 100
MAX_DETAILS_CHARACTERS = 2**18
MAX_PAGE_BYTES = 8192
MAX_LINE = 200

_CALL_ID = re.compile(r"\(call ([0-9a-f]{8,64})\)\Z")
_MILLISECONDS = re.compile(r"[0-9]{1,9}", re.ASCII)
_TEXT = re.compile(r"text/|application/(?:[\w.-]+\+)?(?:json|xml)\b", re.ASCII)
_TAG = re.compile(r"<(style|script)\b.*?</\1[^>]*>|<[^>]*>?", re.DOTALL | re.IGNORECASE)


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
        self.initial_metadata: Metadata = Metadata()
        """Sent by the server before its first message."""
        self.trailing_metadata: Metadata = Metadata()
        """Sent by the server with the status."""
        self.retry_after = retry_after
        """Seconds to wait before a retry, set by the server; infinite when it forbids one, None when it sets none."""

    def __str__(self) -> str:
        # In one line and without control characters: the server may be hostile to a terminal, or to a log.
        return f"{self.code.name} ({self.code:d}): {printable(self.message)}"

    @property
    def call_id(self) -> str | None:
        """The id of the call in the server's log, from the text of an internal error; None when the text has none."""
        match = _CALL_ID.search(self.message)
        return match[1] if match else None


def status_error(
    code: StatusCode, message: str, details: Iterable[AnyMessage], pushback: str | None = None
) -> CallError:
    """Make the exception of a status.

    :param pushback: of ``grpc-retry-pushback-ms``.
    """
    unpacked = [_unpack(detail) for detail in details]
    return CallError(code, message, unpacked, retry_after=_retry_after(pushback, unpacked))


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


# HTTP responses of proxies, pages and other services


def http_error(head: Head, chunks: Iterator[bytes], *, protocol: str, status: str) -> CallError:
    """Make the exception of a response without a status of the call.

    :param protocol: that it does not speak.
    :param status: that it does not have.
    """
    if 300 <= head.status < 400 and head.status != 304:
        return CallError(StatusCode.UNKNOWN, f"HTTP status {head.status}, {_elsewhere(head)}")
    content_type = dict(head.headers).get("content-type", "")
    line = _first_line(chunks, content_type.lower())
    if head.status == 200:
        told = f" It begins with {line!r}" if line else ""
        text = f"content type {content_type[:100]!r} is not {protocol}; is the URL right?{told}"
        return CallError(StatusCode.UNKNOWN, text)
    told = f": {line!r}" if line else ""
    return CallError(code_from_http(head.status), f"HTTP status {head.status} without {status}{told}")


def _elsewhere(head: Head) -> str:
    try:
        host = parse_url(dict(head.headers).get("location", "")).host
    except ValueError:
        host = None
    return f"a redirect to {host or 'another path'}; redirects are not followed: they could leak credentials"


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
