"""Commands of the pages with programs that only the peers' environment has."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.codegen.hostile import run_protoc
from tests.documents import PAGES, README, block
from tests.peers.programs import SERVER_PYTHON
from tests.servers import ROOT, running
from tests.test_proto import GENERATOR, require_generator

TOKEN = "your-auth-token"


@pytest.fixture
def greeter(tmp_path: Path) -> Path:
    """A folder with the app of the README, for a server that calls no function for its app."""
    require_generator()
    (tmp_path / "greeter.proto").write_text(block(README, "proto", "service Greeter"))
    (tmp_path / "app.py").write_text(block(README, "python", "def create_app"))
    (tmp_path / "greeter_wsgi.py").write_text("from app import create_app\n\napp = create_app()\n")
    run_protoc(tmp_path, "-I.", "--python_out=.", "greeter.proto")
    return tmp_path


def run(folder: Path, script: str, *programs: Path) -> str:
    """Run a script in a folder, with the programs beside these before others; return what it prints."""
    folders = [str(program.parent) for program in programs]
    environ = {**os.environ, "PATH": os.pathsep.join([*folders, os.environ["PATH"]]), "HOME": str(folder)}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], cwd=folder, env=environ, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_programs_of_grpc_call_the_greeter(greeter: Path) -> None:
    if not Path(SERVER_PYTHON).with_name("pyvoy").exists():
        pytest.skip("pyvoy needs Python 3.11")
    environ = {
        "PYTHONPATH": f"{greeter}{os.pathsep}{ROOT}",
        "FLASK_GRPC_REQUIRE_AUTH": "false",
        "FLASK_GRPC_REFLECTION": "true",
    }
    with running("pyvoy", "greeter_wsgi:create_app", greeter / "log", environ, python=SERVER_PYTHON) as port:
        printed = run(greeter, block(PAGES["grpc"], "sh", "grpcurl").replace("8000", str(port)), Path(sys.executable))
    assert printed.count("Hello Ann") == 3


def test_buf_curl_has_the_schema_from_a_page(tmp_path: Path) -> None:
    environ = {
        "FLASK_SQLALCHEMY_DATABASE_URI": f"sqlite:///{tmp_path}/scm.db",
        "FLASK_GRPC_AUTH_TOKENS": TOKEN,
        "FLASK_GRPC_DESCRIPTORS_PATH": "/services.binpb",
    }
    demo = [SERVER_PYTHON, "-m", "flask", "--app", "example_app", "scm", "demo", "--folder", str(tmp_path / "demo")]
    subprocess.run(demo, cwd=ROOT, env={**os.environ, **environ}, check=True, capture_output=True)
    with running("gunicorn", "example_app:create_app", tmp_path / "log", environ, python=SERVER_PYTHON) as port:
        commands = block(PAGES["health"], "sh", "buf curl").replace("8000", str(port))
        printed = run(tmp_path, commands, Path(sys.executable))
    assert '"name":"acme/shop"' in printed.replace(" ", "")


def test_buf_generates_what_protoc_does(greeter: Path) -> None:
    (greeter / "proto").mkdir()
    (greeter / "greeter.proto").rename(greeter / "proto/greeter.proto")
    (greeter / "greeter_pb2.py").unlink()
    (greeter / "buf.gen.yaml").write_text(block(PAGES["typed-services"], "yaml", "plugins"))
    buf = Path(sys.executable).with_name("buf")
    run(greeter, f"{buf} generate", GENERATOR, Path(SERVER_PYTHON))
    assert {path.name for path in greeter.glob("greeter_*")} >= {"greeter_pb2.py", "greeter_pb2.pyi", "greeter_rpc.py"}
