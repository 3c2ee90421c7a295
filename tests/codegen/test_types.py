"""What ``mypy --strict`` finds in the functions of a typed service, and in generated code."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.codegen.hostile import SERVICES, generate
from tests.codegen.test_page import write_greeter
from tests.mypy_runs import assert_only_marked_errors
from tests.test_proto import GENERATOR

CORRECT = """\
from collections.abc import AsyncIterator, Generator, Iterable, Iterator
from typing import Any

from flask_grpcweb_scm import CallContext, GrpcWebScm
from tests.echo_pb2 import EchoReply, EchoRequest
from tests.echo_rpc import Absent, Echo

echo = Echo()
GrpcWebScm(services=[echo, Absent()])


@echo.Unary
def unary(request: EchoRequest, context: CallContext) -> EchoReply:
    return EchoReply(text=request.text)


@echo.ServerStream
def server_stream(request: EchoRequest, context: CallContext) -> Iterator[EchoReply]:
    yield EchoReply(text=request.text)


@echo.ClientStream
def client_stream(requests: Iterator[EchoRequest], context: CallContext, limit: int = 3) -> EchoReply:
    return EchoReply(text="".join(request.text for request in requests)[:limit])


@echo.Bidi
def bidi(requests: Iterable[EchoRequest], context: CallContext) -> Generator[EchoReply, None, None]:
    yield from (EchoReply(text=request.text) for request in requests)


echo.unimplemented("Missing")

# Their own signatures stay.
reply: EchoReply = unary(request=EchoRequest(), context=CallContext())
text: str = next(server_stream(EchoRequest(), CallContext())).text
client_stream(iter([EchoRequest()]), CallContext(), limit=2)
bidi([EchoRequest()], CallContext()).close()


class Greetings:
    def greet(self, request: EchoRequest, context: CallContext) -> EchoReply:
        return EchoReply()


def generic(request: Any, context: CallContext) -> Any:
    return EchoReply()


other = Echo()
other.Unary(Greetings().greet)
other.Unary(lambda request, context: EchoReply(text=request.text))
other.Missing(generic)


@other.ServerStream(batch=True)
def at_once(request: EchoRequest, context: CallContext) -> list[EchoReply]:
    return [EchoReply()]


@other.Bidi(batch=True)
def half_duplex(requests: Iterator[EchoRequest], context: CallContext) -> Iterator[EchoReply]:
    yield EchoReply()


replies: list[EchoReply] = at_once(EchoRequest(), CallContext())


@other.rpc("ClientStream")
def untyped(requests: Iterator[EchoRequest], context: CallContext) -> EchoReply:
    return EchoReply()


in_async = Echo()


@in_async.Unary
async def a_unary(request: EchoRequest, context: CallContext) -> EchoReply:
    return EchoReply()


@in_async.ServerStream
async def a_server_stream(request: EchoRequest, context: CallContext) -> AsyncIterator[EchoReply]:
    yield EchoReply()


@Echo().ServerStream(batch=bool(reply.number))
def as_configured(request: EchoRequest, context: CallContext) -> Iterator[EchoReply]:
    yield EchoReply()


@Echo().ServerStream(batch=True)
async def a_list(request: EchoRequest, context: CallContext) -> list[EchoReply]:
    return []


@Echo().Bidi(batch=True)
async def a_list_of_a_stream(requests: AsyncIterator[EchoRequest], context: CallContext) -> list[EchoReply]:
    return [EchoReply() async for request in requests]


@in_async.ClientStream
async def a_client_stream(requests: AsyncIterator[EchoRequest], context: CallContext) -> EchoReply:
    return EchoReply(text="".join([request.text async for request in requests]))


@in_async.Bidi
async def a_bidi(requests: AsyncIterator[EchoRequest], context: CallContext) -> AsyncIterator[EchoReply]:
    async for request in requests:
        yield EchoReply(text=request.text)
"""

MISTAKES = """\
from collections.abc import AsyncIterator, Iterator

from flask_grpcweb_scm import CallContext, CallNext, GrpcWebScm, RpcError, StatusCode
from tests.echo_pb2 import EchoReply, EchoRequest
from tests.echo_rpc import Ech  # error: attr-defined
from tests.echo_rpc import Absent, Echo

echo = Echo()


@echo.Unary  # error: type-var
def wrong_request(request: EchoReply, context: CallContext) -> EchoReply:
    return EchoReply()


@echo.Unary  # error: type-var
def wrong_response(request: EchoRequest, context: CallContext) -> EchoRequest:
    return request


@echo.Unary  # error: type-var
def streams_where_one_is_wanted(request: EchoRequest, context: CallContext) -> Iterator[EchoReply]:
    yield EchoReply()


@echo.ServerStream  # error: type-var
def does_not_stream(request: EchoRequest, context: CallContext) -> EchoReply:
    return EchoReply()


@echo.ServerStream  # error: type-var
def streams_another_message(request: EchoRequest, context: CallContext) -> Iterator[EchoRequest]:
    yield request


@echo.ServerStream  # error: type-var
def returns_a_list_without_batch(request: EchoRequest, context: CallContext) -> list[EchoReply]:
    return []


@echo.ServerStream(batch=True)  # error: type-var
def has_one_response_for_a_batch(request: EchoRequest, context: CallContext) -> EchoReply:
    return EchoReply()


@echo.ClientStream  # error: type-var
def takes_one_of_a_stream(request: EchoRequest, context: CallContext) -> EchoReply:
    return EchoReply()


@echo.Bidi  # error: type-var
def takes_a_stream_of_others(requests: Iterator[EchoReply], context: CallContext) -> Iterator[EchoReply]:
    yield from requests


@echo.Unary  # error: type-var
def takes_a_stream_of_one(requests: Iterator[EchoRequest], context: CallContext) -> EchoReply:
    return EchoReply()


@echo.Unary  # error: type-var
def lacks_the_context(request: EchoRequest) -> EchoReply:
    return EchoReply()


@echo.Unary  # error: type-var
def has_them_the_other_way_round(context: CallContext, request: EchoRequest) -> EchoReply:
    return EchoReply()


@echo.Unary  # error: type-var
def needs_more(request: EchoRequest, context: CallContext, limit: int) -> EchoReply:
    return EchoReply()


@echo.Unary  # error: type-var
def returns_nothing(request: EchoRequest, context: CallContext) -> None: ...


@echo.Unary  # error: type-var
def may_return_nothing(request: EchoRequest, context: CallContext) -> EchoReply | None:
    return None


@echo.Unary
def reads_another_field(request: EchoRequest, context: CallContext) -> EchoReply:
    return EchoReply(text=request.name)  # error: attr-defined


@echo.Unary
def fills_in_another_field(request: EchoRequest, context: CallContext) -> EchoReply:
    return EchoReply(count=1)  # error: call-arg


@echo.Unari  # error: attr-defined untyped-decorator
def misspelt(request: EchoRequest, context: CallContext) -> EchoReply:
    return EchoReply()


@Absent().Unary  # error: attr-defined untyped-decorator
def of_another_service(request: EchoRequest, context: CallContext) -> EchoReply:
    return EchoReply()


@echo.Unary(batch=True)  # error: call-arg untyped-decorator
def batches_one(request: EchoRequest, context: CallContext) -> EchoReply:
    return EchoReply()


@echo.Unary  # error: type-var
async def in_async_with_another_response(request: EchoRequest, context: CallContext) -> EchoRequest:
    return request


@echo.ServerStream  # error: type-var
async def in_async_does_not_stream(request: EchoRequest, context: CallContext) -> EchoReply:
    return EchoReply()


@echo.ClientStream  # error: type-var
async def in_async_takes_a_stream_that_is_not(requests: Iterator[EchoRequest], context: CallContext) -> EchoReply:
    return EchoReply()


@echo.Bidi  # error: type-var
def takes_an_async_stream(requests: AsyncIterator[EchoRequest], context: CallContext) -> Iterator[EchoReply]:
    yield EchoReply()


echo.Unary(reads_another_field)(EchoReply(), CallContext())  # error: arg-type
reads_another_field(EchoRequest())  # error: call-arg
Echo("Echo")  # error: call-arg
GrpcWebScm(services=[Echo])  # error: list-item
echo.unimplemented("Missed")  # error: arg-type
Absent().unimplemented("Call", "Unary")  # error: arg-type
echo.declare_error(KeyError, "NOT_FOUND")  # error: arg-type
echo.declare_error(str, StatusCode.NOT_FOUND)  # error: type-var
RpcError("NOT_FOUND")  # error: arg-type


@echo.intercept  # error: type-var
def intercepts_without_the_next(request: EchoRequest, context: CallContext) -> EchoReply:
    return EchoReply()


@echo.intercept  # error: type-var
def intercepts_with_another_context(request: EchoRequest, context: str, call_next: CallNext) -> object:
    return call_next(request, CallContext())
"""


@pytest.mark.needs("mypy")
def test_mypy_finds_every_mistake_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "correct.py").write_text(CORRECT)
    (tmp_path / "mistakes.py").write_text(MISTAKES)
    files = ["correct.py", "mistakes.py"]
    if GENERATOR.exists():
        generate(tmp_path)
        write_greeter(tmp_path)
        files += [*SERVICES, "app.py", "greeter_rpc.py"]
    assert_only_marked_errors(tmp_path, *files)
