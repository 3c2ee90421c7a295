"""gRPC over HTTP/2 on servers that send trailers: streams that end, begin and break off; and hostile requests."""

from __future__ import annotations

import base64
import contextlib
import gzip
import http.client
import importlib.util
import re
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.apps import ECHO
from tests.echo_pb2 import EchoReply, EchoRequest
from tests.grpcweb import BOMB, frame, frames
from tests.servers import command, free_port, listening
from tests.sockets.app import MAX_MESSAGE_BYTES
from tests.sockets.http2 import Exchange, Http2Connection, Pairs
from tests.sockets.servers import FAST_LANE, Server, complaints
from tests.tables import check_rows

UNARY, SERVER_STREAM, CLIENT_STREAM, BIDI = (ECHO + name for name in ("Unary", "ServerStream", "ClientStream", "Bidi"))
GRPC = (("content-type", "application/grpc"), ("te", "trailers"))
HTTP2 = ["--http-protocols", "h2,h1", "--http2-cleartext", "prior-knowledge"]


@pytest.fixture(
    scope="module",
    params=[
        pytest.param((name, environ), marks=pytest.mark.needs("server"), id=" ".join([name, *environ]))
        for name, environ in [("pyvoy", {}), ("pyvoy", FAST_LANE), ("gunicorn", {})]
    ],
)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    name, environ = request.param
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} needs Python 3.11")
    log = tmp_path_factory.mktemp("servers") / f"{name}.log"
    port = free_port()
    start = command(name, "tests.sockets.app:create_app", port)
    if name == "gunicorn":
        start[-1:-1] = HTTP2
    with listening(start, port, log, environ):
        yield Server(name, port, log, environ)
    # gunicorn writes of streams that clients have reset.
    text = log.read_text(errors="replace")
    assert not (complaints(text) if name == "pyvoy" else re.findall(r"^.*/flask_grpcweb_scm/.*$", text, re.MULTILINE))


@pytest.fixture
def connection(server: Server) -> Iterator[Http2Connection]:
    with Http2Connection(server.port) as connection:
        yield connection


def call(connection: Http2Connection, path: str, *messages: EchoRequest, headers: Pairs = GRPC) -> Exchange:
    body = b"".join(frame(message.SerializeToString()) for message in messages)
    return connection.receive(connection.send(path, headers, body))


def texts(exchange: Exchange) -> list[str]:
    return [EchoReply.FromString(payload).text for _, payload in frames(exchange.body)]


def test_methods_of_all_four_kinds(connection: Http2Connection) -> None:
    one, two = EchoRequest(text="a", count=2), EchoRequest(text="b")
    for path, messages, expected in [
        (UNARY, [one], ["A"]),
        (SERVER_STREAM, [one], ["a", "a"]),
        (CLIENT_STREAM, [one, two], ["a,b"]),
        (BIDI, [one, two], ["a", "b"]),
    ]:
        exchange = call(connection, path, *messages)
        assert (texts(exchange), exchange.trailers) == (expected, {"grpc-status": "0"})
        assert exchange.headers[":status"] == "200"
        assert exchange.headers["content-type"] == "application/grpc"
        allowed = {":status", "content-type", "date", "server", "vary", "access-control-allow-origin"}
        assert exchange.headers.keys() <= allowed


def test_a_view_of_the_app_reads_a_body_without_a_length(server: Server, connection: Http2Connection) -> None:
    exchange = connection.receive(connection.send("/host", (("content-type", "text/plain"),), b"12345678"))
    assert exchange.body == b"8"
    # gunicorn has HTTP/2 alone on this port.
    if server.name == "pyvoy":
        old = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        old.request("POST", "/host", iter([b"12345", b"678"]), encode_chunked=True)
        assert old.getresponse().read() == b"8"
        old.close()


def test_metadata_of_both_kinds(connection: Http2Connection) -> None:
    sent = [("x-initial", "1"), ("x-initial", "2"), ("x-trailing-bin", "/w,AA")]
    exchange = call(connection, UNARY, EchoRequest(text="a"), headers=[*GRPC, *sent])
    assert exchange.headers["x-initial"] in {"1,2", "2"}
    assert exchange.trailers == {"grpc-status": "0", "x-trailing-bin": "/w,AA"}


def test_errors_before_and_after_the_first_message(connection: Http2Connection) -> None:
    early = call(connection, UNARY, EchoRequest(text="fail äh"))
    assert (early.body, early.trailers) == (b"", {"grpc-status": "5", "grpc-message": "fail %C3%A4h"})
    late = call(connection, SERVER_STREAM, EchoRequest(text="fail", count=2))
    assert (texts(late), late.code) == (["fail", "fail"], 15)


def test_large_messages_both_ways(connection: Http2Connection) -> None:
    exchange = call(connection, UNARY, EchoRequest(text="large 1000000", data=b"x" * 1_000_000))
    assert [len(text) for text in texts(exchange)] == [1_000_000]


def test_full_duplex(server: Server, connection: Http2Connection) -> None:
    """Each response comes before the next request is sent."""
    if server.name == "gunicorn":
        pytest.skip("gunicorn reads on until it has what was asked for")
    number = connection.send(BIDI, GRPC, b"", ends=False)
    size = 0
    for text in ("one", "two", "three"):
        connection.send_data(number, frame(EchoRequest(text=text).SerializeToString()))
        exchange = connection.receive(number, size + 1)
        size = len(exchange.body)
        assert texts(exchange)[-1] == text
    connection.send_data(number, b"", ends=True)
    assert connection.receive(number).trailers == {"grpc-status": "0"}


def test_a_deadline_ends_a_stream(connection: Http2Connection) -> None:
    exchange = call(
        connection, SERVER_STREAM, EchoRequest(text="late 2", count=1000), headers=[*GRPC, ("grpc-timeout", "1S")]
    )
    assert exchange.code == 4
    assert len(texts(exchange)) == 2


def test_an_error_does_not_wait_for_the_rest_of_the_body(server: Server) -> None:
    for path, body, code in [
        (ECHO + "Nope", b"\0\0", 12),
        (BIDI, b"\xff\0\0\0\0" * 1000, 13),
        (CLIENT_STREAM, struct.pack("!BI", 0, MAX_MESSAGE_BYTES + 1) + bytes(10_000), 8),
    ]:
        with Http2Connection(server.port) as connection:
            is_read = server.name == "gunicorn" and path != ECHO + "Nope"
            assert connection.receive(connection.send(path, GRPC, body, ends=is_read)).code == code


def test_streams_of_one_connection_at_the_same_time(connection: Http2Connection) -> None:
    body = frame(EchoRequest(text="nap 20").SerializeToString())
    numbers = [connection.send(UNARY, GRPC, body) for _ in range(8)]
    assert [connection.receive(number).code for number in numbers] == [0] * 8


def test_a_client_that_leaves_in_the_middle_of_its_requests_ends_the_call(server: Server) -> None:
    for leave in ("reset", "close"):
        with Http2Connection(server.port) as connection:
            number = connection.send(BIDI, GRPC, frame(b""), ends=False)
            if leave == "reset":
                connection.reset(number)
    assert_healthy(server)


def assert_healthy(server: Server) -> None:
    with Http2Connection(server.port) as connection:
        assert texts(call(connection, UNARY, EchoRequest(text="well"))) == ["WELL"]


# Hostile requests. Each is refused by this package, with a code, or by the server.

MESSAGE = EchoRequest(text="hi").SerializeToString()
BY_SERVER = "by the server"
TYPE = ("content-type", "application/grpc")

HOSTILE: list[tuple[str, str, list[tuple[str, str]], bytes, Any]] = [
    # Frames
    ("flags: reserved", UNARY, [TYPE], frame(MESSAGE, 0x02), 13),
    ("flags: trailers", UNARY, [TYPE], frame(MESSAGE, 0x80), 13),
    ("flags: compressed, without a name", UNARY, [TYPE], frame(MESSAGE, 1), 13),
    ("frame: cut in its prefix", UNARY, [TYPE], b"\0\0\0", 13),
    ("frame: cut in its payload", UNARY, [TYPE], frame(MESSAGE)[:-1], 13),
    ("frame: too long by a byte", UNARY, [TYPE], frame(MESSAGE) + b"\0", 13),
    ("frame: of four gigabytes", UNARY, [TYPE], b"\0\xff\xff\xff\xff", 8),
    ("frame: over the limit", UNARY, [TYPE], struct.pack("!BI", 0, MAX_MESSAGE_BYTES + 1), 8),
    ("frames: none", UNARY, [TYPE], b"", 12),
    ("frames: two", UNARY, [TYPE], frame(MESSAGE) * 2, 12),
    ("frames: two for one stream of responses", SERVER_STREAM, [TYPE], frame(MESSAGE) * 2, 12),
    ("frames: base64", UNARY, [TYPE], base64.b64encode(frame(MESSAGE)), 13),
    ("frames: of Connect's end", BIDI, [TYPE], frame(MESSAGE) + frame(b"{}", 2), 13),
    ("message: no protobuf", UNARY, [TYPE], frame(b"\xff\xff\xff"), 13),
    ("message: no JSON", UNARY, [("content-type", "application/grpc+json")], frame(b"{"), 13),
    ("message: JSON, said to be protobuf", UNARY, [TYPE], frame(b'{"text": "hi"}'), 13),
    # Compression
    ("compression: unknown", UNARY, [TYPE, ("grpc-encoding", "lzma")], frame(MESSAGE, 1), 12),
    ("compression: not compressed", UNARY, [TYPE, ("grpc-encoding", "gzip")], frame(MESSAGE, 1), 13),
    ("compression: a bomb", UNARY, [TYPE, ("grpc-encoding", "gzip")], frame(BOMB, 1), 8),
    ("compression: cut", UNARY, [TYPE, ("grpc-encoding", "gzip")], frame(BOMB[:100], 1), 13),
    ("compression: bytes behind it", UNARY, [TYPE, ("grpc-encoding", "gzip")], frame(gzip.compress(b"") + b"x", 1), 13),
    ("compression: two names", UNARY, [TYPE, ("grpc-encoding", "gzip"), ("grpc-encoding", "gzip")], frame(MESSAGE), 12),
    # Timeouts
    ("timeout: a word", UNARY, [TYPE, ("grpc-timeout", "soon")], frame(MESSAGE), 3),
    ("timeout: negative", UNARY, [TYPE, ("grpc-timeout", "-1S")], frame(MESSAGE), 3),
    ("timeout: without a unit", UNARY, [TYPE, ("grpc-timeout", "1")], frame(MESSAGE), 3),
    ("timeout: two", UNARY, [TYPE, ("grpc-timeout", "1S"), ("grpc-timeout", "1S")], frame(MESSAGE), 3),
    ("timeout: over", UNARY, [TYPE, ("grpc-timeout", "0n")], frame(MESSAGE), 4),
    ("timeout: of a thousand digits", UNARY, [TYPE, ("grpc-timeout", "9" * 1000 + "H")], frame(MESSAGE), 0),
    ("timeout: not ASCII", UNARY, [TYPE, ("grpc-timeout", "\xb2S")], frame(MESSAGE), 3),
    # Paths
    ("path: unknown method", ECHO + "Nope", [TYPE], frame(MESSAGE), 12),
    ("path: unknown service", "/no.Such/Call", [TYPE], frame(MESSAGE), 12),
    ("path: unimplemented", ECHO + "Missing", [TYPE], frame(MESSAGE), 12),
    ("path: of the app", "/debug/closed", [TYPE], frame(MESSAGE), 12),
    ("path: nothing", "/", [TYPE], frame(MESSAGE), "404"),
    ("path: escaped", ECHO.replace("E", "%45") + "Unary", [TYPE], frame(MESSAGE), 0),
    ("path: two slashes", "/" + UNARY, [TYPE], frame(MESSAGE), (0, "404")),
    ("path: a query", UNARY + "?connect=v1", [TYPE], frame(MESSAGE), 0),
    ("path: a parent", ECHO + "../x", [TYPE], frame(MESSAGE), "404"),
    # Content types
    ("type: unknown codec", UNARY, [("content-type", "application/grpc+thrift")], frame(MESSAGE), 12),
    ("type: joined", UNARY, [("content-type", "application/grpc,application/grpc")], frame(MESSAGE), 12),
    ("type: twice", UNARY, [TYPE, TYPE], frame(MESSAGE), (12, BY_SERVER)),
    ("type: a prefix", UNARY, [("content-type", "application/grpcx")], frame(MESSAGE), 12),
    ("type: none", UNARY, [], frame(MESSAGE), "415"),
    ("type: gRPC-Web with a body of gRPC", UNARY, [("content-type", "application/grpc-web-text")], frame(MESSAGE), 13),
    # Headers
    ("metadata: too much", UNARY, [TYPE, ("x-much", "a" * 20_000)], frame(MESSAGE), (8, BY_SERVER)),
    ("metadata: far too much", UNARY, [TYPE, *((f"x-{n}", "a" * 8000) for n in range(40))], frame(MESSAGE), BY_SERVER),
    ("metadata: no base64", UNARY, [TYPE, ("x-trailing-bin", "!")], frame(MESSAGE), 0),
    ("metadata: a status", UNARY, [TYPE, ("grpc-status", "7"), ("grpc-message", "no")], frame(MESSAGE), 0),
    ("metadata: our own prefix", UNARY, [TYPE, ("grpc-trailer-x", "7")], frame(MESSAGE), 0),
    ("header: upper case", UNARY, [TYPE, ("X-Upper", "1")], frame(MESSAGE), BY_SERVER),
    ("header: of a connection", UNARY, [TYPE, ("connection", "close")], frame(MESSAGE), (BY_SERVER, 0)),
    ("header: chunks", UNARY, [TYPE, ("transfer-encoding", "chunked")], frame(MESSAGE), (BY_SERVER, 0, "501")),
    ("header: a line break", UNARY, [TYPE, ("x-break", "a\r\nx-other: b")], frame(MESSAGE), BY_SERVER),
    ("header: a zero", UNARY, [TYPE, ("x-zero", "a\0b")], frame(MESSAGE), BY_SERVER),
    ("length: too short", UNARY, [TYPE, ("content-length", "1")], frame(MESSAGE), BY_SERVER),
    ("length: too long", UNARY, [TYPE, ("content-length", "1000")], frame(MESSAGE), BY_SERVER),
    ("length: no number", UNARY, [TYPE, ("content-length", "x")], frame(MESSAGE), (BY_SERVER, 13)),
    ("length: negative", UNARY, [TYPE, ("content-length", "-1")], frame(MESSAGE), (BY_SERVER, 13)),
    ("te: not trailers", UNARY, [TYPE, ("te", "gzip")], frame(MESSAGE), (0, BY_SERVER)),
    ("upgrade", UNARY, [TYPE, ("upgrade", "websocket")], frame(MESSAGE), (BY_SERVER, 0)),
]


def outcome(server: Server, path: str, headers: list[tuple[str, str]], body: bytes) -> int | str:
    with Http2Connection(server.port) as connection:
        try:
            exchange = connection.receive(connection.send(path, headers, body))
        except (ConnectionError, BrokenPipeError):
            return BY_SERVER
    if exchange.reset is not None or not exchange.headers:
        return BY_SERVER
    if exchange.headers.get("content-type", "").startswith("application/grpc"):
        assert exchange.headers[":status"] == "200"
        assert exchange.code is not None
        return exchange.code
    status = exchange.headers[":status"]
    return BY_SERVER if status in {"400", "431"} else status


def test_hostile_requests(server: Server) -> None:
    # Envoy takes a second before it closes a connection.
    with ThreadPoolExecutor(8) as threads:
        outcomes = {name: threads.submit(outcome, server, *request) for name, *request, _ in HOSTILE}

    def check(name: str, path: str, headers: list[tuple[str, str]], body: bytes, expected: Any) -> None:
        allowed = expected if isinstance(expected, tuple) else (expected,)
        found = outcomes[name].result()
        assert found in allowed, found

    assert len(HOSTILE) >= 40
    check_rows(check, HOSTILE)
    assert_healthy(server)


VERBS = ["GET", "PUT", "DELETE", "OPTIONS"]


def test_hostile_frames(server: Server) -> None:
    """Bytes that are no HTTP/2, and streams that break off, leave the server as it was."""
    for data in (
        b"\0" * 100,
        b"\xff" * 100,
        b"\0\0\x08\x06\0\0\0\0\0",
        b"\0\0\0\0\0\0\0\0\x01",
        b"GET / HTTP/1.1\r\n\r\n",
    ):
        with Http2Connection(server.port) as connection:
            connection.send_bytes(data)
            with contextlib.suppress(ConnectionError):
                connection.send(UNARY, GRPC, frame(MESSAGE))
    for path in (UNARY, BIDI):
        with Http2Connection(server.port) as connection:
            number = connection.send(path, GRPC, frame(MESSAGE), ends=False)
            connection.send_trailers(number, [("grpc-status", "0"), ("x-trailer", "1")])
            assert connection.receive(number).code == 0
    with Http2Connection(server.port) as connection:
        for _ in range(200):
            connection.reset(connection.send(UNARY, GRPC, frame(MESSAGE)[:7], ends=False))
    for verb in VERBS:
        with Http2Connection(server.port) as connection:
            exchange = connection.receive(connection.send(UNARY, GRPC, None, verb=verb))
            assert exchange.headers[":status"] in ({"200", "204"} if verb == "OPTIONS" else {"405"})
    assert_healthy(server)
