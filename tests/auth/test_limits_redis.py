"""Rate limits that several apps count together, in a real Redis."""

from __future__ import annotations

import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from flask import Flask
from google.rpc.error_details_pb2 import RetryInfo

from flask_grpcweb_scm.auth import counts
from tests.apps import ECHO, echo_app
from tests.echo_pb2 import EchoRequest
from tests.faults.redis_server import RedisServer
from tests.grpcweb import call
from tests.servers import free_port

SECONDS = 20.0

pytestmark = pytest.mark.usefixtures("patient")


def limited_app(server: RedisServer) -> Flask:
    return echo_app(GRPC_RATE_LIMITS="3000/hour", GRPC_RATE_LIMIT_STORAGE=server.uri)


def codes(app: Flask, count: int, timeout: str = "60S") -> set[int]:
    """The codes of so many calls at once."""
    headers = {"grpc-timeout": timeout}
    with ThreadPoolExecutor(count) as pool:
        calls = [
            pool.submit(call, app.test_client(), ECHO + "Unary", EchoRequest(), headers=headers) for _ in range(count)
        ]
        return {future.result().code for future in calls}


def threads_that_count() -> int:
    return sum(thread.name == "counting calls" for thread in threading.enumerate())


def wait_until_counted(app: Flask) -> None:
    deadline = time.monotonic() + SECONDS
    while codes(app, 1) != {0}:
        assert time.monotonic() < deadline, "calls are still refused"
        time.sleep(0.02)


@pytest.mark.needs("Redis")
def test_two_apps_count_together(server: RedisServer) -> None:
    clients = [echo_app(GRPC_RATE_LIMITS="3/hour", GRPC_RATE_LIMIT_STORAGE=server.uri).test_client() for _ in range(2)]
    codes = [call(clients[number % 2], ECHO + "Unary", EchoRequest()).code for number in range(5)]
    assert codes == [0, 0, 0, 8, 8]


@pytest.mark.needs("Redis")
def test_a_redis_that_hangs_is_waited_for_until_the_deadline_and_by_one_call(
    server: RedisServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counts, "STORAGE_SECONDS", 2.0)
    app = limited_app(server)
    wait_until_counted(app)
    with server.stopped():
        assert codes(app, 10, "200m") == {4}
        assert codes(app, 1) == {14}
        hung = threads_that_count()
        for _ in range(20):
            answer = call(app.test_client(), ECHO + "Unary", EchoRequest())
            assert (answer.code, len(answer.details(RetryInfo))) == (14, 1)
        assert threads_that_count() <= hung + 1
    wait_until_counted(app)
    assert len(caplog.records) == 1
    assert "Traceback" not in caplog.text


@pytest.mark.needs("Redis")
def test_a_call_in_a_hurry_does_not_make_others_be_refused(server: RedisServer) -> None:
    app = limited_app(server)
    with server.stopped():
        assert codes(app, 1, "1m") == {4}
        with ThreadPoolExecutor(1) as pool:
            other = pool.submit(codes, app, 1)
            time.sleep(0.1)
            server.resume()
            assert other.result() == {0}


@pytest.mark.needs("Redis")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_redis_that_is_started_again_counts_again(server: RedisServer, number: signal.Signals) -> None:
    app = limited_app(server)
    assert codes(app, 1) == {0}
    server.end(number)
    assert codes(app, 5) == {14}
    server.start()
    wait_until_counted(app)
    assert codes(app, 5) == {0}


@pytest.mark.needs("time")
def test_without_its_redis_nobody_is_let_in_and_told_why(caplog: pytest.LogCaptureFixture) -> None:
    storage = f"redis://user:hush@127.0.0.1:{free_port()}"
    client = echo_app(GRPC_RATE_LIMITS="3/hour", GRPC_RATE_LIMIT_STORAGE=storage).test_client()
    answer = call(client, ECHO + "Unary", EchoRequest())
    assert (answer.code, answer.message) == (14, "calls cannot be counted at present; try again later")
    assert "GRPC_RATE_LIMIT_STORAGE cannot count" in caplog.text
    assert "hush" not in caplog.text


@pytest.mark.needs("Redis")
def test_two_apps_count_failures_together(
    server: RedisServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counts, "STORAGE_SECONDS", 2.0)
    config = {"GRPC_AUTH_TOKENS": "right", "GRPC_MAX_AUTH_FAILURES": 2, "GRPC_RATE_LIMIT_STORAGE": server.uri}
    clients = [echo_app(**config).test_client() for _ in range(2)]

    def codes_of(*tokens: str) -> list[int]:
        return [
            call(clients[number % 2], ECHO + "Unary", EchoRequest(), headers={"x-grpc-auth-token": token}).code
            for number, token in enumerate(tokens)
        ]

    assert codes_of("wrong", "wrong", "wrong", "right", "wrong", "right") == [16, 16, 8, 0, 8, 0]
    # Each by itself while the storage is gone, and nobody with a right one notices.
    with server.stopped():
        assert codes_of("wrong", "wrong", "wrong", "wrong", "wrong", "wrong") == [16, 16, 16, 16, 8, 8]
        assert codes_of("right", "right") == [0, 0]
    assert "wrong credentials are counted in each process" in caplog.text
