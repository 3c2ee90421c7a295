"""Answers to the byte: what clients were seen to read, as wire formats and not as our own reader has them."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest

from flask_grpcweb_scm.rpc import CallContext, Pairs, RpcError, StatusCode, codecs
from flask_grpcweb_scm.rpc.protocols.grpc_web import LARGE_BYTES
from flask_grpcweb_scm.settings import Settings
from flask_grpcweb_scm.wire import ENCODINGS
from tests.echo_pb2 import EchoReply, EchoRequest
from tests.grpcweb import frame
from tests.rpc.support import HI, Served, parts

BINARY, TEXT = "application/grpc-web", "application/grpc-web-text"
OK = frame(b"grpc-status: 0\r\n", 0x80)
MESSAGE = frame(b"\n\x02HI")
# Whether there is a space in it depends on who writes it.
JSON_MESSAGE = frame(codecs()["json"].encode(EchoReply(text="HI")))


def upper(request: EchoRequest, context: CallContext) -> EchoReply:
    return EchoReply(text=request.text.upper())


@pytest.mark.parametrize(
    ("content_type", "headers", "expected", "body"),
    [
        pytest.param(BINARY, {}, BINARY, MESSAGE + OK, id="bare"),
        pytest.param(BINARY + "+proto", {}, BINARY + "+proto", MESSAGE + OK, id="proto"),
        pytest.param(BINARY + "+json", {}, BINARY + "+json", JSON_MESSAGE + OK, id="json"),
        pytest.param(TEXT, {}, TEXT, base64.b64encode(MESSAGE + OK), id="text"),
        pytest.param(TEXT + "+json", {}, TEXT + "+json", base64.b64encode(JSON_MESSAGE + OK), id="text json"),
        pytest.param(BINARY, {"accept": TEXT}, TEXT, base64.b64encode(MESSAGE + OK), id="text is accepted"),
        pytest.param(TEXT, {"accept": BINARY}, BINARY, MESSAGE + OK, id="binary is accepted"),
        pytest.param(TEXT, {"accept": "*/*"}, TEXT, base64.b64encode(MESSAGE + OK), id="anything is accepted"),
    ],
)
def test_a_success_mirrors_the_request_or_is_as_accepted(
    content_type: str, headers: dict[str, str], expected: str, body: bytes
) -> None:
    payload = frame(b'{"text": "hi"}' if content_type.endswith("json") else HI)
    chunks = iter([base64.b64encode(payload) if "-text" in content_type else payload])
    reply = Served("Unary", upper, chunks=chunks, content_type=content_type, headers=headers).run()
    assert parts(reply) == ([("content-type", expected), ("grpc-status", "0")], [body])


@pytest.mark.parametrize(
    ("method", "settings", "headers"),
    [
        pytest.param("Unary", Settings(), {"x-grpc-web": "1"}, id="browser client"),
        pytest.param("Unary", Settings(status_header=False), {}, id="turned off"),
        pytest.param("ServerStream", Settings(), {}, id="stream"),
    ],
)
def test_the_status_is_not_in_the_headers_too(method: str, settings: Settings, headers: dict[str, str]) -> None:
    def once(request: EchoRequest, context: CallContext) -> Iterator[EchoReply]:
        yield upper(request, context)

    function = upper if method == "Unary" else once
    reply = Served(method, function, settings=settings, headers=headers).run()
    headers, pieces = parts(reply)
    assert headers == [("content-type", BINARY + "+proto")]
    assert b"".join(pieces) == MESSAGE + OK


def test_metadata_is_one_line_a_name_and_binary_values_are_unpadded() -> None:
    def function(request: EchoRequest, context: CallContext) -> EchoReply:
        for metadata in (context.initial_metadata, context.trailing_metadata):
            metadata.add("X-Many", "1")
            metadata.add("x-some-bin", b"\0")
            metadata.add("x-many", "2")
            metadata.add("x-some-bin", b"\xff\xff")
        return EchoReply()

    reply = Served("Unary", function, headers={"x-grpc-web": "1"}).run()
    headers, pieces = parts(reply)
    assert headers[1:] == [("x-many", "1,2"), ("x-some-bin", "AA,//8")]
    trailers = b"grpc-status: 0\r\nx-many: 1,2\r\nx-some-bin: AA,//8\r\n"
    assert b"".join(pieces) == frame(b"") + frame(trailers, 0x80)


def refuse(message: str, *, code: StatusCode = StatusCode.NOT_FOUND, trailing: bool = False) -> Any:
    def function(request: EchoRequest, context: CallContext) -> EchoReply:
        if trailing:
            context.trailing_metadata.add("x-a", "1")
        raise RpcError(code, message)

    return function


TYPE = ("content-type", BINARY + "+proto")
ACCEPTED = ("grpc-accept-encoding", ",".join(["identity", *ENCODINGS]))


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        pytest.param(
            refuse("no 100 % größe\n"),
            ([TYPE, ("grpc-status", "5"), ("grpc-message", "no 100 %25 gr%C3%B6%C3%9Fe%0A")], []),
            id="trailers-only",
        ),
        pytest.param(
            refuse("\ud800", code=StatusCode.UNIMPLEMENTED),
            ([TYPE, ACCEPTED, ("grpc-status", "12"), ("grpc-message", "?")], []),
            id="unimplemented",
        ),
        pytest.param(
            refuse("no", trailing=True),
            ([TYPE], [frame(b"grpc-status: 5\r\ngrpc-message: no\r\nx-a: 1\r\n", 0x80)]),
            id="with metadata",
        ),
    ],
)
def test_an_error_is_answered_in_one_place(function: Any, expected: tuple[Pairs, list[bytes]]) -> None:
    assert parts(Served("Unary", function).run()) == expected


@pytest.mark.parametrize("length", [10, 3000, 100_000])
def test_a_refusal_fits_into_the_headers_that_servers_take(length: int) -> None:
    headers, _ = parts(Served("Unary", refuse("ü" * length)).run())
    assert sum(len(name) + len(value) + 4 for name, value in headers) < 8192


def test_trailers_are_not_compressed_and_flags_say_what_is() -> None:
    settings = Settings(compression_min_bytes=0)
    headers = {"grpc-accept-encoding": "br;q=1, GZIP", "x-grpc-web": "1"}
    reply = Served("Unary", upper, settings=settings, headers=headers).run()
    compressed = frame(ENCODINGS["gzip"].compress(b"\n\x02HI"), 1)
    assert parts(reply) == ([TYPE, ("grpc-encoding", "gzip")], [compressed + OK])


def test_a_large_message_is_handed_on_as_it_is() -> None:
    text = "x" * (LARGE_BYTES + 1)
    reply = Served("Unary", lambda request, context: EchoReply(text=text)).run()
    _, pieces = parts(reply)
    message = EchoReply(text=text).SerializeToString()
    assert pieces == [frame(message)[:5], message, OK]


def test_a_message_that_compression_makes_short_is_one_piece() -> None:
    served = Served(
        "Unary",
        lambda request, context: EchoReply(text="x" * (LARGE_BYTES + 1)),
        headers={"grpc-accept-encoding": "gzip", "x-grpc-web": "1"},
        settings=Settings(compression_min_bytes=1),
    )
    assert len(parts(served.run())[1]) == 1
