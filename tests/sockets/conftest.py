"""Real servers, each started once for all socket tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers import running
from tests.sockets.servers import SERVERS, Server, complaints, require


@pytest.fixture(scope="session", params=SERVERS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    name, environ = request.param
    require(name)
    log = tmp_path_factory.mktemp("servers") / f"{name}.log"
    with running(name, "tests.sockets.app:create_app", log, environ) as port:
        server = Server(name, port, log, environ)
        server.get("/debug/closed")
        yield server
    assert complaints(server.log()) == []
