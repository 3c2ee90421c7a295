"""Peers that stop reading or sending behind nginx: with as many of them as threads, a call is served at once."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
from flask import Flask

from flask_grpcweb_scm import CallContext, GrpcWebScm, Service
from tests.echo_pb2 import DESCRIPTOR, EchoReply, EchoRequest
from tests.grpcweb import Answer, body_of, read
from tests.nginx.conftest import nginx_before
from tests.servers import gunicorn
from tests.sockets.http1 import Connection
from tests.sockets.rows import STREAM, UNARY, rpc
from tests.sockets.test_stalled_peers import stalled_reader

pytestmark = pytest.mark.needs("nginx")

THREADS = 8
# The time of a call that waits for nobody, on a busy machine; the others have a minute.
AT_ONCE = {"grpc-timeout": "5S"}
PATIENT = {"grpc-timeout": "1M"}
LARGE = "x" * 100_000
BATCH = "/tests.echo.v1.Echo/Bidi"


def create_app() -> Flask:
    app = Flask(__name__)
    app.config.update(GRPC_SCM=False, GRPC_REQUIRE_AUTH=False, GRPC_MAX_STREAMS=None)
    app.config.from_prefixed_env()
    service = Service(DESCRIPTOR.services_by_name["Echo"])
    service.add_rpc("Unary", lambda request, context: EchoReply(text=LARGE * request.count))
    service.add_rpc("ServerStream", _large_messages)
    service.add_rpc("Bidi", _large_messages, batch=True)
    service.unimplemented("ClientStream", "Missing")
    GrpcWebScm(app, services=[service])
    return app


def _large_messages(request: object, context: CallContext) -> Iterator[EchoReply]:
    for number in range(50):
        yield EchoReply(text=LARGE, number=number)


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    folder = tmp_path_factory.mktemp("stalled")
    options = ["--worker-class", "gthread", "--threads", str(THREADS)]
    # As "In production" says: two less than there are threads.
    environ = {"FLASK_GRPC_MAX_STREAMS_TOTAL": str(THREADS - 2)}
    with (
        gunicorn("tests.nginx.test_stalled_peers:create_app", folder / "log", *options, environ=environ) as upstream,
        nginx_before(upstream, folder) as port,
    ):
        yield port


def answer_of(port: int) -> Answer:
    with Connection(port) as connection:
        connection.send(rpc(body_of(EchoRequest()), AT_ONCE))
        response = connection.response()
    return read(response.status, response.headers, response.body)


def unary_is_served(port: int) -> bool:
    return answer_of(port).code == 0


@pytest.mark.parametrize(
    ("target", "count"),
    [
        pytest.param(STREAM, 1, id="streams"),
        pytest.param(BATCH, 1, id="streams in batches"),
        pytest.param(UNARY, 30, id="large responses"),
    ],
)
def test_readers_that_stop_delay_nobody(port: int, target: str, count: int) -> None:
    data = rpc(body_of(EchoRequest(count=count)), PATIENT, target=target)
    with contextlib.ExitStack() as peers:
        for _ in range(THREADS):
            peers.enter_context(stalled_reader(port, data))
        for _ in range(5):
            assert unary_is_served(port)


@pytest.mark.parametrize("target", [UNARY, STREAM])
def test_senders_that_stop_delay_nobody(port: int, target: str) -> None:
    data = rpc(body_of(EchoRequest(count=1)), PATIENT, target=target)
    with contextlib.ExitStack() as peers:
        for _ in range(THREADS):
            peers.enter_context(Connection(port)).send(data[:-1])
        assert unary_is_served(port)
