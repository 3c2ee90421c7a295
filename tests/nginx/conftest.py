"""nginx with its default buffers before gunicorn."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.servers import free_port, listening, running

# Debian's is where only root looks.
NGINX = shutil.which("nginx", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"]))
CONFIGURATION = """
daemon off;
# One process, of this user, that needs no rights.
master_process off;
pid {folder}/nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        {location}
    }}
}}
"""
UPSTREAM = "http://127.0.0.1:8000"
LOCATION = f"location / {{ proxy_pass {UPSTREAM}; }}"


@dataclass(frozen=True)
class Proxy:
    """An app, reached through nginx and beside it."""

    port: int
    upstream: int
    has_host_headers: bool
    """Whether the app adds a session cookie, CORS and security headers to every response."""


PARAMS = [
    pytest.param(environ, id=name, marks=pytest.mark.needs("nginx"))
    for name, environ in {"alone": {}, "with host headers": {"HOST_HEADERS": "1"}}.items()
]


@pytest.fixture(scope="package", params=PARAMS)
def proxy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("nginx")
    with (
        running("gunicorn", "tests.nginx.app:create_app", folder / "gunicorn.log", request.param) as upstream,
        nginx_before(upstream, folder) as port,
    ):
        yield Proxy(port, upstream, bool(request.param))
    assert "Traceback" not in (folder / "gunicorn.log").read_text()


@contextlib.contextmanager
def nginx_before(upstream: int, folder: Path, location: str = LOCATION) -> Iterator[int]:
    """Run nginx before a server while the block runs; gives its port. Errors in its log fail the test."""
    if NGINX is None:
        if "CI" in os.environ:
            pytest.fail("nginx is not installed")
        pytest.skip("nginx is not installed: apt install nginx")
    port, configuration, log = free_port(), folder / "nginx.conf", folder / "nginx.log"
    location = location.replace(UPSTREAM, f"http://127.0.0.1:{upstream}")
    configuration.write_text(CONFIGURATION.format(folder=folder, port=port, location=location))
    with listening([NGINX, "-e", "stderr", "-p", str(folder), "-c", str(configuration)], port, log):
        yield port
    assert "[error]" not in log.read_text()
