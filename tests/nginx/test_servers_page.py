"""The configuration of nginx in docs/servers.md: what the app lets through, nginx does."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import documents
from tests.apps import ECHO
from tests.echo_pb2 import EchoRequest
from tests.grpcweb import TEXT, body_of
from tests.nginx.conftest import UPSTREAM, nginx_before
from tests.nginx.test_headers import send
from tests.servers import running
from tests.sockets.http1 import request

LONG = 4 * 2**20 - 100


@pytest.mark.needs("nginx")
def test_long_messages_pass(tmp_path: Path) -> None:
    location = documents.block(documents.PAGES["servers"], "nginx", "proxy_pass")
    assert UPSTREAM in location
    body = body_of(EchoRequest(text="long", data=bytes(LONG)), content_type=TEXT)
    sent = request(ECHO + "Unary", body, [("content-type", TEXT), ("x-grpc-web", "1")])
    with (
        running("gunicorn", "tests.nginx.app:create_app", tmp_path / "gunicorn.log", {}) as upstream,
        nginx_before(upstream, tmp_path, location) as port,
    ):
        response, answer = send(port, sent)
    assert response.status == 200
    assert answer.message == "long"
