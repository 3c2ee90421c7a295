"""An organization that is synced by processes that are killed, again and again; then compared with git.

python -m tests.scm.sync.killed --repositories 20 --commits 1000 --postgresql
"""

from __future__ import annotations

import argparse
import random
import resource
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from flask import Flask

import tests.old_click  # noqa: F401
from flask_grpcweb_scm.scm import Commit, CommitAuthor, CommitFileChange, Repository, db
from tests.faults.integrity import check_integrity
from tests.forking import FORKSERVER
from tests.scm.cli.test_rows import run
from tests.scm.databases import PostgresqlDatabases, create_tables, disposed, postgresql_server
from tests.scm.sources.providers import running
from tests.scm.support import make_app
from tests.scm.sync.hosts import GitHubHost
from tests.scm.sync.syncing import add_installation, bare_repository, sync_config, syncing_app

__all__ = ["Outcome", "sync_and_kill"]

SECONDS = 3600.0


@dataclass(frozen=True)
class Outcome:
    """What a run was like."""

    kills: int
    commits: int
    seconds: float
    """Of the run that ended by itself."""
    megabytes: float
    """Most memory of any of the processes."""


def sync_here(database: str, config: dict[str, Any], printed: Connection) -> None:
    """Run the command, for a process of its own."""
    with disposed(make_app(database, **config)) as app:
        result = run(app, "sync", "acme", "--json")
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    printed.send((result.exit_code, result.output, peak / 1024))


@contextmanager
def organization(database: str, folder: Path, repositories: int, commits: int) -> Iterator[tuple[Flask, GitHubHost]]:
    """Serve an organization whose repositories have so many commits together; the first have the most."""
    weights = [1 / (number + 1) for number in range(repositories)]
    with running(GitHubHost(prefix="/api/v3")) as host, syncing_app(database, folder) as app:
        for number, weight in enumerate(weights, 1):
            count = max(1, round(commits * weight / sum(weights)))
            path = bare_repository(folder / "git" / str(number), count, seed=str(number))
            host.add(number, f"acme/r{number}", path, archived=number % 10 == 0, private=number % 3 == 0)
        host.max_page = 30
        add_installation(app, host, "github_enterprise", credentials="app")
        yield app, host


def sync_and_kill(
    database: str, folder: Path, *, repositories: int, commits: int, kills: int, seconds: float, seed: int = 1
) -> Outcome:
    """Sync an organization, killed so many times after up to so many seconds; compare what is stored with git."""
    chance = random.Random(seed)  # no secret
    done = 0
    with organization(database, folder, repositories, commits) as (app, host):
        while True:
            printed, its_end = FORKSERVER.Pipe(duplex=False)
            process = FORKSERVER.Process(target=sync_here, args=[database, sync_config(folder), its_end])
            started = time.monotonic()
            process.start()
            its_end.close()
            process.join(chance.uniform(0.3, seconds) if done < kills else SECONDS)
            if not process.is_alive():
                break
            assert done < kills, f"not at its end after {SECONDS} s"
            process.kill()
            process.join(SECONDS)
            assert process.exitcode == -signal.SIGKILL
            done += 1
            printed.close()
        took = time.monotonic() - started
        exit_code, output, peak = printed.recv()
        assert exit_code == 0, output
        check_integrity(app)
        stored = compare(app, host)
        assert host.refusals == []
    return Outcome(done, stored, took, peak)


def compare(app: Flask, host: GitHubHost) -> int:
    """Assert that the database has what the repositories have, and nothing twice; return the number of commits."""
    total = 0
    with app.app_context():
        rows = db.session.scalars(sa.select(Repository).order_by(Repository.id)).all()
        assert Counter(row.external_id for row in rows) == Counter(str(number) for number in host.repositories)
        pairs = db.session.execute(sa.select(CommitAuthor.name, CommitAuthor.email)).all()
        assert len(pairs) == len(set(pairs))
        for row in rows:
            hosted = host.repositories[int(row.external_id or 0)]
            assert hosted.path is not None
            assert (row.name, row.default_branch, row.status.value) == (
                *(hosted.name, "main", "disabled" if hosted.archived else "active"),
            )
            expected = log(hosted.path)
            columns = (Commit.key, CommitAuthor.name, CommitAuthor.email, Commit.message)
            stored = sa.select(*columns).join(CommitAuthor, CommitAuthor.id == Commit.author_id)
            commits = db.session.execute(stored.where(Commit.repository_id == row.id)).all()
            assert Counter(map(tuple, commits)) == Counter((sha, *facts) for sha, facts, _ in expected)
            changes = sa.select(Commit.key, CommitFileChange.filename, CommitFileChange.type).join(
                CommitFileChange, CommitFileChange.commit_id == Commit.id
            )
            found = db.session.execute(changes.where(Commit.repository_id == row.id)).all()
            assert Counter(map(tuple, found)) == Counter(
                (sha, path, kind) for sha, _, files in expected for kind, path in files
            )
            total += len(commits)
    return total


def log(path: Path) -> list[tuple[str, tuple[str, str, str], list[tuple[str, ...]]]]:
    """What git says: ids, authors with messages, and changed files."""
    command = [
        "git",
        "-C",
        str(path),
        "log",
        "--name-status",
        "--no-renames",
        "--format=%x00%H%x01%an%x01%ae%x01%s",
        "main",
    ]
    text = subprocess.run(command, check=True, capture_output=True, text=True, timeout=SECONDS).stdout
    commits = []
    for part in text.split("\0")[1:]:
        head, _, names = part.partition("\n")
        sha, name, email, message = head.split("\x01")
        files = [tuple(line.split("\t")) for line in names.splitlines() if line]
        commits.append((sha, (name, email, message), files))
    return commits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("repositories", 200), ("commits", 100_000), ("kills", 20), ("seed", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--seconds", type=float, default=20.0, help="until a process is killed, at most")
    parser.add_argument("--postgresql", action="store_true", help="in place of SQLite")
    options = vars(parser.parse_args())
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        database = f"sqlite:///{folder}/scm.db"
        if options.pop("postgresql"):
            database = PostgresqlDatabases(stack.enter_context(postgresql_server())).create()
        else:
            create_tables(database)
        outcome = sync_and_kill(database, Path(folder), **options)
    print(outcome)  # noqa: T201


if __name__ == "__main__":
    main()
