"""Over sockets: a fresh server for every measurement, one worker process with sixteen threads.

Two programs ask, over four connections that send the next request when the answer is there. wrk speaks HTTP/1.1, to
gunicorn and granian. h2load speaks HTTP/2, the only thing that grpcio's own server understands; in its loads granian
serves everything else, over HTTP/2 too, with gRPC-Web. In those of gRPC all variants speak gRPC, and pyvoy serves
them. So the numbers of one load are always by one program.
"""

from __future__ import annotations

import functools
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from google.protobuf.message import Message

from benchmarks.apps import (
    CORS_KEYS,
    LIST,
    ORIGIN,
    STREAM,
    bare_wsgi,
    blueprint,
    connectrpc,
    connectrpc_protobuf_py,
    fast_lane,
    flask_view,
    grpc_handlers,
    repositories,
    sonora,
    with_cors,
)
from benchmarks.calls import CONNECTRPC, PAGE
from benchmarks.harness import Goal, Variants, observation
from benchmarks.streams import COUNT, replies
from benchmarks.wsgi import BINARY, frames
from tests.echo_pb2 import EchoReply, EchoRequest
from tests.servers import ROOT, free_port, listening, running

__all__ = ["CONNECTIONS", "GRPC", "THREADS", "check_sizes", "create_app", "h2load"]

SECONDS = 2
GRPC = "application/grpc"
CONNECTIONS = 4
THREADS = 16
# The trailers, and what ends a chunked body.
LAST_CHUNKS = b"grpc-status: 0\r\n\r\n0\r\n\r\n"
READY = [EchoReply(number=number) for number in range(COUNT)]
APPS: dict[str, Callable[[], Any]] = {
    "bare WSGI": lambda: bare_wsgi(repositories(1)),
    "Flask view": lambda: flask_view(repositories(1)),
    "sonora": lambda: sonora(repositories(1)),
    "connectrpc": lambda: connectrpc(repositories(1)),
    "connectrpc, protobuf-py": lambda: connectrpc_protobuf_py(repositories(1)),
    "blueprint": lambda: blueprint(repositories(1)),
    "fast lane": lambda: fast_lane(repositories(1)),
    "fast lane, batch": lambda: fast_lane(repositories(1), stream=replies, batch=True),
    "fast lane, ready sequence": lambda: fast_lane(repositories(1), stream=lambda *_: READY, batch=True),
    "Flask view, Flask-CORS": lambda: with_cors(flask_view(repositories(1))),
    "blueprint, cross-origin": lambda: blueprint(repositories(1), **CORS_KEYS),
    "fast lane, cross-origin": lambda: fast_lane(repositories(1), **CORS_KEYS),
}


def create_app() -> Any:
    """The application that a server serves: the variant named by the environment."""
    return APPS[os.environ["BENCHMARK_VARIANT"]]()


def __getattr__(name: str) -> Any:
    # pyvoy calls no function.
    if name == "app":
        return create_app()
    raise AttributeError(name)


def serve_grpcio(port: int) -> None:
    """Run grpcio's own server, until the process is ended."""
    import grpc

    server = grpc.server(ThreadPoolExecutor(THREADS))
    server.add_generic_rpc_handlers(grpc_handlers(repositories(1)))
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    server.wait_for_termination()


def _served(server: str, variant: str, measure: Callable[[int], float]) -> float:
    with tempfile.TemporaryDirectory() as folder:
        environ = {"BENCHMARK_VARIANT": variant}
        factory = "benchmarks.sockets:create_app"
        with running(server, factory, Path(folder, "log"), environ, python=sys.executable) as port:
            return measure(port)


def _served_by_grpcio(measure: Callable[[int], float]) -> float:
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "benchmarks.sockets", str(port)]
        with listening(command, port, Path(folder, "log"), {"PYTHONPATH": str(ROOT)}):
            return measure(port)


def _requests_per_second(port: int, origin: str = "") -> float:
    with tempfile.TemporaryDirectory() as folder:
        body, script = Path(folder, "body"), Path(folder, "post.lua")
        body.write_bytes(frames(PAGE))
        script.write_text(
            f'wrk.method = "POST"\nwrk.body = io.open("{body}", "rb"):read("*a")\n'
            f'wrk.headers["content-type"] = "{BINARY}"\nwrk.headers["x-grpc-web"] = "1"\n'
            + (f'wrk.headers["origin"] = "{origin}"\n' if origin else "")
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


def h2load(port: int, content_type: str, path: str, payload: bytes, *options: str) -> re.Match[str]:
    """Run h2load: requests per second, the number of those that succeeded, and their bytes of data."""
    with tempfile.TemporaryDirectory() as folder:
        body = Path(folder, "body")
        body.write_bytes(frames(payload))
        headers = [f"-Hcontent-type: {content_type}", "-Hte: trailers"]
        command = ["h2load", *options, "-d", str(body), *headers, f"http://127.0.0.1:{port}{path}"]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"([\d.]+) req/s.*, (\d+) succeeded, 0 failed, 0 errored.*\((\d+)\) data", output, re.DOTALL)
    assert found is not None, output
    return found


def _requests_per_second_of_http2(port: int, content_type: str, *options: str, connections: int = CONNECTIONS) -> float:
    options = (f"-c{connections}", "--warm-up-time=1", f"-D{SECONDS}", *options)
    found = h2load(port, content_type, LIST, PAGE, *options)
    check_sizes(found, [repositories(1)])
    return float(found[1])


def _slowest_of_100(port: int, content_type: str, *options: str, connections: int = CONNECTIONS) -> float:
    """The milliseconds that one in a hundred calls takes longer than."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log")
        _requests_per_second_of_http2(port, content_type, f"--log-file={log}", *options, connections=connections)
        microseconds = [int(line.split()[2]) for line in log.read_text().splitlines()]
    return statistics.quantiles(microseconds, n=100)[98] / 1e3


def _slowest_of_64(port: int) -> float:
    return _slowest_of_100(port, BINARY, "--h1", connections=64)


def _messages_per_second_of_http2(port: int, content_type: str) -> float:
    payload = EchoRequest(count=COUNT).SerializeToString()
    best = 0.0
    for _ in range(5):
        found = h2load(port, content_type, STREAM, payload, "-c1", "-n1")
        check_sizes(found, READY)
        best = max(best, float(found[1]) * COUNT)
    return best


def check_sizes(found: re.Match[str], replies: Sequence[Message]) -> None:
    """An answer is whole: an error is no faster than success. In gRPC both have the HTTP status 200."""
    expected = sum(len(frames(reply.SerializeToString())) for reply in replies)
    assert int(found[3]) >= int(found[2]) * expected, found[0]


def _variants(server: str, names: list[str], measure: Callable[[int], float]) -> Variants:
    return {name: functools.partial(_served, server, name, measure) for name in names}


def _http2_variants(names: list[str], measure: Callable[[int, str], float]) -> Variants:
    others = _variants("granian", names, functools.partial(measure, content_type=BINARY))
    return {**others, **_grpcio(measure)}


def _grpc_variants(measure: Callable[[int, str], float]) -> Variants:
    names = [*CONNECTRPC, "blueprint", "fast lane"]
    return {**_variants("pyvoy", names, functools.partial(measure, content_type=GRPC)), **_grpcio(measure)}


def _grpcio(measure: Callable[[int, str], float]) -> Variants:
    return {"grpcio": functools.partial(_served_by_grpcio, functools.partial(measure, content_type=GRPC))}


UNARY = ["bare WSGI", "Flask view", "sonora", *CONNECTRPC, "blueprint", "fast lane"]
STREAMS = [*UNARY, "fast lane, batch", "fast lane, ready sequence"]
UNARY_GOALS = [Goal("fast lane", peer, at_least=1) for peer in ("sonora", *CONNECTRPC)]
STREAM_GOALS = [Goal("fast lane, ready sequence", "Flask view", at_least=7)]


@observation("gunicorn, unary", unit="requests/s", reference="Flask view", goals=UNARY_GOALS, needs="wrk")
def gunicorn(stack: ExitStack) -> Variants:
    """A page of one repository."""
    return _variants("gunicorn", UNARY, _requests_per_second)


@observation("granian, unary", unit="requests/s", reference="Flask view", goals=UNARY_GOALS, needs="wrk")
def granian(stack: ExitStack) -> Variants:
    """A page of one repository."""
    return _variants("granian", UNARY, _requests_per_second)


CROSS_ORIGIN = ["Flask view, Flask-CORS", "sonora", *CONNECTRPC, "blueprint, cross-origin", "fast lane, cross-origin"]
CROSS_ORIGIN_GOALS = [
    Goal("fast lane, cross-origin", "sonora", at_least=1),
    Goal("fast lane, cross-origin", "Flask view, Flask-CORS", at_least=2),
]


@observation(
    "granian, cross-origin",
    unit="requests/s",
    reference="Flask view, Flask-CORS",
    goals=CROSS_ORIGIN_GOALS,
    needs="wrk",
)
def granian_cross_origin(stack: ExitStack) -> Variants:
    """A page of one repository, for a page of another origin; sonora and connectrpc as they are."""
    return _variants("granian", CROSS_ORIGIN, functools.partial(_requests_per_second, origin=ORIGIN))


@observation("gunicorn, the slowest of a hundred of 64 connections", unit="ms", reference="Flask view", needs="h2load")
def gunicorn_p99(stack: ExitStack) -> Variants:
    """The time of a call that 99 of a hundred do not take, from 64 connections at once."""
    return _variants("gunicorn", UNARY, _slowest_of_64)


@observation("granian, the slowest of a hundred of 64 connections", unit="ms", reference="Flask view", needs="h2load")
def granian_p99(stack: ExitStack) -> Variants:
    """The same."""
    return _variants("granian", UNARY, _slowest_of_64)


@observation("gunicorn, stream", unit="messages/s", reference="Flask view", goals=STREAM_GOALS)
def gunicorn_stream(stack: ExitStack) -> Variants:
    """A stream of 10 000 small messages."""
    return _variants("gunicorn", STREAMS, _messages_per_second)


@observation("HTTP/2, unary", unit="requests/s", reference="Flask view", needs="h2load")
def http2(stack: ExitStack) -> Variants:
    """A page of one repository."""
    return _http2_variants(UNARY, _requests_per_second_of_http2)


@observation("HTTP/2, stream", unit="messages/s", reference="Flask view", needs="h2load")
def http2_stream(stack: ExitStack) -> Variants:
    """A stream of 10 000 small messages."""
    return _http2_variants(STREAMS, _messages_per_second_of_http2)


GRPC_GOALS = [Goal("fast lane", "connectrpc", at_least=0.9), Goal("fast lane", "grpcio", at_least=0.7)]

if sys.version_info >= (3, 11):  # pyvoy needs it

    @observation("gRPC, unary", unit="requests/s", reference="connectrpc", goals=GRPC_GOALS, needs="h2load")
    def grpc_unary(stack: ExitStack) -> Variants:
        """A page of one repository."""
        return _grpc_variants(_requests_per_second_of_http2)

    @observation("gRPC, unary, the slowest of a hundred", unit="ms", reference="connectrpc", needs="h2load")
    def grpc_p99(stack: ExitStack) -> Variants:
        """The time of a call that 99 of a hundred do not take."""
        return _grpc_variants(_slowest_of_100)

    @observation("gRPC, the slowest of a hundred of 64 connections", unit="ms", reference="connectrpc", needs="h2load")
    def grpc_p99_of_64(stack: ExitStack) -> Variants:
        """The same, from 64 connections at once."""
        return _grpc_variants(functools.partial(_slowest_of_100, connections=64))


if __name__ == "__main__":
    serve_grpcio(int(sys.argv[1]))
