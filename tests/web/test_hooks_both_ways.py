"""Hooks of an app see the same, whether Flask serves their calls or not: the same calls both ways, and all compared."""

from __future__ import annotations

import functools
import io
import itertools
import logging
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import flask
import pytest
from flask import Flask, Response, abort, after_this_request, flash, g, get_flashed_messages, request, session, url_for
from flask.signals import (
    appcontext_popped,
    appcontext_pushed,
    appcontext_tearing_down,
    got_request_exception,
    request_finished,
    request_started,
    request_tearing_down,
)
from flask_cors import CORS
from flask_login import LoginManager, UserMixin, current_user, login_user, logout_user
from itsdangerous import TimestampSigner
from werkzeug.exceptions import HTTPException
from werkzeug.test import EnvironBuilder

from flask_grpcweb_scm import GrpcWebScm, RpcError, Service, StatusCode, current_rpc, rpc_finished, rpc_started
from flask_grpcweb_scm.web.flask_internals import current_context, is_plain_flask
from flask_grpcweb_scm.web.late_contexts import HookedRequestContext
from tests.apps import ECHO, echo_service, know_routes, lookup_service
from tests.connect import query_of
from tests.echo_pb2 import EchoReply, EchoRequest
from tests.grpcweb import PROTO, body_of

pytestmark = [
    pytest.mark.skipif(not is_plain_flask(Flask("a")), reason="the lane needs Flask 3.1.3 or newer"),
    # Flask-Login reads the clock by it.
    pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning"),
]

Note = Callable[..., None]
Register = Callable[[Flask, Note], object]
NOW = 1_700_000_000
NAME = "grpcweb_scm"
ORIGIN = "https://app.example"


@pytest.fixture(autouse=True)
def _no_second_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TimestampSigner, "get_timestamp", lambda signer: NOW)


@pytest.fixture(autouse=True)
def _logs_nothing() -> Iterator[None]:
    """Thousands of tracebacks, which nobody reads."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


# What a hook can see


def seen() -> list[object]:
    """All that a hook can see, but for what it only sees by changing it."""
    return [
        request.path,
        request.endpoint,
        request.blueprint,
        request.blueprints,
        request.view_args,
        str(request.url_rule),
        request.url,
        request.method,
        request.content_length,
        request.content_type,
        request.remote_addr,
        request.is_json,
        sorted(request.headers.items()),
        sorted(request.cookies.items()),
        request.routing_exception,
        request.max_content_length,
        dict(vars(g)).keys() - {"_login_user"},
        flask.current_app.name,
        url_for("page", a=1),
        url_for("page", a=1, _external=True),
        call_seen(),
    ]


def steady(text: str) -> str:
    """A text without what differs from call to call, and from second to second."""
    # Tags are of texts that name their call.
    # A time may be the one at which a tag was compared, or a cookie ends.
    return re.sub(r'call [0-9a-f]{16}|[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} [\d:]{8} GMT|"[0-9a-f]{40}"', "…", text)


def call_seen() -> object:
    try:
        return [current_rpc.path, current_rpc.peer, current_rpc.protocol]
    except RuntimeError as error:
        return str(error)


def session_seen() -> list[object]:
    return [dict(session), session.permanent, session.modified, session.accessed, session.new, type(session).__name__]


def response_seen(response: Any) -> list[object]:
    # Of a stream, to look at the data is to read it.
    return [
        isinstance(response, Response),
        response.status,
        response.status_code,
        steady(str(response.headers)),
        response.content_type,
        response.mimetype,
        response.content_length,
        response.is_streamed,
        response.is_sequence,
        response.direct_passthrough,
        response.vary.as_set(),
        response.headers.get("grpc-status"),
        response.default_status,
        hasattr(response, "no_such_thing"),
    ]


# Hooks


def every_kind(app: Flask, note: Note, look: Callable[[], object] = lambda: None) -> None:
    """One of each kind, of the app, of our blueprint and of another one."""
    for key in (None, NAME, "other"):
        for number in range(2):
            named = functools.partial(note, key, number)
            app.url_value_preprocessors[key].append(
                lambda endpoint, values, named=named: named("preprocessor", endpoint, values)
            )
            app.before_request_funcs[key].append(lambda named=named: named("before", look()))
            app.after_request_funcs[key].append(lambda response, named=named: named("after", look()) or response)
            app.teardown_request_funcs[key].append(lambda error, named=named: named("teardown", repr(error), look()))


def looks_around(app: Flask, note: Note) -> None:
    every_kind(app, note, seen)


def looks_at_sessions(app: Flask, note: Note) -> None:
    every_kind(app, note, session_seen)


def before(function: Callable[[], Any]) -> Register:
    def register(app: Flask, note: Note) -> None:
        app.before_request(function)
        app.before_request(lambda: note("the next one", session_seen()))
        app.after_request(lambda response: note("after", response_seen(response)) or response)

    return register


def after(function: Callable[[Any], Any]) -> Register:
    def register(app: Flask, note: Note) -> None:
        app.after_request(lambda response: note("outer", response and response_seen(response)) or response)
        app.after_request(function)
        app.after_request(lambda response: note("inner", response_seen(response)) or response)

    return register


def raises(make_error: Callable[[], BaseException], kind: str, key: str | None = None) -> Register:
    def fail(*_: object) -> Any:
        # A new one each time: the traceback of one that is raised again grows.
        raise make_error()

    def register(app: Flask, note: Note) -> None:
        every_kind(app, note)
        getattr(app, kind)[key].insert(1, fail)

    return register


def change(response: Any, **values: Any) -> Any:
    for name, value in values.items():
        setattr(response, name, value)
    return response


def call(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda response: (function(response), response)[1]


def once(app: Flask, note: Note) -> None:
    """As is done in place of before_first_request, which Flask had once."""

    def first() -> None:
        app.before_request_funcs[None].remove(first)
        app.after_request_funcs.setdefault(None, []).append(lambda response: note("added") or response)
        app.teardown_request_funcs.setdefault(NAME, []).append(lambda error: note("added, too"))
        note("once")

    app.before_request(first)
    app.before_request(lambda: note("skipped the first time"))
    app.before_request(lambda: note("third"))


def after_this(app: Flask, note: Note) -> None:
    def later(name: str) -> Callable[[Any], Any]:
        def function(response: Any) -> Any:
            note(name, response_seen(response))
            response.headers.add("x-later", name)
            if name == "from before":
                after_this_request(later("from itself"))
            return response

        return function

    app.before_request(lambda: after_this_request(later("from before")) and None)
    app.after_request(lambda response: after_this_request(later("too late")) and response)


def reads_body(app: Flask, note: Note) -> None:
    app.before_request(lambda: note(request.get_data()))


def reads_stream(app: Flask, note: Note) -> None:
    app.before_request(lambda: note(request.stream.read()))


def from_threads(app: Flask, note: Note) -> None:
    def start() -> None:
        function = flask.copy_current_request_context(lambda: note("thread", request.path, dict(session)))
        thread = threading.Thread(target=function)
        thread.start()
        thread.join()

    app.before_request(start)
    app.after_request(lambda response: start() or response)


def nests_contexts(app: Flask, note: Note) -> None:
    def nest() -> None:
        if request.path.startswith("/page"):
            return
        with app.app_context():
            g.inner = 1
            note(dict(vars(g)), request.path)
        with app.test_request_context("/page/9"):
            note(request.path, request.endpoint, dict(session))
        with app.test_client() as client:
            note(client.get("/page/1").data)
        note(request.path, sorted(vars(g)))

    app.before_request(nest)
    app.after_request(lambda response: nest() or response)


def is_async(app: Flask, note: Note) -> None:
    async def before() -> None:
        note("before", request.path)

    async def after(response: Any) -> Any:
        note("after", response.status)
        return response

    async def tear_down(error: BaseException | None) -> None:
        note("teardown", repr(error))

    app.before_request(before)
    app.after_request(after)
    app.teardown_request(tear_down)


def with_receivers(fails: Any = None) -> Register:
    def register(app: Flask, note: Note) -> None:
        signals = (request_started, request_finished, request_tearing_down, got_request_exception)
        for signal in (*signals, appcontext_pushed, appcontext_popped, appcontext_tearing_down):

            def receive(sender: Any, signal: Any = signal, **values: Any) -> None:
                values.pop("_async_wrapper", None)
                note(signal.name, sender is app, sorted(values), flask.has_request_context())
                if "response" in values:
                    note(response_seen(values["response"]))
                    values["response"].headers["x-received"] = "1"
                if signal is fails:
                    raise KeyError(signal.name)

            app.extensions.setdefault("kept", []).append(receive)
            signal.connect(receive, app)

    return register


def with_rpc_receivers(app: Flask, note: Note) -> None:
    def receive(sender: Any, context: Any, **values: Any) -> None:
        note(context.path, values.get("code"))

    app.extensions["kept"] = receive
    rpc_started.connect(receive, app)
    rpc_finished.connect(receive, app)
    app.after_request(lambda response: Response("no", 403) if "x-refuse" in request.headers else response)


def rpc_receiver_fails(app: Flask, note: Note) -> None:
    with_receivers()(app, note)
    every_kind(app, note)

    def fail(sender: Any, context: Any, **values: Any) -> None:
        if "Stream" in context.path:
            return
        session["seen"] = 1
        after_this_request(lambda response: change(response, status_code=201))
        raise KeyError("receiver")

    app.extensions["kept"].append(fail)
    rpc_finished.connect(fail, app)


def with_cors(**options: Any) -> Register:
    def register(app: Flask, note: Note) -> None:
        app.after_request(lambda response: note("outer", response_seen(response)) or response)
        CORS(app, **options)
        app.after_request(lambda response: note("inner", response_seen(response)) or response)
        app.before_request(lambda: abort(403) if "x-refuse" in request.headers else None)

    return register


def with_login(app: Flask, note: Note) -> None:
    user = UserMixin()
    user.id = "7"
    LoginManager(app).user_loader(lambda user_id: user if user_id == "7" else None)
    app.before_request(lambda: note("user", current_user.is_authenticated))

    def switch() -> None:
        if "x-log-in" in request.headers:
            login_user(user, remember=True, duration=timedelta(days=1))
        if "x-log-out" in request.headers:
            logout_user()

    app.before_request(switch)


def handled(app: Flask, note: Note) -> None:
    every_kind(app, note)
    app.register_error_handler(HTTPException, lambda error: (note("handler", error.code), ("handled", 409))[1])
    app.register_error_handler(KeyError, lambda error: (note("handler", repr(error)), ("key", 404))[1])
    app.before_request(lambda: abort(418) if "x-refuse" in request.headers else None)


def handler_fails(app: Flask, note: Note) -> None:
    every_kind(app, note)
    app.register_error_handler(500, lambda error: 1 // 0)
    app.before_request(lambda: 1 // 0 if "x-refuse" in request.headers else None)


def elsewhere(app: Flask, note: Note) -> None:
    """A hook that sends requests to another route, as is done for pages of other languages."""
    every_kind(app, note)
    app.before_request_funcs["pages"].append(lambda: note("of pages"))
    app.after_request_funcs["pages"].append(lambda response: note("of pages") or response)
    page = next(rule for rule in app.url_map.iter_rules() if rule.endpoint == "page")

    def send(endpoint: str | None, values: dict[str, Any] | None) -> None:
        if "x-refuse" in request.headers:
            request.url_rule, request.view_args = page, {"a": "elsewhere"}

    app.url_value_preprocessor(send)


def counts(app: Flask, note: Note) -> None:
    """As metrics are made by hand: little is looked at."""
    app.before_request(lambda: setattr(g, "started", 1))
    app.after_request(lambda response: response.headers.set("x-served-by", "a") or response)


def _as_ours(response: Any) -> Any:
    """As a cache does that has kept a response of ours."""
    return Response(response.get_data(), response.status, list(response.headers))


HOOKS: dict[str, Register] = {
    "none": lambda app, note: None,
    "every kind": every_kind,
    "looks around": looks_around,
    "looks at sessions": looks_at_sessions,
    "counts": counts,
    "once": once,
    "after this request": after_this,
    "reads the body": reads_body,
    "reads the stream": reads_stream,
    "threads": from_threads,
    "nested contexts": nests_contexts,
    "async": is_async,
    "receivers": with_receivers(),
    **{f"{signal.name} raises": with_receivers(signal) for signal in (request_started, request_finished)},
    f"{request_tearing_down.name} raises": with_receivers(request_tearing_down),
    "receivers of calls": with_rpc_receivers,
    "a receiver of calls raises": rpc_receiver_fails,
    "CORS": with_cors(),
    "CORS of origins": with_cors(origins=[ORIGIN], supports_credentials=True, expose_headers=["X-Mine"]),
    "CORS by functions": with_cors(origins=re.compile(r"https://.*"), vary_header=False, send_wildcard=True),
    "login": with_login,
    "error handlers": handled,
    "an error handler fails": handler_fails,
    "elsewhere": elsewhere,
    # Of before_request
    "before: text": before(lambda: "text"),
    "before: a tuple": before(lambda: ("text", 404, {"x-mine": "1"})),
    "before: JSON": before(lambda: {"a": 1}),
    "before: a response": before(lambda: Response("no", 429, {"x-mine": "3"})),
    "before: a function": before(lambda: lambda environ, start: (start("403 No", []), [b"no"])[1]),
    "before: nonsense": before(lambda: 7),
    "before: ours": before(lambda: Response(b"", 200, {"content-type": PROTO, "grpc-status": "5"})),
    "before: abort": before(lambda: abort(401)),
    "before: redirect": before(lambda: flask.redirect("/login")),
    "before: RpcError": before(functools.partial(lambda: (_ for _ in ()).throw(RpcError(StatusCode.ABORTED, "no")))),
    "before: an environment changed": before(lambda: request.environ.update({"HTTP_X_MINE": "mine"})),
    "before: an address": before(lambda: setattr(request, "remote_addr", "192.0.2.7")),
    "before: a limit": before(lambda: setattr(request, "max_content_length", 3)),
    "before: a permanent session": before(lambda: setattr(session, "permanent", True)),
    "before: an entry": before(lambda: session.update(a=[1, {"b": 2}])),
    "before: an entry less": before(lambda: session.pop("user", None) and None),
    "before: a session cleared": before(lambda: session.clear()),
    "before: a message": before(lambda: flash("hello", "info")),
    "before: messages": before(lambda: get_flashed_messages() and None),
    "before: cookies replaced": before(lambda: request.environ.pop("HTTP_COOKIE", None) and None),
    # Of after_request
    "after: a header": after(lambda response: response.headers.set("X-Mine", "1") or response),
    "after: headers": after(lambda response: response.headers.extend({"x-a": "1", "X-B": "2"}) or response),
    "after: no length": after(lambda response: [response.headers.pop("content-length", None), response][1]),
    "after: another type": after(lambda response: change(response, content_type="text/plain")),
    "after: no type": after(lambda response: response.headers.remove("content-type") or response),
    "after: new headers": after(
        lambda response: change(response, headers=type(response.headers)([*response.headers, ("x-new", "1")]))
    ),
    "after: a location": after(lambda response: change(response, location="/päge")),
    "after: an absolute location": after(lambda response: change(response, autocorrect_location_header=True)),
    "after: a content location": after(lambda response: response.headers.set("Content-Location", "/ä") or response),
    "after: a status": after(lambda response: change(response, status_code=202)),
    "after: a status of text": after(lambda response: change(response, status="404 Gone fishing")),
    "after: no content": after(lambda response: change(response, status_code=204)),
    "after: not modified": after(lambda response: change(response, status_code=304)),
    "after: a cookie": after(call(lambda response: response.set_cookie("a", "b"))),
    "after: cookies": after(call(lambda response: [response.set_cookie(name, "1") for name in "ab"])),
    "after: vary": after(call(lambda response: response.vary.update(["Accept", "cookie"]))),
    "after: data": after(lambda response: response.headers.set("x-size", len(response.get_data())) or response),
    "after: data set": after(lambda response: response.set_data(b"text") or response),
    "after: data of text": after(lambda response: change(response, data="text")),
    "after: a list": after(lambda response: change(response, response=[*response.response])),
    "after: an iterator": after(lambda response: change(response, response=iter([*response.response]))),
    "after: text in the list": after(
        lambda response: response.response.append("") or response if response.is_sequence else response
    ),
    "after: passed through": after(lambda response: change(response, direct_passthrough=True)),
    "after: a function at the end": after(call(lambda response: response.call_on_close(lambda: None))),
    "after: an ETag": after(
        lambda response: response.add_etag() or response.make_conditional(request) if response.is_sequence else response
    ),
    "after: frozen": after(call(lambda response: response.is_sequence and response.freeze())),
    "after: a class": after(lambda response: Response.force_type(response)),
    "after: an attribute": after(lambda response: change(response, mine=1)),
    "after: another response": after(lambda response: Response("no", 403)),
    "after: a success of another": after(lambda response: Response("yes", 200)),
    "after: a copy": after(_as_ours),
    "after: nothing": after(lambda response: None),
    "after: nonsense": after(lambda response: 7),
    "after: a session": after(lambda response: session.update(b=1) or response),
    "after: text of it": after(lambda response: response.headers.set("x-text", repr(response)[:20]) or response),
    "after: the headers of WSGI": after(call(lambda response: response.get_wsgi_headers(request.environ))),
    **{
        f"{kind} of {key} raises {make_error()!r}": raises(make_error, kind, key)
        for kind in (
            "before_request_funcs",
            "after_request_funcs",
            "teardown_request_funcs",
            "url_value_preprocessors",
        )
        for key in (None, NAME)
        for make_error in (
            lambda: KeyError("secret"),
            lambda: RpcError(StatusCode.ABORTED, "no"),
            lambda: SystemExit("now"),
        )
    },
}  # fmt: skip


# Calls


def unary(rpc_request: EchoRequest, context: Any) -> EchoReply:
    if rpc_request.text == "session":
        session["seen"] = session.get("seen", 0) + 1
    if rpc_request.text == "request":
        return EchoReply(text=repr([request.path, request.get_data(), sorted(vars(g))]))
    if rpc_request.text == "later":
        after_this_request(lambda response: change(response, status_code=201))
    if rpc_request.text == "abort":
        abort(409)
    if rpc_request.text == "crash":
        raise KeyError("secret")
    if rpc_request.text == "exit":
        raise SystemExit("now")
    if rpc_request.text == "fail":
        context.trailing_metadata.add("x-trailing", "1")
        raise RpcError(StatusCode.NOT_FOUND, "nothing")
    if rpc_request.text == "metadata":
        context.initial_metadata.add("x-mine", "1")
        context.initial_metadata.add("vary", "X-Own")
    return EchoReply(text=context.peer, number=1)


def stream(rpc_request: EchoRequest, context: Any) -> Iterator[EchoReply]:
    if rpc_request.text in {"session", "abort"}:
        unary(rpc_request, context)
    for number in range(3):
        yield EchoReply(text=request.path + str(sorted(vars(g))), number=number)
        if rpc_request.text in {"fail", "crash"}:
            unary(rpc_request, context)


@dataclass(frozen=True)
class Sent:
    """A request, and the number of pieces that are read of its response: all when it is None."""

    environ: dict[str, Any]
    data: bytes
    pieces: int | None


def sent(*, pieces: int | None = None, **options: Any) -> Sent:
    """The request that EnvironBuilder makes of the options; a unary call when they do not say otherwise."""
    environ = EnvironBuilder(**{"path": ECHO + "Unary", "method": "POST", **options}).get_environ()
    environ.pop("werkzeug.request", None)
    return Sent(environ, options.get("data", b""), pieces)


@functools.cache
def requests() -> list[Sent]:
    return [sent(**options) for options in options_of_requests()]


def options_of_requests() -> Iterator[dict[str, Any]]:
    binary = {"content-type": PROTO, "x-grpc-web": "1"}
    for text in ("", "session", "request", "later", "abort", "crash", "fail", "metadata"):
        yield {"data": body_of(EchoRequest(text=text)), "headers": binary}
    yield {"data": body_of(EchoRequest(text="exit")), "headers": binary}
    yield {"data": b"torn", "headers": binary}
    yield {"data": b"", "headers": binary}
    yield {"data": b'{"text": "session"}', "headers": {"content-type": "application/json"}}
    find = {"path": "/tests.echo.v1.Lookup/Find", "method": "GET"}
    yield {**find, "query_string": query_of(EchoRequest(text="session"), "json")[1:], "headers": {}}
    for text in ("", "session", "abort", "fail", "crash"):
        yield {"path": ECHO + "ServerStream", "data": body_of(EchoRequest(text=text)), "headers": binary}
    one = {"path": ECHO + "ServerStream", "data": body_of(EchoRequest()), "headers": binary}
    yield {**one, "pieces": 0}
    yield {**one, "pieces": 1}
    for headers in (
        {"x-refuse": "1"},
        {"origin": ORIGIN},
        {"origin": "https://evil.example", "cookie": "a=1"},
        {"origin": ORIGIN, "x-refuse": "1"},
        {"x-log-in": "1"},
        {"x-log-out": "1"},
        {"if-none-match": "*"},
    ):
        yield {"data": body_of(EchoRequest()), "headers": {**binary, **headers}}


def cookies_of(app: Flask) -> Iterator[str]:
    """Cookies that a browser may have of the app."""
    serializer = app.session_interface.get_signing_serializer(app)  # type: ignore[attr-defined]
    if serializer is None:
        yield "session=abc"
        return
    values = [
        {"user": "7", "n": [1, {"t": (1, 2)}]},
        {"user": "7", "_permanent": True},
        {"_user_id": "7", "_fresh": True, "_id": "?"},
        {"_flashes": [("info", "hello")]},
        {"text": "a" * 500},
        {},
    ]
    texts = [serializer.dumps(value) for value in values]
    for text in texts:
        yield f"session={text}"
    yield f"a=1; session={texts[1]}; b=2"
    yield f"mysession={texts[1]}"
    yield f'session="{texts[1]}"'
    yield f"session={texts[0]}; session={texts[1]}"
    yield f"session={texts[0][:-3]}abc"
    yield "session="
    yield f"session={texts[0]};"
    yield f" session = {texts[0]} ,x"
    yield f"session; session={texts[1]}"
    yield "a=\xe9"


PLAIN = sent(data=body_of(EchoRequest()), content_type=PROTO)
CONFIGS: dict[str, dict[str, Any]] = {
    "without a key": {},
    "sessions": {"SECRET_KEY": "k"},
    "handled": {"SECRET_KEY": "k", "PROPAGATE_EXCEPTIONS": False, "SESSION_REFRESH_EACH_REQUEST": False},
    "our CORS": {"SECRET_KEY": "k", "GRPC_CORS_ORIGINS": [ORIGIN], "PROPAGATE_EXCEPTIONS": False},
}
WITHOUT_CORS = {name: config for name, config in CONFIGS.items() if name != "our CORS"}
"""Those that differ in what they read of cookies."""


READERS_OF_COOKIES = [
    (method, text, sent(path=ECHO + method, data=body_of(EchoRequest(text=text)), content_type=PROTO))
    for method, texts in {
        "Unary": ("", "session", "session", "request", "crash"),
        "ServerStream": ("", "session", "crash"),
    }.items()
    for text in texts
]
"""Calls that are made with each cookie, which is remembered from the first of them on."""


@functools.cache
def services() -> list[Service]:
    """For all apps: the checks of functions are half of the costs of one."""
    return [echo_service(Unary=unary, ServerStream=stream), lookup_service(unary)]


def build(register: Register, config: dict[str, Any], *, lane: bool, events: list[object]) -> Flask:
    app = Flask("app", static_folder=None)
    app.config.update({"GRPC_SCM": False, "GRPC_REQUIRE_AUTH": False, "GRPC_FAST_LANE": lane, **config})
    app.add_url_rule("/page/<a>", "page", lambda a: a)
    app.add_url_rule("/page/<a>", "pages.page", lambda a: a)
    app.teardown_appcontext(lambda error: events.append(["teardown_appcontext", repr(error)]))
    GrpcWebScm(app, services=services())
    register(app, lambda *words: events.append(words))
    know_routes(app)
    return app


def outcome(app: Flask, one: Sent, cookie: str | None = None) -> tuple[object, list[str]]:
    """All that a server sees of a response, and the cookies that it sets."""
    environ = {**one.environ, "wsgi.input": io.BytesIO(one.data)}
    if cookie is not None:
        environ["HTTP_COOKIE"] = cookie
    started: list[Any] = []
    try:
        response: Any = app(environ, lambda status, headers, exc_info=None: started.append((status, headers)))  # type: ignore[misc,arg-type,return-value]
        body = list(itertools.islice(response, one.pieces))
        if hasattr(response, "close"):
            response.close()
        # Of a failure, no piece is of use.
        text = b"".join(body)
    except BaseException as error:
        return steady(repr([error, started])), []
    finally:
        assert not flask.has_app_context()
        assert not flask.has_request_context()
        assert environ.get("werkzeug.request") is None
    cookies = [value for _, headers in started for name, value in headers if name.lower() == "set-cookie"]
    return steady(repr((started, text))), [steady(cookie) for cookie in cookies]


@pytest.mark.needs("time")
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("register", HOOKS.values(), ids=HOOKS)
def test_both_ways_look_the_same(register: Register, config: dict[str, Any]) -> None:
    ways: list[list[object]] = []
    for lane in (False, True):
        events: list[object] = []
        app = build(register, config, lane=lane, events=events)
        ways.append([])
        for one in requests():
            found, cookies = outcome(app, one)
            ways[-1].append((one, found, events.copy()))
            events.clear()
            for cookie in cookies:
                again, _ = outcome(app, PLAIN, cookie.partition(";")[0])
                ways[-1].append((one, again, events.copy()))
                events.clear()
    differences = [(one, other) for one, other in zip(*ways, strict=True) if one != other]
    assert differences == []


@pytest.mark.needs("time")
@pytest.mark.parametrize(
    "name",
    ["none", "every kind", "looks around", "looks at sessions", "counts", "login", "threads",
     "before: a permanent session", "before: an entry", "before: an entry less", "before: a session cleared",
     "before: messages",
     "before: cookies replaced", "after: a session", "after: vary", "before: abort", "after: another response"],
)  # fmt: skip
@pytest.mark.parametrize("config", WITHOUT_CORS.values(), ids=WITHOUT_CORS)
def test_every_cookie_is_read_the_same(name: str, config: dict[str, Any]) -> None:
    ways: list[list[object]] = []
    for lane in (False, True):
        events: list[object] = []
        app = build(HOOKS[name], config, lane=lane, events=events)
        ways.append([])
        for cookie in cookies_of(app):
            for method, text, one in READERS_OF_COOKIES:
                ways[-1].append((cookie, method, text, outcome(app, one, cookie), events.copy()))
                events.clear()
    differences = [(one, other) for one, other in zip(*ways, strict=True) if one != other]
    assert differences == []


def test_calls_with_hooks_are_served_beside_flask() -> None:
    kinds = []
    app = build(counts, {}, lane=True, events=[])
    app.after_request(lambda response: kinds.append(type(current_context())) or response)  # type: ignore[func-returns-value]
    outcome(app, PLAIN)
    assert kinds == [HookedRequestContext]
