"""Observers of the calls of an app: its log and its signals; and the requests that do not become calls."""

from __future__ import annotations

import functools
import inspect
import logging
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from logging import DEBUG, INFO, NOTSET, Logger
from types import MethodType
from typing import TYPE_CHECKING, Any

from flask import Flask, Response
from werkzeug.wsgi import get_current_url, get_path_info

from flask_grpcweb_scm.observe import Observation, Observed, Observer, Outcome
from flask_grpcweb_scm.rpc import (
    CallContext,
    CalledMethod,
    IncomingCall,
    Pairs,
    Reply,
    RpcError,
    StatusCode,
    StreamReply,
    peer_name,
    serve_stream,
    serve_unary,
)
from flask_grpcweb_scm.rpc.protocols import Protocols
from flask_grpcweb_scm.signals import RpcSignal, logger, rpc_finished, rpc_started
from flask_grpcweb_scm.web.call_log import CallLog, is_read
from flask_grpcweb_scm.web.flask_internals import current_context
from flask_grpcweb_scm.web.http_errors import rpc_error_from_http, status_in
from flask_grpcweb_scm.web.late_contexts import LateRequestContext
from flask_grpcweb_scm.web.response import SCOPE_KEY, RequestScope, is_ours
from flask_grpcweb_scm.wire import Metadata

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

__all__ = ["Observers", "RefusedCall"]

_root = logging.getLogger()
_OK = StatusCode.OK
"""To look for it takes Python 3.11 as long as to call a short function."""


class Observers:
    """Those who watch the calls of an app.

    :param methods: by path, with the prefix of the app.
    :param others: beside the log and the receivers of signals.
    """

    def __init__(
        self,
        app: Flask,
        methods: Mapping[str, CalledMethod],
        protocols: Protocols,
        others: Sequence[Observer] = (),
    ) -> None:
        self._methods = methods
        self._protocols = protocols
        self._others = others
        self._log, self._signals = CallLog(), CallSignals(app)

    def present(self) -> Sequence[Observer]:
        """Those who watch now."""
        # The log inside of the others, so that a line is written while the span of its call is the current one. The
        # signals last: a receiver that raises keeps no call out of the log.
        observers = [*self._others]
        if is_read():
            observers.append(self._log)
        if self._signals.started.are_there() or self._signals.finished.are_there():
            observers.append(self._signals)
        return observers

    def watch(self, call: IncomingCall) -> Reply | StreamReply:
        """Serve a call, up to the first message of a stream, and tell those who watch of it."""
        # What the logger says itself is asked for at the end, and takes three times as long.
        level = (logger.level or _root.level) if logger.__class__ is Logger else NOTSET
        is_logged = level <= INFO
        if not (is_logged or rpc_finished.receivers or rpc_started.receivers or self._others):
            # This is all that most calls pay for observers.
            return serve_stream(call) if call.endpoint.method.server_streaming else serve_unary(call)
        method = call.endpoint.method
        if (
            self._others
            or method.server_streaming
            or method.service.is_probe
            or SCOPE_KEY in call.environ
            or (rpc_started.receivers and self._signals.started.are_there())
            or (is_logged and level <= DEBUG and logger.isEnabledFor(DEBUG))
        ):
            return self._watch(call)
        # Nobody sees the beginning, and nothing else is known of the request yet.
        started = time.monotonic()
        try:
            reply = serve_unary(call)
        except BaseException as error:
            self._observe_end(call, started).end(RpcError(StatusCode.INTERNAL, type(error).__name__))
            raise
        pieces = reply[2]
        # Of most there is one.
        call.bytes_sent = len(pieces[0]) if len(pieces) == 1 else sum(map(len, pieces))
        context = current_context()
        if not getattr(context, "is_outermost", True):
            self._observe_end(call, started)
            return reply
        status, seconds = call.status, time.monotonic() - started
        try:
            try:
                if rpc_finished.receivers:
                    code = _OK if status is None else status.code
                    self._signals.finished.call({"context": call, "code": code, "seconds": seconds})
            finally:
                if is_logged and logger.isEnabledFor(INFO):
                    self._log.write(call, status, seconds)
            # Whatever receivers, or filters of the log, have used: the response is final.
            context.is_outermost = True
        except BaseException:
            # What the app makes of it is the response to a call that has ended.
            _keep(call, Observation(call, started)).end(status)
            raise
        return reply

    def _watch(self, call: IncomingCall) -> Reply | StreamReply:
        method = call.endpoint.method
        serve = serve_stream if method.server_streaming else serve_unary
        observers = () if method.service.is_probe else self.present()
        if not observers:
            return serve(call)
        found = call.environ.get(SCOPE_KEY)
        has_scope = found is not None
        scope: RequestScope = found or RequestScope()
        call.environ[SCOPE_KEY] = scope
        observation = scope.observation = Observation(call, scope.started)
        try:
            observation.begin(observers)
            reply = serve(call)
        except BaseException as error:
            # Of another exception, a receiver's, the app makes a response, which is the end.
            is_followed = has_scope or isinstance(current_context(), LateRequestContext)
            if not is_followed or not isinstance(error, Exception):
                observation.end(RpcError(StatusCode.INTERNAL, type(error).__name__))
            raise
        if isinstance(reply, StreamReply):
            reply.on_end = lambda: observation.end(call.status)
            return reply
        call.bytes_sent = sum(map(len, reply[2]))
        context = current_context()
        if getattr(context, "is_outermost", not has_scope):
            observation.end(call.status)
            context.is_outermost = True
        return reply

    def _observe_end(self, call: IncomingCall, started: float) -> Observation:
        return _keep(call, Observation(call, started, [part.ending(call) for part in (self._log, self._signals)]))

    def finish(self, scope: RequestScope, environ: WSGIEnvironment, replaced: tuple[str, Pairs] | None = None) -> None:
        """Tell of the end of a request whose response is final, unless it is a stream, which has an end of its own.

        :param replaced: status and headers of the app's response in place of ours.
        """
        if scope.observation is None and not self.present():
            return
        refusal, reason = scope.refusal, scope.reason
        if replaced is not None and is_ours(*replaced, environ):
            # Around a response of ours it says nothing new.
            if scope.observation is None:
                refusal, reason = status_in(replaced[1]), "gRPC-Web of the app"
        elif replaced is not None:
            response = Response(b"", *replaced)
            refusal = rpc_error_from_http(response, url=get_current_url(environ))
            reason = f"HTTP {response.status_code} of the app"
        if scope.observation is None and refusal is not None:
            path = scope.path or get_path_info(environ)
            spoken = None if replaced is None else self._protocols.find(environ)
            refused = RefusedCall(self._methods.get(path), path, environ, spoken.name if spoken else scope.protocol)
            scope.observation = Observation(refused, scope.started)
            scope.observation.begin(self.present())
        if scope.observation is not None and (refusal is not None or scope.stream is None):
            scope.observation.end(refusal or getattr(scope.observation.call, "status", None), reason)


def _keep(call: IncomingCall, observation: Observation) -> Observation:
    scope = call.environ[SCOPE_KEY] = RequestScope()
    scope.observation = observation
    return observation


class RefusedCall(CallContext):
    """A request for an RPC that did not become a call.

    :param method: at the path, if there is one.
    """

    bytes_received = bytes_sent = 0

    def __init__(self, method: CalledMethod | None, path: str, environ: WSGIEnvironment, protocol: str) -> None:
        super().__init__(method, peer=peer_name(environ.get("REMOTE_ADDR")))
        self.protocol = protocol
        self.requested_path = path
        self.environ = environ

    @property
    def path(self) -> str:
        """The path of the method, or the caller's choice."""
        return super().path or self.requested_path

    @functools.cached_property
    def metadata(self) -> Metadata:
        """Sent by the caller."""
        headers = ((key[5:].replace("_", "-"), self.environ[key]) for key in self.environ if key.startswith("HTTP_"))
        return Metadata.from_headers(headers)


class CallSignals:
    """Sends the signals of an app."""

    def __init__(self, app: Flask) -> None:
        self.started, self.finished = Receivers(rpc_started, app), Receivers(rpc_finished, app)

    def begin(self, call: Observed, started: float) -> Callable[[Outcome], object]:
        """Send rpc_started."""
        self.started.call({"context": call})
        return self.ending(call)

    def ending(self, call: Observed) -> Callable[[Outcome], object]:
        """The function that the end of a call calls."""
        return lambda end: self.finished.call({"context": call, "code": end.code, "seconds": end.seconds})


class Receivers:
    """The receivers of a signal that an app sends, which are looked for again when they may be others."""

    def __init__(self, signal: RpcSignal, app: Flask) -> None:
        self._signal, self._app = signal, app
        self._found: tuple[object, Sequence[Callable[[], Any]] | None] = None, ()
        """The change of the signal after which they were found; and what returns each of them, or None once it is no
        more. None in their place: blinker knows what to do."""

    def are_there(self) -> bool:
        """Return whether something receives the signal."""
        return self._find() != ()

    def call(self, given: Mapping[str, Any]) -> None:
        """Call them as ``Signal.send()`` does."""
        found = self._find()
        if found is None:
            self._signal.send(self._app, **given)
        elif not self._signal.is_muted:
            for get in found:
                receiver = get()
                if receiver is not None:
                    receiver(self._app, **given)

    def _find(self) -> Sequence[Callable[[], Any]] | None:
        signal = self._signal
        if not signal.receivers:
            return ()
        # Whoever has replaced one of these watches signals.
        if RpcSignal.send is not _SEND or RpcSignal.receivers_for is not _RECEIVERS_FOR or "send" in signal.__dict__:
            return None
        changed, found = self._found
        # Before looking: what comes later is another change.
        change = signal.change
        if change is not changed:
            found = self._look()
            self._found = change, found
        return found

    def _look(self) -> Sequence[Callable[[], Any]] | None:
        try:
            return tuple(map(_reference, self._signal.receivers_for(self._app)))
        except TypeError:
            # There are no weak references to it; or it is a coroutine function.
            return None


def _reference(receiver: Any) -> Callable[[], Any]:
    """A weak reference, as blinker has of most; of the others it has the only one that counts."""
    if inspect.iscoroutinefunction(receiver):
        raise TypeError("blinker calls no coroutine functions")
    return weakref.WeakMethod(receiver) if isinstance(receiver, MethodType) else weakref.ref(receiver)


_SEND, _RECEIVERS_FOR = RpcSignal.send, RpcSignal.receivers_for
