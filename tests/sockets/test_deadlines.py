"""Deadlines and clients that leave, over real sockets."""

from __future__ import annotations

import json
import secrets
import time

import pytest

from tests.echo_pb2 import EchoReply
from tests.grpcweb import Answer, frame
from tests.sockets.contract import check_answer
from tests.sockets.http1 import PATIENCE
from tests.sockets.rows import HELLO, STREAM, UNARY, message, rpc
from tests.sockets.servers import Server, any_server


def timed(server: Server, target: str, text: str, timeout: str, *, count: int = 0) -> tuple[Answer, float]:
    body = frame(message(text, count=count))
    started = time.monotonic()
    with server.connect() as connection:
        connection.send(rpc(body, {"grpc-timeout": timeout}, target=target))
        response = connection.response()
    seconds = time.monotonic() - started
    return check_answer(response.status, response.headers, response.body), seconds


@any_server
@pytest.mark.parametrize(
    ("target", "text", "count", "timeout", "messages", "code", "seconds"),
    # Naps take longer on a busy machine, never shorter: a deadline passes shortly before the end of one.
    [
        pytest.param(UNARY, "hello", 0, "0n", 0, 4, 0, id="unary-over-before-it-begins"),
        pytest.param(UNARY, "hello", 0, "1n", 0, 4, 0, id="unary-one-nanosecond"),
        pytest.param(UNARY, "nap 150", 0, "50m", 0, 4, 0.15, id="unary-overrun"),
        pytest.param(UNARY, "nap 50", 0, "20S", 1, 0, 0.05, id="unary-in-time"),
        pytest.param(UNARY, "nap 50", 0, "20000000u", 1, 0, 0.05, id="unary-in-time-microseconds"),
        pytest.param(UNARY, "nap 50", 0, "99999999999H", 1, 0, 0.05, id="unary-in-aeons"),
        pytest.param(STREAM, "hello", 2, "0n", 0, 4, 0, id="stream-over-before-it-begins"),
        pytest.param(STREAM, "nap 150", 2, "50m", 0, 4, 0.15, id="stream-before-the-first-message"),
        pytest.param(STREAM, "late 2", 9, "1S", 2, 4, 1, id="stream-between-messages"),
        pytest.param(STREAM, "late 2", 2, "1S", 2, 4, 1, id="stream-after-the-last-message"),
        pytest.param(STREAM, "nap 250", 0, "50m", 0, 4, 0.25, id="stream-without-messages"),
        pytest.param(STREAM, "nap 20", 3, "20S", 3, 0, 0.08, id="stream-in-time"),
    ],
)
def test_a_deadline_is_kept_when_the_function_next_gives_control(
    server: Server, target: str, text: str, count: int, timeout: str, messages: int, code: int, seconds: float
) -> None:
    answer, taken = timed(server, target, text, timeout, count=count)
    assert (len(answer.payloads), answer.code) == (messages, code)
    assert seconds <= taken < seconds + 5


@any_server
def test_the_messages_before_the_deadline_are_there(server: Server) -> None:
    answer, _ = timed(server, STREAM, "late 2", "1S", count=9)
    assert [reply.number for reply in answer.messages(EchoReply)] == [0, 1]
    assert answer.message == "the deadline of the call has passed"


def test_a_body_that_comes_too_slowly_is_too_late(server: Server) -> None:
    with server.connect() as connection:
        sent = rpc(HELLO, {"grpc-timeout": "600m"})
        connection.send(sent[: -len(HELLO)])
        connection.send(HELLO, step=1, pause=0.06)
        response = connection.response()
    # waitress calls the app when the body is complete: the call's time begins then.
    code = 0 if server.name == "waitress" else 4
    assert check_answer(response.status, response.headers, response.body).code == code


def wait_until_closed(server: Server, name: str) -> None:
    """Until the generator that was called with `name` is closed."""
    started = time.monotonic()
    while name not in json.loads(server.get("/debug/closed")):
        assert time.monotonic() < started + PATIENCE, f"{name} is open still"
        time.sleep(0.02)


@pytest.mark.parametrize("messages_read", [0, 1, 3])
def test_a_client_that_leaves_closes_the_generator(server: Server, messages_read: int) -> None:
    name = secrets.token_hex(8)
    endless = frame(message("nap 20", count=2**31 - 1, data=name.encode()))
    with server.connect() as connection:
        connection.send(rpc(endless, target=STREAM))
        if messages_read:
            chunks = connection.chunks(connection.head())
            assert [next(chunks)[0] for _ in range(messages_read)] == [0] * messages_read
        assert name not in json.loads(server.get("/debug/closed"))
    wait_until_closed(server, name)


def test_messages_are_flushed_as_they_are_produced(server: Server) -> None:
    with server.connect() as connection:
        connection.send(rpc(frame(message("steps", count=3)), target=STREAM))
        server.get("/debug/step")
        chunks = connection.chunks(connection.head())
        for number in range(3):
            assert next(chunks)[0] == 0, number
            # The function goes on no earlier.
            server.get("/debug/step")
        assert len(list(chunks)) == 1


def test_a_finished_stream_closes_its_generator(server: Server) -> None:
    name = secrets.token_hex(8)
    with server.connect() as connection:
        connection.send(rpc(frame(message("hello", count=2, data=name.encode())), target=STREAM))
        connection.response()
    wait_until_closed(server, name)
