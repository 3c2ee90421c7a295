"""Calls of one app: what they share, and what the app is told of them."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable
from typing import Any

from flask import Flask, Request, Response
from flask.signals import got_request_exception
from werkzeug.exceptions import HTTPException, InternalServerError
from werkzeug.wrappers import Response as AnyResponse
from werkzeug.wsgi import get_current_url

from flask_grpcweb_scm.rpc import (
    Authenticate,
    Dispatcher,
    Endpoint,
    IncomingCall,
    Reply,
    ResponseTypeError,
    RpcError,
    Server,
    StreamReply,
    serve_stream,
    serve_unary,
)
from flask_grpcweb_scm.settings import Settings
from flask_grpcweb_scm.signals import logger, rpc_finished, rpc_started
from flask_grpcweb_scm.web.body import BodyReader
from flask_grpcweb_scm.web.flask_internals import handle_user_exception
from flask_grpcweb_scm.web.http_errors import internal_error, metadata_of, rpc_error_from_http
from flask_grpcweb_scm.wire import PREFIX_BYTES

__all__ = ["AppCalls"]


class AppCalls:
    """The calls of one app: what they share, and the signals and log lines around each."""

    def __init__(
        self, app: Flask, settings: Settings, dispatcher: Dispatcher, authenticate: Authenticate | None
    ) -> None:
        self.app = app
        self.settings = settings
        self.methods = dispatcher.methods
        self.on_route: Callable[[Request, Endpoint], None] = lambda request, endpoint: None
        """Called when Flask has sent a request to the view of a method."""
        # As much as base64 makes of the longest message, and its prefix.
        reader = BodyReader((settings.max_message_bytes + PREFIX_BYTES) // 3 * 4 + 4)
        self.endpoint = Server(settings, dispatcher, authenticate, self._status_of, reader).endpoint

    def run(self, call: IncomingCall) -> Reply | StreamReply:
        """Serve a call, up to the first message of a stream; log it and send the signals around it."""
        serve = serve_stream if call.endpoint.method.server_streaming else serve_unary
        is_logged = logger.isEnabledFor(logging.INFO)
        if not (is_logged or rpc_started.receivers or rpc_finished.receivers):
            return serve(call)
        started = time.monotonic()
        if is_logged:
            _log_start(call)
        if rpc_started.receivers:
            rpc_started.send(self.app, context=call)
        reply = serve(call)
        if isinstance(reply, StreamReply):
            reply.on_end = functools.partial(self._finish, call, started)
        else:
            call.bytes_sent = sum(map(len, reply[2]))
            self._finish(call, started)
        return reply

    def _finish(self, call: IncomingCall, started: float) -> None:
        seconds = time.monotonic() - started
        if logger.isEnabledFor(logging.INFO):
            _log_end(call, seconds)
        if rpc_finished.receivers:
            rpc_finished.send(self.app, context=call, code=call.code, seconds=seconds)

    def _status_of(self, error: Exception, call: IncomingCall) -> RpcError:
        """The status of an undeclared exception: as in any view, the app's error handlers decide first."""
        try:
            response = self.app.make_response(self._response_to(error, call))
            try:
                return _translated(response, call)
            finally:
                response.close()
        except RpcError as raised:
            return raised
        except Exception:
            # Its context is the exception that the handler was called for: both are in the log.
            logger.exception("call %s failed, and so did the app's error handler", call.call_id)
            return internal_error(call.call_id)

    def _response_to(self, error: Exception, call: IncomingCall) -> Any:
        if isinstance(error, ResponseTypeError):
            # A decorator that protects views returns its refusal.
            if isinstance(error.response, AnyResponse | tuple):
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


def _translated(response: Response, call: IncomingCall) -> RpcError:
    status = rpc_error_from_http(response, call.call_id, url=get_current_url(call.environ))
    for name, value in metadata_of(response):
        call.initial_metadata.add(name, value)
    return status


def _log_start(call: IncomingCall) -> None:
    if not logger.isEnabledFor(logging.DEBUG):
        return
    names = sorted(name for name, _ in call.headers())
    content_type = call.environ.get("CONTENT_TYPE")
    logger.debug("call %s %s %r, headers %s", call.call_id, call.endpoint.method.path, content_type, names)


def _log_end(call: IncomingCall, seconds: float) -> None:
    logger.info(
        "%s %s %.1f ms, %d bytes in, %d bytes out, peer %s, call %s",
        call.endpoint.method.path,
        call.code.name,
        seconds * 1000,
        call.bytes_received,
        call.bytes_sent,
        call.peer,
        call.call_id,
    )
