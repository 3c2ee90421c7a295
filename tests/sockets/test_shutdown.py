"""Servers that are told to stop finish the calls that have begun, as far as docs/servers.md says so."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask

from flask_grpcweb_scm import CallContext
from tests.apps import ECHO, echo_app
from tests.documents import PAGES
from tests.echo_pb2 import EchoReply, EchoRequest
from tests.grpcweb import PROTO, body_of
from tests.servers import ROOT, command, free_port, wait_until_listening
from tests.sockets.http1 import Connection, request
from tests.sockets.servers import complaints

pytestmark = pytest.mark.needs("server")

PATIENCE = 20.0
FINISHING = [
    ("gunicorn sync", signal.SIGTERM),
    ("gunicorn gthread", signal.SIGTERM),
    ("gunicorn gevent", signal.SIGTERM),
    ("granian", signal.SIGTERM),
    ("waitress", signal.SIGINT),
]


def create_app() -> Flask:
    """An app that serves Echo; a call goes on once its test has sent the signal."""

    def unary(message: EchoRequest, context: CallContext) -> EchoReply:
        dawdle()
        return EchoReply(text="the end")

    def server_stream(message: EchoRequest, context: CallContext) -> Iterator[EchoReply]:
        dawdle()
        for number in range(5):
            time.sleep(0.05)
            yield EchoReply(text="the end" if number == 4 else "", number=number)

    return echo_app(Unary=unary, ServerStream=server_stream, GRPC_REQUIRE_AUTH=False)


def dawdle() -> None:
    folder = Path(os.environ["FOLDER"])
    (folder / "started").touch()
    stop = time.monotonic() + PATIENCE
    while not (folder / "signalled").exists() and time.monotonic() < stop:
        time.sleep(0.02)
    # For the server to act on it.
    time.sleep(0.3)


@pytest.mark.parametrize("method", ["Unary", "ServerStream"])
@pytest.mark.parametrize(("server", "number"), FINISHING, ids=str)
def test_a_call_that_has_begun_is_finished(server: str, number: signal.Signals, method: str, tmp_path: Path) -> None:
    module = "gevent" if "gevent" in server else server.split()[0]
    if importlib.util.find_spec(module) is None and "CI" not in os.environ:
        pytest.skip(f"{module} is not installed: pip install {module}")
    port, log = free_port(), tmp_path / "log"
    sent = request(ECHO + method, body_of(EchoRequest()), [("content-type", PROTO), ("connection", "close")])
    with log.open("w") as output, interruptible_children():
        process = subprocess.Popen(
            command(server, f"{__name__}:create_app", port, threads=2),
            cwd=ROOT,
            env={**os.environ, "FOLDER": str(tmp_path)},
            stdout=output,
            stderr=output,
        )
    try:
        wait_until_listening(port, process, log)
        with Connection(port) as connection:
            connection.send(sent)
            stop = time.monotonic() + PATIENCE
            while not (tmp_path / "started").exists():
                assert time.monotonic() < stop, log.read_text()
                time.sleep(0.02)
            process.send_signal(number)
            (tmp_path / "signalled").touch()
            received = connection.read_to_end()
        assert b"the end" in received
        assert re.search(rb"grpc-status: ?0", received)
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()
        process.wait()
    assert complaints(log.read_text()) == []


@contextlib.contextmanager
def interruptible_children() -> Iterator[None]:
    """Start processes for which SIGINT is not ignored: in a test run in the background of a shell it is."""
    ours = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, ours)


def test_the_servers_are_listed() -> None:
    text = PAGES["servers"].read_text().partition("## Stopping\n\n")[2].partition("\n\n")[0]
    for server, number in FINISHING:
        assert set(server.split()) <= set(re.findall(r"\w+", text))
        assert number.name in text
