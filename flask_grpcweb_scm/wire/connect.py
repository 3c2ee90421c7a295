"""Connect (connectrpc.com/docs/protocol): codes, errors and ends of streams in JSON, timeouts, media types, queries."""

from __future__ import annotations

import base64
import functools
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote_to_bytes

from flask_grpcweb_scm.wire.headers import MAX_TIMEOUT, cached_by_headers
from flask_grpcweb_scm.wire.metadata import decode_binary, encode_binary
from flask_grpcweb_scm.wire.status import RemoteProtocolError, StatusCode

__all__ = [
    "CONNECT_TYPES",
    "CONNECT_VERSION",
    "ConnectDetail",
    "ConnectError",
    "ConnectType",
    "code_from_http",
    "code_name",
    "decode_connect_error",
    "decode_end",
    "decode_query_message",
    "encode_connect_error",
    "encode_end",
    "encode_query",
    "format_timeout_ms",
    "http_status",
    "parse_connect_type",
    "parse_query",
    "parse_timeout_ms",
]

CONNECT_VERSION = "1"
"""Of the header ``Connect-Protocol-Version``; a query has it as ``connect=v1``."""

_STATUSES = {
    StatusCode.CANCELLED: ("canceled", "499 Client Closed Request"),
    StatusCode.UNKNOWN: ("unknown", "500 Internal Server Error"),
    StatusCode.INVALID_ARGUMENT: ("invalid_argument", "400 Bad Request"),
    StatusCode.DEADLINE_EXCEEDED: ("deadline_exceeded", "504 Gateway Timeout"),
    StatusCode.NOT_FOUND: ("not_found", "404 Not Found"),
    StatusCode.ALREADY_EXISTS: ("already_exists", "409 Conflict"),
    StatusCode.PERMISSION_DENIED: ("permission_denied", "403 Forbidden"),
    StatusCode.RESOURCE_EXHAUSTED: ("resource_exhausted", "429 Too Many Requests"),
    StatusCode.FAILED_PRECONDITION: ("failed_precondition", "400 Bad Request"),
    StatusCode.ABORTED: ("aborted", "409 Conflict"),
    StatusCode.OUT_OF_RANGE: ("out_of_range", "400 Bad Request"),
    StatusCode.UNIMPLEMENTED: ("unimplemented", "501 Not Implemented"),
    StatusCode.INTERNAL: ("internal", "500 Internal Server Error"),
    StatusCode.UNAVAILABLE: ("unavailable", "503 Service Unavailable"),
    StatusCode.DATA_LOSS: ("data_loss", "500 Internal Server Error"),
    StatusCode.UNAUTHENTICATED: ("unauthenticated", "401 Unauthorized"),
}
_CODES = {name: code for code, (name, _) in _STATUSES.items()}
# "If clients receive a response with non-200 HTTP status codes and no explicit Connect error code"
_INFERRED = {
    400: StatusCode.INTERNAL,
    401: StatusCode.UNAUTHENTICATED,
    403: StatusCode.PERMISSION_DENIED,
    404: StatusCode.UNIMPLEMENTED,
    429: StatusCode.UNAVAILABLE,
    502: StatusCode.UNAVAILABLE,
    503: StatusCode.UNAVAILABLE,
    504: StatusCode.UNAVAILABLE,
}


def code_name(code: StatusCode) -> str:
    """The name of a code, but OK, as Connect spells it."""
    return _STATUSES[code][0]


def http_status(code: StatusCode) -> str:
    """The HTTP status of a response with an error, such as ``"404 Not Found"``."""
    return _STATUSES[code][1]


def code_from_http(status: int) -> StatusCode:
    """Infer the code of a response that names none from its HTTP status."""
    return _INFERRED.get(status, StatusCode.UNKNOWN)


# Media types


@dataclass(frozen=True)
class ConnectType:
    """A media type of Connect in its parts."""

    codec: str
    """``"proto"`` or ``"json"``."""
    is_stream: bool
    """True when the body consists of frames."""

    @functools.cached_property
    def name(self) -> str:
        """The media type, as in the header."""
        return f"application/{'connect+' if self.is_stream else ''}{self.codec}"

    def __str__(self) -> str:
        return self.name


CONNECT_TYPES = {
    str(connect_type): connect_type
    for is_stream in (False, True)
    for codec in ("proto", "json")
    for connect_type in [ConnectType(codec, is_stream)]
}
"""Every accepted media type, by name."""

_CHARSET = re.compile(r";\s*charset\s*=\s*(?!\"?(?:utf-?8|us-ascii)\b)", re.ASCII | re.IGNORECASE)


@cached_by_headers
def parse_connect_type(value: str | None) -> ConnectType | None:
    """Look up a ``Content-Type`` header; case and parameters do not matter; None when it is not Connect.

    JSON in another charset than UTF-8 is not.
    """
    value = value or ""
    found = CONNECT_TYPES.get(value.partition(";")[0].strip().lower())
    return None if found is None or _CHARSET.search(value) else found


# Timeouts

# "Timeout-Milliseconds → {positive integer as ASCII string of at most 10 digits}"
_MILLISECONDS = re.compile(r"[0-9]{1,10}", re.ASCII)


def parse_timeout_ms(value: str) -> float:
    """Read a ``Connect-Timeout-Ms`` into seconds, at most :data:`MAX_TIMEOUT`.

    :raises RemoteProtocolError: INVALID_ARGUMENT, when the value is malformed.
    """
    if _MILLISECONDS.fullmatch(value) is None:
        raise RemoteProtocolError(
            f"Connect-Timeout-Ms {value[:40]!r} is not a number of milliseconds of at most 10 digits",
            code=StatusCode.INVALID_ARGUMENT,
        )
    return min(int(value) / 1000, MAX_TIMEOUT)


def format_timeout_ms(seconds: float) -> str:
    """Write seconds as a ``Connect-Timeout-Ms``, rounded up; a negative timeout is ``0``, a long one 10 digits."""
    return str(min(-int(-min(max(seconds, 0.0), MAX_TIMEOUT) * 1000 // 1), 10**10 - 1))


# Errors


@dataclass(frozen=True, slots=True)
class ConnectDetail:
    """A detail of an error."""

    type: str
    """The full name of the message."""
    value: bytes
    """The message in protobuf."""
    debug: Any = None
    """The message in JSON, for people; None when it is not there. Clients do not rely on it."""


@dataclass(frozen=True, slots=True)
class ConnectError:
    """An error, as JSON has it."""

    code: StatusCode
    """Not OK."""
    message: str = ""
    details: tuple[ConnectDetail, ...] = ()


def encode_connect_error(error: ConnectError) -> bytes:
    """Write the body of a response with an error."""
    return _dump(_error_fields(error))


def decode_connect_error(body: bytes, status: int) -> ConnectError:
    """Read the body of a response with an error; what is missing or malformed in it is left out.

    :param status: of HTTP, which has a code where the body has none.
    """
    return _error_from(_load(body), code_from_http(status))


def encode_end(error: ConnectError | None, metadata: Iterable[tuple[str, str | bytes]] = ()) -> bytes:
    """Write the payload of the last frame of a stream.

    :param error: None for OK.
    :param metadata: trailing.
    """
    fields: dict[str, Any] = {} if error is None else {"error": _error_fields(error)}
    values: dict[str, list[str]] = {}
    for name, value in metadata:
        values.setdefault(name, []).append(encode_binary(value) if isinstance(value, bytes) else value)
    if values:
        fields["metadata"] = values
    return _dump(fields)


def decode_end(payload: bytes) -> tuple[ConnectError | None, list[tuple[str, str]]]:
    """Read the payload of the last frame of a stream: the error, None for OK, and the trailing metadata.

    :raises RemoteProtocolError: when it is no JSON object.
    """
    fields = _load(payload)
    if not isinstance(fields, Mapping):
        raise RemoteProtocolError(f"the end of the stream is not a JSON object: {payload[:40]!r}")
    pairs = []
    metadata = fields.get("metadata")
    for name, values in metadata.items() if isinstance(metadata, Mapping) else ():
        for value in values if isinstance(values, list) else [values]:
            if isinstance(value, str):
                pairs.append((name.lower(), value))
    error = fields.get("error")
    return None if error is None else _error_from(error, StatusCode.UNKNOWN), pairs


def _error_fields(error: ConnectError) -> dict[str, Any]:
    fields: dict[str, Any] = {"code": code_name(error.code)}
    if error.message:
        fields["message"] = error.message
    if error.details:
        fields["details"] = [_detail_fields(detail) for detail in error.details]
    return fields


def _detail_fields(detail: ConnectDetail) -> dict[str, Any]:
    fields = {"type": detail.type, "value": encode_binary(detail.value)}
    return fields if detail.debug is None else {**fields, "debug": detail.debug}


def _error_from(fields: object, inferred: StatusCode) -> ConnectError:
    if not isinstance(fields, Mapping):
        return ConnectError(inferred)
    name, message, details = fields.get("code"), fields.get("message"), fields.get("details")
    code = _CODES.get(name, inferred) if isinstance(name, str) else inferred
    found = map(_detail_from, details if isinstance(details, list) else ())
    text = _text(message) if isinstance(message, str) else ""
    return ConnectError(code, text, tuple(detail for detail in found if detail is not None))


def _detail_from(fields: object) -> ConnectDetail | None:
    if not isinstance(fields, Mapping):
        return None
    name, value = fields.get("type"), fields.get("value")
    if not (isinstance(name, str) and isinstance(value, str)):
        return None
    try:
        return ConnectDetail(_text(name), decode_binary(value), fields.get("debug"))
    except ValueError:
        return None


def _text(value: str) -> str:
    # JSON may have lone surrogates, which have no UTF-8.
    return value.encode("utf-8", "replace").decode()


def _dump(fields: Mapping[str, Any]) -> bytes:
    # Lone surrogates, which have no UTF-8, become "?".
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def _load(data: bytes) -> object:
    """The value of a JSON text; None for anything else."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


# Queries of GET requests

QUERY_KEYS = ("connect", "encoding", "message", "base64", "compression")
# "RFC 4648 §5 'URL-safe' base64 … the base64-encoded message may contain padding characters"
_URL_SAFE = re.compile(rb"[A-Za-z0-9_-]*={0,2}")


def encode_query(codec: str, message: bytes, compression: str | None = None) -> str:
    """Write a query, with its parameters in the order of the specification, which caches expect.

    :param message: in the codec, and compressed as `compression` says.
    """
    is_text = codec == "json" and compression is None
    value = quote(message, safe="") if is_text else base64.urlsafe_b64encode(message).rstrip(b"=").decode("ascii")
    parts = ["connect=v1", *([] if is_text else ["base64=1"])]
    parts += [] if compression is None else [f"compression={compression}"]
    return "&".join([*parts, f"encoding={codec}", f"message={value}"])


def parse_query(text: str) -> dict[str, bytes]:
    """Read the parameters of Connect out of a query; others are left out.

    :raises RemoteProtocolError: INVALID_ARGUMENT, for one that is there twice.
    """
    found: dict[str, bytes] = {}
    for part in text.split("&"):
        raw_name, _, value = part.partition("=")
        name = raw_name if raw_name in QUERY_KEYS else unquote_to_bytes(raw_name).decode("latin-1")
        if name not in QUERY_KEYS:
            continue
        if name in found:
            raise _invalid(f"the query has {name}= more than once")
        # Not decoded as a text: the message may be bytes. A space is often written as "+".
        found[name] = unquote_to_bytes(value.replace("+", " ").encode("latin-1", "replace"))
    return found


def decode_query_message(parameters: Mapping[str, bytes]) -> bytes:
    """The message of a query, in its codec, and still compressed.

    :raises RemoteProtocolError: INVALID_ARGUMENT, when it is missing, or malformed base64.
    """
    message = parameters.get("message")
    if message is None:
        raise _invalid("the query has no message=; an empty message is written as message=")
    # "Other values for the 'base64' parameter will simply be ignored."
    if parameters.get("base64") != b"1":
        return message
    digits = message.rstrip(b"=")
    if _URL_SAFE.fullmatch(message) is None or len(digits) % 4 == 1:
        raise _invalid("message= of the query is not URL-safe base64, as base64=1 says")
    return base64.urlsafe_b64decode(digits + b"=" * (-len(digits) % 4))


def _invalid(text: str) -> RemoteProtocolError:
    return RemoteProtocolError(text, code=StatusCode.INVALID_ARGUMENT)
