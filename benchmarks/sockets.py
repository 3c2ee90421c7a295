"""Over sockets: gunicorn and granian, a fresh server for every measurement, one worker process with sixteen threads.

wrk asks (`apt install wrk`), with four connections that send the next request when the answer is there.
"""

from __future__ import annotations

import functools
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.apps import LIST, STREAM, bare_wsgi, blueprint, connectrpc, fast_lane, flask_view, repositories, sonora
from benchmarks.calls import PAGE
from benchmarks.harness import Goal, Variants, observation
from benchmarks.streams import COUNT, replies
from benchmarks.wsgi import BINARY, frames
from tests.echo_pb2 import EchoReply, EchoRequest
from tests.servers import running

__all__ = ["create_app"]

SECONDS = 2
CONNECTIONS = 4
# The trailers, and what ends a chunked body.
LAST_CHUNKS = b"grpc-status: 0\r\n\r\n0\r\n\r\n"
READY = [EchoReply(number=number) for number in range(COUNT)]
APPS: dict[str, Callable[[], Any]] = {
    "bare WSGI": lambda: bare_wsgi(repositories(1)),
    "Flask view": lambda: flask_view(repositories(1)),
    "sonora": lambda: sonora(repositories(1)),
    "connectrpc": lambda: connectrpc(repositories(1)),
    "blueprint": lambda: blueprint(repositories(1)),
    "fast lane": lambda: fast_lane(repositories(1)),
    "fast lane, batch": lambda: fast_lane(repositories(1), stream=replies, batch=True),
    "fast lane, ready sequence": lambda: fast_lane(repositories(1), stream=lambda *_: READY, batch=True),
}


def create_app() -> Any:
    """The application that a server serves: the variant named by the environment."""
    return APPS[os.environ["BENCHMARK_VARIANT"]]()


def _served(server: str, variant: str, measure: Callable[[int], float]) -> float:
    with tempfile.TemporaryDirectory() as folder:
        environ = {"BENCHMARK_VARIANT": variant}
        factory = "benchmarks.sockets:create_app"
        with running(server, factory, Path(folder, "log"), environ, python=sys.executable) as port:
            return measure(port)


def _requests_per_second(port: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        body, script = Path(folder, "body"), Path(folder, "post.lua")
        body.write_bytes(frames(PAGE))
        script.write_text(
            f'wrk.method = "POST"\nwrk.body = io.open("{body}", "rb"):read("*a")\n'
            f'wrk.headers["content-type"] = "{BINARY}"\nwrk.headers["x-grpc-web"] = "1"\n'
        )
        url = f"http://127.0.0.1:{port}{LIST}"
        for seconds in (1, SECONDS):  # the first is to warm up
            command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", str(script), url]
            output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "Non-2xx" not in output, output
    found = re.search(r"Requests/sec:\s*([0-9.]+)", output)
    assert found is not None, output
    return float(found[1])


def _messages_per_second(port: int) -> float:
    body = frames(EchoRequest(count=COUNT).SerializeToString())
    head = f"POST {STREAM} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {BINARY}\r\ncontent-length: {len(body)}\r\n\r\n"
    best = 0.0
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        for _ in range(5):
            started = time.perf_counter()
            connection.sendall(head.encode() + body)
            end = b""
            while not end.endswith(LAST_CHUNKS):
                received = connection.recv(2**16)
                assert received, "the server has closed the connection"
                end = (end + received)[-len(LAST_CHUNKS) :]
            best = max(best, COUNT / (time.perf_counter() - started))
    return best


def _variants(server: str, names: list[str], measure: Callable[[int], float]) -> Variants:
    return {name: functools.partial(_served, server, name, measure) for name in names}


UNARY = ["bare WSGI", "Flask view", "sonora", "connectrpc", "blueprint", "fast lane"]
STREAMS = [*UNARY, "fast lane, batch", "fast lane, ready sequence"]
UNARY_GOALS = [Goal("fast lane", "sonora", at_least=1), Goal("fast lane", "connectrpc", at_least=1)]
STREAM_GOALS = [Goal("fast lane, ready sequence", "Flask view", at_least=7)]


@observation("gunicorn, unary", unit="requests/s", reference="Flask view", goals=UNARY_GOALS)
def gunicorn(stack: ExitStack) -> Variants:
    """A page of one repository."""
    return _variants("gunicorn", UNARY, _requests_per_second)


@observation("granian, unary", unit="requests/s", reference="Flask view", goals=UNARY_GOALS)
def granian(stack: ExitStack) -> Variants:
    """A page of one repository."""
    return _variants("granian", UNARY, _requests_per_second)


@observation("gunicorn, stream", unit="messages/s", reference="Flask view", goals=STREAM_GOALS)
def gunicorn_stream(stack: ExitStack) -> Variants:
    """A stream of 10 000 small messages."""
    return _variants("gunicorn", STREAMS, _messages_per_second)
