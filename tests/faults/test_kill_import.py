"""kill -9 during import-git: what is stored is whole, and the next import goes on from there."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_grpcweb_scm.scm import Commit, CommitFileChange, Repository, db
from flask_grpcweb_scm.scm.git_import import BATCH_COMMITS
from tests.faults.import_git import import_git
from tests.faults.integrity import check_integrity
from tests.forking import FORKSERVER
from tests.scm.databases import disposed
from tests.scm.support import GitRepository, make_app

pytestmark = pytest.mark.needs("processes that are killed")

COMMITS = 4 * BATCH_COMMITS + 1
FILES = 2  # of each commit
SECONDS = 60


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> GitRepository:
    repository = GitRepository(tmp_path_factory.mktemp("git") / "big")
    stream = bytearray()
    for number in range(COMMITS):
        stream += b"commit refs/heads/main\ncommitter A%d <a%d@b.example> %d +0000\n" % (
            *(number % 50, number % 50),
            1_600_000_000 + number,
        )
        stream += b"data 2\nx\n"
        for file in range(FILES):
            stream += b"M 100644 inline dir%d/file%d.txt\ndata 5\n%05d\n" % (file, number % 100, number)
    repository.fast_import(bytes(stream))
    return repository


@pytest.fixture
def app(database: str) -> Iterator[Flask]:
    with disposed(make_app(database)) as app:
        assert app.test_cli_runner().invoke(args=["scm", "add-organization", "demo"]).exit_code == 0
        yield app


class Import:
    """A process that imports."""

    def __init__(self, app: Flask, repository: GitRepository) -> None:
        self._printed, its_end = FORKSERVER.Pipe(duplex=False)
        arguments = [app.config["SQLALCHEMY_DATABASE_URI"], str(repository.path), its_end]
        self._process = FORKSERVER.Process(target=import_git, args=arguments)
        self._process.start()
        its_end.close()

    def is_running(self) -> bool:
        return self._process.is_alive()

    def kill(self) -> None:
        self._process.kill()
        self._process.join(SECONDS)
        # Else it was not killed in time.
        assert self._process.exitcode == -signal.SIGKILL

    def printed(self) -> str:
        """Read what it prints, when it has ended well."""
        assert self._printed.poll(SECONDS)
        printed: str = self._printed.recv()
        self._process.join(SECONDS)
        assert self._process.exitcode == 0
        return printed


def count(model: Any) -> int:
    return db.session.scalar(sa.select(sa.func.count()).select_from(model)) or 0


def wait_for_commits(app: Flask, number: int, process: Import) -> None:
    deadline = time.monotonic() + SECONDS
    with app.app_context():
        while count(Commit) < number and process.is_running():
            assert time.monotonic() < deadline
            db.session.rollback()
            time.sleep(0.005)


def check_progress(app: Flask, repository: GitRepository) -> int:
    """How many commits are stored: the first ones, each with all of its files, up to the one that is noted."""
    check_integrity(app)
    history = repository.git("log", "--reverse", "--topo-order", "--format=%H").split("\n")
    with app.app_context():
        stored = db.session.scalars(sa.select(Commit.key)).all()
        assert len(set(stored)) == len(stored)
        assert set(stored) == set(history[: len(stored)])
        noted = db.session.scalars(sa.select(Repository.imported_key)).one_or_none()
        assert noted == (history[len(stored) - 1] if stored else None)
        assert count(CommitFileChange) == FILES * len(stored)
    return len(stored)


def test_an_import_that_is_killed_again_and_again_comes_to_its_end(app: Flask, repository: GitRepository) -> None:
    stored = 0
    for _ in range(3):
        process = Import(app, repository)
        # While the batch after the next is on its way.
        wait_for_commits(app, stored + 1, process)
        process.kill()
        progress = check_progress(app, repository)
        assert progress > stored, "nothing was stored before the kill"
        stored = progress
    assert stored < COMMITS, "the last import was not killed in time"
    assert json.loads(Import(app, repository).printed())["commits"] == COMMITS - stored
    assert check_progress(app, repository) == COMMITS
