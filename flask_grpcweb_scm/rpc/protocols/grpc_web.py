"""gRPC-Web (gRPC, PROTOCOL-WEB.md): frames in a body, binary or base64; the status in headers or in a last frame."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from flask_grpcweb_scm.rpc.call import IncomingCall, Pairs, Reply
from flask_grpcweb_scm.rpc.errors import RpcError
from flask_grpcweb_scm.rpc.protocols.framed import LARGE_BYTES
from flask_grpcweb_scm.rpc.protocols.grpc import (
    ACCEPT_ENCODING,
    OK,
    OK_STATUS,
    GrpcFramed,
    accepted_encodings,
    metadata_headers,
    status_pairs,
)
from flask_grpcweb_scm.wire import (
    ContentType,
    cached_by_headers,
    encode_prefix,
    encode_text,
    encode_trailers,
    parse_content_type,
    response_content_type,
)

__all__ = ["GrpcWeb", "find_grpc_web", "status_headers"]

MAX_TRAILERS_ONLY_BYTES = 1500
"""A larger status goes into a trailers frame. nginx has one page of 4 kB for all headers of a response: 2 kB are ours,
with those of CORS, and the others are for cookies and what else the app adds."""

BROWSER = "HTTP_X_GRPC_WEB"
"""The header of browser clients, some of which take a status in headers and trailers for an error. Scripts, which may
read it from the headers, do not send it."""

# "User Agent: Use X-User-Agent" (PROTOCOL-WEB.md)
_CLIENT_HEADERS = {"x-grpc-web", "x-user-agent", "te"}
_OK_TRAILERS = encode_trailers(OK_STATUS)
"""The last frame of a call that has ended well and has no metadata."""


@cached_by_headers
def find_grpc_web(content_type: str | None, accept: str | None) -> GrpcWeb | None:
    """The kind of gRPC-Web that a request speaks by its headers ``Content-Type`` and ``Accept``, if it does."""
    request_type = parse_content_type(content_type)
    return None if request_type is None else _grpc_web(request_type, response_content_type(request_type, accept))


@functools.cache
def _grpc_web(request_type: ContentType, response_type: ContentType) -> GrpcWeb:
    return GrpcWeb(request_type, response_type)


class GrpcWeb(GrpcFramed):
    """gRPC-Web in one content type for requests, and another or the same for responses."""

    name = "grpc-web"

    def __init__(self, request_type: ContentType, response_type: ContentType) -> None:
        super().__init__(request_type.codec, text=request_type.text)
        self.text = response_type.text
        self.content_type = ("content-type", response_type.name)

    def success(self, call: IncomingCall, payload: bytes) -> Reply:
        """See :class:`RpcProtocol`."""
        settings, environ = call.endpoint.settings, call.environ
        limit, size = settings.max_response_bytes, len(payload)
        if call.given_initial_metadata is None and ACCEPT_ENCODING not in environ and (limit is None or size <= limit):
            # Most responses.
            headers, prefix = [self.content_type], encode_prefix(0, size)
        else:
            headers = self.stream_headers(call)
            prefix, payload = self.framed(call, payload)
            size = len(payload)
        trailers = _OK_TRAILERS if call.given_trailing_metadata is None else _trailers(call, None)
        if BROWSER not in environ and settings.status_header:
            headers += OK_STATUS
            if settings.status_header == "only" and _is_from_a_script(call):
                headers += metadata_headers(call.given_trailing_metadata)
                trailers = b""
        if size > LARGE_BYTES and not self.text:
            pieces = [prefix, payload, trailers]
            return OK, [*headers, ("content-length", str(sum(map(len, pieces))))], pieces
        return self._complete(headers, b"".join((prefix, payload, trailers)))

    def failure(self, call: IncomingCall, error: RpcError) -> Reply:
        """See :class:`RpcProtocol`."""
        if not (call.given_initial_metadata or call.given_trailing_metadata):
            return self.refusal(error)
        # "Trailers-Only": only without custom metadata, whose two kinds it could not tell apart.
        return self._complete(self.stream_headers(call), _trailers(call, error))

    def refusal(self, error: RpcError, added: Sequence[tuple[str, str]] = (), *, is_known: bool = True) -> Reply:
        """See :class:`RpcProtocol`."""
        headers = [self.content_type, *accepted_encodings(error), *added]
        status = status_pairs(error)
        if _size(status) + _size(added) <= MAX_TRAILERS_ONLY_BYTES:
            return self._complete(headers + status, b"")
        return self._complete(headers, encode_trailers(status))

    def stream_end(self, call: IncomingCall, error: RpcError | None) -> bytes:
        """See :class:`RpcProtocol`."""
        return _OK_TRAILERS if error is None and call.given_trailing_metadata is None else _trailers(call, error)

    def _complete(self, headers: Pairs, body: bytes) -> Reply:
        if self.text:
            body = encode_text(body)
        headers.append(("content-length", str(len(body))))
        return OK, headers, [body] if body else []


def status_headers(error: RpcError) -> Pairs:
    """The status in a response that is of no protocol, with as much of its message as there is room for.

    Clients of gRPC-Web that get one look at nothing else.
    """
    return [*accepted_encodings(error), *status_pairs(error, MAX_TRAILERS_ONLY_BYTES)]


def _is_from_a_script(call: IncomingCall) -> bool:
    """Return whether the content type alone says that the caller speaks gRPC-Web: a script with an HTTP library."""
    accepted = call.environ.get("HTTP_ACCEPT", "").lower()
    return "application/grpc-web" not in accepted and not any(
        name in _CLIENT_HEADERS or name.startswith("grpc-") for name, _ in call.headers()
    )


def _trailers(call: IncomingCall, error: RpcError | None) -> bytes:
    status = OK_STATUS if error is None else status_pairs(error)
    return encode_trailers(status + metadata_headers(call.given_trailing_metadata))


def _size(headers: Sequence[tuple[str, str]]) -> int:
    """Bytes of headers as they are sent, each on a line of its own."""
    return sum(len(name) + len(value) + 4 for name, value in headers)
