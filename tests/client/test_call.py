"""Calls through a channel to a real app: every kind of method, in every way to write them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.wrappers_pb2 import StringValue
from google.rpc.error_details_pb2 import BadRequest

from flask_grpcweb_scm import CallContext, RpcError
from flask_grpcweb_scm.client import CallError, Channel, Metadata, StatusCode
from flask_grpcweb_scm.client.stub import snake_case
from flask_grpcweb_scm.testing import assert_rpc_error, channel_for
from flask_grpcweb_scm.wire import ENCODINGS
from tests.apps import echo_app
from tests.echo_pb2 import DESCRIPTOR, EchoReply, EchoRequest

ECHO = DESCRIPTOR.services_by_name["Echo"]

WAYS: list[dict[str, Any]] = [
    {"codec": codec, "text": text, "compression": compression}
    for codec in ("proto", "json")
    for text in (False, True)
    for compression in (None, *ENCODINGS)
]


def echo_stub(options: dict[str, Any] | None = None, **app_options: Any) -> Any:
    return channel_for(echo_app(**app_options), **(options or {})).stub(ECHO)


@pytest.mark.parametrize("options", WAYS, ids=str)
@pytest.mark.parametrize("text", ["", "grüße " * 500])
def test_every_kind_of_method(options: dict[str, Any], text: str) -> None:
    stub = echo_stub(options, GRPC_COMPRESSION_MIN_BYTES=100)
    request = EchoRequest(text=text, count=3)
    assert stub.unary(request).text == text.upper()
    assert [reply.number for reply in stub.server_stream(request)] == [0, 1, 2]
    assert stub.client_stream(iter([request, request])).text == f"{text},{text}"
    assert [reply.number for reply in stub.bidi([request, request])] == [0, 1]
    with assert_rpc_error(StatusCode.UNIMPLEMENTED, match=r"Missing"):
        stub.missing(request)


def test_no_messages_either_way() -> None:
    stub = echo_stub()
    assert list(stub.server_stream(EchoRequest())) == []
    assert stub.client_stream([]).text == ""
    assert list(stub.bidi([])) == []


def fail(request: EchoRequest, context: CallContext) -> EchoReply:
    context.initial_metadata.add("x-first", "1")
    context.trailing_metadata.add("x-last-bin", b"\0\xff")
    details = [BadRequest(field_violations=[{"field": "text"}]), AnyMessage(type_url="x/unknown.Type", value=b"1")]
    raise RpcError(StatusCode.NOT_FOUND, "nichts da: ü%", details)


@pytest.mark.parametrize("options", WAYS[::3], ids=str)
def test_an_error_has_everything_that_the_server_sent(options: dict[str, Any]) -> None:
    with pytest.raises(CallError) as caught:
        echo_stub(options, Unary=fail).unary(EchoRequest())
    error = caught.value
    assert isinstance(error, RpcError)
    assert (error.code, error.message) == (StatusCode.NOT_FOUND, "nichts da: ü%")
    violation, unknown = error.details
    assert isinstance(violation, BadRequest)
    assert violation.field_violations[0].field == "text"
    assert isinstance(unknown, AnyMessage)
    assert error.initial_metadata.get("x-first") == "1"
    assert error.trailing_metadata.get("x-last-bin") == b"\0\xff"


def test_the_metadata_of_a_trailers_only_answer_is_trailing() -> None:
    def refuse(request: EchoRequest, context: CallContext) -> EchoReply:
        raise RpcError(StatusCode.ABORTED, "no")

    with pytest.raises(CallError) as caught:
        echo_stub(Unary=refuse).unary(EchoRequest())
    assert len(caught.value.initial_metadata) == 0


def test_an_error_after_messages_comes_after_them() -> None:
    def torn(request: EchoRequest, context: CallContext) -> Iterator[EchoReply]:
        yield EchoReply(number=1)
        raise RpcError(StatusCode.DATA_LOSS, "torn", [StringValue(value="detail")])

    replies = echo_stub(ServerStream=torn).server_stream(EchoRequest())
    assert next(replies).number == 1
    with assert_rpc_error(StatusCode.DATA_LOSS, match="torn") as caught:
        next(replies)
    assert caught.value.details == (StringValue(value="detail"),)
    assert list(replies) == []


def reflect(request: EchoRequest, context: CallContext) -> EchoReply:
    for name, value in context.metadata:
        if name.startswith("x-mine"):
            context.initial_metadata.add(name, value)
            context.trailing_metadata.add(name.replace("mine", "last"), value)
    return EchoReply(number=round(context.remaining() or 0))


@pytest.mark.parametrize(
    "metadata",
    [
        {"x-mine": "b", "X-Mine-Bin": b"\xff"},
        [("x-mine", "b"), ("x-mine-bin", b"\xff")],
        Metadata([("x-mine", "b"), ("x-mine-bin", b"\xff")]),
    ],
)
def test_metadata_goes_both_ways(metadata: Any) -> None:
    stub = echo_stub({"metadata": {"x-mine": "a"}}, Unary=reflect)
    _, call = stub.unary.with_call(EchoRequest(), metadata=metadata)
    assert call.initial_metadata.get_all("x-mine") == ("a,b",)
    assert call.initial_metadata.get_all("x-mine-bin") == (b"\xff",)
    assert call.trailing_metadata.get_all("x-last") == ("a,b",)
    assert call.trailing_metadata.get_all("x-last-bin") == (b"\xff",)


@pytest.mark.parametrize(
    ("channel", "call", "seen"), [(None, None, 0), (60, None, 60), (60, 30, 30), (None, 1e12, 315360000)]
)
def test_the_server_is_told_the_timeout(channel: float | None, call: float | None, seen: int) -> None:
    stub = echo_stub({"timeout": channel}, Unary=reflect)
    assert stub.unary(EchoRequest(), timeout=call).number == seen


def test_a_stream_stops_at_its_deadline() -> None:
    def endless(request: EchoRequest, context: CallContext) -> Iterator[EchoReply]:
        while True:
            time.sleep(0.01)
            yield EchoReply()

    replies = echo_stub(ServerStream=endless).server_stream(EchoRequest(), timeout=0.1)
    with assert_rpc_error(StatusCode.DEADLINE_EXCEEDED):
        for _ in replies:
            pass


def test_leaving_a_stream_closes_the_function() -> None:
    closed = []

    def endless(request: EchoRequest, context: CallContext) -> Iterator[EchoReply]:
        try:
            while True:
                yield EchoReply()
        finally:
            closed.append(True)

    with echo_stub(ServerStream=endless).server_stream(EchoRequest()) as replies:
        next(replies)
    assert closed == [True]


# Credentials


def test_a_token_is_sent() -> None:
    app = echo_app(GRPC_AUTH_TOKENS="right")
    assert channel_for(app, token="right").stub(ECHO).unary(EchoRequest(text="a")).text == "A"
    for channel in (channel_for(app, token="wrong"), channel_for(app)):
        with assert_rpc_error(StatusCode.UNAUTHENTICATED):
            channel.stub(ECHO).unary(EchoRequest())


@pytest.mark.parametrize("options", WAYS, ids=str)
@pytest.mark.parametrize("data", [b"", b"\0" * 5000])
def test_requests_are_signed(options: dict[str, Any], data: bytes) -> None:
    app = echo_app(GRPC_HMAC_SECRETS=["new"], GRPC_HMAC_REQUIRE_TIMESTAMP=True)
    stub = channel_for(app, hmac_secret="new", **options).stub(ECHO)
    assert stub.unary(EchoRequest(text="a", data=data)).text == "A"
    assert len(list(stub.server_stream(EchoRequest(count=2)))) == 2
    with assert_rpc_error(StatusCode.UNAUTHENTICATED):
        channel_for(app, hmac_secret="old", **options).stub(ECHO).unary(EchoRequest())


def test_a_stream_of_requests_cannot_be_signed() -> None:
    with assert_rpc_error(StatusCode.UNAUTHENTICATED, match=r" use a token"):
        echo_stub({"hmac_secret": "s"}).client_stream([])


def test_a_channel_does_not_show_its_token() -> None:
    assert "secret" not in repr(Channel("http://example.test/api/", token="secret"))


# Mistakes of the caller


@pytest.mark.parametrize(
    ("url", "options", "message"),
    [
        ("example.test", {}, "is not the URL of a server"),
        ("ftp://example.test", {}, "is not the URL of a server"),
        ("http://", {}, "is not the URL of a server"),
        ("http://user:pass@example.test", {}, "no user"),
        ("http://example.test/?a=b", {}, "query"),
        ("http://example.test", {"codec": "jso"}, r"did you mean 'json'\?"),
        ("http://example.test", {"compression": "gz"}, "compression is one of gzip, deflate"),
        ("http://example.test", {"token": "a\nb"}, "x-grpc-auth-token"),
        ("http://example.test", {"metadata": {"grpc-status": "0"}}, "reserved"),
    ],
)
def test_a_mistake_in_the_options_of_a_channel(url: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        Channel(url, **options)
    assert "pass" not in str(caught.value)


def test_a_request_of_another_class_is_refused() -> None:
    with pytest.raises(TypeError, match=r"takes tests\.echo\.v1\.EchoRequest, got EchoReply"):
        echo_stub().unary(EchoReply())
    with pytest.raises(TypeError, match="got dict"):
        echo_stub().client_stream([{"text": "a"}])


def test_a_closed_channel_refuses_calls() -> None:
    with channel_for(echo_app()) as channel:
        stub = channel.stub(ECHO)
    with pytest.raises(ValueError, match="is closed"):
        stub.unary(EchoRequest())


def test_a_misspelt_method_gets_a_hint() -> None:
    with pytest.raises(AttributeError, match=r"no method 'unari'; did you mean 'unary'\?"):
        echo_stub().unari(EchoRequest())


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("GetRepository", "get_repository"),
        ("Bidi", "bidi"),
        ("GetHTTPStatus", "get_http_status"),
        ("V2Read", "v2_read"),
    ],
)
def test_methods_have_python_names(name: str, expected: str) -> None:
    assert snake_case(name) == expected
