"""The pages in docs/ say what is true: their code runs, their commands print what they say, their links lead on."""

from __future__ import annotations

import doctest
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

import example_app
from flask_grpcweb_scm import StatusCode
from flask_grpcweb_scm.pb import scm_pb2
from flask_grpcweb_scm.scm import db
from flask_grpcweb_scm.wire import CONNECT_TYPES, CONTENT_TYPES, GRPC_TYPES
from tests.apps import ECHO, echo_app
from tests.codegen.environment import cache_with_protoc
from tests.documents import DOCS, PAGES, README, ROOT, block, blocks, dead_links, files, unknown_keys
from tests.echo_pb2 import EchoRequest
from tests.grpcweb import call
from tests.servers import serving

TOKEN = "your-auth-token"
PATH = "/sentry.integrations.scm.v1.ScmService/ListRepositories"


@pytest.mark.parametrize("page", [*DOCS, README, ROOT / "SECURITY.md"], ids=lambda page: page.name)
def test_links_and_keys_of_a_page_lead_somewhere(page: Path) -> None:
    assert (dead_links(page), unknown_keys(page)) == ([], set())


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """The configuration of the app that the pages call."""
    return {
        "FLASK_SQLALCHEMY_DATABASE_URI": f"sqlite:///{tmp_path}/scm.db",
        "FLASK_GRPC_AUTH_TOKENS": TOKEN,
        "FLASK_SECRET_KEY": "docs",
    }


@pytest.fixture
def app(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Flask]:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    app = example_app.create_app()
    assert app.test_cli_runner().invoke(args=["scm", "demo"]).exit_code == 0
    yield app
    with app.app_context():
        db.engine.dispose()


@pytest.fixture
def url(app: Flask) -> Iterator[str]:
    with serving(app) as url:
        yield url


def test_the_client(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    for code in blocks(PAGES["client"], "python"):
        exec(code.replace("http://127.0.0.1:8000", url), names)
    names["channel"].close()
    names["client"].close()
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "Found 2 repositories, the first is acme/shop"
    assert printed[1].startswith("acme/shop 20")
    assert printed[-1] == "commit_sha"


@pytest.mark.needs("time")
def test_the_observers(tmp_path: Path) -> None:
    elsewhere = {*files(PAGES["observability"]).values(), block(PAGES["observability"], "python", "gunicorn")}
    written = "".join(code for code in blocks(PAGES["observability"], "python") if code not in elsewhere)
    page = f"import example_app\napp = example_app.create_app()\n{written}"
    page += f"app.test_client().post('{PATH}', data=b'', content_type='application/grpc-web+json')\n"
    command = [sys.executable, "-W", "error", "-W", "ignore:RPCs of this app are open", "-c", page]
    environ = {**os.environ, "FLASK_SQLALCHEMY_DATABASE_URI": f"sqlite:///{tmp_path}/scm.db"}
    done = subprocess.run(command, env=environ, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == f"{PATH} UNIMPLEMENTED anonymous\n"
    record = json.loads(done.stderr)
    assert (record["method"], record["code"], record["caller"]) == (PATH, "UNIMPLEMENTED", "anonymous")


@pytest.mark.needs("pytest")
def test_the_tests(tmp_path: Path) -> None:
    written = files(PAGES["testing"])
    assert set(written) == {"app.py", "conftest.py", "test_app.py", "test_users.py"}
    (last,) = [code for code in blocks(PAGES["testing"], "python") if code not in written.values()]
    indented = "".join(f"    {line}\n" for line in last.splitlines())
    written["test_last.py"] = f"def test_last(tmp_path):\n{indented}"
    written["users_app.py"] = files(PAGES["authentication"])["users_app.py"]
    for name, code in written.items():
        (tmp_path / name).write_text(code)
    environ = {**os.environ, "FLASK_SQLALCHEMY_DATABASE_URI": f"sqlite:///{tmp_path}/scm.db"}
    command = [sys.executable, "-W", "error", "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=120)
    assert "7 passed" in done.stdout, done.stdout


def test_every_content_type_is_listed() -> None:
    text = "".join(PAGES[name].read_text() for name in ("grpc-web", "connect", "grpc"))
    assert set(re.findall(r"`(application/[^`]+)`", text)) >= {*CONTENT_TYPES, *CONNECT_TYPES, *GRPC_TYPES}


def test_the_statuses_are_listed_by_their_names() -> None:
    listed = re.findall(r"^\| (\d+) \| ([A-Z_]+) \|", PAGES["errors"].read_text(), re.MULTILINE)
    assert listed == [(str(int(code)), code.name) for code in StatusCode]


@pytest.mark.parametrize("page", [README, PAGES["scm"], PAGES["authentication"]], ids=lambda page: page.name)
def test_every_method_of_scm_service_is_listed(page: Path) -> None:
    methods = scm_pb2.DESCRIPTOR.services_by_name["ScmService"].methods_by_name
    listed = re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (.*?) \|", page.read_text(), re.MULTILINE)))
    assert set(methods) - set(listed) == set()


@pytest.mark.parametrize("name", ["connect-web", "grpc-web", "original"])
def test_the_typescript_is_what_the_browser_tests_run(name: str) -> None:
    snippet = (ROOT / f"tests/browser/snippets/{name}.ts").read_text()
    assert f"// web/src/{name}.ts\n{snippet}" in blocks(PAGES["javascript"], "ts")


def test_the_signature_is_accepted() -> None:
    message = EchoRequest(text="hi")
    names = {"path": ECHO + "Unary", "secret": "s", "message": message.SerializeToString(), "now": int(time.time())}
    exec(block(PAGES["authentication"], "python", "import sign"), names)
    client = echo_app(GRPC_HMAC_SECRETS="s", GRPC_HMAC_REQUIRE_TIMESTAMP=True).test_client()
    assert call(client, ECHO + "Unary", message, headers=names["headers"]).code == 0
    assert call(client, ECHO + "Unary", EchoRequest(text="ho"), headers=names["headers"]).code == 16


MARK = "@@@"


@pytest.mark.parametrize(
    "written",
    [
        pytest.param(blocks(PAGES["command-line"], "console"), id="command-line"),
        pytest.param(blocks(PAGES["connect"], "console"), id="connect", marks=pytest.mark.needs("curl")),
    ],
)
def test_the_commands(written: list[str], url: str, environ: dict[str, str], shell_path: str, tmp_path: Path) -> None:
    """All commands of a page in one shell, as a reader would type them; `...` in what they print is anything."""
    environ["XDG_CACHE_HOME"] = str(cache_with_protoc(tmp_path))
    page = "".join(written).replace("http://127.0.0.1:8000", url)
    session = re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", page, re.MULTILINE)
    lines = [f"{command}\nlast=$?; echo '{MARK}'; (exit $last)" for command, _ in session]
    done = subprocess.run(
        ["bash", "-c", "exec 2>&1\n" + "\n".join(lines)],
        cwd=ROOT,
        env={**os.environ, **environ, "PATH": shell_path},
        stdout=subprocess.PIPE,
        text=True,
        timeout=120,
    )
    printed = done.stdout.split(f"{MARK}\n")
    assert len(printed) == len(session) + 1
    checker = doctest.OutputChecker()
    for (command, expected), got in zip(session, printed, strict=False):
        flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
        assert checker.check_output(expected, got, flags), f"{command} prints:\n{got}"
