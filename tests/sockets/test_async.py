"""Async service functions on real servers: clients that go away, deadlines, servers that are told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from flask import Flask, request

from flask_grpcweb_scm import CallContext, current_rpc
from tests.apps import ECHO, echo_app
from tests.echo_pb2 import EchoReply, EchoRequest
from tests.grpcweb import PROTO, Answer, body_of, frame, read
from tests.servers import command, free_port, listening
from tests.sockets.http1 import PATIENCE, Connection, Response, chunked
from tests.sockets.http1 import request as http_request
from tests.sockets.servers import complaints

pytestmark = pytest.mark.needs("server")

SERVERS = ["gunicorn gthread", "gunicorn sync", "granian", "waitress"]
LANES = ["through Flask", "fast lane"]
LEFT_OVER = re.compile(r"^.*(?:never awaited|unclosed event loop|destroyed but it is pending|never retrieved).*$", re.M)
STOPPED_BY = {"waitress": signal.SIGINT}


def create_app() -> Flask:
    """An app of async functions; each notes in a file that its loop has run what it has to do at its end."""
    app = echo_app(
        Unary=unary,
        ServerStream=server_stream,
        ClientStream=client_stream,
        Bidi=bidi,
        GRPC_REQUIRE_AUTH=False,
        GRPC_MAX_STREAMS=1,
        GRPC_STREAM_TIMEOUT=None,
    )
    app.testing = False
    if os.environ["LANE"] == LANES[0]:
        app.before_request(lambda: None)
    app.add_url_rule("/up", "up", lambda: "up")
    return app


@contextlib.asynccontextmanager
async def noting(context: CallContext) -> AsyncIterator[None]:
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    beside = asyncio.create_task(asyncio.sleep(3600))
    note("begun")
    try:
        yield
    finally:
        await asyncio.sleep(0.01)
        assert (asyncio.get_running_loop(), asyncio.current_task()) == (loop, task)
        assert (current_rpc.path, request.path) == (context.path, context.path)
        assert not beside.done()
        note("ended")


def note(text: str) -> None:
    with Path(os.environ["FOLDER"], "notes").open("a") as file:
        file.write(text + "\n")


async def unary(message: EchoRequest, context: CallContext) -> EchoReply:
    async with noting(context):
        await nap(message)
        return EchoReply(text=message.text)


async def server_stream(message: EchoRequest, context: CallContext) -> AsyncIterator[EchoReply]:
    async with noting(context):
        for number in range(message.count):
            yield EchoReply(text=message.text, number=number)
            await nap(message)


async def client_stream(messages: AsyncIterator[EchoRequest], context: CallContext) -> EchoReply:
    async with noting(context):
        return EchoReply(text=",".join([message.text async for message in messages]))


async def bidi(messages: AsyncIterator[EchoRequest], context: CallContext) -> AsyncIterator[EchoReply]:
    async with noting(context):
        async for message in messages:
            yield EchoReply(text=message.text)
            await nap(message)


async def nap(message: EchoRequest) -> None:
    if message.text == "sleep":
        await asyncio.sleep(3600)
    elif message.text == "until signalled":
        while not Path(os.environ["FOLDER"], "signalled").exists():
            await asyncio.sleep(0.02)
        # For the server to act on it.
        await asyncio.sleep(0.3)


class Host:
    """A running server."""

    def __init__(self, name: str, port: int, folder: Path, pid: int) -> None:
        self.name = name
        self.port = port
        self.pid = pid
        self._folder = folder

    def notes(self) -> list[str]:
        file = self._folder / "notes"
        return file.read_text().split() if file.exists() else []

    def wait_for_note(self, text: str) -> None:
        stop = time.monotonic() + PATIENCE
        while text not in self.notes():
            assert time.monotonic() < stop, (self.notes(), self.log())
            time.sleep(0.02)

    def forget(self) -> None:
        (self._folder / "notes").unlink(missing_ok=True)

    def signal(self) -> None:
        os.kill(self.pid, STOPPED_BY.get(self.name, signal.SIGTERM))
        (self._folder / "signalled").touch()

    def log(self) -> str:
        return (self._folder / "log").read_text(errors="replace")

    def call(self, method: str, *messages: EchoRequest, timeout: str = "") -> Answer:
        with Connection(self.port) as connection:
            connection.send(call(method, *messages, timeout=timeout))
            return answer(connection.response())


def call(method: str, *messages: EchoRequest, timeout: str = "") -> bytes:
    body = b"".join(frame(message.SerializeToString()) for message in messages)
    headers = [("content-type", PROTO), *([("grpc-timeout", timeout)] if timeout else [])]
    return http_request(ECHO + method, body, headers)


def answer(response: Response) -> Answer:
    return read(response.status, response.headers, response.body)


@contextlib.contextmanager
def host(name: str, lane: str, folder: Path) -> Iterator[Host]:
    port, environ = free_port(), {"FOLDER": str(folder), "LANE": lane, "PYTHONDEVMODE": "1"}
    arguments = command(name, f"{__name__}:create_app", port, threads=2)
    with listening(arguments, port, folder / "log", environ) as process:
        server = Host(name, port, folder, process.pid)
        with Connection(port) as connection:
            connection.send(http_request("/up", verb="GET"))
            assert connection.response().status == 200
        for method in ("Unary", "ServerStream", "ClientStream", "Bidi"):
            # Flask's router sees the first one.
            assert server.call(method, EchoRequest()).code == 0
        server.forget()
        yield server
    assert complaints(server.log()) == []
    assert LEFT_OVER.findall(server.log()) == []


@pytest.fixture(scope="module", params=[(name, lane) for name in SERVERS for lane in LANES], ids=", ".join)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    name, lane = request.param
    with host(name, lane, tmp_path_factory.mktemp("async")) as server:
        yield server


HELLO = EchoRequest(text="hello", count=2)


@pytest.mark.parametrize(
    ("method", "messages", "texts"),
    [
        ("Unary", [HELLO], ["hello"]),
        ("ServerStream", [HELLO], ["hello", "hello"]),
        ("ClientStream", [HELLO, EchoRequest(text="again")], ["hello,again"]),
        ("Bidi", [HELLO, EchoRequest(text="again")], ["hello", "again"]),
    ],
)
def test_methods_of_all_four_kinds(server: Host, method: str, messages: list[EchoRequest], texts: list[str]) -> None:
    server.forget()
    answer = server.call(method, *messages)
    assert (answer.code, [message.text for message in answer.messages(EchoReply)]) == (0, texts)
    assert server.notes() == ["begun", "ended"]


@pytest.mark.parametrize("method", ["Unary", "ServerStream", "Bidi"])
def test_a_sleeping_function_ends_at_the_deadline(server: Host, method: str) -> None:
    server.forget()
    answer = server.call(method, EchoRequest(text="sleep", count=2), timeout="300m")
    assert answer.code == 4
    assert server.notes() == ["begun", "ended"]


@pytest.mark.parametrize("method", ["ServerStream", "Bidi"])
def test_a_function_whose_client_goes_away_is_ended(server: Host, method: str) -> None:
    server.forget()
    message = EchoRequest(text="x" * 200_000, count=2**31 - 1)
    with Connection(server.port) as connection:
        connection.send(call(method, *[message] * (20 if method == "Bidi" else 1)))
        connection.read_some(50_000)
        connection.reset()
    server.wait_for_note("ended")
    # The stream is no longer counted; the server tells of its end before it has let it go.
    stop = time.monotonic() + PATIENCE
    while (found := server.call(method, HELLO)).code == 8:
        assert time.monotonic() < stop, found
        time.sleep(0.02)
    assert found.code == 0


def test_requests_are_read_as_they_arrive(server: Host) -> None:
    server.forget()
    body = chunked(body_of(EchoRequest(text="a")) * 50, 7)
    with Connection(server.port) as connection:
        headers = [("content-type", PROTO), ("transfer-encoding", "chunked")]
        connection.send(http_request(ECHO + "ClientStream", headers=headers, length=None))
        connection.send(body, step=10)
        response = answer(connection.response())
    assert response.only(EchoReply).text == ",".join("a" * 50)
    assert server.notes() == ["begun", "ended"]


@pytest.mark.parametrize("method", ["Unary", "ServerStream"])
@pytest.mark.parametrize("name", SERVERS)
def test_a_server_that_is_told_to_stop_finishes_the_call(name: str, method: str, tmp_path: Path) -> None:
    with host(name, LANES[1], tmp_path) as server, Connection(server.port) as connection:
        connection.send(call(method, EchoRequest(text="until signalled", count=2)))
        server.wait_for_note("begun")
        server.signal()
        assert answer(connection.response()).code == 0
    assert server.notes() == ["begun", "ended"]
