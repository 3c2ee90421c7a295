"""Calls by HTTP: what a WSGI environment says of one, and what the app is told of it."""

from __future__ import annotations

import functools
import logging
import re
import time
from collections.abc import Callable
from typing import Any, cast

from blinker import Namespace
from flask import Flask, Request, g, has_request_context
from flask.signals import got_request_exception
from werkzeug.exceptions import InternalServerError
from werkzeug.local import LocalProxy

from flask_grpcweb_scm.body import read_body
from flask_grpcweb_scm.http_status import rpc_error_from_http
from flask_grpcweb_scm.rpc import (
    Authenticate,
    CallContext,
    Dispatcher,
    Exchange,
    Incoming,
    Reply,
    RpcError,
    RpcMethod,
    Server,
    StreamReply,
    run,
)
from flask_grpcweb_scm.settings import Settings
from flask_grpcweb_scm.wire import PREFIX_BYTES, ContentType

__all__ = ["Calls", "current_rpc", "logger", "peer_name", "rpc_finished", "rpc_started"]

logger = logging.getLogger("flask_grpcweb_scm")

_signals = Namespace()
rpc_started = _signals.signal("rpc-started")
"""Sent by the app when a call begins, with ``context``."""
rpc_finished = _signals.signal("rpc-finished")
"""Sent by the app when a call has ended, with ``context``, ``code`` and ``seconds``."""


def _current_rpc() -> CallContext:
    context: CallContext | None = g.get("_grpcweb_call") if has_request_context() else None
    if context is None:
        raise RuntimeError("no RPC is being served: current_rpc is for service functions and what they call")
    return context


current_rpc = cast("CallContext", LocalProxy(_current_rpc))
"""The :class:`CallContext` of the RPC being served."""


class Calls:
    """Makes the exchanges of one app."""

    def __init__(self, app: Flask, settings: Settings, dispatcher: Dispatcher, authenticate: Authenticate) -> None:
        self.app = app
        self.settings = settings
        self.methods = dispatcher.methods
        self.on_route: Callable[[Request, RpcMethod], None] = lambda request, method: None
        """Called when Flask has sent a request to the view of a method."""
        # As much as base64 makes of the longest message, and its prefix.
        self._at_once = (settings.max_message_bytes + PREFIX_BYTES) // 3 * 4 + 4
        self._server = Server(settings, dispatcher, authenticate, self._status_of, self._finish)

    def open(
        self,
        method: RpcMethod,
        content_type: ContentType,
        environ: dict[str, Any],
        *,
        body_limit: int | None,
        peer: str | None,
    ) -> tuple[Incoming, CallContext]:
        """The request and the context of a call, to :meth:`run`."""
        chunks = read_body(environ, body_limit, at_once=self._at_once)
        incoming = Incoming(method, content_type, environ, chunks, self.settings.max_message_bytes)
        context = CallContext(
            method,
            metadata=incoming.metadata,
            peer=peer_name(peer),
            read_message=None if method.client_streaming else incoming.message_bytes,
        )
        return incoming, context

    def run(self, incoming: Incoming, context: CallContext) -> Reply | StreamReply:
        """Log the call, send :data:`rpc_started`, and do it."""
        logged = logger.isEnabledFor(logging.INFO)
        if logged:
            _log_start(incoming, context)
        if rpc_started.receivers:
            rpc_started.send(self.app, context=context)
        return run(incoming, context, self._server, observed=logged or bool(rpc_finished.receivers))

    def _status_of(self, error: Exception, context: CallContext) -> RpcError:
        """What an undeclared exception stands for: as in any view, the app's error handlers decide first."""
        app = self.app
        try:
            answer = app.handle_user_exception(error)
        except RpcError as raised:
            return raised
        except Exception as unhandled:
            logger.exception("call %s failed", context.call_id)
            got_request_exception.send(app, exception=unhandled)
            answer = app.handle_user_exception(InternalServerError(original_exception=unhandled))
        return rpc_error_from_http(app.make_response(answer), context.call_id)

    def _finish(self, exchange: Exchange) -> None:
        seconds = time.monotonic() - exchange.started
        if logger.isEnabledFor(logging.INFO):
            _log_end(exchange, seconds)
        if rpc_finished.receivers:
            rpc_finished.send(self.app, context=exchange.context, code=exchange.code, seconds=seconds)


@functools.lru_cache(maxsize=1024)
def peer_name(address: str | None) -> str:
    """The caller's address; behind ProxyFix that is whatever its headers say, and it gets into the log."""
    return re.sub(r"[^\w.:%-]", "?", (address or "")[:64], flags=re.ASCII)


def _log_start(incoming: Incoming, context: CallContext) -> None:
    if not logger.isEnabledFor(logging.DEBUG):
        return
    names = sorted(name for name, _ in incoming.headers())
    logger.debug("call %s %s %s, headers %s", context.call_id, incoming.method.path, incoming.content_type, names)


def _log_end(exchange: Exchange, seconds: float) -> None:
    logger.info(
        "%s %s %.1f ms, %d bytes in, %d bytes out, peer %s, call %s",
        exchange.method.path,
        exchange.code.name,
        seconds * 1000,
        exchange.incoming.bytes_received,
        exchange.bytes_sent,
        exchange.context.peer,
        exchange.context.call_id,
    )
