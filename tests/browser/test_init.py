"""The page that ``flask grpc init --js`` writes, in Chromium."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from flask_grpcweb_scm.cli import grpc_cli
from tests.browser.browser import Scenarios
from tests.browser.build import missing_tools
from tests.servers import free_port, listening

pytestmark = pytest.mark.needs("browser")

if "CI" not in os.environ and missing_tools():
    pytest.skip(missing_tools(), allow_module_level=True)

NUMBERS = " ".join(map(str, range(1, 2001)))
STEPS = [
    *(["click", "Say hello"], ["see", "Hello Ann"]),
    *(["fill", "Name", "größer"], ["click", "Say hello"], ["see", "Hello größer"]),
    *(["fill", "Name", ""], ["click", "Say hello"], ["see", "invalid_argument: name is empty"]),
    *(["click", "Count"], ["see", "1 2 3"]),
    *(["fill", "Limit", "2000"], ["click", "Count"], ["see", NUMBERS]),
    *(["fill", "Limit", "99999999999"], ["click", "Count"], ["see", "invalid_argument: "]),
]


@pytest.mark.parametrize("name", ["greeter", "price_list"])
def test_it_calls_both_methods(chromium: Scenarios, tmp_path: Path, name: str) -> None:
    assert CliRunner().invoke(grpc_cli, ["init", str(tmp_path / "own"), "--js", "--name", name]).exit_code == 0
    port = free_port()
    command = [sys.executable, "-m", "flask", "--app", str(tmp_path / "own/app"), "run", "--port", str(port)]
    with listening(command, port, tmp_path / "log"):
        chromium.play("steps", {"url": f"http://127.0.0.1:{port}/", "steps": STEPS})
