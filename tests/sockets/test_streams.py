"""Streams that are cut short, in every protocol: clients that go away or stop, deadlines; each gives its place back."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
import struct
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from flask_grpcweb_scm import CallContext, RpcError, StatusCode
from tests import connect, grpcweb
from tests.apps import ECHO, echo_app, know_routes
from tests.echo_pb2 import EchoReply, EchoRequest
from tests.servers import command, free_port, listening
from tests.sockets.app import nap
from tests.sockets.http1 import PATIENCE, Connection, Response, chunked
from tests.sockets.http1 import request as http_request
from tests.sockets.servers import complaints

pytestmark = pytest.mark.needs("server")

LANES = ["through Flask", "fast lane", "async functions"]
SERVERS = [(name, lane) for name in ("gunicorn gthread", "granian") for lane in LANES]
THREADS = 4
KINDS = ["ServerStream", "Bidi"]
# granian gives an app no means to see a peer that stops.
where_peers_are_seen = pytest.mark.parametrize(
    "server", [server for server in SERVERS if server[0] != "granian"], ids=", ".join, indirect=True
)
COMPLAINT_OF_GUNICORN = re.compile(r"\[ERROR\] Socket error processing request|^Traceback|^TimeoutError: timed out")
"""It tells of a timeout in the middle of a response with a traceback."""


def create_app() -> Flask:
    lane = os.environ["LANE"]
    functions = [async_server_stream, async_client_stream, async_bidi]
    if lane != LANES[2]:
        functions = [server_stream, client_stream, bidi]
    app = echo_app(
        **dict(zip(("ServerStream", "ClientStream", "Bidi"), functions, strict=True)),
        GRPC_REQUIRE_AUTH=False,
        GRPC_MAX_STREAMS=1,
        GRPC_IDLE_TIMEOUT=1,
    )
    app.testing = False
    if lane == LANES[0]:
        app.before_request(lambda: None)
    else:
        know_routes(app)
    app.add_url_rule("/up", "up", lambda: "up")
    return app


@contextlib.contextmanager
def noting(context: CallContext) -> Iterator[None]:
    note("begun")
    try:
        yield
    finally:
        note("ended")


def note(text: str) -> None:
    with Path(os.environ["FOLDER"], "notes").open("a") as file:
        file.write(text + "\n")


def server_stream(message: EchoRequest, context: CallContext) -> Iterator[EchoReply]:
    with noting(context):
        for number in range(message.count):
            time.sleep(nap(message, context, number))
            yield reply(message, number)
        fail(message)


def client_stream(messages: Iterator[EchoRequest], context: CallContext) -> EchoReply:
    with noting(context):
        return EchoReply(text=",".join(message.text for message in messages))


def bidi(messages: Iterator[EchoRequest], context: CallContext) -> Iterator[EchoReply]:
    with noting(context):
        for message in messages:
            for number in range(message.count):
                time.sleep(nap(message, context, number))
                yield reply(message, number)
            fail(message)


async def async_server_stream(message: EchoRequest, context: CallContext) -> AsyncIterator[EchoReply]:
    with noting(context):
        for number in range(message.count):
            await asyncio.sleep(nap(message, context, number))
            yield reply(message, number)
        fail(message)


async def async_client_stream(messages: AsyncIterator[EchoRequest], context: CallContext) -> EchoReply:
    with noting(context):
        return EchoReply(text=",".join([message.text async for message in messages]))


async def async_bidi(messages: AsyncIterator[EchoRequest], context: CallContext) -> AsyncIterator[EchoReply]:
    with noting(context):
        async for message in messages:
            for number in range(message.count):
                await asyncio.sleep(nap(message, context, number))
                yield reply(message, number)
            fail(message)


def reply(message: EchoRequest, number: int) -> EchoReply:
    """``large 5000`` has responses of that length."""
    text = message.text
    text = "x" * int(text.removeprefix("large ")) if text.startswith("large ") else text
    return EchoReply(text=text, number=number)


def fail(message: EchoRequest) -> None:
    if message.text == "fail":
        raise RpcError(StatusCode.NOT_FOUND, "failed")


# Protocols


@dataclass(frozen=True)
class Outcome:
    code: StatusCode
    texts: list[str]
    message: str


class GrpcWeb:
    name = "grpc-web"

    def headers(self, timeout: float | None) -> list[tuple[str, str]]:
        timeouts = [] if timeout is None else [("grpc-timeout", f"{timeout * 1000:.0f}m")]
        return [("content-type", "application/grpc-web+proto"), *timeouts]

    def outcome(self, response: Response) -> Outcome:
        answer = grpcweb.read(response.status, response.headers, response.body)
        texts = [EchoReply.FromString(payload).text for payload in answer.payloads]
        return Outcome(StatusCode(answer.code), texts, answer.message)


class Connect:
    name = "connect"

    def headers(self, timeout: float | None) -> list[tuple[str, str]]:
        timeouts = [] if timeout is None else [("connect-timeout-ms", f"{timeout * 1000:.0f}")]
        return [("content-type", "application/connect+proto"), ("connect-protocol-version", "1"), *timeouts]

    def outcome(self, response: Response) -> Outcome:
        answer = connect.read(response.status, response.headers, response.body)
        texts = [EchoReply.FromString(payload).text for payload in answer.payloads]
        return Outcome(
            StatusCode[(answer.code or "ok").upper().replace("CANCELED", "CANCELLED")], texts, answer.message
        )


PROTOCOLS = [GrpcWeb(), Connect()]
each_protocol = pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda protocol: protocol.name)


class Host:
    """A running server."""

    def __init__(self, name: str, port: int, folder: Path) -> None:
        self.name = name
        self.port = port
        self._folder = folder

    def notes(self) -> list[str]:
        file = self._folder / "notes"
        return file.read_text().split() if file.exists() else []

    def forget(self) -> None:
        (self._folder / "notes").unlink(missing_ok=True)

    def wait_until_ended(self) -> None:
        stop = time.monotonic() + PATIENCE
        while self.notes().count("ended") < self.notes().count("begun") or not self.notes():
            assert time.monotonic() < stop, (self.notes(), self.log())
            time.sleep(0.02)

    def log(self) -> str:
        return (self._folder / "log").read_text(errors="replace")


def sent(protocol: Any, method: str, body: bytes, timeout: float | None = None) -> bytes:
    return http_request(ECHO + method, body, protocol.headers(timeout))


def body_of(*messages: EchoRequest) -> bytes:
    return b"".join(connect.frame(message.SerializeToString()) for message in messages)


def check_place(server: Host, protocol: Any) -> None:
    """The caller may have one stream, and has none."""
    stop = time.monotonic() + PATIENCE
    while True:
        with Connection(server.port) as connection:
            connection.send(sent(protocol, "ServerStream", body_of(EchoRequest(text="next", count=1))))
            outcome = protocol.outcome(connection.response())
        if outcome.code is not StatusCode.RESOURCE_EXHAUSTED:
            assert outcome == Outcome(StatusCode.OK, ["next"], "")
            return
        # The server tells of the end of the last one before it has let it go.
        assert time.monotonic() < stop, outcome
        time.sleep(0.02)


@pytest.fixture(scope="module", params=SERVERS, ids=", ".join)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    (name, lane), folder, port = request.param, tmp_path_factory.mktemp("streams"), free_port()
    environ = {"FOLDER": str(folder), "LANE": lane, "PYTHONDEVMODE": "1"}
    arguments = command(name, f"{__name__}:create_app", port, threads=THREADS)
    with listening(arguments, port, folder / "log", environ):
        server = Host(name, port, folder)
        with Connection(port) as connection:
            connection.send(http_request("/up", verb="GET"))
            assert connection.response().status == 200
        yield server
    assert [line for line in complaints(server.log()) if not COMPLAINT_OF_GUNICORN.search(line)] == []


@pytest.fixture(autouse=True)
def forget(server: Host) -> None:
    server.forget()


ENDLESS = body_of(EchoRequest(text="large 100000", count=2**31 - 1))
PACED = body_of(EchoRequest(text="nap 20", count=2**31 - 1))


@each_protocol
@pytest.mark.parametrize("method", KINDS)
@pytest.mark.parametrize("body", [ENDLESS, PACED], ids=["at full speed", "between messages"])
@pytest.mark.parametrize("leave", ["close", "reset"])
def test_a_client_that_goes_away(server: Host, protocol: Any, method: str, body: bytes, leave: str) -> None:
    with Connection(server.port) as connection:
        connection.send(sent(protocol, method, body))
        connection.head()
        connection.read_some(20)
        getattr(connection, leave)()
    server.wait_until_ended()
    check_place(server, protocol)


@each_protocol
@pytest.mark.parametrize("method", [*KINDS, "ClientStream"])
def test_a_client_that_goes_away_before_its_body_is_there(server: Host, protocol: Any, method: str) -> None:
    body = body_of(EchoRequest(text="nap 20", count=1)) * 3
    with Connection(server.port) as connection:
        connection.send(sent(protocol, method, body)[:-5])
        connection.reset()
    if server.notes():
        server.wait_until_ended()
    check_place(server, protocol)


@where_peers_are_seen
@each_protocol
@pytest.mark.parametrize("method", KINDS)
@pytest.mark.parametrize("timeout", [1, None], ids=["with a deadline", "without a deadline"])
def test_readers_that_stop(server: Host, protocol: Any, method: str, timeout: float | None) -> None:
    with socket.socket() as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peer.connect(("127.0.0.1", server.port))
        peer.sendall(sent(protocol, method, ENDLESS, timeout))
        server.wait_until_ended()
        check_place(server, protocol)


@where_peers_are_seen
@each_protocol
@pytest.mark.parametrize("method", [*KINDS, "ClientStream"])
@pytest.mark.parametrize("timeout", [1, None], ids=["with a deadline", "without a deadline"])
def test_senders_that_stop(server: Host, protocol: Any, method: str, timeout: float | None) -> None:
    body = body_of(EchoRequest(text="first", count=1)) * 2
    with Connection(server.port) as connection:
        connection.send(sent(protocol, method, body, timeout)[:-1])
        outcome = protocol.outcome(connection.response())
        assert outcome.code is (StatusCode.CANCELLED if timeout is None else StatusCode.DEADLINE_EXCEEDED), outcome
        # Servers hand on a body as they have some kilobytes of it, or its end.
        assert outcome.texts == []
        assert connection.is_closed()
    check_place(server, protocol)


@where_peers_are_seen
def test_a_sender_that_stops_in_the_only_message_of_connect(server: Host) -> None:
    with Connection(server.port) as connection:
        headers = [("content-type", connect.JSON), ("connect-timeout-ms", "1000")]
        connection.send(http_request(ECHO + "Unary", b'{"text": "first"}', headers)[:-1])
        response = connection.response()
        answer = connect.read(response.status, response.headers, response.body)
        assert (answer.http_status, answer.code) == (504, "deadline_exceeded")
        assert connection.is_closed()


@each_protocol
@pytest.mark.parametrize(
    ("method", "requests", "timeout", "code", "texts"),
    [
        ("ServerStream", [EchoRequest(text="late 2", count=9)], 1.5, 4, 2),
        ("ServerStream", [EchoRequest(text="nap 150", count=2)], 0.05, 4, 0),
        ("ServerStream", [EchoRequest(text="hello", count=2)], 0, 4, 0),
        ("ServerStream", [EchoRequest(text="nap 20", count=2)], 20, 0, 2),
        ("ServerStream", [EchoRequest(text="hello", count=2)], 9_999_999, 0, 2),
        ("Bidi", [EchoRequest(text=text, count=1) for text in ("hello", "hello", "late 0")], 1.5, 4, 2),
        ("Bidi", [EchoRequest(text="hello", count=1)], 0, 4, 0),
        ("Bidi", [EchoRequest(text="nap 20", count=1)] * 2, 20, 0, 2),
    ],
)
def test_deadlines(
    server: Host, protocol: Any, method: str, requests: list[EchoRequest], timeout: float, code: int, texts: int
) -> None:
    with Connection(server.port) as connection:
        connection.send(sent(protocol, method, body_of(*requests), timeout))
        outcome = protocol.outcome(connection.response())
        assert (outcome.code, len(outcome.texts)) == (code, texts), outcome
        # What is left of the requests is read: the connection goes on.
        connection.send(http_request("/up", verb="GET"))
        assert connection.response().status == 200
    check_place(server, protocol)


@each_protocol
@pytest.mark.parametrize("method", KINDS)
def test_errors_after_messages(server: Host, protocol: Any, method: str) -> None:
    requests = [EchoRequest(text="fail", count=2)]
    with Connection(server.port) as connection:
        for _ in range(3):
            connection.send(sent(protocol, method, body_of(*requests)))
            outcome = protocol.outcome(connection.response())
            assert outcome == Outcome(StatusCode.NOT_FOUND, ["fail", "fail"], "failed")
    check_place(server, protocol)


GOOD = body_of(EchoRequest(text="good", count=1))
BAD_BODIES = {
    "reserved flags": GOOD + connect.frame(b"", 0x40),
    "the end of a response": GOOD + connect.frame(b"{}", 0x02),
    "trailers": GOOD + connect.frame(b"grpc-status: 0\r\n", 0x80),
    "compressed without a name": GOOD + connect.frame(b"x", 0x01),
    "no message": GOOD + connect.frame(b"\xff\xff"),
    "ends in a prefix": GOOD + GOOD[:3],
    "ends in a payload": GOOD + GOOD[:-1],
    "too long": GOOD + struct.pack("!BI", 0, 2**31) + b"x" * 100,
}


@each_protocol
@pytest.mark.parametrize("bad", BAD_BODIES)
@pytest.mark.parametrize("way", ["byte by byte", "chunked"])
def test_bodies_that_go_wrong_in_the_middle(server: Host, protocol: Any, bad: str, way: str) -> None:
    # With a deadline the server waits until then, else for a second.
    body, timeout = BAD_BODIES[bad], PATIENCE
    data = sent(protocol, "Bidi", body, timeout)
    if way == "chunked":
        headers = [*protocol.headers(timeout), ("transfer-encoding", "chunked")]
        data = http_request(ECHO + "Bidi", headers=headers, length=None) + chunked(body, 4)
    with Connection(server.port) as connection:
        connection.send(data, step=1 if way == "byte by byte" else 0)
        outcome = protocol.outcome(connection.response())
        assert outcome.texts == ["good"], outcome
        assert outcome.code in {StatusCode.INVALID_ARGUMENT, StatusCode.INTERNAL, StatusCode.RESOURCE_EXHAUSTED}
    check_place(server, protocol)


@each_protocol
def test_one_stream_too_many_is_refused_and_takes_no_place(server: Host, protocol: Any) -> None:
    with Connection(server.port) as first:
        first.send(sent(protocol, "ServerStream", PACED))
        first.head()
        for _ in range(3):
            with Connection(server.port) as connection:
                connection.send(sent(protocol, "Bidi", GOOD))
                outcome = protocol.outcome(connection.response())
                assert (outcome.code, outcome.texts) == (StatusCode.RESOURCE_EXHAUSTED, [])
                assert "1 streams of this caller are open already" in outcome.message
    server.wait_until_ended()
    check_place(server, protocol)
