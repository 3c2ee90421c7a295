"""Request contexts that leave out what is known already, or what nobody asks for."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextvars import Token
from typing import TYPE_CHECKING, Any

import flask.globals
from flask import Flask
from flask.ctx import AppContext, RequestContext
from flask.signals import appcontext_popped, appcontext_pushed, appcontext_tearing_down
from werkzeug.routing import MapAdapter, Rule

from flask_grpcweb_scm.rpc import CallContext

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

__all__ = ["LateRequestContext", "RoutedRequestContext"]


class RoutedRequestContext(RequestContext):
    """A request context whose route is known: looking for it takes a tenth of all that Flask does for a request.

    :param rule: without variables.
    """

    def __init__(self, app: Flask, environ: WSGIEnvironment, rule: Rule) -> None:
        # As the base class does it.
        self.app = app
        self.request = app.request_class(environ)
        self.request.json_module = app.json
        self.request.url_rule = rule
        self.request.view_args = {}
        self.flashes = None
        self._session = None
        self._after_request_functions = []
        self._cv_tokens = []
        self._adapter: MapAdapter | None = None
        self._is_entered = False

    @property
    def url_adapter(self) -> MapAdapter | None:  # type: ignore[override]
        """For ``url_for()``. None while the context is entered, when it would be used to look for the route."""
        if self._adapter is None and self._is_entered:
            self._adapter = self.app.create_url_adapter(self.request)
        return self._adapter

    def push(self) -> None:
        """Enter the context."""
        super().push()
        self._is_entered = True

    def copy(self) -> RequestContext:
        """A context of the same request, for another thread."""
        return RequestContext(self.app, self.request.environ, request=self.request, session=self._session)


class _Late:
    """An attribute of a context that is there once the context is made, which the first use of one does.

    A ``__getattr__`` would do for all of them, but slow down every other attribute.
    """

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, context: LateAppContext | LateRequestContext, owner: type) -> Any:
        context._make()
        return vars(context)[self._name]


class LateAppContext(AppContext):
    """An application context that is entered empty, tells of it only if somebody listens, and is made when used."""

    g = _Late()
    url_adapter = _Late()
    _cv_tokens = _Late()
    _entered: Token[AppContext] | None = None

    def __init__(self, app: Flask) -> None:
        self.app = app
        if appcontext_pushed.receivers:
            self.push()
        else:
            self._entered = flask.globals._cv_app.set(self)

    def _make(self) -> None:
        super().__init__(self.app)
        if self._entered is not None:
            self._cv_tokens.append(self._entered)

    def leave(self, error: BaseException | None) -> None:
        """What pop() does."""
        if (
            self.app.teardown_appcontext_funcs
            or appcontext_tearing_down.receivers
            or appcontext_popped.receivers
            or flask.globals._cv_app.get() is not self
        ):
            self.pop(error)
        else:
            flask.globals._cv_app.reset(self._entered or self._cv_tokens.pop())


class LateRequestContext(RoutedRequestContext):
    """A request context that is entered empty, in an application context of its own, and made at its first use."""

    request = _Late()
    flashes = _Late()
    _session = _Late()
    _after_request_functions = _Late()
    _cv_tokens = _Late()
    _adapter = _Late()
    _is_entered = _Late()

    _grpcweb_call: CallContext | None = None

    def __init__(self, app: Flask, environ: WSGIEnvironment, rule: Rule) -> None:
        self.app = app
        self.environ = environ
        self._rule = rule
        self.is_made = False
        """Whether somebody has used it."""
        self.app_context = LateAppContext(app)
        self._holders = 0
        self._entered = flask.globals._cv_request.set(self)

    def hold(self) -> Callable[[], None]:
        """Have the contexts stay until what this returns is called too."""
        self._holders += 1
        return lambda: self.leave(sys.exc_info()[1])

    def leave(self, error: BaseException | None) -> None:
        """End both contexts, once all holders have called this."""
        if self._holders:
            self._holders -= 1
        elif self.is_made:
            self.pop(error)
        else:
            flask.globals._cv_request.reset(self._entered)
            self.app_context.leave(error)

    def _make(self) -> None:
        """What push() does, but for entering it."""
        super().__init__(self.app, self.environ, self._rule)
        self.is_made = True
        self._cv_tokens.append((self._entered, self.app_context))
        sessions = self.app.session_interface
        self._session = sessions.open_session(self.app, self.request)
        if self._session is None:
            self._session = sessions.make_null_session(self.app)
        self._is_entered = True
