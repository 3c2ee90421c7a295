"""Programs that the peers are."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.servers import ROOT

ECHO, LOOKUP = "/tests.echo.v1.Echo/", "/tests.echo.v1.Lookup/"
SERVER_PYTHON = os.environ.get("SERVER_PYTHON", str(ROOT / ".venv/bin/python"))

Done = subprocess.CompletedProcess[str]


def run_buf(home: Path, *arguments: str) -> Done:
    return _run("buf", *arguments, environ={"HOME": str(home)})


def grpcurl(*arguments: str) -> Done:
    return _run("grpcurl", "-plaintext", *arguments)


def _run(name: str, *arguments: str, environ: dict[str, str] | None = None) -> Done:
    program = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    assert program is not None, f"{name} is missing: make peers installs it"
    return subprocess.run([program, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60, env=environ)


def messages(output: str) -> list[Any]:
    """Read JSON documents, one after the other."""
    decoder, found = json.JSONDecoder(), []
    while output := output.lstrip():
        message, end = decoder.raw_decode(output)
        found.append(message)
        output = output[end:]
    return found
