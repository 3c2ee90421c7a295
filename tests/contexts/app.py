"""The app whose streaming responses are lost, in the way that a header names; all that ends with a request is noted."""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import os
import threading
import time
import traceback
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flask import (
    Flask,
    Response,
    after_this_request,
    g,
    has_app_context,
    has_request_context,
    request,
    session,
    stream_with_context,
)
from flask.signals import request_finished
from flask_sqlalchemy import SQLAlchemy

from flask_grpcweb_scm import (
    CallContext,
    GrpcWebScm,
    RpcError,
    StatusCode,
    current_rpc,
    rpc_finished,
    rpc_started,
)
from flask_grpcweb_scm.web.flask_internals import is_plain_flask
from tests.apps import echo_service, know_routes
from tests.echo_pb2 import EchoReply, EchoRequest

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

FLASK, HOOKED, FAST = "through Flask", "with hooks", "fast lane"
LANES = (FLASK, HOOKED, FAST) if is_plain_flask(Flask("lane")) else (FLASK,)


class Fault(Exception):
    """Of a kind that nothing else raises."""


class Halt(BaseException):
    """As a worker's that is told to stop."""


class HandlerFault(Exception):
    """Raised by the error handler itself."""


def create_app() -> Flask:
    """The app of each lane, in one; a request names its lane."""
    folder = Path(os.environ["FOLDER"])
    apps = {}
    for lane in LANES:
        (folder / lane).mkdir()
        apps[lane] = build(lane, folder / lane)
    wsgi_apps = {lane: app.wsgi_app for lane, app in apps.items()}
    app = apps[FLASK]
    app.wsgi_app = lambda environ, start_response: wsgi_apps[environ["HTTP_X_LANE"]](environ, start_response)  # type: ignore[method-assign]
    return app


def build(lane: str, folder: Path, *, is_async: bool = False) -> Flask:
    """The app, with hooks of every kind or, for the fast lane, those that it goes with.

    :param is_async: has the service functions be async.
    """
    notes = Notes(folder / "notes")
    app = Flask(__name__, static_folder=None)
    app.config.update(GRPC_SCM=False, GRPC_REQUIRE_AUTH=False, SECRET_KEY="of the tests")
    app.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{folder}/rows.db"
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = {"connect_args": {"timeout": 1}}
    # Before the database, whose own teardown function would not be called after one that raises.
    Host(app, notes).add()
    db = SQLAlchemy(app)
    row_class = type("Row", (db.Model,), {"id": db.Column(db.Integer, primary_key=True), "text": db.Column(db.String)})
    with app.app_context():
        db.create_all()
    if lane != FAST:
        Hooks(app, notes).add()
    app.config["GRPC_FAST_LANE"] = lane != FLASK
    functions = (AsyncFunctions if is_async else Functions)(notes, db, row_class)
    # Neither debug nor testing, because both change what Flask does with exceptions.
    extension = GrpcWebScm(services=[echo_service(Unary=functions.unary, ServerStream=functions.server_stream)])
    extension.intercept(Interceptor(notes))
    extension.init_app(app)
    app.add_url_rule("/twin", "twin", functions.twin, methods=["POST"])
    if lane != FLASK:
        know_routes(app)
    app.wsgi_app = Outside(app, app.wsgi_app, notes)  # type: ignore[method-assign]
    notes.clear()
    # So that collections are quick, which find only what is left of requests.
    gc.collect()
    gc.freeze()
    return app


class Notes:
    """What has happened, in a file that outlives the process."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def clear(self) -> None:
        self._path.write_text("")

    def add(self, *words: object) -> None:
        with self._path.open("a") as file:
            file.write(" ".join(map(str, words)) + "\n")


def fault() -> str:
    """The fault that the request names."""
    return request.headers.get("x-fault", "")


def raise_fault(*where: object) -> Any:
    raise Fault(*where[:1])


def begin(notes: Notes, name: str, fault: str) -> None:
    """Note a `g` that is not of this request."""
    if g.get("name", name) != name:
        notes.add("stale g:", g.name, "in", name)
    g.name, g.fault = name, fault


# Outside of Flask


def outside() -> dict[str, Any]:
    """What there is in the thread, where there should be nothing between requests."""
    return {
        "thread": threading.get_ident(),
        "app context": has_app_context(),
        "request context": has_request_context(),
        "current_rpc": bool(current_rpc),
    }


class Outside:
    """A WSGI middleware around the app: it sees what is left in the thread between requests."""

    def __init__(self, app: Flask, wsgi_app: WSGIApplication, notes: Notes) -> None:
        self._app = app
        self._wsgi_app = wsgi_app
        self._notes = notes
        self._receivers: list[tuple[Any, Callable[..., None]]] = []

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        state = outside()
        if environ["PATH_INFO"] == "/outside":
            body = json.dumps(state).encode()
            start_response("200 OK", [("content-type", "application/json"), ("content-length", str(len(body)))])
            return [body]
        if state["app context"] or state["request context"] or state["current_rpc"]:
            self._notes.add("left in the thread:", *(name for name in state if state[name] is True))
        name = environ.get("HTTP_X_FAULT", "")
        self._connect(name)
        if name == "start_response raises":
            start_response = raise_fault
        iterable = self._wsgi_app(environ, start_response)
        if "HTTP_X_COLLECT" in environ:
            gc.collect()
        return MIDDLEWARES.get(name, lambda iterable: iterable)(iterable)

    def _connect(self, name: str) -> None:
        """Have a receiver of a signal raise, if that is the fault; one that is not called is not there."""
        while self._receivers:
            signal, receiver = self._receivers.pop()
            signal.disconnect(receiver, self._app)
        for signal in (rpc_started, rpc_finished):
            if name == f"{signal.name} raises":
                receiver = lambda sender, **_: raise_fault("receiver")  # noqa: E731
                signal.connect(receiver, self._app)
                self._receivers.append((signal, receiver))


MIDDLEWARES: dict[str, Callable[[Any], Iterable[bytes]]] = {
    "a middleware drops the iterable": lambda iterable: [b"from the middleware"],
    "a middleware makes a list": lambda iterable: [*iterable],
    "a middleware wraps the iterable": lambda iterable: (piece for piece in iterable),
    "a middleware closes the iterable": lambda iterable: iterable.close() or [b"from the middleware"],
}


# Hooks of the host app


CHANGES: dict[str, Callable[[Response], Any]] = {
    "raises": lambda response: raise_fault("hook"),
    "answers 401": lambda response: Response("log in first", 401, {"www-authenticate": "Basic", "x-hook": "yes"}),
    "answers 200": lambda response: Response("from the hook"),
    "copies the response": lambda response: Response(response.response, response.status, response.headers),
    "calls set_data": lambda response: response.set_data(b"from the hook") or response,  # type: ignore[func-returns-value]
    "sets a list": lambda response: setattr(response, "response", [b"from the hook"]) or response,
    "wraps the stream": lambda response: (
        setattr(response, "response", (piece for piece in response.response)) or response
    ),
}


class Host:
    """What every app may have, and keeps no call out of the fast lane."""

    def __init__(self, app: Flask, notes: Notes) -> None:
        self._app = app
        self._notes = notes

    def add(self) -> None:
        self._app.add_url_rule("/host", "host", self._view, methods=["POST"])
        self._app.register_error_handler(500, self._handle)
        self._app.teardown_appcontext(self._tear_down)

    def _view(self) -> str:
        begin(self._notes, request.headers["x-name"], fault())
        return "host"

    def _handle(self, error: Exception) -> Any:
        if "x-handler-fails" in request.headers:
            raise HandlerFault("in the error handler")
        return "sorry", 500

    def _tear_down(self, error: BaseException | None) -> None:
        self._notes.add("teardown_appcontext", type(error).__name__, g.get("name"))
        if g.get("fault") == "teardown_appcontext raises":
            raise Fault("teardown_appcontext")


class Hooks:
    """What looks at every request."""

    def __init__(self, app: Flask, notes: Notes) -> None:
        self._app = app
        self._notes = notes

    def add(self) -> None:
        self._app.before_request(self._before)
        self._app.after_request(self._after)
        self._app.teardown_request(self._tear_down)
        request_finished.connect(self._finished, self._app)

    def _before(self) -> Any:
        begin(self._notes, request.headers["x-name"], fault())
        if fault() == "before_request answers 401":
            return CHANGES["answers 401"](Response())
        if fault() == "before_request answers 200":
            return CHANGES["answers 200"](Response())
        return None

    def _after(self, response: Response) -> Any:
        hook, _, change = fault().partition(": ")
        return CHANGES[change](response) if hook == "after_request" else response

    def _tear_down(self, error: BaseException | None) -> None:
        self._notes.add("teardown_request", type(error).__name__, request.headers["x-name"])
        if fault() == "teardown_request raises":
            raise Fault("teardown_request")

    def _finished(self, sender: Flask, **_: object) -> None:
        if fault() == "request_finished raises":
            raise Fault("request_finished")


# RPCs


# Of the request, they look at what the context of the call tells: in the fast lane, Flask's request is not made then.


class Interceptor:
    def __init__(self, notes: Notes) -> None:
        self._notes = notes

    def __call__(self, rpc_request: Any, context: CallContext, call_next: Callable[..., Any]) -> Any:
        name = context.metadata.get_text("x-fault") or ""
        begin(self._notes, context.metadata.get_text("x-name") or "", name)
        if name == "an interceptor raises":
            raise Fault("interceptor")
        return INTERCEPTED.get(name, lambda response: response)(call_next(rpc_request, context))


def _raising_in_the_middle(responses: Iterator[EchoReply]) -> Iterator[EchoReply]:
    yield next(responses)
    raise Fault("interceptor")


INTERCEPTED: dict[str, Callable[[Any], Any]] = {
    "an interceptor raises after the call": lambda responses: raise_fault("interceptor"),
    "an interceptor raises in the middle": _raising_in_the_middle,
    # To an iterator that cannot be closed.
    "an interceptor maps the stream": lambda responses: map(EchoReply.FromString, map(_serialize, responses)),
}


def _serialize(reply: EchoReply) -> bytes:
    return reply.SerializeToString()


class Functions:
    """The service, and a view that streams the same."""

    def __init__(self, notes: Notes, db: Any, row_class: Any) -> None:
        self._notes = notes
        self._db = db
        self._row_class = row_class

    def unary(self, rpc_request: EchoRequest, context: CallContext) -> EchoReply:
        """Commits a row, and all that is in the session with it, when the request says so."""
        if g.fault == "the function raises":
            raise Fault("function")
        if rpc_request.text == "commit":
            self._db.session.add(self._row_class(text=f"committed by {g.name}"))
            self._db.session.commit()
        return EchoReply(text=g.name)

    def server_stream(self, rpc_request: EchoRequest, context: CallContext) -> Iterator[EchoReply]:
        pause = float(context.metadata.get_text("x-pause") or 0)
        yield from self._responses(rpc_request, pause)

    def twin(self) -> Response:
        """The stream as a view, with Flask's own means."""
        begin(self._notes, request.headers["x-name"], fault())
        # Flask itself may leave it to the garbage collector.
        responses = Functions(Notes(Path(os.devnull)), self._db, self._row_class)._responses(EchoRequest(count=3))
        # The first step belongs to the view, as that of an RPC comes before its response.
        first = next(responses)
        frames = (reply.SerializeToString() for reply in itertools.chain([first], responses))
        return Response(stream_with_context(frames))

    def _responses(self, rpc_request: EchoRequest, pause: float = 0) -> Iterator[EchoReply]:
        name, way = g.name, g.fault
        self._notes.add("started", threading.get_ident(), _lane())
        if way == "the function raises at once":
            raise Fault("function")
        hook, _, change = way.partition(": ")
        if hook == "after_this_request":
            after_this_request(CHANGES[change])
        if way == "saving the session raises":
            session["a value"] = object()
        # Neither committed nor rolled back.
        self._db.session.add(self._row_class(text=f"uncommitted of {name}"))
        self._db.session.flush()
        number = 0
        try:
            while number < rpc_request.count:
                if number == 2 and way in IN_THE_MIDDLE:
                    raise IN_THE_MIDDLE[way]()
                yield EchoReply(text=rpc_request.text, number=number)
                number += 1
                if pause:
                    time.sleep(pause)
        finally:
            self._notes.add("closed after", number, *_trouble(name))


IN_THE_MIDDLE: dict[str, Callable[[], BaseException]] = {
    "the function raises in the middle": lambda: Fault("function"),
    "the function declares an error in the middle": lambda: RpcError(StatusCode.ABORTED, "declared"),
    "the function halts in the middle": lambda: Halt("function"),
    "the function exits in the middle": lambda: SystemExit(3),
}


def _trouble(name: str) -> Iterator[str]:
    """What is not as it should be around a generator that is closed."""
    if not (has_app_context() and has_request_context()):
        yield "outside of its contexts"
    elif g.get("name") != name:
        yield f"with the g of {g.get('name')}"


def _lane() -> str:
    codes = {(Path(frame.f_code.co_filename).name, frame.f_code.co_name) for frame, _ in traceback.walk_stack(None)}
    return HOOKED if ("hooks.py", "serve") in codes else FLASK if ("app.py", "full_dispatch_request") in codes else FAST


class AsyncFunctions(Functions):
    """The same service, of async functions."""

    async def unary(self, rpc_request: EchoRequest, context: CallContext) -> EchoReply:  # type: ignore[override]
        await asyncio.sleep(0)
        return super().unary(rpc_request, context)

    async def server_stream(  # type: ignore[override]
        self, rpc_request: EchoRequest, context: CallContext
    ) -> AsyncIterator[EchoReply]:
        responses = super().server_stream(rpc_request, context)
        try:
            for response in responses:
                await asyncio.sleep(0)
                yield response
        finally:
            responses.close()  # type: ignore[attr-defined]  # a generator
