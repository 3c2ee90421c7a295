"""Bundles the pages: code generated from the protos for every client, then esbuild. Kept until a source changes.

``generated/`` has what protoc 3.20.1 and protoc-gen-grpc-web 1.5.0 have made, of ``echo.proto`` and of ScmService as it
was at first: such clients exist, and go on working.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path

from google.rpc import status_pb2

__all__ = ["BUILD", "SNIPPETS", "build", "check_types", "missing_tools", "versions"]

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
BUILD = ROOT / "build" / "browser"
MODULES = HERE / "node_modules"
PROTOC_PYTHON = ROOT / ".venv-protos" / "bin" / "python"
SNIPPETS = tuple(sorted(path.stem for path in (HERE / "snippets").glob("*.ts")))

PROTOS = (
    "tests/echo.proto",
    "flask_grpcweb_scm/pb/scm.proto",
    "google/rpc/status.proto",
    "google/rpc/error_details.proto",
)
GENERATORS = {
    "gen": ("es", "target=js+dts"),
    "gen-protobuf-ts": ("ts", ""),
    "gen-ts-proto": ("ts_proto", "outputServices=nice-grpc,outputServices=generic-definitions,esModuleInterop=true"),
}
OLDEST_NODE = 20
SECONDS = 120


@functools.cache
def missing_tools() -> str:
    """What keeps the browsers from being tested, with the way out; empty when nothing does."""
    for program in ("node", "chromium"):
        if shutil.which(program) is None:
            return f"{program} is not installed: apt-get install nodejs npm chromium"
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, timeout=SECONDS).stdout.strip()
    if int(version.removeprefix("v").partition(".")[0]) < OLDEST_NODE:
        return f"node is {version}; playwright-core needs {OLDEST_NODE} or newer"
    if not (MODULES / ".package-lock.json").exists():
        return "the browser clients are not installed: npm ci --prefix tests/browser"
    if not PROTOC_PYTHON.exists():
        return "the code generator is not installed: make .venv-protos/.installed"
    return ""


def versions() -> dict[str, str]:
    """Exact versions of the npm packages under test."""
    dependencies: dict[str, str] = json.loads((HERE / "package.json").read_text())["dependencies"]
    return dependencies


def build() -> None:
    """Make ``build/browser``, unless it is there already, made from the same sources."""
    key = _key()
    stamp = BUILD / "key"
    if stamp.exists() and stamp.read_text() == key:
        return
    shutil.rmtree(BUILD, ignore_errors=True)
    shutil.copytree(HERE / "page", BUILD)
    shutil.copytree(HERE / "snippets", BUILD, dirs_exist_ok=True)
    shutil.copytree(HERE / "generated", BUILD / "generated")
    # Where the compiler of TypeScript looks for packages.
    (BUILD / "node_modules").symlink_to(MODULES)
    for folder, (generator, options) in GENERATORS.items():
        _generate(BUILD / folder, generator, options)
    _bundle()
    stamp.write_text(key)


def _key() -> str:
    sources = [HERE / "package-lock.json", Path(__file__), *(ROOT / "protos").rglob("*.proto")]
    for folder in ("page", "snippets", "generated"):
        sources += (path for path in (HERE / folder).rglob("*") if path.is_file())
    digest = hashlib.sha256()
    for source in sorted(sources):
        digest.update(f"{source.relative_to(ROOT)}\n".encode() + source.read_bytes())
    return digest.hexdigest()


def _generate(folder: Path, generator: str, options: str) -> None:
    folder.mkdir()
    google_rpc = Path(status_pb2.__file__).parents[2]
    program = f"protoc-gen-{generator}"
    command = [
        str(PROTOC_PYTHON),
        "-m",
        "grpc_tools.protoc",
        f"--plugin={program}={MODULES / '.bin' / program}",
        f"--proto_path={ROOT / 'protos'}",
        f"--proto_path={google_rpc}",
        f"--{generator}_out={folder}",
        *([f"--{generator}_opt={options}"] if options else []),
        *PROTOS,
    ]
    _run(command)


def _bundle() -> None:
    entries = ["main.js", *(f"{name}.ts" for name in SNIPPETS)]
    output = BUILD / "pages"
    _run([str(MODULES / ".bin" / "esbuild"), *entries, "--bundle", "--log-level=warning", f"--outdir={output}"])
    for entry in entries:
        name = "index" if entry == "main.js" else Path(entry).stem
        script = Path(entry).with_suffix(".js")
        html = f'<!doctype html>\n<meta charset="utf-8">\n<title>{name}</title>\n<script src="{script}"></script>\n'
        (output / f"{name}.html").write_text(html)


def check_types() -> None:
    """Compile the snippets as a strict project does."""
    options = ["--strict", "--noEmit", "--target", "es2022", "--module", "esnext", "--moduleResolution", "bundler"]
    files = [f"{name}.ts" for name in SNIPPETS]
    _run([str(MODULES / ".bin" / "tsc"), *options, "--lib", "es2022,dom", "--verbatimModuleSyntax", *files])


def _run(command: list[str]) -> None:
    environment = {**os.environ, "NODE_PATH": str(MODULES)}
    result = subprocess.run(command, cwd=BUILD, env=environment, capture_output=True, text=True, timeout=SECONDS)
    if result.returncode or result.stderr:
        raise AssertionError(f"{' '.join(command)}\n{result.stdout}{result.stderr}")
