"""docs/tutorial.md, done as it says, but for what it installs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.codegen.hostile import run_protoc
from tests.documents import PAGES, ROOT, block, files
from tests.mypy_runs import assert_only_marked_errors
from tests.servers import running
from tests.test_proto import require_generator

PAGE = PAGES["tutorial"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of the tutorial, with all of its files."""
    require_generator()
    (tmp_path / "notes.proto").write_text(block(PAGE, "proto", "service Notes"))
    (tmp_path / "static").mkdir()
    (tmp_path / "static/index.html").write_text(block(PAGE, "html", "<script"))
    for name, code in files(PAGE).items():
        (tmp_path / name).write_text(code)
    run_protoc(tmp_path, *block(PAGE, "sh", "grpc_tools").split()[3:])
    return tmp_path


def run(folder: Path, *command: str) -> str:
    environ = {**os.environ, "PYTHONPATH": f"{folder}:{ROOT}"}
    done = subprocess.run(
        command, cwd=folder, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_its_environment_has_what_the_other_steps_need() -> None:
    *_, last = block(PAGE, "sh", "python3 -m venv").splitlines()
    assert last == "pip install flask_grpcweb_scm grpcio-tools"


@pytest.mark.needs("time")
def test_a_call_in_the_process_prints_what_it_says(folder: Path) -> None:
    command = re.fullmatch(r"flask grpc call (\w+) '(.*)'\n", block(PAGE, "sh", "flask grpc call"))
    assert command is not None
    printed = run(folder, sys.executable, "-m", "flask", "grpc", "call", *command.groups())
    assert printed == block(PAGE, "json", "number")


@pytest.mark.needs("pytest")
def test_its_test_passes(folder: Path) -> None:
    _, *command = block(PAGE, "sh", "python -m pytest").split()
    assert "2 passed" in run(folder, sys.executable, "-W", "error", *command, "-q", "-p", "no:cacheprovider")


@pytest.mark.needs("time")
def test_it_passes_mypy(folder: Path) -> None:
    *_, names = block(PAGE, "sh", "mypy --strict").partition("mypy --strict ")
    assert_only_marked_errors(folder, *names.split())


@pytest.fixture
def url(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of the tutorial's app."""
    log = tmp_path_factory.mktemp("log") / "server.log"
    assert block(PAGE, "sh", "flask run") == "flask run --debug\n"
    with running("werkzeug", "app:create_app", log, {"PYTHONPATH": f"{folder}:{ROOT}"}) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.mark.needs("curl")
def test_curl_prints_what_it_says_and_the_page_is_there(folder: Path, url: str) -> None:
    commands = block(PAGE, "sh", "curl").replace("http://127.0.0.1:5000", url).splitlines()
    printed = [run(folder, "sh", "-c", command.replace("curl", "curl --silent")) for command in commands]
    # Spaces are the JSON library's.
    assert [*map(json.loads, printed)] == [*map(json.loads, block(PAGE, "text", "invalid_argument").splitlines())]
    assert run(folder, "curl", "--silent", url) == (folder / "static/index.html").read_text()
