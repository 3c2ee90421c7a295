"""Real servers, each started once for all socket tests."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator

import pytest

from tests.servers import running
from tests.sockets.servers import FAST_LANE, LANES, Server, complaints, server_param

SERVERS = [*LANES, server_param("granian"), server_param("granian", FAST_LANE), server_param("waitress")]


@pytest.fixture(scope="session", params=SERVERS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    name, environ = request.param
    if importlib.util.find_spec(name) is None and not os.environ.get("CI"):
        pytest.skip(f"{name} is not installed: pip install {name}")
    log = tmp_path_factory.mktemp("servers") / f"{name}.log"
    with running(name, "tests.sockets.app:create_app", log, environ) as port:
        server = Server(name, port, log, environ)
        server.get("/debug/closed")
        yield server
    assert complaints(server.log()) == []
