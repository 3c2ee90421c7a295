"""Logs of a deployment: the status of every call in the app's, one trace in all of them."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from example_app import dice_pb2
from flask_grpcweb_scm import RpcError
from flask_grpcweb_scm.client import Channel
from flask_grpcweb_scm.wire import encode_frame
from tests.deploy.deployment import DEPLOY, PATIENCE, TOKEN, Deployment, deployed, eventually, page
from tests.deploy.load import DICE
from tests.documents import PAGES, block
from tests.faults.postgresql import PostgresqlServer
from tests.faults.redis_server import RedisServer
from tests.servers import ROOT, command, free_port, listening

pytestmark = pytest.mark.needs("deployment")

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e47%02x", "00f067aa0ba902b7"
ROLL = "/example.dice.v1.Dice/Roll"
# Protocol, sides of the die → status, and what the access log of a server has of it.
CALLS: list[tuple[str, int, str, str]] = [
    ("grpc-web", 6, "OK", "-"),
    ("grpc-web", 1, "INVALID_ARGUMENT", "3"),
    ("connect", 6, "OK", "-"),
    ("connect", 1, "INVALID_ARGUMENT", "-"),
]


def roll_all(url: str, **options: Any) -> dict[str, tuple[str, str]]:
    """Make the calls; gives what logs have to have of each, by its trace."""
    expected = {}
    for number, (protocol, sides, code, shown) in enumerate(CALLS):
        trace = TRACE % number
        metadata = {"traceparent": f"00-{trace}-{PARENT}-01"}
        with Channel(url, token=TOKEN, protocol=protocol, metadata=metadata, timeout=PATIENCE, **options) as channel:
            try:
                channel.stub(DICE).roll(dice_pb2.RollRequest(sides=sides))
            except RpcError as error:
                assert error.code.name == code
            else:
                assert code == "OK"
        expected[trace] = code, shown
    return expected


def app_lines(text: str) -> dict[str, str]:
    """The status of each call in the app's log, by its trace."""
    return {trace: code for code, trace in re.findall(rf"INFO {ROLL} (\w+) .* call \w+, .*, trace (\w+)$", text, re.M)}


@pytest.fixture(scope="module")
def deployment(postgresql: PostgresqlServer, redis: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Any:
    with deployed(tmp_path_factory.mktemp("logs"), postgresql, redis, WEB_CONCURRENCY="1") as deployment:
        yield deployment


def nginx_line(deployment: Deployment, trace: str) -> str:
    """The line of a request. nginx writes it once the response has left, whose client may look sooner."""
    found: list[str] = []

    def is_there() -> bool:
        text = deployment.nginx.access_log.read_text()
        found[:] = re.findall(rf".* trace={trace}$", text, re.MULTILINE)
        return bool(found)

    eventually(is_there)
    (line,) = found
    return line


def app_line(deployment: Deployment, trace: str) -> str:
    """The status of a call in the app's log, which may be written later than that of nginx."""
    eventually(lambda: trace in app_lines(deployment.gunicorn.log.read_text()))
    return app_lines(deployment.gunicorn.log.read_text())[trace]


def test_nginx_and_the_app_have_one_trace(deployment: Deployment) -> None:
    expected = roll_all(deployment.url, ca_certs=str(deployment.nginx.certificate))
    for trace, (code, shown) in expected.items():
        assert f" grpc={shown} " in nginx_line(deployment, trace)
        assert app_line(deployment, trace) == code


def test_a_request_without_a_trace_gets_one(deployment: Deployment) -> None:
    before = len(deployment.nginx.access_log.read_text().splitlines())
    with Channel(deployment.url, token=TOKEN, ca_certs=str(deployment.nginx.certificate)) as channel:
        channel.stub(DICE).roll(dice_pb2.RollRequest())
    eventually(lambda: len(deployment.nginx.access_log.read_text().splitlines()) > before)
    line = deployment.nginx.access_log.read_text().splitlines()[-1]
    (trace,) = re.findall(r" trace=([0-9a-f]{32})$", line)
    assert app_line(deployment, trace) == "OK"
    # The proxy is believed: its caller's address, not its own, which is none on a Unix socket.
    assert ", peer 127.0.0.1, call " in deployment.gunicorn.log.read_text().splitlines()[-1]


def test_what_the_world_does_not_see(deployment: Deployment) -> None:
    for path in ("/metrics", "/healthz", "/healthz/ready"):
        assert page(deployment.url + path, deployment.nginx.certificate)[0] == 404
        assert page(f"http://127.0.0.1:{deployment.direct}{path}")[0] == 200


def test_grpc_through_nginx_has_its_status_in_the_log(deployment: Deployment, tmp_path: Path) -> None:
    for unit in deployment.pyvoy.values():
        unit.start()
    try:
        for port in deployment.pyvoy:
            eventually(lambda port=port: page(f"http://127.0.0.1:{port}/healthz/ready")[0] == 200)  # type: ignore[misc]
        for number, (sides, status) in enumerate([(6, "0"), (1, "3")], len(CALLS)):
            body = tmp_path / "body"
            body.write_bytes(encode_frame(dice_pb2.RollRequest(sides=sides).SerializeToString()))
            sent = ["content-type: application/grpc", "te: trailers", f"x-grpc-auth-token: {TOKEN}"]
            sent.append(f"traceparent: 00-{TRACE % number}-{PARENT}-01")
            curl = ["curl", "--silent", "--http2", "--cacert", str(deployment.nginx.certificate), "--dump-header", "-"]
            curl += [word for header in sent for word in ("--header", header)]
            done = subprocess.run(
                [*curl, "--data-binary", f"@{body}", deployment.url + ROLL], check=True, capture_output=True, timeout=60
            )
            assert f"grpc-status: {status}".encode() in done.stdout
            assert f" grpc={status} " in nginx_line(deployment, TRACE % number)
    finally:
        for unit in deployment.pyvoy.values():
            unit.stop()


def test_the_page_has_the_log_of_the_deployment() -> None:
    written = block(PAGES["observability"], "python", "# wsgi.py")
    shared = written.partition("logging.config.dictConfig(")[2].partition("app = ")[0]
    assert shared in (DEPLOY / "wsgi.py").read_text()


def options_of(server: str) -> list[str]:
    """The options of the page's table that turn a server's own access log on."""
    (row,) = re.findall(rf"^\| {server} \|.*$", PAGES["observability"].read_text(), re.MULTILINE)
    return shlex.split(" ".join(option for option in re.findall(r"`([^`]+)`", row) if option.startswith("--access")))


@pytest.mark.parametrize("server", ["gunicorn", "granian", "pyvoy"])
def test_the_logs_of_a_server(server: str, tmp_path: Path) -> None:
    port, log = free_port(), tmp_path / "log"
    environ = {
        "PYTHONPATH": f"{ROOT}:{DEPLOY}",
        "FLASK_SECRET_KEY": "the key of the tests of the deployment",
        "FLASK_GRPC_AUTH_TOKENS": TOKEN,
        "FLASK_GRPC_HEALTH_PATH": "/healthz",
        "FLASK_SQLALCHEMY_DATABASE_URI": f"sqlite:///{tmp_path}/scm.db",
    }
    start = command(server, "wsgi:create_app", port)
    start[-1] = start[-1].replace("create_app()", "app").replace("create_app", "app")
    start = [word for word in start if word != "--factory"]
    position = len(start) if server == "pyvoy" else -1
    start[position:position] = options_of(server)
    with listening(start, port, log, {**os.environ, **environ}):
        eventually(lambda: page(f"http://127.0.0.1:{port}/healthz/live")[0] == 200)
        expected = roll_all(f"http://127.0.0.1:{port}")
        eventually(lambda: app_lines(log.read_text()) == {trace: code for trace, (code, _) in expected.items()})
        if server == "pyvoy":
            return
        for trace, (_, shown) in expected.items():
            eventually(lambda trace=trace: f"trace={'00-' if server else ''}{trace}" in log.read_text())  # type: ignore[misc]
            (line,) = re.findall(rf".* trace=00-{trace}.*", log.read_text())
            assert (f" grpc={shown} " in line) is (server == "gunicorn")
