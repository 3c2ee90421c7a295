"""Servers that misbehave, over real sockets: the documented error, in time, with bounded memory."""

from __future__ import annotations

import gzip
import socket
import struct
import threading
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

from flask_grpcweb_scm.client import CallError, Channel, StatusCode
from flask_grpcweb_scm.testing import assert_rpc_error
from tests.client.scripted import OK, Peer, http, serve, trailers
from tests.echo_pb2 import DESCRIPTOR, EchoReply, EchoRequest
from tests.grpcweb import JSON, PROTO, TEXT, frame
from tests.servers import free_port

ECHO = DESCRIPTOR.services_by_name["Echo"]
REPLY = frame(EchoReply(text="hi").SerializeToString())
GZIPPED = frame(gzip.compress(EchoReply(text="hi").SerializeToString()), 1)
CHUNKED = f"HTTP/1.1 200 OK\r\ncontent-type: {PROTO}\r\ntransfer-encoding: chunked\r\n\r\n".encode()
UNTIL_CLOSED = f"HTTP/1.1 200 OK\r\ncontent-type: {PROTO}\r\nconnection: close\r\n\r\n".encode()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def answer(response: bytes, *, close: bool = False) -> Callable[[Peer], None]:
    def script(peer: Peer) -> None:
        peer.send(response)
        if close:
            peer.shut_down()

    return script


def fail(script: Callable[[Peer], None], method: str = "unary", **options: Any) -> CallError:
    """Call a server and return the error; a stream must not end without one."""
    with serve(script) as server, Channel(server.url, **{"timeout": 5, **options}) as channel:
        with pytest.raises(CallError) as caught:
            list(getattr(channel.stub(ECHO), method)(EchoRequest()))
        return caught.value


HTML = "text/html; charset=utf-8"
REDIRECT = "location: http://thief.example/Echo/Unary?a=b"


@pytest.mark.parametrize("method", ["unary", "server_stream"])
@pytest.mark.parametrize(
    ("response", "code", "message"),
    [
        # HTTP without gRPC
        (http(b"<h1>", status="502 Bad Gateway", content_type=HTML), 14, "HTTP status 502 without a gRPC status"),
        (http(b"<h1>", status="400 Bad Request", content_type=HTML), 13, "400"),
        (http(status="401 Unauthorized"), 16, "401"),
        (http(status="403 Forbidden"), 7, "403"),
        (http(b"<h1>", status="404 Not Found", content_type=HTML), 12, "404"),
        (http(status="429 Too Many Requests"), 14, "429"),
        (http(status="503 Service Unavailable"), 14, "503"),
        (http(status="504 Gateway Timeout"), 14, "504"),
        (http(status="500 Internal Server Error"), 2, "500"),
        (http(status="418 I'm a teapot"), 2, "418"),
        (http(b"<h1>", content_type=HTML), 2, "content type 'text/html; charset=utf-8' is not gRPC-Web"),
        (http(b"", REDIRECT, status="302 Found"), 2, "a redirect to thief.example"),
        (http(b"", REDIRECT, status="307 Temporary Redirect"), 2, "a redirect to thief.example"),
        (http(b"", "location: /login", status="303 See Other"), 2, "a redirect to another path"),
        (http(b"", "location: http://[", status="303 See Other"), 2, "a redirect to another path"),
        # A status beside an HTTP error is the better one.
        (http(b"", "grpc-status: 12", "grpc-message: none", status="405 Method Not Allowed"), 12, "none"),
        (http(b"", "grpc-status: 0", status="503 Service Unavailable"), 14, "503"),
        # The codec and the encoding
        (http(REPLY + OK, content_type=JSON), 13, "asked for messages in proto, got content type"),
        (http(REPLY + OK, "grpc-encoding: rot13"), 13, "grpc-encoding 'rot13' is not supported"),
        (http(GZIPPED + OK), 13, "grpc-encoding names no compression"),
        (http(GZIPPED[:-9] + OK, "grpc-encoding: gzip"), 13, ""),
        (http(frame(b"not gzip", 1) + OK, "grpc-encoding: gzip"), 13, "corrupt compressed message"),
        # Frames
        (http(frame(b"\xff\xff") + OK), 13, "is not a tests.echo.v1.EchoReply in protobuf"),
        (http(frame(b"", 2) + OK), 13, "reserved bits"),
        (http(b"<!doctype html><html>"), 13, "is the body gRPC-Web frames?"),
        (http(b"not base64!", content_type=TEXT), 13, "invalid base64"),
        (http(b"AAA", content_type=TEXT), 13, "base64"),
        (http(struct.pack("!BI", 0, 2**32 - 1)), 8, "message of 4294967295 bytes is over the limit of 4194304 bytes"),
        (http(struct.pack("!BI", 0x80, 2**32 - 1)), 8, "over the limit"),
        # Trailers
        (http(), 13, "cut short"),
        (http(REPLY), 13, "cut short"),
        (http(REPLY, "grpc-status: 0"), 13, "cut short"),
        (http(REPLY + OK + OK), 13, "a frame follows the trailers"),
        (http(OK + REPLY), 13, "a frame follows the trailers"),
        (http(REPLY + trailers("grpc-message: x\r\n")), 13, "grpc-status 0 times"),
        (http(REPLY + trailers("grpc-status: 0\r\ngrpc-status: 5\r\n")), 13, "grpc-status 2 times"),
        (http(REPLY + trailers("no colon\r\n")), 13, "malformed trailer line"),
        (http(REPLY + trailers("grpc-status: 99\r\n")), 2, ""),
        (http(REPLY + trailers("grpc-status: -1\r\n")), 2, ""),
        (http(REPLY + trailers("grpc-status: ²\r\n")), 2, ""),
        (http(REPLY + trailers("grpc-status: 5\r\ngrpc-message: 100%\r\n")), 5, "100%"),
        (http(REPLY + trailers("grpc-status: 5\r\ngrpc-status-details-bin: !\r\n")), 5, ""),
        (http(REPLY + trailers("grpc-status: 5\r\ngrpc-status-details-bin: ////\r\n")), 5, ""),
        (http(trailers("grpc-status: 9\r\n"), "grpc-status: 8"), 9, ""),
        (http(trailers("GRPC-Status: 9\r\ngrpc-Message: a%20b\r\n")), 9, "a b"),
    ],
)  # fmt: skip
def test_a_bad_response(method: str, response: bytes, code: int, message: str) -> None:
    error = fail(answer(response), method)
    assert (error.code, message in error.message) == (code, True), error


@pytest.mark.parametrize("method", ["unary", "server_stream"])
@pytest.mark.parametrize(
    ("response", "code"),
    [
        (b"", 14),
        (b"HTTP/1.1 200", 14),
        (b"SSH-2.0-OpenSSH_9.2\r\n", 14),
        (b"HTTP/1.1 200 OK\r\ncontent-type: appl", 14),
        (b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 200 + b"\r\n", 14),
        (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000 + b"\r\n\r\n", 14),
        (http(REPLY + OK)[:-3], 14),
        (http(REPLY + OK).replace(b"content-length: ", b"content-length: 1"), 14),
        (CHUNKED + chunk(REPLY), 14),
        (CHUNKED + chunk(REPLY) + b"ff\r\n" + OK, 14),
        (CHUNKED + chunk(REPLY) + b"what?\r\n" + OK, 14),
        (CHUNKED + chunk(REPLY) + b"0\r\n\r\n", 13),
        (CHUNKED + chunk(REPLY + OK[:7]) + b"0\r\n\r\n", 13),
        (UNTIL_CLOSED, 13),
        (UNTIL_CLOSED + REPLY, 13),
        (UNTIL_CLOSED + REPLY[:3], 13),
        (UNTIL_CLOSED + REPLY + OK[:-1], 13),
    ],
)
def test_a_response_that_is_cut_is_an_error_not_a_short_result(method: str, response: bytes, code: int) -> None:
    assert fail(answer(response, close=True), method).code == code


@pytest.mark.parametrize(
    "response", [CHUNKED + chunk(REPLY[:4]) + chunk(REPLY[4:] + OK) + b"0\r\n\r\n", http(REPLY + OK)]
)
def test_a_response_may_arrive_byte_by_byte(response: bytes) -> None:
    with serve(lambda peer: peer.drip(response, 0)) as server, Channel(server.url) as channel:
        assert channel.stub(ECHO).unary(EchoRequest()).text == "hi"


@pytest.mark.parametrize(("body", "count"), [(OK, "none"), (REPLY + REPLY + OK, "more than one")])
def test_a_unary_method_has_one_response(body: bytes, count: str) -> None:
    error = fail(answer(http(body)))
    assert (error.code, count in error.message) == (StatusCode.UNIMPLEMENTED, True)


def test_endless_responses_to_a_unary_method_are_not_read() -> None:
    def script(peer: Peer) -> None:
        peer.send(UNTIL_CLOSED)
        while True:
            peer.send(REPLY)

    assert fail(script).code is StatusCode.UNIMPLEMENTED


HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize("method", ["unary", "server_stream"])
@pytest.mark.parametrize(
    "script",
    [
        lambda peer: peer.wait(),
        lambda peer: peer.drip(HEAD * 1000, 0.02),
        lambda peer: peer.drip(HEAD + b"x: " + b"y" * 1000, 0.02),
        lambda peer: peer.drip(b"HTTP/1.1 100 Continue\r\n\r\n" * 10**5, 0),
        lambda peer: (peer.send(UNTIL_CLOSED), peer.drip(frame(b"x" * 1000), 0.02)),
        lambda peer: (peer.send(CHUNKED), peer.drip(chunk(frame(b"x" * 1000)), 0.02)),
        lambda peer: (peer.send(CHUNKED + b"fff\r\n"), peer.drip(frame(b"x" * 1000), 0.02)),
        lambda peer: (peer.send(UNTIL_CLOSED + REPLY), peer.wait()),
        lambda peer: (peer.send(UNTIL_CLOSED + REPLY + OK), peer.wait()),
    ],
    ids=["silence", "dripped status line", "dripped header", "no end of 100 Continue", "dripped body", "dripped chunk",
         "dripped in a chunk", "no trailers", "no end"],
)  # fmt: skip
def test_a_slow_server_does_not_outlive_the_deadline(method: str, script: Callable[[Peer], None]) -> None:
    started = time.monotonic()
    error = fail(script, method, timeout=0.2)
    assert error.code is StatusCode.DEADLINE_EXCEEDED
    assert 0.19 < time.monotonic() - started < 2


def test_a_server_that_does_not_read_does_not_outlive_the_deadline() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        channel = Channel(f"http://127.0.0.1:{server.getsockname()[1]}", timeout=0.3)
        requests = (EchoRequest(data=b"x" * 2**20) for _ in range(100))
        started = time.monotonic()
        with assert_rpc_error(StatusCode.DEADLINE_EXCEEDED):
            channel.stub(ECHO).client_stream(requests)
        assert time.monotonic() - started < 2


def test_the_deadline_is_sent() -> None:
    with serve(answer(http(REPLY + OK))) as server, Channel(server.url, timeout=30) as channel:
        channel.stub(ECHO).unary(EchoRequest())
        channel.stub(ECHO).unary(EchoRequest(), timeout=2)
        timeouts = [int(request["grpc-timeout"].removesuffix("u")) / 1e6 for request in server.requests]
    assert timeouts == [pytest.approx(30, abs=1), pytest.approx(2, abs=1)]


@pytest.mark.parametrize("timeout", [0, -1])
def test_a_deadline_that_has_passed_sends_nothing(timeout: float) -> None:
    with serve(answer(http(REPLY + OK))) as server, Channel(server.url) as channel:
        with assert_rpc_error(StatusCode.DEADLINE_EXCEEDED):
            channel.stub(ECHO).unary(EchoRequest(), timeout=timeout)
        assert server.requests == []


def test_memory_is_bounded() -> None:
    bomb = frame(gzip.compress(b"\0" * 2**26), 1)

    def endless(peer: Peer) -> None:
        peer.send(UNTIL_CLOSED + struct.pack("!BI", 0, 2**20))
        while True:
            peer.send(b"x" * 65536)

    def four_gigabytes(peer: Peer) -> None:
        peer.send(UNTIL_CLOSED + struct.pack("!BI", 0, 2**32 - 1))
        while True:
            peer.send(b"x" * 65536)

    tracemalloc.start()
    try:
        assert fail(four_gigabytes).code is StatusCode.RESOURCE_EXHAUSTED
        assert fail(answer(http(bomb + OK, "grpc-encoding: gzip"))).code is StatusCode.RESOURCE_EXHAUSTED
        assert fail(endless, max_message_bytes=2**19).code is StatusCode.RESOURCE_EXHAUSTED
        assert fail(answer(http(b"x" * 2**23, status="502 Bad Gateway"))).code is StatusCode.UNAVAILABLE
        assert tracemalloc.get_traced_memory()[1] < 2**25
    finally:
        tracemalloc.stop()


def test_the_limit_of_messages_is_inclusive() -> None:
    # The trailers are the largest frame here.
    size = len("grpc-status: 0\r\n")
    with serve(answer(http(REPLY + OK))) as server:
        with Channel(server.url, max_message_bytes=size) as channel:
            assert channel.stub(ECHO).unary(EchoRequest()).text == "hi"
        with Channel(server.url, max_message_bytes=size - 1) as channel, pytest.raises(CallError, match="limit"):
            channel.stub(ECHO).unary(EchoRequest())


@pytest.mark.parametrize("status", ["301 Moved Permanently", "302 Found", "303 See Other", "307 Temporary Redirect",
                                    "308 Permanent Redirect"])  # fmt: skip
@pytest.mark.parametrize("method", ["unary", "server_stream"])
def test_nothing_reaches_the_host_of_a_redirect(status: str, method: str) -> None:
    with serve(answer(http(REPLY + OK))) as thief:
        redirect = http(b"", f"location: {thief.url}/tests.echo.v1.Echo/Unary", status=status)
        error = fail(answer(redirect), method, token="secret", metadata={"authorization": "Bearer secret"})
        assert (error.code, "a redirect to 127.0.0.1" in error.message) == (StatusCode.UNKNOWN, True)
        assert "secret" not in str(error)
        assert thief.connections == 0


def test_a_signature_does_not_reach_it_either() -> None:
    with serve(answer(http(REPLY + OK))) as thief:
        redirect = http(b"", f"location: {thief.url}/", status="307 Temporary Redirect")
        fail(answer(redirect), hmac_secret="secret")
        assert thief.connections == 0


def test_a_refused_connection_is_unavailable() -> None:
    channel = Channel(f"http://127.0.0.1:{free_port()}", timeout=5)
    with assert_rpc_error(StatusCode.UNAVAILABLE, match=r"refused"):
        channel.stub(ECHO).unary(EchoRequest())


def test_an_unknown_host_is_unavailable() -> None:
    channel = Channel("http://nowhere.invalid", timeout=5)
    with assert_rpc_error(StatusCode.UNAVAILABLE, match=r"nowhere\.invalid"):
        channel.stub(ECHO).unary(EchoRequest())


# Connections


def test_connections_are_reused() -> None:
    def script(peer: Peer) -> None:
        count = len(peer.server.requests)
        peer.send(http(REPLY + OK) if count % 2 else CHUNKED + chunk(REPLY + OK) + b"0\r\n\r\n")

    with serve(script) as server, Channel(server.url) as channel:
        stub = channel.stub(ECHO)
        for _ in range(4):
            stub.unary(EchoRequest())
            list(stub.server_stream(EchoRequest()))
        assert (len(server.requests), server.connections) == (8, 1)


def test_closing_a_call_that_has_ended_leaves_its_connection_to_others() -> None:
    with serve(answer(http(REPLY + OK))) as server, Channel(server.url, timeout=5) as channel:
        ended = []
        for _ in range(3):
            with channel.stub(ECHO).server_stream(EchoRequest()) as replies:
                assert [reply.text for reply in replies] == ["hi"]
            ended.append(replies)
        for call in ended:
            call.cancel()
        assert channel.stub(ECHO).unary(EchoRequest()).text == "hi"
        assert server.connections == 1


def test_a_connection_is_not_reused_after_an_error_in_the_middle() -> None:
    responses = [http(REPLY + REPLY + OK), http(status="502 Bad Gateway"), http(REPLY + OK)]

    with serve(lambda peer: peer.send(responses[len(peer.server.requests) - 1])) as server:
        with Channel(server.url) as channel:
            for _ in range(2):
                with pytest.raises(CallError):
                    channel.stub(ECHO).unary(EchoRequest())
            assert channel.stub(ECHO).unary(EchoRequest()).text == "hi"
        assert server.connections == 3


def test_a_connection_that_the_server_has_closed_is_replaced() -> None:
    with serve(answer(http(REPLY + OK), close=True)) as server, Channel(server.url) as channel:
        for _ in range(3):
            assert channel.stub(ECHO).unary(EchoRequest()).text == "hi"
            time.sleep(0.02)
        assert server.connections == 3


def test_threads_share_a_channel() -> None:
    with serve(answer(http(REPLY + OK))) as server, Channel(server.url, timeout=10) as channel:
        texts: list[str] = []

        def work() -> None:
            texts.extend(channel.stub(ECHO).unary(EchoRequest()).text for _ in range(20))

        threads = [threading.Thread(target=work) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert texts == ["hi"] * 320
        assert server.connections < 200


# Cancelling


@pytest.mark.parametrize("script", [Peer.wait, lambda peer: (peer.send(UNTIL_CLOSED + REPLY), peer.wait())])
def test_another_thread_cancels_a_call(script: Callable[[Peer], None]) -> None:
    with serve(script) as server, Channel(server.url, timeout=10) as channel:
        call = channel.stub(ECHO).unary.start(EchoRequest())
        threading.Timer(0.05, call.cancel).start()
        started = time.monotonic()
        with assert_rpc_error(StatusCode.CANCELLED):
            call.result()
        assert time.monotonic() - started < 2


def test_leaving_a_stream_closes_its_connection() -> None:
    gone = threading.Event()

    def script(peer: Peer) -> None:
        peer.send(UNTIL_CLOSED + REPLY)
        while peer.connection.recv(1):
            pass
        gone.set()

    with serve(script) as server, Channel(server.url) as channel:
        with channel.stub(ECHO).server_stream(EchoRequest()) as replies:
            assert next(replies).text == "hi"
        assert gone.wait(5)
        assert list(replies) == []


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
