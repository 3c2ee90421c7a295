"""Unary calls with what production has around them: pages of other origins, hooks, a log, metrics, sessions.

The view by hand, which is the reference, has the same neighbours; sonora and connectrpc, beside the app, have none. The
calls are those of "unary 1 binary", in gRPC-Web if nothing else is said.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from blinker import Namespace
from flask import Flask, Response, g, request
from flask_login import LoginManager, UserMixin, current_user, login_required, login_user
from prometheus_client import Counter, Histogram

from benchmarks.apps import (
    CORS_KEYS,
    LIST,
    ORIGIN,
    blueprint,
    connectrpc,
    connectrpc_protobuf_py,
    fast_lane,
    flask_view,
    repositories,
    sonora,
    with_cors,
)  # fmt: skip
from benchmarks.calls import CONNECTRPC, PAGE
from benchmarks.harness import Goal, Variants, load
from benchmarks.wsgi import BINARY, Wsgi, environ_of, frames, sender
from flask_grpcweb_scm.signals import logger, rpc_finished

REFERENCE = "Flask view"
ANSWER = repositories(1)
OURS = ("blueprint", "fast lane")

Neighbour = Callable[[Flask, bool], object]
"""Adds something to an app; True for the app of the view by hand."""


class Dropping(logging.Handler):
    """A handler that takes every record and writes none."""

    def emit(self, record: logging.LogRecord) -> None:
        """Drop it."""


def cross_origin(app: Flask, by_hand: bool, *, credentials: bool = False) -> None:
    """Flask-CORS; ours has keys for it."""
    if by_hand:
        with_cors(app, credentials=credentials)


def hooks(app: Flask, by_hand: bool) -> None:
    """One of each kind, as for a request id."""
    app.before_request(lambda: setattr(g, "started", time.monotonic()))

    @app.after_request
    def after(response: Response) -> Response:
        response.headers["x-served-by"] = "benchmark"
        return response


def logged(app: Flask, by_hand: bool) -> None:
    """A line for each call."""
    log = app.logger if by_hand else logger
    log.handlers[:] = [Dropping()]
    log.setLevel(logging.INFO)
    log.propagate = False
    if by_hand:
        app.before_request(lambda: setattr(g, "called", time.monotonic()))

        @app.after_request
        def after(response: Response) -> Response:
            took = (time.monotonic() - g.called) * 1000
            log.info("%s %d %.1f ms, peer %s", request.path, response.status_code, took, request.remote_addr)
            return response


def received(app: Flask, by_hand: bool) -> None:
    """A receiver of a signal at the end of each call."""
    ends: list[float] = []
    signal = Namespace().signal("view-finished") if by_hand else rpc_finished
    # A signal holds its receivers by weak references.
    app.extensions["benchmark"] = receive = lambda sender, **given: ends.__setitem__(slice(None), [given["seconds"]])
    signal.connect(receive, app)
    if by_hand:
        app.before_request(lambda: setattr(g, "begun", time.monotonic()))

        @app.after_request
        def after(response: Response) -> Response:
            signal.send(app, response=response, seconds=time.monotonic() - g.begun)
            return response


def measured(app: Flask, by_hand: bool) -> None:
    """A counter and a histogram; ours has a key for them."""
    if by_hand:
        count = Counter("views", "Requests.", ["method", "path", "status"])
        seconds = Histogram("view_seconds", "Durations.", ["method", "path"])
        app.before_request(lambda: setattr(g, "arrived", time.monotonic()))

        @app.after_request
        def after(response: Response) -> Response:
            seconds.labels(request.method, request.path).observe(time.monotonic() - g.arrived)
            count.labels(request.method, request.path, response.status_code).inc()
            return response


def with_login(app: Flask, by_hand: bool) -> None:
    """A session that says who the user is."""
    user = UserMixin()
    user.id = "7"
    app.secret_key = "benchmark"  # noqa: S105  # of a benchmark
    LoginManager(app).user_loader(lambda user_id: user)
    if by_hand:
        app.post("/login", endpoint="login")(lambda: str(login_user(user)))
        views = app.view_functions
        views.update({name: login_required(view) for name, view in views.items() if name == "list_repositories"})


def _for_users(message: object, context: object) -> object:
    assert current_user.is_authenticated
    return ANSWER


def _session_cookie(app: Flask) -> str:
    """The cookie of somebody who has logged in with the browser of the calls."""
    browser = environ_of(LIST, b"", BINARY)["HTTP_USER_AGENT"]
    response = app.test_client().post("/login", headers={"user-agent": browser})
    return response.headers["set-cookie"].partition(";")[0]


def _variants(neighbours: list[Neighbour], headers: dict[str, str] | None = None, **options: Any) -> Variants:
    """Every way to serve the call with its neighbours, which have their own entries of `headers` and `options`."""
    view = flask_view(ANSWER)
    ours = {"blueprint": blueprint(ANSWER, **options), "fast lane": fast_lane(ANSWER, **options)}
    for neighbour in neighbours:
        neighbour(view, True)
        for app in ours.values():
            neighbour(app, False)
    headers = dict(headers or {})
    if view.secret_key:
        headers["cookie"] = _session_cookie(view)
    peers = {"sonora": sonora(ANSWER), "connectrpc": connectrpc(ANSWER)}
    peers["connectrpc, protobuf-py"] = connectrpc_protobuf_py(ANSWER)
    apps: dict[str, Wsgi] = {REFERENCE: view.wsgi_app, **peers, **{name: app.wsgi_app for name, app in ours.items()}}
    web = environ_of(LIST, frames(PAGE), BINARY, headers)
    variants = {name: sender(wsgi, web, frames(PAGE)) for name, wsgi in apps.items()}
    connect = environ_of(LIST, PAGE, "application/proto", {**headers, "connect-protocol-version": "1"})
    del connect["HTTP_X_GRPC_WEB"]
    for name in (*CONNECTRPC, *OURS):
        variants[f"{name}, Connect"] = sender(apps[name], connect, PAGE)
    grpc = environ_of(LIST, frames(PAGE), "application/grpc", {**headers, "te": "trailers"})
    del grpc["HTTP_X_GRPC_WEB"]
    grpc.update({"SERVER_PROTOCOL": "HTTP/2", "wsgi.ext.http.send_trailers": lambda trailers: None})
    for name in OURS:
        variants[f"{name}, gRPC"] = sender(apps[name], grpc, frames(PAGE))
    return variants


def _goals(*, sonora: float | None = None, connectrpc: float | None = None, view: float | None = None) -> list[Goal]:
    limits = {"sonora": sonora, "connectrpc": connectrpc, REFERENCE: view}
    return [Goal("fast lane", name, at_most=limit) for name, limit in limits.items() if limit]


@load("cross-origin", reference=REFERENCE, goals=_goals(sonora=1.0, connectrpc=0.45, view=0.15), clock="cpu")
def _cross_origin(stack: ExitStack) -> Variants:
    """A page of another origin calls; the first audience of gRPC-Web."""
    return _variants([cross_origin], {"origin": ORIGIN}, **CORS_KEYS)


@load("cross-origin, logged", reference=REFERENCE, goals=_goals(sonora=1.5), clock="cpu")
def _cross_origin_logged(stack: ExitStack) -> Variants:
    """The same with a line in the log."""
    return _variants([cross_origin, logged], {"origin": ORIGIN}, **CORS_KEYS)


@load("hooks", reference=REFERENCE, goals=_goals(view=0.6), clock="cpu")
def _hooks(stack: ExitStack) -> Variants:
    """One before_request, and one after_request that sets a header."""
    return _variants([hooks])


@load("logged", reference=REFERENCE, goals=_goals(sonora=1.0), clock="cpu")
def _logged(stack: ExitStack) -> Variants:
    """A line in the log for each call."""
    return _variants([logged])


@load("received", reference=REFERENCE, goals=_goals(sonora=0.8), clock="cpu")
def _received(stack: ExitStack) -> Variants:
    """A receiver of rpc_finished."""
    return _variants([received])


@load("metrics", reference=REFERENCE, clock="cpu")
def _metrics(stack: ExitStack) -> Variants:
    """Metrics for Prometheus."""
    return _variants([measured], GRPC_METRICS_PATH="/metrics")


@load("everything on", reference=REFERENCE, goals=_goals(view=0.6), clock="cpu")
def _everything(stack: ExitStack) -> Variants:
    """CORS with credentials, a log, metrics, and a session of Flask-Login."""
    return _variants(
        [functools.partial(cross_origin, credentials=True), logged, measured, with_login],
        {"origin": ORIGIN},
        **CORS_KEYS,
        GRPC_CORS_CREDENTIALS=True,
        GRPC_METRICS_PATH="/metrics",
        list_repositories=_for_users,
    )
