"""The fast lane: which calls take it, and that nobody can tell."""

from __future__ import annotations

import base64
import contextlib
import functools
import gc
import io
import itertools
import logging
import re
import sys
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from datetime import timedelta
from typing import Any

import flask
import pytest
from flask import Flask, Request, Response, abort, after_this_request, current_app, g, request, session, url_for
from flask.sessions import SecureCookieSessionInterface
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
from itsdangerous import TimestampSigner
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.test import EnvironBuilder, run_wsgi_app

from flask_grpcweb_scm import GrpcWebScm, RpcError, StatusCode, current_rpc, rpc_finished, rpc_started
from flask_grpcweb_scm.signals import logger
from flask_grpcweb_scm.web.cors import MAX_NAMES, MAX_REMEMBERED, Permissions
from flask_grpcweb_scm.web.flask_internals import current_context, is_plain_flask
from flask_grpcweb_scm.web.late_contexts import HookedRequestContext, LateRequestContext
from tests.apps import ECHO, echo_app, echo_service, know_routes, lane_of, lookup_service
from tests.connect import call as connect_call
from tests.connect import get, query_of
from tests.echo_pb2 import EchoReply, EchoRequest
from tests.grpcweb import PROTO, body_of, call, read

pytestmark = pytest.mark.skipif(not is_plain_flask(Flask("a")), reason="the lane needs Flask 3.1.3 or newer")

HI = EchoRequest(text="hi", count=3)


@pytest.fixture(autouse=True)
def _no_second_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cookies say when they were signed; two calls that are compared may be on either side of a second."""
    monkeypatch.setattr(TimestampSigner, "get_timestamp", lambda signer: 1_700_000_000)


WAYS = {LateRequestContext: "lane", HookedRequestContext: "hooks"}


def way(rpc_request: EchoRequest, context: object) -> EchoReply:
    """Tell which way the call came."""
    return EchoReply(text=WAYS.get(type(current_context()), "Flask"))


def lane_app(**options: Any) -> Flask:
    app = echo_app(**{"Unary": way, **options})
    know_routes(app)
    return app


def way_of_call(app: Flask, **options: Any) -> str:
    text: str = call(app.test_client(use_cookies=False), ECHO + "Unary", HI, **options).only(EchoReply).text
    return text


# Which calls take it


def test_a_call_takes_the_lane_once_flask_has_found_its_route() -> None:
    app = echo_app(Unary=way)
    assert [way_of_call(app) for _ in range(3)] == ["Flask", "lane", "lane"]
    assert way_of_call(app, base_url="http://other.example") == "Flask"
    assert way_of_call(app, base_url="http://other.example") == "lane"


def test_a_get_takes_it_without_credentials_of_browsers_whatever_its_query() -> None:
    app = echo_app(extension=GrpcWebScm(services=[lookup_service(way)]))
    client, path = app.test_client(use_cookies=False), "/tests.echo.v1.Lookup/Find"

    def way_of_get(query: str, **headers: str) -> str:
        text: str = get(client, path + query, headers=headers).only(EchoReply).text
        return text

    as_json, as_proto = query_of(HI, "json"), query_of(HI, "proto")
    assert [way_of_get(query) for query in (as_json, as_json, as_proto)] == ["Flask", "lane", "lane"]
    assert way_of_get(as_proto, cookie="a=b") == way_of_get(as_proto, authorization="Basic YTpi") == "Flask"
    assert client.get(path + "?encoding=xml").status_code == 415
    assert client.get(path).status_code == 400
    heads = [client.head(path + query) for query in (as_json, as_proto) for _ in range(2)]
    assert [(head.status_code, head.data, head.headers["content-type"][12:]) for head in heads] == [
        *[(200, b"", "json")] * 2,
        *[(200, b"", "proto")] * 2,
    ]
    assert client.get("/").status_code == 404
    assert connect_call(client, path, HI).only(EchoReply).text == "Flask"
    assert connect_call(client, path, HI).only(EchoReply).text == "lane"


@pytest.mark.parametrize(("characters", "expected"), [(700, "lane"), (1000, "Flask")])
def test_only_short_routes_are_remembered(characters: int, expected: str) -> None:
    app = echo_app(Unary=way)
    accept = "application/grpc-web+proto," + "x" * characters
    assert [way_of_call(app, headers={"accept": accept}) for _ in range(2)] == ["Flask", expected]


def with_receiver(signal: Any) -> Callable[[Flask], None]:
    def connect(app: Flask) -> None:
        app.extensions["kept"] = receiver = lambda sender, **_: None
        signal.connect(receiver, app)

    return connect


def with_hook(funcs: str, key: str | None) -> Callable[[Flask], None]:
    hook = (lambda response: response) if funcs.startswith("after") else lambda *_: None
    return lambda app: getattr(app, funcs)[key].append(hook)


def with_hooks_replaced(funcs: str) -> Callable[[Flask], None]:
    hook = (lambda response: response) if funcs.startswith("after") else lambda *_: None
    return lambda app: setattr(app, funcs, {None: [hook]})


class Sessions(SecureCookieSessionInterface):
    pass


def change_sessions(app: Flask) -> None:
    app.session_interface = sessions = SecureCookieSessionInterface()
    sessions.should_set_cookie = lambda *_: False  # type: ignore[method-assign]


class OwnRequest(Request):
    pass


HOOKS = ("before_request_funcs", "after_request_funcs", "teardown_request_funcs", "url_value_preprocessors")


def replace_view(app: Flask) -> None:
    """As decorators do that protect all views of an app."""
    (name,) = (name for name in app.view_functions if name.endswith("Unary"))
    view = app.view_functions[name]
    app.view_functions[name] = lambda **_: view()


IN_THE_WAY = {
    **{f"{funcs} of {key}": with_hook(funcs, key) for funcs in HOOKS for key in (None, "grpcweb_scm")},
    **{f"{funcs} replaced": with_hooks_replaced(funcs) for funcs in HOOKS},
    "request_started": with_receiver(request_started),
    "request_finished": with_receiver(request_finished),
    "request_tearing_down": with_receiver(request_tearing_down),
}
OUT_OF_THE_WAY = {
    "error handler": lambda app: app.register_error_handler(404, lambda error: ("", 404)),
    "hook of a blueprint": with_hook("before_request_funcs", "other"),
    "teardown of the app context": lambda app: app.teardown_appcontext(lambda error: None),
    "template context": lambda app: app.context_processor(dict),
    "appcontext_pushed": with_receiver(appcontext_pushed),
    "rpc_finished": with_receiver(rpc_finished),
    "got_request_exception": with_receiver(got_request_exception),
}
STRANGE = {
    "own sessions": lambda app: setattr(app, "session_interface", Sessions()),
    "changed sessions": change_sessions,
    "own requests": lambda app: setattr(app, "request_class", OwnRequest),
    "own responses": lambda app: setattr(app, "response_class", type("Own", (Response,), {})),
    "own dispatch": lambda app: setattr(app, "full_dispatch_request", app.full_dispatch_request),
    "own preparation": lambda app: setattr(app, "preprocess_request", lambda: None),
}
STRANGE_FROM_THE_START = {
    **STRANGE,
    "trusted hosts": lambda app: app.config.update(TRUSTED_HOSTS=["localhost"]),
    "a view replaced": lambda app: replace_view(app),
}


@pytest.mark.parametrize("register", IN_THE_WAY.values(), ids=IN_THE_WAY)
def test_what_may_look_at_requests_is_called_from_then_on(register: Callable[[Flask], None]) -> None:
    app = lane_app()
    assert way_of_call(app) == "lane"
    register(app)
    assert way_of_call(app) == "hooks"


@pytest.mark.parametrize("register", OUT_OF_THE_WAY.values(), ids=OUT_OF_THE_WAY)
def test_what_does_not_look_at_requests_is_no_hindrance(register: Callable[[Flask], None]) -> None:
    app = lane_app()
    register(app)
    assert way_of_call(app) == "lane"


@pytest.mark.parametrize("change", STRANGE_FROM_THE_START.values(), ids=STRANGE_FROM_THE_START)
def test_an_unusual_flask_has_no_lane(change: Callable[[Flask], None]) -> None:
    app = echo_app(Unary=way)
    change(app)
    assert [way_of_call(app) for _ in range(2)] == ["Flask", "Flask"]


@pytest.mark.parametrize("change", STRANGE.values(), ids=STRANGE)
def test_a_flask_that_becomes_unusual_has_its_lane_closed(change: Callable[[Flask], None]) -> None:
    app = lane_app()
    assert way_of_call(app) == "lane"
    before = {**vars(app)}
    change(app)
    assert way_of_call(app) == "Flask"
    for name in vars(app).keys() - before:
        delattr(app, name)
    assert way_of_call(app) == "lane"


@pytest.mark.parametrize("name", ["open_session", "save_session", "should_set_cookie"])
def test_sessions_that_become_unusual_close_the_lane(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    app = echo_app(Unary=way)
    assert [way_of_call(app) for _ in range(2)] == ["Flask", "lane"]
    with monkeypatch.context() as patch:
        patch.setitem(vars(app.session_interface), name, getattr(app.session_interface, name))
        assert way_of_call(app) == "Flask"


def test_sessions_may_be_replaced_again() -> None:
    app = echo_app(Unary=way)
    assert [way_of_call(app) for _ in range(2)] == ["Flask", "lane"]
    for sessions in (SecureCookieSessionInterface(), Sessions()):
        app.session_interface = sessions
        assert way_of_call(app) == "Flask"


@pytest.mark.parametrize(
    ("part", "name"),
    [
        (flask.ctx.AppContext, "push"),
        (flask.ctx.RequestContext, "pop"),
        (SecureCookieSessionInterface, "open_session"),
    ],
)
def test_parts_of_flask_that_somebody_watches_are_used(part: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    method, used = getattr(part, name), []
    monkeypatch.setattr(part, name, lambda *given: used.append(name) or method(*given))  # type: ignore[func-returns-value]
    app = echo_app(Unary=way)
    assert [way_of_call(app) for _ in range(2)] == ["Flask", "Flask"]
    assert used


@contextlib.contextmanager
def threads_that_switch() -> Iterator[None]:
    """All the time, not every five milliseconds."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def calls_at_once(app: Flask, count: int) -> list[int]:
    """The codes of calls in threads that are switched all the time."""
    barrier = threading.Barrier(4)

    def calls(number: int) -> list[int]:
        # Not those of test clients, whose contexts outlive the call.
        given: dict[str, Any] = {"path": ECHO + "Unary", "method": "POST", "data": body_of(HI), "content_type": PROTO}
        environs = [EnvironBuilder(**given).get_environ() for _ in range(count)]
        barrier.wait(30)
        answers = [run_wsgi_app(app.wsgi_app, environ, buffered=True) for environ in environs]
        return [read(int(status[:3]), headers, b"".join(body)).code for body, status, headers in answers]

    with threads_that_switch(), ThreadPoolExecutor(4) as pool:
        return [code for codes in pool.map(calls, range(4)) for code in codes]


@pytest.mark.needs("time")
def test_hooks_that_threads_find_at_once_are_called_in_each() -> None:
    for _ in range(50):
        app, added = lane_app(), []

        def add(response: Response, added: list[str] = added) -> Response:
            added.append("called")
            return response

        for _ in range(20):
            app.after_request_funcs[None].append(add)
        assert calls_at_once(app, 3) == [0] * 12
        assert len(added) == 12 * 20


@pytest.mark.needs("time")
def test_threads_of_a_call_use_the_same_context_first() -> None:
    called: list[str] = []

    def function(rpc_request: EchoRequest, context: object) -> EchoReply:
        def use(name: str) -> None:
            setattr(g, name, name)
            session[name] = name

            @after_this_request
            def note(response: Response) -> Response:
                called.append(name)
                return response

        with ThreadPoolExecutor(2) as pool:
            for copy, name in ((copy_context(), "a"), (copy_context(), "b")):
                pool.submit(copy.run, use, name)
        return EchoReply(text="".join(sorted((g.get("a", ""), g.get("b", ""), *session))))

    app = lane_app(Unary=function, SECRET_KEY="k")
    assert set(calls_at_once(app, 100)) == {0}
    called.clear()
    with threads_that_switch():
        assert {way_of_call(app) for _ in range(200)} == {"aabb"}
    assert sorted(called) == ["a"] * 200 + ["b"] * 200


@pytest.mark.needs("time")
def test_threads_of_a_call_use_other_parts_of_its_context_first() -> None:
    def function(rpc_request: EchoRequest, context: object) -> EchoReply:
        uses: list[Callable[[], object]] = [
            lambda: request.path,
            lambda: session.get("a"),
            lambda: g.get("a"),
            lambda: url_for("static", filename="a"),
        ]
        barrier = threading.Barrier(len(uses))

        def use(act: Callable[[], object]) -> str:
            barrier.wait(30)
            return str(act())

        with ThreadPoolExecutor(len(uses)) as pool:
            texts = [pool.submit(copy_context().run, use, act) for act in uses]
            return EchoReply(text=" ".join(text.result() for text in texts))

    app = lane_app(Unary=function, SECRET_KEY="k")
    app.add_url_rule("/static/<filename>", "static", str)
    with threads_that_switch():
        assert {way_of_call(app) for _ in range(300)} == {f"{ECHO}Unary None None /static/a"}


@pytest.mark.needs("time")
@pytest.mark.parametrize("use", [lambda: g.get("a"), lambda: request.path, lambda: session.get("a")])
def test_a_thread_may_use_the_context_first_when_the_call_ends(use: Callable[[], object]) -> None:
    with ThreadPoolExecutor(4) as pool:
        texts: list[Any] = []

        def function(rpc_request: EchoRequest, context: object) -> EchoReply:
            texts.append(pool.submit(copy_context().run, use))
            return EchoReply()

        app = lane_app(Unary=function, SECRET_KEY="k", PROPAGATE_EXCEPTIONS=False)
        app.teardown_appcontext(lambda error: None)
        assert set(calls_at_once(app, 300)) == {0}
        assert len({text.result() for text in texts}) == 1


def test_what_is_around_flask_already_is_not_left_out() -> None:
    def prepare(app: Flask) -> None:
        app.wsgi_app = ProxyFix(app.wsgi_app)  # type: ignore[method-assign]

    app = echo_app(Unary=lambda rpc_request, context: EchoReply(text=context.peer), prepare=prepare)
    for _ in range(2):
        assert way_of_call(app, headers={"x-forwarded-for": "192.0.2.1"}) == "192.0.2.1"


def test_what_comes_around_flask_later_is_around_the_lane() -> None:
    app = lane_app(Unary=lambda rpc_request, context: EchoReply(text=way(rpc_request, context).text + context.peer))
    app.wsgi_app = ProxyFix(app.wsgi_app)  # type: ignore[method-assign]
    assert way_of_call(app, headers={"x-forwarded-for": "192.0.2.1"}) == "lane192.0.2.1"


def test_the_lane_is_closed_by_configuration() -> None:
    assert way_of_call(lane_app(GRPC_FAST_LANE=False)) == "Flask"


@pytest.mark.parametrize("config", [{"GRPC_CORS_ORIGINS": "https://app.example"}, {"GRPC_CORS_CREDENTIALS": True}])
def test_cross_origin_calls_do_not_close_the_lane(config: dict[str, Any]) -> None:
    assert way_of_call(lane_app(**config)) == "lane"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"headers": {"cookie": "other=1"}}, "lane"),
        ({"headers": {"cookie": "session=1"}}, "hooks"),
        ({"headers": {"upgrade": "websocket", "connection": "keep-alive"}}, "Flask"),
        ({"environ_overrides": {"werkzeug.debug.preserve_context": [].append}}, "Flask"),
    ],
)
def test_single_requests_may_need_flask(options: dict[str, Any], expected: str) -> None:
    app = lane_app(SECRET_KEY="k")
    assert way_of_call(app, **options) == expected


def test_an_application_context_that_is_there_is_used() -> None:
    app = lane_app(Unary=lambda rpc_request, context: EchoReply(text=g.text))
    with app.app_context():
        g.text = "from outside"
        assert way_of_call(app) == "from outside"


def test_a_host_that_flask_refuses_is_refused_every_time() -> None:
    app = lane_app()
    for _ in range(2):
        response = app.test_client().post(
            ECHO + "Unary", data=body_of(HI), content_type=PROTO, headers={"host": "a..b"}
        )
        assert response.status_code == 400


# Nobody can tell: the same calls through Flask and through the lane


def uses_session(rpc_request: EchoRequest, context: object) -> EchoReply:
    session["seen"] = session.get("seen", 0) + 1
    return EchoReply(number=session["seen"])


def reads_session(rpc_request: EchoRequest, context: object) -> EchoReply:
    return EchoReply(text=str(dict(session)))


def uses_after_this_request(rpc_request: EchoRequest, context: object) -> EchoReply:
    @after_this_request
    def add_header(response: Response) -> Response:
        response.headers["x-after"] = f"{response.status_code} {len(response.data)}"
        response.set_cookie("a", "b")
        return response

    return EchoReply(text="ok")


def fails_after_this_request(rpc_request: EchoRequest, context: object) -> EchoReply:
    after_this_request(lambda response: abort(409))
    return EchoReply()


def crashes_after_this_request(rpc_request: EchoRequest, context: object) -> EchoReply:
    after_this_request(lambda response: {}["nothing"])
    return EchoReply()


def leaves_a_context(rpc_request: EchoRequest, context: object) -> EchoReply:
    current_app.test_request_context("/page/1").push()
    return EchoReply(text=request.path)


def looks_around(rpc_request: EchoRequest, context: Any) -> EchoReply:
    seen = [
        flask.has_request_context(),
        request.method,
        request.path,
        request.endpoint,
        request.blueprints,
        request.view_args,
        str(request.url_rule),
        request.url,
        request.headers.get("x-mine"),
        request.content_length,
        url_for("page", a=1),
        current_app.name,
        current_rpc.method is context.method,
        session.new if current_app.secret_key else None,
        request.get_data(),
        dict(g.__dict__).keys() - {"_grpcweb_call"},
    ]
    return EchoReply(text=repr(seen))


def looks_from_a_thread(rpc_request: EchoRequest, context: object) -> EchoReply:
    seen = []
    thread = threading.Thread(target=flask.copy_current_request_context(lambda: seen.append(request.path)))
    thread.start()
    thread.join()
    return EchoReply(text=seen[0])


def aborts(rpc_request: EchoRequest, context: object) -> EchoReply:
    abort(404, "not here")


def crashes(rpc_request: EchoRequest, context: object) -> EchoReply:
    raise KeyError("secret")


def refuses(rpc_request: EchoRequest, context: Any) -> EchoReply:
    context.trailing_metadata.add("x-trailing", "1")
    raise RpcError(StatusCode.ABORTED, "no", [EchoReply(text="detail")])


def exits(rpc_request: EchoRequest, context: object) -> EchoReply:
    raise SystemExit("now")


def streams_context(rpc_request: EchoRequest, context: object) -> Iterator[EchoReply]:
    for number in range(3):
        yield EchoReply(text=request.path + str(len(g.__dict__)), number=number)


def streams_late(rpc_request: EchoRequest, context: object) -> Iterator[EchoReply]:
    yield EchoReply(number=1)
    yield EchoReply(text=request.path)
    raise KeyError("secret")


def streams_and_fails(rpc_request: EchoRequest, context: object) -> Iterator[EchoReply]:
    after_this_request(lambda response: abort(409))
    yield EchoReply()


FUNCTIONS = {
    "Unary": [
        uses_session,
        reads_session,
        uses_after_this_request,
        fails_after_this_request,
        crashes_after_this_request,
        leaves_a_context,
        looks_around,
        looks_from_a_thread,
        aborts,
        crashes,
        refuses,
        exits,
    ],
    "ServerStream": [streams_context, streams_late],
}


def listen(app: Flask, events: list[object]) -> list[object]:
    """Note what happens to contexts; returns what has to be kept for that long."""

    def note(name: str) -> Callable[..., None]:
        def receive(sender: object, **values: Any) -> None:
            events.append((name, repr(values.get("exc") or values.get("exception"))))

        return receive

    receivers = [note(name) for name in ("pushed", "tearing down", "popped", "exception")]
    signals = [appcontext_pushed, appcontext_tearing_down, appcontext_popped, got_request_exception]
    for signal, receiver in zip(signals, receivers, strict=True):
        signal.connect(receiver, app)
    return [*receivers]


@pytest.mark.parametrize(
    ("method", "function"), [(method, function) for method in FUNCTIONS for function in FUNCTIONS[method]]
)
@pytest.mark.parametrize(
    "config",
    [{}, {"SECRET_KEY": "k"}, {"SERVER_NAME": "localhost", "PROPAGATE_EXCEPTIONS": False}],
    ids=["plain", "sessions", "server name"],
)
@pytest.mark.parametrize("pieces", [None, 0, 1], ids=["whole", "unread", "left"])
def test_both_ways_look_the_same(
    method: str, function: Callable[..., Any], config: dict[str, Any], pieces: int | None
) -> None:
    ways = []
    for lane in (False, True):
        app = echo_app(**{method: function, "GRPC_FAST_LANE": lane, **config})
        app.add_url_rule("/page/<a>", "page", str)
        app.register_error_handler(409, lambda error: ("conflict", 409))
        events: list[object] = []
        app.teardown_appcontext(lambda error, events=events: events.append(repr(error)))  # type: ignore[misc]
        kept = listen(app, events)
        know_routes(app)
        ways.append((outcome(app, method, pieces), events))
        assert len(kept) == 4
        assert not flask.has_app_context()
    assert ways[0] == ways[1]


def _steady(text: str) -> str:
    text = re.sub("(Late|Routed)RequestContext", "RequestContext", text)
    return re.sub("call [0-9a-f]{16}", "call …", re.sub(r"[0-9.]+ ms", "… ms", text))


def outcome(app: Flask, method: str, pieces: int | None, **environ_of_call: str) -> object:
    environ = EnvironBuilder(ECHO + method, method="POST", data=body_of(HI), content_type=PROTO).get_environ()
    environ.update({"HTTP_X_MINE": "1", **environ_of_call})
    started: list[object] = []
    try:
        answer: Any = app(environ, lambda status, headers, exc_info=None: started.extend((status, headers)))  # type: ignore[misc,return-value]
    except BaseException as error:
        return _steady(repr(error))
    body = list(itertools.islice(answer, pieces))
    if hasattr(answer, "close"):
        answer.close()
    return _steady(repr((started, body)))


def says_ok(rpc_request: EchoRequest, context: object) -> EchoReply:
    return EchoReply(text="ok")


def silences_the_log(*_: object) -> EchoReply:
    logger.setLevel(logging.WARNING)
    return EchoReply()


def adds_header() -> None:
    after_this_request(lambda response: response.headers.set("X-Added", "1") or response)


def raising(make_error: Callable[[], BaseException]) -> Callable[[], object]:
    def fail() -> None:
        raise make_error()

    return fail


RECEIVERS: dict[str, Callable[[], object]] = {
    "aborts": lambda: abort(403, "says the receiver"),
    "raises RpcError": raising(lambda: RpcError(StatusCode.ABORTED, "says the receiver")),
    "raises": raising(lambda: ValueError("of the receiver")),
    "exits": raising(lambda: SystemExit("now")),
    "sets the session": lambda: session.update(seen=1),
    "uses after_this_request": adds_header,
    "uses it and raises": lambda: [adds_header(), session.update(seen=1), {}["nothing"]],
    "reads the request": lambda: request.path,
    "silences the log": silences_the_log,
}
AROUND: list[tuple[Callable[..., Any], Any, dict[str, Any]]] = [
    (says_ok, None, {}),
    (says_ok, None, {"PROPAGATE_EXCEPTIONS": True}),
    (says_ok, RpcError, {}),
    (says_ok, Exception, {}),
    (says_ok, 500, {}),
    (uses_after_this_request, Exception, {}),
    (crashes_after_this_request, None, {}),
    (crashes_after_this_request, 500, {}),
    (crashes_after_this_request, 500, {"PROPAGATE_EXCEPTIONS": True}),
    (uses_session, None, {}),
    (uses_session, RpcError, {"PROPAGATE_EXCEPTIONS": True}),
    (refuses, RpcError, {}),
    (exits, None, {}),
    (silences_the_log, 500, {}),
]
"""A function, what the app has a handler of, and configuration."""


def assert_receivers_do_the_same(
    listening: Callable[[Flask], contextlib.AbstractContextManager[object]], function: Callable[..., Any], handled: Any,
    config: dict[str, Any], caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    ways = []
    for lane in (False, True):
        caplog.clear()
        caplog.set_level(logging.INFO, "flask_grpcweb_scm")
        config = {
            "PROPAGATE_EXCEPTIONS": False,
            "GRPC_CORS_ORIGINS": ["https://app.example"],
            "SECRET_KEY": "k",
            **config,
        }
        app = echo_app(Unary=function, GRPC_FAST_LANE=lane, **config)
        events: list[object] = []
        app.teardown_appcontext(lambda error, events=events: events.append(repr(error)))  # type: ignore[misc]
        if handled is not None:
            app.register_error_handler(handled, lambda error: (f"handled {type(error).__name__}", 409))
        know_routes(app)
        kept = listen(app, events)
        with listening(app):
            found = outcome(app, "Unary", None, HTTP_ORIGIN="https://app.example")
        lines = [(record.name, record.levelname, _steady(record.getMessage())) for record in caplog.records]
        ways.append((found, events, lines))
        assert len(kept) == 4
        assert not flask.has_app_context()
    assert ways[0] == ways[1]


@pytest.mark.parametrize("signal", [rpc_started, rpc_finished], ids=["started", "finished"])
@pytest.mark.parametrize("act", RECEIVERS.values(), ids=RECEIVERS)
@pytest.mark.parametrize(("function", "handled", "config"), AROUND)
def test_receivers_may_do_the_same_in_both_ways(
    signal: Any, act: Callable[[], object], function: Callable[..., Any], handled: Any, config: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    def receive(sender: object, **_: object) -> None:
        act()

    assert_receivers_do_the_same(lambda app: signal.connected_to(receive, app), function, handled, config, caplog)


@contextlib.contextmanager
def filtering(act: Callable[[], object]) -> Iterator[None]:
    """Have a filter of the log act for each line of a call, as those do that add the user to it."""

    def look(record: logging.LogRecord) -> bool:
        if record.levelno == logging.INFO:
            act()
        return True

    logger.addFilter(look)
    try:
        yield
    finally:
        logger.removeFilter(look)


@pytest.mark.parametrize("act", RECEIVERS.values(), ids=RECEIVERS)
@pytest.mark.parametrize(("function", "handled", "config"), AROUND)
def test_filters_of_the_log_may_do_the_same_in_both_ways(
    act: Callable[[], object], function: Callable[..., Any], handled: Any, config: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    assert_receivers_do_the_same(lambda app: filtering(act), function, handled, config, caplog)


@pytest.mark.parametrize("function", [one for one in FUNCTIONS["Unary"] if one is not looks_from_a_thread])
@pytest.mark.parametrize("propagates", [False, True])
def test_a_response_is_started_once_when_a_teardown_function_fails(
    function: Callable[..., Any], propagates: bool
) -> None:
    ways = []
    for lane in (False, True):
        app = echo_app(Unary=function, GRPC_FAST_LANE=lane, SECRET_KEY="k", PROPAGATE_EXCEPTIONS=propagates)
        app.add_url_rule("/page/<a>", "page", str)
        app.teardown_appcontext(lambda error: 1 // 0)  # type: ignore[arg-type,return-value]
        know_routes(app)
        started: list[str] = []
        environ = EnvironBuilder(ECHO + "Unary", method="POST", data=body_of(HI), content_type=PROTO).get_environ()
        try:
            body: object = b"".join(app(environ, lambda status, *_, started=started: started.append(status)))  # type: ignore[misc,arg-type,return-value]
        except BaseException as error:
            body = repr(error)
        ways.append((started, body))
        assert not flask.has_app_context()
    assert ways[0] == ways[1]


@pytest.mark.parametrize("function", [fails_after_this_request, uses_session, says_ok, streams_and_fails])
@pytest.mark.parametrize("propagates", [False, True])
@pytest.mark.parametrize("fails", ["teardown_appcontext", "error handlers", "nothing"])
def test_the_log_tells_the_same_of_an_app_that_fails_again(
    fails: str, propagates: bool, function: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    ways = []
    method = "ServerStream" if function is streams_and_fails else "Unary"
    for lane in (False, True):
        config = {"GRPC_FAST_LANE": lane, "SECRET_KEY": "k", "PROPAGATE_EXCEPTIONS": propagates}
        app = echo_app(**{method: function, **config})
        if fails == "error handlers":
            app.register_error_handler(409, raising(KeyError))  # type: ignore[arg-type]
            app.register_error_handler(500, raising(KeyError))  # type: ignore[arg-type]
        if fails == "teardown_appcontext":
            app.teardown_appcontext(lambda error: 1 // 0)  # type: ignore[arg-type,return-value]
        know_routes(app)
        lines: list[object] = []

        def look(record: logging.LogRecord, lines: list[object] = lines) -> bool:
            lines.append((record.levelname, _steady(record.getMessage()), flask.has_request_context()))
            return True

        caplog.set_level(logging.INFO, "flask_grpcweb_scm")
        logger.addFilter(look)
        try:
            ways.append((outcome(app, method, None), lines))
        finally:
            logger.removeFilter(look)
    assert ways[0] == ways[1]


def of_kind(method: str, act: Callable[[], object]) -> Callable[..., Any]:
    """A function that acts, and has one message for its caller."""

    def unary(rpc_request: EchoRequest, context: object) -> EchoReply:
        act()
        return EchoReply()

    def stream(rpc_request: EchoRequest, context: object) -> Iterator[EchoReply]:
        act()
        yield EchoReply()

    return unary if method == "Unary" else stream


def closing(note: Callable[..., None]) -> Response:
    response = Response("page", 403)
    response.call_on_close(lambda: note("closed", flask.has_app_context()))
    return response


def streaming(note: Callable[..., None]) -> Response:
    def pieces() -> Iterator[str]:
        try:
            yield "page"
            note("read", flask.has_app_context())
        finally:
            note("closed", flask.has_app_context())

    return Response(pieces(), 403)


def breaking(note: Callable[..., None]) -> Response:
    def pieces() -> Iterator[str]:
        yield "page"
        raise KeyError("secret")

    return Response(pieces(), 403)


@pytest.mark.parametrize("make_page", [closing, streaming, breaking])
@pytest.mark.parametrize(
    ("place", "method"),
    [
        ("after_this_request", "Unary"),
        ("after_this_request", "ServerStream"),
        ("error handler", "Unary"),
        ("error handler", "ServerStream"),
        ("error handler of a receiver", "Unary"),
    ],
)
def test_pages_of_the_app_are_read_and_closed_in_both_ways(
    place: str, method: str, make_page: Callable[..., Response]
) -> None:
    ways = []
    for lane in (False, True):
        events: list[object] = []

        def note(*event: object, events: list[object] = events) -> None:
            events.append(event)

        def act(note: Callable[..., None] = note) -> None:
            if place == "after_this_request":
                after_this_request(lambda response: make_page(note))
            if place == "error handler":
                after_this_request(lambda response: abort(409))

        def receive(sender: object, **_: object) -> None:
            if place == "error handler of a receiver":
                abort(409)

        function = of_kind(method, act)
        app = echo_app(**{method: function, "GRPC_FAST_LANE": lane, "PROPAGATE_EXCEPTIONS": False})
        app.teardown_appcontext(lambda error, note=note: note("torn down"))  # type: ignore[misc]
        app.register_error_handler(409, lambda error, note=note: make_page(note))  # type: ignore[misc]
        know_routes(app)
        with rpc_finished.connected_to(receive, app):
            ways.append((outcome(app, method, None), events))
    assert ways[0] == ways[1]


@pytest.mark.parametrize("fail", [lambda: abort(409), raising(KeyError)])
@pytest.mark.parametrize("lane", [False, True])
def test_a_page_is_closed_when_a_receiver_fails_after_it(lane: bool, fail: Callable[[], object]) -> None:
    made: list[object] = []
    closed: list[object] = []

    def make_page(response: Response) -> Response:
        made.append(response)
        return closing(lambda *event: closed.append(event))

    def function(rpc_request: EchoRequest, context: object) -> EchoReply:
        after_this_request(make_page)
        return EchoReply()

    app = echo_app(Unary=function, GRPC_FAST_LANE=lane, PROPAGATE_EXCEPTIONS=False)
    know_routes(app)

    def receive(sender: object, **_: object) -> None:
        fail()

    with rpc_finished.connected_to(receive, app):
        outcome(app, "Unary", None)
    assert len(closed) == len(made) > 1


@pytest.mark.parametrize("method", ["Unary", "ServerStream"])
def test_a_response_that_the_server_refuses_is_the_only_one(method: str) -> None:
    ways = []
    for lane in (False, True):
        function = of_kind(method, adds_header)
        app = echo_app(**{method: function, "GRPC_FAST_LANE": lane, "PROPAGATE_EXCEPTIONS": False})
        know_routes(app)
        started: list[str] = []

        def start(status: str, headers: list[tuple[str, str]], started: list[str] = started) -> Any:
            # As servers do for headers that are the connection's.
            started.append(status)
            raise AssertionError(headers[-1][0])

        environ = EnvironBuilder(ECHO + method, method="POST", data=body_of(HI), content_type=PROTO).get_environ()
        with pytest.raises(AssertionError, match="X-Added"):
            app(environ, start)  # type: ignore[arg-type]
        ways.append(started)
    assert ways == [["200 OK"]] * 2


class Noting(io.BytesIO):
    """A body that notes readers who come too late: on a bare socket they would wait for ever."""

    late = 0

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self.late += not data
        return data


@pytest.mark.parametrize("fails", ["teardown_appcontext", "error handler"])
def test_a_body_is_not_read_twice_when_the_app_fails_again(fails: str) -> None:
    app = lane_app(Unary=fails_after_this_request, PROPAGATE_EXCEPTIONS=False)
    app.register_error_handler(409 if fails == "error handler" else 410, raising(KeyError))  # type: ignore[arg-type]
    app.register_error_handler(500, raising(KeyError))  # type: ignore[arg-type]
    if fails == "teardown_appcontext":
        app.teardown_appcontext(lambda error: 1 // 0)  # type: ignore[arg-type,return-value]
    environ = EnvironBuilder(ECHO + "Unary", method="POST", data=body_of(HI), content_type=PROTO).get_environ()
    environ["wsgi.input"] = body_sent = Noting(body_of(HI))
    body, status, headers = run_wsgi_app(app.wsgi_app, environ)
    assert read(int(status[:3]), headers, b"".join(body)).code == StatusCode.INTERNAL
    assert body_sent.late == 0


@pytest.mark.parametrize("function", [uses_session, looks_around, uses_after_this_request, aborts])
def test_a_call_that_has_used_its_request_needs_no_garbage_collector(function: Callable[..., Any]) -> None:
    seen: list[weakref.ref[Any]] = []

    def noting(rpc_request: EchoRequest, context: Any) -> Any:
        seen.append(weakref.ref(context))
        return function(rpc_request, context)

    app = lane_app(Unary=noting, SECRET_KEY="k", PROPAGATE_EXCEPTIONS=False)
    app.add_url_rule("/page/<a>", "page", str)
    gc.collect()
    gc.disable()
    try:
        outcome(app, "Unary", None)
        assert [one() for one in seen] == [None]
    finally:
        gc.enable()


# Pages of other origins: as Flask-CORS has it, whoever it is around

ORIGINS = [
    None,
    "",
    "null",
    "https://app.example",
    "HTTPS://APP.example",
    "https://a.app.example",
    "https://evil.example",
]
OPTIONS: list[dict[str, Any]] = [
    {},
    {"origins": "https://app.example"},
    {"origins": ["https://app.example", "https://other.example"]},
    {"origins": r"https://.*\.app\.example"},
    {"origins": re.compile(r"https://(a\.)?app\.example"), "supports_credentials": True},
    {"origins": "*", "send_wildcard": True, "expose_headers": ["X-Host", "x-mine"]},
    {"origins": ["https://app.example"], "always_send": False, "vary_header": False, "max_age": 5},
    {"origins": ["https://app.example", "null"], "allow_headers": ["x-grpc-web"], "methods": ["POST"]},
    {"allow_private_network": True, "intercept_exceptions": False, "max_age": timedelta(seconds=9)},
    {"resources": {r"/tests.*": {"origins": "https://app.example"}, "*": {"origins": "null"}}},
    {"resources": [r"/other/.*"]},
    {"resources": re.compile("/tests"), "supports_credentials": True},
]
OURS: list[dict[str, Any]] = [
    {"GRPC_CORS_ORIGINS": ["https://app.example"]},
    {
        "GRPC_CORS_ORIGINS": ["https://app.example", "https://other.example"],
        "GRPC_CORS_CREDENTIALS": True,
        "GRPC_CORS_MAX_AGE": 60,
    },
    {"GRPC_CORS_CREDENTIALS": True},
    {"GRPC_CORS_ORIGINS": "*"},
]


def cors_function(rpc_request: EchoRequest, context: Any) -> EchoReply:
    if rpc_request.text == "crash":
        raise KeyError("secret")
    if rpc_request.text == "abort":
        abort(409, "conflict")
    if rpc_request.text == "fail":
        context.trailing_metadata.add("x-trailing", "1")
        raise RpcError(StatusCode.NOT_FOUND, "nothing")
    if rpc_request.text == "own":
        context.initial_metadata.add("access-control-allow-origin", "https://mine.example")
        context.initial_metadata.add("vary", "X-Mine")
    if rpc_request.text == "session":
        session["seen"] = 1
    if rpc_request.text == "mine":
        context.initial_metadata.add("x-mine", "1")
    return EchoReply(text=way(rpc_request, context).text if rpc_request.text == "way" else "")


def cors_requests() -> Iterator[dict[str, Any]]:
    """Requests, by what EnvironBuilder makes them of."""
    for origin in ORIGINS:
        given = {} if origin is None else {"origin": origin}
        for text in ("", "fail", "mine", "own", "crash", "abort", "session"):
            message = EchoRequest(text=text)
            yield {"data": body_of(message), "headers": {**given, "content-type": PROTO, "x-grpc-web": "1"}}
        message = EchoRequest(text="mine")
        text_body = base64.b64encode(body_of(message))
        yield {"data": text_body, "headers": {**given, "content-type": "application/grpc-web-text"}}
        yield {"data": b"torn", "headers": {**given, "content-type": PROTO}}
        yield {"data": b'{"text": "fail"}', "headers": {**given, "content-type": "application/json"}}
        yield {"data": message.SerializeToString(), "headers": {**given, "content-type": "application/proto"}}
        private = {"access-control-request-private-network": "true"}
        yield {"data": body_of(message), "headers": {**given, "content-type": PROTO, **private}}
        stream = {"path": ECHO + "ServerStream", "data": body_of(HI)}
        yield {**stream, "headers": {**given, "content-type": PROTO}}
        find = "/tests.echo.v1.Lookup/Find"
        for text in ("mine", "fail", "own"):
            query = query_of(EchoRequest(text=text), "json")[1:]
            yield {"path": find, "method": "GET", "query_string": query, "headers": given}
        for verb in ("POST", "get", "DELETE"):
            for asked in ("content-type,x-grpc-web", "X-Mine", ""):
                wanted = {"access-control-request-method": verb, "access-control-request-headers": asked, **private}
                yield {"method": "OPTIONS", "headers": {**given, **wanted}}
        yield {"method": "OPTIONS", "headers": {**given, "access-control-request-method": "POST"}}
        yield {"method": "OPTIONS", "headers": given, "data": b"body"}


@functools.cache
def cors_environs() -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """What :func:`cors_requests` yields, each with what EnvironBuilder makes of it."""
    environs = []
    for options in cors_requests():
        environ = EnvironBuilder(**{"path": ECHO + "Unary", "method": "POST", **options}).get_environ()
        environ.pop("werkzeug.request", None)
        environs.append((options, environ))
    return environs


def responses_to_pages(app: Flask) -> list[tuple[object, object]]:
    responses: list[tuple[object, object]] = []
    for options, environ in cors_environs():
        for _ in range(2):
            started: list[object] = []
            copy = {**environ, "wsgi.input": io.BytesIO(options.get("data", b""))}
            answer: Any = app(copy, lambda *head, started=started: started.extend(head[:2]))  # type: ignore[misc,arg-type,return-value]
            body = b"".join(answer)
            if hasattr(answer, "close"):
                answer.close()
            said = repr((started, body))
            responses.append(
                (options, re.sub("call [0-9a-f]{16}|content-length', '[0-9]+|[A-Za-z0-9+/=]{60,}", "…", said))
            )
    return responses


@pytest.mark.parametrize("options", [*OPTIONS, *OURS], ids=str)
@pytest.mark.needs("time")
def test_pages_of_other_origins_see_no_difference(options: dict[str, Any]) -> None:
    ways = []
    is_ours = any(key.startswith("GRPC") for key in options)
    for lane in (False, True):
        app = Flask(__name__)
        app.config.update({"GRPC_SCM": False, "GRPC_REQUIRE_AUTH": False, "GRPC_FAST_LANE": lane, "SECRET_KEY": "k"})
        app.config.update(options if is_ours else {})
        service = echo_service(Unary=cors_function, ServerStream=streams_context)
        GrpcWebScm(app, services=[service, lookup_service(cors_function)])
        if not is_ours:
            CORS(app, **options)
        if lane:
            mine = {"origin": "https://app.example"}
            ways_there = [
                call(app.test_client(), ECHO + "Unary", EchoRequest(text="way"), headers=mine) for _ in range(3)
            ]
            assert [reply.only(EchoReply).text for reply in ways_there if not reply.code][1:] in (["lane"] * 2, [])
        ways.append(responses_to_pages(app))
    differences = [(one, other) for one, other in zip(*ways, strict=True) if one != other]
    assert differences == []


def permissions_of(app: Flask) -> Permissions:
    found = lane_of(app)
    assert found is not None
    permissions = found._hooks.found.permissions
    assert permissions is not None
    return permissions


class Changing:
    """An origin that is looked up for every request, as settings in a database are."""

    def __init__(self) -> None:
        self.now = "https://app.example"

    def __str__(self) -> str:
        return self.now


def allowed(app: Flask, origin: str, **headers: str) -> str | None:
    client = app.test_client()
    response = client.post(ECHO + "Unary", data=body_of(HI), content_type=PROTO, headers={"origin": origin, **headers})
    return response.headers.get("access-control-allow-origin")


def test_options_that_may_change_are_looked_at_every_time() -> None:
    app, origin = lane_app(), Changing()
    CORS(app, origins=[origin])  # type: ignore[list-item]
    assert [allowed(app, "https://app.example"), allowed(app, "https://new.example")] == ["https://app.example", None]
    origin.now = "https://new.example"
    assert [allowed(app, "https://app.example"), allowed(app, "https://new.example")] == [None, "https://new.example"]
    assert way_of_call(app) == "hooks"


class OfSession:
    """An origin that is the user's own."""

    def __str__(self) -> str:
        return f"https://{session['user']}.{request.endpoint}"


def test_options_may_be_of_the_session() -> None:
    def function(rpc_request: EchoRequest, context: object) -> EchoReply:
        session["user"] = "joe"
        return EchoReply()

    app = lane_app(Unary=function, SECRET_KEY="k")
    CORS(app, origins=[OfSession()])  # type: ignore[list-item]
    (endpoint,) = (name for name in app.view_functions if name.endswith("Unary"))
    origin = f"https://joe.{endpoint}"
    assert [allowed(app, origin) for _ in range(2)] == [origin] * 2


@pytest.mark.needs("time")
def test_what_is_remembered_has_bounds() -> None:
    app = lane_app()
    CORS(app, origins=r"https://.*")
    way_of_call(app)
    permissions = permissions_of(app)
    for number in range(MAX_REMEMBERED + 10):
        assert allowed(app, f"https://{number}.example") == f"https://{number}.example"
    assert len(permissions._tails.found[1]) <= MAX_REMEMBERED
    before = len(permissions._tails.found[1])
    assert allowed(app, long := "https://" + "a" * 2000) == long
    assert len(permissions._tails.found[1]) == before


def test_names_of_headers_that_are_remembered_have_bounds() -> None:
    # To open a session is to look at all headers.
    app = lane_app(GRPC_CORS_ORIGINS=["https://app.example"], SECRET_KEY="k")
    way_of_call(app)

    def ask(names: Iterable[object]) -> tuple[int, int]:
        headers = {
            "origin": "https://app.example",
            "access-control-request-method": "POST",
            "access-control-request-headers": f"x-{next(asked)}",
            **{f"x-{name}": "1" for name in names},
        }
        response = app.test_client().options(ECHO + "Unary", headers=headers)
        assert response.headers["access-control-allow-origin"] == "https://app.example"
        found, values = permissions_of(app)._preflights.found
        return len(found), len(values)

    asked = itertools.count()
    first, _ = ask(())
    for number in range(MAX_NAMES + 10):
        assert ask([number]) <= (MAX_NAMES, 1)
    before = ask(())
    assert before[1] == 2
    assert ask(range(MAX_NAMES)) == before
    assert first < before[0] <= MAX_NAMES


def test_only_what_flask_cors_reads_tells_requests_from_each_other() -> None:
    app = lane_app()
    CORS(app)
    allowed(app, "https://app.example")
    permissions = permissions_of(app)
    allowed(app, "https://app.example", cookie="a=1", authorization="Bearer x")
    allowed(app, "https://app.example", cookie="a=2")
    assert len(permissions._tails.found[1]) == 1
    names, _ = permissions._tails.found
    assert set(names) == {
        "REQUEST_METHOD",
        "PATH_INFO",
        "HTTP_ORIGIN",
        "HTTP_ACCESS_CONTROL_REQUEST_PRIVATE_NETWORK",
    }


@pytest.mark.parametrize(
    ("levels", "line"),
    [
        ({"flask_cors.core": "DEBUG"}, "Settings CORS headers"),
        ({"flask_cors.extension": "DEBUG"}, "matches CORS resource"),
        ({"flask_cors": "DEBUG"}, "matches CORS resource"),
        ({"flask_cors": "NOTSET", "": "DEBUG"}, "matches CORS resource"),
    ],
)
def test_flask_cors_writes_its_log_for_every_call(
    caplog: pytest.LogCaptureFixture, levels: dict[str, str], line: str
) -> None:
    app = lane_app()
    CORS(app)
    allowed(app, "https://app.example")
    for name, level in levels.items():
        caplog.set_level(level, name)
    for _ in range(2):
        caplog.clear()
        allowed(app, "https://app.example")
        assert line in caplog.text


def test_flask_cors_writes_its_log_before_the_line_of_the_call(caplog: pytest.LogCaptureFixture) -> None:
    ways = []
    for lane in (False, True):
        app = lane_app(GRPC_FAST_LANE=lane)
        CORS(app)
        allowed(app, "https://app.example")
        with caplog.at_level("INFO", "flask_grpcweb_scm"), caplog.at_level("DEBUG", "flask_cors"):
            caplog.clear()
            allowed(app, "https://app.example")
            ways.append([record.name for record in caplog.records])
    assert ways[0] == ways[1]
    assert ways[0][-1] == "flask_grpcweb_scm"


def test_flask_cors_adds_no_content_type() -> None:
    app = lane_app()
    CORS(app)

    def remove(response: Response) -> Response:
        del response.headers["content-type"]
        return response

    app.after_request_funcs[None].append(remove)
    headers = {"origin": "https://app.example"}
    for _ in range(3):
        response = app.test_client().post(ECHO + "Unary", data=body_of(HI), content_type=PROTO, headers=headers)
        assert "content-type" not in response.headers
        assert "access-control-allow-origin" in response.headers


def test_a_preflight_that_is_known_is_torn_down_like_any_request() -> None:
    app, ended = lane_app(GRPC_CORS_ORIGINS=["https://app.example"]), []
    app.teardown_appcontext_funcs.append(lambda error: ended.append(current_app.name))
    asked = {"origin": "https://app.example", "access-control-request-method": "POST"}
    for number in range(1, 4):
        assert app.test_client().options(ECHO + "Unary", headers=asked).status_code == 204
        assert len(ended) == number


def test_the_origin_of_a_call_with_cookies_is_checked_every_time() -> None:
    app = echo_app(Unary=way, GRPC_CORS_CREDENTIALS=True, GRPC_CORS_ORIGINS=["https://app.example"])
    origins = ["https://app.example", "http://localhost", "https://evil.example"] * 2
    replies = [call(app.test_client(), ECHO + "Unary", HI, headers={"origin": origin}) for origin in origins]
    codes = [reply.code for reply in replies]
    assert codes[:3] == codes[3:]
    assert codes[2] != codes[0] == codes[1]
    assert [reply.only(EchoReply).text for reply in replies[3:5]] == ["lane"] * 2


@pytest.mark.parametrize("headers", [{}, {"origin": "https://app.example"}, {"origin": "https://evil.example"}])
def test_only_preflights_that_are_granted_are_remembered(headers: dict[str, str]) -> None:
    app = lane_app(GRPC_CORS_ORIGINS=["https://app.example"])
    way_of_call(app)
    asked = {**headers, "access-control-request-method": "POST", "cookie": "a=1"}
    responses = [app.test_client().options(ECHO + "Unary", headers=asked) for _ in range(3)]
    assert len({(response.status, str(response.headers)) for response in responses}) == 1
    permissions = permissions_of(app)
    assert len(permissions._preflights.found[1]) == (headers.get("origin") != "https://evil.example")
