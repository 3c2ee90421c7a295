"""HTTP over real sockets: deadlines that hold, redirects that are not followed, connections that are reused."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable

import pytest
import urllib3

from flask_grpcweb_scm.client import CallError, Channel, StatusCode
from flask_grpcweb_scm.testing import assert_rpc_error
from tests.client.scripted import CHUNKED, OK, REPLY, UNTIL_CLOSED, Peer, chunk, http, respond, serve
from tests.client.support import ECHO, call_error
from tests.echo_pb2 import EchoRequest
from tests.grpcweb import frame
from tests.servers import free_port

HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize("method", ["unary", "server_stream"])
@pytest.mark.parametrize(
    "script",
    [
        lambda peer: peer.wait(),
        lambda peer: peer.drip(HEAD * 1000, 0.02),
        lambda peer: peer.drip(HEAD + b"x: " + b"y" * 1000, 0.02),
        lambda peer: peer.drip(b"HTTP/1.1 100 Continue\r\n\r\n" * 10**5, 0),
        lambda peer: peer.drip(b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" * 10**5, 0),
        lambda peer: (peer.send(UNTIL_CLOSED), peer.drip(frame(b"x" * 1000), 0.02)),
        lambda peer: (peer.send(CHUNKED), peer.drip(chunk(frame(b"x" * 1000)), 0.02)),
        lambda peer: (peer.send(CHUNKED + b"fff\r\n"), peer.drip(frame(b"x" * 1000), 0.02)),
        lambda peer: (peer.send(UNTIL_CLOSED + REPLY), peer.wait()),
        lambda peer: (peer.send(UNTIL_CLOSED + REPLY + OK), peer.wait()),
    ],
    ids=["silence", "dripped status line", "dripped header", "no end of 100 Continue", "no end of 103 Early Hints",
         "dripped body", "dripped chunk",
         "dripped in a chunk", "no trailers", "no end"],
)  # fmt: skip
def test_a_slow_server_does_not_outlive_the_deadline(method: str, script: Callable[[Peer], None]) -> None:
    started = time.monotonic()
    error = call_error(script, method, timeout=0.2)
    assert error.code is StatusCode.DEADLINE_EXCEEDED
    assert 0.19 < time.monotonic() - started < 8


def test_a_server_that_does_not_read_does_not_outlive_the_deadline() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        channel = Channel(f"http://127.0.0.1:{server.getsockname()[1]}", timeout=0.3)
        requests = (EchoRequest(data=b"x" * 2**20) for _ in range(100))
        started = time.monotonic()
        with assert_rpc_error(StatusCode.DEADLINE_EXCEEDED):
            channel.stub(ECHO).client_stream(requests)
        assert time.monotonic() - started < 8


def test_the_deadline_is_sent() -> None:
    with serve(respond(http(REPLY + OK))) as server, Channel(server.url, timeout=30) as channel:
        channel.stub(ECHO).unary(EchoRequest())
        channel.stub(ECHO).unary(EchoRequest(), timeout=2)
        timeouts = [int(request["grpc-timeout"].removesuffix("u")) / 1e6 for request in server.requests]
    assert timeouts == [pytest.approx(30, abs=1), pytest.approx(2, abs=1)]


@pytest.mark.parametrize("timeout", [0, -1])
def test_a_deadline_that_has_passed_sends_nothing(timeout: float) -> None:
    with serve(respond(http(REPLY + OK))) as server, Channel(server.url) as channel:
        with assert_rpc_error(StatusCode.DEADLINE_EXCEEDED):
            channel.stub(ECHO).unary(EchoRequest(), timeout=timeout)
        assert server.requests == []


INFORMATION = [
    b"HTTP/1.1 103 Early Hints\r\nlink: </style.css>; rel=preload\r\n\r\n",
    b"HTTP/1.1 102 Processing\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 199 What\r\ngrpc-status: 5\r\ncontent-length: 7\r\ntransfer-encoding: chunked\r\n\r\n",
]


@pytest.mark.parametrize(
    "information", [*INFORMATION, b"".join(INFORMATION * 2)], ids=["103", "102", "100", "199", "several"]
)
@pytest.mark.parametrize("method", ["unary", "server_stream"])
def test_informational_responses_are_skipped(method: str, information: bytes) -> None:
    responses = [http(REPLY + OK), CHUNKED + chunk(REPLY + OK) + b"0\r\n\r\n"]

    def script(peer: Peer) -> None:
        peer.send(information + responses[len(peer.server.requests) % 2])

    with serve(script) as server, Channel(server.url, timeout=5) as channel:
        for _ in range(4):
            replies = getattr(channel.stub(ECHO), method).start(EchoRequest())
            assert [reply.text for reply in replies] == ["hi"]
        assert (replies.initial_metadata.get("link"), server.connections) == (None, 1)


def test_a_switch_of_protocols_is_no_grpc() -> None:
    error = call_error(respond(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\n\r\n"))
    assert (error.code, "HTTP status 101" in error.message) == (StatusCode.UNKNOWN, True)


@pytest.mark.parametrize("status", ["301 Moved Permanently", "302 Found", "303 See Other", "307 Temporary Redirect",
                                    "308 Permanent Redirect"])  # fmt: skip
@pytest.mark.parametrize("method", ["unary", "server_stream"])
def test_nothing_reaches_the_host_of_a_redirect(status: str, method: str) -> None:
    with serve(respond(http(REPLY + OK))) as thief:
        redirect = http(b"", f"location: {thief.url}/tests.echo.v1.Echo/Unary", status=status)
        error = call_error(respond(redirect), method, token="secret", metadata={"authorization": "Bearer secret"})
        assert (error.code, "a redirect to 127.0.0.1" in error.message) == (StatusCode.UNKNOWN, True)
        assert "secret" not in str(error)
        assert thief.connections == 0


def test_a_signature_does_not_reach_it_either() -> None:
    with serve(respond(http(REPLY + OK))) as thief:
        redirect = http(b"", f"location: {thief.url}/", status="307 Temporary Redirect")
        call_error(respond(redirect), hmac_secret="secret")
        assert thief.connections == 0


def test_a_refused_connection_is_unavailable() -> None:
    channel = Channel(f"http://127.0.0.1:{free_port()}", timeout=5)
    with assert_rpc_error(StatusCode.UNAVAILABLE, match=r"refused"):
        channel.stub(ECHO).unary(EchoRequest())


def test_an_unknown_host_is_unavailable() -> None:
    channel = Channel("http://nowhere.invalid", timeout=60)
    with assert_rpc_error(StatusCode.UNAVAILABLE, match=r"nowhere\.invalid"):
        channel.stub(ECHO).unary(EchoRequest())


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
    with serve(respond(http(REPLY + OK))) as server, Channel(server.url, timeout=5) as channel:
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
    with serve(respond(http(REPLY + OK), close=True)) as server, Channel(server.url) as channel:
        for _ in range(3):
            assert channel.stub(ECHO).unary(EchoRequest()).text == "hi"
            server.wait_until_closed()
        assert server.connections == 3


def reset(peer: Peer) -> None:
    """Respond, and close the connection at once, so that nothing more can be sent into it."""
    peer.send(http(REPLY + OK))
    peer.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    raise ConnectionResetError


@pytest.mark.parametrize("size", [10, 2**20])
def test_a_request_that_cannot_be_sent_on_a_kept_connection_is_sent_on_a_new_one(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The server closes it just after the look at it.
    monkeypatch.setattr(urllib3.connection.HTTPConnection, "is_connected", True)
    with serve(reset) as server, Channel(server.url, timeout=5) as channel:
        for _ in range(3):
            assert channel.stub(ECHO).unary(EchoRequest(data=b"x" * size)).text == "hi"
            server.wait_until_closed()
        assert (len(server.requests), server.connections) == (3, 3)


def test_a_request_that_a_server_may_have_got_is_not_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(urllib3.connection.HTTPConnection, "is_connected", True)

    def script(peer: Peer) -> None:
        if len(peer.server.requests) == 1:
            peer.send(http(REPLY + OK))
        else:
            peer.connection.shutdown(socket.SHUT_RDWR)

    with serve(script) as server, Channel(server.url, timeout=5) as channel:
        channel.stub(ECHO).unary(EchoRequest())
        with assert_rpc_error(StatusCode.UNAVAILABLE):
            channel.stub(ECHO).unary(EchoRequest())
        assert len(server.requests) == 2


def test_threads_share_a_channel() -> None:
    with serve(respond(http(REPLY + OK))) as server, Channel(server.url, timeout=10) as channel:
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
