"""Deliveries over the sockets of real servers: bodies of any framing, and senders that stop."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scm.databases import SqliteDatabases
from tests.scm.webhooks.sending import GITHUB_SECRET, GITLAB_SECRET, Delivery, github
from tests.servers import running
from tests.sockets.http1 import Closed, Connection, Response, chunked, request

pytestmark = pytest.mark.needs("server")

PATH = "/scm/webhooks/main"
SERVERS = ["gunicorn", "granian", "waitress"]


@pytest.fixture(scope="module", params=SERVERS)
def port(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    folder: Path = tmp_path_factory.mktemp("webhooks")
    environment = {
        "FLASK_SQLALCHEMY_DATABASE_URI": SqliteDatabases(folder).create(),
        "FLASK_SECRET_KEY": "test",
        "FLASK_GRPC_SCM_WEBHOOKS": json.dumps({"main": GITHUB_SECRET, "lab": GITLAB_SECRET}),
    }
    with running(request.param, "tests.scm.served_app:create_app", folder / "log", environment, threads=2) as port:
        yield port


def sent(connection: Connection, delivery: Delivery, body: bytes | None = None, **options: int | None) -> Response:
    headers = delivery.headers.items()
    connection.send(request(PATH, delivery.body if body is None else body, headers, **options))
    return connection.response()


def test_a_connection_goes_on_after_each_delivery(port: int) -> None:
    good, bad = github("ping", {"zen": "x" * 10_000}), github("ping", {"zen": "x" * 10_000}, secret="guess")
    with Connection(port) as connection:
        for delivery, status in ((good, 200), (bad, 401), (good, 200)):
            response = sent(connection, delivery)
            assert (response.status, response.closes) == (status, False)


def test_a_body_in_chunks(port: int) -> None:
    delivery = github("ping", {"zen": "x" * 100_000})
    with Connection(port) as connection:
        headers = [*delivery.headers.items(), ("Transfer-Encoding", "chunked")]
        connection.send(request(PATH, chunked(delivery.body, 999), headers, length=None))
        assert connection.response().status == 200


# waitress reads all of a body before it calls the app.
@pytest.mark.parametrize("port", ["gunicorn", "granian"], indirect=True)
def test_a_body_over_the_limit_is_not_waited_for(port: int) -> None:
    delivery = github("ping", {})
    with Connection(port) as connection:
        assert sent(connection, delivery, length=26 * 2**20).status == 413


@pytest.mark.parametrize("port", ["gunicorn"], indirect=True)
def test_a_sender_that_stops_holds_no_thread(port: int) -> None:
    delivery = github("ping", {"zen": "x" * 1000})
    stopped = [Connection(port) for _ in range(2)]  # as many as there are threads
    for connection in stopped:
        connection.send(request(PATH, delivery.body, delivery.headers.items())[:-10])
    with Connection(port) as connection:
        assert sent(connection, delivery).status == 200
    for connection in stopped:
        with connection, contextlib.suppress(Closed):
            assert connection.response().status == 408
