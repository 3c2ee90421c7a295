"""Connect (connectrpc.com/docs/protocol): unary calls are HTTP requests like any other, streams have frames."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Sequence
from typing import Any

from google.protobuf import any_pb2, descriptor_pool, json_format
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from flask_grpcweb_scm.rpc.call import IncomingCall, Pairs, Reply
from flask_grpcweb_scm.rpc.call_settings import Environ
from flask_grpcweb_scm.rpc.errors import RpcError
from flask_grpcweb_scm.rpc.protocols.framed import Framed, counted
from flask_grpcweb_scm.rpc.service import RpcMethod
from flask_grpcweb_scm.wire import (
    CONNECT_VERSION,
    END_STREAM,
    ConnectDetail,
    ConnectError,
    ConnectType,
    Encoding,
    Metadata,
    RemoteProtocolError,
    StatusCode,
    decode_query_message,
    encode_connect_error,
    encode_end,
    encode_frame,
    find_encoding,
    http_status,
    over_limit,
    parse_connect_type,
    parse_query,
    parse_timeout_ms,
    preferred_encoding,
)

__all__ = ["ConnectGet", "ConnectStream", "ConnectUnary", "find_connect", "find_connect_get", "is_wrapped"]

OK = "200 OK"
MAX_LENGTH_DIGITS = 18
"""Of a Content-Length; int() raises for thousands."""

_VERSION = "HTTP_CONNECT_PROTOCOL_VERSION"
_TIMEOUT = "HTTP_CONNECT_TIMEOUT_MS"
_TRAILER = "trailer-"
_CREDENTIALS = "Authorization, X-Grpc-Auth-Token, X-Signature"
_NO_STORE = ("cache-control", "no-store")
_NO_SNIFF = ("x-content-type-options", "nosniff")
_ENCODING = re.compile(r"(?:^|&)encoding=([^&]*)")
_END_OK = encode_frame(encode_end(None), flags=END_STREAM)
"""The last frame of a stream that has ended well and has no metadata."""


def find_connect(content_type: str | None) -> ConnectUnary | ConnectStream | None:
    """The kind of Connect that a POST request speaks by its ``Content-Type``, if it does."""
    found = parse_connect_type(content_type)
    return None if found is None else _connect(found)


@functools.cache
def _connect(connect_type: ConnectType) -> ConnectUnary | ConnectStream:
    return (ConnectStream if connect_type.is_stream else ConnectUnary)(connect_type)


def find_connect_get(query: str) -> ConnectGet | None:
    """The kind of Connect that a request with a query speaks; None when its messages are in no codec of ours."""
    names = [match[1] for match in _ENCODING.finditer(query)]
    # A query that has none, or several, is refused when it is read.
    codec = names[0] if len(names) == 1 else "json"
    return _connect_get(codec) if codec in {"json", "proto"} else None


@functools.cache
def _connect_get(codec: str) -> ConnectGet:
    return ConnectGet(ConnectType(codec, is_stream=False))


class ConnectStream(Framed):
    """Streams, of requests, responses or both: messages in frames, the status in the last one."""

    name = "connect"
    text = False
    malformed = StatusCode.INVALID_ARGUMENT
    is_safelisted = False
    encoding_key = "HTTP_CONNECT_CONTENT_ENCODING"
    encoding_name = "Connect-Content-Encoding"
    _accept_key = "HTTP_CONNECT_ACCEPT_ENCODING"
    has_streams = True

    def __init__(self, connect_type: ConnectType) -> None:
        super().__init__(connect_type.codec)
        self._content_type = ("content-type", connect_type.name)

    def serves(self, method: RpcMethod) -> bool:
        """See :class:`RpcProtocol`."""
        return (method.client_streaming or method.server_streaming) is self.has_streams

    def options(self, environ: Environ) -> float | None:
        """See :class:`RpcProtocol`."""
        version = environ.get(_VERSION, CONNECT_VERSION)
        if version != CONNECT_VERSION and version.strip() != CONNECT_VERSION:
            raise _invalid(f"Connect-Protocol-Version {version[:40]!r} is not supported; it is {CONNECT_VERSION}")
        if self.encoding_key in environ:
            find_encoding(environ[self.encoding_key], self.encoding_name)
        timeout = environ.get(_TIMEOUT)
        return None if timeout is None else parse_timeout_ms(timeout.strip())

    def accepted(self, environ: Environ) -> Encoding | None:
        """See :class:`Framed`."""
        accept = environ.get(self._accept_key)
        # "If the client omits Accept-Encoding, servers must assume that the client accepts the Content-Encoding used
        # for the request"
        return preferred_encoding(environ.get(self.encoding_key) if accept is None else accept)

    # Responses

    def success(self, call: IncomingCall, payload: bytes) -> Reply:
        """See :class:`RpcProtocol`."""
        pieces = [*self.framed(call, payload), self.stream_end(call, None)]
        return _complete(self.stream_headers(call), b"".join(pieces))

    def failure(self, call: IncomingCall, error: RpcError) -> Reply:
        """See :class:`RpcProtocol`."""
        return _complete(self.stream_headers(call), self.stream_end(call, error))

    def refusal(self, error: RpcError, added: Sequence[tuple[str, str]] = (), *, is_known: bool = True) -> Reply:
        """See :class:`RpcProtocol`."""
        return _complete([self._content_type, *added], _end(error, ()))

    def stream_headers(self, call: IncomingCall) -> Pairs:
        """See :class:`RpcProtocol`."""
        headers = [self._content_type]
        if self.compresses(call):
            encoding = self.accepted(call.environ)
            assert encoding is not None
            headers.append(("connect-content-encoding", encoding.name))
        metadata = call.given_initial_metadata
        return headers if metadata is None else headers + metadata.to_headers()

    def stream_end(self, call: IncomingCall, error: RpcError | None) -> bytes:
        """See :class:`RpcProtocol`."""
        metadata = call.given_trailing_metadata
        return _END_OK if error is None and metadata is None else _end(error, metadata or ())


class ConnectUnary(ConnectStream):
    """Unary calls: the message is the body, and an error has an HTTP status."""

    encoding_key = "HTTP_CONTENT_ENCODING"
    encoding_name = "Content-Encoding"
    _accept_key = "HTTP_ACCEPT_ENCODING"
    has_streams = False

    def message(self, call: IncomingCall) -> bytes:
        """See :class:`RpcProtocol`."""
        environ, endpoint = call.environ, call.endpoint
        limit = endpoint.settings.max_message_bytes
        body: bytes | None = b""
        try:
            body = endpoint.reader.read_whole(environ, call.body_limit)
        finally:
            # Also when this fails: nothing more would come.
            call.is_read = body is not None
        if body is None:
            body = _joined(call, limit)
        size = call.bytes_received = len(body)
        if size > limit:
            raise over_limit(f"message of {size} bytes", limit)
        return self._decompressed(body, environ[self.encoding_key], limit) if self.encoding_key in environ else body

    def _decompressed(self, data: bytes, name: str, limit: int) -> bytes:
        # "Servers must not attempt to decompress zero-length HTTP request content."
        encoding = find_encoding(name, self.encoding_name) if data else None
        return data if encoding is None else encoding.decompress(data, limit)

    # Responses

    def success(self, call: IncomingCall, payload: bytes) -> Reply:
        """See :class:`RpcProtocol`."""
        settings, size = call.endpoint.settings, len(payload)
        limit, minimum = settings.max_response_bytes, settings.compression_min_bytes
        if limit is not None and size > limit:
            raise over_limit(f"response of {size} bytes", limit)
        headers = [self._content_type]
        if minimum is not None and size >= minimum and payload:
            encoding = self.accepted(call.environ)
            if encoding is not None:
                payload = encoding.compress(payload)
                headers.append(("content-encoding", encoding.name))
        if call.given_initial_metadata is not None or call.given_trailing_metadata is not None:
            headers += _unary_metadata(call)
        return _complete(headers, payload)

    def failure(self, call: IncomingCall, error: RpcError) -> Reply:
        """See :class:`RpcProtocol`."""
        return self.refusal(error, _unary_metadata(call))

    def refusal(self, error: RpcError, added: Sequence[tuple[str, str]] = (), *, is_known: bool = True) -> Reply:
        """See :class:`RpcProtocol`."""
        # "In those cases, Unary-Content-Type must be 'application/json'."
        headers = [("content-type", "application/json"), *added]
        status = http_status(error.code) if is_known else "404 Not Found"
        return _complete(headers, encode_connect_error(_connect_error(error)), status)


class ConnectGet(ConnectUnary):
    """Unary calls without side effects: the message is in the query, and caches may keep the response.

    A response to HEAD has its body here: hooks of the app look at it, and Flask sends none of it.
    """

    is_safelisted = True
    is_found_by_key = False
    encoding_key = ""  # not in the headers
    encoding_name = "compression of the query"

    def serves(self, method: RpcMethod) -> bool:
        """See :class:`RpcProtocol`."""
        return method.no_side_effects and super().serves(method)

    def accepted(self, environ: Environ) -> Encoding | None:
        """See :class:`Framed`."""
        accept = environ.get(self._accept_key)
        if accept is None:
            accept = parse_query(environ.get("QUERY_STRING", "")).get("compression", b"").decode("latin-1")
        return preferred_encoding(accept)

    def message(self, call: IncomingCall) -> bytes:
        """See :class:`RpcProtocol`."""
        environ, limit = call.environ, call.endpoint.settings.max_message_bytes
        # A body says nothing, but the next request comes behind it.
        call.is_read = not environ.get("CONTENT_LENGTH") and "HTTP_TRANSFER_ENCODING" not in environ
        parameters = parse_query(environ.get("QUERY_STRING", ""))
        version = parameters.get("connect", b"v1").decode("latin-1")
        if version != f"v{CONNECT_VERSION}":
            raise _invalid(f"connect={version[:40]} of the query is not supported; it is v{CONNECT_VERSION}")
        if parameters.get("encoding") != self.codec.encode():
            raise _invalid("the query has no encoding=json or encoding=proto")
        message = decode_query_message(parameters)
        call.bytes_received = len(message)
        if len(message) > limit:
            raise over_limit(f"message of {len(message)} bytes", limit)
        return self._decompressed(message, parameters.get("compression", b"").decode("latin-1"), limit)

    def success(self, call: IncomingCall, payload: bytes) -> Reply:
        """See :class:`RpcProtocol`."""
        status, headers, pieces = super().success(call, payload)
        if "cache-control" not in (call.given_initial_metadata or ()):
            headers.append(_NO_STORE)
        # What somebody may see, a cache must not give to others.
        vary = [value for name, value in headers if name == "vary"] + ["Accept-Encoding"]
        if call.endpoint.authenticate is not None:
            vary.append(_CREDENTIALS)
        # One header: whoever adds to it in Flask keeps the first only.
        headers = [pair for pair in headers if pair[0] != "vary"]
        return status, [*headers, ("vary", ", ".join(vary)), _NO_SNIFF], pieces

    def refusal(self, error: RpcError, added: Sequence[tuple[str, str]] = (), *, is_known: bool = True) -> Reply:
        """See :class:`RpcProtocol`."""
        # Caches would keep some statuses, 404 and 501 among them, by themselves.
        added = [*(pair for pair in added if pair[0].lower() != "cache-control"), _NO_STORE, _NO_SNIFF]
        return super().refusal(error, added, is_known=is_known)


def is_wrapped(status: str, content_type: str, call: IncomingCall | None) -> bool:
    """Return whether a response is, but for what a hook has done to it, that of Connect to a call.

    JSON may be the app's, too: it is when the call has none in its response, or has another HTTP status.
    """
    if content_type.startswith(("application/proto", "application/connect+")):
        return True
    if call is None or not content_type.startswith("application/json"):
        return False
    protocol, error = call.endpoint.protocol, call.status
    own = OK if error is None else http_status(error.code)
    is_json = (
        protocol.name == "connect" and not protocol.has_streams and (error is not None or protocol.codec == "json")
    )
    return is_json and status.partition(" ")[0] == own.partition(" ")[0]


def _complete(headers: Pairs, body: bytes, status: str = OK) -> Reply:
    headers.append(("content-length", str(len(body))))
    return status, headers, [body] if body else []


def _joined(call: IncomingCall, limit: int) -> bytes:
    """A body that is read in chunks, if it is not too long: what its length says is not read first."""
    declared = call.environ.get("CONTENT_LENGTH") or ""
    # What is no number is left to the reader.
    if declared.isdecimal() and (len(declared) > MAX_LENGTH_DIGITS or int(declared) > limit):
        raise over_limit(f"message of {declared[:MAX_LENGTH_DIGITS]} bytes", limit)
    pieces = []
    for chunk in counted(call, call.chunks):
        if call.bytes_received > limit:
            raise over_limit(f"message of {call.bytes_received} bytes", limit)
        pieces.append(chunk)
    return b"".join(pieces)


def _unary_metadata(call: IncomingCall) -> Pairs:
    """The metadata of a unary call as headers."""
    initial, trailing = call.given_initial_metadata or Metadata(), call.given_trailing_metadata or Metadata()
    # Clients would take it for trailing metadata.
    leading = [pair for pair in initial.to_headers() if not pair[0].startswith(_TRAILER)]
    return leading + [(_TRAILER + name, value) for name, value in trailing.to_headers()]


def _end(error: RpcError | None, metadata: Iterable[tuple[str, str | bytes]]) -> bytes:
    return encode_frame(encode_end(None if error is None else _connect_error(error), metadata), flags=END_STREAM)


def _connect_error(error: RpcError) -> ConnectError:
    return ConnectError(error.code, error.message, tuple(map(_connect_detail, error.details)))


def _connect_detail(detail: Message) -> ConnectDetail:
    if isinstance(detail, any_pb2.Any):
        name, value = detail.type_url.rpartition("/")[2], detail.value
    else:
        name, value = detail.DESCRIPTOR.full_name, detail.SerializeToString()
    return ConnectDetail(name, value, _debug(name, value))


def _debug(name: str, value: bytes) -> Any:
    """A detail in JSON; None for one that is of no known type."""
    try:
        message_class = GetMessageClass(descriptor_pool.Default().FindMessageTypeByName(name))
        return json_format.MessageToDict(message_class.FromString(value))
    except (KeyError, DecodeError, json_format.Error, TypeError, ValueError):
        return None


def _invalid(text: str) -> RemoteProtocolError:
    return RemoteProtocolError(text, code=StatusCode.INVALID_ARGUMENT)
