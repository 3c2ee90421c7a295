"""How calls end: what is let go before, what the caller gets, what is told of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from flask_grpcweb_scm.rpc import CallContext, StatusCode, StreamReply
from flask_grpcweb_scm.settings import Settings
from tests.echo_pb2 import EchoReply, EchoRequest
from tests.grpcweb import frame
from tests.rpc.support import HI, Served, answer

SMALL, LARGE = EchoReply(text="small"), EchoReply(text="large" * 10)
ROOM_FOR_SMALL = Settings(max_response_bytes=20)


def streaming(notes: list[object], *replies: object) -> Any:
    """A function that streams `replies` and notes that it was closed."""

    def function(request: EchoRequest, context: CallContext) -> Iterator[object]:
        try:
            yield from replies
        finally:
            notes.append("closed")

    return function


@pytest.mark.parametrize(
    ("replies", "code"),
    [
        ([], StatusCode.OK),
        ([SMALL], StatusCode.OK),
        ([LARGE, SMALL], StatusCode.RESOURCE_EXHAUSTED),
        ([SMALL, LARGE, SMALL], StatusCode.RESOURCE_EXHAUSTED),
        (["no message", SMALL], StatusCode.INTERNAL),
        ([SMALL, "no message", SMALL], StatusCode.INTERNAL),
    ],
    ids=["empty", "whole", "first too large", "second too large", "first of a wrong type", "second of a wrong type"],
)
def test_a_stream_is_closed_before_its_end_is_told(replies: list[object], code: StatusCode) -> None:
    notes: list[object] = []
    served = Served("ServerStream", streaming(notes, *replies), notes, settings=ROOM_FOR_SMALL)
    assert answer(served.run()).code == code
    assert notes == ["closed", code]


def test_a_stream_whose_client_goes_is_closed_before_its_end_is_told() -> None:
    notes: list[object] = []
    reply = Served("ServerStream", streaming(notes, SMALL, SMALL), notes).run()
    assert isinstance(reply, StreamReply)
    assert notes == []
    reply.close()
    assert notes == ["closed", StatusCode.CANCELLED]


def test_a_function_that_fails_to_close_after_its_first_response_is_answered_once() -> None:
    def function(request: EchoRequest, context: CallContext) -> Iterator[EchoReply]:
        try:
            yield LARGE
        finally:
            raise ValueError("while closing")

    notes: list[object] = []
    got = answer(Served("ServerStream", function, notes, settings=ROOM_FOR_SMALL).run())
    assert (got.code, got.message) == (13, "translated while closing")
    assert notes == [StatusCode.INTERNAL]


def dribble() -> Iterator[bytes]:
    while True:
        time.sleep(0.005)
        yield frame(HI)


def read_all(requests: Iterator[EchoRequest], context: CallContext) -> EchoReply:
    return EchoReply(number=sum(1 for _ in requests))


def read_all_first(requests: Iterator[EchoRequest], context: CallContext) -> Iterator[EchoReply]:
    yield read_all(requests, context)


@pytest.mark.parametrize(("method", "function"), [("ClientStream", read_all), ("Bidi", read_all_first)])
def test_a_deadline_ends_a_stream_of_requests_that_goes_on(method: str, function: Any) -> None:
    notes: list[object] = []
    assert answer(Served(method, function, notes, chunks=dribble(), headers={"grpc-timeout": "50m"}).run()).code == 4
    assert notes == [StatusCode.DEADLINE_EXCEEDED]


def late_second_reply(request: EchoRequest, context: CallContext) -> Iterator[EchoReply]:
    yield SMALL
    time.sleep(context.remaining() or 0)
    yield SMALL


def late_end(request: EchoRequest, context: CallContext) -> Iterator[EchoReply]:
    yield SMALL
    time.sleep(context.remaining() or 0)


@pytest.mark.parametrize("function", [late_second_reply, late_end])
def test_a_deadline_amid_a_stream_comes_in_its_trailers(function: Any) -> None:
    got = answer(Served("ServerStream", function, [], headers={"grpc-timeout": "500m"}).run())
    assert (len(got.payloads), got.trailers["grpc-status"]) == (1, "4")


@pytest.mark.parametrize("error", [KeyError("secret"), RecursionError("secret"), StopIteration("secret"), OSError()])
@pytest.mark.parametrize("method", ["Unary", "ClientStream"])
def test_any_exception_of_a_function_is_answered(method: str, error: Exception) -> None:
    def function(request: Any, context: CallContext) -> EchoReply:
        raise error

    notes: list[object] = []
    assert answer(Served(method, function, notes).run()).code == 13
    assert notes == [StatusCode.INTERNAL]
