"""The protocols that calls come in, each an :class:`RpcProtocol` in a module of its own, and the choice of one."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from flask_grpcweb_scm.rpc.call import IncomingCall, RpcProtocol
from flask_grpcweb_scm.rpc.protocols.connect import find_connect, find_connect_get, is_wrapped
from flask_grpcweb_scm.rpc.protocols.grpc import TRAILER_PREFIX, TRAILERS_KEY, find_grpc
from flask_grpcweb_scm.rpc.protocols.grpc_web import find_grpc_web, status_headers
from flask_grpcweb_scm.rpc.service import RpcMethod
from flask_grpcweb_scm.wire import CONNECT_TYPES, CONTENT_TYPES, GRPC_TYPES, parse_grpc_type

__all__ = [
    "HTTP1_PROTOCOLS",
    "NO_TRAILERS",
    "PROTOCOLS",
    "TRAILERS_KEY",
    "TRAILER_PREFIX",
    "Protocols",
    "is_response",
    "status_headers",
]

HTTP1_PROTOCOLS = ("grpc-web", "connect")
"""The names of those that need no more than HTTP/1.1, which our clients have."""

PROTOCOLS = (*HTTP1_PROTOCOLS, "grpc")
"""The names of all."""

NO_TRAILERS = (
    "gRPC needs a server that sends trailers for WSGI over HTTP/2: run the app with pyvoy --interface wsgi, or with"
    " gunicorn 27 or newer, --worker-class gthread --http-protocols h2,h1; this server serves gRPC-Web and Connect"
)


class Protocols:
    """The protocols that an app serves."""

    def __init__(self, names: Collection[str] = PROTOCOLS) -> None:
        self.names = tuple(names)
        self._has_grpc_web = "grpc-web" in names
        self._has_connect = "connect" in names
        self._has_grpc = "grpc" in names

    def find(self, environ: dict[str, Any]) -> RpcProtocol | None:
        """The protocol that a request to the path of a method speaks; None when it is none of these."""
        found: RpcProtocol | None = None
        verb = environ["REQUEST_METHOD"]
        if verb == "POST":
            content_type = environ.get("CONTENT_TYPE")
            if self._has_grpc_web:
                found = find_grpc_web(content_type, environ.get("HTTP_ACCEPT"))
            if found is None and self._has_connect:
                found = find_connect(content_type)
            if found is None and self._has_grpc:
                found = find_grpc(content_type, environ)
        elif verb in {"GET", "HEAD"} and self._has_connect:
            found = find_connect_get(environ.get("QUERY_STRING", ""))
        return found

    def claim(self, environ: dict[str, Any]) -> RpcProtocol | None:
        """The protocol that a request speaks, whatever its path: pages of the app may be JSON, and have queries."""
        if environ["REQUEST_METHOD"] == "POST":
            content_type = environ.get("CONTENT_TYPE", "").strip().lower()
            is_claimed = content_type.startswith(("application/grpc", "application/connect+"))
        else:
            is_claimed = "connect=v1" in environ.get("QUERY_STRING", "").split("&")
        return self.find(environ) if is_claimed or "HTTP_CONNECT_PROTOCOL_VERSION" in environ else None

    def verbs(self, method: RpcMethod | None) -> tuple[str, ...]:
        """The verbs of requests that call a method."""
        get = find_connect_get("") if self._has_connect else None
        return ("GET", "HEAD", "POST") if get and method and get.serves(method) else ("POST",)

    def lacks_trailers(self, environ: dict[str, Any]) -> bool:
        """Return whether a request is of gRPC, and the server cannot send its status."""
        is_grpc = self._has_grpc and parse_grpc_type(environ.get("CONTENT_TYPE")) is not None
        return is_grpc and TRAILERS_KEY not in environ

    def described(self, method: RpcMethod | None) -> str:
        """The protocols and their content types: the end of the sentence "content type … is not …"."""
        is_stream = method is not None and (method.client_streaming or method.server_streaming)
        protocols: list[str] = []
        content_types: list[str] = []
        if self._has_grpc_web:
            protocols.append("gRPC-Web")
            content_types += CONTENT_TYPES
        if self._has_grpc:
            protocols.append("gRPC")
            content_types += GRPC_TYPES
        if self._has_connect:
            protocols.append(f"Connect for {'a stream' if is_stream else 'a unary call'}" if method else "Connect")
            content_types += [
                name for name, found in CONNECT_TYPES.items() if method is None or found.is_stream is is_stream
            ]
        return f"{' or '.join(protocols)}; use one of {', '.join(content_types)}"


def is_response(status: str, headers: Iterable[tuple[str, str]], call: IncomingCall | None) -> bool:
    """Return whether a response is of a protocol, perhaps with something of a hook around it.

    :param call: that it is the response to; None when the request has not become one.
    """
    content_type = next((value for name, value in headers if name.lower() == "content-type"), "")
    return content_type.startswith("application/grpc") or is_wrapped(status, content_type, call)
