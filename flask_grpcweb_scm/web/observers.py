"""Observers of the calls of an app: its log and its signals; and the requests that do not become calls."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

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
)
from flask_grpcweb_scm.rpc.protocols import Protocols
from flask_grpcweb_scm.signals import rpc_finished, rpc_started
from flask_grpcweb_scm.web.call_log import CallLog, is_read
from flask_grpcweb_scm.web.flask_internals import is_view_outermost
from flask_grpcweb_scm.web.http_errors import rpc_error_from_http, status_in
from flask_grpcweb_scm.web.response import SCOPE_KEY, RequestScope, is_ours
from flask_grpcweb_scm.wire import Metadata

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

__all__ = ["Observers", "RefusedCall"]


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
        if self._signals.are_received():
            observers.append(self._signals)
        return observers

    def watch(
        self,
        call: IncomingCall,
        serve: Callable[[IncomingCall], Reply | StreamReply],
        observers: Sequence[Observer],
    ) -> Reply | StreamReply:
        """Serve a call, up to the first message of a stream, and tell observers of it."""
        found = call.environ.get(SCOPE_KEY)
        has_scope = found is not None
        scope: RequestScope = found or RequestScope()
        call.environ[SCOPE_KEY] = scope
        observation = scope.observation = Observation(call, scope.started)
        try:
            observation.begin(observers)
            reply = serve(call)
        except BaseException as error:
            # Of another exception, a receiver's, the app makes a response.
            if not has_scope or not isinstance(error, Exception):
                observation.end(RpcError(StatusCode.INTERNAL, type(error).__name__))
            raise
        if isinstance(reply, StreamReply):
            reply.on_end = lambda: observation.end(call.status)
            return reply
        call.bytes_sent = sum(map(len, reply[2]))
        if is_view_outermost(has_scope):
            observation.end(call.status)
        return reply

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
        self._app = app
        self._seen: tuple[object, object] = None, None
        """The changes of the signals after which nothing was received here, so that others' receivers cost nothing."""

    def are_received(self) -> bool:
        """Return whether something receives signals of this app."""
        started, finished = rpc_started, rpc_finished
        if not (finished.receivers or started.receivers):
            return False
        # Before looking: what comes later is another change.
        changes = started.change, finished.change
        if changes == self._seen:
            return False
        if started.has_receivers_for(self._app) or finished.has_receivers_for(self._app):
            return True
        self._seen = changes
        return False

    def begin(self, call: Observed, started: float) -> Callable[[Outcome], object]:
        """Send rpc_started."""
        if rpc_started.receivers:
            rpc_started.send(self._app, context=call)
        return functools.partial(self._end, call)

    def _end(self, call: Observed, outcome: Outcome) -> None:
        if rpc_finished.receivers:
            rpc_finished.send(self._app, context=call, code=outcome.code, seconds=outcome.seconds)
