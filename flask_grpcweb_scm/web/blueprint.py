"""The catch-all blueprint: HTTP requests in, HTTP responses out."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from typing import Any

from flask import Blueprint, Request, Response, has_request_context, request
from werkzeug.exceptions import HTTPException
from werkzeug.routing import BaseConverter, ValidationError

from flask_grpcweb_scm.rpc import (
    Endpoint,
    IncomingCall,
    RpcError,
    RpcMethod,
    StatusCode,
    StreamReply,
    did_you_mean,
)
from flask_grpcweb_scm.rpc.protocols import NO_TRAILERS, Protocols, status_headers
from flask_grpcweb_scm.signals import CALL_KEY, active_call
from flask_grpcweb_scm.web.app_calls import AppCalls
from flask_grpcweb_scm.web.body import has_own_stream
from flask_grpcweb_scm.web.cors import add_cors
from flask_grpcweb_scm.web.flask_internals import (
    LateRule,
    current_context,
    hold_context,
    max_content_length,
    pass_to_teardown,
)
from flask_grpcweb_scm.web.http_errors import describe
from flask_grpcweb_scm.web.late_contexts import HookedRequestContext, RoutedRequestContext
from flask_grpcweb_scm.web.peers import SOCKET_KEY, call_class
from flask_grpcweb_scm.web.response import (
    SCOPE_KEY,
    Release,
    drained,
    refusal,
    respond,
    response_class,
    scope_of,
)

__all__ = ["NAME", "create_blueprint"]

NAME = "grpcweb_scm"
ORIGIN_CHARACTERS = 200
"""Of an origin in the log."""
_ORIGIN = re.compile(r"[^:/?#]+://[^/?#]*")


class EveryVerb(set[str]):
    """The verbs of a rule that looks like any other, and matches also the verbs that it does not list.

    Werkzeug would take a request with another verb for one that only its verb keeps from being ours: where the app
    responds with 404 without this extension, it would be 405.
    """

    def __contains__(self, verb: object) -> bool:
        return True


class EveryScheme(int):
    """The ``websocket`` of a rule that is false, and matches also requests that upgrade to a WebSocket.

    Werkzeug would respond to one with 400 where the app responds with 404 without this extension: it looks at the
    scheme of a rule before it looks whether the converters accept the path.
    """

    def __ne__(self, other: object) -> bool:
        return False

    __eq__ = int.__eq__
    __hash__ = int.__hash__


class UnknownMethodConverter(BaseConverter):
    """Matches ``package.Service`` in the path of a request that is an RPC whatever its path.

    Otherwise the rule does not exist for the router, and the app responds as it would without this extension: with a
    route of its own, its 404 or its 405. For the same reason it is tried after every other rule.
    """

    regex = r"[A-Za-z_]\w*(?:\.\w+)*"
    weight = 1_000_000
    protocols: Protocols
    """Of the app."""

    def to_python(self, value: str) -> str:
        """Accept the value when the request that is being routed is an RPC, or the preflight of one."""
        # With a route already, the host asks which verbs its own rules for the path have.
        is_routing = has_request_context() and request.url_rule is None and not _is_websocket()
        if is_routing and (self.protocols.claim(request.environ) is not None or _is_preflight()):
            return value
        raise ValidationError


def _is_websocket() -> bool:
    return request.headers.get("upgrade", "").lower() == "websocket"


def _is_preflight() -> bool:
    # Browser clients send one of these. Without a response here, a misspelt method would look like a CORS mistake.
    headers = request.headers.get("access-control-request-headers", "").lower()
    return request.method == "OPTIONS" and ("x-grpc-web" in headers or "connect-protocol-version" in headers)


def _is_foreign(allowed: Collection[str]) -> bool:
    """Return whether the request is of a page that may not call, perhaps with its user's cookies."""
    origin = request.headers.get("origin")
    return origin is not None and not _may_call(origin, allowed)


def _may_call(origin: str, allowed: Collection[str]) -> bool:
    own = (f"http://{request.host}", f"https://{request.host}")  # whichever a proxy before us has
    return origin.lower() in {*own, *allowed}


def _is_of_another_site(allowed: Collection[str]) -> bool:
    """Return whether a request that browsers send without a preflight is of a page that may not call.

    A page cannot read the response. But it learns how long that takes, and perhaps its length; and the user's cookies
    let it have work done in the user's name. Without the browser's own credentials it is a stranger like any other.
    """
    headers = request.headers
    scheme = headers.get("authorization", "bearer").partition(" ")[0].lower()
    if "cookie" not in headers and scheme == "bearer":
        return False
    origin, site = headers.get("origin"), headers.get("sec-fetch-site", "").lower()
    if origin is not None:
        return not _may_call(origin, allowed)
    if site:
        # "none" is an address that the user has typed, or a bookmark; a link in a page is the page's. Pages of the same
        # site, but of another host, may be anybody's.
        return site not in {"same-origin", "none"}
    # Browsers say more to hosts that they trust, by HTTPS. A page may leave this out, but not change it.
    referer = _ORIGIN.match(headers.get("referer", ""))
    return referer is not None and not _may_call(referer[0], allowed)


def create_blueprint(calls: AppCalls) -> Blueprint:
    """Build the blueprint of one app: a rule for every method, and one that catches the unknown ones."""
    blueprint = Blueprint(NAME, __name__)
    app, settings, methods = calls.app, calls.settings, calls.methods
    prefix = settings.url_prefix

    def call(**_: str) -> Response:
        context = current_context()
        if isinstance(context, RoutedRequestContext):
            return _serve(calls, context.endpoint, context)
        found = _find_endpoint(calls, context.request)
        return found if isinstance(found, Response) else _serve(calls, found, context)

    def add_rules(*_: object) -> None:
        # Not by add_url_rule, whose rules match only the verbs that they list. An endpoint for each method, because
        # werkzeug looks at all rules of an endpoint for every request to it.
        unknown = "/<grpcweb_unknown:grpc_service>/<grpcweb_unknown:grpc_method>"
        app.url_map.converters["grpcweb_unknown"] = type(
            UnknownMethodConverter.__name__, (UnknownMethodConverter,), {"protocols": calls.protocols}
        )
        for path, name in [(path, path[1:].replace(".", "_")) for path in methods] + [(unknown, "unknown")]:
            # A function for each, and by Flask's decorator, which agents wrap: they name transactions by functions.
            app.endpoint(f"{NAME}.{name}")(_named(call, name))
            rule = LateRule(
                prefix + path,
                endpoint=f"{NAME}.{name}",
                merge_slashes=False,
                strict_slashes=True,
                host=settings.host or None,
                subdomain=settings.subdomain or None,
            )
            rule.methods = EveryVerb([*calls.protocols.verbs(methods.get(path)), "OPTIONS"])
            if path == unknown:
                rule.websocket = EveryScheme()  # type: ignore[assignment]
            rule.provide_automatic_options = False  # type: ignore[attr-defined]  # as Flask's own rules say
            app.url_map.add(rule)

    blueprint.record_once(add_rules)
    if "wsgi_app" in vars(app):
        # A middleware inside of this extension's application may hand Flask a copy of the environment.
        blueprint.url_value_preprocessor(_note_route)
    blueprint.register_error_handler(HTTPException, describe)
    if settings.cors_origins:
        add_cors(blueprint, settings)
    return blueprint


def _named(view: Callable[..., Response], name: str) -> Callable[..., Response]:
    def named(**values: str) -> Response:
        return view(**values)

    named.__name__ = named.__qualname__ = name
    return named


def _note_route(*_: object) -> None:
    # Before the hooks, which may respond in place of the view.
    scope = scope_of(request.environ)
    scope.is_routed = True
    scope.path = request.path


def _find_endpoint(calls: AppCalls, current: Request) -> Endpoint | Response:
    """The endpoint that a request calls, or the refusal of the request."""
    app, settings, methods = calls.app, calls.settings, calls.methods
    environ, path = current.environ, current.path[len(settings.url_prefix) :]
    method = methods.get(path)
    if current.method == "OPTIONS":
        return _allow(calls, method, 204 if settings.cors_origins else 200)
    protocol = calls.protocols.find(environ)
    if protocol is None or (method is not None and not protocol.serves(method)):
        return _refuse(calls, path, method)
    is_foreign = _is_of_another_site if protocol.is_safelisted else _is_foreign
    if (protocol.is_safelisted or settings.cors_credentials) and is_foreign(settings.cors_origins):
        origin = current.headers.get("origin", current.headers.get("sec-fetch-site", ""))
        scope_of(environ).reason = f"origin {origin[:ORIGIN_CHARACTERS]!r}"
        hint = " with cookies; list the origin in GRPC_CORS_ORIGINS" if protocol.is_safelisted else ""
        error = RpcError(StatusCode.PERMISSION_DENIED, f"pages of this origin may not call{hint}")
        return refusal(app, protocol, error, environ)
    if method is None:
        message = f"no method {path} is served here{did_you_mean(path, methods)}"
        return refusal(app, protocol, RpcError(StatusCode.UNIMPLEMENTED, message), environ, is_known=False)
    endpoint = calls.endpoint(method, protocol)
    calls.on_route(current, endpoint)
    return endpoint


def _serve(calls: AppCalls, endpoint: Endpoint, context: Any) -> Response:
    call = _call_of(calls, endpoint, context)
    environ = call.environ
    environ[CALL_KEY] = call
    # Reset at the end of the request, where this extension sees one: in a test_request_context() it does not.
    if SCOPE_KEY in environ:
        active_call.set(call)
    pieces: Iterable[bytes] = ()
    try:
        status, headers, pieces = respond(calls.observers.watch(call), call, _hold)
    finally:
        if not isinstance(pieces, StreamReply):
            call.close()
    if call.unhandled is not None and not isinstance(pieces, StreamReply):
        pass_to_teardown(context, call.unhandled)
    return response_class(calls.app)(pieces, headers, status)


def _call_of(calls: AppCalls, endpoint: Endpoint, context: Any) -> IncomingCall:
    """Make the call that a request has become; hooks may have changed the request."""
    if isinstance(context, HookedRequestContext) and not context.is_made:
        environ = context.environ
        limit, address = calls.app.config["MAX_CONTENT_LENGTH"], environ.get("REMOTE_ADDR")
    else:
        current: Request = context.request
        environ = current.environ
        limit, address = max_content_length(current, calls.app), current.remote_addr
    new_call = call_class(environ) if SOCKET_KEY in environ else IncomingCall
    call: IncomingCall = new_call(endpoint, environ, limit, address)
    if isinstance(context, HookedRequestContext):
        context.begin(call)
    else:
        vars(context.request)[CALL_KEY] = call
    return call


def _hold(stream: StreamReply) -> Release:
    scope_of(stream.call.environ).stream = stream
    return hold_context(current_context())


def _allow(calls: AppCalls, method: RpcMethod | None, status: int) -> Response:
    """Answer OPTIONS as Flask does; what makes a preflight of it is added by Flask-CORS."""
    response = response_class(calls.app)((), drained([], calls.app, request.environ), status)
    response.allow.update([*calls.protocols.verbs(method), "OPTIONS"])
    return response


def _refuse(calls: AppCalls, path: str, method: RpcMethod | None) -> Response:
    """Refuse a request that is of no protocol; the status headers are for clients that look at nothing else."""
    environ, verbs = request.environ, calls.protocols.verbs(method)
    if request.method not in verbs:
        status, message = 405, f"{path} is called with {' or '.join(verbs)}, not {request.method}"
        if request.method in {"GET", "HEAD"} and "connect" in calls.protocols.names:
            message += "; GET is for unary methods with idempotency_level = NO_SIDE_EFFECTS in the proto"
    elif calls.protocols.lacks_trailers(environ):
        status, message = 505, NO_TRAILERS
    elif request.method != "POST":
        status, message = 415, "encoding= of the query is not json or proto"
    else:
        status, message = 415, f"content type {request.content_type!r} is not {calls.protocols.described(method)}"
    scope = scope_of(environ)
    scope.refusal, scope.reason = RpcError(StatusCode.UNIMPLEMENTED, message), f"HTTP {status}"
    headers = status_headers(scope.refusal)
    if status != 405 and has_own_stream(environ) and request.mimetype.startswith("application/grpc"):
        # Its clients look at nothing but the status, and only where nothing follows the headers.
        return response_class(calls.app)((), [("content-type", "application/grpc"), *headers])
    headers.append(("content-type", "text/plain; charset=utf-8"))
    if request.method != "POST":
        # Caches keep a 405 by themselves.
        headers.append(("cache-control", "no-store"))
    response = response_class(calls.app)(message + "\n", drained(headers, calls.app, environ), status)
    if status == 405:
        response.headers["allow"] = ", ".join(verbs)
    return response
