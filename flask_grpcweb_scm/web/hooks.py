"""Calls with the app's hooks around them: what Flask does for a request, as far as somebody looks at it.

The hooks are called in Flask's order, with what they see in Flask. But the request, the session and the response are
made by those who use them: many hooks do nothing but note the time, or set a header.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from blinker import NamedSignal
from flask import Flask, Response
from flask.signals import request_finished, request_started, request_tearing_down
from werkzeug.routing import Rule

from flask_grpcweb_scm.rpc import Endpoint
from flask_grpcweb_scm.web.cors import Permissions, is_logged
from flask_grpcweb_scm.web.late_contexts import HookedRequestContext, LateRequestContext
from flask_grpcweb_scm.web.response import GrpcWebResponse, scope_of
from flask_grpcweb_scm.web.sessions import has_session_cookie

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

__all__ = ["Hooks"]

Functions = Mapping[str | None, list[Any]]
AfterRequest = Callable[[Response], Response]

# Looked up each time, because an app may replace one of these; as attributes they take three times as long.
_registered: Callable[[Mapping[str, Any]], tuple[Functions, ...]] = operator.itemgetter(
    "before_request_funcs", "teardown_request_funcs", "after_request_funcs", "url_value_preprocessors"
)


@dataclass(frozen=True, slots=True)
class FoundHooks:
    """The hooks that an app has had when it was looked at."""

    seen: tuple[Functions, ...] | None = None
    are_absent: bool = False
    permissions: Permissions | None = None
    """The headers that are added to each response, where nothing else is done to it."""
    after: Sequence[Permissions | AfterRequest] = ()


class Hooks:
    """The hooks of an app, which are called for requests to a blueprint; as they are registered at the moment.

    :param name: of the blueprint.
    """

    def __init__(self, app: Flask, name: str) -> None:
        self._app = app
        self._own = vars(app)
        self._name = name
        self.found = FoundHooks()
        """Replaced at once, because several threads may look."""

    def are_unaware(self, environ: WSGIEnvironment) -> bool:
        """Return whether nobody looks at a request: no hook but those that add headers, no receiver, and no session.

        A permanent session is sent again with every response.
        """
        app, found = self._app, self.found
        if _registered(self._own) != found.seen:
            found = self._look()
        return (
            found.are_absent
            and not ("HTTP_COOKIE" in environ and has_session_cookie(app, environ))
            and not (request_started.receivers and _has_receivers(request_started, app))
            and not (request_finished.receivers and _has_receivers(request_finished, app))
            and not (request_tearing_down.receivers and _has_receivers(request_tearing_down, app))
            and not (found.permissions is not None and is_logged())
        )

    def _look(self) -> FoundHooks:
        seen = tuple({key: [*functions] for key, functions in [*hooks.items()]} for hooks in _registered(self._own))
        before, teardown, after, preprocessors = seen
        names = (self._name, None)
        functions = [function for name in names for function in reversed(after.get(name, []))]
        calls: list[Permissions | AfterRequest] = []
        for is_known, group in itertools.groupby(functions, Permissions.knows):
            same = [*group]
            calls += [Permissions(self._app, same, exposes=False)] if is_known else same
        are_absent = not any(hooks.get(name) for hooks in (before, teardown, preprocessors) for name in names)
        are_absent = are_absent and all(map(Permissions.knows, functions))
        permissions = Permissions(self._app, functions) if are_absent and functions else None
        self.found = found = FoundHooks(seen, are_absent, permissions, calls)
        return found

    def serve(
        self, rule: Rule, endpoint: Endpoint, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        """Serve a call whose route is known, as Flask.wsgi_app does."""
        app = self._app
        context = HookedRequestContext(app, rule, endpoint, environ)
        error: BaseException | None = None
        try:
            try:
                context.open_session()
                response = self._dispatch(context)
            except Exception as raised:
                error = raised
                response = app.handle_exception(raised)
            except BaseException as raised:
                error = raised
                raise
            scope_of(environ).is_routed = not context.is_elsewhere
            return response(environ, start_response)
        finally:
            context.leave(None if error is not None and app.should_ignore_error(error) else error)

    def _dispatch(self, context: HookedRequestContext) -> Response:
        """Do what Flask.full_dispatch_request does."""
        app = self._app
        try:
            if request_started.receivers:
                request_started.send(app, _async_wrapper=app.ensure_sync)
            value = self._before(context)
            if value is None:
                value = app.dispatch_request() if context.is_made else app.view_functions[context.endpoint_name]()
        except Exception as error:
            value = app.handle_user_exception(error)
        if context.is_elsewhere:
            return app.finalize_request(value)
        response = value if type(value) is GrpcWebResponse else app.make_response(value)
        return self.finish(context, response, context.environ)

    def _before(self, context: HookedRequestContext) -> Any:
        """Do what Flask.preprocess_request does."""
        app, names = self._app, (None, self._name)
        for name in names:
            for preprocess in app.url_value_preprocessors.get(name, ()):
                preprocess(context.request.endpoint, context.request.view_args)
        for name in names:
            for function in app.before_request_funcs.get(name, ()):
                value = app.ensure_sync(function)()
                if value is not None:
                    return value
        return None

    def finish(self, context: LateRequestContext, response: Response, environ: WSGIEnvironment) -> Response:
        """Do what Flask.finalize_request does."""
        app, found = self._app, self.found
        if _registered(self._own) != found.seen:
            found = self._look()
        for function in itertools.chain(context.functions_after, found.after):
            if isinstance(function, Permissions):
                response = function.after_request(response, environ)
            else:
                response = app.ensure_sync(function)(response)
        context.save_session(response)
        if request_finished.receivers:
            request_finished.send(app, _async_wrapper=app.ensure_sync, response=response)
        return response


def _has_receivers(signal: NamedSignal, app: Any) -> bool:
    # Signal.has_receivers_for() takes an app for one with receivers once it has sent the signal.
    return any(True for _ in signal.receivers_for(app))
