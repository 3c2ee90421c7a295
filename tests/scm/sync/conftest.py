"""An app with an organization, and hosts whose repositories it has."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask

from tests.scm.sources.providers import running
from tests.scm.sync.hosts import GitHubHost, GitLabHost
from tests.scm.sync.syncing import add_installation, bare_repository, syncing_app


@pytest.fixture(scope="session")
def empty_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Not to be changed by tests."""
    return bare_repository(tmp_path_factory.mktemp("git") / "empty", 0)


@pytest.fixture
def github(empty_repository: Path) -> Iterator[GitHubHost]:
    with running(GitHubHost(prefix="/api/v3", default=empty_repository)) as host:
        yield host
    assert host.refusals == []


@pytest.fixture
def gitlab(empty_repository: Path) -> Iterator[GitLabHost]:
    with running(GitLabHost(default=empty_repository)) as host:
        yield host
    assert host.refusals == []


@pytest.fixture
def app(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Flask]:
    monkeypatch.setattr("flask_grpcweb_scm.scm.cli.sync.POLL_SECONDS", 0.05)
    monkeypatch.setattr("flask_grpcweb_scm.scm.jobs.FIRST_DELAY_SECONDS", 0.1)
    with syncing_app(database, tmp_path) as app:
        yield app


@pytest.fixture
def installed(app: Flask, github: GitHubHost) -> int:
    return add_installation(app, github, "github_enterprise", owner="acme")
