"""FindSuspectCommits over many large repositories, against the runs of git blame that it cannot do without.

The trees are in memory, blamed lines are not, unless it says so. How long the parts take::

    python -m benchmarks.suspects [CALLS]
"""

from __future__ import annotations

import cProfile
import pstats
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
from typing import NamedTuple

import click
from flask import Flask

from benchmarks.derivation import make_files
from benchmarks.harness import Goal, Variants, load
from flask_grpcweb_scm import GrpcWebScm
from flask_grpcweb_scm.pb import scm_pb2
from flask_grpcweb_scm.scm import Organization, Project, Repository, db
from flask_grpcweb_scm.testing import channel_for

REPOSITORIES = 20
FILES = 400_000
FRAMES = 50
LINES = 300
"""Of a file."""
COMMITS = 40
"""Of a repository; each changes some lines of the files that frames are in."""
GIT = shutil.which("git") or "git"


class Trace(NamedTuple):
    """A stack trace through all repositories."""

    mirrors: list[Path]
    frames: list[tuple[Path, str, int]]
    """Repository, file, line; the innermost is the last."""


def make_trace(folder: Path) -> Trace:
    """Make the repositories, and a trace with two or three files of each, some of them twice."""
    generator = random.Random(FILES)  # noqa: S311  # no secret
    mirrors, frames = [], []
    for number in range(REPOSITORIES):
        files = [f"{file[:-3]}{number}.py" for file in make_files(FILES // REPOSITORIES, generator)]
        mirror = folder / f"repository{number}"
        traced = generator.sample(files, 2)
        _make_repository(mirror, files, traced, generator)
        mirrors.append(mirror)
        frames += [(mirror, file, generator.randint(1, LINES)) for file in traced]
    frames += [(mirror, file, generator.randint(1, LINES)) for mirror, file, _ in frames[: FRAMES - len(frames)]]
    generator.shuffle(frames)
    return Trace(mirrors, frames)


def _make_repository(folder: Path, files: list[str], traced: list[str], generator: random.Random) -> None:
    lines = {file: [f"    value = compute({number}, {file!r})" for number in range(LINES)] for file in traced}
    stream = [b"blob\nmark :1\ndata 0\n"]
    for number in range(COMMITS):
        stream.append(b"commit refs/heads/main\ncommitter C%d <c%d@x> %d +0000\ndata 0\n" % (
            number % 7, number % 7, 1_600_000_000 + number * 86400,
        ))  # fmt: skip
        if number == 0:
            stream += [f"M 100644 :1 {file}\n".encode() for file in files]
        for file in traced:
            for line in generator.sample(range(LINES), 9 if number else 0):
                lines[file][line] = f"    value = compute({line}, {number}, {file!r})"
            text = "\n".join([*lines[file], ""]).encode()
            stream.append(b"M 100644 inline %s\ndata %d\n%s\n" % (file.encode(), len(text), text))
    subprocess.run([GIT, "init", "--quiet", "--bare", "--initial-branch=main", folder], check=True)
    subprocess.run([GIT, "fast-import", "--quiet"], cwd=folder, input=b"".join(stream), check=True)


def blame_runs(trace: Trace) -> Callable[[], None]:
    """Return a function that runs git blame once for each file, with all lines of it."""
    lines: dict[tuple[Path, str], list[int]] = {}
    for mirror, file, line in trace.frames:
        lines.setdefault((mirror, file), []).append(line)
    tips = {mirror: (mirror / "refs/heads/main").read_text().strip() for mirror in trace.mirrors}
    commands = [
        [
            *(GIT, f"--git-dir={mirror}", "blame", "--porcelain", "-M", "-w"),
            *(f"-L{number},{number}" for number in numbers),
            *(tips[mirror], "--", file),
        ]
        for (mirror, file), numbers in lines.items()
    ]

    def run() -> None:
        for command in commands:
            subprocess.run(command, stdout=subprocess.PIPE, check=True)

    return run


def finding(folder: Path, trace: Trace, **config: object) -> Callable[[], None]:
    """Return a call for the suspects of the trace; it is made once, which reads the trees."""
    folder.mkdir()
    app = Flask(__name__)
    app.config.update(SQLALCHEMY_DATABASE_URI=f"sqlite:///{folder}/scm.db", TESTING=True, **config)
    GrpcWebScm(app)
    with app.app_context():
        db.create_all()
        organization = Organization(slug="bench")
        project = Project(organization=organization, slug="web", platform="python")
        repositories = [
            Repository(organization=organization, name=mirror.name, mirror_path=str(mirror), default_branch="main")
            for mirror in trace.mirrors
        ]
        db.session.add_all([project, *repositories])
        db.session.commit()
        frames = [
            scm_pb2.StackFrame(path=f"/srv/{mirror.name}/{file}", function="f", line=line)
            for mirror, file, line in trace.frames
        ]
        request = scm_pb2.FindSuspectCommitsRequest(
            organization_id=organization.id, project_id=project.id, frames=frames, dry_run=True
        )
    find = channel_for(app).stub(scm_pb2.DESCRIPTOR.services_by_name["ScmService"]).find_suspect_commits

    def call() -> None:
        response = find(request)
        assert [frame.code for frame in response.frames if frame.HasField("blame")] == [0] * FRAMES
        assert response.suspects

    call()
    return call


@load(
    "FindSuspectCommits, 50 frames, 20 repositories, 400 000 files",
    reference="git blame",
    goals=[Goal("trees in memory", "git blame", at_most=3), Goal("lines in memory", "git blame", at_most=1)],
    quick=False,
)
def find_suspects(stack: ExitStack) -> Variants:
    """The same trace again and again."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    trace = make_trace(folder)
    return {
        "git blame": blame_runs(trace),
        "trees in memory": finding(folder / "trees", trace, GRPC_BLAME_CACHE_BYTES=1),
        "lines in memory": finding(folder / "lines", trace),
    }


def main(calls: int) -> None:
    """Print medians, and the functions that take longest."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        trace = make_trace(folder)
        functions = {
            "git blame": blame_runs(trace),
            "trees in memory": finding(folder / "trees", trace, GRPC_BLAME_CACHE_BYTES=1),
            "lines in memory": finding(folder / "lines", trace),
        }
        for label, function in functions.items():
            times = []
            for _ in range(calls):
                started = time.perf_counter()
                function()
                times.append((time.perf_counter() - started) * 1000)
            click.echo(f"{label:16} {statistics.median(times):8.1f} ms ({min(times):.1f} to {max(times):.1f})")
        for label in ("trees in memory", "lines in memory"):
            profile = cProfile.Profile()
            profile.runcall(functions[label])
            click.echo(label)
            pstats.Stats(profile).sort_stats("cumulative").print_stats(30)


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 10)
