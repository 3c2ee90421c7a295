"""Async service functions: which are run, and how they end."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from asgiref.wsgi import WsgiToAsgi
from flask import Flask, current_app, g, session
from flask.signals import got_request_exception
from flask_login import LoginManager, UserMixin, login_required, login_user

from flask_grpcweb_scm import (
    CallContext,
    ConfigError,
    GrpcWebScm,
    RpcError,
    Service,
    ServiceDefinitionError,
    StatusCode,
    current_rpc,
)
from flask_grpcweb_scm.client import CallError
from flask_grpcweb_scm.rpc import StreamReply
from flask_grpcweb_scm.testing import assert_rpc_error, channel_for, recording
from tests.apps import ECHO, LANES, echo_app, echo_service
from tests.echo_pb2 import DESCRIPTOR, EchoReply, EchoRequest
from tests.grpcweb import PROTO, Answer, body_of, call, read
from tests.lanes import lane  # noqa: F401  # a fixture
from tests.rpc.support import Served, answer

ECHO_SERVICE = DESCRIPTOR.services_by_name["Echo"]
HELLO = EchoRequest(text="hello", count=3)
variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable", default=0)


async def unary(request: EchoRequest, context: CallContext) -> EchoReply:
    await asyncio.sleep(0)
    return EchoReply(text=request.text)


async def server_stream(request: EchoRequest, context: CallContext) -> AsyncIterator[EchoReply]:
    for number in range(request.count):
        await asyncio.sleep(0)
        yield EchoReply(text=request.text, number=number)


async def client_stream(requests: AsyncIterator[EchoRequest], context: CallContext) -> EchoReply:
    return EchoReply(text=",".join([request.text async for request in requests]))


async def bidi(requests: AsyncIterator[EchoRequest], context: CallContext) -> AsyncIterator[EchoReply]:
    async for request in requests:
        yield EchoReply(text=request.text)


class Functions:
    """Methods, and an object that is called."""

    async def unary(self, request: EchoRequest, context: CallContext) -> EchoReply:
        return await unary(request, context)

    async def server_stream(self, request: EchoRequest, context: CallContext) -> AsyncIterator[EchoReply]:
        async for response in server_stream(request, context):
            yield response

    @classmethod
    async def of_class(cls, request: EchoRequest, context: CallContext) -> EchoReply:
        return await unary(request, context)


class CalledUnary:
    async def __call__(self, request: EchoRequest, context: CallContext) -> EchoReply:
        return await unary(request, context)


class CalledStream:
    async def __call__(self, request: EchoRequest, context: CallContext) -> AsyncIterator[EchoReply]:
        async for response in server_stream(request, context):
            yield response


def by_ensure_sync(function: Any) -> Any:
    """As decorators of extensions do."""

    @functools.wraps(function)
    def decorated(*args: Any) -> Any:
        return current_app.ensure_sync(function)(*args)

    return decorated


def by_asyncio(function: Any) -> Any:
    @functools.wraps(function)
    def decorated(request: Any, context: CallContext) -> Any:
        return asyncio.run(function(request, context))

    return decorated


def awaiting(function: Any) -> Any:
    @functools.wraps(function)
    async def decorated(request: Any, context: CallContext) -> Any:
        return await function(request, context)

    return decorated


def awaiting_first(function: Any) -> Any:
    @functools.wraps(function)
    async def decorated(request: Any, context: CallContext) -> Any:
        await asyncio.sleep(0)
        return function(request, context)

    return decorated


def yielding(function: Any) -> Any:
    @functools.wraps(function)
    async def decorated(request: Any, context: CallContext) -> Any:
        async for response in function(request, context):
            yield response

    return decorated


def collecting(function: Any) -> Any:
    """Makes a generator function of an async one."""

    @functools.wraps(function)
    def decorated(request: Any, context: CallContext) -> Iterator[Any]:
        async def collect() -> list[Any]:
            return [response async for response in function(request, context)]

        yield from asyncio.run(collect())

    return decorated


async def with_extra(extra: str, request: EchoRequest, context: CallContext) -> EchoReply:
    return await unary(request, context)


async def all_at_once(request: EchoRequest, context: CallContext) -> list[EchoReply]:
    return [EchoReply(text=request.text, number=number) for number in range(request.count)]


WORKING: list[tuple[str, Any]] = [
    ("Unary", unary),
    ("Unary", Functions().unary),
    ("Unary", Functions.of_class),
    ("Unary", CalledUnary()),
    ("Unary", functools.partial(with_extra, "extra")),
    ("Unary", functools.partial(CalledUnary())),
    ("Unary", by_ensure_sync(unary)),
    ("Unary", by_asyncio(unary)),
    ("Unary", awaiting(unary)),
    ("Unary", by_ensure_sync(awaiting(unary))),
    ("Unary", awaiting(Functions().unary)),
    ("ServerStream", server_stream),
    ("ServerStream", Functions().server_stream),
    ("ServerStream", CalledStream()),
    ("ServerStream", functools.partial(server_stream)),
    ("ServerStream", by_ensure_sync(server_stream)),
    ("ServerStream", awaiting_first(server_stream)),
    ("ServerStream", yielding(server_stream)),
    ("ServerStream", collecting(server_stream)),
    ("ClientStream", client_stream),
    ("ClientStream", by_ensure_sync(client_stream)),
    ("ClientStream", by_asyncio(client_stream)),
    ("ClientStream", awaiting(client_stream)),
    ("Bidi", bidi),
    ("Bidi", by_ensure_sync(bidi)),
    ("Bidi", yielding(bidi)),
]
TEXTS = {"Unary": ["hello"], "ServerStream": ["hello"] * 3, "ClientStream": ["hello,hello"], "Bidi": ["hello"] * 2}


def texts_of(app: Flask, method: str, request: EchoRequest = HELLO, **options: Any) -> list[str]:
    """The texts of the responses; a stream of requests has two."""
    stub = channel_for(app).stub(ECHO_SERVICE)
    if method in ("Unary", "ServerStream"):
        response = getattr(stub, {"Unary": "unary"}.get(method, "server_stream"))(request, **options)
    else:
        requests = iter([request, request])
        response = getattr(stub, {"Bidi": "bidi"}.get(method, "client_stream"))(requests, **options)
    return [response.text] if isinstance(response, EchoReply) else [reply.text for reply in response]


@pytest.mark.parametrize(("method", "function"), WORKING)
def test_async_functions_of_every_kind_are_run(method: str, function: Any) -> None:
    app = echo_app(**{method: function})
    for _ in range(2):
        assert texts_of(app, method) == TEXTS[method]


@pytest.mark.parametrize("function", [server_stream, all_at_once, by_ensure_sync(all_at_once), awaiting(all_at_once)])
def test_streams_that_are_batched(function: Any) -> None:
    service = echo_service()
    batched = Service(ECHO_SERVICE)
    for name in ("Unary", "ClientStream", "Bidi", "Missing"):
        batched.add_rpc(name, service.methods()[ECHO + name].function)
    batched.add_rpc("ServerStream", function, batch=True)
    assert texts_of(echo_app(extension=GrpcWebScm(services=[batched])), "ServerStream") == ["hello"] * 3


@pytest.mark.parametrize(
    ("method", "function", "message"),
    [
        ("Unary", server_stream, "Unary has one response: its function must return it, .* yields"),
        ("ClientStream", bidi, "ClientStream has one response"),
        ("Unary", CalledStream(), "Unary has one response"),
        ("ServerStream", unary, "ServerStream streams responses: its function must yield them"),
        ("Bidi", CalledUnary(), "Bidi streams responses"),
        ("Unary", with_extra, r"must take \(request, context\)"),
    ],
)
def test_a_function_of_the_wrong_kind_is_refused(method: str, function: Any, message: str) -> None:
    with pytest.raises(ServiceDefinitionError, match=message):
        Service(ECHO_SERVICE).add_rpc(method, function)


async def wrong_response(request: EchoRequest, context: CallContext) -> EchoRequest:
    return request


async def wrong_responses(request: EchoRequest, context: CallContext) -> AsyncIterator[EchoRequest]:
    yield request


@pytest.mark.parametrize(("method", "function"), [("Unary", wrong_response), ("ServerStream", wrong_responses)])
def test_annotations_of_async_functions_are_checked(method: str, function: Any) -> None:
    with pytest.raises(ServiceDefinitionError, match="the annotation of the response of <function wrong"):
        Service(ECHO_SERVICE).add_rpc(method, function)


# Async functions that nothing runs


def passing_on(function: Any) -> Any:
    @functools.wraps(function)
    def decorated(*args: Any) -> Any:
        return function(*args)

    return decorated


def returns_a_coroutine(request: EchoRequest, context: CallContext) -> Any:
    return unary(request, context)


def returns_an_async_generator(request: EchoRequest, context: CallContext) -> Any:
    return server_stream(request, context)


def yields_coroutines(request: EchoRequest, context: CallContext) -> Iterator[Any]:
    yield unary(request, context)


async def yields_them_itself(request: EchoRequest, context: CallContext) -> AsyncIterator[Any]:
    yield unary(request, context)


@pytest.mark.parametrize(
    ("method", "function", "kind"),
    [
        ("Unary", passing_on(unary), "coroutine"),
        ("Unary", returns_a_coroutine, "coroutine"),
        ("Unary", awaiting_first(unary), "coroutine"),
        ("Unary", returns_an_async_generator, "async_generator"),
        ("ClientStream", passing_on(client_stream), "coroutine"),
        ("ServerStream", yields_coroutines, "coroutine"),
        ("ServerStream", yields_them_itself, "coroutine"),
    ],
)
def test_an_async_function_that_nothing_runs_is_an_error(
    method: str, function: Any, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = echo_app(**{method: function}, PROPAGATE_EXCEPTIONS=False)
    with assert_rpc_error(StatusCode.INTERNAL):
        texts_of(app, method)
    gc.collect()  # a coroutine that nobody has awaited is a warning, which is an error here
    assert f"its function returned {kind}: an async function that nothing runs; make async what is" in caplog.text


# Where async functions are not possible


async def async_interceptor(request: Any, context: CallContext, call_next: Any) -> Any:
    return call_next(request, context)


class CalledInterceptor:
    async def __call__(self, request: Any, context: CallContext, call_next: Any) -> Any:
        return call_next(request, context)


async def yielding_interceptor(request: Any, context: CallContext, call_next: Any) -> Any:
    for response in call_next(request, context):
        yield response


@pytest.mark.parametrize("interceptor", [async_interceptor, CalledInterceptor(), yielding_interceptor])
@pytest.mark.parametrize("owner", [Service(ECHO_SERVICE), GrpcWebScm()], ids=["service", "extension"])
def test_an_async_interceptor_is_refused(owner: Any, interceptor: Any) -> None:
    with pytest.raises(ServiceDefinitionError, match=r"interceptor .* is async; make it a plain function"):
        owner.intercept(interceptor)


async def async_authenticate(context: CallContext) -> Any:
    return None


def test_an_async_authenticator_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"authenticate=<function async_authenticate .* is async"):
        echo_app(extension=GrpcWebScm(services=[echo_service()], authenticate=async_authenticate))


def test_without_asgiref_the_app_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "asgiref", None)
    monkeypatch.setitem(sys.modules, "asgiref.sync", None)
    message = r"/Unary: <function unary .* needs asgiref: pip install 'flask_grpcweb_scm\[async\]'"
    with pytest.raises(ServiceDefinitionError, match=message):
        echo_app(Unary=unary)
    # A loop of its own needs none.
    assert texts_of(echo_app(ServerStream=server_stream), "ServerStream") == ["hello"] * 3


# A process of its own knows nothing of lanes.
in_a_process = pytest.mark.parametrize("lane", LANES[:1], indirect=True)


@in_a_process
@pytest.mark.needs("time")
def test_apps_without_async_functions_import_no_asyncio() -> None:
    # Others may import asyncio.
    module = "flask_grpcweb_scm.rpc.async_functions"
    code = f"import sys, tests.apps\ntests.apps.echo_app()\nprint({module!r} in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "False\n"


@in_a_process
@pytest.mark.needs("gevent")
def test_an_app_warns_at_start_of_greenlets() -> None:
    code = "from gevent import monkey; monkey.patch_all()\n"
    code += "from tests.rpc.test_async_functions import bidi, echo_app; echo_app(Bidi=bidi)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert "the functions of /tests.echo.v1.Echo/Bidi are async, and gevent runs one of them at a time" in done.stderr


class OwnLoop(Flask):
    """An app with a loop for all async functions, as Flask's documentation allows."""

    def async_to_sync(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any) -> Any:
            self.extensions.setdefault("ran", []).append(function)
            return asyncio.run(function(*args))

        return run


def test_the_app_says_how_coroutines_are_run() -> None:
    app = OwnLoop(__name__)
    app.config.update(GRPC_SCM=False, GRPC_REQUIRE_AUTH=False)
    GrpcWebScm(app, services=[echo_service(Unary=unary, ClientStream=client_stream)])
    for method in ("Unary", "ClientStream"):
        assert texts_of(app, method) == TEXTS[method]
    assert len(app.extensions["ran"]) == 2


# Contexts


async def look(request: EchoRequest, context: CallContext) -> EchoReply:
    for _ in range(2):
        assert (current_app.name, g.before, session["user"], current_rpc.call_id) == (
            "tests.apps",
            "hook",
            7,
            context.call_id,
        )
        await asyncio.sleep(0)
        await asyncio.gather(asyncio.sleep(0), asyncio.to_thread(lambda: current_app.name))
    g.by_function, session["seen"] = request.text, True
    variable.set(variable.get() + 1)
    return EchoReply(text=f"{g.before} {variable.get()}")


async def look_often(request: EchoRequest, context: CallContext) -> AsyncIterator[EchoReply]:
    try:
        for _ in range(3):
            yield await look(request, context)
    finally:
        await look(request, context)


@pytest.mark.parametrize(("method", "function"), [("Unary", look), ("ServerStream", look_often)])
def test_contexts_are_there_after_every_await(method: str, function: Any) -> None:
    ended: list[Any] = []
    app = echo_app(**{method: function}, SECRET_KEY="of the tests")

    @app.before_request
    def before() -> None:
        g.before = "hook"
        session["user"] = 7

    @app.teardown_request
    def teardown(error: BaseException | None) -> None:
        ended.append((g.by_function, session["seen"], error))

    # A variable that is set stays set in the function; it is one task from the first message to the last.
    assert texts_of(app, method) == ["hook 1", "hook 2", "hook 3"][: len(TEXTS[method])]
    assert ended == [("hello", True, None)]


def test_a_login_is_required_of_async_functions() -> None:
    def prepare(app: Flask) -> None:
        app.secret_key = "of the tests"
        LoginManager(app).user_loader(lambda user_id: UserMixin())
        app.add_url_rule("/login", "login", lambda: str(login_user(user)))

    user = UserMixin()
    user.id = 1
    app = echo_app(Unary=login_required(unary), ServerStream=login_required(server_stream), prepare=prepare)
    client = app.test_client()
    for code in (16, 0):
        assert call(client, ECHO + "Unary", HELLO).code == code
        assert call(client, ECHO + "ServerStream", HELLO).code == code
        client.get("/login")


# Errors


async def fail(request: EchoRequest, context: CallContext) -> EchoReply:
    await asyncio.sleep(0)
    if request.text == "status":
        raise RpcError(StatusCode.NOT_FOUND, "gone")
    if request.text == "cancelled":
        task = asyncio.create_task(asyncio.sleep(60))
        task.cancel()
        await task
    if request.text == "group":
        await asyncio.wait_for(asyncio.sleep(60), 0)
    if request.text == "StopIteration":
        raise StopIteration
    raise LookupError("of the function")


async def fail_later(request: EchoRequest, context: CallContext) -> AsyncIterator[EchoReply]:
    yield EchoReply()
    yield await fail(request, context)


async def fail_in_finally(request: EchoRequest, context: CallContext) -> AsyncIterator[EchoReply]:
    try:
        yield EchoReply()
    finally:
        await fail(request, context)


@pytest.mark.parametrize(
    ("text", "code", "logged"),
    [
        ("status", 5, ""),
        ("crash", 13, "LookupError: of the function"),
        ("cancelled", 13, "RuntimeError: the service function was cancelled, but not by its call"),
        ("group", 13, "TimeoutError"),
        ("StopIteration", 13, "RuntimeError: coroutine raised StopIteration"),
    ],
)
@pytest.mark.parametrize(
    ("method", "function"), [("Unary", fail), ("ServerStream", fail_later), ("ServerStream", fail_in_finally)]
)
def test_exceptions_are_those_of_plain_functions(
    method: str, function: Any, text: str, code: int, logged: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = echo_app(**{method: function}, PROPAGATE_EXCEPTIONS=False)
    told: list[BaseException] = []
    tell = got_request_exception.connected_to(lambda sender, exception: told.append(exception), app)
    with tell, assert_rpc_error(StatusCode(code)):
        texts_of(app, method, EchoRequest(text=text))
    assert logged in caplog.text
    assert ("in fail\n" in caplog.text) == bool(logged) == (len(told) == 1)


@pytest.mark.parametrize("text", ["status", "crash", "cancelled"])
def test_exceptions_keep_no_threads_until_garbage_is_collected(text: str) -> None:
    app = echo_app(Unary=fail, PROPAGATE_EXCEPTIONS=False)
    before = threading.active_count()
    gc.disable()
    try:
        for _ in range(20):
            with pytest.raises(CallError):
                texts_of(app, "Unary", EchoRequest(text=text))
        stop = time.monotonic() + 20
        while threading.active_count() > before and time.monotonic() < stop:
            time.sleep(0.01)
        assert threading.active_count() <= before
    finally:
        gc.enable()


def test_error_handlers_and_declared_errors_see_them() -> None:
    service = echo_service(Unary=fail, ServerStream=fail_later)
    service.declare_error(LookupError, StatusCode.ABORTED)
    app = echo_app(extension=GrpcWebScm(services=[service]))
    app.register_error_handler(asyncio.TimeoutError, lambda error: ("slow", 504))
    for method in ("Unary", "ServerStream"):
        for text, code in {"crash": 10, "group": 4}.items():
            with pytest.raises(CallError) as caught:
                texts_of(app, method, EchoRequest(text=text))
            assert caught.value.code == code


def test_interceptors_are_around_async_functions() -> None:
    app = echo_app(Unary=unary, ServerStream=server_stream, ClientStream=client_stream, Bidi=bidi)
    with recording(app) as recorder:
        for method, texts in TEXTS.items():
            assert texts_of(app, method) == texts
    assert [[response.text for response in call.responses] for call in recorder.calls] == [*TEXTS.values()]


# Ends


def noting(notes: list[object], *, ignores: bool = False) -> Any:
    """A stream that notes its end, in the same task; a task beside it notes its own."""

    async def beside() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(0)
            notes.append("beside")

    async def function(request: EchoRequest, context: CallContext) -> AsyncIterator[EchoReply]:
        task = asyncio.current_task()
        other = asyncio.create_task(beside())
        try:
            await asyncio.sleep(0)
            for number in range(request.count or 3):
                yield EchoReply(number=number)
                if request.text == "sleep":
                    await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(0.001)
            notes.append("ended" if asyncio.current_task() is task and not other.done() else "another task")
            if ignores:
                yield EchoReply()

    return function


def test_an_ended_stream_leaves_no_task_behind() -> None:
    notes: list[object] = []
    reply = Served("ServerStream", noting(notes), notes).run()
    assert answer(reply).code == StatusCode.OK
    assert notes == ["ended", "beside", StatusCode.OK]


@pytest.mark.parametrize("read", [0, 1, 2])
def test_a_stream_whose_client_goes_ends_before_the_call(read: int) -> None:
    notes: list[object] = []
    reply = Served("ServerStream", noting(notes), notes).run()
    assert isinstance(reply, StreamReply)
    for _ in range(read):
        next(iter(reply))
    assert notes == []
    reply.close()
    reply.close()
    assert notes == ["ended", "beside", StatusCode.CANCELLED]


def test_a_generator_that_goes_on_when_it_is_closed_is_an_error() -> None:
    notes: list[object] = []
    served = Served("ServerStream", noting(notes, ignores=True), notes)
    reply = served.run()
    assert isinstance(reply, StreamReply)
    reply.close()
    assert notes == ["ended", "beside", StatusCode.INTERNAL]
    assert "async generator ignored GeneratorExit" in str(served.call.status)


@pytest.mark.parametrize("timeout", ["1m", "50m"])
def test_a_stream_that_sleeps_ends_at_its_deadline(timeout: str) -> None:
    notes: list[object] = []
    served = Served("ServerStream", sleeping(notes), notes, headers={"grpc-timeout": timeout})
    assert answer(served.run()).code == StatusCode.DEADLINE_EXCEEDED
    assert notes[-1] == StatusCode.DEADLINE_EXCEEDED
    assert notes[:-1] in (["ended"], [])  # it may be over before it begins


def sleeping(notes: list[object]) -> Any:
    async def function(request: EchoRequest, context: CallContext) -> AsyncIterator[EchoReply]:
        try:
            yield EchoReply()
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(0)
            notes.append("ended")

    return function


async def sleep(request: EchoRequest, context: CallContext) -> EchoReply:
    try:
        if request.text == "moved":
            context.set_timeout(0.3)
        await asyncio.sleep(3600)
    finally:
        await asyncio.sleep(0)
        g.ended = True
    return EchoReply()


@pytest.mark.parametrize("text", ["", "moved"])
def test_a_coroutine_that_sleeps_ends_at_its_deadline(text: str) -> None:
    app = echo_app(Unary=sleep)
    ended: list[bool] = []
    app.teardown_request(lambda error: ended.append(g.ended))
    with assert_rpc_error(StatusCode.DEADLINE_EXCEEDED):
        texts_of(app, "Unary", EchoRequest(text=text), timeout=0.3)
    assert ended == [True]


# Other loops


@pytest.mark.parametrize("method", ["Unary", "ServerStream", "ClientStream", "Bidi"])
def test_a_caller_may_be_in_a_loop(method: str) -> None:
    functions = {"Unary": unary, "ServerStream": server_stream, "ClientStream": client_stream, "Bidi": bidi}
    app = echo_app(**functions)

    async def here() -> list[str]:
        return texts_of(app, method)

    async def in_another_thread() -> list[str]:
        return await asyncio.to_thread(texts_of, app, method)

    assert asyncio.run(here()) == asyncio.run(in_another_thread()) == TEXTS[method]


@pytest.mark.parametrize(("method", "function"), [("Unary", look), ("ServerStream", look_often)])
def test_contexts_are_there_in_a_loop_too(method: str, function: Any) -> None:
    async def run() -> None:
        test_contexts_are_there_after_every_await(method, function)

    asyncio.run(run())


def test_a_stream_may_be_closed_in_a_loop() -> None:
    notes: list[object] = []
    reply = Served("ServerStream", noting(notes), notes).run()
    assert isinstance(reply, StreamReply)

    async def close() -> None:
        reply.close()

    asyncio.run(close())
    assert notes == ["ended", "beside", StatusCode.CANCELLED]


def test_a_signal_that_stops_the_worker_goes_through_the_function() -> None:
    notes: list[object] = []

    async def function(request: EchoRequest, context: CallContext) -> AsyncIterator[EchoReply]:
        try:
            asyncio.get_running_loop().call_soon(os.kill, os.getpid(), signal.SIGUSR1)
            await asyncio.sleep(3600)
            yield EchoReply()
        finally:
            await asyncio.sleep(0)
            notes.append("ended")

    def stop(*_: object) -> None:
        raise SystemExit

    before = signal.signal(signal.SIGUSR1, stop)
    try:
        with pytest.raises(SystemExit):
            Served("ServerStream", function, notes).run()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert notes == ["ended"]


def nested(request: EchoRequest, context: CallContext) -> EchoReply:
    """A plain function that runs a coroutine, which runs a plain function, which runs a coroutine."""

    def inside() -> EchoReply:
        assert current_rpc.call_id == context.call_id
        response: EchoReply = current_app.ensure_sync(unary)(request, context)
        return response

    async def between() -> EchoReply:
        return await sync_to_async(inside)()

    response: EchoReply = current_app.ensure_sync(between)()
    return response


async def nested_async(request: EchoRequest, context: CallContext) -> EchoReply:
    return await sync_to_async(nested)(request, context)


def nested_stream(request: EchoRequest, context: CallContext) -> Iterator[EchoReply]:
    for _ in range(3):
        yield nested(request, context)


async def nested_async_stream(request: EchoRequest, context: CallContext) -> AsyncIterator[EchoReply]:
    for _ in range(3):
        yield await nested_async(request, context)


@pytest.mark.parametrize(
    ("method", "function"),
    [
        ("Unary", nested),
        ("Unary", nested_async),
        ("ServerStream", nested_stream),
        ("ServerStream", nested_async_stream),
    ],
)
def test_plain_and_async_functions_call_each_other(method: str, function: Any) -> None:
    assert texts_of(echo_app(**{method: function}), method) == TEXTS[method]


def test_an_app_that_is_served_by_asgi() -> None:
    loops: set[object] = set()

    async def in_loop(request: EchoRequest, context: CallContext) -> EchoReply:
        loops.add(asyncio.get_running_loop())
        return await unary(request, context)

    app = echo_app(Unary=in_loop, ServerStream=server_stream)

    async def post(method: str) -> Answer:
        """As an ASGI server does it."""
        body = body_of(HELLO)
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": "POST",
            "path": ECHO + method,
            "query_string": b"",
            "headers": [
                (b"host", b"localhost"),
                (b"content-type", PROTO.encode()),
                (b"content-length", str(len(body)).encode()),
            ],
        }
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body}

        async def send(event: dict[str, Any]) -> None:
            sent.append(event)

        await WsgiToAsgi(app)(scope, receive, send)
        headers = [(name.decode(), value.decode()) for name, value in sent[0]["headers"]]
        return read(sent[0]["status"], headers, b"".join(event.get("body", b"") for event in sent[1:]))

    async def both() -> None:
        for method in ("Unary", "ServerStream"):
            answer = await asyncio.wait_for(post(method), 20)
            assert (answer.code, len(answer.payloads)) == (0, len(TEXTS[method]))
        assert loops == {asyncio.get_running_loop()}

    asyncio.run(both())


@pytest.mark.skipif(sys.version_info < (3, 11), reason="asyncio.timeout() is new")
def test_a_timeout_may_be_open_across_messages() -> None:
    async def slow(request: EchoRequest, context: CallContext) -> AsyncIterator[EchoReply]:
        try:
            async with asyncio.timeout(0.05):
                yield EchoReply(text="in time")
                await asyncio.sleep(3600)
        except TimeoutError:
            yield EchoReply(text="timeout")

    assert texts_of(echo_app(ServerStream=slow), "ServerStream") == ["in time", "timeout"]


def in_a_group(notes: list[object], error: type[Exception] | None = None) -> Any:
    async def beside() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            notes.append("beside")
            if error:
                raise error("beside")

    async def function(request: EchoRequest, context: CallContext) -> AsyncIterator[EchoReply]:
        async with asyncio.TaskGroup() as group:
            group.create_task(beside())
            await asyncio.sleep(0)
            yield EchoReply()
            await asyncio.sleep(3600)

    return function


@pytest.mark.skipif(sys.version_info < (3, 11), reason="asyncio.TaskGroup is new")
@pytest.mark.parametrize(("error", "code"), [(None, StatusCode.CANCELLED), (LookupError, StatusCode.INTERNAL)])
def test_a_task_group_may_be_open_when_the_client_goes(error: type[Exception] | None, code: StatusCode) -> None:
    notes: list[object] = []
    reply = Served("ServerStream", in_a_group(notes, error), notes).run()
    assert isinstance(reply, StreamReply)
    reply.close()
    assert notes == ["beside", code]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="asyncio.TaskGroup is new")
def test_a_task_group_may_be_open_at_the_deadline() -> None:
    notes: list[object] = []
    served = Served("ServerStream", in_a_group(notes), notes, headers={"grpc-timeout": "300m"})
    assert answer(served.run()).code == StatusCode.DEADLINE_EXCEEDED
    assert notes == ["beside", StatusCode.DEADLINE_EXCEEDED]


def test_each_message_may_be_taken_by_another_thread() -> None:
    notes: list[object] = []
    reply = Served("ServerStream", noting(notes), notes).run()
    assert isinstance(reply, StreamReply)
    for step in (functools.partial(next, iter(reply)), functools.partial(next, iter(reply)), reply.close):
        thread = threading.Thread(target=step)
        thread.start()
        thread.join()
    assert notes == ["ended", "beside", StatusCode.CANCELLED]
