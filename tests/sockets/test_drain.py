"""Servers that are about to stop, as docs/health.md has them: not ready, serving, and then gone."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from flask_grpcweb_scm.client import CallError, Channel
from flask_grpcweb_scm.pb import health_pb2
from flask_grpcweb_scm.pb.health_pb2 import HealthCheckRequest, HealthCheckResponse
from tests.documents import PAGES, block
from tests.servers import free_port, listening
from tests.sockets.http1 import Connection, request
from tests.sockets.servers import complaints

pytestmark = pytest.mark.needs("server")

PAGE = PAGES["health"]
PATIENCE = 20.0


@contextmanager
def gunicorn(folder: Path, *options: str, **environ: str) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """Serve the app of the page."""
    (folder / "health_app.py").write_text(block(PAGE, "python", "# health_app.py"))
    port, log = free_port(), folder / "log"
    command = [sys.executable, "-m", "gunicorn", "--no-control-socket", "--bind", f"127.0.0.1:{port}"]
    command += [
        "--worker-class",
        "gthread",
        "--threads",
        "4",
        *options,
        "--chdir",
        str(folder),
        "health_app:create_app()",
    ]
    given = {
        "PYTHONPATH": str(folder),
        "FLASK_GRPC_REQUIRE_AUTH": "false",
        "FLASK_SQLALCHEMY_DATABASE_URI": f"sqlite:///{folder}/scm.db",
        **environ,
    }
    (folder / "scm.db").touch()
    with listening(command, port, log, given) as process:
        yield port, process
    assert complaints(log.read_text()) == []


def status(port: int, path: str) -> int:
    with Connection(port) as connection:
        connection.send(request(path, verb="GET"))
        return connection.response().status


def eventually(check: Callable[[], bool]) -> None:
    stop = time.monotonic() + PATIENCE
    while not check():
        assert time.monotonic() < stop
        time.sleep(0.05)


def test_a_file_drains_all_processes(tmp_path: Path) -> None:
    file = tmp_path / "draining"
    check = "/grpc.health.v1.Health/Check?encoding=json&message={}"
    with gunicorn(tmp_path, "--workers", "3", FLASK_GRPC_DRAIN_FILE=str(file)) as (port, process):
        eventually(lambda: status(port, "/healthz/ready") == 200)
        file.touch()
        for _ in range(20):
            found = [status(port, path) for path in ("/healthz", "/healthz/ready", "/healthz/live", check)]
            assert found == [503, 503, 200, 200]
        file.unlink()
        eventually(lambda: status(port, "/healthz/ready") == 200)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0


@pytest.mark.parametrize("worker", ["gthread", "gevent"])
def test_sigterm_ends_the_streams_of_watchers(worker: str, tmp_path: Path) -> None:
    config = tmp_path / "gunicorn.conf.py"
    config.write_text(block(PAGE, "python", "# gunicorn.conf.py"))
    options = ["--config", str(config), "--worker-class", worker, "--graceful-timeout", "600"]
    with gunicorn(tmp_path, *options) as (port, process), Channel(f"http://127.0.0.1:{port}") as channel:
        stub: Any = channel.stub(health_pb2.DESCRIPTOR.services_by_name["Health"])
        statuses = iter(stub.watch(HealthCheckRequest()))
        assert next(statuses).status == HealthCheckResponse.SERVING
        process.send_signal(signal.SIGTERM)
        assert next(statuses).status == HealthCheckResponse.NOT_SERVING
        with pytest.raises(CallError, match="about to stop"):
            next(statuses)
        assert process.wait(PATIENCE) == 0
