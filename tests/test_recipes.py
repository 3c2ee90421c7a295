"""Recipes of the pages: commands and configuration, run as a reader would."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
import yaml
from flask import Flask, abort, request

import example_app
from example_app import dice_pb2
from flask_grpcweb_scm import CallContext
from flask_grpcweb_scm.configuration import read_settings
from flask_grpcweb_scm.rpc import Service
from flask_grpcweb_scm.scm import Repository, db
from tests.apps import ECHO, echo_app
from tests.codegen.hostile import run_protoc
from tests.documents import PAGES, README, ROOT, block, blocks
from tests.echo_pb2 import EchoReply, EchoRequest
from tests.grpcweb import call
from tests.servers import free_port, listening, serving
from tests.test_proto import require_generator

Run = Callable[[str], str]


@pytest.fixture
def run(tmp_path: Path, shell_path: str) -> Run:
    """Run a script in the temporary folder, and return what it prints."""
    environ = {
        **os.environ,
        "PATH": shell_path,
        "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}",
        "FLASK_SQLALCHEMY_DATABASE_URI": f"sqlite:///{tmp_path}/scm.db",
        "FLASK_GRPC_REQUIRE_AUTH": "false",
        "FLASK_APP": "example_app",
    }

    def run_script(script: str) -> str:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", f"exec 2>&1\n{script}"],
            cwd=tmp_path,
            env=environ,
            stdout=subprocess.PIPE,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    return run_script


# ScmService


@pytest.fixture
def shop(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Flask]:
    """The example app with the demo, and a stack trace of it in trace.txt."""
    monkeypatch.setenv("FLASK_SQLALCHEMY_DATABASE_URI", f"sqlite:///{tmp_path}/scm.db")
    monkeypatch.setenv("FLASK_GRPC_REQUIRE_AUTH", "false")
    monkeypatch.setenv("FLASK_GRPC_TOKEN_SECRETS", "s" * 32)
    assert "shop" in run("flask scm demo --folder demo; cp demo/traceback.txt trace.txt")
    app = example_app.create_app()
    yield app
    with app.app_context():
        db.engine.dispose()


@pytest.mark.needs("time")
@pytest.mark.parametrize("code", [block(README, "sh", "import-git"), block(PAGES["scm"], "sh", "import-git")])
def test_a_repository_and_the_commit_that_broke_it(shop: Flask, run: Run, code: str) -> None:
    commands = code.replace("/path/to/repository", "demo/shop.git")
    assert "A country without a rate is no longer free of taxes" in run(commands)


@pytest.mark.needs("server")
def test_suspects_of_a_stack_trace(shop: Flask, run: Run) -> None:
    run(
        f"export FLASK_APP=example_app\n{block(README, 'sh', 'import-git')}".replace(
            "/path/to/repository", "demo/shop.git"
        )
    )
    with serving(shop) as url:
        commands = block(PAGES["suspect-commits"], "sh", "find-suspect-commits").replace("http://127.0.0.1:8000", url)
        printed = run(commands)
    assert printed.count("85bc4bed262c") >= 2


@pytest.mark.needs("curl")
def test_curl_lists_the_repositories(shop: Flask, run: Run) -> None:
    with serving(shop) as url:
        listed = json.loads(
            run(block(README, "sh", "curl").replace("http://127.0.0.1:8000", url).replace("-H", "-s -H"))
        )
    assert [repository["name"] for repository in listed["repositories"]] == ["acme/shop", "acme/web"]


def test_a_token_is_issued_and_read(shop: Flask) -> None:
    issue, inspect = (
        shlex.split(line, comments=True)
        for line in block(PAGES["authentication"], "sh", "token").replace("\\\n", "").splitlines()
    )
    runner = shop.test_cli_runner()
    token = runner.invoke(args=issue[1:]).output.strip()
    claims = json.loads(runner.invoke(args=[word.replace("TOKEN", token) for word in inspect[1:]]).output)
    assert (claims["name"].split()[0], claims["organizations"]) == ("ci", ["demo"])


@pytest.mark.parametrize(
    "code", [block(PAGES["blame"], "sh", "git blame"), block(PAGES["blame"], "sh", "commit-graph")]
)
def test_git_has_these_commands(run: Run, tmp_path: Path, code: str) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src/app.py").write_text("\n" * 120)
    run("git init -q; git add src; git -c user.name=a -c user.email=a@b.example commit -qm first")
    run(code.replace("COMMIT", "HEAD"))


def test_what_the_page_of_mirrors_and_jobs_configures_and_makes_due(shop: Flask) -> None:
    configured, coded = [], []
    for code in blocks(PAGES["sync"], "python"):
        (configured if code.startswith("GRPC_") else coded).append(code)
    for code in configured:
        names: dict[str, Any] = {}
        exec(code, names)
        read_settings({key: value for key, value in names.items() if key.startswith("GRPC_")})
    with shop.app_context():
        repository = db.session.scalars(sa.select(Repository).order_by(Repository.id)).first()
        for code in coded:
            exec(code, {"repository": repository})
        db.session.commit()
    assert "sync_repository" in shop.test_cli_runner().invoke(args=["scm", "jobs"]).output


# The greeter


@pytest.fixture
def greeter(tmp_path: Path) -> Path:
    """A folder with the app of the README."""
    require_generator()
    (tmp_path / "greeter.proto").write_text(block(README, "proto", "service Greeter"))
    (tmp_path / "app.py").write_text(block(README, "python", "def create_app"))
    run_protoc(tmp_path, "-I.", "--python_out=.", "greeter.proto")
    return tmp_path


@pytest.fixture
def served(greeter: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """Serve the app of the README by a command, while a block runs."""

    def serve(command: str, **environ: str) -> Any:
        port = free_port()
        program, *arguments = shlex.split(command.replace("PORT", str(port)))
        log = tmp_path_factory.mktemp("log") / "log"
        programs = Path(sys.executable).parent
        given = {
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": f"{greeter}{os.pathsep}{ROOT}",
            "FLASK_GRPC_REQUIRE_AUTH": "false",
            **environ,
        }
        return log, listening([str(programs / program), *arguments], port, log, given), port

    return serve


def say_hello(port: int) -> str:
    url, headers = f"http://127.0.0.1:{port}/greeter.v1.Greeter/SayHello", {"Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(url, b'{"name": "Ann"}', headers)) as response:
        text: str = json.load(response)["text"]
    return text


@pytest.mark.needs("server")
def test_the_greeter_is_called(greeter: Path, served: Any, run: Run) -> None:
    lines = block(README, "sh", "flask grpc call SayHello").splitlines()
    *calls, serve = [line for line in lines if not line.startswith("#")]
    _, serving_it, port = served(f"{serve} --port PORT", FLASK_APP=str(greeter / "app"))
    with serving_it:
        in_process, counted = (run(f"unset FLASK_APP\n{line}") for line in calls)
        assert say_hello(port) == "Hello Ann"
    assert json.loads(in_process) == {"text": "Hello Ann"}
    assert counted == '{"number": 1}\n{"number": 2}\n{"number": 3}\n'


@pytest.mark.needs("gunicorn")
def test_gunicorn_serves_it(served: Any) -> None:
    command = block(PAGES["servers"], "sh", "gunicorn").strip()
    _, serving_it, port = served(f"{command} --no-control-socket --bind 127.0.0.1:PORT")
    with serving_it:
        assert say_hello(port) == "Hello Ann"


@pytest.mark.needs("opentelemetry-instrument")
def test_opentelemetry_instrument_traces_it(greeter: Path, served: Any) -> None:
    line = block(PAGES["observability"], "sh", "opentelemetry-instrument").splitlines()[-1]
    key, value, command = re.fullmatch(r"(\w+)=(\w+) (.*)", line).groups()  # type: ignore[union-attr]
    environ = {"OTEL_TRACES_EXPORTER": "console", "OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none"}
    environ |= {"OTEL_BSP_SCHEDULE_DELAY": "100", "PYTHONUNBUFFERED": "1", key: value}
    log, serving_it, port = served(f"{command} --port PORT".replace("--app app", f"--app {greeter}/app"), **environ)
    with serving_it:
        assert say_hello(port) == "Hello Ann"
        stop = time.monotonic() + 20
        while '"rpc.method": "greeter.v1.Greeter/SayHello"' not in log.read_text():
            assert time.monotonic() < stop, log.read_text()
            time.sleep(0.05)


def test_its_comments_are_in_a_descriptor_set(greeter: Path) -> None:
    run_protoc(greeter, *shlex.split(block(PAGES["health"], "sh", "descriptor_set_out"))[3:])
    assert b"service Greeter" not in (greeter / "greeter.binpb").read_bytes()
    assert b"Greeter" in (greeter / "greeter.binpb").read_bytes()


# Configuration and hooks


def test_tokens_are_configured_in_two_ways() -> None:
    first, second = re.split(
        r"(?m)^(?=GRPC_AUTH_TOKENS = \{)", block(PAGES["authentication"], "python", "GRPC_AUTH_TOKENS = {")
    )
    names: dict[str, Any] = {}
    for code in (first, second):
        exec(code, names)
        tokens = read_settings({"GRPC_AUTH_TOKENS": names["GRPC_AUTH_TOKENS"]}).auth_tokens
        assert {*tokens} == {"token1", "token2"}


def test_the_probes_of_a_pod_are_answered() -> None:
    page = block(PAGES["health"], "yaml", "terminationGracePeriodSeconds")
    (container,) = yaml.safe_load(page)["containers"]
    keys = dict(re.findall(r"(GRPC_\w+)=(\S+)", page))
    client = echo_app(**keys).test_client()
    for probe in ("livenessProbe", "readinessProbe"):
        assert client.get(container[probe]["httpGet"]["path"]).status_code == 200
    assert f"touch {keys['GRPC_DRAIN_FILE']} " in container["lifecycle"]["preStop"]["exec"]["command"][2]


@pytest.mark.needs("curl")
def test_health_is_asked_by_curl(greeter: Path, served: Any, run: Run) -> None:
    environ = {"FLASK_APP": str(greeter / "app"), "FLASK_GRPC_HEALTH": "true", "FLASK_GRPC_HEALTH_PATH": "/healthz"}
    _, serving_it, port = served("flask run --port PORT", **environ)
    commands = block(PAGES["health"], "sh", "healthz").replace("8000", str(port)).replace("curl ", "curl -sf ")
    with serving_it:
        page, *answers = (run(line) for line in commands.splitlines())
    assert page == "ok\n"
    assert [json.loads(answer) for answer in answers] == [{"status": "SERVING"}] * 2


def test_a_response_may_be_cached() -> None:
    names: dict[str, Any] = {"PriceRequest": EchoRequest, "Price": SimpleNamespace, "CallContext": CallContext}
    exec(block(PAGES["connect"], "python", "get_price"), names)
    context = CallContext()
    assert names["get_price"](EchoRequest(), context).cents == 1999
    assert context.initial_metadata.get_text("cache-control") == "public, max-age=60"


def test_a_request_to_try_is_given() -> None:
    service = Service(dice_pb2.DESCRIPTOR.services_by_name["Dice"])
    exec(block(PAGES["console"], "python", "example("), {"dice": service, "dice_pb2": dice_pb2})
    assert [example.title for example in service.examples["Roll"]] == ["A die with twenty sides"]


def test_the_log_has_such_lines(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "flask_grpcweb_scm")
    app = echo_app(GRPC_AUTH_TOKENS="t" * 20)

    @app.before_request
    def refuse_guests() -> None:
        if "guest" in request.headers:
            abort(401)

    for headers in ({"X-Grpc-Auth-Token": "t" * 20}, {"Guest": "yes"}):
        call(app.test_client(), ECHO + "Unary", EchoRequest(), headers=headers)
    changing = r"/\S+/\S+|[\d.]+ ms|\d+ bytes|call [0-9a-f]{16}"
    logged = [re.sub(changing, "…", record.getMessage()) for record in caplog.records]
    assert logged == [re.sub(changing, "…", line) for line in block(PAGES["observability"], "", "OK").splitlines()]


def test_a_proxy_names_the_caller() -> None:
    seen: list[str] = []

    def unary(request: EchoRequest, context: CallContext) -> EchoReply:
        seen.append(context.peer)
        return EchoReply()

    app = echo_app(Unary=unary)
    exec(block(PAGES["servers"], "python", "ProxyFix"), {"app": app})
    for headers in ({}, {"X-Forwarded-For": "192.0.2.7"}):
        assert call(app.test_client(), ECHO + "Unary", EchoRequest(), headers=headers).code == 0
    assert seen == ["127.0.0.1", "192.0.2.7"]


def test_gunicorn_tells_prometheus_of_its_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    files = [tmp_path / f"gauge_live{kind}_{number}.db" for kind in ("all", "sum") for number in (7, 8)]
    for file in files:
        file.touch()
    names: dict[str, Any] = {}
    exec(block(PAGES["observability"], "python", "child_exit"), names)
    names["child_exit"](None, SimpleNamespace(pid=7))
    assert [file.name for file in files if file.exists()] == ["gauge_liveall_8.db", "gauge_livesum_8.db"]
