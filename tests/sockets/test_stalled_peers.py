"""Peers that stop reading or sending: with as many of them as threads, the next call gets its response."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import time
from collections.abc import Iterator

import pytest

from flask_grpcweb_scm.auth import sign
from tests.grpcweb import frame
from tests.servers import ROOT, gunicorn, running
from tests.sockets.hostile_connect import PROTO, STREAM_PROTO, envelopes, post
from tests.sockets.http1 import Connection, Response
from tests.sockets.http1 import request as http_request
from tests.sockets.rows import HELLO, REQUESTS, STREAM, UNARY, Sent, message, rpc
from tests.sockets.servers import complaints
from tests.sockets.test_hostile import answer_of

pytestmark = pytest.mark.needs("server")

THREADS = 8
ENDLESS = frame(message("large 20000", count=2**31 - 1))
LARGE = frame(message("large 8000000"))
RPC = Sent(b"")
"""Of gRPC-Web, whatever it is."""
RIGHT = {"authorization": "Bearer right"}
IN_A_SECOND = {**RIGHT, "grpc-timeout": "1S"}

PEM = ROOT / "tests/client/localhost.pem"
TRUSTING = ssl.create_default_context(cafile=str(PEM))

SETTINGS = {
    "FLASK_GRPC_AUTH_TOKENS": "right",
    "FLASK_GRPC_HMAC_SECRETS": "right-signature",
    "FLASK_GRPC_REQUIRE_AUTH": "true",
    "FLASK_GRPC_IDLE_TIMEOUT": "1",
    "FLASK_GRPC_DEFAULT_TIMEOUT": "null",
}
SERVERS = {
    "gthread blueprint": ("gthread", SETTINGS),
    "gthread lane": ("gthread", {**SETTINGS, "FAST_LANE": "1"}),
    "gevent blueprint": ("gevent", SETTINGS),
    "sync blueprint": ("sync", SETTINGS),
    "longest timeout": ("gthread", {**SETTINGS, "FLASK_GRPC_MAX_TIMEOUT": "1", "FLASK_GRPC_IDLE_TIMEOUT": "null"}),
}
KEEPING_ALIVE = [name for name, (worker, _) in SERVERS.items() if worker != "sync"]
"""With more than one call on a connection."""
COMPLAINT_OF_GUNICORN = re.compile(r"\[ERROR\] Socket error processing request|^Traceback|^TimeoutError: timed out")
"""It tells of a timeout in the middle of a response with a traceback."""


@pytest.fixture(scope="module", params=SERVERS)
def port(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    worker, environ = SERVERS[request.param]
    log = tmp_path_factory.mktemp("stalled") / "log"
    limit = ["--threads", str(THREADS)] if worker == "gthread" else ["--worker-connections", str(THREADS)]
    options = ["--worker-class", worker, *limit, "--keep-alive", "30"]
    with gunicorn("tests.sockets.app:create_app", log, *options, environ=environ) as port:
        yield port
    assert [line for line in complaints(log.read_text()) if not COMPLAINT_OF_GUNICORN.search(line)] == []


@pytest.fixture(scope="module")
def tls_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    log = tmp_path_factory.mktemp("tls") / "log"
    options = ["--worker-class", "gthread", "--keep-alive", "30", "--certfile", str(PEM), "--keyfile", str(PEM)]
    with gunicorn("tests.sockets.app:create_app", log, *options, environ=SETTINGS) as port:
        yield port
    assert complaints(log.read_text()) == []


@pytest.fixture(scope="module", params=["blueprint", "lane"])
def granian(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    environ = {**SETTINGS, "FAST_LANE": "1"} if request.param == "lane" else SETTINGS
    log = tmp_path_factory.mktemp("granian") / "log"
    with running("granian", "tests.sockets.app:create_app", log, environ, threads=THREADS) as port:
        yield port
    assert complaints(log.read_text()) == []


@pytest.fixture
def threads(request: pytest.FixtureRequest) -> int:
    """How many peers hold all threads. A sync worker has one, and meets the peers one after the other."""
    return 2 if "sync" in request.node.name else THREADS


@pytest.fixture
def keeps_alive(request: pytest.FixtureRequest) -> bool:
    return "sync" not in request.node.name


@contextlib.contextmanager
def stalled_reader(port: int, data: bytes) -> Iterator[None]:
    with socket.socket() as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peer.connect(("127.0.0.1", port))
        peer.sendall(data)
        yield


def response_of(port: int, data: bytes) -> Response:
    with Connection(port) as connection:
        connection.send(data)
        return connection.response()


def code_of(response: Response, sent: Sent = RPC) -> int:
    return answer_of(response, sent).code


def calling(target: str, headers: dict[str, str], connect: str) -> Sent:
    """A call of gRPC-Web, or of Connect in this content type."""
    if not connect:
        return Sent(rpc(HELLO, headers, target=target))
    names = {"authorization": headers["authorization"]}
    if "grpc-timeout" in headers:
        names["connect-timeout-ms"] = "1000"
    return post(HELLO[5:] if target == UNARY else HELLO, names, target=target, content_type=connect)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(rpc(ENDLESS, IN_A_SECOND, target=STREAM), id="stream with a deadline"),
        pytest.param(rpc(ENDLESS, RIGHT, target=STREAM), id="stream without a deadline"),
        pytest.param(rpc(LARGE, IN_A_SECOND, target=UNARY), id="large response with a deadline"),
        pytest.param(rpc(LARGE, RIGHT, target=UNARY), id="large response without a deadline"),
    ],
)
def test_readers_that_stop_hold_no_thread(port: int, threads: int, data: bytes) -> None:
    with contextlib.ExitStack() as peers:
        for _ in range(threads):
            peers.enter_context(stalled_reader(port, data))
        assert code_of(response_of(port, rpc(HELLO, RIGHT))) == 0


@pytest.mark.parametrize(("target", "connect"), [(UNARY, ""), (REQUESTS, ""), (UNARY, PROTO), (REQUESTS, STREAM_PROTO)])
@pytest.mark.parametrize("headers", [IN_A_SECOND, RIGHT], ids=["with a deadline", "without a deadline"])
def test_senders_that_stop_get_the_status_and_hold_no_thread(
    request: pytest.FixtureRequest, port: int, threads: int, headers: dict[str, str], target: str, connect: str
) -> None:
    has_deadline = headers is IN_A_SECOND or "longest timeout" in request.node.name
    sent = calling(target, headers, connect)
    with contextlib.ExitStack() as peers:
        connections = [peers.enter_context(Connection(port)) for _ in range(threads)]
        for connection in connections:
            connection.send(sent.data[:-4])
        assert code_of(response_of(port, rpc(HELLO, RIGHT))) == 0
        for connection in connections:
            assert code_of(connection.response(), sent) == (4 if has_deadline else 1)
            assert connection.is_closed()


@pytest.mark.parametrize("target", [UNARY, REQUESTS])
@pytest.mark.parametrize(("headers", "code"), [(IN_A_SECOND, 4), (RIGHT, 1)], ids=["deadline", "no deadline"])
def test_senders_that_stop_get_the_status_over_tls(
    tls_port: int, headers: dict[str, str], code: int, target: str
) -> None:
    with Connection(tls_port, TRUSTING) as connection:
        for _ in range(2):
            connection.send(rpc(HELLO, headers))
            assert code_of(connection.response()) == 0
        connection.send(rpc(HELLO, headers, target=target)[: 1 - len(HELLO)])
        assert code_of(connection.response()) == code
        assert connection.is_closed()


def test_one_that_dribbles_gets_the_status_at_the_deadline(port: int) -> None:
    sent = rpc(frame(bytes(1000)), IN_A_SECOND)
    with Connection(port) as connection:
        connection.send(sent[:-1000])
        connection.send(sent[-1000:-900], step=1, pause=0.02)
        assert code_of(connection.response()) == 4


REFUSED = pytest.mark.parametrize(
    ("whole", "status", "code"),
    [
        pytest.param(Sent(rpc(HELLO)), 200, 16, id="without credentials"),
        pytest.param(Sent(rpc(HELLO, {"authorization": "Bearer wrong"}, target=STREAM)), 200, 16, id="with wrong ones"),
        pytest.param(Sent(rpc(HELLO, target="/tests.echo.v1.Echo/Unknown")), 200, 12, id="unknown method"),
        pytest.param(Sent(rpc(HELLO, content_type="text/plain")), 415, 12, id="content type"),
        pytest.param(post(HELLO), 401, 16, id="connect, without credentials"),
        pytest.param(envelopes(HELLO), 200, 16, id="stream of connect, without credentials"),
    ],
)


@REFUSED
def test_the_body_of_a_refused_stranger_is_not_waited_for(
    port: int, threads: int, keeps_alive: bool, whole: Sent, status: int, code: int
) -> None:
    refuse_strangers(port, threads, whole, status, code)
    if keeps_alive:
        refuse_one_after_the_other(port, whole, status, code)


@REFUSED
def test_nor_on_granian(granian: int, whole: Sent, status: int, code: int) -> None:
    refuse_strangers(granian, THREADS, whole, status, code)
    refuse_one_after_the_other(granian, whole, status, code)


def test_a_large_body_that_is_refused_does_not_cost_the_status_on_granian(granian: int) -> None:
    for size in (20_000, 500_000, 8_000_000):
        assert code_of(response_of(granian, rpc(frame(bytes(size))))) == 16


def refuse_strangers(port: int, count: int, whole: Sent, status: int, code: int) -> None:
    """As many, with incomplete bodies, as there are threads."""
    with contextlib.ExitStack() as peers:
        connections = [peers.enter_context(Connection(port)) for _ in range(count)]
        for connection in connections:
            connection.send(whole.data[: 1 - len(HELLO)])
        for connection in connections:
            response = connection.response()
            assert (response.status, code_of(response, whole)) == (status, code)
            assert connection.is_closed()


@pytest.mark.parametrize("target", [UNARY, STREAM])
def test_a_stranger_with_a_signature_is_waited_for_no_longer_than_a_moment(
    port: int, threads: int, keeps_alive: bool, target: str
) -> None:
    headers = {"x-method": target, "x-signature": "0" * 64}
    with contextlib.ExitStack() as peers:
        connections = [peers.enter_context(Connection(port)) for _ in range(threads)]
        for connection in connections:
            connection.send(rpc(HELLO, headers, target=target)[: 1 - len(HELLO)])
        assert code_of(response_of(port, rpc(HELLO, RIGHT))) == 0
        for connection in connections:
            assert code_of(connection.response()) in {1, 4}
            assert connection.is_closed()
    signature = sign("right-signature", target, HELLO[5:])
    with Connection(port) as connection:
        for _ in range(1 + keeps_alive):
            signed = rpc(HELLO, {"x-method": target, "x-signature": signature}, target=target)
            connection.send(signed[:-1])
            connection.send(signed[-1:])
            assert code_of(connection.response()) == 0


def refuse_one_after_the_other(port: int, whole: Sent, status: int, code: int) -> None:
    """Complete requests on one connection, which goes on."""
    with Connection(port) as connection:
        for _ in range(3):
            connection.send(whole.data)
            response = connection.response()
            assert (response.status, code_of(response, whole), response.closes) == (status, code, False)
        connection.send(rpc(HELLO, RIGHT))
        assert code_of(connection.response()) == 0


@pytest.mark.parametrize("port", KEEPING_ALIVE, indirect=True)
def test_a_connection_goes_on_after_calls_that_were_slow_themselves(port: int) -> None:
    with Connection(port) as connection:
        for text, timeout, code in [
            ("nap 1500", "400m", 4),
            ("hello", "1S", 0),
            ("nap 700", "9S", 0),
            ("hello", "1S", 0),
        ]:
            connection.send(rpc(frame(message(text)), {**RIGHT, "grpc-timeout": timeout}))
            assert code_of(connection.response()) == code


@pytest.mark.parametrize("port", KEEPING_ALIVE, indirect=True)
@pytest.mark.parametrize("headers", [{**RIGHT, "grpc-timeout": "1S"}, RIGHT], ids=["deadline", "no deadline"])
@pytest.mark.parametrize("target", [UNARY, STREAM])
def test_views_of_the_host_wait_for_their_clients_on_the_connection_of_a_call(
    port: int, headers: dict[str, str], target: str
) -> None:
    upload = http_request("/host", b"slow")
    with Connection(port) as connection:
        connection.send(rpc(HELLO, headers, target=target))
        assert code_of(connection.response()) == 0
        connection.send(upload[:-4])
        time.sleep(1.5)
        connection.send(upload[-4:])
        response = connection.response()
    assert (response.status, response.body) == (200, b"4")
