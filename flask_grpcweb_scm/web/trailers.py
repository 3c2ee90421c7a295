"""The WSGI application around all others for gRPC: trailers, where the server has a function that sends them.

WSGI has no trailers. Some servers over HTTP/2 give a function in the environment, which is to be called after the last
piece of the body. Inside of the app a response has them in headers, or in a list of the environment: hooks, error
handlers and middlewares are to read and replace a response without knowing of this.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from flask_grpcweb_scm.rpc import Pairs
from flask_grpcweb_scm.rpc.protocols import TRAILER_PREFIX, TRAILERS_KEY
from flask_grpcweb_scm.web.response import Closing
from flask_grpcweb_scm.wire import Metadata, parse_grpc_type

if TYPE_CHECKING:
    from _typeshed import OptExcInfo
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

__all__ = ["SENDER_KEYS", "TrailersApp"]

SendTrailers = Callable[[Pairs], object]

SENDER_KEYS = _PYVOY, _GUNICORN = "wsgi.ext.http.send_trailers", "gunicorn.http2.send_trailers"
"""The keys of the WSGI environment that have the function of pyvoy, and of gunicorn."""

_STATUS = {"grpc-status", "grpc-message", "grpc-status-details-bin"}
# Of a connection, which HTTP/2 shares, or of a body without trailers; and a hint for nginx.
_DROPPED = {
    *("connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade"),
    *("content-length", "x-accel-buffering"),
}


class TrailersApp:
    """A WSGI application around another one: sends what a response of gRPC has in headers after its body."""

    def __init__(self, wsgi_app: WSGIApplication) -> None:
        self._wsgi_app = wsgi_app

    def wsgi_app(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Serve a request."""
        if _PYVOY not in environ and _GUNICORN not in environ:
            # Most servers.
            return self._wsgi_app(environ, start_response)
        send = environ.get(_PYVOY)
        if send is None:
            send = environ.get(_GUNICORN)
        else:
            # Bodies end with pyvoy, which does not say so: of a chunked one an app would read nothing.
            environ.setdefault("wsgi.input_terminated", True)
        # Another app that this one is within has them to send.
        if send is None or TRAILERS_KEY in environ or parse_grpc_type(environ.get("CONTENT_TYPE")) is None:
            return self._wsgi_app(environ, start_response)
        trailers = _Trailers(send, start_response)
        environ[TRAILERS_KEY] = trailers.of_stream
        pieces = self._wsgi_app(environ, trailers.start)
        close: Callable[[], object] = getattr(pieces, "close", lambda: None)
        return Closing(itertools.chain(pieces, trailers.send()), close)


class _Trailers:
    """The trailers of one response."""

    def __init__(self, send: SendTrailers, start_response: StartResponse) -> None:
        self._send = send
        self._start_response = start_response
        # One value of a name: clients take two of a status for none, and some then no other response of the connection.
        self._status: dict[str, str] = {}
        self._metadata: Pairs = []
        self.of_stream: Pairs = []

    def start(self, status: str, headers: Pairs, exc_info: OptExcInfo | None = None) -> Callable[[bytes], object]:
        """Start the response without what comes after its body."""
        kept: Pairs = []
        self._status, self._metadata = {}, []
        for name, value in headers:
            lower = name.lower()
            if lower in _STATUS:
                self._status[lower] = value
            elif lower.startswith(TRAILER_PREFIX):
                self._metadata.append((lower.removeprefix(TRAILER_PREFIX), value))
            elif lower not in _DROPPED:
                kept.append((name, value))
        # Not every server takes None.
        arguments: tuple[Any, ...] = (exc_info,) if exc_info else ()
        return self._start_response(status, kept, *arguments)

    def send(self) -> Iterator[bytes]:
        """Send the trailers, as the last step of a body that has no more pieces."""
        # The app may have read all of a stream, and have given another response.
        pairs = [*self._status.items()] if "grpc-status" in self._status else self.of_stream
        # A hook may have named what is no metadata.
        self._send(pairs + Metadata.from_headers(self._metadata).to_headers() if self._metadata else pairs)
        yield from ()
