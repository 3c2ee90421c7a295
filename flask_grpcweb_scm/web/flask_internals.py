"""The parts of Flask and Werkzeug that are not theirs to give: the only module that touches them.

What it assumes, in which versions that holds, and what is lost elsewhere:

1. ``Flask.wsgi_app`` ends with ``ctx.pop(error)``, and a context stays until it is popped as often as it was pushed
   (3.0, 3.1, 3.2). Else the contexts of a stream end before it.
2. ``flask.globals`` has the context variables ``_cv_app`` and, until 3.1, ``_cv_request`` (3.0, 3.1, 3.2). Nothing
   works without them.
3. ``Flask.handle_user_exception`` takes the error (3.0, 3.1), or the context and the error (3.2), and so do the methods
   around it. Else every exception that is not declared is INTERNAL.
4. Contexts have the attributes in :data:`_REQUEST_CONTEXT` and :data:`_APP_CONTEXT` (3.1.3). Else there is no fast
   lane.
5. A request with a limit of its own has ``_max_content_length`` (Flask 3.1). Else only the app's limit counts.
6. Flask-CORS makes its functions in ``flask_cors.extension``; around a method of the app, of the function ``f`` (6.0).
   Else there is no fast lane in apps that it is around.
7. ``Rule._compile_builder`` makes the functions that build a rule's URL (werkzeug 3.0, 3.1). Else an app with thousands
   of methods starts slower.
"""

from __future__ import annotations

import dis
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any

import flask.ctx
import flask.globals
from flask import Flask, Request, Response, current_app
from flask.ctx import AppContext
from flask.sessions import SecureCookieSessionInterface
from werkzeug.routing import Rule

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment
    from flask.ctx import RequestContext
else:
    # By name, it is deprecated from Flask 3.2 on, where it is the AppContext.
    RequestContext = vars(flask.ctx).get("RequestContext", AppContext)

__all__ = [
    "HAS_SEPARATE_CONTEXTS",
    "LateRule",
    "RequestContext",
    "app_context",
    "app_variable",
    "current_context",
    "handle_user_exception",
    "handled",
    "hold_context",
    "is_of_flask_cors",
    "is_plain_flask",
    "max_content_length",
    "outer_app_context",
    "pass_to_teardown",
    "request_variable",
    "response_to",
    "unproxied_app",
    "visible",
    "visible_request",
]

HAS_SEPARATE_CONTEXTS = not issubclass(RequestContext, AppContext)
"""True when a request has a context beside the app's: until Flask 3.1."""

app_variable: ContextVar[Any] = flask.globals._cv_app
request_variable: ContextVar[Any] = getattr(flask.globals, "_cv_request", app_variable)


# Contexts of Flask's own making, in every version


current_context = request_variable.get
"""Returns the context of the current request: a RequestContext until Flask 3.1, an AppContext since."""

app_context = app_variable.get
"""Called with None, the entered application context, or None."""


def outer_app_context(context: Any) -> Any:
    """The application context in which another one was entered; None for the outermost, and where there is no lane."""
    tokens = vars(context).get("_cv_tokens")
    # The first: a context may be entered once more, in itself.
    found = tokens[0].old_value if tokens else None
    return None if found is Token.MISSING else found


def unproxied_app() -> Flask:
    """The current app itself."""
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
    return app


def hold_context(context: Any) -> Callable[[BaseException | None], None]:
    """Keep the contexts of a request beyond its view, until the returned function is called.

    Teardown functions get the error that it is called with, else the one that Flask has for them.
    """
    pop = context.pop
    errors: list[BaseException] = []

    def note_error(exc: BaseException | None = None) -> None:
        if exc is not None:
            errors.append(exc)
        pop(exc)

    def release(error: BaseException | None) -> None:
        vars(context).pop("pop", None)
        pop(error or next(iter(errors), None))

    # A context that was pushed twice outlives the view, which pops it once.
    context.push()
    context.pop = note_error
    return release


def pass_to_teardown(context: Any, error: BaseException) -> None:
    """Have the teardown functions of a request get an error that its view has turned into a response."""
    pop = context.pop
    context.pop = lambda exc=None: pop(exc or error)


@contextmanager
def visible(context: Any) -> Iterator[None]:
    """Make a context the current one for a block; entering and ending it stay with whoever has made it."""
    variable = request_variable if isinstance(context, RequestContext) else app_variable
    token = variable.set(context)
    try:
        yield
    finally:
        variable.reset(token)


@contextmanager
def visible_request(app: Flask, environ: WSGIEnvironment) -> Iterator[None]:
    """Make a request the current one for a block, with nothing of its context entered or ended."""
    with visible(RequestContext(app, environ)):
        yield
    # A circle.
    environ.pop("werkzeug.request", None)


_TAKES_CONTEXT = "ctx" in inspect.signature(Flask.handle_user_exception).parameters


def handle_user_exception(app: Flask, error: Exception) -> Any:
    """Have the app's error handlers handle an exception, as one of a view; without a handler, raise it."""
    methods: Any = app
    return methods.handle_user_exception(*_context_first(), error)


def handled(app: Flask, error: Exception) -> Response:
    """The final response that the app's error handlers make of an exception; without a handler, raise it."""
    methods: Any = app
    response: Response = methods.finalize_request(*_context_first(), handle_user_exception(app, error))
    return response


def response_to(app: Flask, error: Exception) -> Response:
    """The app's response to an exception that is raised when the response of a view is final, in the place of that."""
    try:
        return handled(app, error)
    except Exception as unhandled:
        pass_to_teardown(current_context(), unhandled)
        methods: Any = app
        response: Response = methods.handle_exception(*_context_first(), unhandled)
        return response


def _context_first() -> tuple[Any, ...]:
    return (current_context(),) if _TAKES_CONTEXT else ()


class LateRule(Rule):
    """A rule that compiles the functions for ``url_for()`` when they are used: three quarters of its costs at start."""

    def _compile_builder(self, append_unknown: bool = True) -> Callable[..., tuple[str, str]]:
        compile_builder = super()._compile_builder
        compiled: list[Callable[..., tuple[str, str]]] = []

        def build(rule: Rule, **values: str) -> tuple[str, str]:
            if not compiled:
                compiled.append(compile_builder(append_unknown))
            return compiled[0](rule, **values)

        return build


def max_content_length(current: Request, app: Flask) -> int | None:
    """The most bytes that the body of a request may have; a hook may have set a limit for this request alone."""
    # The property looks for the app once more.
    if type(current) is Request and "_max_content_length" not in vars(current):
        limit: int | None = app.config["MAX_CONTENT_LENGTH"]
        return limit
    return current.max_content_length


# What the fast lane makes or does itself

_MACHINERY = (
    *("app_context", "create_url_adapter", "dispatch_request", "do_teardown_appcontext", "do_teardown_request"),
    *("ensure_sync", "finalize_request", "full_dispatch_request", "handle_exception", "handle_user_exception"),
    *("make_response", "preprocess_request", "process_response", "request_context", "should_ignore_error"),
    "wsgi_app",
)
_REPLACEABLE = {*_MACHINERY} - {"wsgi_app", "request_context"}
_MACHINERY_OF_OTHERS: dict[type, tuple[str, ...]] = {
    AppContext: ("push", "pop"),
    RequestContext: ("push", "pop", "match_request"),
    SecureCookieSessionInterface: ("open_session", "save_session"),
}
_REQUEST_CONTEXT = {"app", "request", "url_adapter", "flashes", "_session", "_after_request_functions", "_cv_tokens"}
_APP_CONTEXT = {"app", "url_adapter", "g", "_cv_tokens"}


def _has_attributes(context_class: type, expected: set[str]) -> bool:
    """Return whether a context is made of exactly the `expected` attributes."""
    instructions = dis.get_instructions(context_class.__init__)  # type: ignore[misc]
    stored = {instruction.argval for instruction in instructions if instruction.opname == "STORE_ATTR"}
    return stored - {"json_module", "routing_exception"} == expected


_KNOWS_CONTEXTS = (
    HAS_SEPARATE_CONTEXTS
    and _has_attributes(RequestContext, _REQUEST_CONTEXT)
    and _has_attributes(AppContext, _APP_CONTEXT)
    and isinstance(vars(RequestContext).get("session"), property)
)


def is_plain_flask(app: Flask) -> bool:
    """Return whether `app` serves requests by Flask's own methods and the contexts that are known here.

    Whoever replaced a method, in the app, its class, Flask itself, or its contexts and sessions, before or after this
    was imported, wants to see every request.
    """
    own = vars(app)
    return (
        _KNOWS_CONTEXTS
        and all(_is_flasks_own(getattr(type(app), name)) for name in _MACHINERY)
        and all(_is_flasks_own(getattr(part, name)) for part, names in _MACHINERY_OF_OTHERS.items() for name in names)
        and all(_is_flasks_own_inside(own[name]) for name in _REPLACEABLE.intersection(own))
    )


def _is_flasks_own(function: Any) -> bool:
    # Wrappers pretend to be what they wrap, but for their type and their code.
    return type(function) is FunctionType and function.__code__.co_filename in _FLASK_FILES


def is_of_flask_cors(function: object) -> bool:
    """Return whether Flask-CORS has made a function for an app."""
    module = sys.modules.get("flask_cors.extension")
    return type(function) is FunctionType and module is not None and function.__code__.co_filename == module.__file__


def _is_flasks_own_inside(method: Any) -> bool:
    """Return whether a method is Flask's own with Flask-CORS around it, which adds headers to responses."""
    if not is_of_flask_cors(method):
        return False
    inner = inspect.getclosurevars(method).nonlocals.get("f")
    return _is_flasks_own_inside(inner) or (isinstance(inner, MethodType) and _is_flasks_own(inner.__func__))


_FLASK_FILES = {module.__file__ for name, module in sys.modules.items() if name.partition(".")[0] == "flask"}
