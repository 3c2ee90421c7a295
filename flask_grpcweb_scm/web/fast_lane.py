"""Calls that Flask need not see: answered where WSGI enters the app, as long as nobody could tell.

Most of what a request costs in Flask is what it makes ready for others: a request, its route and its session, hooks
that look at them, signals. Where an app has none of these for its calls, the lane pushes the application context, does
the call, and pops the context; the request context is made when somebody asks for it, and then everything that belongs
to it is done as Flask does it.

The lane is chosen call by call, from what is registered at that moment. It leaves to Flask whatever it does not know
for sure, such as the first call of every route: what Flask's router has sent to the blueprint once will go there again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import flask.globals
from blinker import NamedSignal
from flask import Blueprint, Flask, Request, Response
from flask.ctx import RequestContext
from flask.sessions import SecureCookieSessionInterface
from flask.signals import request_finished, request_started, request_tearing_down
from werkzeug.routing import Rule

from flask_grpcweb_scm.rpc import CallForm, IncomingCall
from flask_grpcweb_scm.web.app_calls import Calls
from flask_grpcweb_scm.web.flask_internals import LateRequestContext, RoutedRequestContext
from flask_grpcweb_scm.web.response import GrpcWebResponse, answer, send

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

__all__ = ["FastLane", "surround"]

Hooks = Mapping[str | None, list[Any]]

MAX_ROUTES = 10_000
MAX_KEY_CHARACTERS = 1000
"""Most of what a route is remembered by is the caller's choice."""

# What the lane does itself, or does without.
_MACHINERY = {
    name: getattr(Flask, name)
    for name in (
        *("app_context", "create_url_adapter", "dispatch_request", "do_teardown_appcontext", "do_teardown_request"),
        *("ensure_sync", "finalize_request", "full_dispatch_request", "handle_exception", "handle_user_exception"),
        *("make_response", "preprocess_request", "process_response", "request_context", "should_ignore_error"),
        "wsgi_app",
    )
}


# Its contexts are made here from their parts, which were others before Flask 3.1.3.
IS_KNOWN_FLASK = hasattr(flask.globals, "_cv_request") and isinstance(vars(RequestContext).get("session"), property)


def surround(calls: Calls, blueprint: Blueprint) -> None:
    """Put a :class:`FastLane` around Flask, unless something is around it already: that would be left out.

    Nor around a later Flask, which may have contexts of another make.

    :param blueprint: of the calls, which has been registered.
    """
    app = calls.app
    if "wsgi_app" in vars(app) or not IS_KNOWN_FLASK:
        app.url_value_preprocessors[blueprint.name].append(lambda *_: _exempt_from_csrf(app, blueprint))
        return
    lane = FastLane(calls, blueprint)
    app.wsgi_app = lane.wsgi_app  # type: ignore[method-assign]
    app.request_context = lane.request_context  # type: ignore[method-assign]
    calls.on_route = lane.add_route


def _exempt_from_csrf(app: Flask, blueprint: Blueprint) -> None:
    # With a request, because Flask-WTF may be initialised after us. Its tokens are for forms: browsers send gRPC-Web's
    # content types across origins only after a preflight.
    if "csrf" in app.extensions:
        app.extensions["csrf"].exempt(blueprint)


class Route(NamedTuple):
    """What Flask's router has found for a request, and will find again."""

    rule: Rule
    form: CallForm


class FastLane:
    """A WSGI application around that of Flask."""

    def __init__(self, calls: Calls, blueprint: Blueprint) -> None:
        self._calls = calls
        self._app = app = calls.app
        self._blueprint = blueprint
        self._name = name = blueprint.name
        self._views = {key: view for key, view in app.view_functions.items() if key.startswith(f"{name}.")}
        self._flask: WSGIApplication = app.wsgi_app
        self._new_request_context = app.request_context
        self._routes: dict[tuple[str | None, ...], Route] = {}
        self._own_hooks = [*app.after_request_funcs[name]]
        self._hooks = (
            app.before_request_funcs,
            app.teardown_request_funcs,
            app.after_request_funcs,
            app.url_value_preprocessors,
        )
        self._seen: tuple[object, bool] = None, False
        settings = calls.settings
        self._is_open = settings.fast_lane and not settings.cors_origins and not settings.cors_credentials

    def add_route(self, request: Request, form: CallForm) -> None:
        """Remember the route of a request."""
        key = _key(request.environ)
        if key in self._routes or request.url_rule is None or not self._is_plain_flask():
            return
        if sum(len(part) for part in key if part) > MAX_KEY_CHARACTERS:
            return
        if len(self._routes) >= MAX_ROUTES:
            self._routes.clear()
        self._routes[key] = Route(request.url_rule, form)

    def request_context(self, environ: WSGIEnvironment) -> RequestContext:
        """What Flask enters for a request; for a call whose route is known, without looking for it."""
        route = self._routes.get(_key(environ))
        # An upgrade is routed by other rules.
        if route is None or "HTTP_UPGRADE" in environ:
            return self._new_request_context(environ)
        return RoutedRequestContext(self._app, environ, route.rule)

    def wsgi_app(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request as Flask.wsgi_app and Flask.full_dispatch_request do it, or have them do it."""
        app = self._app
        route = self._routes.get(_key(environ))
        if route is None or not self._may_pass(environ):
            _exempt_from_csrf(app, self._blueprint)
            return self._flask(environ, start_response)
        context = LateRequestContext(app, environ, route.rule)
        error: BaseException | None = None
        try:
            call = IncomingCall(route.form, environ, app.config["MAX_CONTENT_LENGTH"], environ.get("REMOTE_ADDR"))
            context._grpcweb_call = call
            try:
                reply = self._calls.run(call)
            except Exception as raised:
                response = app.finalize_request(app.handle_user_exception(raised))
                return response(environ, start_response)
            # Most calls leave nothing to do.
            headers, pieces = reply if type(reply) is tuple and call.is_read else answer(reply, call, context.hold)
            if context.is_made:
                response = app.finalize_request(GrpcWebResponse(pieces, headers))
                return response(environ, start_response)
            return send(headers, pieces, start_response)
        except Exception as unhandled:
            error = unhandled
            return app.handle_exception(unhandled)(environ, start_response)
        except BaseException as fatal:
            error = fatal
            raise
        finally:
            context.leave(None if error is not None and app.should_ignore_error(error) else error)

    # Whether nobody could tell

    def _is_plain_flask(self) -> bool:
        app = self._app
        return (
            all(getattr(type(app), name) is function for name, function in _MACHINERY.items())
            and vars(app).keys().isdisjoint(_MACHINERY.keys() - {"wsgi_app", "request_context"})
            and app.config.get("TRUSTED_HOSTS") is None
            and app.request_class is Request
            and app.response_class is Response
            and self._views.items() <= app.view_functions.items()
            and type(app.session_interface) is SecureCookieSessionInterface
        )

    def _may_pass(self, environ: WSGIEnvironment) -> bool:
        """Whether a request needs nothing of Flask, and no hook of the app and no receiver of a signal would see it."""
        app = self._app
        cookies = environ.get("HTTP_COOKIE")
        if (
            not self._is_open
            # Debuggers and test clients keep contexts beyond the request.
            or "werkzeug.debug.preserve_context" in environ
            or "HTTP_UPGRADE" in environ
            or flask.globals._cv_app.get(None) is not None
            # A permanent session is sent again with every answer.
            or (cookies is not None and app.secret_key and app.config["SESSION_COOKIE_NAME"] in cookies)
        ):
            return False
        seen, has_no_hooks = self._seen
        if self._hooks != seen:
            has_no_hooks = self._has_no_hooks(*self._hooks)
            copy = tuple({key: [*funcs] for key, funcs in hooks.items()} for hooks in self._hooks)
            self._seen = copy, has_no_hooks
        return has_no_hooks and not (
            (request_started.receivers and _has_receivers(request_started, app))
            or (request_finished.receivers and _has_receivers(request_finished, app))
            or (request_tearing_down.receivers and _has_receivers(request_tearing_down, app))
        )

    def _has_no_hooks(self, before: Hooks, teardown: Hooks, after: Hooks, values: Hooks) -> bool:
        """Whether none but our own would be called."""
        name = self._name
        others = [before.get(name), teardown.get(name), values.get(name)]
        others += [hooks.get(None) for hooks in (before, teardown, after, values)]
        return not any(others) and after.get(name) == self._own_hooks


def _key(environ: WSGIEnvironment) -> tuple[str | None, ...]:
    """What of a request decides its route, and the form of its call."""
    get = environ.get
    return get("REQUEST_METHOD"), get("HTTP_HOST"), get("PATH_INFO"), get("CONTENT_TYPE"), get("HTTP_ACCEPT")


def _has_receivers(signal: NamedSignal, app: Flask) -> bool:
    # Signal.has_receivers_for() takes an app for one with receivers once it has sent the signal.
    return any(True for _ in signal.receivers_for(app))
