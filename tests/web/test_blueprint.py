"""RPCs through a Flask app: routing, statuses, hooks, streams."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar, copy_context
from io import BytesIO
from typing import Any

import pytest
from flask import (
    Flask,
    Response,
    request,
    stream_with_context,
)
from flask.cli import routes_command
from werkzeug.test import Client, EnvironBuilder

from flask_grpcweb_scm import RpcError, StatusCode, rpc_finished
from tests.apps import ECHO, echo_app
from tests.echo_pb2 import EchoReply, EchoRequest
from tests.grpcweb import FOUR_CONTENT_TYPES, PROTO, Answer, body_of, call, frame
from tests.lanes import lane  # noqa: F401  # a fixture
from tests.tables import check_rows

HI = EchoRequest(text="hi")
CONTENT_TYPES = [*FOUR_CONTENT_TYPES, "application/grpc-web", "application/grpc-web-text+json"]
UNKNOWN_PATHS = [ECHO + "Unari", "/tests.echo.v1.Ecco/Unary", "/Echo/Unary", "/unknown.Service/Method"]


def unary(app: Flask, message: EchoRequest = HI, **options: Any) -> Answer:
    return call(app.test_client(), ECHO + "Unary", message, **options)


# Kinds of methods and content types


@pytest.mark.parametrize(
    "content_type", [*FOUR_CONTENT_TYPES, "application/grpc-web", "application/grpc-web-text+json"]
)
@pytest.mark.parametrize(
    ("method", "messages", "texts"),
    [
        ("Unary", ["hi"], ["HI"]),
        ("ServerStream", ["hi"], ["hi", "hi", "hi"]),
        ("ClientStream", ["a", "b"], ["a,b"]),
        ("ClientStream", [], [""]),
        ("Bidi", ["a", "b"], ["a", "b"]),
    ],
)
def test_every_kind_of_method_in_every_content_type(
    method: str, messages: list[str], texts: list[str], content_type: str
) -> None:
    requests = [EchoRequest(text=text, count=3) for text in messages]
    answer = call(echo_app().test_client(), ECHO + method, *requests, content_type=content_type)
    assert answer.code == 0
    assert answer.headers["content-type"] == content_type
    assert [reply.text for reply in answer.messages(EchoReply)] == texts
    assert answer.trailers["grpc-status"] == "0"


def test_a_unary_success_repeats_its_status_in_the_headers() -> None:
    assert unary(echo_app()).headers["grpc-status"] == "0"


@pytest.mark.parametrize(
    ("config", "method", "headers"),
    [
        ({}, "Unary", {"x-grpc-web": "1"}),
        ({}, "ServerStream", {}),
        ({"GRPC_STATUS_HEADER": False}, "Unary", {}),
    ],
)
def test_a_status_header_that_would_confuse_is_left_out(
    config: dict[str, Any], method: str, headers: dict[str, str]
) -> None:
    answer = call(echo_app(**config).test_client(), ECHO + method, HI, headers=headers)
    assert answer.code == 0
    assert "grpc-status" not in answer.headers


# Routing


def host_with_routes(app: Flask) -> None:
    app.add_url_rule("/<a>/<b>", "two", lambda a, b: f"two {a} {b}")
    app.add_url_rule("/a.b/C/", "slash", lambda: "slash")
    app.add_url_rule("/posts/<path:p>", "posts", lambda p: f"posts {p}", methods=["POST"])


HOST_REQUESTS = [
    ("GET", "/x/y", None),
    ("GET", "/some.Service/Method", None),
    ("GET", "/some.Service/Method", PROTO),
    ("POST", "/some.Service/Method", None),
    ("POST", "/some.Service/Method", "application/json"),
    ("POST", "/some.Service/Method", "application/grpc"),
    ("PUT", "/some.Service/Method", PROTO),
    ("OPTIONS", "/some.Service/Method", None),
    ("OPTIONS", "/x/y", None),
    ("GET", "/a.b/C", None),
    ("GET", "/a.b/C/", None),
    ("GET", ECHO + "Unary/", None),
    ("POST", ECHO + "Unary/", PROTO),
    ("POST", "/posts/some.Service/Method", PROTO),
    ("POST", "/posts/x/y", PROTO),
    ("GET", "//some.Service/Method", None),
    ("POST", "//some.Service/Method", PROTO),
    ("POST", "/x/y/z", PROTO),
    ("POST", "/x", PROTO),
    ("POST", "/", PROTO),
    ("GET", "/", None),
    ("GET", "/tests.echo.v1.Echo", None),
    ("BREW", "/x.y/z", PROTO),
]


def tolerate_slashes(app: Flask) -> None:
    app.url_map.strict_slashes = False


@pytest.mark.parametrize("host", [host_with_routes, tolerate_slashes, lambda app: None])
def test_the_hosts_answers_are_the_same_with_and_without_us(host: Callable[[Flask], None]) -> None:
    def check(verb: str, path: str, content_type: str | None) -> None:
        check_same(verb, path, host, content_type=content_type)

    check_rows(check, HOST_REQUESTS)


@pytest.mark.parametrize("host", [host_with_routes, lambda app: None])
@pytest.mark.parametrize(
    ("verb", "path", "headers"),
    [
        ("GET", "/some.Service/Method", {"upgrade": "websocket", "connection": "upgrade"}),
        ("GET", "/x/y", {"upgrade": "websocket", "connection": "upgrade"}),
        ("OPTIONS", "/posts/some.Service/Method", {"access-control-request-headers": "x-grpc-web"}),
    ],
)
def test_headers_change_none_of_the_hosts_answers(
    verb: str, path: str, headers: dict[str, str], host: Callable[[Flask], None]
) -> None:
    check_same(verb, path, host, headers=headers)


def test_the_hosts_own_rule_tells_a_preflight_of_its_verbs() -> None:
    headers = {"access-control-request-headers": "x-grpc-web"}
    check_same("OPTIONS", "/some.Service/Method", host_with_routes, headers=headers)


def check_same(verb: str, path: str, host: Callable[[Flask], None], **options: Any) -> None:
    """Check that an app responds to a request with and without us in the same way."""

    def prepare(app: Flask) -> None:
        host(app)
        app.register_error_handler(404, lambda e: (f"lost: {request.endpoint} {request.routing_exception}", 404))

    bare = Flask(__name__, static_folder=None)
    bare.testing = True
    prepare(bare)
    answers = []
    for app in (bare, echo_app(prepare=prepare), echo_app(prepare=prepare, GRPC_CORS_ORIGINS="*")):
        response = app.test_client().open(path, method=verb, **options)
        allowed = sorted(response.headers.pop("Allow", "").split(", "))
        answers.append((response.status_code, list(response.headers), allowed, response.data))
    assert answers[0] == answers[1] == answers[2]


def test_a_stream_of_the_host_in_a_content_type_of_grpc_is_as_without_us() -> None:
    def stream(a: str, b: str) -> Response:
        return Response(stream_with_context(f"{request.path} {number}" for number in range(3)), mimetype=PROTO)

    def host(app: Flask) -> None:
        app.add_url_rule("/proxy/<a>/<b>", "stream", stream, methods=["POST"])

    check_same("POST", "/proxy/some.Service/Method", host, content_type=PROTO)
    with echo_app(prepare=host).test_client() as client:
        assert client.post("/proxy/some.Service/Method", content_type=PROTO).text.endswith("Method 2")
        assert request.path == "/proxy/some.Service/Method"


def test_a_served_method_goes_before_a_host_route_that_matches_everything() -> None:
    assert unary(echo_app(prepare=host_with_routes)).only(EchoReply).text == "HI"


@pytest.mark.parametrize(
    "path", [ECHO + "Unari", "/tests.echo.v1.Ecco/Unary", "/Echo/Unary", "/unknown.Service/Method"]
)
@pytest.mark.parametrize("content_type", FOUR_CONTENT_TYPES)
def test_an_unknown_method_is_unimplemented(path: str, content_type: str) -> None:
    answer = call(echo_app().test_client(), path, HI, content_type=content_type)
    assert (answer.http_status, answer.code) == (200, 12)
    assert f"no method {path} is served here" in answer.message
    assert answer.headers["content-type"] == content_type


def test_a_misspelt_method_gets_a_hint() -> None:
    answer = call(echo_app().test_client(), ECHO + "Unarry", HI)
    assert "did you mean '/tests.echo.v1.Echo/Unary'?" in answer.message


def test_the_query_string_is_ignored() -> None:
    assert call(echo_app().test_client(), ECHO + "Unary?a=b", HI).only(EchoReply).text == "HI"


def test_the_path_is_case_sensitive() -> None:
    assert call(echo_app().test_client(), ECHO + "unary", HI).code == 12


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "",
        "application/json; charset=utf-16",
        "application/connect+proto",
        "application/grpc+foo",
        "application/grpcweb",
        "application/grpc-webfoo",
        "application/grpc-web+foo",
        "application/grpc-web+",
        "application/grpc-web-text+",
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
    ],
)
def test_another_content_type_is_415_with_a_status(content_type: str | None) -> None:
    client = echo_app().test_client()
    response = client.post(ECHO + "Unary", data=frame(b""), content_type=content_type)
    assert response.status_code == 415
    assert response.headers["grpc-status"] == "12"
    assert "application/grpc-web+proto" in response.headers["grpc-message"]
    assert "application/grpc-web+proto" in response.text


@pytest.mark.parametrize("verb", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "TRACE", "PROPFIND", "BREW"])
def test_another_verb_is_405_with_a_status(verb: str) -> None:
    response = echo_app().test_client().open(ECHO + "Unary", method=verb, content_type=PROTO)
    assert response.status_code == 405
    assert response.headers["allow"] == "POST"
    assert response.headers["grpc-status"] == "12"
    assert verb in response.headers["grpc-message"]


@pytest.mark.parametrize(
    "content_type",
    ["APPLICATION/GRPC-WEB+PROTO", "application/grpc-web+proto; charset=utf-8", " application/grpc-web+proto ;a=b"],
)
def test_case_and_parameters_of_the_content_type_do_not_matter(content_type: str) -> None:
    answer = unary(echo_app(), content_type=content_type)
    assert answer.code == 0
    assert answer.headers["content-type"] == PROTO


def test_a_url_prefix_moves_everything() -> None:
    client = echo_app(GRPC_URL_PREFIX="/rpc/v1").test_client()
    assert call(client, "/rpc/v1" + ECHO + "Unary", HI).code == 0
    assert call(client, "/rpc/v1/no.Such/Method", HI).code == 12
    assert client.post(ECHO + "Unary", data=b"", content_type=PROTO).status_code == 404


# What Flask offers works on RPCs


@pytest.mark.parametrize("verb_headers", [{}, {"origin": "https://a.example", "access-control-request-method": "POST"}])
def test_options_are_answered_as_flask_answers_them(verb_headers: dict[str, str]) -> None:
    app = echo_app()
    app.add_url_rule("/page", "page", str, methods=["POST"])
    ours, page = (app.test_client().options(path, headers=verb_headers) for path in (ECHO + "Unary", "/page"))
    assert (ours.status_code, ours.data) == (page.status_code, page.data) == (200, b"")
    assert set(ours.allow) == set(page.allow) == {"POST", "OPTIONS"}


@pytest.mark.parametrize("method", ["Unary", "ServerStream", "Missing"])
def test_responses_are_of_the_class_of_the_app(method: str) -> None:
    class Own(Response):
        def __init__(self, response: Any = None, **options: Any) -> None:
            super().__init__(response, **options)
            self.headers["x-own"] = "1"

    app = echo_app(prepare=lambda app: setattr(app, "response_class", Own))
    answer = call(Client(app), ECHO + method, HI)
    assert answer.headers["x-own"] == "1"
    assert answer.code == (12 if method == "Missing" else 0)


def test_rules_look_as_flasks_own_do() -> None:
    app = echo_app()
    rules = [rule for rule in app.url_map.iter_rules() if rule.endpoint.startswith("grpcweb_scm.")]
    for rule in rules:
        assert rule.methods is not None
        assert sorted(rule.methods) == ["OPTIONS", "POST"]
        assert sorted(rule.methods - {"OPTIONS", "HEAD"}) == ["POST"]
        assert rule.provide_automatic_options is False  # type: ignore[attr-defined]
        assert callable(app.view_functions[rule.endpoint])
    listed = app.test_cli_runner().invoke(routes_command).output
    assert len(rules) == len([line for line in listed.splitlines() if "grpcweb_scm." in line and "POST" in line]) == 6


# Responses that are not of this extension


@pytest.mark.parametrize("where", ["function", "hook"])
def test_of_a_page_no_header_is_kept_that_belongs_to_the_response(where: str) -> None:
    page = lambda *_: ("no", 403, {"grpc-status": "0", "grpc-message": "yes", "transfer-encoding": "chunked"})  # noqa: E731
    app = echo_app(Unary=page)
    if where == "hook":
        app.before_request(page)
    headers = app.test_client().post(ECHO + "Unary", data=frame(b""), content_type=PROTO).headers
    assert headers.getlist("grpc-status") == ["7"]
    assert headers.getlist("grpc-message") == ["no"]
    assert "transfer-encoding" not in headers


@pytest.mark.parametrize("kind", ["teardown_request", "teardown_appcontext"])
@pytest.mark.parametrize("has_hook", [False, True])
def test_of_a_teardown_function_that_fails_the_server_hears_of_one_response(kind: str, has_hook: bool) -> None:
    def fail(error: BaseException | None) -> None:
        raise LookupError("torn")

    app = echo_app(PROPAGATE_EXCEPTIONS=False)
    if has_hook:
        app.after_request(lambda response: response)
    getattr(app, kind)(fail)
    for method, code in (("Unary", b"13"), ("ServerStream", b"0"), ("Unary", b"13")):
        environ = EnvironBuilder(ECHO + method, data=body_of(HI), content_type=PROTO, method="POST").get_environ()
        heads: list[dict[str, str]] = []

        def start(status: str, headers: Any, exc_info: Any = None, heads: Any = heads) -> Callable[[bytes], object]:
            assert status == "200 OK"
            heads.append(dict(headers))
            return lambda data: None

        pieces = app.wsgi_app(environ, start)
        body = b"".join(pieces)
        pieces.close() if hasattr(pieces, "close") else None
        (headers,) = heads
        assert headers.get("grpc-status", "").encode() == code or b"grpc-status: " + code in body


# Interceptors


# Metadata


# Streams


def test_a_stream_that_fails_at_once_is_trailers_only() -> None:
    def stream(request: EchoRequest, context: object) -> Iterator[EchoReply]:
        raise RpcError(StatusCode.NOT_FOUND, "nothing")
        yield

    answer = call(echo_app(ServerStream=stream).test_client(), ECHO + "ServerStream", HI)
    assert (answer.headers["grpc-status"], answer.body) == ("5", b"")


def closing_stream(events: list[str]) -> Any:
    def stream(request: EchoRequest, context: object) -> Iterator[EchoReply]:
        try:
            for number in range(1000):
                yield EchoReply(number=number)
        finally:
            events.append("closed")

    return stream


@pytest.mark.parametrize("pieces_read", [0, 1, 2])
def test_a_client_that_goes_away_closes_the_generator_and_the_context(pieces_read: int) -> None:
    events: list[str] = []
    app = echo_app(ServerStream=closing_stream(events))
    app.teardown_appcontext(lambda error: events.append("teardown"))
    codes = []

    def finished(sender: Flask, code: StatusCode, **_: object) -> None:
        codes.append(code.name)

    with rpc_finished.connected_to(finished, app):
        response = app.test_client().post(ECHO + "ServerStream", data=frame(b""), content_type=PROTO)
        pieces = response.iter_encoded()
        for _ in range(pieces_read):
            next(pieces)
        response.close()
    assert "closed" in events
    assert "teardown" in events
    assert codes == ["CANCELLED"]


@pytest.mark.parametrize("is_closed_again", [True, False])
def test_a_response_that_is_closed_in_the_middle_of_a_step_can_be_closed_after_it(is_closed_again: bool) -> None:
    is_stepping, may_go_on = threading.Event(), threading.Event()
    ends: list[Any] = []

    def stream(request: EchoRequest, context: Any) -> Iterator[EchoReply]:
        yield EchoReply()
        is_stepping.set()
        may_go_on.wait(10)
        yield EchoReply()

    app = echo_app(ServerStream=stream)
    app.teardown_appcontext(ends.append)
    environ = EnvironBuilder(ECHO + "ServerStream", method="POST", data=frame(b""), content_type=PROTO).get_environ()
    response: Any = app(environ, lambda *_: lambda data: None)
    pieces = iter(response)
    next(pieces)
    thread = threading.Thread(target=next, args=[pieces])
    thread.start()
    is_stepping.wait(10)
    with pytest.raises(RuntimeError, match="already entered"):
        response.close()
    may_go_on.set()
    thread.join()
    assert ends == []
    if is_closed_again:
        response.close()
    del response, pieces, thread
    gc.collect()
    assert ends == [None]


def test_an_endless_stream_holds_one_message_at_a_time() -> None:
    app = echo_app()
    response = app.test_client().post(
        ECHO + "ServerStream", data=frame(EchoRequest(count=2**31 - 1).SerializeToString()), content_type=PROTO
    )
    pieces: Iterator[bytes] = response.iter_encoded()
    for _ in range(1000):
        assert len(next(pieces)) < 20
    response.close()
    gc.collect()


@pytest.mark.parametrize("has_hooks", [False, True])
@pytest.mark.parametrize("has_lane", [False, True])
def test_a_unary_call_leaves_no_more_to_the_garbage_collector_than_a_view(has_lane: bool, has_hooks: bool) -> None:
    app = echo_app(GRPC_FAST_LANE=has_lane)
    app.add_url_rule("/view", "view", lambda: "text", methods=["POST"])
    if has_hooks:
        app.after_request(lambda response: response)
    gc.collect()
    # What is there before is not looked at again.
    gc.freeze()
    # Werkzeug's own, in some versions.
    assert garbage_of(app, ECHO + "Unary") <= garbage_of(app, "/view")


def garbage_of(app: Flask, path: str) -> int:
    """The number of objects that only the garbage collector frees after a request."""
    body = frame(HI.SerializeToString())
    gc.disable()
    try:
        for _ in range(3):
            environ = EnvironBuilder(path, method="POST", content_type=PROTO).get_environ()
            environ |= {"wsgi.input": BytesIO(body), "CONTENT_LENGTH": str(len(body))}
            gc.collect()
            assert b"".join(app(environ, lambda *_: lambda data: None))
            del environ
            # Of the first request more is left: what is remembered for the next ones.
            left = gc.collect()
    finally:
        gc.enable()
    return left


@pytest.mark.parametrize(("method", "left"), [("Unary", "set by a hook"), ("ServerStream", "nothing")])
def test_a_response_is_closed_in_the_context_of_its_request(method: str, left: str) -> None:
    """Agents keep their transaction in a context variable, and end it there."""
    app, variable, seen = echo_app(), ContextVar("variable", default="nothing"), []

    @app.before_request
    def begin() -> None:
        variable.set("set by a hook")

    @app.after_request
    def end(response: Response) -> Response:
        response.call_on_close(lambda: seen.append(variable.get()))
        return response

    def serve() -> tuple[int, str]:
        return call(app.test_client(), ECHO + method, EchoRequest(count=2), buffered=True).code, variable.get()

    code, after = copy_context().run(serve)
    assert code == 0
    # As after a view; middlewares read it. A stream leaves nothing, wherever it was dropped.
    assert (seen, after) == (["set by a hook"], left)


@pytest.mark.parametrize(
    ("path", "upgrade", "http_status", "code"),
    [
        (ECHO + "Unary", "websocket", 400, None),
        (ECHO + "Misspelt", "websocket", 404, None),
        (ECHO + "Unary", "h2c", 200, 0),
        (ECHO + "Misspelt", "h2c", 200, 12),
    ],
)
def test_a_call_is_no_websocket(path: str, upgrade: str, http_status: int, code: int | None) -> None:
    headers = {"upgrade": upgrade, "connection": "upgrade"}
    response = echo_app().test_client().post(path, data=body_of(HI), content_type=PROTO, headers=headers)
    assert response.status_code == http_status
    assert response.headers.get("grpc-status", None if code is None else "0") == (None if code is None else str(code))
