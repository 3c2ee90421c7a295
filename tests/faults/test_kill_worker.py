"""kill -9 of a worker after each step of a sync: the next one ends equal to git, and nothing is there twice."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_grpcweb_scm.scm import Commit, Job, Repository, db
from flask_grpcweb_scm.scm.jobs import SYNC_REPOSITORY, make_due
from flask_grpcweb_scm.scm.mirrors import places_below
from tests.combinations import ON_SQLITE
from tests.faults.integrity import check_integrity
from tests.faults.worker import GIT, run_worker
from tests.forking import FORKSERVER
from tests.scm.databases import disposed
from tests.scm.git_import.test_git_import import as_git_log_says, stored
from tests.scm.mirrors.git_server import GitServer, Handler, serve_git
from tests.scm.mirrors.test_own_mirror import names_of
from tests.scm.support import GitRepository, add_organization, make_app, repository_with_history

pytestmark = pytest.mark.needs("processes that are killed")

SECONDS = 60


class Workers:
    """Processes that work on one repository, one after another."""

    def __init__(self, app: Flask, server: GitServer, origin: GitRepository, folder: Path) -> None:
        self.app, self.server, self.origin, self.folder = app, server, origin, folder
        self.mirrors = folder / "mirrors"
        self.truth: dict[str, tuple[Any, ...]] = {}
        """All commits that the remote has had."""
        self.number = 0
        git = folder / "bin/git"
        git.parent.mkdir()
        git.write_text(GIT.format(folder=folder, git=shutil.which("git")))
        git.chmod(0o755)
        with app.app_context():
            organization = add_organization(app)
            url = f"{server.url}/acme/api.git"
            db.session.add(Repository(organization_id=organization, name="acme/api", url=url))
            db.session.commit()

    def change(self) -> None:
        """Give the remote something new."""
        self.number += 1
        if self.number % 4 == 0:
            self.origin.git("reset", "--quiet", "--hard", "HEAD~1")
        if self.number % 5 == 0:
            self.origin.git("branch", "--move", f"trunk-{self.number}")
        self.origin.write(f"file-{self.number}", f"{self.number}\n")
        self.origin.commit(f"change {self.number}")
        self.truth |= as_git_log_says(self.origin)

    def run(self, *, git: int = 0, commit: int | None = None) -> int | None:
        """Run a worker as if the leases of killed ones were over; gives its exit code."""
        (self.folder / "runs").write_text("0\n")
        (self.folder / "kill").write_text(f"{git}\n")
        with self.app.app_context():
            make_due(SYNC_REPOSITORY, 1)
            long_ago = sa.text("date_added")
            db.session.execute(sa.update(Job).values(claimed_until=None, due_at=long_ago))
            db.session.commit()
        path = f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
        arguments = [self.app.config["SQLALCHEMY_DATABASE_URI"], str(self.mirrors), path, commit]
        self.process = FORKSERVER.Process(target=run_worker, args=arguments)
        self.process.start()
        self.process.join(SECONDS)
        return self.process.exitcode

    def check(self) -> None:
        """Run a worker that nobody kills: all is as git says."""
        assert self.run() == 0
        found, expected = stored(self.app), as_git_log_says(self.origin)
        assert {sha: found.get(sha) for sha in expected} == expected
        assert {sha: self.truth[sha] for sha in found} == found
        with self.app.app_context():
            assert db.session.scalar(sa.select(sa.func.count()).select_from(Commit)) == len(found)
            job = db.session.scalars(sa.select(Job).filter_by(kind=SYNC_REPOSITORY)).one()
            assert (job.error, job.attempts, job.claimed_until) == ("", 0, None)
        (mirror,) = places_below(self.mirrors)
        assert names_of(mirror) == names_of(self.origin.path / ".git")
        left = [path for path in mirror.rglob("*") if path.name.endswith(".lock") or path.name.startswith("tmp_")]
        assert left == []
        check_integrity(self.app)


@pytest.fixture
def workers(database: str, tmp_path: Path) -> Iterator[Workers]:
    origin = repository_with_history(tmp_path / "remotes/acme/api.git")
    with serve_git(tmp_path / "remotes") as server, disposed(make_app(database)) as app:
        found = Workers(app, server, origin, tmp_path)
        found.change()
        yield found


# The first sync is killed at each of its steps, then each of those that follow.


def killed_at_each(kind: str, workers: Workers) -> int:
    """How often a worker was killed, each time one step later."""
    step = 0
    while workers.run(**{kind: step + 1}) == -signal.SIGKILL:
        step += 1
        workers.change()
    return step


@ON_SQLITE
def test_after_each_run_of_git(workers: Workers) -> None:
    assert killed_at_each("git", workers) > 10
    workers.check()


def test_after_each_commit(workers: Workers) -> None:
    assert killed_at_each("commit", workers) > 5
    workers.check()


@ON_SQLITE
def test_while_it_fetches(workers: Workers) -> None:
    def cut(handler: Handler) -> None:
        if b"command=fetch" not in handler.body:
            handler.serve()
            return
        respond = handler.respond

        def half(status: int, body: bytes = b"", *headers: str) -> None:
            handler.send_response(status)
            for header in headers:
                handler.send_header(*header.split(": ", 1))
            handler.send_header("Content-Length", str(len(body)))
            handler.end_headers()
            handler.wfile.write(body[: len(body) // 2])
            handler.wfile.flush()
            workers.process.kill()
            handler.close_connection = True

        handler.respond = half  # type: ignore[method-assign]
        handler.serve()
        handler.respond = respond  # type: ignore[method-assign]

    for _ in range(3):
        workers.server.fault = cut
        assert workers.run() == -signal.SIGKILL
        workers.server.fault = None
        workers.change()
    workers.check()
