"""kill -9 during import-git: what is stored is whole, and the next import goes on from there."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_grpcweb_scm.scm import Commit, CommitFileChange, Repository, db
from flask_grpcweb_scm.scm.git_import.importer import BATCH_COMMITS
from tests.faults.integrity import check_integrity
from tests.scm.databases import disposed
from tests.scm.support import GitRepository, make_app

ROOT = Path(__file__).parent.parent.parent
COMMITS = 8 * BATCH_COMMITS + 1
FILES = 3  # of each commit
SECONDS = 60
CREDENTIALS = {"FLASK_GRPC_REQUIRE_AUTH": "true", "FLASK_GRPC_AUTH_TOKENS": "x" * 32}


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


def start_import(app: Flask, repository: GitRepository) -> subprocess.Popen[str]:
    environ = {**os.environ, **CREDENTIALS, "FLASK_SQLALCHEMY_DATABASE_URI": app.config["SQLALCHEMY_DATABASE_URI"]}
    command = ["import-git", "demo", str(repository.path), "--json"]
    return subprocess.Popen(
        [sys.executable, "-m", "flask", "--app", "example_app", "scm", *command],
        cwd=ROOT,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def count(model: Any) -> int:
    return db.session.scalar(sa.select(sa.func.count()).select_from(model)) or 0


def wait_for_commits(app: Flask, number: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + SECONDS
    with app.app_context():
        while count(Commit) < number and process.poll() is None:
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
        process = start_import(app, repository)
        # While the batch after the next is on its way.
        wait_for_commits(app, stored + 1, process)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=SECONDS)
        progress = check_progress(app, repository)
        assert progress > stored, "nothing was stored before the kill"
        stored = progress
    assert stored < COMMITS, "the last import was not killed in time"
    process = start_import(app, repository)
    output, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 0
    assert json.loads(output)["commits"] == COMMITS - stored
    assert check_progress(app, repository) == COMMITS
