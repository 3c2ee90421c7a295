"""DeriveCodeMappings over large repositories, against comparing every path with every file.

A call is measured whole, with its database and with git, which is asked for the newest tree every time; the plain scan
does only the comparisons. What the first call takes, and how much memory the index::

    python -m benchmarks.derivation [FILES …]
"""

from __future__ import annotations

import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import click
from flask import Flask

from benchmarks.harness import Goal, Variants, load
from flask_grpcweb_scm import GrpcWebScm
from flask_grpcweb_scm.pb import scm_pb2
from flask_grpcweb_scm.scm import Organization, Project, Repository, db
from flask_grpcweb_scm.scm.code_mappings.frames import read_path
from flask_grpcweb_scm.scm.code_mappings.trees import TreeIndex, is_source_file
from flask_grpcweb_scm.testing import channel_for

PATHS = 50
CALLS = 20
EXTENSIONS = ("py", "ts", "java", "go", "md")


def make_files(count: int, generator: random.Random) -> list[str]:
    """Paths like those of a monorepo: ten files in a folder, some names in every folder."""
    files = []
    for number in range(count // 10):
        depth = generator.randint(2, 6)
        folder = "/".join(f"{generator.choice('abcdefgh')}{generator.randint(0, 40)}" for _ in range(depth))
        names = [f"module{number}_{index}.{generator.choice(EXTENSIONS)}" for index in range(8)]
        files += [f"src/{folder}/p{number}/{name}" for name in (*names, "__init__.py", "index.ts")]
    return files


def make_repository(folder: Path, files: list[str]) -> None:
    """One commit with these files, all of them empty."""
    git = shutil.which("git") or "git"
    subprocess.run([git, "init", "--quiet", "--bare", "--initial-branch=main", folder], check=True)
    head = "blob\nmark :1\ndata 0\n\ncommit refs/heads/main\ncommitter C <c@x> 1600000000 +0000\ndata 0\n\n"
    stream = head + "".join(f"M 100644 :1 {file}\n" for file in files)
    subprocess.run([git, "fast-import", "--quiet"], cwd=folder, input=stream.encode(), check=True)


def make_paths(files: list[str], generator: random.Random) -> list[str]:
    """As stack traces have them: half of other people's files."""
    known = [f"/srv/app/{file}" for file in generator.sample(files, PATHS // 2)]
    return known + [f"/usr/lib/other/package{number}/module.py" for number in range(PATHS - len(known))]


def plain_scan(paths: list[str], files: list[str]) -> None:
    """Compare every path with every file by whole segments."""
    matches = 0
    split = [file.split("/") for file in files if is_source_file(file)]
    for path in paths:
        wanted = read_path(path).normalized.split("/") if path.endswith(EXTENSIONS[:-1]) else []
        for file in split:
            length = min(len(file), len(wanted))
            matches += length > 0 and file[-length:] == wanted[-length:]
    assert matches


def derivation(folder: Path, paths: list[str]) -> Callable[[], None]:
    """A call for a repository in ``folder/git``; the first time it reads the tree."""
    app = Flask(__name__)
    app.config.update(SQLALCHEMY_DATABASE_URI=f"sqlite:///{folder}/scm.db", TESTING=True)
    GrpcWebScm(app)
    with app.app_context():
        db.create_all()
        organization = Organization(slug="bench")
        project = Project(organization=organization, slug="web")
        mirror = str(folder / "git")
        db.session.add_all(
            [project, Repository(organization=organization, name="monorepo", mirror_path=mirror, default_branch="main")]
        )
        db.session.commit()
        request = scm_pb2.DeriveCodeMappingsRequest(
            organization_id=organization.id, project_id=project.id, stacktrace_paths=paths, dry_run=True
        )
    derive = channel_for(app).stub(scm_pb2.DESCRIPTOR.services_by_name["ScmService"]).derive_code_mappings

    def call() -> None:
        assert len(derive(request).outcomes) == PATHS

    return call


def prepare(folder: Path, count: int) -> tuple[list[str], list[str]]:
    """Make a repository in ``folder/git``; returns its files, and paths to look for."""
    generator = random.Random(count)  # noqa: S311  # no secret
    files = make_files(count, generator)
    make_repository(folder / "git", files)
    return files, make_paths(files, generator)


@load(
    "DeriveCodeMappings, 50 paths, 100 000 files",
    reference="plain scan",
    goals=[Goal("indexed", "plain scan", at_most=1 / 200)],
    quick=False,
)
def derive(stack: ExitStack) -> Variants:
    """The same paths again and again: the index of the tree is in memory."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    files, paths = prepare(folder, 100_000)
    return {"plain scan": lambda: plain_scan(paths, files), "indexed": derivation(folder, paths)}


def seconds(function: Callable[[], None]) -> float:
    """Measure one call."""
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def measure(count: int) -> None:
    """Print one row."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files, paths = prepare(folder, count)
        call = derivation(folder, paths)
        cold, *warm = (seconds(call) for _ in range(CALLS + 1))
        memory = TreeIndex(files).bytes / 2**20
        scan = seconds(lambda: plain_scan(paths, files))
    median = statistics.median(warm)
    click.echo(
        f"{count:>8} files: first call {cold:.2f} s, then {median * 1000:.1f} ms"
        f" ({min(warm) * 1000:.1f} to {max(warm) * 1000:.1f}); plain scan {scan:.2f} s, {scan / median:.0f} times that;"
        f" {memory:.0f} MiB of memory"
    )


if __name__ == "__main__":
    for argument in sys.argv[1:] or ["100000", "400000"]:
        measure(int(argument))
