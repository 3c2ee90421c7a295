"""Several machines with one database: a call has the same result on each, whichever has synced last."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from flask_grpcweb_scm import StatusCode
from flask_grpcweb_scm.scm import Integration, OrganizationIntegration, Repository, db
from flask_grpcweb_scm.scm.mirrors import places_below
from tests.scm.databases import disposed
from tests.scm.mirrors.git_server import GitServer, git_server, origin
from tests.scm.sources.providers import FakeGitHub, running
from tests.scm.support import GitRepository, Scm, add_organization, make_app
from tests.scm.sync.test_repository import add_repository, sync

__all__ = ["git_server", "origin"]

pytestmark = pytest.mark.needs("time")


class Machine:
    """An app with a folder of mirrors of its own."""

    def __init__(self, app: Flask, folder: Path) -> None:
        self.app, self.folder, self.scm = app, folder, Scm(app)

    def results(self, repository: int, **asked: Any) -> list[Any]:
        """What calls return that read the contents of a repository."""
        line = {"filepath": "README", "line_number": 1, **asked}
        return [
            self.scm("GetCommit", repository_id=repository, **asked),
            self.scm("GetCommitContext", repository_id=repository, **line),
        ]


@pytest.fixture
def machines(database: str, tmp_path: Path) -> Iterator[list[Machine]]:
    """Three of them; nothing ever syncs on the last one."""
    with contextlib.ExitStack() as stack:
        machines = []
        for name in "abc":
            config = {
                "GRPC_SCM_MIRRORS": str(tmp_path / name),
                "GRPC_SCM_ALLOWED_HOSTS": ["127.0.0.1"],
                "GRPC_SCM_CREDENTIALS": {"bot": "t0ken"},
            }
            app = stack.enter_context(disposed(make_app(database, **config)))
            machines.append(Machine(app, tmp_path / name))
        yield machines


@pytest.fixture
def repository(machines: list[Machine], git_server: GitServer, origin: GitRepository) -> int:
    app = machines[0].app
    return add_repository(app, add_organization(app), f"{git_server.url}/acme/api.git")


@pytest.fixture
def provider(machines: list[Machine], repository: int, origin: GitRepository) -> Iterator[FakeGitHub]:
    """The API of the repository's integration."""
    with running(FakeGitHub(origin)) as provider, machines[0].app.app_context():
        metadata = {"base_url": provider.url, "credentials": "bot"}
        integration = Integration(provider="github", external_id="1", metadata_=metadata)
        db.session.add(integration)
        db.session.flush()
        row = db.session.get_one(Repository, repository)
        pair = {"organization_id": row.organization_id, "integration_id": integration.id}
        db.session.add(OrganizationIntegration(**pair))
        row.integration_id, row.provider, row.config = integration.id, "github", {"name": "o/r"}
        db.session.commit()
        yield provider


def push(origin: GitRepository) -> str:
    origin.write("README", "pushed\nsince\n")
    return origin.commit("pushed since") or origin.head()


def sync_on_both(machines: list[Machine], repository: int, origin: GitRepository) -> None:
    """Sync on the first machine, and, with something new, on the second one."""
    first, second, _ = machines
    sync(first.app, repository)
    push(origin)
    sync(second.app, repository)


def test_with_an_api_it_is_asked_where_the_mirror_is_missing_or_behind(
    machines: list[Machine], repository: int, origin: GitRepository, provider: FakeGitHub
) -> None:
    sync_on_both(machines, repository, origin)
    for sha in (origin.head(), origin.head()[:8], ""):
        expected = machines[1].results(repository, commit_sha=sha)
        assert provider.requests == []
        for other in (machines[0], machines[2]):
            assert other.results(repository, commit_sha=sha) == expected
            assert provider.requests != []
            provider.requests.clear()


def test_without_an_api_it_is_fetched(machines: list[Machine], repository: int, origin: GitRepository) -> None:
    sync_on_both(machines, repository, origin)
    expected = machines[1].results(repository, commit_sha="")
    assert expected[1].blame_commit_id == origin.head()
    for other in (machines[0], machines[2]):
        assert other.results(repository, commit_sha="") == expected
    # From then on nobody is asked.
    shutil.rmtree(origin.path)
    for machine in machines:
        assert machine.results(repository, commit_sha="") == expected


def test_a_remote_that_is_gone(machines: list[Machine], repository: int, origin: GitRepository) -> None:
    """What is on a machine is still read there; a machine without anything says why."""
    first, _, third = machines
    sync(first.app, repository)
    old = origin.head()
    expected = first.results(repository, commit_sha=old)
    push(origin)
    sync(machines[1].app, repository)
    shutil.rmtree(origin.path)
    assert first.results(repository, commit_sha=old) == expected
    asked = {"repository_id": repository, "commit_sha": old, "filepath": "README", "line_number": 1}
    third.scm.error(StatusCode.FAILED_PRECONDITION, "GetCommitContext", **asked)


def test_a_repository_that_nobody_has_synced_is_not_fetched(
    machines: list[Machine], repository: int, origin: GitRepository, git_server: GitServer
) -> None:
    asked = {"repository_id": repository, "commit_sha": origin.head(), "filepath": "README", "line_number": 1}
    machines[0].scm.error(StatusCode.NOT_FOUND, "GetCommitContext", **asked)
    assert [*places_below(machines[0].folder)] == []
