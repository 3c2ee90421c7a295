"""Chromium, driven over a pipe by Node.js; and the server of the pages, which is another origin than the app."""

from __future__ import annotations

import contextlib
import functools
import http.server
import json
import queue
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from tests.browser.build import BUILD, HERE
from tests.servers import in_a_thread

__all__ = ["Browser", "Scenarios", "pages", "running_browser", "running_scenarios"]

START_SECONDS = 40.0
ANSWER_SECONDS = 20.0
SCENARIO_SECONDS = 240.0


class _Driver:
    """A program of Node.js with a Chromium, which responds to each line with a line."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin
        assert process.stdout
        self._stdin = process.stdin
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, args=(process.stdout,), daemon=True).start()
        self.version: str = self._answer(START_SECONDS)

    def _ask(self, command: dict[str, Any], seconds: float) -> Any:
        self._stdin.write(json.dumps(command) + "\n")
        self._stdin.flush()
        return self._answer(seconds)

    def _answer(self, seconds: float) -> Any:
        line = self._lines.get(timeout=seconds)
        assert line, "the browser has gone; its log is above"
        answer = json.loads(line)
        assert "error" not in answer, answer["error"]
        return answer["result"]

    def _read(self, output: IO[str]) -> None:
        for line in output:
            self._lines.put(line)
        self._lines.put("")


class Browser(_Driver):
    """drive.mjs: Chromium at the bundled pages."""

    def run(self, function: str, *arguments: str) -> Any:
        """Call a function of the page, with the URL of the app's server as its last argument."""
        return self._ask({"run": function, "arguments": arguments}, ANSWER_SECONDS)

    def open(self, name: str) -> Any:
        """Open a page, and return what it logs first."""
        return self._ask({"open": name}, ANSWER_SECONDS)


class Scenarios(_Driver):
    """scenarios.mjs: a Chromium whose tests have a context each."""

    def play(self, scenario: str, given: object) -> Any:
        """Return what the module of that name returns, for what it is given."""
        return self._ask({"scenario": f"{scenario}.mjs", "given": given}, SCENARIO_SECONDS)


@contextlib.contextmanager
def running_browser(folder: Path, pages_url: str, server_url: str) -> Iterator[Browser]:
    """Chromium at the page while the block runs; its profile and its log are in `folder`."""
    with _running(folder, "drive.mjs", str(folder / "profile"), pages_url, server_url) as process:
        yield Browser(process)


@contextlib.contextmanager
def running_scenarios(folder: Path, *hosts: str) -> Iterator[Scenarios]:
    """Chromium while the block runs; its log is in `folder`.

    :param hosts: ``host=other`` each, for servers that listen elsewhere than the pages say.
    """
    with _running(folder, "scenarios.mjs", *hosts) as process:
        yield Scenarios(process)


@contextlib.contextmanager
def _running(folder: Path, script: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    chromium = shutil.which("chromium")
    assert chromium
    command = ["node", str(HERE / script), chromium, *arguments]
    log = folder / "browser.log"
    with log.open("w") as errors:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True)
    with process:
        try:
            yield process
        finally:
            assert process.stdin
            # The script ends with its input, and Chromium with the script.
            process.stdin.close()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
            print(log.read_text())  # noqa: T201  # pytest shows it beside a failure


class _Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's name
        """Say nothing."""


@contextlib.contextmanager
def pages() -> Iterator[str]:
    """Serve the bundled pages while the block runs; gives their origin."""
    handler = functools.partial(_Handler, directory=str(BUILD / "pages"))
    with in_a_thread(http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)) as url:
        yield url
