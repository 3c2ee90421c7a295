"""The WSGI application around Flask's: what holds for every RPC, whatever the app makes of its response.

Flask ends the contexts of a request when its view returns. A stream needs them until its last message, and everything
that stands between the two (hooks, sessions, signals, middlewares, the server) may drop the response on the way. So a
request for a stream runs in a :class:`contextvars.Context` of its own, and so does each step of its response: the
worker thread never has the contexts of a stream, and what is dropped leaves none there. They end when the response is
closed.
"""

from __future__ import annotations

import contextvars
import functools
import itertools
import sys
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from flask import Blueprint, Flask, Response, has_request_context, request
from werkzeug.wsgi import get_host, get_path_info

from flask_grpcweb_scm.rpc import RpcMethod, StreamReply
from flask_grpcweb_scm.signals import CALL_KEY, active_call, logger
from flask_grpcweb_scm.web.app_calls import AppCalls
from flask_grpcweb_scm.web.cors import expose_headers
from flask_grpcweb_scm.web.flask_internals import visible
from flask_grpcweb_scm.web.http_errors import internal_error, propagates_exceptions
from flask_grpcweb_scm.web.peers import SOCKET_KEY, PatientAgain
from flask_grpcweb_scm.web.response import (
    SCOPE_KEY,
    Closing,
    RequestScope,
    drained,
    is_ours,
    refusal,
    scope_of,
    translated,
)

if TYPE_CHECKING:
    from _typeshed import OptExcInfo
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

__all__ = ["RpcApp", "close_body", "in_own_context"]

Headers = list[tuple[str, str]]
Respond = Callable[[RequestScope, "WSGIEnvironment", "StartResponse"], Iterable[bytes]]

# Debuggers and test clients ask for the contexts of a request by it.
_PRESERVE_CONTEXT = "werkzeug.debug.preserve_context"
_NOTHING = nullcontext()


class RpcApp:
    """A WSGI application around that of an app.

    :param blueprint: of the RPCs, which is registered.
    :param methods: all that are served, by path.
    :param host: that serves them; empty when any does.
    """

    def __init__(self, calls: AppCalls, blueprint: Blueprint, methods: Mapping[str, RpcMethod], host: str = "") -> None:
        self._calls = calls
        self._app = app = calls.app
        self._protocols = calls.protocols
        self._blueprint = blueprint
        self._flask: WSGIApplication = app.wsgi_app
        # As a middleware inside of this application may, and the host.
        self._may_change_path = getattr(self._flask, "__func__", None) is not Flask.wsgi_app
        self._methods = methods
        self._host = host

    def wsgi_app(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Have an RPC served by Flask in such a way, and any other request by Flask alone."""
        if self._host and not self._may_change_path and get_host(environ).lower() != self._host:
            return self._flask(environ, start_response)
        method = self._methods.get(environ.get("PATH_INFO", ""))
        if method is None:
            # Of other requests than POST, every page of the app could be one.
            is_maybe = self._may_change_path and environ["REQUEST_METHOD"] == "POST"
            protocol = (self._protocols.find if is_maybe else self._protocols.claim)(environ)
            if protocol is None:
                return self._flask(environ, start_response)
            is_stream = self._may_change_path and protocol.has_streams
        else:
            is_stream = method.server_streaming
        return self.serve(self._flask, environ, start_response, is_stream=is_stream)

    def serve(
        self, flask: WSGIApplication, environ: WSGIEnvironment, start_response: StartResponse, *, is_stream: bool
    ) -> Iterable[bytes]:
        """Have an RPC served by Flask, or by what stands for it.

        :param is_stream: true when the response may be a stream.
        """
        enter = in_own_context if is_stream else _in_this_context
        respond = functools.partial(self._respond, flask)
        if SOCKET_KEY in environ:
            return PatientAgain(environ, functools.partial(enter, respond, environ, start_response))
        return enter(respond, environ, start_response)

    def _respond(
        self, flask: WSGIApplication, scope: RequestScope, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        """Send Flask's response; in place of one that is not of this extension, the status that it stands for."""
        app = self._app
        if "csrf" in app.extensions:
            # Here, because Flask-WTF may be initialised after us.
            self._exempt_from_csrf()
        start = functools.partial(self._start, scope, environ, start_response)
        try:
            with _preserving(scope, environ) if _PRESERVE_CONTEXT in environ else _NOTHING:
                pieces = flask(environ, start)
                if not (scope.head or scope.replaced):
                    pieces = _begun(pieces)
        except Exception:
            protocol = self._protocols.find(environ)
            if protocol is None or not self._is_routed_here(scope, environ, "500"):
                raise
            if propagates_exceptions(app):
                self._calls.observers.finish(scope, environ, ("500", []))
                raise
            # An error handler has failed, or a teardown function.
            logger.exception("%r failed outside of the app's error handlers", get_path_info(environ))
            # PEP 3333: "it is a fatal error to call start_response without the exc_info argument if [it] has already
            # been called".
            exc_info = sys.exc_info() if scope.is_started else None
            scope.has_ended = True
            refused = refusal(app, protocol, internal_error(), environ)
            return refused(environ, functools.partial(start, exc_info=exc_info))
        scope.has_ended = True
        if scope.replaced is None:
            _send_head(scope, start_response)
            return pieces if scope.refusal is None else _complete(pieces)
        try:
            response = scope.failed
            if response is None:
                response = Response(itertools.chain(scope.written or (), pieces), *scope.replaced)
            sent = translated(app, self._protocols.find(environ), response, environ)
            if sent is not response:
                response.close()
            return sent(environ, start)
        finally:
            close_body(pieces)

    def _start(
        self,
        scope: RequestScope,
        environ: WSGIEnvironment,
        start_response: StartResponse,
        status: str,
        headers: Headers,
        exc_info: OptExcInfo | None = None,
    ) -> Callable[[bytes], object]:
        """Start a response of Flask, or note what is replaced."""
        if scope.is_ours and not (scope.observation or scope.refusal or "HTTP_ORIGIN" in environ or exc_info):
            # Most responses.
            scope.is_routed = True
            return _hold_head(scope, start_response, status, headers)
        # Noted, because an observer may raise, and the route is not known outside of the contexts.
        is_routed = scope.is_routed = scope.is_ours or self._is_routed_here(scope, environ, status)
        is_of_app = is_routed and not scope.is_ours
        is_replaced = is_of_app and not is_ours(status, headers, environ)
        if is_of_app and self._protocols.find(environ) is None:
            is_of_app = is_replaced = False
            headers = drained(headers, self._app, environ)
        if is_of_app or scope.observation or scope.refusal:
            # While the contexts of the request are there.
            failed = self._calls.finish(scope, environ, (status, headers) if is_of_app else None)
            scope.failed = scope.failed if failed is None else failed
            if is_replaced or failed is not None:
                scope.replaced, scope.written = (status, headers), scope.written or []
                return scope.written.append
        # Of the response to a preflight no page reads a header.
        if is_routed and "HTTP_ORIGIN" in environ and environ["REQUEST_METHOD"] != "OPTIONS":
            headers = expose_headers(headers)
        return _hold_head(scope, start_response, status, headers, exc_info)

    def _exempt_from_csrf(self) -> None:
        # Its tokens are for forms: browsers send gRPC-Web's content types across origins only after a preflight.
        self._app.extensions["csrf"].exempt(self._blueprint)

    def _is_routed_here(self, scope: RequestScope, environ: WSGIEnvironment, status: str) -> bool:
        """Return whether a response of the app would stand in place of one of this extension."""
        if scope.is_routed:
            return True
        # Not by environ["werkzeug.request"], which is another one when something else has used the environment.
        is_current = has_request_context() and scope_of(request.environ) is scope
        endpoint = request.endpoint if is_current else None
        if endpoint is None:
            # Before Flask has routed a request, only a failure is for the caller of an RPC.
            return status.startswith("5") and environ.get("PATH_INFO", "") in self._methods
        return endpoint.startswith(f"{self._blueprint.name}.")


def _hold_head(
    scope: RequestScope,
    start_response: StartResponse,
    status: str,
    headers: Headers,
    exc_info: OptExcInfo | None = None,
) -> Callable[[bytes], object]:
    """Start a response once the contexts of its request have ended.

    A teardown function that fails has it replaced, and gunicorn would send the headers of both.
    """
    if scope.has_ended:
        return start_response(status, headers, exc_info) if exc_info else start_response(status, headers)
    scope.head = status, headers
    return functools.partial(_write, scope, start_response)


def _send_head(scope: RequestScope, start_response: StartResponse) -> None:
    if scope.head is not None and not scope.is_started:
        scope.is_started = True
        scope.write = start_response(*scope.head)


def _write(scope: RequestScope, start_response: StartResponse, data: bytes) -> None:
    _send_head(scope, start_response)
    assert scope.write is not None
    scope.write(data)


def _in_this_context(respond: Respond, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Respond as Flask does: what the app puts into context variables is there for middlewares around it."""
    scope = environ[SCOPE_KEY] = RequestScope()
    token = active_call.set(scope)
    try:
        return respond(scope, environ, start_response)
    finally:
        active_call.reset(token)
        environ.pop(CALL_KEY, None)


def in_own_context(respond: Respond, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Respond in a new copy of the thread's context, and send each piece of a stream in it."""
    scope = environ[SCOPE_KEY] = RequestScope()
    context = contextvars.copy_context()
    context.run(active_call.set, scope)
    try:
        pieces = context.run(respond, scope, environ, start_response)
    except BaseException as error:
        if scope.stream is not None:
            # Not in place of the error that an error handler has failed for.
            scope.stream.call.unhandled = scope.stream.call.unhandled or error
            context.run(scope.stream.close)
        raise
    if scope.stream is not None:
        if scope.refusal is not None:
            # The app has responded in its place, and nothing of it is sent. Test clients close no response.
            context.run(scope.stream.close)
        return _Body(context, pieces, scope.stream)
    if isinstance(pieces, list):
        return pieces
    # Agents keep their transaction in a context variable, and end it when the response is closed.
    steps = _steps(context, functools.partial(next, iter(pieces)))
    return Closing(steps, functools.partial(context.run, close_body, pieces))


def _steps(context: contextvars.Context, step: Callable[[], bytes]) -> Iterator[bytes]:
    # Not by a generator: of ten thousand messages that is a twentieth of the time.
    return map(context.run, itertools.repeat(step))


def _begun(pieces: Iterable[bytes]) -> Iterable[bytes]:
    """Take the first step of a response: a middleware that is a generator calls Flask only then."""
    iterator = iter(pieces)
    first = [*itertools.islice(iterator, 1)]
    return Closing(itertools.chain(first, iterator), functools.partial(close_body, pieces))


def _complete(pieces: Iterable[bytes]) -> list[bytes]:
    """The pieces of a refusal in a list, which tells a server over HTTP/2 whether anything follows the headers.

    Clients of gRPC take a status in headers for one only when nothing does.
    """
    try:
        return [piece for piece in pieces if piece]
    finally:
        close_body(pieces)


class _Body:
    """The body of a response for which a stream was opened, even if nothing of the stream is in it."""

    def __init__(self, context: contextvars.Context, pieces: Iterable[bytes], stream: StreamReply) -> None:
        self._step = functools.partial(next, iter(pieces))
        self._iterator = _steps(context, self._step)
        # Servers and middlewares may drop what they should close. The stream is not garbage before it has ended.
        self._end = _Ending(self._step, _Ending.__call__)
        self._end.run, self._end.pieces, self._end.stream = context.run, pieces, stream
        _open.add(self._end)

    def __iter__(self) -> Iterator[bytes]:
        return self._iterator

    def close(self) -> None:
        """End the stream, and with it the contexts of its request."""
        self._end()


class _Ending(weakref.ref[Any]):
    """The end of a response, as weakref.finalize() would do it in twice the time."""

    __slots__ = ("pieces", "run", "stream")
    run: Callable[..., object]
    pieces: Iterable[bytes]
    stream: StreamReply

    def __call__(self) -> None:
        if self in _open:
            self.run(self._close)

    def _close(self) -> None:
        # Not before the context is entered, which it cannot be while another thread is in the middle of a step.
        _open.remove(self)
        try:
            close_body(self.pieces)
        finally:
            self.stream.close()

    __eq__ = object.__eq__
    __hash__ = object.__hash__


_open: set[_Ending] = set()
"""The endings of the responses that are not closed."""


def close_body(pieces: Iterable[bytes]) -> None:
    """Close the body of a response, as servers do."""
    close: Callable[[], object] = getattr(pieces, "close", lambda: None)
    close()


@contextmanager
def _preserving(scope: RequestScope, environ: WSGIEnvironment) -> Iterator[None]:
    """Preserve the contexts of a request, as is wanted; those of a stream are shown, and end with the stream."""
    preserve = environ[_PRESERVE_CONTEXT]
    contexts: list[Any] = []
    environ[_PRESERVE_CONTEXT] = contexts.append
    try:
        yield
    finally:
        for context in contexts:
            preserve(context if scope.stream is None else visible(context))
