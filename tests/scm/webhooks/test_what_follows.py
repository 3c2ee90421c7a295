"""From what happens at GitHub to the rows here: deliveries, the worker, and no delivery at all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_grpcweb_scm.scm import Job, db
from flask_grpcweb_scm.scm.database.db import database_now
from tests.combinations import ON_SQLITE
from tests.scm.cli.test_rows import run
from tests.scm.sources.providers import running
from tests.scm.sync.hosts import GitHubHost
from tests.scm.sync.syncing import (
    add_installation,
    bare_repository,
    commits_of,
    extend,
    rows,
    stored_commits,
    sync,
    syncing_app,
)
from tests.scm.webhooks.sending import GITHUB_SECRET, github, post


@pytest.fixture
def host(tmp_path: Path) -> Iterator[GitHubHost]:
    with running(GitHubHost(prefix="/api/v3", default=bare_repository(tmp_path / "git", 3))) as host:
        host.add(1, "acme/a")
        host.add(2, "acme/b")
        yield host
    assert host.refusals == []


@pytest.fixture
def app(database: str, tmp_path: Path, host: GitHubHost) -> Iterator[Flask]:
    with syncing_app(database, tmp_path, GRPC_SCM_WEBHOOKS={"main": GITHUB_SECRET}) as app:
        add_installation(app, host, "github_enterprise")
        sync(app)
        yield app


def work(app: Flask) -> None:
    result = run(app, "worker", "--until-idle")
    assert result.exit_code == 0, result.output


def repository(host: GitHubHost, number: int) -> dict[str, Any]:
    return {"repository": host.row(host.repositories[number])}


@ON_SQLITE
def test_a_push_is_stored_after_its_delivery(app: Flask, host: GitHubHost, tmp_path: Path) -> None:
    extend(tmp_path / "git", 4, 5)
    work(app)
    assert len(stored_commits(app, "1")) == 3
    fetches = len([each for each in host.requests if each.path.startswith("/acme/")])
    assert post(app, github("push", repository(host, 1))) == (200, "accepted")
    # A webhook itself calls nobody.
    assert len([each for each in host.requests if each.path.startswith("/acme/")]) == fetches
    work(app)
    assert stored_commits(app, "1") == commits_of(tmp_path / "git")
    assert len(stored_commits(app, "2")) == 3


@pytest.mark.needs("time")
def test_a_push_whose_delivery_is_lost_is_found_by_the_next_sync(app: Flask, tmp_path: Path) -> None:
    extend(tmp_path / "git", 4, 5)
    with app.app_context():
        db.session.execute(sa.update(Job).values(due_at=database_now()))
        db.session.commit()
    work(app)
    for number in "12":
        assert stored_commits(app, number) == commits_of(tmp_path / "git")


@ON_SQLITE
@pytest.mark.needs("time")
def test_what_becomes_of_a_repository_is_known_after_its_delivery(app: Flask, host: GitHubHost) -> None:
    host.repositories[1].name = "acme/renamed"
    assert post(app, github("repository", {"action": "renamed", **repository(host, 1)})) == (200, "accepted")
    work(app)
    assert rows(app) == [("1", "acme/renamed", "active"), ("2", "acme/b", "active")]
    host.repositories[2].archived = True
    post(app, github("repository", {"action": "archived", **repository(host, 2)}))
    gone = repository(host, 1)
    del host.repositories[1]
    post(app, github("repository", {"action": "deleted", **gone}))
    work(app)
    assert rows(app) == [("1", "acme/renamed", "hidden"), ("2", "acme/b", "disabled")]
    host.add(3, "acme/new")
    # In any order.
    assert post(app, github("push", repository(host, 3))) == (200, "accepted")
    assert post(app, github("repository", {"action": "created", **repository(host, 3)})) == (200, "accepted")
    work(app)
    assert rows(app)[2:] == [("3", "acme/new", "active")]
    assert len(stored_commits(app, "3")) == 3


@ON_SQLITE
def test_a_lie_about_a_repository_changes_nothing(app: Flask, host: GitHubHost) -> None:
    """The provider's API says what is so: a delivery is only a reason to look."""
    before = rows(app, lambda row: (row.name, row.status.value, row.url, row.default_branch))
    lie = {"id": 1, "full_name": "evil/name", "clone_url": "https://evil.example/x.git", "default_branch": "evil"}
    for name, action in (("push", None), ("repository", "renamed"), ("repository", "deleted")):
        assert post(app, github(name, {"action": action, "repository": lie})) == (200, "accepted")
    work(app)
    assert rows(app, lambda row: (row.name, row.status.value, row.url, row.default_branch)) == before
