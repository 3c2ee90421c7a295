"""The catch-all blueprint: HTTP requests in, HTTP responses out."""

from __future__ import annotations

from collections.abc import Callable, Collection

from flask import Blueprint, Request, Response, current_app, has_request_context, request
from flask.ctx import RequestContext
from flask.globals import request_ctx
from werkzeug.exceptions import HTTPException
from werkzeug.routing import BaseConverter, Rule, ValidationError

from flask_grpcweb_scm.rpc import (
    IncomingCall,
    RpcError,
    StatusCode,
    did_you_mean,
    error_reply,
    peer_name,
    refusal_headers,
)
from flask_grpcweb_scm.web.app_calls import Calls, logger
from flask_grpcweb_scm.web.body import read_body
from flask_grpcweb_scm.web.cors import add_cors
from flask_grpcweb_scm.web.http_errors import describe, rpc_error_from_http
from flask_grpcweb_scm.web.response import GrpcWebResponse, answer, must_close, response_class
from flask_grpcweb_scm.wire import CONTENT_TYPES, ContentType, parse_content_type, response_content_type

__all__ = ["NAME", "create_blueprint"]

NAME = "grpcweb_scm"


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


def create_blueprint(calls: Calls) -> Blueprint:
    """Build the blueprint of one app: a rule for every method, and one that catches the unknown ones."""
    blueprint = Blueprint(NAME, __name__)
    app, settings, methods = calls.app, calls.settings, calls.methods
    prefix = settings.url_prefix

    def call(**_: str) -> Response:
        # The proxy takes its time to find the request.
        asked: Request = request._get_current_object()  # type: ignore[attr-defined]
        path = asked.path[len(prefix) :]
        if asked.method == "OPTIONS" and settings.cors_origins:
            return _drained(response_class(current_app)(status=204))
        content_type = parse_content_type(asked.environ.get("CONTENT_TYPE"))
        if asked.method != "POST" or content_type is None:
            return _refuse(path)
        if settings.cors_credentials and _is_foreign(settings.cors_origins):
            peer = peer_name(asked.remote_addr)
            logger.info("%r PERMISSION_DENIED, origin %r, peer %s", path, asked.headers["origin"], peer)
            return _error_response(
                RpcError(StatusCode.PERMISSION_DENIED, "pages of this origin may not call"), content_type
            )
        method = methods.get(path)
        if method is None:
            logger.info("%r UNIMPLEMENTED, peer %s", path, peer_name(asked.remote_addr))
            message = f"no method {path} is served here{did_you_mean(path, methods)}"
            return _error_response(RpcError(StatusCode.UNIMPLEMENTED, message), content_type)
        form = calls.form(method, content_type, asked.environ.get("HTTP_ACCEPT"))
        calls.on_route(asked, form)
        # The property looks for the app once more. A hook may have given this request a limit of its own.
        own = type(asked) is not Request or "_max_content_length" in vars(asked)
        limit = asked.max_content_length if own else app.config["MAX_CONTENT_LENGTH"]
        return _serve(calls, IncomingCall(form, asked.environ, limit, asked.remote_addr))

    def add_rules(*_: object) -> None:
        # Not by add_url_rule: a rule without methods also brings verbs here that werkzeug does not know. An endpoint
        # for each method, because werkzeug looks at all rules of an endpoint for every request to it.
        unknown = "/<grpcweb_unknown:grpc_service>/<grpcweb_unknown:grpc_method>"
        app.url_map.converters["grpcweb_unknown"] = UnknownMethodConverter
        for rule, name in [(path, path[1:].replace(".", "_")) for path in methods] + [(unknown, "unknown")]:
            app.view_functions[f"{NAME}.{name}"] = call
            app.url_map.add(Rule(prefix + rule, endpoint=f"{NAME}.{name}", merge_slashes=False))

    blueprint.record_once(add_rules)
    blueprint.register_error_handler(HTTPException, describe)
    blueprint.after_request(_translate)
    if settings.cors_origins:
        add_cors(blueprint, settings)
    return blueprint


def _serve(calls: Calls, incoming: IncomingCall) -> Response:
    request_ctx._grpcweb_call = incoming  # type: ignore[attr-defined]  # ours
    headers, pieces = answer(calls.run(incoming), incoming, _hold_context)
    return response_class(calls.app)(pieces, headers)


def _hold_context() -> Callable[[], object]:
    context: RequestContext = request_ctx._get_current_object()  # type: ignore[attr-defined]
    # A context that was pushed twice outlives the view, which pops it once.
    context.push()
    return context.pop


def _refuse(path: str) -> Response:
    """Answer a request that is not gRPC-Web; the status headers are for clients that look at nothing else."""
    if request.method != "POST":
        status, message = 405, f"{path} is called with POST, not {request.method}"
    else:
        supported = ", ".join(CONTENT_TYPES)
        status, message = 415, f"content type {request.content_type!r} is not gRPC-Web; use one of {supported}"
    headers = [
        *refusal_headers(RpcError(StatusCode.UNIMPLEMENTED, message)),
        ("content-type", "text/plain; charset=utf-8"),
    ]
    response = response_class(current_app)(message + "\n", status=status, headers=headers)
    if status == 405:
        response.headers["allow"] = "POST"
    return _drained(response)


def _error_response(error: RpcError, content_type: ContentType, added: list[tuple[str, str]] | None = None) -> Response:
    """The response to a gRPC-Web request whose body is not going to be used.

    :param added: headers that others have added.
    """
    response_type = response_content_type(content_type, request.headers.get("accept"))
    headers, pieces = error_reply(error, response_type, added)
    return _drained(response_class(current_app)(pieces, headers))


def _translate(response: Response) -> Response:
    """Turn an answer that the app gave instead of us (from a hook, an error handler) into a status."""
    if isinstance(response, GrpcWebResponse):
        return response
    content_type = parse_content_type(request.content_type)
    if content_type is None:
        return _drained(response)
    error = rpc_error_from_http(response)
    logger.info("%r %s, answered by the app with HTTP %d", request.path, error.code.name, response.status_code)
    kept = [
        (name, value)
        for name, value in response.headers
        if not name.lower().startswith("content-") and name.lower() not in {"location", "allow", "etag"}
    ]
    return _error_response(error, content_type, kept)


def _drained(response: Response) -> Response:
    """The answer to a request whose body is not going to be used."""
    if must_close(read_body(request.environ, request.max_content_length), request.environ):
        response.headers["connection"] = "close"
    return response
