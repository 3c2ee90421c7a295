"""gRPC-Web (gRPC, PROTOCOL-WEB.md): frames in a body, binary or base64; the status in headers or in a last frame."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from typing import cast

from flask_grpcweb_scm.rpc.call import IncomingCall, Pairs, Reply
from flask_grpcweb_scm.rpc.errors import RpcError
from flask_grpcweb_scm.wire import (
    COMPRESSED,
    ENCODINGS,
    MAX_MESSAGE_HEADER_BYTES,
    PREFIX_BYTES,
    ContentType,
    Encoding,
    FrameReader,
    Metadata,
    RemoteProtocolError,
    StatusCode,
    cached_by_headers,
    choose_encoding,
    decode_frames,
    decode_prefix,
    decode_text,
    encode_binary,
    encode_message,
    encode_prefix,
    encode_text,
    encode_trailers,
    find_encoding,
    over_limit,
    parse_content_type,
    response_content_type,
)

__all__ = ["GrpcWeb", "find_grpc_web", "status_headers"]

LARGE_BYTES = 64 * 2**10
"""A larger payload is handed on as it is: what copying costs is more than that of a view, or of a piece of its own."""

MAX_TRAILERS_ONLY_BYTES = 1500
"""A larger status goes into a trailers frame. nginx has one page of 4 kB for all headers of a response: 2 kB are ours,
with those of CORS, and the others are for cookies and what else the app adds."""

OK = "200 OK"
"""The HTTP status of every outcome of a call."""

BROWSER = "HTTP_X_GRPC_WEB"
"""The header of browser clients, some of which take a status in headers and trailers for an error. Scripts, which may
read it from the headers, do not send it."""

_OPTION = "HTTP_GRPC_ACCEPT_ENCODING"

# "User Agent: Use X-User-Agent" (PROTOCOL-WEB.md)
_CLIENT_HEADERS = {"x-grpc-web", "x-user-agent", "te"}
_OK_STATUS = [("grpc-status", "0")]
_OK_TRAILERS = encode_trailers(_OK_STATUS)
"""The last frame of a call that has ended well and has no metadata."""


@cached_by_headers
def find_grpc_web(content_type: str | None, accept: str | None) -> GrpcWeb | None:
    """The kind of gRPC-Web that a request speaks by its headers ``Content-Type`` and ``Accept``, if it does."""
    request_type = parse_content_type(content_type)
    return None if request_type is None else _grpc_web(request_type, response_content_type(request_type, accept))


@functools.cache
def _grpc_web(request_type: ContentType, response_type: ContentType) -> GrpcWeb:
    return GrpcWeb(request_type, response_type)


class GrpcWeb:
    """gRPC-Web in one content type for requests, and another or the same for responses."""

    def __init__(self, request_type: ContentType, response_type: ContentType) -> None:
        self.codec = request_type.codec
        self.text = response_type.text
        self._is_text_request = request_type.text
        self._content_type = ("content-type", response_type.name)

    # Requests

    def message(self, call: IncomingCall) -> bytes:
        """See :class:`RpcProtocol`."""
        endpoint = call.endpoint
        body: bytes | None = b""
        try:
            body = endpoint.reader.read_whole(call.environ, call.body_limit)
        finally:
            # Also when this fails: nothing more would come.
            call.is_read = body is not None
        if body is None:
            return self._only_payload(call, call.chunks)
        data = decode_text(body) if self._is_text_request else body
        if len(body) > LARGE_BYTES and data and self.codec == "proto":
            # Protobuf reads it like bytes, and that is all it is for.
            data = cast("bytes", memoryview(data))
        length = len(data) - PREFIX_BYTES if data else -1
        if data and 0 <= length <= endpoint.settings.max_message_bytes and decode_prefix(data) == (0, length):
            # One frame without flags, as most bodies are.
            payload = data[PREFIX_BYTES:]
        else:
            payload = self._only_payload(call, _cut(body))
        call.bytes_received = len(body)
        return payload

    def payloads(self, call: IncomingCall) -> Iterator[bytes]:
        """See :class:`RpcProtocol`."""
        return self._payloads(call, call.chunks)

    def _only_payload(self, call: IncomingCall, chunks: Iterable[bytes]) -> bytes:
        payloads = self._payloads(call, chunks)
        first = next(payloads, None)
        if first is None:
            raise RemoteProtocolError(
                "the method takes exactly one message, the body has none", code=StatusCode.UNIMPLEMENTED
            )
        # To the end of the body, where the last mistakes show.
        next(payloads, None)
        return first

    def _payloads(self, call: IncomingCall, chunks: Iterable[bytes]) -> Iterator[bytes]:
        call.bytes_received = 0
        limit = call.endpoint.settings.max_message_bytes
        reader = FrameReader(max_payload=limit, single=not call.endpoint.method.client_streaming)
        encoding = find_encoding(call.environ.get("HTTP_GRPC_ENCODING"))
        counted = _counted(call, chunks)
        for frame in decode_frames(counted, reader, text=self._is_text_request, encoding=encoding, limit=limit):
            yield frame.payload

    # Responses

    def success(self, call: IncomingCall, payload: bytes) -> Reply:
        """See :class:`RpcProtocol`."""
        settings, environ = call.endpoint.settings, call.environ
        limit = settings.max_response_bytes
        is_short = limit is None or len(payload) <= limit
        if call.given_initial_metadata is None and _OPTION not in environ and is_short:
            # Most responses.
            headers, prefix = [self._content_type], encode_prefix(0, len(payload))
        else:
            headers = self._headers(call)
            prefix, payload = _framed(call, payload)
        trailers = _OK_TRAILERS if call.given_trailing_metadata is None else _trailers(call, None)
        if settings.status_header and BROWSER not in environ:
            headers += _OK_STATUS
            if settings.status_header == "only" and _is_from_a_script(call):
                headers += _added(call.given_trailing_metadata)
                trailers = b""
        if len(payload) > LARGE_BYTES and not self.text:
            size = len(prefix) + len(payload) + len(trailers)
            return OK, [*headers, ("content-length", str(size))], [prefix, payload, trailers]
        return self._complete(headers, b"".join((prefix, payload, trailers)))

    def failure(self, call: IncomingCall, error: RpcError) -> Reply:
        """See :class:`RpcProtocol`."""
        if not (call.given_initial_metadata or call.given_trailing_metadata):
            return self.refusal(error)
        # "Trailers-Only": only without custom metadata, whose two kinds it could not tell apart.
        return self._complete(self._headers(call), _trailers(call, error))

    def refusal(self, error: RpcError, added: Sequence[tuple[str, str]] = ()) -> Reply:
        """See :class:`RpcProtocol`."""
        headers = [self._content_type, *_accepted_encodings(error), *added]
        status = _status(error)
        if _size(status) + _size(added) <= MAX_TRAILERS_ONLY_BYTES:
            return self._complete(headers + status, b"")
        return self._complete(headers, encode_trailers(status))

    def stream_headers(self, call: IncomingCall) -> Pairs:
        """See :class:`RpcProtocol`."""
        return self._headers(call)

    def frame(self, call: IncomingCall, payload: bytes) -> bytes:
        """See :class:`RpcProtocol`."""
        return b"".join(_framed(call, payload))

    def stream_end(self, call: IncomingCall, error: RpcError | None) -> bytes:
        """See :class:`RpcProtocol`."""
        return _OK_TRAILERS if error is None and call.given_trailing_metadata is None else _trailers(call, error)

    def _headers(self, call: IncomingCall) -> Pairs:
        headers = [self._content_type]
        if _OPTION in call.environ:
            encoding = _encoding(call)
            if encoding is not None:
                headers.append(("grpc-encoding", encoding.name))
        return headers if call.given_initial_metadata is None else headers + _added(call.given_initial_metadata)

    def _complete(self, headers: Pairs, body: bytes) -> Reply:
        if self.text:
            body = encode_text(body)
        headers.append(("content-length", str(len(body))))
        return OK, headers, [body] if body else []


def status_headers(error: RpcError) -> Pairs:
    """The status in a response that is of no protocol, with as much of its message as there is room for.

    Clients of gRPC-Web that get one look at nothing else.
    """
    return [*_accepted_encodings(error), *_status(error, MAX_TRAILERS_ONLY_BYTES)]


def _cut(chunk: bytes) -> Iterator[bytes]:
    """A large chunk in smaller ones: what is wrong with it may show before all of it is copied."""
    return (chunk[start : start + LARGE_BYTES] for start in range(0, len(chunk), LARGE_BYTES))


def _counted(call: IncomingCall, chunks: Iterable[bytes]) -> Iterator[bytes]:
    for chunk in chunks:
        call.bytes_received += len(chunk)
        yield chunk


def _encoding(call: IncomingCall) -> Encoding | None:
    """The compression of the response, as the request accepts it."""
    accepted = call.environ.get("HTTP_GRPC_ACCEPT_ENCODING")
    if accepted is None or call.endpoint.settings.compression_min_bytes is None:
        return None
    return choose_encoding(accepted)


def _framed(call: IncomingCall, payload: bytes) -> tuple[bytes, bytes]:
    """The prefix and the payload as they are sent."""
    settings = call.endpoint.settings
    limit = settings.max_response_bytes
    if limit is not None and len(payload) > limit:
        raise over_limit(f"response of {len(payload)} bytes", limit)
    if _OPTION in call.environ:
        encoding, minimum = _encoding(call), settings.compression_min_bytes
        if encoding is not None and minimum is not None and len(payload) >= minimum:
            payload = encoding.compress(payload)
            return encode_prefix(COMPRESSED, len(payload)), payload
    return encode_prefix(0, len(payload)), payload


def _is_from_a_script(call: IncomingCall) -> bool:
    """Return whether the content type alone says that the caller speaks gRPC-Web: a script with an HTTP library."""
    accepted = call.environ.get("HTTP_ACCEPT", "").lower()
    return "application/grpc-web" not in accepted and not any(
        name in _CLIENT_HEADERS or name.startswith("grpc-") for name, _ in call.headers()
    )


def _added(metadata: Metadata | None) -> Pairs:
    """Metadata of the function as headers."""
    return metadata.to_headers() if metadata else []


def _trailers(call: IncomingCall, error: RpcError | None) -> bytes:
    status = _OK_STATUS if error is None else _status(error)
    return encode_trailers(status + _added(call.given_trailing_metadata))


def _status(error: RpcError, max_message_bytes: int = MAX_MESSAGE_HEADER_BYTES) -> Pairs:
    message = encode_message(error.message, max_message_bytes)
    pairs = [("grpc-status", str(int(error.code))), ("grpc-message", message)]
    if error.details:
        pairs.append(("grpc-status-details-bin", encode_binary(error.status_proto().SerializeToString())))
    return pairs


def _accepted_encodings(error: RpcError) -> Pairs:
    # "… with a status of UNIMPLEMENTED … the server MUST … include grpc-accept-encoding" (compression.md)
    is_wanted = error.code is StatusCode.UNIMPLEMENTED
    return [("grpc-accept-encoding", ",".join(["identity", *ENCODINGS]))] if is_wanted else []


def _size(headers: Sequence[tuple[str, str]]) -> int:
    """Bytes of headers as they are sent, each on a line of its own."""
    return sum(len(name) + len(value) + 4 for name, value in headers)
