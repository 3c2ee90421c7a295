"""Real HTTP servers around an app of the tests."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Flask

ROOT = Path(__file__).parent.parent
START_SECONDS = 20.0
PORTS = range(20_000, 32_000)
"""Below those that clients are given: none of these is taken between the choice and the start of the server."""


quick = False
"""Whether the tests that run no such programs run."""


def check_need(program: str) -> None:
    """Fail a test that starts a program and is not marked so."""
    assert not quick, f'mark what starts it: pytest.mark.needs("{program}")'


def free_port() -> int:
    """Choose a port that is free, and that stays so until a server is started there."""
    # Not a seeded choice, which every process of a test run would make alike.
    for port in random.SystemRandom().sample(PORTS, 100):
        chosen = socket.socket()
        try:
            chosen.bind(("127.0.0.1", port))
        except OSError:
            chosen.close()
            continue
        # A server that has this option, too, may listen where nobody listens yet; whoever binds as above may not.
        chosen.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Open for as long as this process runs.
        chosen.detach()
        return port
    raise AssertionError(f"no free port among {PORTS}")


def command(server: str, factory: str, port: int, python: str = sys.executable, threads: int = 16) -> list[str]:
    """The command that serves an app factory, named ``module:function``, with one worker process.

    :param server: gunicorn's may have the class of its workers after it: ``gunicorn sync``.
    """
    name, _, worker_class = server.partition(" ")
    if name == "gunicorn":
        options = ["--bind", f"127.0.0.1:{port}", "--worker-class", worker_class or "gthread", "--keep-alive", "30"]
        if worker_class not in {"sync", "gevent"}:
            options += ["--threads", str(threads)]
        return [python, "-m", "gunicorn", "--no-control-socket", *options, f"{factory}()"]
    if name == "pyvoy":
        # It calls no function for its app.
        program = str(Path(python).with_name("pyvoy"))
        app = factory.replace(":create_app", ":app")
        return [program, app, "--interface", "wsgi", "--port", str(port), "--worker-threads", str(threads)]
    if name == "granian":
        options = ["--interface", "wsgi", "--port", str(port), "--blocking-threads", str(threads), "--factory"]
        return [python, "-m", "granian", *options, "--log-level", "warning", factory]
    if name == "waitress":
        return [python, "-m", "waitress", "--listen", f"127.0.0.1:{port}", "--threads", str(threads), "--call", factory]
    assert name == "werkzeug"
    options = ["--no-reload", "--no-debugger", "--with-threads" if threads > 1 else "--without-threads"]
    return [python, "-m", "flask", "--app", factory, "run", "--port", str(port), *options]


@contextlib.contextmanager
def serving(app: Flask) -> Iterator[str]:
    """Serve an app of this process while the block runs; gives the URL."""
    from werkzeug.serving import make_server  # not there for the peers

    with in_a_thread(make_server("127.0.0.1", 0, app, threaded=True)) as url:
        yield url


@contextlib.contextmanager
def in_a_thread(server: HTTPServer) -> Iterator[str]:
    """Run a server of the standard library's kind while the block runs; gives the URL."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def read_body(handler: BaseHTTPRequestHandler) -> bytes:
    """Read the body of a request, also one in chunks, which http.server leaves to its handlers."""
    if handler.headers.get("transfer-encoding") != "chunked":
        return handler.rfile.read(int(handler.headers.get("content-length", 0)))
    body = b""
    while size := int(handler.rfile.readline(), 16):
        body += handler.rfile.read(size)
        handler.rfile.readline()
    handler.rfile.readline()
    return body


@contextlib.contextmanager
def running(
    server: str,
    factory: str,
    log: Path,
    environ: Mapping[str, str] | None = None,
    *,
    python: str = sys.executable,
    threads: int = 16,
) -> Iterator[int]:
    """Serve an app factory while the block runs; gives the port. What the server prints goes to `log`."""
    port = free_port()
    with listening(command(server, factory, port, python, threads), port, log, environ):
        yield port


@contextlib.contextmanager
def gunicorn(factory: str, log: Path, *options: str, environ: Mapping[str, str]) -> Iterator[int]:
    """As :func:`running`, with options of gunicorn's own."""
    port = free_port()
    start = [sys.executable, "-m", "gunicorn", "--no-control-socket", "--bind", f"127.0.0.1:{port}"]
    with listening([*start, *options, f"{factory}()"], port, log, environ):
        yield port


@contextlib.contextmanager
def listening(
    arguments: Sequence[str], port: int, log: Path, environ: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command that listens on a port while the block runs; gives the process. What it prints goes to `log`."""
    with log.open("w") as output:
        process = subprocess.Popen(
            arguments,
            cwd=ROOT,
            env={**os.environ, **(environ or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            wait_until_listening(port, process, log)
            yield process
        finally:
            end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """Have a server end by itself; kill it when that takes too long."""
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def wait_until_listening(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    check_need("server")
    stop = time.monotonic() + START_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > stop:
                raise AssertionError(f"the server does not listen:\n{log.read_text()}") from None
            time.sleep(0.05)
