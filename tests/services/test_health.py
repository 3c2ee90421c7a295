"""Health by RPC and by HTTP: of checks, services, the database, the storage of limits, and a server about to stop."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask, abort, current_app, has_app_context

from flask_grpcweb_scm import ConfigError, GrpcWebScm, ServiceDefinitionError, rpc_finished, rpc_started
from flask_grpcweb_scm.client import CallError
from flask_grpcweb_scm.pb import health_pb2
from flask_grpcweb_scm.pb.health_pb2 import HealthCheckRequest, HealthCheckResponse
from flask_grpcweb_scm.scm import db
from flask_grpcweb_scm.services import health
from flask_grpcweb_scm.testing import channel_for
from tests.apps import ECHO, echo_app, echo_service
from tests.echo_pb2 import EchoRequest
from tests.forking import alone
from tests.protocols import call, every_protocol, protocol
from tests.scm.databases import disposed
from tests.scm.support import make_app
from tests.servers import free_port

__all__ = ["protocol"]

SERVICE = "/grpc.health.v1.Health/"
OURS, SCM = "tests.echo.v1.Echo", "sentry.integrations.scm.v1.ScmService"
SERVING, NOT_SERVING = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING
OF_SERVERS = {name: getattr(health, name) for name in ("CHECK_SECONDS", "IMPATIENT_SECONDS")}
"""How long they wait for a check."""


@pytest.fixture(autouse=True)
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no result be kept, and all be waited for."""
    for name in OF_SERVERS:
        monkeypatch.setattr(health, name, 20.0)
    monkeypatch.setattr(health, "FRESH_SECONDS", 0)
    monkeypatch.setattr(health, "WATCH_SECONDS", 0.01)


def healthy_app(*checks: Callable[[], object], extension: GrpcWebScm | None = None, **config: Any) -> Flask:
    extension = extension or GrpcWebScm(services=[echo_service()])
    for check in checks:
        extension.health_check(check)
    return echo_app(extension=extension, GRPC_HEALTH=config.pop("GRPC_HEALTH", True), **config)


def status(app: Flask, service: str = "", **options: Any) -> int:
    answer = call(app.test_client(), SERVICE + "Check", HealthCheckRequest(service=service), **options)
    found: int = answer.only(HealthCheckResponse).status
    return found


def page(app: Flask, path: str = "/healthz") -> int:
    return app.test_client().get(path).status_code


def raise_error() -> None:
    raise OSError("nobody there")


def leave() -> None:
    raise SystemExit(1)


# Checks


@every_protocol
@pytest.mark.parametrize("check", [lambda: None, lambda: True, lambda: "fine", has_app_context])
def test_a_check_that_passes(check: Callable[[], object]) -> None:
    app = healthy_app(check, GRPC_HEALTH_PATH="/healthz")
    assert (status(app), status(app, OURS), page(app)) == (SERVING, SERVING, 200)


@every_protocol
@pytest.mark.parametrize(
    ("check", "reason"),
    [
        (lambda: False, "it has returned False"),
        (lambda: 0, "it has returned 0"),
        (raise_error, "OSError: nobody there"),
        (leave, "SystemExit: 1"),
    ],
)
def test_a_check_that_fails(check: Callable[[], object], reason: str, caplog: pytest.LogCaptureFixture) -> None:
    app = healthy_app(check, GRPC_HEALTH_PATH="/healthz")
    assert (status(app), status(app, OURS), page(app), page(app, "/healthz/live")) == (
        NOT_SERVING,
        NOT_SERVING,
        503,
        200,
    )
    # Once, and for the owner of the server alone.
    assert caplog.messages == [f"not serving: the health check {check.__name__} fails: {reason}"]
    assert reason not in app.test_client().get("/healthz").text


def test_both_turns_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    passes = [True, True, False, False, True, True]

    def storage() -> bool:
        return passes.pop(0)

    app = healthy_app(storage)
    assert [status(app) for _ in range(6)] == [SERVING, SERVING, NOT_SERVING, NOT_SERVING, SERVING, SERVING]
    assert caplog.messages == [
        "not serving: the health check storage fails: it has returned False",
        "the health check storage passes again",
    ]


@every_protocol
def test_a_service_depends_on_its_own_checks_and_on_those_of_all() -> None:
    grpc = GrpcWebScm(services=[echo_service()])
    app = healthy_app(extension=grpc)
    fails: set[str] = set()
    grpc.health_check(service=OURS)(lambda: "ours" not in fails)
    grpc.health_check(service=SCM)(lambda: "scm" not in fails)
    grpc.health_check(lambda: "all" not in fails)

    def statuses() -> list[int]:
        return [status(app, name) for name in ("", OURS, "grpc.health.v1.Health")]

    assert statuses() == [SERVING] * 3
    fails.add("ours")
    assert statuses() == [NOT_SERVING, NOT_SERVING, SERVING]
    fails.add("all")
    assert statuses() == [NOT_SERVING] * 3


@every_protocol
@pytest.mark.parametrize("name", ["tests.echo.v1.Eco", SCM, "/", "Echo", OURS + "/Unary", "x" * 10_000])
def test_a_service_that_is_not_served_is_not_found(name: str) -> None:
    answer = call(healthy_app().test_client(), SERVICE + "Check", HealthCheckRequest(service=name))
    assert (answer.code, answer.message) == (5, "no service of this name is served here")


@every_protocol
def test_connect_may_get_it() -> None:
    assert status(healthy_app(), OURS, get=True) == SERVING


def test_checks_run_in_an_app_context_of_the_app() -> None:
    grpc, seen = GrpcWebScm(services=[echo_service()]), []
    grpc.health_check(lambda: seen.append(current_app.config["NAME"]))
    for name in "ab":
        status(healthy_app(extension=grpc, NAME=name))
    assert seen == ["a", "b"]


def test_the_result_is_kept_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "FRESH_SECONDS", 1000)
    runs: list[None] = []
    app = healthy_app(lambda: runs.append(None), GRPC_HEALTH_PATH="/healthz")
    assert {status(app) for _ in range(20)} | {status(app, OURS)} == {SERVING}
    assert page(app) == 200
    assert len(runs) == 1


def test_a_check_that_hangs_holds_one_thread(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(health, "CHECK_SECONDS", 0.1)
    may_end, runs = threading.Event(), []

    def slow() -> None:
        runs.append(None)
        may_end.wait(30)

    app = healthy_app(slow)
    assert [status(app) for _ in range(5)] == [NOT_SERVING] * 5
    assert len(runs) == 1
    may_end.set()
    stop = time.monotonic() + 20
    while status(app) != SERVING:
        assert time.monotonic() < stop
    assert caplog.messages == [
        "not serving: the health check slow fails: no result in 0.1 s",
        "the health check slow passes again",
    ]


def test_calls_at_once_share_a_run() -> None:
    runs: list[None] = []
    everybody = threading.Barrier(8, timeout=20)

    def check() -> None:
        runs.append(None)
        time.sleep(0.2)

    app, found = healthy_app(check), []

    def ask() -> None:
        everybody.wait()
        found.append(status(app))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [SERVING] * 8
    assert len(runs) < 8


def status_in_a_fork() -> tuple[int, int]:
    import multiprocessing

    release = multiprocessing.get_context("fork").Event()
    app = healthy_app(lambda: release.wait(30))
    health.CHECK_SECONDS = 0.1
    mine = status(app)
    # The run that is under way is the parent's: no thread of the child ends it.
    release.set()
    health.CHECK_SECONDS = 20
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=lambda: theirs.send(status(app)))
    process.start()
    try:
        return mine, ours.recv() if ours.poll(20) else -1
    finally:
        process.kill()
        process.join()


def test_a_fork_runs_its_own_checks() -> None:
    assert alone(status_in_a_fork) == (NOT_SERVING, SERVING)


def test_mistakes_are_errors_where_they_are_made() -> None:
    grpc = GrpcWebScm(services=[echo_service()])
    with pytest.raises(
        ServiceDefinitionError, match=r"no service .tests\.echo\.v1\.Eco. is served; did you mean .tests\.echo"
    ):
        grpc.health_check(service="tests.echo.v1.Eco")

    async def check() -> None: ...

    with pytest.raises(ServiceDefinitionError, match="is async; make it a plain function"):
        grpc.health_check(check)


def test_a_decorated_function_stays_what_it_is() -> None:
    grpc = GrpcWebScm(services=[echo_service()])
    assert grpc.health_check(raise_error) is raise_error
    assert grpc.health_check(service=OURS)(raise_error) is raise_error


# Who may ask, and who hears of it


def test_nothing_is_served_that_nobody_asked_for() -> None:
    app = echo_app()
    assert call(app.test_client(), SERVICE + "Check", HealthCheckRequest()).code == 12
    assert page(app) == 404
    assert [rule.rule for rule in app.url_map.iter_rules() if "grpc" in rule.rule and "<" not in rule.rule] == []


@every_protocol
@pytest.mark.parametrize("headers", [{}, {"x-grpc-auth-token": "wrong"}, {"authorization": "Bearer wrong"}])
def test_it_needs_no_credentials_and_uses_up_no_rate(headers: dict[str, str]) -> None:
    config = {"GRPC_AUTH_TOKENS": "right", "GRPC_RATE_LIMITS": "2/hour", "GRPC_MAX_AUTH_FAILURES": 2}
    app = healthy_app(GRPC_HEALTH_PATH="/healthz", **config)
    client = app.test_client()
    assert [status(app, headers=headers) for _ in range(9)] == [SERVING] * 9
    assert page(app) == 200
    codes = [call(client, ECHO + "Unary", EchoRequest(), headers={"x-grpc-auth-token": "right"}).code for _ in range(3)]
    assert codes == [0, 0, 8]
    assert status(app) == SERVING


def test_an_app_whose_other_methods_are_public_starts() -> None:
    app = healthy_app(GRPC_REQUIRE_AUTH=True, GRPC_PUBLIC_METHODS="tests.echo.v1.Echo/*")
    assert status(app) == SERVING
    with pytest.raises(ConfigError, match="nobody could get in"):
        healthy_app(GRPC_REQUIRE_AUTH=True, GRPC_PUBLIC_METHODS="grpc.health.v1.Health/*")


@every_protocol
def test_no_interceptor_signal_or_line_of_the_log_tells_of_it(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "flask_grpcweb_scm")
    grpc, seen = GrpcWebScm(services=[echo_service()]), []

    @grpc.intercept
    def intercept(request: Any, context: Any, call_next: Any) -> Any:
        seen.append("interceptor")
        return call_next(request, context)

    def hear(sender: Any, **_: Any) -> None:
        seen.append("signal")

    app = healthy_app(extension=grpc)
    with rpc_started.connected_to(hear), rpc_finished.connected_to(hear):
        assert status(app) == SERVING
    assert (seen, caplog.messages) == ([], [])


@every_protocol
def test_hooks_of_the_app_see_the_rpc_and_not_the_pages() -> None:
    def prepare(app: Flask) -> None:
        app.before_request(lambda: abort(401))

    app = healthy_app(prepare=prepare, GRPC_HEALTH_PATH="/healthz")
    assert call(app.test_client(), SERVICE + "Check", HealthCheckRequest()).code == 16
    assert (page(app), page(app, "/healthz/live")) == (200, 200)


# Pages


@pytest.mark.parametrize(
    ("verb", "path", "expected", "body"),
    [
        ("GET", "/healthz", 200, "ok\n"),
        ("GET", "/healthz/ready", 200, "ok\n"),
        ("GET", "/healthz/live", 200, "ok\n"),
        ("GET", "/healthz/live?verbose", 200, "ok\n"),
        ("HEAD", "/healthz", 200, ""),
        ("POST", "/healthz", 404, None),
        ("OPTIONS", "/healthz", 404, None),
        ("GET", "/healthz/", 404, None),
        ("GET", "/healthz/x", 404, None),
        ("GET", "/", 404, None),
    ],
)
def test_pages(verb: str, path: str, expected: int, body: str | None) -> None:
    response = healthy_app(GRPC_HEALTH_PATH="/healthz", GRPC_HEALTH=False).test_client().open(path, method=verb)
    assert response.status_code == expected
    if body is not None:
        assert response.text == body
        assert (response.headers["cache-control"], response.headers["content-length"]) == ("no-store", "3")


def test_pages_are_there_whatever_host_a_probe_names() -> None:
    app = Flask(__name__, host_matching=True, static_folder=None)
    app.config.update(GRPC_SCM=False, GRPC_REQUIRE_AUTH=False, GRPC_HOST="api.example", GRPC_HEALTH_PATH="/healthz")
    GrpcWebScm(app, services=[echo_service()])
    for host in ("http://api.example", "http://10.1.2.3:8000"):
        assert app.test_client().get("/healthz", base_url=host).status_code == 200


def test_calls_beside_the_pages_have_their_lane() -> None:
    app = healthy_app(GRPC_HEALTH_PATH="/healthz")
    codes = {call(app.test_client(), ECHO + "Unary", EchoRequest(text="a")).code for _ in range(3)}
    assert codes == {0}
    assert app.wsgi_app.__self__._inner.__name__ == "wsgi_app"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"GRPC_HEALTH": "wach"}, "GRPC_HEALTH: 'wach' is not true or false"),
        ({"GRPC_HEALTH_PATH": "healthz"}, "GRPC_HEALTH_PATH: 'healthz' is not None or a path"),
        ({"GRPC_HEALTH_PATH": "/healthz/"}, "GRPC_HEALTH_PATH: '/healthz/' is not None or a path"),
        ({"GRPC_DRAIN_FILE": "draining"}, "GRPC_DRAIN_FILE: 'draining' is not None or the absolute path"),
    ],
)
def test_keys_are_checked(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        healthy_app(**config)


# About to stop


@every_protocol
@pytest.mark.parametrize("way", ["method", "file"])
def test_before_it_stops_a_server_is_not_ready_and_serves(way: str, tmp_path: Path) -> None:
    grpc, file = GrpcWebScm(services=[echo_service()]), tmp_path / "draining"
    app = healthy_app(extension=grpc, GRPC_HEALTH_PATH="/healthz", GRPC_DRAIN_FILE=str(file))
    pages = ["/healthz", "/healthz/ready", "/healthz/live"]
    assert [status(app), *(page(app, path) for path in pages)] == [SERVING, 200, 200, 200]
    if way == "method":
        grpc.drain()
    else:
        file.touch()
    assert [status(app), *(page(app, path) for path in pages)] == [NOT_SERVING, 503, 503, 200]
    assert status(app, OURS) == NOT_SERVING
    assert call(app.test_client(), ECHO + "Unary", EchoRequest()).code == 0
    file.unlink(missing_ok=True)
    assert status(app) == (NOT_SERVING if way == "method" else SERVING)


# Watch


def watched(app: Flask, service: str = "", protocol: str = "grpc-web", **options: Any) -> Iterator[int]:
    stub: Any = channel_for(app, protocol=protocol).stub(health_pb2.DESCRIPTOR.services_by_name["Health"])
    return (response.status for response in stub.watch(HealthCheckRequest(service=service), **options))


@pytest.mark.parametrize("protocol", ["grpc-web", "connect"])
def test_watch_is_unimplemented_unless_it_is_wanted(protocol: str) -> None:
    with pytest.raises(CallError) as caught:
        next(watched(healthy_app(), protocol=protocol))
    assert caught.value.code == 12


@pytest.mark.parametrize("protocol", ["grpc-web", "connect"])
def test_a_watcher_is_told_of_each_turn_and_to_go(protocol: str) -> None:
    passes = [True]
    grpc = GrpcWebScm(services=[echo_service()])
    app = healthy_app(lambda: passes[0], extension=grpc, GRPC_HEALTH="watch")
    statuses = watched(app, protocol=protocol)
    found = [next(statuses)]
    for passes[0] in (False, True):
        found.append(next(statuses))
    assert found == [SERVING, NOT_SERVING, SERVING]
    grpc.drain()
    assert next(statuses) == NOT_SERVING
    with pytest.raises(CallError, match="this server is about to stop") as caught:
        next(statuses)
    assert caught.value.code == 14


def test_a_watcher_is_told_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "REPEAT_SECONDS", 0.05)
    statuses = watched(healthy_app(GRPC_HEALTH="watch"), OURS)
    assert [next(statuses) for _ in range(3)] == [SERVING] * 3


def test_a_service_that_is_not_served_may_be_watched() -> None:
    statuses = watched(healthy_app(GRPC_HEALTH="watch"), "tests.echo.v1.Eco", timeout=0.2)
    assert next(statuses) == HealthCheckResponse.SERVICE_UNKNOWN
    with pytest.raises(CallError) as caught:
        next(statuses)
    assert caught.value.code == 4


def test_watchers_count_as_streams() -> None:
    app = healthy_app(GRPC_HEALTH="watch", GRPC_MAX_STREAMS=1)
    first, second = watched(app), watched(app)
    assert next(first) == SERVING
    with pytest.raises(CallError) as caught:
        next(second)
    assert caught.value.code == 8
    assert status(app) == SERVING


# The app's own checks


def test_without_its_database_scm_service_is_not_serving(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flask_grpcweb_scm.scm.PING_SECONDS", 10.0)
    file = tmp_path / "scm.db"
    app = make_app(f"sqlite:///{file}", GRPC_HEALTH=True, GRPC_HEALTH_PATH="/healthz", GRPC_REQUIRE_AUTH=False)
    with app.app_context():
        db.create_all()
    assert [status(app), status(app, SCM), page(app)] == [SERVING, SERVING, 200]
    with app.app_context():
        db.engine.dispose()
    file.unlink()
    assert [status(app), status(app, SCM), page(app)] == [NOT_SERVING, NOT_SERVING, 503]
    assert status(app, "grpc.health.v1.Health") == SERVING
    assert len(caplog.messages) == 1
    assert "the health check database fails: OperationalError" in caplog.text


@pytest.mark.needs("PostgreSQL")
def test_a_database_that_hangs_is_told_from_one_that_is_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.faults.postgresql import postgresql_of_our_own

    for name, seconds in OF_SERVERS.items():
        monkeypatch.setattr(health, name, seconds)

    def settle(expected: int) -> None:
        """Ask until this is the answer four times running."""
        stop = time.monotonic() + 20
        while [status(app) for _ in range(4)] != [expected] * 4:
            assert time.monotonic() < stop

    with postgresql_of_our_own() as server:
        server.reset()
        options = {"pool_size": 1, "max_overflow": 0}
        config = {"SQLALCHEMY_ENGINE_OPTIONS": options, "GRPC_HEALTH": True, "GRPC_REQUIRE_AUTH": False}
        with disposed(make_app(server.uri, **config)) as app:
            settle(SERVING)
            with server.stopped():
                settle(NOT_SERVING)
            settle(SERVING)
            with app.app_context(), db.engine.connect():
                settle(SERVING)
                with server.stopped():
                    settle(NOT_SERVING)
                settle(SERVING)


@pytest.mark.needs("psycopg")
def test_a_database_that_is_away(caplog: pytest.LogCaptureFixture) -> None:
    uri = f"postgresql+psycopg://user:hush@127.0.0.1:{free_port()}/none"
    app = make_app(uri, GRPC_HEALTH=True, GRPC_REQUIRE_AUTH=False)
    assert status(app) == NOT_SERVING
    assert "hush" not in caplog.text


def test_connections_that_are_all_busy_are_no_outage(tmp_path: Path) -> None:
    options = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 0.01}
    app = make_app(
        f"sqlite:///{tmp_path / 'scm.db'}", SQLALCHEMY_ENGINE_OPTIONS=options, GRPC_HEALTH=True, GRPC_REQUIRE_AUTH=False
    )
    with app.app_context(), db.engine.connect():
        assert status(app) == SERVING


def test_a_database_in_memory_is_left_alone() -> None:
    app = make_app("sqlite://", GRPC_HEALTH=True, GRPC_REQUIRE_AUTH=False)
    with app.app_context(), db.engine.connect() as connection:
        connection.execute(sa.text("CREATE TABLE t (a INTEGER)"))
        connection.execute(sa.text("INSERT INTO t VALUES (1)"))
        assert status(app) == SERVING
        assert connection.execute(sa.text("SELECT count(*) FROM t")).scalar() == 1


@pytest.mark.parametrize(("config", "expected"), [({"GRPC_RATE_LIMITS": "9/hour"}, NOT_SERVING), ({}, SERVING)])
def test_a_storage_of_limits_that_is_away(
    config: dict[str, str], expected: int, caplog: pytest.LogCaptureFixture
) -> None:
    storage = f"redis://user:hush@127.0.0.1:{free_port()}"
    app = healthy_app(GRPC_RATE_LIMIT_STORAGE=storage, GRPC_AUTH_TOKENS="right", **config)
    assert status(app) == expected
    assert "hush" not in caplog.text
    assert ("GRPC_RATE_LIMIT_STORAGE fails" in caplog.text) == (expected == NOT_SERVING)


def test_limits_in_memory_are_there() -> None:
    assert status(healthy_app(GRPC_RATE_LIMITS="1/hour")) == SERVING
