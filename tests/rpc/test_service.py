"""Binding functions to methods, and what fails at start."""

from __future__ import annotations

import asyncio
import functools
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Optional, TypeVar, Union

import pytest
from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import BoolValue, StringValue

from flask_grpcweb_scm.rpc import (
    CallContext,
    Dispatcher,
    Identity,
    RpcError,
    Service,
    ServiceDefinitionError,
    StatusCode,
)
from flask_grpcweb_scm.wire import RemoteProtocolError
from tests.apps import echo_service
from tests.echo_pb2 import DESCRIPTOR, EchoReply, EchoRequest
from tests.tables import check_rows

if TYPE_CHECKING:
    pass

ECHO = DESCRIPTOR.services_by_name["Echo"]


def returns(request: Any, context: Any) -> EchoReply:
    return EchoReply()


def yields(request: Any, context: Any) -> Iterator[EchoReply]:
    yield EchoReply()


async def awaits(request: Any, context: Any) -> EchoReply:
    return EchoReply()


async def awaits_and_yields(request: Any, context: Any) -> Any:
    yield EchoReply()


@functools.wraps(yields)
def wrapped(*args: Any) -> Any:
    return yields(*args)


def takes_one(request: Any) -> EchoReply:
    return EchoReply()


def test_the_decorator_returns_the_function_unchanged() -> None:
    assert Service(ECHO).rpc("Unary")(returns) is returns


def test_only_streams_can_be_batched() -> None:
    with pytest.raises(ServiceDefinitionError, match="Unary has one response: there is nothing to batch"):
        Service(ECHO).rpc("Unary", batch=True)(returns)
    assert Service(ECHO).rpc("ServerStream", batch=True)(returns) is returns


@pytest.mark.parametrize(
    ("name", "function", "message"),
    [
        ("Unari", returns, r"tests.echo.v1.Echo has no method 'Unari'; did you mean 'Unary'\?"),
        ("Xyz", returns, "has no method 'Xyz'; it has Unary, ServerStream,"),
        ("Unary", yields, "Unary has one response: its function must return it"),
        ("ClientStream", yields, "ClientStream has one response"),
        ("ServerStream", returns, "ServerStream streams responses: its function must yield them"),
        ("Bidi", returns, "Bidi streams responses"),
        ("Unary", awaits_and_yields, "Unary has one response"),
        ("ServerStream", awaits, "ServerStream streams responses"),
        ("Unary", takes_one, r"must take \(request, context\)"),
    ],
)
def test_a_function_that_cannot_work_is_refused(name: str, function: Any, message: str) -> None:
    with pytest.raises(ServiceDefinitionError, match=message):
        Service(ECHO).add_rpc(name, function)


@pytest.mark.parametrize(("name", "function"), [("Unary", returns), ("ServerStream", yields), ("Bidi", wrapped)])
def test_a_function_of_the_right_kind_is_bound_once(name: str, function: Any) -> None:
    service = Service(ECHO)
    service.add_rpc(name, function)
    with pytest.raises(ServiceDefinitionError, match=f"{name} is bound twice"):
        service.add_rpc(name, function)


def test_a_misspelt_name_fails_on_the_decorators_line() -> None:
    with pytest.raises(ServiceDefinitionError, match="did you mean 'Unary'"):
        Service(ECHO).rpc("unary")


def test_every_method_is_bound_or_declared_unimplemented() -> None:
    service = Service(ECHO)
    service.add_rpc("Unary", returns)
    with pytest.raises(ServiceDefinitionError, match="no function serves ServerStream, ClientStream, Bidi, Missing"):
        service.methods()
    service.unimplemented("ServerStream", "ClientStream", "Bidi", "Missing")
    assert list(service.methods()) == [f"/tests.echo.v1.Echo/{name}" for name in ECHO.methods_by_name]


@pytest.mark.parametrize("name", ["Missing", "ServerStream"])
def test_an_unimplemented_method_says_so(name: str) -> None:
    service = Service(ECHO)
    service.unimplemented(*ECHO.methods_by_name)
    dispatcher = Dispatcher([service])
    method = dispatcher.methods[f"/tests.echo.v1.Echo/{name}"]
    with pytest.raises(RpcError, match=rf"UNIMPLEMENTED \(12\): /tests.echo.v1.Echo/{name} is not implemented"):
        list(dispatcher.call(method, EchoRequest(), CallContext(method)))


class Broken(Exception):
    pass


class VeryBroken(Broken):
    pass


def test_the_nearest_declared_class_decides() -> None:
    service = echo_service()
    service.declare_error(Broken, StatusCode.ABORTED)
    dispatcher = Dispatcher([service])
    method = dispatcher.methods["/tests.echo.v1.Echo/Unary"]
    assert str(dispatcher.status_of(method, VeryBroken("why"))) == "ABORTED (10): why"
    service.declare_error(VeryBroken, 15)
    assert str(dispatcher.status_of(method, VeryBroken("why"))) == "DATA_LOSS (15): why"
    assert str(dispatcher.status_of(method, RemoteProtocolError("torn"))) == "INTERNAL (13): torn"
    assert dispatcher.status_of(method, ValueError("secret")) is None
    with pytest.raises(ServiceDefinitionError, match="the code of Broken is declared twice"):
        service.declare_error(Broken, StatusCode.ABORTED)


def test_two_services_of_one_name_are_refused() -> None:
    with pytest.raises(ServiceDefinitionError, match="registered twice"):
        Dispatcher([echo_service(), echo_service()])


def test_a_service_shows_its_name() -> None:
    assert repr(echo_service()) == "<Service tests.echo.v1.Echo>"


@pytest.mark.parametrize("code", [0, 17, -1, 99])
def test_an_error_needs_a_status_other_than_ok(code: int) -> None:
    with pytest.raises(ValueError, match=r"RpcError needs a code other than OK|is not a valid StatusCode"):
        RpcError(code)


def test_an_error_carries_its_evidence() -> None:
    error = RpcError(5, "lone \ud800", [EchoReply(text="detail")])
    assert error.code is StatusCode.NOT_FOUND
    status = error.status_proto()
    assert (status.code, status.message, len(status.details)) == (5, "lone ?", 1)
    reply = EchoReply()
    assert status.details[0].Unpack(reply)
    assert reply.text == "detail"
    assert RpcError(5, "", status.details).status_proto().details[0] == status.details[0]


@pytest.mark.parametrize(
    ("methods", "allowed"),
    [(None, True), ({"a.S/M"}, True), ({"a.S/*"}, True), ({"a.S/N"}, False), ({"b.S/*"}, False), (set(), False)],
)
def test_an_identity_may_call_what_its_methods_name(methods: set[str] | None, allowed: bool) -> None:
    assert Identity(methods=None if methods is None else frozenset(methods)).may_call("a.S", "M") is allowed


def test_a_context_without_a_deadline_has_no_end() -> None:
    context = CallContext()
    assert context.remaining() is None
    context.check_deadline()
    with pytest.raises(RpcError, match="a stream of requests cannot be signed"):
        context.message_bytes  # noqa: B018


def test_a_context_past_its_deadline_says_so() -> None:
    context = CallContext(timeout=0)
    assert context.remaining() == 0
    with pytest.raises(RpcError, match="DEADLINE_EXCEEDED"):
        context.check_deadline()
    context.set_timeout(60)
    assert 59 < (context.remaining() or 0) <= 60


# Annotations

METHODS = ["Unary", "ServerStream", "ClientStream", "Bidi"]
AnyMessage = TypeVar("AnyMessage", bound=Message)
RIGHT: list[tuple[Any, Any]] = [
    (EchoRequest, EchoReply),
    ("EchoRequest", "EchoReply"),
    (Iterator[EchoRequest], Iterator[EchoReply]),
    ("Iterator[EchoRequest]", "Iterator[EchoReply]"),
    (Iterable["EchoRequest"], Generator["EchoReply", None, None]),
    (Annotated[EchoRequest, "of a caller"], Sequence[EchoReply]),
    ("EchoRequest | StringValue", "EchoReply | None"),
    (Union[EchoRequest, StringValue], Optional[EchoReply]),  # noqa: UP007, UP045
    (Message, Message),
    (AnyMessage, list[AnyMessage]),
    (Any, object),
    (str, "tuple[str, int]"),
    (dict[str, Any], Callable[[int], str]),
    ("No.Such", "Names['here']"),
    ("not even a type", ""),
    ("EveryField", "Iterator[EveryField]"),
    (None, None),
    (7, [EchoRequest]),
]
WRONG: list[tuple[Any, str]] = [
    (StringValue, "google.protobuf.StringValue"),
    ("StringValue", "google.protobuf.StringValue"),
    ("Iterator[StringValue]", "google.protobuf.StringValue"),
    (list[StringValue], "google.protobuf.StringValue"),
    ("Annotated[StringValue, 1] | None", "google.protobuf.StringValue"),
    (Union[BoolValue, StringValue], "google.protobuf.BoolValue and google.protobuf.StringValue"),  # noqa: UP007
]


if sys.version_info >= (3, 11):  # which looks at names inside of generic types
    WRONG.append((Iterator["StringValue"], "google.protobuf.StringValue"))


def annotated(method: str, request: Any, response: Any) -> Any:
    """A function that fits, but for its annotations."""
    if method in ("Unary", "ClientStream"):

        def function(request: Any, context: CallContext) -> Any:
            return EchoReply()
    else:

        def function(request: Any, context: CallContext) -> Any:
            yield EchoReply()

    function.__annotations__.update(request=request)
    function.__annotations__["return"] = response
    return function


@pytest.mark.parametrize("method", METHODS)
def test_annotations_that_fit_or_say_nothing_are_fine(method: str) -> None:
    def check(request: Any, response: Any) -> None:
        Service(ECHO).add_rpc(method, annotated(method, request, response))

    check_rows(check, RIGHT)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("annotation", "names"), [*WRONG, (EchoReply, "tests.echo.v1.EchoReply")])
def test_the_annotation_of_another_request_is_refused(method: str, annotation: Any, names: str) -> None:
    with pytest.raises(ServiceDefinitionError) as caught:
        Service(ECHO).add_rpc(method, annotated(method, annotation, EchoReply))
    text = str(caught.value)
    assert f"Echo/{method} takes tests.echo.v1.EchoRequest and returns tests.echo.v1.EchoReply" in text
    assert "the annotation of the request of <function annotated.<locals>.function at " in text
    assert text.endswith(f"> is {names}")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("annotation", "names"), [*WRONG, (EchoRequest, "tests.echo.v1.EchoRequest")])
def test_the_annotation_of_another_response_is_refused(method: str, annotation: Any, names: str) -> None:
    with pytest.raises(ServiceDefinitionError, match=rf"the annotation of the response of <function .*> is {names}$"):
        Service(ECHO).add_rpc(method, annotated(method, "EchoRequest", annotation))


def takes_another(request: StringValue, context: CallContext) -> EchoReply:
    return EchoReply()


class Functions:
    def takes_another(self, request: StringValue, context: CallContext) -> EchoReply:
        return EchoReply()

    def __call__(self, request: EchoRequest, context: CallContext) -> EchoReply:
        return EchoReply()


@functools.wraps(takes_another)
def decorated(*args: Any) -> Any:
    return takes_another(*args)


@pytest.mark.parametrize("function", [takes_another, decorated, Functions().takes_another])
def test_annotations_of_every_kind_of_function_are_seen(function: Any) -> None:
    with pytest.raises(ServiceDefinitionError, match=r"the annotation of the request of .* is google\.protobuf"):
        Service(ECHO).add_rpc("Unary", function)


@pytest.mark.parametrize(
    "function", [Functions(), functools.partial(takes_another), lambda request, context: EchoReply()]
)
def test_what_cannot_be_resolved_is_left_alone(function: Any) -> None:
    Service(ECHO).add_rpc("Unary", function)


def making(decorate: Callable[[Any], Any], function: Any) -> Any:
    return functools.wraps(function)(decorate(function))


def value_of(request: EchoRequest, context: CallContext) -> StringValue:
    return StringValue()


def values_of(request: EchoRequest, context: CallContext) -> list[StringValue]:
    return [StringValue()]


def with_user(user: str, request: EchoRequest, context: CallContext) -> EchoReply:
    return EchoReply()


async def awaited(request: EchoRequest, context: CallContext) -> EchoReply:
    return EchoReply()


@pytest.mark.parametrize(
    ("method", "function"),
    [
        ("Unary", making(lambda f: lambda request, context: EchoReply(text=f(request, context).value), value_of)),
        ("Unary", making(lambda f: lambda *args: EchoReply(text=f(*args).value), value_of)),
        ("Unary", making(lambda f: lambda request, context: f(StringValue(), context), takes_another)),
        ("Unary", making(lambda f: lambda request, context: f("user", request, context), with_user)),
        ("Unary", making(lambda f: lambda *args: asyncio.run(f(*args)), awaited)),
        ("Unary", functools.cache(returns)),
        ("ServerStream", making(lambda f: lambda *args: (yield from map(EchoReply, f(*args))), values_of)),
    ],
)
def test_a_decorator_may_make_others_of_arguments_and_results(method: str, function: Any) -> None:
    Service(ECHO).add_rpc(method, function)


@pytest.mark.parametrize("decorate", [lambda f: lambda *args: f(*args), functools.cache])
def test_a_decorator_that_hands_on_its_arguments_hides_none_that_are_missing(decorate: Callable[[Any], Any]) -> None:
    with pytest.raises(ServiceDefinitionError, match=r"must take \(request, context\)"):
        Service(ECHO).add_rpc("Unary", making(decorate, takes_one))
