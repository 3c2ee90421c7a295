"""Responses of gRPC to the byte: messages in the body, and the status where its trailers come from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf.struct_pb2 import Struct

from flask_grpcweb_scm.rpc import CallContext, RpcError, StatusCode, StreamReply
from flask_grpcweb_scm.rpc.protocols import PROTOCOLS, TRAILERS_KEY, Protocols
from flask_grpcweb_scm.rpc.protocols.framed import LARGE_BYTES
from flask_grpcweb_scm.settings import Settings
from flask_grpcweb_scm.wire import ENCODINGS
from tests.echo_pb2 import EchoReply, EchoRequest
from tests.grpcweb import frame
from tests.rpc.support import HI, GivenBody, Served, serve
from tests.tables import check_rows

GRPC, JSON = "application/grpc", "application/grpc+json"
MESSAGE = frame(b"\n\x02HI")


def upper(request: EchoRequest, context: CallContext) -> EchoReply:
    context.initial_metadata.add("x-first", "1")
    context.trailing_metadata.add("x-last-bin", b"\xff")
    return EchoReply(text=request.text.upper())


def twice(request: EchoRequest, context: CallContext) -> Iterator[EchoReply]:
    yield upper(request, context)
    yield EchoReply(text=request.text.upper())


def fails(request: EchoRequest, context: CallContext) -> EchoReply:
    upper(request, context)
    raise RpcError(StatusCode.NOT_FOUND, "näh", [Struct()])


def served(method: str, function: Any, **options: Any) -> tuple[list[tuple[str, str]], bytes, list[tuple[str, str]]]:
    """Headers, body and trailers of a stream."""
    call = Served(method, function, content_type=options.pop("content_type", GRPC), **options)
    reply = call.run()
    trailers = call.call.environ[TRAILERS_KEY]
    if isinstance(reply, StreamReply):
        return reply.headers, b"".join(reply), trailers
    status, headers, pieces = reply
    assert status == "200 OK"
    return headers, b"".join(pieces), trailers


def test_a_unary_response_has_its_status_in_headers_until_it_is_sent() -> None:
    headers, body, trailers = served("Unary", upper)
    assert headers == [
        ("content-type", GRPC),
        ("x-first", "1"),
        ("grpc-status", "0"),
        ("grpc-trailer-x-last-bin", "/w"),
    ]
    assert (body, trailers) == (MESSAGE, [])


def test_a_stream_leaves_its_status_for_its_end() -> None:
    headers, body, trailers = served("ServerStream", twice)
    # Those that the function adds before its first message.
    assert headers == [("content-type", GRPC), ("x-first", "1")]
    assert (body, trailers) == (MESSAGE * 2, [("grpc-status", "0"), ("x-last-bin", "/w")])


@pytest.mark.parametrize("method", ["Unary", "ServerStream"])
def test_an_error_has_message_details_and_metadata(method: str) -> None:
    def stream(request: EchoRequest, context: CallContext) -> Iterator[EchoReply]:
        yield fails(request, context)

    headers, body, trailers = served(method, fails if method == "Unary" else stream)
    assert body == b""
    assert trailers == []
    assert headers[:2] == [("content-type", GRPC), ("x-first", "1")]
    names = [name for name, _ in headers[2:]]
    assert names == ["grpc-status", "grpc-message", "grpc-status-details-bin", "grpc-trailer-x-last-bin"]
    assert [value for _, value in headers[2:4]] == ["5", "n%C3%A4h"]


def test_an_error_after_a_message_is_at_the_end() -> None:
    def function(request: EchoRequest, context: CallContext) -> Iterator[EchoReply]:
        yield upper(request, context)
        raise RpcError(StatusCode.ABORTED, "enough")

    _, body, trailers = served("ServerStream", function)
    assert body == MESSAGE
    assert trailers == [("grpc-status", "10"), ("grpc-message", "enough"), ("x-last-bin", "/w")]


def test_messages_are_in_json_where_the_request_is() -> None:
    headers, body, _ = served("Unary", upper, content_type=JSON, chunks=iter([frame(b'{"text": "hi"}')]))
    assert headers[0] == ("content-type", JSON)
    assert json.loads(body[5:]) == {"text": "HI"}


def test_a_long_message_is_not_copied_into_one_piece() -> None:
    call = Served("Unary", lambda request, context: EchoReply(text="a" * LARGE_BYTES), content_type=GRPC).call
    _, _, pieces = serve(call)  # type: ignore[misc]
    assert len(pieces) == 2


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_responses_are_compressed_as_the_caller_accepts(encoding: str) -> None:
    def zeros(request: EchoRequest, context: CallContext) -> EchoReply:
        return EchoReply(text="0" * 5000)

    options = {"settings": Settings(compression_min_bytes=100), "headers": {"grpc-accept-encoding": encoding}}
    headers, body, _ = served("Unary", zeros, **options)
    assert ("grpc-encoding", encoding) in headers
    assert body[0] == 1
    assert len(body) < 1000


def test_a_request_is_grpc_by_its_content_type_where_trailers_can_be_sent() -> None:
    def check(content_type: str, name: str | None, *, has_trailers: bool = True) -> None:
        environ: dict[str, Any] = {"REQUEST_METHOD": "POST", "CONTENT_TYPE": content_type}
        if has_trailers:
            environ[TRAILERS_KEY] = []
        found = Protocols().find(environ)
        assert (found and found.name) == name
        assert Protocols().lacks_trailers(environ) == (not has_trailers and name is None)
        without = Protocols([name for name in PROTOCOLS if name != "grpc"])
        assert without.find(environ) is (None if name == "grpc" else found)
        assert not without.lacks_trailers(environ)

    check_rows(
        lambda content_type, name, *flag: check(content_type, name, has_trailers=not flag),
        [
            ("application/grpc", "grpc"),
            ("application/grpc+proto", "grpc"),
            ("Application/GRPC+Json", "grpc"),
            ("application/grpc; charset=utf-8", "grpc"),
            ("application/grpc-web", "grpc-web"),
            ("application/grpc", None, "no trailers"),
            ("application/grpc-web", "grpc-web", "no trailers"),
        ],
    )


def test_the_lane_looks_for_the_protocol_again_because_the_server_is_no_part_of_its_key() -> None:
    call = Served("Unary", upper, content_type=GRPC).call
    assert not call.endpoint.protocol.is_found_by_key
    assert Served("Unary", upper).call.endpoint.protocol.is_found_by_key


def test_a_body_without_a_message_is_refused() -> None:
    call = Served("Unary", upper, content_type=GRPC, chunks=iter([])).call
    _, headers, pieces = serve(call)  # type: ignore[misc]
    assert ("grpc-status", "12") in headers
    assert pieces == []


def test_a_body_at_once_is_read_as_one_in_chunks_is() -> None:
    whole = Served("Unary", upper, content_type=GRPC)
    chunks = Served("Unary", upper, content_type=GRPC, chunks=iter([frame(HI)[:3], frame(HI)[3:]]))
    assert isinstance(whole.call.endpoint.reader, GivenBody)
    assert whole.run() == chunks.run()
