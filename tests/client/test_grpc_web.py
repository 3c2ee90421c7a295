"""Responses of servers that misbehave, over real sockets: the documented error, with bounded memory."""

from __future__ import annotations

import base64
import gzip
import struct
import tracemalloc

import pytest

from flask_grpcweb_scm.client import CallError, Channel, StatusCode
from tests.client.scripted import CHUNKED, OK, REPLY, UNTIL_CLOSED, Peer, chunk, http, respond, serve, trailers
from tests.client.support import ECHO, call_error
from tests.echo_pb2 import EchoReply, EchoRequest
from tests.grpcweb import JSON, PROTO, TEXT, frame

GZIPPED = frame(gzip.compress(EchoReply(text="hi").SerializeToString()), 1)


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
        (http(b"<title>Log in</title>", content_type=HTML), 2, "is the URL right? It begins with 'Log in'"),
        (http(b"", REDIRECT, status="302 Found"), 2, "a redirect to thief.example"),
        (http(b"", REDIRECT, status="307 Temporary Redirect"), 2, "a redirect to thief.example"),
        (http(b"", "location: /login", status="303 See Other"), 2, "a redirect to another path"),
        (http(b"", "location: http://[", status="303 See Other"), 2, "a redirect to another path"),
        # A status beside an HTTP error is the better one.
        (http(b"", "grpc-status: 12", "grpc-message: none", status="405 Method Not Allowed"), 12, "none"),
        (http(b"", "grpc-status: 0", status="503 Service Unavailable"), 14, "503"),
        # The codec and the encoding
        (http(REPLY + OK, content_type=JSON), 13, "requested messages in proto, got content type"),
        (http(REPLY + OK, "grpc-encoding: rot13"), 13, "grpc-encoding 'rot13' is not supported"),
        (http(GZIPPED + OK), 13, "the headers name no compression"),
        (http(GZIPPED[:-9] + OK, "grpc-encoding: gzip"), 13, ""),
        (http(frame(b"not gzip", 1) + OK, "grpc-encoding: gzip"), 13, "corrupt compressed message"),
        # Frames
        (http(frame(b"\xff\xff") + OK), 13, "is not a tests.echo.v1.EchoReply in protobuf"),
        (http(frame(b"", 2) + OK), 13, "reserved bits"),
        (http(b"<!doctype html><html>"), 13, "is the body made of frames?"),
        (http(b"not base64!", content_type=TEXT), 13, "invalid base64"),
        (http(b"AAA", content_type=TEXT), 13, "base64"),
        (http(struct.pack("!BI", 0, 2**32 - 1)), 8, "message of 4294967295 bytes is over the limit of 4194304 bytes"),
        (http(struct.pack("!BI", 0x80, 2**32 - 1)), 8, "over the limit"),
        # Trailers
        (http(), 13, "cut short"),
        (http(REPLY), 13, "cut short"),
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
    error = call_error(respond(response), method)
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
    assert call_error(respond(response, close=True), method).code == code


@pytest.mark.parametrize(
    "response", [CHUNKED + chunk(REPLY[:4]) + chunk(REPLY[4:] + OK) + b"0\r\n\r\n", http(REPLY + OK)]
)
def test_a_response_may_arrive_byte_by_byte(response: bytes) -> None:
    with serve(lambda peer: peer.drip(response, 0)) as server, Channel(server.url) as channel:
        assert channel.stub(ECHO).unary(EchoRequest()).text == "hi"


@pytest.mark.parametrize(("body", "count"), [(OK, "none"), (REPLY + REPLY + OK, "more than one")])
def test_a_unary_method_has_one_response(body: bytes, count: str) -> None:
    error = call_error(respond(http(body)))
    assert (error.code, count in error.message) == (StatusCode.UNIMPLEMENTED, True)


def test_a_stream_is_not_complete_by_a_status_that_was_sent_before_it() -> None:
    error = call_error(respond(http(REPLY, "grpc-status: 0")), "server_stream")
    assert (error.code, "cut short" in error.message) == (StatusCode.INTERNAL, True)


EMPTY = trailers("")
NO_STATUS = trailers("x-last: 1\r\n")


@pytest.mark.parametrize("method", ["unary", "server_stream"])
@pytest.mark.parametrize("content_type", [PROTO, TEXT])
@pytest.mark.parametrize("body", [b"", EMPTY, NO_STATUS, REPLY, REPLY + EMPTY, REPLY + NO_STATUS])
def test_a_status_in_the_headers_is_the_status_when_no_trailers_have_one(
    method: str, content_type: str, body: bytes
) -> None:
    """improbable's Go proxy and Traefik send it so when their server has sent trailers alone."""
    sent = base64.b64encode(body) if content_type == TEXT else body
    status = ["grpc-status: 9", "grpc-message: not%20now", "x-last: 1" if body != NO_STATUS else "x-first: 1"]
    error = call_error(respond(http(sent, *status, content_type=content_type)), method)
    assert (error.code, error.message) == (StatusCode.FAILED_PRECONDITION, "not now")
    if REPLY not in body:
        assert error.trailing_metadata.get("x-last") == "1"


@pytest.mark.parametrize("trailers_frame", [b"", EMPTY, NO_STATUS])
@pytest.mark.parametrize("method", ["unary", "server_stream"])
def test_so_it_is_with_ok(method: str, trailers_frame: bytes) -> None:
    if (method, trailers_frame) == ("server_stream", b""):
        return
    with serve(respond(http(REPLY + trailers_frame, "grpc-status: 0"))) as server, Channel(server.url) as channel:
        replies = getattr(channel.stub(ECHO), method).start(EchoRequest())
        assert [reply.text for reply in replies] == ["hi"]


NGINX = b"""\
<html>
<head><title>502 Bad Gateway</title></head>
<body><center><h1>502 Bad Gateway</h1></center><hr><center>nginx</center></body>
</html>
"""


@pytest.mark.parametrize(
    ("body", "content_type", "line"),
    [
        (NGINX, HTML, "502 Bad Gateway"),
        (b"<!doctype html>\n<style>p { color: red }</style><p>R&amp;D is\naway", HTML, "R&D is"),
        (b"\r\n upstream connect error\r\nmore", "text/plain", "upstream connect error"),
        (b'{"message": "no"}', "application/json", '{"message": "no"}'),
        (b'{\n  "message": "no"\n}', "application/problem+json", '{ "message": "no" }'),
        ("grüße".encode(), "text/plain; charset=utf-8", "grüße"),
        ("grüße".encode("latin-1"), "text/plain", "gr\ufffd\ufffde"),
        (b"\x1b[31mred\x07", "text/plain", "\\x1b[31mred\\x07"),
        (b"x" * 300, "text/plain", "x" * 200),
        (b"x" * 200_000, "text/plain", "x" * 200),
        (b"", "text/plain", None),
        (b"<html><body></body></html>", HTML, None),
        (b"\x89PNG", "image/png", None),
        (REPLY, PROTO, None),
    ],
)
def test_an_http_error_tells_the_first_line_of_its_page(body: bytes, content_type: str, line: str | None) -> None:
    error = call_error(respond(http(body, status="502 Bad Gateway", content_type=content_type)))
    told = "" if line is None else f": '{line}'"
    assert (error.code, error.message) == (StatusCode.UNAVAILABLE, f"HTTP status 502 without a gRPC status{told}")


def test_a_page_that_is_cut_or_never_comes_changes_no_status() -> None:
    head = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain\r\ncontent-length: 9\r\n\r\n"
    for script in (respond(head, close=True), respond(head + b"busy", close=True), respond(head)):
        error = call_error(script, timeout=0.3)
        assert error.code is StatusCode.UNAVAILABLE
        assert error.message.startswith("HTTP status 503 without a gRPC status")


def test_endless_responses_to_a_unary_method_are_not_read() -> None:
    def script(peer: Peer) -> None:
        peer.send(UNTIL_CLOSED)
        while True:
            peer.send(REPLY)

    assert call_error(script).code is StatusCode.UNIMPLEMENTED


@pytest.mark.needs("time")
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
        assert call_error(four_gigabytes).code is StatusCode.RESOURCE_EXHAUSTED
        assert call_error(respond(http(bomb + OK, "grpc-encoding: gzip"))).code is StatusCode.RESOURCE_EXHAUSTED
        assert call_error(endless, max_message_bytes=2**19).code is StatusCode.RESOURCE_EXHAUSTED
        assert call_error(respond(http(b"x" * 2**23, status="502 Bad Gateway"))).code is StatusCode.UNAVAILABLE
        assert tracemalloc.get_traced_memory()[1] < 2**25
    finally:
        tracemalloc.stop()


def test_the_limit_of_messages_is_inclusive() -> None:
    # The trailers are the largest frame here.
    size = len("grpc-status: 0\r\n")
    with serve(respond(http(REPLY + OK))) as server:
        with Channel(server.url, max_message_bytes=size) as channel:
            assert channel.stub(ECHO).unary(EchoRequest()).text == "hi"
        with Channel(server.url, max_message_bytes=size - 1) as channel, pytest.raises(CallError, match="limit"):
            channel.stub(ECHO).unary(EchoRequest())
