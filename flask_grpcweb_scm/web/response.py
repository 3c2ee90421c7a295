"""The HTTP responses of calls."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from flask import Flask, Response, current_app, has_app_context
from werkzeug.datastructures import Headers
from werkzeug.wsgi import get_content_length, get_current_url

from flask_grpcweb_scm.observe import Observation
from flask_grpcweb_scm.rpc import IncomingCall, Pairs, Reply, RpcError, RpcProtocol, StreamReply
from flask_grpcweb_scm.rpc.protocols import is_response
from flask_grpcweb_scm.signals import CALL_KEY, logger
from flask_grpcweb_scm.web.body import drain, read_body
from flask_grpcweb_scm.web.http_errors import NOT_FOR_CALLERS, propagates_exceptions, rpc_error_from_http
from flask_grpcweb_scm.web.peers import end_reading

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

__all__ = [
    "SCOPE_KEY",
    "Closing",
    "GrpcWebResponse",
    "Release",
    "RequestScope",
    "drained",
    "is_ours",
    "must_close",
    "refusal",
    "respond",
    "response_class",
    "scope_of",
    "translated",
]

Release = Callable[[BaseException | None], object]
"""Ends the contexts of a request, whose teardown functions get the error, if there is one."""

SCOPE_KEY = "flask_grpcweb_scm.scope"
"""The key of the WSGI environment that has the :class:`RequestScope` of a request."""

GRANIAN_BUFFER_BYTES = 8192

# nginx would hold messages back until its buffer is full.
_UNBUFFERED = ("x-accel-buffering", "no")


class RequestScope:
    """The outermost that is known of a request for an RPC."""

    head: tuple[str, Pairs] | None = None
    """Status and headers of the response that the server is told of when the contexts of the request have ended."""
    has_ended = False
    """True once they have."""
    is_started = False
    """True once the server has been told of :attr:`head`."""
    write: Callable[[bytes], object] | None = None
    """The server's function for pieces that the response does not return."""
    is_routed = False
    """True once Flask has sent the request to the blueprint, perhaps with a copy of the environment."""
    is_ours = False
    """True when the response is of this extension, not one that the app gives instead."""
    stream: StreamReply | None = None
    """The stream that keeps the contexts of the request."""
    path = ""
    """The path that Flask has routed."""
    refusal: RpcError | None = None
    """The status of the last response that was made in place of one to a call."""
    protocol = ""
    """The name of the protocol of the refusal."""
    reason = ""
    """The reason of the refusal, for the log."""
    observation: Observation | None = None
    """The request under observation, if somebody watches."""
    replaced: tuple[str, Pairs] | None = None
    """Status and headers of a response that is not sent: another one takes its place."""
    written: list[bytes] | None = None
    """The pieces that the replaced response has written, beside those it returns."""
    failed: Response | None = None
    """The response in place of any other, because an observer has raised."""

    def __init__(self) -> None:
        self.started = time.monotonic()


def scope_of(environ: WSGIEnvironment) -> RequestScope:
    """The scope of a request; one that nobody looks at when the request came to Flask by another way."""
    scope: RequestScope = environ.get(SCOPE_KEY) or RequestScope()
    return scope


class GrpcWebResponse(Response):
    """A response of ours, to be told from those that hooks and error handlers of the app make.

    Most have nobody who looks at them on their way out, and many hooks nothing but the headers. Each attribute of the
    base class is made when somebody uses it; until then the parts are kept as they are.
    """

    def __init__(
        self, pieces: Iterable[bytes] | str = (), headers: Pairs | None = None, status: str | int = "200 OK"
    ) -> None:
        if type(self) is GrpcWebResponse and type(status) is str and type(pieces) is not str:
            vars(self)["_parts"] = status, headers or [], pieces
        else:
            # By name, as Flask makes its own: the class of an app may take nothing else.
            super().__init__(pieces, status=status, headers=headers)

    def __getattr__(self, name: str) -> Any:
        # Called for what is missing.
        own = vars(self)
        parts: tuple[str, Pairs, Iterable[bytes]] | None = own.get("_parts")
        if parts is None or name not in _MADE_AT_USE:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)
        value = own[name] = _MADE_AT_USE[name](*parts)
        return value

    def __setattr__(self, name: str, value: object) -> None:
        if name == "__class__":
            # Another class does not know of the parts.
            for made in _MADE_AT_USE:
                getattr(self, made)
            vars(self).pop("_parts", None)
        super().__setattr__(name, value)

    def replace_headers(self, replace: Callable[[Pairs], Pairs]) -> None:
        """Replace all headers by others, made from them."""
        own = vars(self)
        if "headers" in own or "_parts" not in own:
            replaced = replace([*self.headers])
            self.headers.clear()
            self.headers.extend(replaced)
        else:
            status, headers, pieces = own["_parts"]
            own["_parts"] = status, replace(headers), pieces

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Send it."""
        scope_of(environ).is_ours = True
        own = vars(self)
        # The base class looks at every piece whether it is text.
        if "_parts" not in own or not own.keys() <= _UNREAD or environ["REQUEST_METHOD"] == "HEAD":
            return super().__call__(environ, start_response)
        status, headers, pieces = own["_parts"]
        if own.get("_status", status) != status:
            return super().__call__(environ, start_response)
        if "headers" in own:
            headers = [*own["headers"]]
            names = {name.lower() for name, _ in headers}
            if not names.isdisjoint(_REWRITTEN) or ("content-length" not in names and type(pieces) is list):
                return super().__call__(environ, start_response)
        start_response(status, headers)
        return pieces  # type: ignore[no-any-return]

    def get_app_iter(self, environ: WSGIEnvironment) -> Iterable[bytes]:
        """Send a stream as it is: the base class looks at every piece whether it is text."""
        if isinstance(self.response, StreamReply):
            return Closing(self.response, self.close)
        return super().get_app_iter(environ)


def _headers_of(status: str, headers: Pairs, pieces: Iterable[bytes]) -> Headers:
    made = Headers(headers)
    return made if "content-type" in made else Response(headers=made).headers


# As the base class makes them.
_MADE_AT_USE: dict[str, Callable[[str, Pairs, Iterable[bytes]], Any]] = {
    "headers": _headers_of,
    "_status": lambda status, headers, pieces: status,
    "_status_code": lambda status, headers, pieces: int(status[:3]),
    "response": lambda status, headers, pieces: pieces,
    "direct_passthrough": lambda status, headers, pieces: False,
    "_on_close": lambda status, headers, pieces: [],
}
_UNREAD = {"_parts", "headers", "_status", "_status_code"}
_REWRITTEN = {"location", "content-location"}


def response_class(app: Flask) -> type[GrpcWebResponse]:
    """The class of our responses in an app, which may have a class of its own for all responses."""
    return GrpcWebResponse if app.response_class is Response else _combined(app.response_class)  # type: ignore[arg-type]


@functools.lru_cache
def _combined(own: type[Response]) -> type[GrpcWebResponse]:
    return type(GrpcWebResponse.__name__, (GrpcWebResponse, own), {})


def respond(
    reply: Reply | StreamReply, call: IncomingCall, hold: Callable[[StreamReply], Release]
) -> tuple[str, Pairs, Iterable[bytes]]:
    """The HTTP status, the headers and the body of the response to a call.

    :param hold: keeps the contexts of the request for a stream; returns what ends them.
    """
    if isinstance(reply, StreamReply):
        reply.on_close = functools.partial(_end_stream, call, hold(reply))
        # Messages that may wait for the next ones may wait in nginx too, and leave the worker to others.
        unbuffered = [] if call.endpoint.method.batch else [_UNBUFFERED]
        return "200 OK", [*reply.headers, *unbuffered], reply
    status, headers, pieces = reply
    if not call.is_read and must_close(call.chunks, call.environ, call, call.endpoint.authenticate is None):
        return status, [*headers, ("connection", "close")], pieces
    return status, headers, pieces


def _end_stream(call: IncomingCall, release: Release) -> None:
    raises = not has_app_context() or propagates_exceptions(current_app)
    try:
        drain(call.chunks, call.environ)
    finally:
        call.close()
        try:
            release(call.unhandled)
        except Exception:
            if raises:
                raise
            # The server would cut off the response, of which nothing is missing.
            logger.exception("a teardown function failed after call %s of %s", call.call_id, call.path)


def must_close(chunks: Iterator[bytes], environ: WSGIEnvironment, call: IncomingCall | None, is_open: bool) -> bool:
    """Read the rest of a request's body; when that is too much, the connection cannot go on.

    :param call: None when the request did not become one.
    :param is_open: True where nobody has to say who calls: everybody may send a body.
    """
    if environ.get("SERVER_SOFTWARE") == "Granian" and not is_open and (call is None or "caller" not in vars(call)):
        # It waits for ever for a client that stops. It drops by itself what has arrived, up to a buffer of its own, and
        # closes the connection when that is not all.
        return "HTTP_TRANSFER_ENCODING" in environ or (get_content_length(environ) or 0) > GRANIAN_BUFFER_BYTES
    if drain(chunks, environ):
        return False
    end_reading(environ)
    # PEP 3333 forbids to close it. waitress insists on that, and has read the whole body before it calls the app.
    return "waitress.client_disconnected" not in environ


def drained(headers: Pairs, app: Flask, environ: WSGIEnvironment) -> Pairs:
    """The headers of a response to a request whose body is not going to be used, which is read here."""
    call: IncomingCall | None = environ.get(CALL_KEY)
    # Not read again by a second reader: where the input is a bare socket, it would wait for bytes that do not come.
    chunks = read_body(environ, app.config["MAX_CONTENT_LENGTH"]) if call is None else call.chunks
    if must_close(chunks, environ, call, app.extensions["grpcweb_scm"].authenticate is None):
        return [*headers, ("connection", "close")]
    return headers


# Responses in place of one to a call


def refusal(
    app: Flask,
    protocol: RpcProtocol,
    error: RpcError,
    environ: WSGIEnvironment,
    added: Sequence[tuple[str, str]] = (),
    *,
    is_known: bool = True,
) -> GrpcWebResponse:
    """The response to a call whose body is not going to be used.

    :param added: headers that are not of this extension.
    :param is_known: False when there is no such method.
    """
    scope = scope_of(environ)
    scope.refusal, scope.protocol = error, protocol.name
    status, headers, pieces = protocol.refusal(error, added, is_known=is_known)
    return response_class(app)(pieces, drained(headers, app, environ), status)


def translated(app: Flask, protocol: RpcProtocol | None, response: Response, environ: WSGIEnvironment) -> Response:
    """The response of this extension for one that the app gives instead (from a hook, an error handler).

    :param protocol: None when the request is of none; then it is the app's response.
    """
    if protocol is None or isinstance(response, GrpcWebResponse) or is_ours(response.status, response.headers, environ):
        return response
    error = rpc_error_from_http(response, url=get_current_url(environ))
    return refusal(app, protocol, error, environ, [pair for pair in response.headers if _is_kept(pair[0].lower())])


def _is_kept(name: str) -> bool:
    # One status, which is ours.
    return name not in NOT_FOR_CALLERS and not name.startswith("grpc-")


def is_ours(status: str, headers: Iterable[tuple[str, str]], environ: WSGIEnvironment) -> bool:
    """Return whether a response is of this extension, perhaps with something of a hook around it.

    Whoever says that a cache has the response already says so of ours.
    """
    if status.startswith("304") and environ["REQUEST_METHOD"] in {"GET", "HEAD"}:
        return not environ.keys().isdisjoint({"HTTP_IF_NONE_MATCH", "HTTP_IF_MODIFIED_SINCE"})
    return is_response(status, headers, environ.get(CALL_KEY))


class Closing:
    """An iterable with a function for the server to call at its end."""

    def __init__(self, pieces: Iterable[bytes], close: Callable[[], object]) -> None:
        self._pieces = pieces
        self.close = close

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._pieces)
