"""The catch-all blueprint: HTTP requests in, HTTP responses out."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Collection, Iterator
from typing import cast

from blinker import Namespace
from flask import Blueprint, Flask, Response, current_app, g, has_request_context, request
from flask.ctx import RequestContext
from flask.globals import request_ctx
from flask.signals import got_request_exception
from werkzeug.exceptions import HTTPException, InternalServerError
from werkzeug.local import LocalProxy
from werkzeug.routing import BaseConverter, Rule, ValidationError

from flask_grpcweb_scm.body import drain, read_body
from flask_grpcweb_scm.cors import add_cors
from flask_grpcweb_scm.http_status import describe, rpc_error_from_http
from flask_grpcweb_scm.rpc import (
    Authenticate,
    CallContext,
    Dispatcher,
    Exchange,
    Incoming,
    RpcError,
    StatusCode,
    StreamReply,
    did_you_mean,
    error_headers,
)
from flask_grpcweb_scm.settings import Settings
from flask_grpcweb_scm.wire import CONTENT_TYPES, parse_content_type, response_content_type

__all__ = ["create_blueprint", "current_rpc", "rpc_finished", "rpc_started"]

NAME = "grpcweb_scm"

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


class GrpcWebResponse(Response):
    """A response of ours, to be told from those that hooks and error handlers of the app make."""


class UnknownMethodConverter(BaseConverter):
    """Matches ``package.Service`` in the path of a gRPC-Web request only.

    Otherwise the rule does not exist for the router, and the app answers as it would without this extension: with a
    route of its own, its 404 or its 405. For the same reason it is tried after every other rule.
    """

    regex = r"[A-Za-z_]\w*(?:\.\w+)*"
    weight = 1_000_000

    def to_python(self, value: str) -> str:
        """Accept the value when the request that is being routed is gRPC-Web, or asks whether one may be sent."""
        if has_request_context() and (_is_call() or _is_preflight()):
            return value
        raise ValidationError


def _is_call() -> bool:
    return request.method == "POST" and parse_content_type(request.content_type) is not None


def _is_preflight() -> bool:
    # All browser clients send X-Grpc-Web. Without an answer here, a misspelt method would look like a CORS mistake.
    asked = request.headers.get("access-control-request-headers", "").lower()
    cors = current_app.extensions[NAME].settings.cors_origins
    return request.method == "OPTIONS" and "x-grpc-web" in asked and bool(cors)


def _is_foreign(allowed: Collection[str]) -> bool:
    """Whether a page that may not call made the browser send this, perhaps with its user's cookies."""
    origin = request.headers.get("origin")
    own = (f"http://{request.host}", f"https://{request.host}")  # whichever a proxy before us has
    return origin is not None and origin.lower() not in {*own, *allowed}


def _peer() -> str:
    """The caller's address; behind ProxyFix that is whatever its headers say, and it gets into the log."""
    return re.sub(r"[^\w.:%-]", "?", (request.remote_addr or "")[:64], flags=re.ASCII)


def create_blueprint(app: Flask, settings: Settings, dispatcher: Dispatcher, authenticate: Authenticate) -> Blueprint:
    """Build the blueprint of one app: a rule for every method, and one that catches the unknown ones."""
    blueprint = Blueprint(NAME, __name__)
    prefix = settings.url_prefix

    def call(**_: str) -> Response:
        path = request.path[len(prefix) :]
        if request.method == "OPTIONS" and settings.cors_origins:
            return _drained(GrpcWebResponse(status=204))
        content_type = parse_content_type(request.content_type)
        if request.method != "POST" or content_type is None:
            return _refuse(path)
        if settings.cors_credentials and _is_foreign(settings.cors_origins):
            logger.info("%r PERMISSION_DENIED, origin %r, peer %s", path, request.headers["origin"], _peer())
            return _error_response(RpcError(StatusCode.PERMISSION_DENIED, "pages of this origin may not call"))
        method = dispatcher.methods.get(path)
        if method is None:
            logger.info("%r UNIMPLEMENTED, peer %s", path, _peer())
            return _error_response(RpcError(StatusCode.UNIMPLEMENTED, _unknown(path, dispatcher)))
        incoming = Incoming(method, content_type, request.headers, read_body(request), _peer())
        return _serve(app, settings, dispatcher, authenticate, incoming)

    def add_rules(*_: object) -> None:
        # Not by add_url_rule: a rule without methods also brings verbs here that werkzeug does not know. An endpoint
        # for each method, because werkzeug looks at all rules of an endpoint for every request to it.
        unknown = "/<grpcweb_unknown:grpc_service>/<grpcweb_unknown:grpc_method>"
        app.url_map.converters["grpcweb_unknown"] = UnknownMethodConverter
        for rule, name in [(path, path[1:].replace(".", "_")) for path in dispatcher.methods] + [(unknown, "unknown")]:
            app.view_functions[f"{NAME}.{name}"] = call
            app.url_map.add(Rule(prefix + rule, endpoint=f"{NAME}.{name}", merge_slashes=False))

    blueprint.record_once(add_rules)
    blueprint.register_error_handler(HTTPException, describe)
    blueprint.url_value_preprocessor(lambda *_: _exempt_from_csrf(blueprint))
    blueprint.after_request(_translate)
    if settings.cors_origins:
        add_cors(blueprint, settings)
    return blueprint


def _serve(
    app: Flask, settings: Settings, dispatcher: Dispatcher, authenticate: Authenticate, incoming: Incoming
) -> Response:
    started = time.monotonic()

    def end(exchange: Exchange) -> None:
        _finish(app, exchange, time.monotonic() - started)

    exchange = Exchange(
        incoming,
        settings,
        dispatcher=dispatcher,
        authenticate=authenticate,
        translate=lambda error, context: _status_of(app, error, context),
        on_end=end,
    )
    g._grpcweb_call = exchange.context
    _log_start(exchange.context, incoming)
    rpc_started.send(app, context=exchange.context)
    reply = exchange.run()
    if isinstance(reply, StreamReply):
        response = GrpcWebResponse(_StreamInContext(reply, incoming), headers=reply.headers)
        # nginx would hold messages back until its buffer is full.
        response.headers["x-accel-buffering"] = "no"
        return response
    return _drained(GrpcWebResponse(reply.body, headers=reply.headers), incoming.chunks)


class _StreamInContext:
    """The pieces of a stream, with the request's contexts kept until the last one.

    Flask's stream_with_context will not do: it ends the application context, and with it the database session, when the
    view returns, and pushes it anew for each further step. The function's first step is before that.
    """

    def __init__(self, reply: StreamReply, incoming: Incoming) -> None:
        self._reply = reply
        self._chunks = incoming.chunks
        self._context: RequestContext | None = request_ctx._get_current_object()  # type: ignore[attr-defined]
        # A context that was pushed twice outlives the view, which pops it once.
        self._context.push()

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            return next(self._reply)
        except StopIteration:
            self.close()
            raise

    def close(self) -> None:
        context, self._context = self._context, None
        if context is not None:
            self._reply.close()
            drain(self._chunks)
            context.pop()


def _status_of(app: Flask, error: Exception, context: CallContext) -> RpcError:
    """What an undeclared exception stands for: as in any view, the app's error handlers decide first."""
    try:
        answer = app.handle_user_exception(error)
    except RpcError as raised:
        return raised
    except Exception as unhandled:
        logger.exception("call %s failed", context.call_id)
        got_request_exception.send(app, exception=unhandled)
        answer = app.handle_user_exception(InternalServerError(original_exception=unhandled))
    return rpc_error_from_http(app.make_response(answer), context.call_id)


def _refuse(path: str) -> Response:
    """Answer a request that is not gRPC-Web; the status headers are for clients that look at nothing else."""
    if request.method != "POST":
        status, message = 405, f"{path} is called with POST, not {request.method}"
    else:
        supported = ", ".join(CONTENT_TYPES)
        status, message = 415, f"content type {request.content_type!r} is not gRPC-Web; use one of {supported}"
    headers = [
        *error_headers(RpcError(StatusCode.UNIMPLEMENTED, message)),
        ("content-type", "text/plain; charset=utf-8"),
    ]
    response = GrpcWebResponse(message + "\n", status=status, headers=headers)
    if status == 405:
        response.headers["allow"] = "POST"
    return _drained(response)


def _unknown(path: str, dispatcher: Dispatcher) -> str:
    return f"no method {path} is served here{did_you_mean(path, dispatcher.methods)}"


def _error_response(error: RpcError) -> Response:
    """A trailers-only answer to a request whose body is not going to be used."""
    content_type = parse_content_type(request.content_type)
    if content_type is not None:
        content_type = response_content_type(content_type, request.headers.get("accept"))
    return _drained(GrpcWebResponse(headers=error_headers(error, content_type)))


def _translate(response: Response) -> Response:
    """Turn an answer that the app gave instead of us (from a hook, an error handler) into a status."""
    if isinstance(response, GrpcWebResponse):
        return response
    if parse_content_type(request.content_type) is None:
        return _drained(response)
    error = rpc_error_from_http(response)
    logger.info("%r %s, answered by the app with HTTP %d", request.path, error.code.name, response.status_code)
    translated = _error_response(error)
    for name, value in response.headers:
        if not name.lower().startswith("content-") and name.lower() not in {"location", "allow", "etag"}:
            translated.headers.add(name, value)
    return translated


def _drained(response: Response, chunks: Iterator[bytes] | None = None) -> Response:
    """The response, after what is left of the request's body; when that is too much, it closes the connection."""
    drained = drain(read_body(request) if chunks is None else chunks)
    # PEP 3333 forbids this header. waitress insists on that, and has read the whole body before it calls the app.
    if not drained and "waitress.client_disconnected" not in request.environ:
        response.headers["connection"] = "close"
    return response


def _exempt_from_csrf(blueprint: Blueprint) -> None:
    # At the first request, because Flask-WTF may be initialised after us. Its tokens are for forms: browsers send
    # gRPC-Web's content types across origins only after a preflight.
    if "csrf" in current_app.extensions:
        current_app.extensions["csrf"].exempt(blueprint)


def _log_start(context: CallContext, incoming: Incoming) -> None:
    if logger.isEnabledFor(logging.DEBUG):
        names = sorted({name.lower() for name, _ in incoming.headers.items()})
        logger.debug("call %s %s %s, headers %s", context.call_id, incoming.method.path, incoming.content_type, names)


def _finish(app: Flask, exchange: Exchange, seconds: float) -> None:
    code = exchange.status.code if exchange.status else StatusCode.OK
    logger.info(
        "%s %s %.1f ms, %d bytes in, %d bytes out, peer %s, call %s",
        exchange.method.path,
        code.name,
        seconds * 1000,
        exchange.bytes_received,
        exchange.bytes_sent,
        exchange.context.peer,
        exchange.context.call_id,
    )
    rpc_finished.send(app, context=exchange.context, code=code, seconds=seconds)
