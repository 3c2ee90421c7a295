"""Calls of one app: what they share, and what the app is told of them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from flask import Flask, Request
from flask.signals import got_request_exception
from werkzeug.exceptions import HTTPException, InternalServerError
from werkzeug.wrappers import Response

from flask_grpcweb_scm.rpc import (
    Authenticate,
    CallForm,
    Dispatcher,
    Exchange,
    IncomingCall,
    Reply,
    ResponseTypeError,
    RpcError,
    RpcMethod,
    Server,
    StreamReply,
    call_form,
)
from flask_grpcweb_scm.settings import Settings
from flask_grpcweb_scm.signals import active_call, logger, rpc_finished, rpc_started
from flask_grpcweb_scm.web.body import BodyReader
from flask_grpcweb_scm.web.flask_internals import handle_user_exception
from flask_grpcweb_scm.web.http_errors import internal_error, metadata_of, rpc_error_from_http
from flask_grpcweb_scm.wire import PREFIX_BYTES, ContentType, response_content_type

__all__ = ["Calls"]


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
        """Log the call, send :data:`rpc_started`, and do it. It is :data:`active_call` from then on."""
        active_call.set(call)
        is_logged = logger.isEnabledFor(logging.INFO)
        if not (is_logged or rpc_started.receivers or rpc_finished.receivers):
            run = call.form.run
            return run(call)
        if is_logged:
            _log_start(call)
        if rpc_started.receivers:
            rpc_started.send(self.app, context=call)
        return Exchange(call, self._server).run()

    def _status_of(self, error: Exception, call: IncomingCall) -> RpcError:
        """The status of an undeclared exception: as in any view, the app's error handlers decide first."""
        try:
            response = self.app.make_response(self._response_to(error, call))
        except RpcError as raised:
            return raised
        except Exception:
            # Its context is the exception that the handler was called for: both are in the log.
            logger.exception("call %s failed, and so did the app's error handler", call.call_id)
            return internal_error(call.call_id)
        for name, value in metadata_of(response):
            call.initial_metadata.add(name, value)
        return rpc_error_from_http(response, call.call_id)

    def _response_to(self, error: Exception, call: IncomingCall) -> Any:
        if isinstance(error, ResponseTypeError):
            # A decorator that protects views returns its refusal.
            if isinstance(error.response, Response | tuple):
                return error.response
            if isinstance(error.response, HTTPException):
                error = error.response
        try:
            return handle_user_exception(self.app, error)
        except RpcError:
            raise
        except Exception as unhandled:
            call.unhandled = unhandled
            got_request_exception.send(self.app, exception=unhandled)
            logger.exception("call %s failed", call.call_id)
            return handle_user_exception(self.app, InternalServerError(original_exception=unhandled))

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
