"""What runs around a service function, in what order, and until when."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from flask_grpcweb_scm.rpc import CallContext, Dispatcher, Interceptor, Interceptors, RpcError, Service, StatusCode
from tests.apps import ECHO, echo_service
from tests.echo_pb2 import EchoReply, EchoRequest

UNARY, STREAM = ECHO + "Unary", ECHO + "ServerStream"


def dispatch(service: Service, path: str, *, timeout: float | None = None, **options: Any) -> Any:
    """Call the method at `path`; `options` are those of the dispatcher."""
    interceptors = Interceptors("the app")
    for interceptor in options.pop("interceptors", []):
        interceptors.add(interceptor)
    dispatcher = Dispatcher([service], interceptors, **options)
    method = dispatcher.methods[path]
    return dispatcher.call(method, EchoRequest(text="hi", count=3), CallContext(method, timeout=timeout))


# Interceptors


def noting(name: str, notes: list[str]) -> Interceptor:
    def interceptor(request: Any, context: CallContext, call_next: Any) -> Any:
        notes.append(f"{name} in")
        try:
            return call_next(request, context)
        finally:
            notes.append(f"{name} out")

    return interceptor


def test_interceptors_run_from_the_first_to_the_apps_to_the_services_own() -> None:
    notes: list[str] = []

    def function(request: EchoRequest, context: CallContext) -> EchoReply:
        notes.append("function")
        return EchoReply()

    service = echo_service(Unary=function)
    for name in ("service 1", "service 2"):
        service.intercept(noting(name, notes))
    of_app = [noting("app 1", notes), noting("app 2", notes)]
    dispatch(service, UNARY, interceptors=of_app)
    names = ["app 1", "app 2", "service 1", "service 2"]
    assert notes == [f"{name} in" for name in names] + ["function"] + [f"{name} out" for name in reversed(names)]


def test_interceptors_may_be_added_until_the_first_call() -> None:
    notes: list[str] = []
    service, interceptors = echo_service(), Interceptors("this extension")
    dispatcher = Dispatcher([service], interceptors)
    interceptors.add(noting("app", notes))
    service.intercept(noting("service", notes))
    method = dispatcher.methods[UNARY]
    for _ in range(2):
        dispatcher.call(method, EchoRequest(), CallContext(method))
    assert notes == ["app in", "service in", "service out", "app out"] * 2
    for add, owner in [(interceptors.add, "this extension"), (service.intercept, service.name)]:
        with pytest.raises(
            AssertionError, match=rf"^intercept\(\) can no longer be called: {owner} has already served"
        ):
            add(noting("late", notes))


def test_an_interceptor_may_be_around_all_for_a_while() -> None:
    notes: list[str] = []
    service = echo_service()
    service.intercept(noting("first", notes))
    dispatcher = Dispatcher([service])
    method = dispatcher.methods[UNARY]

    def call() -> list[str]:
        notes.clear()
        dispatcher.call(method, EchoRequest(), CallContext(method))
        return notes[: len(notes) // 2]

    assert call() == ["first in"]
    with dispatcher.around_all(noting("outer", notes)):
        assert call() == ["outer in", "first in"]
        with dispatcher.around_all(noting("outermost", notes)):
            assert call() == ["outermost in", "outer in", "first in"]
        assert call() == ["outer in", "first in"]
    assert call() == ["first in"]


def answers_itself(request: Any, context: CallContext, call_next: Any) -> EchoReply:
    return EchoReply(text="cached")


def changes_the_request(request: Any, context: CallContext, call_next: Any) -> Any:
    return call_next(EchoRequest(text=request.text + "!"), context)


def changes_the_response(request: Any, context: CallContext, call_next: Any) -> EchoReply:
    return EchoReply(text=call_next(request, context).text + "?")


def swallows_errors(request: Any, context: CallContext, call_next: Any) -> Any:
    try:
        return call_next(EchoRequest(text="fail"), context)
    except RpcError as error:
        return EchoReply(text=error.message)


def upper_or_fail(request: EchoRequest, context: CallContext) -> EchoReply:
    if request.text == "fail":
        raise RpcError(StatusCode.ABORTED, "failed")
    return EchoReply(text=request.text.upper())


@pytest.mark.parametrize(
    ("interceptor", "text"),
    [
        (answers_itself, "cached"),
        (changes_the_request, "HI!"),
        (changes_the_response, "HI?"),
        (swallows_errors, "failed"),
    ],
)
def test_an_interceptor_may_change_everything(interceptor: Interceptor, text: str) -> None:
    assert dispatch(echo_service(Unary=upper_or_fail), UNARY, interceptors=[interceptor]).text == text


@pytest.mark.parametrize("path", [UNARY, STREAM])
@pytest.mark.parametrize("response", [None, "text", ("no", 403)])
def test_what_an_interceptor_returns_in_place_of_a_response_is_its_mistake(path: str, response: object) -> None:
    seen: list[Exception] = []

    def outer(request: Any, context: CallContext, call_next: Any) -> Any:
        try:
            return call_next(request, context)
        except Exception as error:
            seen.append(error)
            raise

    def forgets(request: Any, context: CallContext, call_next: Any) -> Any:
        call_next(request, context)
        return response

    expected = rf"its interceptor \S+\.forgets returned {type(response).__name__}$"
    with pytest.raises(TypeError, match=expected) as raised:
        dispatch(echo_service(), path, interceptors=[outer, forgets])
    assert seen == [raised.value]


def test_an_interceptor_may_change_a_stream() -> None:
    def every_second(request: Any, context: CallContext, call_next: Any) -> Iterator[Any]:
        return (response for response in call_next(request, context) if response.number % 2 == 0)

    replies = dispatch(echo_service(), STREAM, interceptors=[every_second])
    assert [reply.number for reply in replies] == [0, 2]


# Deadlines


def late_reply(request: Any, context: CallContext) -> EchoReply:
    time.sleep(0.04)
    return EchoReply()


def test_a_unary_function_that_overruns_has_exceeded_the_deadline() -> None:
    with pytest.raises(RpcError, match="DEADLINE_EXCEEDED"):
        dispatch(echo_service(Unary=late_reply), UNARY, timeout=0.02)


def test_a_call_past_its_deadline_never_reaches_the_function() -> None:
    calls: list[object] = []
    with pytest.raises(RpcError, match="DEADLINE_EXCEEDED"):
        dispatch(echo_service(Unary=lambda request, context: calls.append(request)), UNARY, timeout=0)
    assert calls == []


# Responses


@pytest.mark.parametrize("response", [None, "text", EchoRequest(), {}])
def test_a_response_of_another_type_is_the_functions_mistake(response: object) -> None:
    expected = f"must return tests.echo.v1.EchoReply, its function returned {type(response).__name__}"
    with pytest.raises(TypeError, match=f"^{UNARY} {expected}$"):
        dispatch(echo_service(Unary=lambda request, context: response), UNARY)


def test_a_stream_that_is_dropped_closes_its_function() -> None:
    notes = []

    def function(request: Any, context: CallContext) -> Iterator[EchoReply]:
        try:
            yield EchoReply()
            yield EchoReply()
        finally:
            notes.append("closed")

    replies = dispatch(echo_service(ServerStream=function), STREAM)
    next(replies)
    replies.close()
    assert notes == ["closed"]
