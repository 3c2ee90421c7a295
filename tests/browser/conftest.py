"""A Chromium; and the matrix, printed when browser tests have run: COMPATIBILITY_PAGE names a file to write it to."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser.browser import Scenarios, running_scenarios
from tests.browser.expectations import CASES, CLIENTS, SERVERS
from tests.browser.report import Results, compatibility_page, matrix

RESULTS = pytest.StashKey[Results]()
CHROMIUM = pytest.StashKey[str]()


@pytest.fixture(scope="session")
def results(pytestconfig: pytest.Config) -> Results:
    return pytestconfig.stash.setdefault(RESULTS, {})


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scenarios]:
    """One Chromium for all tests."""
    with running_scenarios(tmp_path_factory.mktemp("chromium")) as scenarios:
        yield scenarios


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    results = config.stash.get(RESULTS, {})
    if not results:
        return
    terminalreporter.section("browser clients")
    for line in matrix(results):
        terminalreporter.line(line)
    page = os.environ.get("COMPATIBILITY_PAGE")
    if page and len(results) == len(CASES) * len(CLIENTS) * len(SERVERS) and all(results.values()):
        Path(page).write_text(compatibility_page(results, config.stash[CHROMIUM]))
        terminalreporter.line(f"wrote {page}")
    elif page:
        terminalreporter.line(f"did not write {page}: not every case has passed", red=True)
