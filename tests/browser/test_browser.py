"""Real clients in Chromium, from a page of another origin than the server."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

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


@pytest.fixture(scope="module", params=SERVERS)
def server(request: pytest.FixtureRequest) -> str:
    if request.param == "pyvoy" and sys.version_info < (3, 11):
        pytest.skip("pyvoy needs Python 3.11")
    return str(request.param)


@pytest.fixture(scope="module")
def browser(server: str, pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    assert not missing_tools(), missing_tools()
    build()
    folder = tmp_path_factory.mktemp("browser")
    log = folder / "server.log"
    with pages() as origin:
        environment = {
            "FLASK_GRPC_CORS_ORIGINS": origin,
            "FLASK_SQLALCHEMY_DATABASE_URI": f"sqlite:///{folder}/scm.db",
        }
        with (
            running(server, "tests.browser.app:create_app", log, environment) as port,
            running_browser(folder, origin, f"http://127.0.0.1:{port}") as browser,
        ):
            pytestconfig.stash[CHROMIUM] = browser.version
            yield browser
    assert "Traceback" not in log.read_text()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name.replace(" ", "-"))
def test_client(browser: Browser, results: Results, server: str, client: Client, case: Case) -> None:
    results[server, client.name, case.name] = False
    assert browser.run("runCase", client.name, case.name) == expected(server, client, case)
    results[server, client.name, case.name] = True


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistake_of_a_page(browser: Browser, mistake: str) -> None:
    assert browser.run("runMistake", mistake) == MISTAKES[mistake]


@pytest.mark.parametrize("name", SNIPPETS)
def test_snippet_logs_the_repositories(browser: Browser, name: str) -> None:
    assert browser.open(f"{name}.html") == {"type": "log", "values": [["demo/api", "demo/web"]]}


@pytest.mark.parametrize("name", SNIPPETS)
def test_snippet_is_strict_typescript(browser: Browser, name: str) -> None:
    check_types(name)


def test_differences_name_clients_and_cases() -> None:
    clients = {client.name for client in CLIENTS}
    cases = {case.name for case in CASES}
    assert all(client in clients and case in cases for client, case in DIFFERENCES)


def test_lock_names_no_host() -> None:
    assert '"resolved"' not in (HERE / "package-lock.json").read_text()
