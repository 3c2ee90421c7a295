"""Proto files with everything that a generator may fall over, compiled by protoc."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.servers import ROOT
from tests.test_proto import GENERATOR

__all__ = ["SERVICES", "generate", "run_protoc"]

PLUGIN = f"""#!{sys.executable}
import sys
sys.path.insert(0, {str(ROOT)!r})
from flask_grpcweb_scm.codegen.protoc import main
main()
"""
FILES = {
    "acme/v1/common-types.proto": """\
syntax = "proto3";
package acme.v1;
message Outer { message Inner { message Deep {} } }
message Reply {}
""",
    "acme/types.proto": """\
syntax = "proto2";
package acme;
message Reply { optional string text = 1; }
""",
    "async/types.proto": """\
syntax = "proto3";
package other;
message Reply {}
service InKeyword {
  rpc Call(Reply) returns (Reply);
  rpc Count(Reply) returns (stream Reply);
}
""",
    "windows.proto": "syntax='proto3';message M {}\r\n// x\r\n// y\t\x0c\r\nservice Windows{rpc Call(M) returns (M);}",
    "acme/v1/greeter.v2.proto": Path(__file__).with_suffix(".proto").read_text(),
}
SERVICES = ["acme/v1/greeter/v2_rpc.py", "async/types_rpc.py", "windows_rpc.py"]


def generate(folder: Path) -> None:
    """Write messages, their stubs and services below `folder`."""
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(text.encode())
    run_protoc(folder, "-I.", "--python_out=.", "--pyi_out=.", "--flask-grpc_out=.", *FILES)


def run_protoc(folder: Path, *arguments: str) -> None:
    """Run it in `folder`, with the plugin in the path, as in an environment that is activated."""
    plugin = folder / "protoc-gen-flask-grpc"
    plugin.write_text(PLUGIN)
    plugin.chmod(0o700)
    environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}
    command = [GENERATOR, "-m", "grpc_tools.protoc", *arguments]
    subprocess.run(command, cwd=folder, env=environment, check=True, timeout=60)
