"""Hooks, error handlers, sessions, logins, signals and logs of an app, for calls of every protocol."""

from __future__ import annotations

import functools
import gzip
import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from flask import (
    Flask,
    Request,
    Response,
    abort,
    after_this_request,
    copy_current_request_context,
    g,
    has_app_context,
    jsonify,
    redirect,
    request,
    send_file,
    session,
)
from flask.sessions import SecureCookieSessionInterface
from flask.signals import got_request_exception
from google.rpc.error_details_pb2 import RetryInfo
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import HTTPException, Unauthorized

from flask_grpcweb_scm import GrpcWebScm, RpcError, Service, StatusCode, current_rpc, rpc_finished, rpc_started
from tests import apps
from tests.apps import ECHO, echo_app, echo_service
from tests.echo_pb2 import DESCRIPTOR, EchoReply, EchoRequest
from tests.grpcweb import Answer, frame
from tests.lanes import lane  # noqa: F401  # a fixture
from tests.protocols import call, compressed, content_type_of, every_protocol, in_time, protocol  # noqa: F401
from tests.tables import check_rows

pytestmark = every_protocol

HI = EchoRequest(text="hi")


def unary(app: Flask, message: EchoRequest = HI, **options: Any) -> Answer:
    return call(app.test_client(), ECHO + "Unary", message, **options)


HTTP_TO_GRPC = {
    400: 3,
    401: 16,
    403: 7,
    404: 5,
    405: 12,
    409: 10,
    413: 8,
    415: 3,
    418: 2,
    422: 3,
    429: 8,
    500: 13,
    501: 12,
    502: 14,
    503: 14,
    504: 4,
}


def test_before_request_may_refuse_by_aborting_or_answering() -> None:
    app = echo_app()

    @app.before_request
    def refuse() -> Any:
        if "abort" in request.headers:
            abort(int(request.headers["abort"]), "go away")
        if "answer" in request.headers:
            return "not today", int(request.headers["answer"]), {"retry-after": "7"}
        return None

    aborted = unary(app, headers={"abort": "403"})
    assert (aborted.http_status, aborted.code, aborted.message) == (200, 7, "go away")
    answered = unary(app, headers={"answer": "429"})
    assert (answered.http_status, answered.code, answered.message) == (200, 8, "not today")
    assert answered.headers["retry-after"] == "7"
    (retry_info,) = answered.details(RetryInfo)
    assert 6 <= retry_info.retry_delay.seconds <= 7
    assert answered.headers["content-type"] in {content_type_of(ECHO + "Unary"), "application/json"}
    assert unary(app).code == 0


@pytest.mark.parametrize("where", ["hook", "function"])
def test_abort_becomes_the_status_that_fits(where: str) -> None:
    def check(http_status: int, code: int) -> None:
        def function(request: EchoRequest, context: object) -> EchoReply:
            abort(http_status)

        app = echo_app(Unary=function)
        if where == "hook":
            app.before_request(lambda: abort(http_status))
        answer = unary(app)
        assert (answer.http_status, answer.code) == (200, code)
        assert answer.message

    check_rows(check, HTTP_TO_GRPC.items())


def test_a_redirect_to_a_login_page_is_unauthenticated() -> None:
    app = echo_app()
    app.before_request(lambda: redirect("/login"))
    answer = unary(app)
    assert answer.code == 16
    assert "location" not in answer.headers


@pytest.mark.parametrize("key", [404, HTTPException, Exception])
@pytest.mark.parametrize("where", ["hook", "function"])
def test_error_handlers_of_the_app_see_http_exceptions(key: Any, where: str) -> None:
    def function(request: EchoRequest, context: object) -> EchoReply:
        abort(404)

    app = echo_app(Unary=function)
    if where == "hook":
        app.before_request(lambda: abort(404))
    seen = []

    @app.errorhandler(key)
    def handle(error: HTTPException) -> Any:
        seen.append(error.code)
        return "translated by the app", 409

    answer = unary(app)
    assert seen == [404]
    assert (answer.code, answer.message) == (10, "translated by the app")


class DomainError(Exception):
    pass


def raise_domain_error(request: EchoRequest, context: object) -> EchoReply:
    raise DomainError("secret text")


@pytest.mark.parametrize(
    ("result", "code", "message"),
    [
        (("too late", 409), 10, "too late"),
        (("<h1>page</h1>", 404), 5, "Not Found"),
        (("secret traceback", 500), 13, "internal error"),
        (("secret", 502), 14, "Bad Gateway"),
        (RpcError(StatusCode.FAILED_PRECONDITION, "as the app says"), 9, "as the app says"),
    ],
)
def test_error_handlers_of_the_app_see_exceptions_of_service_functions(result: Any, code: int, message: str) -> None:
    app = echo_app(Unary=raise_domain_error)

    @app.errorhandler(DomainError)
    def handle(error: DomainError) -> Any:
        if isinstance(result, Exception):
            raise result
        return result

    answer = unary(app)
    assert answer.code == code
    assert answer.message.startswith(message)


def test_the_message_of_a_json_error_page_is_the_message() -> None:
    def check(page: Any, message: str) -> None:
        app = echo_app(Unary=raise_domain_error)
        app.register_error_handler(DomainError, lambda error: (jsonify(page), 403))
        assert (unary(app).code, unary(app).message) == (7, message)

    rows: list[tuple[Any, str]] = [
        ({"message": "no"}, "no"),
        ({"msg": "Token has expired"}, "Token has expired"),
        ({"code": 403, "error": "no"}, "no"),
        ({"detail": "no", "description": "longer"}, "no"),
        ({"error": {"status": 403, "message": "no"}}, "no"),
        ({"message": {"name": ["too short"]}, "description": "no"}, "no"),
        ("no", "no"),
        ({"message": ""}, "Forbidden"),
        ({"other": "x"}, "Forbidden"),
        ({"message": "x" * 2000}, "Forbidden"),
        (["no"], "Forbidden"),
        (None, "Forbidden"),
    ]
    check_rows(check, rows)


def test_malformed_json_is_not_the_message() -> None:
    app = echo_app()
    app.before_request(lambda: Response('{"message": ', 403, mimetype="application/json"))
    assert (unary(app).code, unary(app).message) == (7, "Forbidden")


MIME = "application/json"
PAGE = Path(__file__).parents[1] / "oldest.txt"


def returns_text(_: Any) -> Any:
    return "log in", 401, {"www-authenticate": "Custom", "x-mine": "1", "content-language": "en"}


def returns_response(_: Any) -> Any:
    return Response("log in", 401, {"www-authenticate": "Custom", "x-mine": "1", "location": "/login"})


def returns_exception(_: Any) -> Any:
    return Unauthorized("log in", www_authenticate=WWWAuthenticate("custom"))


def returns_json(_: Any) -> Any:
    return {"message": "log in"}, 401


@pytest.mark.parametrize("method", ["Unary", "ServerStream", "ClientStream", "Bidi"])
def test_a_function_may_return_an_http_response_as_decorators_do(method: str) -> None:
    def check(refuse: Any) -> None:
        protected = functools.wraps(getattr(apps, method))(lambda request, context: refuse(context))
        app = echo_app(**{method: protected})
        answer = call(app.test_client(), ECHO + method, HI)
        assert (answer.code, answer.message) == (16, "log in")
        if refuse is not returns_json:
            assert answer.headers["www-authenticate"].lower() == "custom"
            assert answer.headers.get("x-mine", "1") == "1"
        assert {"location", "content-language"}.isdisjoint(name.lower() for name in answer.headers)
        assert call(app.test_client(), ECHO + method, HI).code == 16

    check_rows(check, ((refuse,) for refuse in (returns_text, returns_response, returns_exception, returns_json)))


class Text:
    """A text that is made when it is used, as those of Flask-Babel."""

    def __str__(self) -> str:
        return "not for you"


def raised(error: Exception) -> Any:
    raise error


PAGES: list[tuple[Callable[[], Any], int, str]] = [
    (lambda: (send_file(PAGE), 403), 7, PAGE.read_text()),
    (lambda: abort(403, Text()), 7, "not for you"),
    (lambda: abort(400, {"count": "too many"}), 3, "Bad Request"),
    (lambda: raised(Unauthorized(response=Response("no token", 401))), 16, "no token"),
    (lambda: raised(Unauthorized(response=Response('{"msg": "no token"}', 401, mimetype=MIME))), 16, "no token"),
    (lambda: Response('{"error":' * 5000 + "1" + "}" * 5000, 400, mimetype=MIME), 3, "Bad Request"),
    (lambda: Response("caf\u00e9".encode("latin-1"), 403), 7, "caf\ufffd"),
    (lambda: Response("slowly", 429, {"retry-after": "9" * 14}), 8, "slowly"),
    (lambda: redirect(request.url.replace("http://", "https://")), 9, "the app takes calls by HTTPS only"),
]


@pytest.mark.parametrize("where", ["function", "hook"])
def test_any_page_of_an_error_becomes_its_status(where: str) -> None:
    def check(page: Callable[[], Any], code: int, message: str) -> None:
        app = echo_app(Unary=lambda request, context: page())
        if where == "hook":
            app.before_request(page)
        answer = unary(app)
        assert answer.code == code
        assert answer.message.startswith(message.strip())

    check_rows(check, PAGES)


@pytest.mark.parametrize("http_status", [403, 503])
@pytest.mark.parametrize("where", ["function", "hook"])
def test_a_page_that_is_not_sent_is_closed(http_status: int, where: str) -> None:
    closed = []

    def page(*_: Any) -> Response:
        response = Response("no", http_status)
        response.call_on_close(lambda: closed.append(http_status))
        return response

    app = echo_app(Unary=page)
    if where == "hook":
        app.before_request(page)
    assert unary(app).code != 0
    assert closed == [http_status]


@pytest.mark.parametrize("response", [("", 200), Response("x")])
def test_a_returned_page_that_is_no_error_is_unknown_as_from_a_hook(response: Any) -> None:
    assert unary(echo_app(Unary=lambda request, context: response)).code == 2


@pytest.mark.parametrize("method", ["Unary", "ServerStream"])
def test_an_interceptor_may_return_an_http_response_too(method: str) -> None:
    extension = GrpcWebScm(services=[echo_service()])
    extension.intercept(lambda request, context, call_next: ("no", 403))
    answer = call(echo_app(extension=extension).test_client(), ECHO + method, HI)
    assert (answer.code, answer.message) == (7, "no")


def test_a_batch_may_be_a_tuple_of_messages() -> None:
    service = Service(DESCRIPTOR.services_by_name["Echo"])
    service.add_rpc("ServerStream", lambda request, context: (EchoReply(number=1), EchoReply(number=2)), batch=True)
    service.unimplemented("Unary", "ClientStream", "Bidi", "Missing")
    app = echo_app(extension=GrpcWebScm(services=[service]))
    answer = call(app.test_client(), ECHO + "ServerStream", HI)
    assert [reply.number for reply in answer.messages(EchoReply)] == [1, 2]


@pytest.mark.parametrize(
    ("location", "code", "message"),
    [
        ("https://localhost" + ECHO + "Unary", 9, "by HTTPS only, and redirects this one to https://localhost/tests"),
        ("/login?next=/secret", 16, "redirects this call to /login; log in first"),
        ("https://login.example/", 16, "redirects this call to https://login.example/; log in first"),
    ],
)
def test_a_redirect_says_where_to(location: str, code: int, message: str) -> None:
    app = echo_app()
    app.before_request(lambda: redirect(location))
    answer = unary(app)
    assert answer.code == code
    assert message in answer.message
    assert "secret" not in answer.message


def generates(wsgi_app: Any) -> Any:
    def generate(environ: Any, start_response: Any) -> Iterator[bytes]:
        for piece in wsgi_app(environ, start_response):  # noqa: UP028
            yield piece

    return generate


def copies(wsgi_app: Any) -> Any:
    return lambda environ, start_response: wsgi_app({**environ}, start_response)


@pytest.mark.parametrize("method", ["Unary", "ServerStream", "Unknown"])
@pytest.mark.parametrize("middleware", [generates, copies])
@pytest.mark.parametrize("is_refused", [False, True])
def test_a_middleware_inside_may_start_later_or_copy_the_environment(
    middleware: Callable[[Any], Any], method: str, is_refused: bool
) -> None:
    ends = []

    def prepare(app: Flask) -> None:
        app.wsgi_app = middleware(app.wsgi_app)  # type: ignore[method-assign]
        app.before_request(lambda: ("log in first", 401) if is_refused else None)
        app.teardown_request(ends.append)

    answer = call(echo_app(prepare=prepare).test_client(), ECHO + method, HI)
    assert answer.code == (16 if is_refused else 12 if method == "Unknown" else 0)
    assert ends == [None]
    assert not current_rpc
    assert not has_app_context()


def in_a_thread() -> str:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(copy_current_request_context(lambda: request.path)).result()


SECOND_USES: dict[str, Callable[[], object]] = {
    "copy_current_request_context": lambda: copy_current_request_context(lambda: request.path)(),
    "a thread": in_a_thread,
    "a request object of its own": lambda: Request(request.environ).path,
}


@pytest.mark.parametrize("method", ["Unary", "ServerStream", "Unknown"])
@pytest.mark.parametrize("where", ["before_request", "after_request"])
@pytest.mark.parametrize("use", SECOND_USES.values(), ids=SECOND_USES)
def test_a_page_is_translated_after_something_else_has_used_the_request(
    use: Callable[[], object], where: str, method: str
) -> None:
    app = echo_app()
    if where == "before_request":
        app.before_request(lambda: use() and abort(403))
    else:
        app.after_request(lambda response: (use(), Response("no", 403))[1])
    answer = call(app.test_client(), ECHO + method, HI)
    assert answer.code == 7


@pytest.mark.parametrize("use", SECOND_USES.values(), ids=SECOND_USES)
def test_a_hook_that_fails_after_a_function_has_used_the_request_is_internal(use: Callable[[], object]) -> None:
    def function(message: EchoRequest, context: object) -> EchoReply:
        use()
        return EchoReply()

    app = echo_app(Unary=function, PROPAGATE_EXCEPTIONS=False)
    app.after_request(lambda response: {}["secret"])
    answer = unary(app)
    assert (answer.code, answer.message) == (13, "internal error")


@pytest.mark.parametrize("method", ["Unary", "ServerStream"])
@pytest.mark.parametrize("hook", ["after_request", "after_this_request"])
def test_the_answer_of_an_after_request_hook_is_translated(method: str, hook: str) -> None:
    app = echo_app()
    headers = {
        "retry-after": "7",
        "x-mine": "1",
        "content-security-policy": "default-src 'self'",
        "content-language": "en",
    }
    refuse = lambda response: Response("not now", 503, headers)  # noqa: E731
    if hook == "after_request":
        app.after_request(refuse)
    else:
        app.before_request(lambda: after_this_request(refuse) and None)
    answer = call(app.test_client(), ECHO + method, HI)
    assert (answer.code, answer.headers["x-mine"]) == (14, "1")
    assert answer.headers["content-security-policy"] == "default-src 'self'"
    assert "content-language" not in answer.headers


@pytest.mark.parametrize("method", ["Unary", "ServerStream"])
def test_a_hook_that_raises_is_internal(method: str, caplog: pytest.LogCaptureFixture) -> None:
    app = echo_app(PROPAGATE_EXCEPTIONS=False)
    app.after_request(lambda response: {}["secret"])
    answer = call(app.test_client(), ECHO + method, HI)
    assert (answer.code, answer.message) == (13, "internal error")
    assert "KeyError: 'secret'" in caplog.text


@pytest.mark.parametrize("where", ["function", "hook"])
def test_an_error_handler_that_fails_is_internal_with_both_tracebacks(
    where: str, caplog: pytest.LogCaptureFixture
) -> None:
    def crash(*_: object) -> Any:
        raise KeyError("first")

    def handle(error: object) -> Any:
        raise ZeroDivisionError("second")

    app = echo_app(Unary=crash if where == "function" else apps.Unary, PROPAGATE_EXCEPTIONS=False)
    if where == "hook":
        app.before_request(crash)
    app.register_error_handler(500, handle)
    answer = unary(app)
    assert (answer.code, answer.message.partition(" (")[0]) == (13, "internal error")
    assert "KeyError: 'first'" in caplog.text
    assert "ZeroDivisionError: second" in caplog.text
    assert "Traceback" in caplog.text


def test_a_session_that_cannot_be_opened_is_internal() -> None:
    class Broken(SecureCookieSessionInterface):
        def open_session(self, app: Flask, request: Any) -> Any:
            raise ConnectionError("redis is gone")

    app = echo_app(
        PROPAGATE_EXCEPTIONS=False,
        prepare=lambda app: setattr(app, "session_interface", Broken()),
        GRPC_FAST_LANE=False,
    )
    assert unary(app).code == 13


class Unfinished(RpcError):
    def __init__(self) -> None:
        self.user = "ann"


class Textless(Exception):
    def __str__(self) -> str:
        raise ZeroDivisionError("no text")


@pytest.mark.parametrize(
    ("error", "logged"),
    [
        (Unfinished(), "Unfinished.__init__() calls no super().__init__(code, message)"),
        (Textless(), "ZeroDivisionError: no text"),
        (DomainError("why"), "KeyError: 'details'"),
    ],
    ids=["an RpcError without a code", "an exception without a text", "details that cannot be made"],
)
@pytest.mark.parametrize("method", ["Unary", "ServerStream"])
def test_an_error_without_a_status_is_internal(
    error: Exception, logged: str, method: str, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(request: EchoRequest, context: object) -> EchoReply:
        raise error

    def stream(request: EchoRequest, context: object) -> Iterator[EchoReply]:
        yield EchoReply(number=1)
        raise error

    service = echo_service(Unary=fail, ServerStream=stream)
    service.declare_error(Textless, StatusCode.NOT_FOUND)
    service.declare_error(DomainError, StatusCode.NOT_FOUND, details=lambda error: {}["details"])
    answer = call(echo_app(extension=GrpcWebScm(services=[service])).test_client(), ECHO + method, HI)
    assert answer.code == 13
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.exc_text is not None
    assert logged in record.exc_text
    assert type(error).__name__ in record.exc_text
    assert answer.message == f"internal error (call {record.args[0]})"  # type: ignore[index]


@pytest.mark.parametrize("testing", [True, False])
@pytest.mark.parametrize("method", ["Unary", "ServerStream"])
def test_an_undeclared_exception_is_internal_and_goes_to_the_log_only(
    method: str, testing: bool, caplog: pytest.LogCaptureFixture
) -> None:
    def stream(request: EchoRequest, context: object) -> Iterator[EchoReply]:
        yield EchoReply(number=1)
        raise DomainError("secret text")

    app = echo_app(Unary=raise_domain_error, ServerStream=stream)
    app.testing = testing
    seen = []
    handled_500 = []
    app.register_error_handler(500, lambda error: (handled_500.append(error.original_exception), ("oops", 500))[1])
    with got_request_exception.connected_to(lambda sender, exception, **_: seen.append(exception), app):
        answer = call(app.test_client(), ECHO + method, HI)
    assert answer.code == 13
    assert "secret" not in str(answer)
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.exc_text is not None
    assert "secret text" in record.exc_text
    assert answer.message == f"internal error (call {record.args[0]})"  # type: ignore[index]
    assert [str(error) for error in seen] == ["secret text"]
    assert handled_500 == seen


def test_the_next_request_works_after_an_exception() -> None:
    client = echo_app(Unary=raise_domain_error).test_client()
    assert call(client, ECHO + "Unary", HI).code == 13
    assert call(client, ECHO + "ServerStream", EchoRequest(count=1)).code == 0


def test_a_wrong_type_of_response_is_internal(caplog: pytest.LogCaptureFixture) -> None:
    assert unary(echo_app(Unary=lambda request, context: None)).code == 13
    assert "must return tests.echo.v1.EchoReply, its function returned NoneType" in caplog.text


def test_g_the_session_and_after_request_work() -> None:
    def function(request: EchoRequest, context: object) -> EchoReply:
        session["seen"] = session.get("seen", 0) + 1
        return EchoReply(text=g.text, number=session["seen"])

    app = echo_app(Unary=function, SECRET_KEY="k")
    app.before_request(lambda: setattr(g, "text", "from g"))
    app.after_request(lambda response: (response.headers.set("x-after", "yes"), response)[1])
    client = app.test_client()
    first, second = (call(client, ECHO + "Unary", HI) for _ in range(2))
    assert (first.only(EchoReply).text, second.only(EchoReply).number) == ("from g", 2)
    assert first.headers["x-after"] == "yes"


def test_teardown_runs_after_a_unary_call_and_after_the_last_frame_of_a_stream() -> None:
    events = []

    def stream(request: EchoRequest, context: object) -> Iterator[EchoReply]:
        for number in range(2):
            events.append(f"message {number} {g.text}")
            yield EchoReply(number=number)

    app = echo_app(ServerStream=stream)
    app.before_request(lambda: setattr(g, "text", "from g"))
    app.teardown_appcontext(lambda error: events.append("teardown"))
    assert call(app.test_client(), ECHO + "Unary", HI).code == 0
    assert events == ["teardown"]
    assert call(app.test_client(), ECHO + "ServerStream", HI).code == 0
    assert events == ["teardown", "message 0 from g", "message 1 from g", "teardown"]


def test_current_rpc_is_the_context_of_the_call() -> None:
    seen = []

    def function(request: EchoRequest, context: Any) -> EchoReply:
        seen.append(current_rpc.call_id == context.call_id)
        return EchoReply()

    app = echo_app(Unary=function)
    assert unary(app).code == 0
    assert seen == [True]
    with app.test_request_context(), pytest.raises(RuntimeError, match="no RPC is being served"):
        current_rpc.call_id  # noqa: B018
    with pytest.raises(RuntimeError, match="no RPC is being served"):
        current_rpc.call_id  # noqa: B018


def test_signals_tell_of_start_and_end() -> None:
    app = echo_app(Unary=raise_domain_error)
    events: list[Any] = []

    def started(sender: Flask, context: Any) -> None:
        events.append((sender, context.method.path))

    def finished(sender: Flask, context: Any, code: StatusCode, seconds: float) -> None:
        events.append((sender, code.name, 0 <= seconds < 5))

    with rpc_started.connected_to(started, app), rpc_finished.connected_to(finished, app):
        unary(app)
        call(app.test_client(), ECHO + "ServerStream", EchoRequest(count=2))
    assert events == [
        (app, ECHO + "Unary"),
        (app, "INTERNAL", True),
        (app, ECHO + "ServerStream"),
        (app, "OK", True),
    ]


def test_one_line_is_logged_for_a_call(protocol: str, caplog: pytest.LogCaptureFixture) -> None:  # noqa: F811
    caplog.set_level(logging.INFO, "flask_grpcweb_scm")
    unary(echo_app(), headers={"x-grpc-auth-token": "secret", "authorization": "Bearer secret"})
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("/tests.echo.v1.Echo/Unary OK ")
    counted = {"grpc-web": "9 bytes in, 30", "connect": "4 bytes in, 4", "connect json": "18 bytes in, 13"}
    counted |= {"grpc": "9 bytes in, 9", "grpc json": "23 bytes in, 18"}
    assert f"{counted[protocol]} bytes out, peer 127.0.0.1, call " in line


def test_wire_detail_is_logged_at_debug_without_credentials(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "flask_grpcweb_scm")
    unary(echo_app(), headers={"x-grpc-auth-token": "secret", "cookie": "secret"})
    assert "x-grpc-auth-token" in caplog.text
    assert "secret" not in caplog.text


def test_csrf_protection_of_flask_wtf_leaves_rpcs_alone() -> None:
    from flask_wtf import CSRFProtect

    app = echo_app(SECRET_KEY="k")
    CSRFProtect(app)
    app.add_url_rule("/form", "form", lambda: "ok", methods=["POST"])
    assert unary(app).code == 0
    assert app.test_client().post("/form").status_code == 400


def test_login_required_by_flask_login_is_unauthenticated() -> None:
    from flask_login import LoginManager, current_user

    app = echo_app(SECRET_KEY="k")
    manager = LoginManager(app)
    manager.user_loader(lambda user_id: None)
    app.before_request(lambda: None if current_user.is_authenticated else manager.unauthorized())
    assert unary(app).code == 16


# Flask-Limiter's own use of Flask 3.2.
@pytest.mark.filterwarnings("ignore:'RequestContext' has merged:DeprecationWarning")
def test_a_limit_of_flask_limiter_is_resource_exhausted_and_says_when_to_come_back() -> None:
    from flask_limiter import Limiter
    from flask_limiter.util import get_remote_address

    app = echo_app(RATELIMIT_STORAGE_URI="memory://", RATELIMIT_HEADERS_ENABLED=True)
    Limiter(get_remote_address, app=app, application_limits=["1/minute"])
    assert unary(app).code == 0
    refused = unary(app)
    assert (refused.http_status, refused.code, refused.message) == (200, 8, "1 per 1 minute")
    assert 0 < int(refused.headers["retry-after"]) <= 60
    assert call(app.test_client(), "/no.Such/Method", HI).code == 8


def test_interceptors_run_in_order_around_the_function() -> None:
    events = []

    def named(name: str) -> Any:
        def intercept(request: Any, context: Any, call_next: Any) -> Any:
            events.append(f"{name} before")
            response = call_next(request, context)
            events.append(f"{name} after")
            return response

        return intercept

    service = echo_service()
    service.intercept(named("service"))
    extension = GrpcWebScm(services=[service])
    extension.intercept(named("outer"))
    app = echo_app(extension=extension)
    extension.intercept(named("late"))
    assert unary(app).code == 0
    assert events == [
        *("outer before", "late before", "service before"),
        *("service after", "late after", "outer after"),
    ]


def test_metadata_goes_both_ways() -> None:
    def function(request: EchoRequest, context: Any) -> EchoReply:
        context.initial_metadata.add("x-initial", context.metadata.get("x-asked"))
        context.trailing_metadata.add("x-trailing-bin", context.metadata.get("x-asked-bin"))
        return EchoReply()

    answer = unary(echo_app(Unary=function), headers={"X-Asked": "value", "x-asked-bin": "AAE="})
    assert answer.headers["x-initial"] == "value"
    assert answer.trailers["x-trailing-bin"] == "AAE"


def test_a_stream_that_fails_later_ends_with_trailers() -> None:
    def stream(request: EchoRequest, context: object) -> Iterator[EchoReply]:
        yield EchoReply(number=1)
        raise RpcError(StatusCode.DATA_LOSS, "torn")

    answer = call(echo_app(ServerStream=stream).test_client(), ECHO + "ServerStream", HI)
    assert "grpc-status" not in answer.headers
    assert (len(answer.payloads), answer.code, answer.message) == (1, 15, "torn")


def test_a_stream_checks_its_deadline_between_messages() -> None:
    def stream(request: EchoRequest, context: Any) -> Iterator[EchoReply]:
        yield EchoReply(number=1)
        time.sleep(context.remaining())
        yield EchoReply(number=2)

    answer = call(echo_app(ServerStream=stream).test_client(), ECHO + "ServerStream", HI, headers=in_time(500))
    assert (len(answer.payloads), answer.code) == (1, 4)


def test_an_app_response_with_success_instead_of_ours_is_unknown() -> None:
    app = echo_app()
    app.before_request(lambda: Response("maintenance", status=200))
    answer = unary(app)
    assert (answer.code, answer.message) == (2, "maintenance")


# Deadlines and limits


@pytest.mark.parametrize(
    ("milliseconds", "code", "runs"), [(500, 4, True), (0, 4, False), (60_000, 0, True), (9_999_999_999, 0, True)]
)
def test_a_deadline_ends_a_call(milliseconds: int, code: int, runs: bool) -> None:
    remaining: list[float] = []

    def unary_function(request: EchoRequest, context: Any) -> EchoReply:
        remaining.append(context.remaining())
        time.sleep(remaining[0] if code else 0)
        return EchoReply()

    app = echo_app(Unary=unary_function, GRPC_MAX_TIMEOUT=3600)
    assert unary(app, headers=in_time(milliseconds)).code == code
    assert len(remaining) == runs
    assert all(0 < seconds <= min(milliseconds / 1000, 3600) for seconds in remaining)


LONG = EchoRequest(text="a" * 200)
ZEROS = gzip.compress(EchoRequest(data=bytes(100_000)).SerializeToString())
LONG_JSON = gzip.compress(b'{"text": "' + b"a" * 100_000 + b'"}')


@pytest.mark.parametrize("path", [ECHO + "Unary", ECHO + "ServerStream"])
@pytest.mark.parametrize(
    ("config", "message", "headers", "code"),
    [
        ({"GRPC_MAX_MESSAGE_BYTES": 100}, LONG, {}, 8),
        ({"GRPC_MAX_MESSAGE_BYTES": 1000}, LONG, {}, 0),
        ({"GRPC_MAX_METADATA_BYTES": 400}, HI, {"x-a": "a" * 500}, 8),
        ({"GRPC_MAX_METADATA_BYTES": 4000}, HI, {"x-a": "a" * 500}, 0),
        ({"MAX_CONTENT_LENGTH": 100}, LONG, {}, 8),
    ],
)
def test_limits_of_a_request(
    path: str, config: dict[str, Any], message: EchoRequest, headers: dict[str, str], code: int
) -> None:
    answer = call(echo_app(**config).test_client(), path, message, headers=headers)
    assert answer.code == code
    assert ("over the limit" in answer.message) == bool(code)


@pytest.mark.parametrize("path", [ECHO + "Unary", ECHO + "ServerStream"])
@pytest.mark.parametrize(("encoding", "limit", "code"), [("gzip", 10_000, 8), ("gzip", 200_000, 0), ("lzma", 10, 12)])
def test_compressed_messages(path: str, encoding: str, limit: int, code: int, protocol: str) -> None:  # noqa: F811
    payload = LONG_JSON if "json" in protocol else ZEROS
    is_bare = protocol.startswith("connect") and path.endswith("Unary")
    app = echo_app(GRPC_MAX_MESSAGE_BYTES=limit)
    data = payload if is_bare else frame(payload, 1)
    assert call(app.test_client(), path, data=data, headers=compressed(path, encoding)).code == code
