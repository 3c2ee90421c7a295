"""A Python with grpcio-tools: this one, or that of an environment which is made for it once."""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import click
import google.protobuf

__all__ = ["python_with_protoc"]

# What protoc writes runs on the protobuf that grpcio-tools was made for, and on newer ones.
_REQUIREMENTS = ("grpcio-tools", f"protobuf<={google.protobuf.__version__}")
_OPTIONS = ("--quiet", "--only-binary", ":all:", *_REQUIREMENTS)
_IMPORT = ("-c", "import grpc_tools.protoc")


def python_with_protoc() -> list[str]:
    """Return a command of Python that can import grpcio-tools; without one, say so and make an environment for it.

    :raises click.ClickException: when that is not possible.
    """
    if importlib.util.find_spec("grpc_tools"):
        return [sys.executable]
    folder = _cache_folder() / f"grpcio-tools-{sys.implementation.cache_tag}-protobuf-{google.protobuf.__version__}"
    # Not with the modules of PYTHONPATH and of the user, which are for this one.
    command = [str(_python_of(folder)), "-E", "-s"]
    if _failure([*command, *_IMPORT]):
        click.echo(f"grpcio-tools is not installed here; installing it, once, into {folder} …", err=True)
        _install(folder)
    return command


def _cache_folder() -> Path:
    own = {"darwin": "Library/Caches", "win32": "AppData/Local"}.get(sys.platform, ".cache")
    try:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / own, "flask_grpcweb_scm")
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError) as error:
        raise _not_possible(f"there is no folder for it ({error}); name one by XDG_CACHE_HOME") from None
    return folder


def _python_of(environment: Path) -> Path:
    return environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _install(folder: Path) -> None:
    problems = []
    with tempfile.TemporaryDirectory(dir=folder.parent) as made:
        for number, make in enumerate((_with_venv, _with_uv)):
            environment = Path(made, str(number))
            failures = (_failure(command) for command in make(environment))
            problem = next(filter(None, failures), None)
            if problem is None:
                shutil.rmtree(folder, ignore_errors=True)
                environment.replace(folder)
                return
            problems.append(problem)
    raise _not_possible("\n".join(problems))


def _with_venv(environment: Path) -> Iterator[list[str]]:
    yield [sys.executable, "-m", "venv", str(environment)]
    yield [str(_python_of(environment)), "-m", "pip", "install", "--disable-pip-version-check", *_OPTIONS]


def _with_uv(environment: Path) -> Iterator[list[str]]:
    yield ["uv", "venv", "--quiet", "--python", sys.executable, str(environment)]
    yield ["uv", "pip", "install", "--python", str(_python_of(environment)), *_OPTIONS]


def _failure(command: list[str]) -> str | None:
    """Run a command, and return how it failed."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    except OSError as error:
        return f"{command[0]}: {error.strerror}"
    if not done.returncode:
        return None
    said = [line for line in done.stdout.splitlines() if line.strip()]
    return "\n".join([f"{shlex.join(command)} failed:", *said[-4:]])


def _not_possible(problem: str) -> click.ClickException:
    command = shlex.join([sys.executable, "-m", "pip", "install", *_REQUIREMENTS])
    return click.ClickException(
        f"grpcio-tools cannot be installed into an environment of its own: {problem}\nInstall it here: {command}"
    )
