"""gRPC (gRPC, PROTOCOL-HTTP2.md): frames in a body, the status in HTTP trailers; what it shares with gRPC-Web."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from flask_grpcweb_scm.rpc.call import IncomingCall, Pairs, Reply
from flask_grpcweb_scm.rpc.call_settings import Environ
from flask_grpcweb_scm.rpc.errors import RpcError
from flask_grpcweb_scm.rpc.protocols.framed import LARGE_BYTES, Framed
from flask_grpcweb_scm.rpc.service import RpcMethod
from flask_grpcweb_scm.wire import (
    ENCODINGS,
    GRPC_TYPES,
    MAX_MESSAGE_HEADER_BYTES,
    Encoding,
    Metadata,
    StatusCode,
    choose_encoding,
    encode_binary,
    encode_message,
    find_encoding,
    parse_grpc_type,
    parse_timeout,
)

__all__ = [
    "ACCEPT_ENCODING",
    "OK",
    "OK_STATUS",
    "TRAILERS_KEY",
    "TRAILER_PREFIX",
    "Grpc",
    "GrpcFramed",
    "accepted_encodings",
    "find_grpc",
    "metadata_headers",
    "status_pairs",
]

OK = "200 OK"
"""The HTTP status of every outcome of a call."""

OK_STATUS = [("grpc-status", "0")]

ACCEPT_ENCODING = "HTTP_GRPC_ACCEPT_ENCODING"

TRAILERS_KEY = "flask_grpcweb_scm.trailers"
"""The key of the WSGI environment that has a list for the trailers of a stream; it is there when they can be sent."""

TRAILER_PREFIX = "grpc-trailer-"
"""Of the headers that are trailing metadata in a response that is on its way through the app.

Its status is in headers, too, where hooks can read it; ``web/trailers.py`` sends both after the body."""


def find_grpc(content_type: str | None, environ: Environ) -> Grpc | None:
    """The kind of gRPC that a request speaks by its ``Content-Type``, if it does and its server sends trailers."""
    found = parse_grpc_type(content_type) if TRAILERS_KEY in environ else None
    return None if found is None else _grpc(found)


@functools.cache
def _grpc(content_type: str) -> Grpc:
    return Grpc(content_type)


class GrpcFramed(Framed):
    """A protocol with the headers of gRPC."""

    has_streams = True
    encoding_key = "HTTP_GRPC_ENCODING"
    encoding_name = "grpc-encoding"
    malformed = StatusCode.INTERNAL
    is_safelisted = False
    content_type: tuple[str, str]
    """The header of responses."""

    def options(self, environ: Environ) -> float | None:
        """See :class:`RpcProtocol`."""
        find_encoding(environ.get(self.encoding_key))
        text = environ.get("HTTP_GRPC_TIMEOUT")
        return None if text is None else parse_timeout(text.strip())

    def serves(self, method: RpcMethod) -> bool:
        """See :class:`RpcProtocol`."""
        return True

    def accepted(self, environ: Environ) -> Encoding | None:
        """See :class:`Framed`."""
        return choose_encoding(environ[ACCEPT_ENCODING]) if ACCEPT_ENCODING in environ else None

    def stream_headers(self, call: IncomingCall) -> Pairs:
        """See :class:`RpcProtocol`."""
        headers = [self.content_type]
        if ACCEPT_ENCODING in call.environ and call.endpoint.settings.compression_min_bytes is not None:
            encoding = self.accepted(call.environ)
            if encoding is not None:
                headers.append(("grpc-encoding", encoding.name))
        metadata = call.given_initial_metadata
        return headers if metadata is None else headers + metadata_headers(metadata)


class Grpc(GrpcFramed):
    """gRPC in one content type."""

    name = "grpc"
    text = False
    is_found_by_key = False

    def __init__(self, content_type: str) -> None:
        super().__init__(GRPC_TYPES[content_type])
        self.content_type = ("content-type", content_type)

    def success(self, call: IncomingCall, payload: bytes) -> Reply:
        """See :class:`RpcProtocol`."""
        headers = self.stream_headers(call)
        prefix, payload = self.framed(call, payload)
        headers += OK_STATUS if call.given_trailing_metadata is None else _trailers(call, None)
        return OK, headers, [prefix + payload] if len(payload) <= LARGE_BYTES else [prefix, payload]

    def failure(self, call: IncomingCall, error: RpcError) -> Reply:
        """See :class:`RpcProtocol`."""
        return OK, [*self.stream_headers(call), *accepted_encodings(error), *_trailers(call, error)], []

    def refusal(self, error: RpcError, added: Sequence[tuple[str, str]] = (), *, is_known: bool = True) -> Reply:
        """See :class:`RpcProtocol`."""
        return OK, [self.content_type, *accepted_encodings(error), *added, *status_pairs(error)], []

    def stream_end(self, call: IncomingCall, error: RpcError | None) -> bytes:
        """See :class:`RpcProtocol`."""
        call.environ[TRAILERS_KEY] += _trailers(call, error, "")
        return b""


def _trailers(call: IncomingCall, error: RpcError | None, prefix: str = TRAILER_PREFIX) -> Pairs:
    status = OK_STATUS if error is None else status_pairs(error)
    return status + [(prefix + name, value) for name, value in metadata_headers(call.given_trailing_metadata)]


def metadata_headers(metadata: Metadata | None) -> Pairs:
    """Metadata of the function as headers."""
    return metadata.to_headers() if metadata else []


def status_pairs(error: RpcError, max_message_bytes: int = MAX_MESSAGE_HEADER_BYTES) -> Pairs:
    """The status, its message and its details, as headers or trailers."""
    message = encode_message(error.message, max_message_bytes)
    pairs = [("grpc-status", str(int(error.code))), ("grpc-message", message)]
    if error.details:
        pairs.append(("grpc-status-details-bin", encode_binary(error.status_proto().SerializeToString())))
    return pairs


def accepted_encodings(error: RpcError) -> Pairs:
    """The compressions that are supported, where the error may be of one that is not."""
    # "… with a status of UNIMPLEMENTED … the server MUST … include grpc-accept-encoding" (compression.md)
    is_wanted = error.code is StatusCode.UNIMPLEMENTED
    return [("grpc-accept-encoding", ",".join(["identity", *ENCODINGS]))] if is_wanted else []
