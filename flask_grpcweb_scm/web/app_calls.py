"""Calls of one app: what they share, and what the app is told of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from flask import Flask, Request, Response, has_request_context
from flask.signals import got_request_exception
from werkzeug.exceptions import HTTPException, InternalServerError
from werkzeug.wrappers import Response as AnyResponse
from werkzeug.wsgi import get_current_url, get_path_info

from flask_grpcweb_scm.observe import Observer
from flask_grpcweb_scm.rpc import (
    Authenticate,
    Dispatcher,
    Endpoint,
    IncomingCall,
    LimitStreams,
    Pairs,
    ResponseTypeError,
    RpcError,
    Server,
)
from flask_grpcweb_scm.rpc.protocols import Protocols
from flask_grpcweb_scm.settings import Settings
from flask_grpcweb_scm.signals import logger
from flask_grpcweb_scm.web.body import BodyReader
from flask_grpcweb_scm.web.flask_internals import (
    current_context,
    handle_user_exception,
    pass_to_teardown,
    response_to,
)
from flask_grpcweb_scm.web.http_errors import internal_error, metadata_of, rpc_error_from_http
from flask_grpcweb_scm.web.observers import Observers
from flask_grpcweb_scm.web.response import RequestScope
from flask_grpcweb_scm.wire import PREFIX_BYTES

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

__all__ = ["AppCalls"]


class AppCalls:
    """The calls of one app: what they share, and those who watch them."""

    def __init__(
        self,
        app: Flask,
        settings: Settings,
        dispatcher: Dispatcher,
        authenticate: Authenticate | None,
        limit_streams: LimitStreams,
        observers: Sequence[Observer] = (),
    ) -> None:
        self.app = app
        self.settings = settings
        self.methods = dispatcher.methods
        self.protocols = Protocols(settings.protocols)
        methods = {settings.url_prefix + path: method for path, method in dispatcher.methods.items()}
        self.observers = Observers(app, methods, self.protocols, observers)
        self.on_route: Callable[[Request, Endpoint], None] = lambda request, endpoint: None
        """Called when Flask has sent a request to the view of a method."""
        # As much as base64 makes of the longest message, and its prefix.
        reader = BodyReader((settings.max_message_bytes + PREFIX_BYTES) // 3 * 4 + 4)
        self.endpoint = Server(settings, dispatcher, authenticate, self._status_of, reader, limit_streams).endpoint

    def finish(
        self, scope: RequestScope, environ: WSGIEnvironment, replaced: tuple[str, Pairs] | None = None
    ) -> Response | None:
        """Tell of the end of a request while its contexts are there; see :meth:`Observers.finish`.

        :returns: the response that takes the place of ours where a receiver of a signal raises.
        """
        if scope.observation is None and scope.refusal is None and replaced is None:
            # A call that nobody watches.
            return None
        try:
            self.observers.finish(scope, environ, replaced)
        except Exception as error:
            if has_request_context():
                return response_to(self.app, error)
            # The app's error handlers have failed before.
            logger.exception("a receiver of rpc_finished failed after a call of %r", get_path_info(environ))
        except BaseException as fatal:
            if has_request_context():
                pass_to_teardown(current_context(), fatal)
            raise
        return None

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
            logger.exception(
                "call %s of %s failed, and so did the app's error handler", call.call_id, call.path, extra=_fields(call)
            )
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
            logger.exception("call %s of %s failed", call.call_id, call.path, extra=_fields(call))
            return handle_user_exception(self.app, InternalServerError(original_exception=unhandled))


def _translated(response: Response, call: IncomingCall) -> RpcError:
    status = rpc_error_from_http(response, call.call_id, url=get_current_url(call.environ))
    for name, value in metadata_of(response):
        call.initial_metadata.add(name, value)
    return status


def _fields(call: IncomingCall) -> dict[str, str]:
    return {"method": call.path, "caller": call.caller.name, "peer": call.peer, "call_id": call.call_id}
