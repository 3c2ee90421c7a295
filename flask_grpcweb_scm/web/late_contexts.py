"""Request contexts of calls, of which nothing is made before somebody uses it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextvars import Token
from typing import TYPE_CHECKING, Any, cast

from flask import Flask, Response, has_request_context, request
from flask.ctx import AppContext
from flask.sessions import SessionMixin
from flask.signals import appcontext_popped, appcontext_pushed, appcontext_tearing_down, request_tearing_down
from werkzeug.local import LocalProxy
from werkzeug.routing import MapAdapter, Rule

from flask_grpcweb_scm.forks import renew_after_fork
from flask_grpcweb_scm.rpc import CallContext, Endpoint, IncomingCall
from flask_grpcweb_scm.signals import CALL_KEY, active_call
from flask_grpcweb_scm.web.flask_internals import RequestContext, app_variable, outer_app_context, request_variable
from flask_grpcweb_scm.web.sessions import has_session_cookie, open_known_session, save_session

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

__all__ = ["HookedRequestContext", "LateRequestContext", "RoutedRequestContext", "current_rpc"]

# Python 3.11 makes a bound method for each call of an imported object's.
_enter_app, _entered_app, _leave_app = app_variable.set, app_variable.get, app_variable.reset
_enter_request, _entered_request, _leave_request = request_variable.set, request_variable.get, request_variable.reset
_active_call = active_call.get


class RoutedRequestContext(RequestContext):
    """A request context whose route is known: looking for it takes a tenth of all that Flask does for a request.

    :param rule: without variables.
    :param endpoint: of the RPC, which the view need not look for either.
    """

    def __init__(self, app: Flask, environ: WSGIEnvironment, rule: Rule, endpoint: Endpoint) -> None:
        self.app = app
        self._session = None
        self._fill(environ, rule, endpoint)

    def _fill(self, environ: WSGIEnvironment, rule: Rule, endpoint: Endpoint, *entered: tuple[Any, Any]) -> None:
        """Set all attributes but those of the session, each once: another thread may read one as soon as it is there.

        :param entered: tokens of the context, if it is entered, with the application context that it has entered.
        """
        self.endpoint = endpoint
        # As the base class does it.
        request = self.app.request_class(environ)
        request.json_module = self.app.json
        request.url_rule = rule
        request.view_args = {}
        # Not before it has all of that: another thread may have waited for it.
        self.request = request
        self.flashes = None
        self._after_request_functions = []
        self._cv_tokens = [*entered]
        self._adapter: MapAdapter | None = None
        self._is_entered = bool(entered)

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


class _MadeAtUse:
    """An attribute of a context that is there once the context is made, which the first use of one does.

    A ``__getattr__`` would do for all of them, but slow down every other attribute.
    """

    making = threading.RLock()
    """Held while one is made: threads of a call may share its contexts."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, context: LateAppContext | LateRequestContext, owner: type) -> Any:
        attributes = vars(context)
        with self.making:
            if self._name not in attributes:
                context._make()
        return attributes[self._name]


def _renew(owner: type[_MadeAtUse]) -> None:
    owner.making = threading.RLock()


renew_after_fork(_MadeAtUse, _renew)


class LateAppContext(AppContext):
    """An application context that is entered empty, tells of it only if somebody listens, and is made when used."""

    g = _MadeAtUse()
    url_adapter = _MadeAtUse()
    _cv_tokens = _MadeAtUse()

    def __init__(self, app: Flask, call: IncomingCall | None = None) -> None:
        self.app = app
        self.call: IncomingCall | None = None
        self.around = _active_call()
        """For current_rpc: a request that something in the call has made has set another one."""
        self._entered: Token[AppContext] | None = None
        if appcontext_pushed.receivers:
            self.push()
        else:
            self._entered = _enter_app(self)
        # Not in a context that a receiver leaves on the thread, because it raises.
        self.call = call

    def _make(self) -> None:
        made = AppContext(self.app)
        if self._entered is not None:
            made._cv_tokens.append(self._entered)
        # Each once: another thread may read one as soon as it is there.
        self.url_adapter, self.g, self._cv_tokens = made.url_adapter, made.g, made._cv_tokens

    def leave(self, error: BaseException | None) -> None:
        """End the context as pop() does."""
        if (
            self.app.teardown_appcontext_funcs
            or appcontext_tearing_down.receivers
            or appcontext_popped.receivers
            or _entered_app() is not self
        ):
            self.pop(error)
        else:
            _leave_app(self._entered or self._cv_tokens.pop())


class _OpenedAtUse:
    """The session of a context, which its first use opens."""

    def __get__(self, context: LateRequestContext, owner: type) -> SessionMixin:
        with _MadeAtUse.making:
            session: SessionMixin | None = vars(context).get("_session")
            if session is None:
                session = context._session = context._open_session()
                context.is_outermost = False
        return session


class LateRequestContext(RoutedRequestContext):
    """A request context that is entered empty, in an application context of its own, and made at its first use."""

    request = _MadeAtUse()
    flashes = _MadeAtUse()
    _after_request_functions = _MadeAtUse()
    _cv_tokens = _MadeAtUse()
    _adapter = _MadeAtUse()
    _is_entered = _MadeAtUse()
    _session = _OpenedAtUse()

    def __init__(self, app: Flask, rule: Rule, call: IncomingCall) -> None:
        self.app = app
        self._rule = rule
        self._call: IncomingCall | None = call
        self.is_made = False
        self.is_outermost = True
        """False once somebody has used anything of it: what comes after the call may change its response."""
        self.app_context = LateAppContext(app, call)
        self._entered = _enter_request(self)

    @property
    def functions_after(self) -> Sequence[Callable[[Response], Response]]:
        """The functions of ``after_this_request()``."""
        return self._after_request_functions if self.is_made else ()

    def save_session(self, response: Response) -> None:
        """Save the session, if there is one; one that was not opened is empty, and stays so."""
        session = vars(self).get("_session")
        if session is not None:
            save_session(self.app, session, response)

    def leave(self, error: BaseException | None) -> None:
        """End both contexts."""
        if self.is_made or _entered_request(None) is not self:
            self.pop(error)
        else:
            _leave_request(self._entered)
            self.app_context.leave(error)

    def _make(self) -> None:
        assert self._call is not None
        self._make_of(self._call.environ, self._call.endpoint)

    def _make_of(self, environ: WSGIEnvironment, endpoint: Endpoint) -> None:
        """Do what push() does, but for entering the context and for the session."""
        self._fill(environ, self._rule, endpoint, (self._entered, self.app_context))
        if self._call is not None:
            vars(self.request)[CALL_KEY] = self._call
        self.is_made, self.is_outermost = True, False

    def _open_session(self) -> SessionMixin:
        sessions: Any = self.app.session_interface
        # A request with its cookie has another context.
        session: SessionMixin
        session = sessions.session_class() if self.app.secret_key else sessions.make_null_session(self.app)
        return session


class HookedRequestContext(LateRequestContext):
    """The context of a call that hooks of the app may see, before and after; it is used as Flask uses its own."""

    def __init__(self, app: Flask, rule: Rule, endpoint: Endpoint, environ: WSGIEnvironment) -> None:
        self.app = app
        self.environ = environ
        self.endpoint = endpoint
        self._rule = rule
        self._call = None
        self.is_made = self.is_outermost = False
        self._has_cookie = has_session_cookie(app, environ)
        self.app_context = LateAppContext(app)
        self._entered = _enter_request(self)

    def _make(self) -> None:
        self._make_of(self.environ, self.endpoint)

    def open_session(self) -> None:
        """Open a session that has a cookie; a permanent one is sent again with every response."""
        if self._has_cookie:
            self._session = self._open_session()

    def _open_session(self) -> SessionMixin:
        if not self._has_cookie:
            return super()._open_session()
        sessions = self.app.session_interface
        session: SessionMixin | None = open_known_session(self.app, self.environ)
        if session is None:
            session = sessions.open_session(self.app, self.request)
        return sessions.make_null_session(self.app) if session is None else session

    def begin(self, call: IncomingCall) -> None:
        """Have the call that the request has become."""
        self._call = call
        if self.is_made:
            vars(self.request)[CALL_KEY] = call

    @property
    def endpoint_name(self) -> str:
        """The name of its view."""
        name: str = self._rule.endpoint
        return name

    @property
    def is_elsewhere(self) -> bool:
        """True when a hook has sent the request to another route."""
        return self.is_made and self.request.url_rule is not self._rule

    def leave(self, error: BaseException | None) -> None:
        """End both contexts, with the functions and receivers that are told of it."""
        if self.app.teardown_request_funcs or request_tearing_down.receivers or "pop" in vars(self):
            self.pop(error)
        else:
            super().leave(error)


def _current_rpc() -> CallContext:
    active, entered = _active_call(), _entered_app(None)
    while entered is not None and not isinstance(entered, LateAppContext):
        # Something in the call has entered another one.
        entered = outer_app_context(entered)
    if entered is not None and entered.call is not None and entered.around is active:
        active = entered.call
    elif not isinstance(active, CallContext) and has_request_context():
        # copy_current_request_context() and what is built on it take nothing but the request to another thread.
        active = vars(request).get(CALL_KEY)
    if not isinstance(active, CallContext):
        raise RuntimeError("no RPC is being served: current_rpc is for service functions and what they call")
    return active


current_rpc: CallContext = cast("CallContext", LocalProxy(_current_rpc))
"""The :class:`CallContext` of the RPC being served."""
