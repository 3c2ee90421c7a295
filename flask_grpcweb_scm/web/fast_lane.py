"""Calls that Flask need not see: served where WSGI enters the app, as long as nobody could tell.

Most of what a request costs in Flask is what it makes ready for others: a request, its route and its session, hooks
that look at them, signals. Where an app has none of these for its calls, the lane pushes the application context, does
the call, and pops the context; the request context is made when somebody uses it, and then everything that belongs
to it is done as Flask does it.

The lane is chosen call by call, from what is registered at that moment. It leaves to Flask whatever it does not know
for sure, such as the first call of every route: what Flask's router has sent to the blueprint once will go there again.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from flask import Blueprint, Request, Response
from flask.sessions import SecureCookieSessionInterface
from werkzeug.routing import Rule

from flask_grpcweb_scm.rpc import Endpoint, IncomingCall, Pairs, StreamReply
from flask_grpcweb_scm.signals import CALL_KEY, logger
from flask_grpcweb_scm.web.app_calls import AppCalls
from flask_grpcweb_scm.web.cors import NotedEnviron, expose_headers
from flask_grpcweb_scm.web.flask_internals import (
    RequestContext,
    app_context,
    handled,
    is_plain_flask,
)
from flask_grpcweb_scm.web.hooks import Hooks
from flask_grpcweb_scm.web.http_errors import internal_error, propagates_exceptions
from flask_grpcweb_scm.web.late_contexts import LateAppContext, LateRequestContext, RoutedRequestContext
from flask_grpcweb_scm.web.peers import SOCKET_KEY, PatientAgain, call_class
from flask_grpcweb_scm.web.response import (
    GrpcWebResponse,
    Release,
    RequestScope,
    is_ours,
    refusal,
    respond,
    scope_of,
    translated,
)
from flask_grpcweb_scm.web.wsgi import RpcApp, close_body, in_own_context

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

__all__ = ["FastLane", "Route"]

Parts = tuple[str, Pairs, Iterable[bytes]]

MAX_ROUTES = 2_000
MAX_KEY_CHARACTERS = 1000
"""Most of what a route is remembered by is the caller's choice."""


class Route(NamedTuple):
    """A route that Flask's router has found for a request, and will find again."""

    rule: Rule
    endpoint: Endpoint


class FastLane:
    """A WSGI application around that of an app: the short way of calls, for as long as nobody in the app could tell.

    :param blueprint: of the RPCs, which is registered.
    """

    def __init__(self, calls: AppCalls, blueprint: Blueprint, rpc_app: RpcApp) -> None:
        self._calls = calls
        self._observers = calls.observers
        self._app = app = calls.app
        self._name = name = blueprint.name
        self._views = {key: view for key, view in app.view_functions.items() if key.startswith(f"{name}.")}
        self._rpc_app = rpc_app
        self._new_request_context = app.request_context
        self._routes: dict[tuple[str | None, ...], Route] = {}
        self._by_more: dict[tuple[str | None, ...], Route] = {}
        """The routes of requests of which the key does not tell the protocol."""
        self._hooks = Hooks(app, name)
        settings = calls.settings
        self._paths = {settings.url_prefix + path for path in calls.methods}
        self._key = _key_of_page if settings.cors_credentials else _key
        self._matches_hosts = bool(
            settings.host or settings.subdomain or app.subdomain_matching or app.url_map.host_matching
        )
        self._is_open = settings.fast_lane
        self._own, self._attributes = vars(app), 0
        """The attributes of the app, and as many as it had when it was last looked at."""
        self._own_of_sessions: dict[str, Any] = getattr(app.session_interface, "__dict__", {})

    def add_route(self, request: Request, endpoint: Endpoint) -> None:
        """Remember the route of a request."""
        key = self._key(request.environ)
        routes = self._routes if endpoint.protocol.is_found_by_key else self._by_more
        # Flask drops the body of a response to HEAD.
        if key in routes or request.url_rule is None or request.method == "HEAD" or not self._is_plain_flask():
            return
        if self._matches_hosts and not _is_whole_host(key[1]):
            return
        if sum(len(part) for part in key if part) > MAX_KEY_CHARACTERS:
            return
        if len(routes) >= MAX_ROUTES:
            routes.clear()
        routes[key] = Route(request.url_rule, endpoint)

    def request_context(self, environ: WSGIEnvironment) -> RequestContext:
        """Make the context that Flask enters for a request; where the route is known, without looking for it."""
        key = self._key(environ)
        route = self._routes.get(key) or self._route_by_more(key, environ)
        # An upgrade is routed by other rules.
        if route is None or "HTTP_UPGRADE" in environ:
            return self._new_request_context(environ)
        return RoutedRequestContext(self._app, environ, route.rule, route.endpoint)

    def wsgi_app(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Serve a call whose route is known, while nobody could tell; leave any other request to the app."""
        key_of = self._key
        key = key_of(environ)
        route = self._routes.get(key)
        if route is None:
            route = self._route_by_more(key, environ)
        if route is None or not self._may_pass(environ):
            is_preflight = "HTTP_ACCESS_CONTROL_REQUEST_METHOD" in environ and environ["REQUEST_METHOD"] == "OPTIONS"
            return (self._preflight if is_preflight else self._rpc_app.wsgi_app)(environ, start_response)
        if not self._hooks.are_unaware(environ):
            hooked = functools.partial(self._hooks.serve, *route)
            is_stream = route.endpoint.method.server_streaming
            return self._rpc_app.serve(hooked, environ, start_response, is_stream=is_stream)
        if SOCKET_KEY in environ:
            return PatientAgain(environ, functools.partial(self._enter, route, environ, start_response))
        if route.endpoint.method.server_streaming:
            return self._enter(route, environ, start_response)
        # Most calls.
        return self._serve(route, None, environ, start_response)

    def _route_by_more(self, key: tuple[str | None, ...], environ: WSGIEnvironment) -> Route | None:
        route = self._by_more.get(key)
        if route is None:
            return None
        # The blueprint knows what to do about a browser's own credentials.
        if route.endpoint.protocol.is_safelisted and not {"HTTP_COOKIE", "HTTP_AUTHORIZATION"}.isdisjoint(environ):
            return None
        protocol = self._calls.protocols.find(environ)
        return Route(route.rule, self._calls.endpoint(route.endpoint.method, protocol)) if protocol else None

    def _preflight(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Respond to the preflight of a call as Flask has responded to one that is the same."""
        flask = self._rpc_app.wsgi_app
        is_alone = not environ.get("CONTENT_LENGTH") and "HTTP_TRANSFER_ENCODING" not in environ
        if not is_alone or environ.get("PATH_INFO") not in self._paths or not self._may_pass(environ):
            return flask(environ, start_response)
        permissions = self._hooks.found.permissions if self._hooks.are_unaware(environ) else None
        if permissions is None or not self._is_plain_flask() or self._matches_hosts:
            return flask(environ, start_response)
        found = permissions.preflight(environ)
        if found is not None:
            # Teardown functions and signals are told of it as of any request.
            LateAppContext(self._app).leave(None)
            start_response(*found)
            return []
        noted = NotedEnviron(environ)
        return flask(noted, permissions.remembering(noted, start_response))

    def _enter(self, route: Route, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if route.endpoint.method.server_streaming:
            return in_own_context(functools.partial(self._serve, route), environ, start_response)
        return self._serve(route, None, environ, start_response)

    def _serve(
        self, route: Route, scope: RequestScope | None, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        """Serve a request as Flask.wsgi_app does.

        :param scope: where a stream is kept. Its contexts stay, as Flask's would not.
        """
        app = self._app
        new_call = call_class(environ) if SOCKET_KEY in environ else IncomingCall
        call = new_call(route.endpoint, environ, app.config["MAX_CONTENT_LENGTH"], environ.get("REMOTE_ADDR"))
        try:
            parts = self._respond(route, scope, call)
        except Exception:
            # A teardown function has failed, or an error handler.
            refused = self._failed(call)
            if refused is None:
                raise
            parts = refused
        else:
            if CALL_KEY in environ:
                # The app's, in place of ours.
                parts = self._replaced(call, *parts)
        status, headers, pieces = parts
        # Not before the teardown functions, which may fail: servers send what they have been told twice.
        start_response(status, headers)
        return pieces

    def _respond(self, route: Route, scope: RequestScope | None, call: IncomingCall) -> Parts:
        """The parts of the response to a call, or of the app's; its contexts have ended."""
        app, environ = self._app, call.environ
        context = LateRequestContext(app, route.rule, call)
        pieces: Iterable[bytes]
        try:
            try:
                reply = self._observers.watch(call)
            except Exception as raised:
                status, headers, pieces = self._final(handled(app, raised), call)
            else:
                # Most calls leave nothing to do.
                if type(reply) is tuple and call.is_read:
                    status, headers, pieces = reply
                else:
                    status, headers, pieces = respond(reply, call, functools.partial(_hold, scope, context))
                if context.is_outermost:
                    permissions = self._hooks.found.permissions
                    if permissions is not None:
                        headers = permissions.added_to(headers, environ)
                    elif "HTTP_ORIGIN" in environ:
                        headers = expose_headers(headers)
                else:
                    response = self._hooks.finish(context, GrpcWebResponse(pieces, headers, status), environ)
                    status, headers, pieces = self._final(response, call)
        except Exception as unhandled:
            call.unhandled = unhandled
            status, headers, pieces = self._unhandled(unhandled, call)
        except BaseException as fatal:
            call.unhandled = fatal
            raise
        finally:
            if scope is None or scope.stream is None:
                call.close()
                context.leave(call.unhandled)
        return status, headers, pieces

    def _unhandled(self, error: Exception, call: IncomingCall) -> Parts:
        """The parts of the app's response to an exception that no error handler has handled."""
        response = self._app.handle_exception(error)
        try:
            return self._final(response, call)
        except Exception as raised:
            # A receiver's. The end of the call has been told of.
            return self._final(self._app.handle_exception(raised), call)

    def _final(self, response: Response, call: IncomingCall) -> Parts:
        """The parts of a response that the app has had, told of while the contexts are there."""
        environ = call.environ
        environ[CALL_KEY] = call
        replaced = None
        if not (isinstance(response, GrpcWebResponse) or is_ours(response.status, response.headers, environ)):
            replaced = response.status, [*response.headers]
        try:
            self._observers.finish(scope_of(environ), environ, replaced)
        except Exception as error:
            # A receiver's, when the response is final.
            if replaced is not None:
                response.close()
            response = handled(self._app, error)
        status, headers, pieces = _parts(response, environ)
        if isinstance(response, GrpcWebResponse) or is_ours(status, headers, environ):
            del environ[CALL_KEY]
        return status, headers, pieces

    def _replaced(self, call: IncomingCall, status: str, headers: Pairs, pieces: Iterable[bytes]) -> Parts:
        """The parts of what is sent in place of a response of the app, whose body is read where servers read it."""
        environ = call.environ
        response = Response(pieces, status, headers)
        try:
            response = translated(self._app, call.endpoint.protocol, response, environ)
        finally:
            close_body(pieces)
            del environ[CALL_KEY]
        return _parts(response, environ)

    def _failed(self, call: IncomingCall) -> Parts | None:
        """The parts of the response to a call for which something of the app has failed; None when that is raised."""
        environ = call.environ
        scope = scope_of(environ)
        if propagates_exceptions(self._app):
            if scope.observation is not None:
                self._observers.finish(scope, environ, ("500", []))
            return None
        logger.exception("%r failed outside of the app's error handlers", environ["PATH_INFO"])
        # A body is not read twice.
        environ[CALL_KEY] = call
        response = refusal(self._app, call.endpoint.protocol, internal_error(), environ)
        del environ[CALL_KEY]
        self._calls.finish(scope, environ)
        return _parts(response, environ)

    # Whether nobody could tell

    def _is_plain_flask(self) -> bool:
        app = self._app
        return (
            is_plain_flask(app)
            and app.config.get("TRUSTED_HOSTS") is None
            and app.request_class is Request
            and app.response_class is Response
            and self._views.items() <= app.view_functions.items()
            # Of the class: one of the app's own could be replaced by another, and that is no attribute more.
            and "session_interface" not in self._own
            and type(app.session_interface) is SecureCookieSessionInterface
            and not vars(app.session_interface)
        )

    def _may_pass(self, environ: WSGIEnvironment) -> bool:
        """Return whether a request needs nothing of Flask but what is known here."""
        count = len(self._own)
        if count != self._attributes or self._own_of_sessions:
            # Whoever replaces a part of an app, or of its sessions, while it serves adds an attribute there.
            self._is_open, self._attributes = self._calls.settings.fast_lane and self._is_plain_flask(), count
        return not (
            not self._is_open
            # Debuggers and test clients keep contexts beyond the request.
            or "werkzeug.debug.preserve_context" in environ
            or "HTTP_UPGRADE" in environ
            or app_context(None) is not None
        )


def _parts(response: Response, environ: WSGIEnvironment) -> Parts:
    """The status, headers and body of a response."""
    started: list[tuple[str, Pairs]] = []
    pieces = response(environ, lambda *head: started.append(head))  # type: ignore[arg-type]
    ((status, headers),) = started
    return status, expose_headers(headers) if "HTTP_ORIGIN" in environ else headers, pieces


def _hold(scope: RequestScope | None, context: LateRequestContext, stream: StreamReply) -> Release:
    assert scope is not None
    scope.stream = stream
    return context.leave


def _key(environ: WSGIEnvironment) -> tuple[str | None, ...]:
    """The part of a request that decides its route, and its endpoint."""
    get = environ.get
    return get("REQUEST_METHOD"), get("HTTP_HOST"), get("PATH_INFO"), get("CONTENT_TYPE"), get("HTTP_ACCEPT")


def _key_of_page(environ: WSGIEnvironment) -> tuple[str | None, ...]:
    """The same where the origin decides whether a page may call at all."""
    return *_key(environ), environ.get("HTTP_ORIGIN"), environ.get("wsgi.url_scheme")


def _is_whole_host(host: str | None) -> bool:
    """Return whether the header says all that is known of the host, whatever the scheme and the server's own name."""
    return host is not None and not host.endswith((":80", ":443"))
