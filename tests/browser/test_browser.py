"""Real clients in Chromium, from a page of another origin than the server."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser.browser import Browser, pages, running_browser
from tests.browser.build import HERE, SNIPPETS, build, check_types, missing_tools
from tests.browser.conftest import CHROMIUM
from tests.browser.expectations import CASES, CLIENTS, DIFFERENCES, MISTAKES, SERVERS, Case, Client, expected
from tests.browser.report import Results
from tests.servers import running

pytestmark = pytest.mark.needs("browser")

if "CI" not in os.environ and missing_tools():
    pytest.skip(missing_tools(), allow_module_level=True)

ORIGINAL = "original"
"""Its code is that of the first version's README."""


@contextlib.contextmanager
def browser_of_server(server: str, folder: Path, **environ: str) -> Iterator[Browser]:
    """Chromium at the pages while the block runs, and their server, whose configuration is in the environment."""
    assert not missing_tools(), missing_tools()
    build()
    log = folder / "server.log"
    with pages() as origin:
        database = f"sqlite:///{folder}/scm.db"
        environ |= {"FLASK_GRPC_CORS_ORIGINS": origin, "FLASK_SQLALCHEMY_DATABASE_URI": database}
        with (
            running(server, "tests.browser.app:create_app", log, environ) as port,
            running_browser(folder, origin, f"http://127.0.0.1:{port}") as browser,
        ):
            yield browser
    assert "Traceback" not in log.read_text()


@pytest.fixture(scope="module", params=SERVERS)
def server(request: pytest.FixtureRequest) -> str:
    if request.param == "pyvoy" and sys.version_info < (3, 11):
        pytest.skip("pyvoy needs Python 3.11")
    return str(request.param)


@pytest.fixture(scope="module")
def browser(server: str, pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser_of_server(server, tmp_path_factory.mktemp("browser")) as browser:
        pytestconfig.stash[CHROMIUM] = browser.version
        yield browser


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name.replace(" ", "-"))
def test_client(browser: Browser, results: Results, server: str, client: Client, case: Case) -> None:
    results[server, client.name, case.name] = False
    assert browser.run("runCase", client.name, case.name) == expected(server, client, case)
    results[server, client.name, case.name] = True


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistake_of_a_page(browser: Browser, mistake: str) -> None:
    assert browser.run("runMistake", mistake) == MISTAKES[mistake]


@pytest.mark.parametrize("name", sorted({*SNIPPETS} - {ORIGINAL}))
def test_snippet_logs_the_repositories(browser: Browser, name: str) -> None:
    assert browser.open(f"{name}.html") == {"type": "log", "values": [["demo/api", "demo/web"]]}


def test_the_original_snippet_logs_its_messages(tmp_path: Path) -> None:
    """It sends no token."""
    config = {"FLASK_GRPC_REQUIRE_AUTH": "false", "FLASK_GRPC_AUTH_TOKENS": ""}
    with browser_of_server("gunicorn", tmp_path, **config) as browser:
        logged = browser.open(f"{ORIGINAL}.html")
    assert logged["type"] == "log"
    text, messages = logged["values"]
    assert text == "Repositories:"
    assert [message["array"][1:3] for message in messages] == [[123, "demo/api"], [123, "demo/web"]]


def test_snippets_are_strict_typescript() -> None:
    build()
    check_types()


def test_differences_name_clients_and_cases() -> None:
    clients = {client.name for client in CLIENTS}
    cases = {case.name for case in CASES}
    assert all(client in clients and case in cases for client, case in DIFFERENCES)


def test_lock_names_no_host() -> None:
    assert '"resolved"' not in (HERE / "package-lock.json").read_text()
