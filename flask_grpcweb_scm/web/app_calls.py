"""Calls by HTTP: what a WSGI environment says of one, and what the app is told of it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import cast

from blinker import Namespace
from flask import Flask, Request, has_request_context
from flask.globals import request_ctx
from flask.signals import got_request_exception
from werkzeug.exceptions import InternalServerError
from werkzeug.local import LocalProxy

from flask_grpcweb_scm.rpc import (
    Authenticate,
    CallContext,
    CallForm,
    Dispatcher,
    Exchange,
    IncomingCall,
    Reply,
    RpcError,
    RpcMethod,
    Server,
    StreamReply,
    call_form,
)
from flask_grpcweb_scm.settings import Settings
from flask_grpcweb_scm.web.body import BodyReader
from flask_grpcweb_scm.web.http_errors import rpc_error_from_http
from flask_grpcweb_scm.wire import PREFIX_BYTES, ContentType, response_content_type

__all__ = ["Calls", "current_rpc", "logger", "rpc_finished", "rpc_started"]

logger = logging.getLogger("flask_grpcweb_scm")

_signals = Namespace()
rpc_started = _signals.signal("rpc-started")
"""Sent by the app when a call begins, with ``context``."""
rpc_finished = _signals.signal("rpc-finished")
"""Sent by the app when a call has ended, with ``context``, ``code`` and ``seconds``."""


def _current_rpc() -> CallContext:
    context: CallContext | None = getattr(request_ctx, "_grpcweb_call", None) if has_request_context() else None
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
        self.on_route: Callable[[Request, CallForm], None] = lambda request, form: None
        """Called when Flask has sent a request to the view of a method."""
        # As much as base64 makes of the longest message, and its prefix.
        self._reader = BodyReader((settings.max_message_bytes + PREFIX_BYTES) // 3 * 4 + 4)
        self._forms: dict[tuple[RpcMethod, str, str], CallForm] = {}
        self._server = Server(settings, dispatcher, authenticate, self._status_of, self._finish)

    def form(self, method: RpcMethod, content_type: ContentType, accept: str | None) -> CallForm:
        """The form of a call with such headers."""
        response_type = response_content_type(content_type, accept)
        key = method, content_type.name, response_type.name
        form = self._forms.get(key)
        if form is None:
            form = self._forms[key] = call_form(method, content_type, response_type, self._reader, self._server)
        return form

    def run(self, call: IncomingCall) -> Reply | StreamReply:
        """Log the call, send :data:`rpc_started`, and do it."""
        is_logged = logger.isEnabledFor(logging.INFO)
        if not (is_logged or rpc_started.receivers or rpc_finished.receivers):
            run = call.form.run
            return run(call)
        if is_logged:
            _log_start(call)
        if rpc_started.receivers:
            rpc_started.send(self.app, context=call)
        return Exchange(call, self._server).run()

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
            rpc_finished.send(self.app, context=exchange.call, code=exchange.code, seconds=seconds)


def _log_start(call: IncomingCall) -> None:
    if not logger.isEnabledFor(logging.DEBUG):
        return
    names = sorted(name for name, _ in call.headers())
    logger.debug("call %s %s %s, headers %s", call.call_id, call.form.method.path, call.form.content_type, names)


def _log_end(exchange: Exchange, seconds: float) -> None:
    logger.info(
        "%s %s %.1f ms, %d bytes in, %d bytes out, peer %s, call %s",
        exchange.method.path,
        exchange.code.name,
        seconds * 1000,
        exchange.call.bytes_received,
        exchange.bytes_sent,
        exchange.call.peer,
        exchange.call.call_id,
    )
