"""Observers of the calls of an app: its log and its signals; and the requests that do not become calls."""

from __future__ import annotations

import functools
import logging
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
from flask_grpcweb_scm.signals import logger, rpc_finished, rpc_started
from flask_grpcweb_scm.web.flask_internals import is_view_outermost
from flask_grpcweb_scm.web.http_errors import rpc_error_from_http, status_in
from flask_grpcweb_scm.web.response import SCOPE_KEY, RequestScope, is_ours
from flask_grpcweb_scm.wire import Metadata

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

__all__ = ["Observers", "RefusedCall", "is_watched"]

NAME_CHARACTERS = 80
"""Of a caller's name in a line: some authenticators take it from the request."""


def is_watched() -> bool:
    """Return whether somebody reads the log of calls, or receives their signals."""
    return bool(logger.isEnabledFor(logging.INFO) or rpc_started.receivers or rpc_finished.receivers)


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
        self._has_others = bool(others)
        # Inside of the others, so that a line is written while the span of its call is the current one. The signals
        # last: a receiver that raises keeps no call out of the log.
        self._observers: Sequence[Observer] = [*others, CallLog(), CallSignals(app)]

    def watch(self, call: IncomingCall, serve: Callable[[IncomingCall], Reply | StreamReply]) -> Reply | StreamReply:
        """Serve a call, up to the first message of a stream, and tell of it."""
        has_scope = SCOPE_KEY in call.environ
        scope: RequestScope = call.environ.setdefault(SCOPE_KEY, RequestScope())
        observation = scope.observation = Observation(call, scope.started)
        try:
            observation.begin(self._observers)
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
        if scope.observation is None and not (self._has_others or is_watched()):
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
            scope.observation.begin(self._observers)
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


class CallLog:
    """Writes a line at the end of each call, at INFO; at DEBUG also one at its beginning."""

    def begin(self, call: Observed, started: float) -> Callable[[Outcome], object]:
        """Write the names of the headers."""
        if isinstance(call, IncomingCall) and logger.isEnabledFor(logging.DEBUG):
            names = sorted(key[5:].lower().replace("_", "-") for key in call.environ if key.startswith("HTTP_"))
            content_type = call.environ.get("CONTENT_TYPE")
            fields = {"method": call.path, "call_id": call.call_id}
            logger.debug("call %s %s %r, headers %s", call.call_id, _path(call), content_type, names, extra=fields)
        return functools.partial(self._end, call)

    def _end(self, call: Observed, outcome: Outcome) -> None:
        if not logger.isEnabledFor(logging.INFO):
            return
        seconds, received, sent = outcome.seconds, call.bytes_received, call.bytes_sent
        caller = call.caller.name[:NAME_CHARACTERS]
        line = "%s %s %.1f ms, %d bytes in, %d bytes out, peer %s, call %s, caller %r"
        values = [_path(call), outcome.code.name, seconds * 1000, received, sent, call.peer, call.call_id, caller]
        fields = {
            "method": call.path,
            "code": outcome.code.name,
            "seconds": seconds,
            "bytes_in": received,
            "bytes_out": sent,
            "caller": caller,
            "peer": call.peer,
            "call_id": call.call_id,
            "protocol": call.protocol,
        }
        if outcome.reason:
            line += ", %s"
            values.append(outcome.reason)
            fields["reason"] = outcome.reason
        logger.info(line, *values, extra=fields)


def _path(call: Observed) -> str:
    # Of a method that there is not, it is the caller's choice.
    return call.path if call.method else repr(call.path)


class CallSignals:
    """Sends the signals of an app."""

    def __init__(self, app: Flask) -> None:
        self._app = app

    def begin(self, call: Observed, started: float) -> Callable[[Outcome], object]:
        """Send rpc_started."""
        if rpc_started.receivers:
            rpc_started.send(self._app, context=call)
        return functools.partial(self._end, call)

    def _end(self, call: Observed, outcome: Outcome) -> None:
        if rpc_finished.receivers:
            rpc_finished.send(self._app, context=call, code=outcome.code, seconds=outcome.seconds)
