"""docs/typed-services.md, done as it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.codegen.hostile import run_protoc
from tests.documents import PAGES, README, ROOT, block, files
from tests.mypy_runs import assert_only_marked_errors
from tests.test_proto import require_generator

PAGE = PAGES["typed-services"]


def write_greeter(folder: Path) -> None:
    """Write the app of the page, and what protoc makes of the proto of the README."""
    (folder / "greeter.proto").write_text(block(README, "proto", "service Greeter"))
    (folder / "app.py").write_text(files(PAGE)["app.py"])
    (command,) = re.findall(r"^python -m grpc_tools\.protoc (.*)$", block(PAGE, "sh", "grpc_tools"), re.MULTILINE)
    run_protoc(folder, *command.split())


def run(folder: Path, *arguments: str) -> str:
    environ = {**os.environ, "PYTHONPATH": f"{folder}:{ROOT}", "FLASK_GRPC_REQUIRE_AUTH": "false"}
    command = [sys.executable, "-m", "flask", "grpc", *arguments]
    return subprocess.run(
        command, cwd=folder, env=environ, check=True, capture_output=True, text=True, timeout=60
    ).stdout


@pytest.mark.needs("time")
def test_the_example_is_served_and_its_stubs_are_current(tmp_path: Path) -> None:
    require_generator()
    write_greeter(tmp_path)
    assert "Hello Ann" in run(tmp_path, "call", "greeter.v1.Greeter/SayHello", '{"name": "Ann"}')
    assert '{"number": 2}' in run(tmp_path, "call", "greeter.v1.Greeter/CountTo", '{"limit": 2}', "--stream")
    for line in block(PAGE, "sh", "flask grpc stubs").splitlines():
        arguments = line.partition("#")[0].split()[2:]
        assert run(tmp_path, *arguments) == ((tmp_path / "greeter_rpc.py").read_text() if len(arguments) == 2 else "")


@pytest.mark.needs("mypy")
def test_the_example_is_typed(tmp_path: Path) -> None:
    require_generator()
    write_greeter(tmp_path)
    *_, name = block(PAGE, "sh", "mypy --strict").split()
    assert_only_marked_errors(tmp_path, name)


NESTING = """\
syntax = "proto3";
message Outer { Inner inner = 1; }
message Inner {}
"""


@pytest.mark.needs("mypy")
@pytest.mark.parametrize("told", [True, False])
def test_mypy_is_told_to_leave_out_what_protoc_wrote(tmp_path: Path, told: bool) -> None:
    require_generator()
    (tmp_path / "greeter.proto").write_text(NESTING)
    run_protoc(tmp_path, "-I.", "--python_out=.", "--pyi_out=.", "greeter.proto")
    (tmp_path / "app.py").write_text("import greeter_pb2\n\ngreeter_pb2.Outer(inner=greeter_pb2.Inner())\n")
    (tmp_path / "mypy.ini").write_text(block(PAGE, "ini", "greeter_pb2") if told else "[mypy]\nstrict = True\n")
    command = [sys.executable, "-m", "mypy", "--cache-dir", str(ROOT / ".mypy_cache"), "app.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert ("Missing type arguments" in done.stdout) == (not told), done.stdout
    assert done.returncode == (not told)
