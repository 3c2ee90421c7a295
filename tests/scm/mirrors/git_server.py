"""Git over smart HTTP, by ``git http-backend``; each request can be told to fail, or to be what it should not be."""

from __future__ import annotations

import contextlib
import os
import ssl
import subprocess
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.scm.support import GitRepository, repository_with_history
from tests.servers import in_a_thread, read_body

__all__ = ["Fault", "GitServer", "Handler", "git_server", "origin", "serve_git"]

SECONDS = 60


class Handler(BaseHTTPRequestHandler):
    """A request to one of the repositories in a folder."""

    protocol_version = "HTTP/1.1"
    server: GitServer

    def do_GET(self) -> None:
        self.body = read_body(self)
        self.server.requests.append((self.command, self.path, self.headers.get("authorization", "")))
        (self.server.fault or Handler.serve)(self)

    do_POST = do_GET  # noqa: N815  # as http.server wants it

    def serve(self) -> None:
        """Have git respond."""
        path, _, query = self.path.partition("?")
        environment = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self.server.folder),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_CONFIG_COUNT": "2",
            "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": "*",
            "GIT_CONFIG_KEY_1": "uploadpack.allowFilter",
            "GIT_CONFIG_VALUE_1": "true",
            "REQUEST_METHOD": self.command,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "CONTENT_TYPE": self.headers.get("content-type", ""),
            "CONTENT_LENGTH": str(len(self.body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("content-encoding", ""),
            "GIT_PROTOCOL": self.headers.get("git-protocol", ""),
        }
        command = ["git", "http-backend"]
        done = subprocess.run(
            command, input=self.body, env=environment, capture_output=True, check=False, timeout=SECONDS
        )
        head, _, body = done.stdout.partition(b"\r\n\r\n")
        fields = [tuple(line.split(": ", 1)) for line in head.decode().split("\r\n") if line]
        status = next((value.split(" ")[0] for name, value in fields if name == "Status"), "200")
        self.respond(int(status), body, *(f"{name}: {value}" for name, value in fields if name != "Status"))

    def respond(self, status: int, body: bytes = b"", *headers: str) -> None:
        self.send_response(status)
        for header in headers:
            self.send_header(*header.split(": ", 1))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with contextlib.suppress(OSError):  # the client has seen enough
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # as http.server has it
        """Say nothing."""


Fault = Callable[[Handler], object]
"""What to do with a request in place of :meth:`Handler.serve`."""


class GitServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, folder: Path, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder = folder
        self.url = f"http://127.0.0.1:{self.server_port}"
        if tls is not None:
            self.url = f"https://localhost:{self.server_port}"
            self.socket = tls.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.requests: list[tuple[str, str, str]] = []
        """Method, target and credentials of each."""
        self.fault: Fault | None = None

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that go: they are killed."""


@contextlib.contextmanager
def serve_git(folder: Path, tls: ssl.SSLContext | None = None) -> Iterator[GitServer]:
    """Serve the repositories in a folder, at their paths below it."""
    server = GitServer(folder, tls)
    with in_a_thread(server):
        yield server


@pytest.fixture
def git_server(tmp_path: Path) -> Iterator[GitServer]:
    with serve_git(tmp_path / "remotes") as server:
        yield server


@pytest.fixture
def origin(tmp_path: Path) -> GitRepository:
    """A repository on that server, at ``acme/api.git``."""
    return repository_with_history(tmp_path / "remotes/acme/api.git")
