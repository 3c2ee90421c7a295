"""Calls through a channel to a real app: every kind of method, in every way to write them."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import request as http_request
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.wrappers_pb2 import StringValue
from google.rpc.error_details_pb2 import BadRequest

from flask_grpcweb_scm import CallContext, GrpcWebScm, RpcError
from flask_grpcweb_scm.client import CallError, Channel, Metadata, StatusCode
from flask_grpcweb_scm.rpc.protocols import HTTP1_PROTOCOLS
from flask_grpcweb_scm.testing import assert_rpc_error, channel_for
from tests.apps import echo_app, lookup_service
from tests.client.scripted import REPLY, UNTIL_CLOSED, Peer, serve
from tests.client.support import ECHO, WAYS, echo_stub
from tests.echo_pb2 import DESCRIPTOR, EchoReply, EchoRequest


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


@pytest.mark.parametrize("protocol", HTTP1_PROTOCOLS)
def test_no_messages_either_way(protocol: str) -> None:
    stub = echo_stub({"protocol": protocol})
    assert list(stub.server_stream(EchoRequest())) == []
    assert stub.client_stream([]).text == ""
    assert list(stub.bidi([])) == []


@pytest.mark.parametrize("codec", ["proto", "json"])
@pytest.mark.parametrize("options", [{}, {"compression": "gzip"}, {"hmac_secret": "s3cret"}], ids=str)
@pytest.mark.parametrize("text", ["", "grüße &=+%/?#", "a" * 3500, "b" * 100_000])
def test_a_method_without_side_effects_by_get(codec: str, options: dict[str, Any], text: str) -> None:
    verbs = []

    def find(request: EchoRequest, context: CallContext) -> EchoReply:
        if request.count:
            return fail(request, context)
        reflect(request, context)
        verbs.append(http_request.method)
        return EchoReply(text=request.text.upper(), number=round(context.remaining() or 0))

    secrets = {"GRPC_HMAC_SECRETS": "s3cret"} if "hmac_secret" in options else {}
    app = echo_app(extension=GrpcWebScm(services=[lookup_service(find)]), **secrets)
    with channel_for(app, protocol="connect", use_get=True, codec=codec, timeout=50, **options) as channel:
        stub = channel.stub(DESCRIPTOR.services_by_name["Lookup"])
        reply, call = stub.find.with_call(EchoRequest(text=text), metadata={"x-mine": "a"})
        assert (reply.text, reply.number) == (text.upper(), 50)
        assert call.initial_metadata.get("x-mine") == call.trailing_metadata.get("x-last") == "a"
        with assert_rpc_error(StatusCode.NOT_FOUND, match="nichts da: ü%"):
            stub.find(EchoRequest(text=text, count=1))
    limit = 10**6 if "compression" in options else 3600 if codec == "json" else 2800
    assert verbs == ["GET" if len(text) < limit else "POST"]


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


@pytest.mark.parametrize("protocol", HTTP1_PROTOCOLS)
def test_an_error_after_messages_comes_after_them(protocol: str) -> None:
    def torn(request: EchoRequest, context: CallContext) -> Iterator[EchoReply]:
        yield EchoReply(number=1)
        raise RpcError(StatusCode.DATA_LOSS, "torn", [StringValue(value="detail")])

    replies = echo_stub({"protocol": protocol}, ServerStream=torn).server_stream(EchoRequest())
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
@pytest.mark.parametrize("protocol", HTTP1_PROTOCOLS)
def test_metadata_goes_both_ways(metadata: Any, protocol: str) -> None:
    stub = echo_stub({"protocol": protocol, "metadata": {"x-mine": "a"}}, Unary=reflect)
    _, call = stub.unary.with_call(EchoRequest(), metadata=metadata)
    assert call.initial_metadata.get_all("x-mine") == ("a,b",)
    assert call.initial_metadata.get_all("x-mine-bin") == (b"\xff",)
    assert call.trailing_metadata.get_all("x-last") == ("a,b",)
    assert call.trailing_metadata.get_all("x-last-bin") == (b"\xff",)


@pytest.mark.parametrize(
    ("channel", "call", "seen"),
    # The first is the server's default.
    [(None, None, 60), (50, None, 50), (50, 30, 30), (None, 1e12, 315360000)],
)
@pytest.mark.parametrize("protocol", HTTP1_PROTOCOLS)
def test_the_server_is_told_the_timeout(channel: float | None, call: float | None, seen: int, protocol: str) -> None:
    stub = echo_stub({"timeout": channel, "protocol": protocol}, Unary=reflect)
    # "at most 10 digits" of milliseconds (Connect)
    seen = min(seen, 10**7) if protocol == "connect" else seen
    assert stub.unary(EchoRequest(), timeout=call).number == seen


@pytest.mark.parametrize("protocol", HTTP1_PROTOCOLS)
def test_a_stream_stops_at_its_deadline(protocol: str) -> None:
    def endless(request: EchoRequest, context: CallContext) -> Iterator[EchoReply]:
        while True:
            time.sleep(0.01)
            yield EchoReply()

    replies = echo_stub({"protocol": protocol}, ServerStream=endless).server_stream(EchoRequest(), timeout=0.1)
    with assert_rpc_error(StatusCode.DEADLINE_EXCEEDED):
        for _ in replies:
            pass


@pytest.mark.parametrize("protocol", HTTP1_PROTOCOLS)
def test_leaving_a_stream_closes_the_function(protocol: str) -> None:
    closed = []

    def endless(request: EchoRequest, context: CallContext) -> Iterator[EchoReply]:
        try:
            while True:
                yield EchoReply()
        finally:
            closed.append(True)

    with echo_stub({"protocol": protocol}, ServerStream=endless).server_stream(EchoRequest()) as replies:
        next(replies)
    assert closed == [True]


# Cancelling


@pytest.mark.parametrize("script", [Peer.wait, lambda peer: (peer.send(UNTIL_CLOSED + REPLY), peer.wait())])
def test_another_thread_cancels_a_call(script: Callable[[Peer], None]) -> None:
    with serve(script) as server, Channel(server.url, timeout=10) as channel:
        call = channel.stub(ECHO).unary.start(EchoRequest())
        threading.Timer(0.05, call.cancel).start()
        started = time.monotonic()
        with assert_rpc_error(StatusCode.CANCELLED):
            call.result()
        assert time.monotonic() - started < 8


@pytest.fixture
def gone() -> threading.Event:
    return threading.Event()


@pytest.fixture
def watched(gone: threading.Event) -> Iterator[Any]:
    """A stub; its server tells when the connection of an unfinished stream is closed."""

    def script(peer: Peer) -> None:
        peer.send(UNTIL_CLOSED + REPLY)
        while peer.connection.recv(1):
            pass
        gone.set()

    with serve(script) as server, Channel(server.url) as channel:
        yield channel.stub(ECHO)


def test_leaving_a_stream_closes_its_connection(watched: Any, gone: threading.Event) -> None:
    with watched.server_stream(EchoRequest()) as replies:
        assert next(replies).text == "hi"
    assert gone.wait(5)
    assert list(replies) == []


def test_so_does_dropping_it_before_garbage_is_collected(watched: Any, gone: threading.Event) -> None:
    gc.disable()
    try:
        for reply in watched.server_stream(EchoRequest()):
            assert reply.text == "hi"
            break
        assert gone.wait(5)
    finally:
        gc.enable()


def test_a_cancelled_stream_tells_so() -> None:
    with (
        serve(lambda peer: (peer.send(UNTIL_CLOSED + REPLY * 2), peer.wait())) as server,
        Channel(server.url) as channel,
    ):
        replies = channel.stub(ECHO).server_stream(EchoRequest())
        next(replies)
        replies.cancel()
        with assert_rpc_error(StatusCode.CANCELLED):
            next(replies)
