"""Responses of Connect to the byte, and the parts of requests that no client sends."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.struct_pb2 import Struct

from flask_grpcweb_scm.rpc import CallContext, Reply, RpcError, StatusCode, StreamReply
from flask_grpcweb_scm.settings import Settings
from flask_grpcweb_scm.wire import ENCODINGS
from tests.connect import JSON, PROTO, STREAM_JSON, STREAM_PROTO, frame
from tests.echo_pb2 import EchoReply, EchoRequest
from tests.rpc.support import HI, Served, parts

HI_IN_JSON = b'{"text":"hi"}'
MESSAGE = b"\n\x02HI"
END = frame(b"{}", 2)


def upper(request: EchoRequest, context: CallContext) -> EchoReply:
    return EchoReply(text=request.text.upper())


def twice(request: EchoRequest, context: CallContext) -> Iterator[EchoReply]:
    yield upper(request, context)
    yield upper(request, context)


def last(requests: Iterator[EchoRequest], context: CallContext) -> EchoReply:
    return upper([*requests][-1], context)


def serve(method: str, function: Any, body: bytes, content_type: str, **options: Any) -> Reply | StreamReply:
    return Served(method, function, chunks=iter([body]), content_type=content_type, **options).run()


@pytest.mark.parametrize(
    ("method", "function", "body", "content_type", "expected"),
    [
        ("Unary", upper, HI, PROTO, MESSAGE),
        ("Unary", upper, HI_IN_JSON, JSON, b'{"text":"HI"}'),
        ("Unary", upper, b"", PROTO, b""),
        ("ServerStream", twice, frame(HI), STREAM_PROTO, frame(MESSAGE) * 2 + END),
        ("ServerStream", twice, frame(HI_IN_JSON), STREAM_JSON, frame(b'{"text":"HI"}') * 2 + END),
        ("ClientStream", last, frame(b"") + frame(HI), STREAM_PROTO, frame(MESSAGE) + END),
    ],
)
def test_a_success_mirrors_the_request(
    method: str, function: Any, body: bytes, content_type: str, expected: bytes
) -> None:
    headers, pieces = parts(serve(method, function, body, content_type))
    assert headers == [("content-type", content_type)]
    assert b"".join(pieces).replace(b'": "', b'":"') == expected.replace(b'": "', b'":"')


@pytest.mark.parametrize("step", [1, 2, 7])
def test_a_body_may_come_in_any_chunks(step: int) -> None:
    chunks = (HI[start : start + step] for start in range(0, len(HI), step))
    assert parts(Served("Unary", upper, chunks=chunks, content_type=PROTO).run())[1] == [MESSAGE]


def test_metadata_is_in_the_headers_of_unary_calls_and_in_the_end_of_streams() -> None:
    def add(context: CallContext) -> None:
        for metadata in (context.initial_metadata, context.trailing_metadata):
            metadata.add("X-Many", "1")
            metadata.add("x-some-bin", b"\xff")
            metadata.add("x-many", "2")

    def unary(request: EchoRequest, context: CallContext) -> EchoReply:
        add(context)
        return EchoReply()

    def stream(request: EchoRequest, context: CallContext) -> Iterator[EchoReply]:
        add(context)
        yield EchoReply()

    initial = [("x-many", "1,2"), ("x-some-bin", "/w")]
    headers, _ = parts(serve("Unary", unary, HI, PROTO))
    assert headers[1:] == [*initial, ("trailer-x-many", "1,2"), ("trailer-x-some-bin", "/w")]
    headers, pieces = parts(serve("ServerStream", stream, frame(HI), STREAM_PROTO))
    assert headers[1:] == initial
    assert pieces[-1] == frame(b'{"metadata":{"x-many":["1","2"],"x-some-bin":["/w"]}}', 2)


@pytest.mark.parametrize(
    ("detail", "expected"),
    [
        (Struct(), b'{"type":"google.protobuf.Struct","value":"","debug":{}}'),
        (
            AnyMessage(type_url="type.googleapis.com/tests.echo.v1.EchoReply", value=MESSAGE),
            b'{"type":"tests.echo.v1.EchoReply","value":"CgJISQ","debug":{"text":"HI"}}',
        ),
        (AnyMessage(type_url="example.com/a.b/no.Such", value=b"\xff"), b'{"type":"no.Such","value":"/w"}'),
        (
            AnyMessage(type_url="type.googleapis.com/tests.echo.v1.EchoReply", value=b"\xff"),
            b'{"type":"tests.echo.v1.EchoReply","value":"/w"}',
        ),
        (AnyMessage(), b'{"type":"","value":""}'),
    ],
)
def test_details_are_read_by_people_too_where_their_type_is_known(detail: Any, expected: bytes) -> None:
    def fail(request: EchoRequest, context: CallContext) -> EchoReply:
        raise RpcError(StatusCode.ABORTED, "no", [detail])

    reply = serve("Unary", fail, HI, PROTO)
    assert isinstance(reply, tuple)
    status, headers, pieces = reply
    assert (status, headers[0]) == ("409 Conflict", ("content-type", "application/json"))
    assert pieces == [b'{"code":"aborted","message":"no","details":[' + expected + b"]}"]


@pytest.mark.parametrize("method", ["ServerStream", "ClientStream"])
def test_an_error_of_a_stream_is_its_end(method: str) -> None:
    def fail(request: object, context: CallContext) -> Any:
        context.initial_metadata.add("x-a", "1")
        raise RpcError(StatusCode.NOT_FOUND, "no")

    def fail_in_stream(request: object, context: CallContext) -> Iterator[EchoReply]:
        yield fail(request, context)

    function = fail_in_stream if method == "ServerStream" else fail
    headers, pieces = parts(serve(method, function, frame(HI), STREAM_PROTO))
    assert headers == [("content-type", STREAM_PROTO), ("x-a", "1")]
    assert pieces == [frame(b'{"error":{"code":"not_found","message":"no"}}', 2)]


def test_flags_say_what_is_compressed_and_the_end_is_not() -> None:
    headers = {"connect-accept-encoding": "br;q=0, GZIP"}
    reply = serve(
        "ServerStream", twice, frame(HI), STREAM_PROTO, headers=headers, settings=Settings(compression_min_bytes=0)
    )
    compressed = frame(ENCODINGS["gzip"].compress(MESSAGE), 1)
    assert parts(reply) == (
        [("content-type", STREAM_PROTO), ("connect-content-encoding", "gzip")],
        [compressed, compressed, END],
    )


def test_a_caller_accepts_the_compression_that_it_uses() -> None:
    body, settings = ENCODINGS["gzip"].compress(HI), Settings(compression_min_bytes=0)
    headers, pieces = parts(serve("Unary", upper, body, PROTO, headers={"content-encoding": "gzip"}, settings=settings))
    assert headers[1:] == [("content-encoding", "gzip")]
    assert pieces == [ENCODINGS["gzip"].compress(MESSAGE)]


@pytest.mark.parametrize("length", ["101", "9" * 18, "9" * 5000])
def test_a_body_that_says_that_it_is_too_long_is_not_read(length: str) -> None:
    served = Served("Unary", upper, chunks=iter(()), content_type=PROTO, settings=Settings(max_message_bytes=100))
    served.call.environ["CONTENT_LENGTH"] = length
    reply = served.run()
    assert isinstance(reply, tuple)
    assert reply[0] == "429 Too Many Requests"
    assert b"over the limit of 100 bytes" in reply[2][0]
    assert not served.call.is_read


def test_a_body_that_says_nothing_is_read_up_to_the_limit() -> None:
    read = []

    def chunks() -> Iterator[bytes]:
        for _ in range(10):
            read.append(60)
            yield b"x" * 60

    settings = Settings(max_message_bytes=100)
    reply = Served("Unary", upper, chunks=chunks(), content_type=PROTO, settings=settings).run()
    assert isinstance(reply, tuple)
    assert reply[0] == "429 Too Many Requests"
    assert len(read) == 2
