"""``protoc-gen-flask-grpc``: requests of protoc, and protoc itself, with the worst that a file can have."""

from __future__ import annotations

import configparser
import os
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf.compiler.plugin_pb2 import CodeGeneratorRequest, CodeGeneratorResponse

from flask_grpcweb_scm.codegen.protoc import respond
from tests.codegen.hostile import SERVICES, generate
from tests.servers import ROOT
from tests.test_proto import require_generator

PLUGIN = [sys.executable, "-c", "from flask_grpcweb_scm.codegen.protoc import main; main()"]


def request(*names: str, parameter: str = "") -> CodeGeneratorRequest:
    """A request for files that import acme/types.proto and a file of Google's."""
    made = CodeGeneratorRequest(file_to_generate=names, parameter=parameter)
    for name in ("google/protobuf/empty.proto", "acme/types.proto", *names):
        package = name.removesuffix(".proto").replace("/", ".")
        file = made.proto_file.add(name=name, package=package)
        file.message_type.add(name="Message")
        if name in names:
            methods = file.service.add(name="Things").method
            methods.add(name="Get", input_type=f".{package}.Message", output_type=".acme.types.Message")
            methods.add(name="Delete", input_type=f".{package}.Message", output_type=".google.protobuf.empty.Message")
    return made


def imports(text: str) -> list[str]:
    return [line for line in text.splitlines() if "import" in line and "_pb2" in line]


def test_a_module_is_written_for_each_file_with_services() -> None:
    made = request("acme/v1/things.proto", "acme/v1/more-things.proto")
    made.file_to_generate.append("acme/types.proto")
    response = respond(made)
    assert [file.name for file in response.file] == ["acme/v1/things_rpc.py", "acme/v1/more_things_rpc.py"]
    assert response.supported_features & CodeGeneratorResponse.FEATURE_PROTO3_OPTIONAL
    assert response.supported_features & CodeGeneratorResponse.FEATURE_SUPPORTS_EDITIONS
    assert response.minimum_edition < 1000 <= response.maximum_edition < 10_000
    assert respond(made) == response


@pytest.mark.parametrize(
    ("name", "parameter", "lines"),
    [
        ("acme/v1/things.proto", "", ["from acme import types_pb2", "from acme.v1 import things_pb2"]),
        ("acme/v1/things.proto", "imports=absolute", ["from acme import types_pb2", "from acme.v1 import things_pb2"]),
        ("acme/v1/things.proto", "imports=relative", ["from . import things_pb2", "from .. import types_pb2"]),
        ("acme/things.proto", "imports=relative", ["from . import things_pb2", "from . import types_pb2"]),
        ("things.proto", "imports=relative,", ["from . import things_pb2", "from .acme import types_pb2"]),
        ("other/things.proto", "imports=relative", ["from . import things_pb2", "from ..acme import types_pb2"]),
        (
            "acme/1st.proto",
            "imports=relative",
            ["from . import types_pb2", '_1st_pb2 = import_module(".1st_pb2", __package__)'],
        ),
        ("async/things.proto", "imports=relative", ["from . import things_pb2", "from ..acme import types_pb2"]),
    ],
)
def test_imports_of_messages(name: str, parameter: str, lines: list[str]) -> None:
    (file,) = respond(request(name, parameter=parameter)).file
    google = "from google.protobuf import empty_pb2"
    assert sorted(imports(file.content)) == sorted([*lines, google])


@pytest.mark.parametrize("parameter", ["imports=both", "import=relative", "x"])
def test_an_unknown_option_is_an_error(parameter: str) -> None:
    response = respond(request("things.proto", parameter=parameter))
    assert response.error.startswith(f"unknown option {parameter!r}; there are imports=absolute")
    assert not response.file


def test_the_program_reads_and_writes_messages() -> None:
    made = request("things.proto")
    done = subprocess.run(PLUGIN, input=made.SerializeToString(), capture_output=True, check=True, timeout=60)
    assert CodeGeneratorResponse.FromString(done.stdout) == respond(made)


@pytest.mark.parametrize(("arguments", "stdin"), [(["--help"], b""), (["greeter.proto"], b""), ([], b"syntax = 1")])
def test_somebody_who_runs_it_by_hand_is_told_how(arguments: list[str], stdin: bytes) -> None:
    done = subprocess.run([*PLUGIN, *arguments], input=stdin, capture_output=True, timeout=60)
    assert done.returncode == 1
    assert b"--flask-grpc_out=. greeter.proto" in done.stderr


def test_the_console_script_has_the_name_that_protoc_looks_for() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    assert (
        "protoc-gen-flask-grpc = flask_grpcweb_scm.codegen.protoc:main"
        in setup["options.entry_points"]["console_scripts"]
    )


USE = """\
import importlib, inspect, sys
from flask_grpcweb_scm import Service
for name in sys.argv[1:]:
    for cls in vars(importlib.import_module(name)).values():
        if inspect.isclass(cls) and issubclass(cls, Service) and cls is not Service:
            service = cls()
            own = {"__init__", "unimplemented"}
            decorators = [name for name, value in vars(cls).items() if callable(value) and name not in own]
            for name in decorators:
                decorate = getattr(service, name)
                if "batch" in inspect.signature(decorate).parameters:
                    decorate(batch=True)(lambda request, context: [])
                else:
                    decorate(lambda request, context: None)
            print(service.name, *decorators)
            assert len(service.methods()) == len(decorators)
"""


@pytest.mark.needs("time")
def test_protoc_makes_modules_that_work(tmp_path: Path) -> None:
    require_generator()
    generate(tmp_path)
    modules = [name.removesuffix(".py").replace("/", ".") for name in SERVICES]
    done = subprocess.run(
        [sys.executable, "-W", "error::SyntaxWarning", "-c", USE, *modules],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    lines = done.stdout.splitlines()
    assert [line.partition(" ")[0].rpartition(".")[2] for line in lines] == [
        "Greeter", "Service", "super", "import", "v2_pb2", "Long", "InKeyword", "Windows",
    ], done.stderr  # fmt: skip
    assert " rpc__ rpc_ name_ class_ None_ Any_ overload_ bool_ " in lines[0]


RUFF = ROOT / ".venv-lint/bin/ruff"


@pytest.mark.needs("ruff")
@pytest.mark.skipif(not RUFF.exists(), reason="run: make lint")
def test_it_is_clean_without_its_pragmas_too(tmp_path: Path) -> None:
    """As to the defaults, and as to the lines of this project; names that need longer ones have the pragmas."""
    for name in ("tests/echo_rpc.py", "flask_grpcweb_scm/pb/scm_rpc.py", "example_app/dice_rpc.py"):
        lines = (ROOT / name).read_text().splitlines(keepends=True)
        text = "".join(line for line in lines if not line.startswith(("# ruff:", "# fmt:")))
        (tmp_path / name.replace("/", "_")).write_text(text)
    for command in (["check"], ["format", "--check"], ["format", "--check", "--line-length=120"]):
        subprocess.run([RUFF, *command, "--isolated", "--no-cache", "."], cwd=tmp_path, check=True, timeout=60)
