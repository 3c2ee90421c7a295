"""``flask grpc generate``: what is compiled, what is written, and where protoc comes from."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from google import protobuf

from flask_grpcweb_scm.cli import grpc_cli
from tests.codegen.environment import ENVIRONMENT, cache_with_protoc
from tests.mypy_runs import assert_only_marked_errors

MESSAGE = 'syntax = "proto3";\nmessage Empty {}\n'
SERVICE = MESSAGE + "service Pinger {\n  rpc Ping(Empty) returns (Empty);\n}\n"


def generate(*arguments: str | Path) -> Result:
    return CliRunner().invoke(grpc_cli, ["generate", *map(str, arguments)])


def write(folder: Path, **texts: str) -> None:
    for name, text in texts.items():
        path = folder / f"{name}.proto"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def modules_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*.py*") if path.suffix in {".py", ".pyi"}}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, empty; the environment with protoc is made already."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache_with_protoc(tmp_path)))
    folder = tmp_path / "own: 'files'"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_a_project_is_brought_up_to_date(folder: Path) -> None:
    assert CliRunner().invoke(grpc_cli, ["init"]).exit_code == 0
    assert generate().output == "Nothing has changed.\n"
    proto = (folder / "greeter.proto").read_text()
    (folder / "greeter.proto").write_text(proto.replace("rpc CountTo", "rpc CountUp"))
    result = generate()
    assert (result.exit_code, result.output.splitlines()) == (0, ["greeter_pb2.py", "greeter_rpc.py"])
    assert "def CountUp(" in (folder / "greeter_rpc.py").read_text()
    assert '"""Counts from 1 to a limit."""' in (folder / "greeter_rpc.py").read_text()


def test_the_protos_below_the_folder_are_compiled_and_those_of_packages_are_not(folder: Path) -> None:
    ours = 'syntax = "proto3";\nimport "acme/v1/types.proto";\nservice S { rpc R(acme.v1.T) returns (acme.v1.T); }'
    write(
        folder,
        **{
            "acme/v1/types": 'syntax = "proto3";\npackage acme.v1;\nmessage T {}',
            "acme/a-b": ours,
            "-x": MESSAGE,
            "env/lib/other": MESSAGE,
            ".hidden/other": MESSAGE,
            "node_modules/other": MESSAGE,
        },
    )
    (folder / "env/pyvenv.cfg").touch()
    # protoc does not import what is in the current folder.
    (folder / "logging.py").write_text("raise Exception")
    assert generate().exit_code == 0
    written = {
        "acme/v1/types_pb2.py",
        "acme/v1/types_pb2.pyi",
        "acme/a_b_pb2.py",
        "acme/a_b_pb2.pyi",
        "acme/a_b_rpc.py",
    }
    assert modules_in(folder) == {*written, "_x_pb2.py", "_x_pb2.pyi", "logging.py"}
    assert "from acme.v1 import types_pb2\n" in (folder / "acme/a_b_rpc.py").read_text()


def test_protos_that_are_named_and_a_folder_for_the_modules(folder: Path) -> None:
    write(folder, **{"protos/a/one": SERVICE, "protos/two": MESSAGE})
    (folder / "protos/a/one.proto").rename(folder / "elsewhere.proto")
    (folder / "protos/a/one.proto").symlink_to(folder / "elsewhere.proto")
    result = generate("protos/a/one.proto", "--proto-path", "protos", "--out", "src")
    assert result.output.splitlines() == ["src/a/one_pb2.py", "src/a/one_pb2.pyi", "src/a/one_rpc.py"]
    assert modules_in(folder) == {"src/a/one_pb2.py", "src/a/one_pb2.pyi", "src/a/one_rpc.py"}


@pytest.mark.needs("mypy")
def test_messages_in_messages_are_typed(folder: Path) -> None:
    write(folder, own=f"{SERVICE}message Outer {{\n  Empty inner = 1;\n}}\n")
    assert generate().exit_code == 0
    (folder / "app.py").write_text(
        "import own_pb2\nown_pb2.Outer(inner=own_pb2.Empty())\nown_pb2.Outer(inner=1)  # error: arg-type\n"
    )
    assert_only_marked_errors(folder, "app.py", "own_rpc.py", "own_pb2.pyi")


@pytest.mark.parametrize("imported", ["google/protobuf/timestamp", "google/rpc/status", "google/type/date"])
def test_protos_that_come_with_packages_are_found(folder: Path, imported: str) -> None:
    write(folder, own=f'{SERVICE.partition("message")[0]}import "{imported}.proto";\nmessage Empty {{}}\n')
    result = generate()
    assert result.exit_code == 0
    assert modules_in(folder) == {"own_pb2.py", "own_pb2.pyi"}


@pytest.mark.parametrize(
    ("texts", "arguments", "message"),
    [
        ({}, [], "no .proto file is below '.'; name their folder: --proto-path FOLDER"),
        ({"broken": SERVICE + "x"}, [], "broken.proto:6:1: Expected top-level statement"),
        ({"broken": SERVICE.replace("(Empty)", "(Emty)")}, [], '"Emty" is not defined'),
        ({"good": SERVICE, "broken": "import 'nowhere.proto';"}, [], "nowhere.proto: File not found"),
        ({"a": MESSAGE, "b/c": ""}, ["a.proto", "--proto-path", "b"], "'a.proto' is not below 'b'; name the folder"),
        ({}, ["gone.proto"], "File 'gone.proto' does not exist"),
        ({}, ["--proto-path", "gone"], "Directory 'gone' does not exist"),
    ],
)
def test_a_mistake_is_named_and_nothing_is_written(
    folder: Path, texts: dict[str, str], arguments: list[str], message: str
) -> None:
    write(folder, **texts)
    result = generate(*arguments)
    assert (result.exit_code != 0, message in " ".join(result.output.split())) == (True, True), result.output
    assert modules_in(folder) == set()


@pytest.mark.parametrize("end", ["_pb2.py", "_pb2.pyi", "_rpc.py"])
def test_a_file_that_somebody_wrote_is_left_alone(folder: Path, end: str) -> None:
    write(folder, own=SERVICE)
    (folder / f"own{end}").write_text("mine = True\n")
    result = generate()
    assert (result.exit_code, result.output) == (1, f"Error: own{end} is not generated; move it out of the way\n")
    assert modules_in(folder) == {f"own{end}"}


# Where protoc comes from


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a proto, which is the current one, beside a cache without an environment."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "folder"
    write(folder, own=SERVICE)
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.needs("network")
def test_an_environment_is_made_once_and_that_is_said(fresh: Path, tmp_path: Path) -> None:
    made = tmp_path / "cache/flask_grpcweb_scm" / ENVIRONMENT
    said = f"grpcio-tools is not installed here; installing it, once, into {made} …\n"
    # One that has lost its files.
    (made / "bin").mkdir(parents=True)
    first = generate()
    if not made.joinpath("pyvenv.cfg").exists() and not os.environ.get("CI"):
        pytest.skip(f"the package index cannot be reached: {first.output}")
    assert (first.exit_code, first.stderr) == (0, said)
    assert modules_in(fresh) == {"own_pb2.py", "own_pb2.pyi", "own_rpc.py"}
    assert (generate().output, os.listdir(made.parent)) == ("Nothing has changed.\n", [ENVIRONMENT])


@pytest.mark.needs("time")
def test_without_an_environment_the_way_out_is_named(
    fresh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("PATH", str(tmp_path))
    result = generate()
    assert result.exit_code == 1
    assert "pip install --disable-pip-version-check --quiet --only-binary :all: grpcio-tools" in result.output
    assert "uv: No such file or directory" in result.output
    way_out = f"Install it here: {sys.executable} -m pip install grpcio-tools 'protobuf<={protobuf.__version__}'\n"
    assert result.output.endswith(way_out)
    assert os.listdir(tmp_path / "cache/flask_grpcweb_scm") == []


def test_without_a_folder_for_it_too(fresh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cache").touch()
    result = generate()
    assert (result.exit_code, "name one by XDG_CACHE_HOME\nInstall it here: " in result.output) == (1, True)
