"""Rate limits that several apps count together, in a real Redis."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import redis
from google.rpc.error_details_pb2 import RetryInfo

from tests.apps import ECHO, echo_app
from tests.echo_pb2 import EchoRequest
from tests.grpcweb import call
from tests.servers import free_port

START_SECONDS = 10.0
LIMIT = 4


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The URI of a Redis of our own, and its process."""
    program = shutil.which("redis-server")
    if program is None:
        reason = "redis-server is not installed: apt-get install redis-server"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    port, folder = free_port(), tmp_path_factory.mktemp("redis")
    process = _start(program, port, folder)
    try:
        yield f"redis://127.0.0.1:{port}", process
    finally:
        process.terminate()
        process.wait()


@pytest.fixture
def storage(server: tuple[str, subprocess.Popen[bytes]]) -> str:
    return server[0]


def _start(program: str, port: int, folder: Path) -> subprocess.Popen[bytes]:
    options = ["--bind", "127.0.0.1", "--port", str(port), "--save", "", "--dir", str(folder)]
    process = subprocess.Popen([program, *options], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + START_SECONDS
    with redis.Redis(port=port) as client:
        while not _answers(client):
            assert process.poll() is None, "redis-server ended"
            assert time.monotonic() < deadline, "redis-server does not answer"
            time.sleep(0.02)
    return process


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


@pytest.mark.needs("Redis")
def test_two_apps_count_together(storage: str) -> None:
    clients = [echo_app(GRPC_RATE_LIMITS="3/hour", GRPC_RATE_LIMIT_STORAGE=storage).test_client() for _ in range(2)]
    codes = [call(clients[number % 2], ECHO + "Unary", EchoRequest()).code for number in range(5)]
    assert codes == [0, 0, 0, 8, 8]


@pytest.mark.needs("Redis")
def test_a_redis_that_hangs_is_waited_for_until_the_deadline(
    server: tuple[str, subprocess.Popen[bytes]], caplog: pytest.LogCaptureFixture
) -> None:
    storage, process = server
    client = echo_app(GRPC_RATE_LIMITS="300/hour", GRPC_RATE_LIMIT_STORAGE=storage).test_client()
    assert call(client, ECHO + "Unary", EchoRequest()).code == 0
    process.send_signal(signal.SIGSTOP)
    try:
        started = time.monotonic()
        with ThreadPoolExecutor(10) as pool:
            headers = {"grpc-timeout": "200m"}
            calls = [pool.submit(call, client, ECHO + "Unary", EchoRequest(), headers=headers) for _ in range(10)]
            assert {future.result().code for future in calls} == {4}
        assert time.monotonic() - started < LIMIT
        patient = call(client, ECHO + "Unary", EchoRequest())
        assert patient.code == 14
        assert len(patient.details(RetryInfo)) == 1
    finally:
        process.send_signal(signal.SIGCONT)
    assert call(client, ECHO + "Unary", EchoRequest()).code == 0
    assert len(caplog.records) == 1
    assert "Traceback" not in caplog.text


def test_without_its_redis_nobody_is_let_in_and_told_why(caplog: pytest.LogCaptureFixture) -> None:
    storage = f"redis://user:hush@127.0.0.1:{free_port()}"
    client = echo_app(GRPC_RATE_LIMITS="3/hour", GRPC_RATE_LIMIT_STORAGE=storage).test_client()
    answer = call(client, ECHO + "Unary", EchoRequest())
    assert (answer.code, answer.message) == (14, "calls cannot be counted at present; try again later")
    assert "GRPC_RATE_LIMIT_STORAGE cannot count" in caplog.text
    assert "hush" not in caplog.text


@pytest.mark.needs("Redis")
def test_two_apps_count_failures_together(storage: str) -> None:
    config = {"GRPC_AUTH_TOKENS": "right", "GRPC_MAX_AUTH_FAILURES": 2, "GRPC_RATE_LIMIT_STORAGE": storage}
    clients = [echo_app(**config).test_client() for _ in range(2)]
    tokens = ["wrong", "wrong", "wrong", "right", "wrong", "right"]
    codes = [
        call(clients[number % 2], ECHO + "Unary", EchoRequest(), headers={"x-grpc-auth-token": token}).code
        for number, token in enumerate(tokens)
    ]
    assert codes == [16, 16, 8, 0, 8, 0]
