"""An app on SQLite and on PostgreSQL, two tenants, and a repository with a history."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest
from flask import Flask

from tests.documents import ROOT
from tests.scm.databases import disposed
from tests.scm.support import (
    GitRepository,
    ReadRepository,
    Scm,
    Tenant,
    add_organization,
    add_tenant,
    build_history,
    make_app,
    set_mirror,
)


class FlaskDb(Protocol):
    def __call__(self, app: str, uri: str, *arguments: str, **environment: str) -> str:
        """What ``flask db`` prints, with an app of migrated_app.py."""


@pytest.fixture
def flask_db(shell_path: str) -> FlaskDb:
    def flask_db(app: str, uri: str, *arguments: str, **environment: str) -> str:
        done = subprocess.run(
            ["flask", "--app", f"tests.scm.migrated_app:{app}", "db", *arguments],
            cwd=ROOT,
            env={**os.environ, "PATH": shell_path, "FLASK_SQLALCHEMY_DATABASE_URI": uri, **environment},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return flask_db


@pytest.fixture
def app(database: str) -> Iterator[Flask]:
    with disposed(make_app(database)) as app:
        yield app


@pytest.fixture
def scm(app: Flask) -> Scm:
    return Scm(app)


@pytest.fixture
def organization(app: Flask) -> int:
    return add_organization(app)


@pytest.fixture
def ours(app: Flask) -> Tenant:
    with app.app_context():
        return add_tenant("ours")


@pytest.fixture
def theirs(app: Flask) -> Tenant:
    with app.app_context():
        return add_tenant("theirs")


@pytest.fixture(scope="session")
def history(tmp_path_factory: pytest.TempPathFactory) -> GitRepository:
    """Not to be changed by tests."""
    repository = GitRepository(tmp_path_factory.mktemp("git") / "history")
    build_history(repository)
    return ReadRepository(repository.path)


@pytest.fixture
def mirrored(app: Flask, ours: Tenant, history: GitRepository) -> int:
    """The id of a repository whose source is `history`, without any stored commit."""
    return set_mirror(app, ours.repository, history.path / ".git")


@pytest.fixture
def runs_of_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How often git has run since this was last asked."""
    runs, wrapper = tmp_path / "runs", tmp_path / "bin/git"
    runs.touch()
    wrapper.parent.mkdir()
    wrapper.write_text(f'#!/bin/sh\necho "$@" >> "{runs}"\nexec "{shutil.which("git")}" "$@"\n')
    wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{wrapper.parent}{os.pathsep}{os.environ['PATH']}")

    def count() -> int:
        lines = runs.read_bytes().splitlines()
        runs.write_text("")
        return len(lines)

    return count


@pytest.fixture
def stuck(tmp_path: Path) -> Path:
    """A git directory in which git waits for ever: its configuration includes a pipe that nobody writes to."""
    repository = GitRepository(tmp_path / "stuck")
    os.mkfifo(tmp_path / "pipe")
    (repository.path / ".git/config").write_text(f"[include]\n\tpath = {tmp_path}/pipe\n")
    return repository.path / ".git"
