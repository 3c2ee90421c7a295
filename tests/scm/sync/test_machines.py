"""Several machines with one database: a call has the same result on each, whichever has synced last."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from google.protobuf.timestamp_pb2 import Timestamp

from flask_grpcweb_scm import CallContext, RpcError, StatusCode
from flask_grpcweb_scm.pb import scm_pb2
from flask_grpcweb_scm.scm import Integration, OrganizationIntegration, Project, Repository, db
from flask_grpcweb_scm.scm.mirrors import places_below
from flask_grpcweb_scm.scm.mirrors.on_demand import fetch_missing
from tests.combinations import ON_SQLITE
from tests.scm.databases import disposed
from tests.scm.mirrors.git_server import GitServer, Handler, git_server, origin
from tests.scm.sources.providers import FakeGitHub, running
from tests.scm.support import GitRepository, Scm, add_organization, make_app
from tests.scm.sync.test_repository import add_repository, sync

__all__ = ["git_server", "origin"]

pytestmark = pytest.mark.needs("time")


PATHS = ["/srv/shop/src/app.py", "/srv/shop/src/helpers.py"]
FRAMES = [scm_pb2.StackFrame(path=path, line=line) for path, line in zip(PATHS, (10, 6), strict=True)]
SEEN = Timestamp(seconds=1_700_000_000)
SAME_EVERYWHERE = {"blame_options": scm_pb2.BlameOptions()}
"""Providers' APIs look through nothing."""


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

    def search(self, timeout: float | None = None, **suspects: Any) -> list[Any]:
        """What calls return that read all repositories of the organization, and store nothing."""
        asked = {"organization_id": 1, "project_id": 1, "dry_run": True, "timeout": timeout}
        return [
            self.scm("DeriveCodeMappings", stacktrace_paths=PATHS, **asked),
            self.scm("FindSuspectCommits", frames=FRAMES, first_seen=SEEN, **asked, **suspects),
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
    organization = add_organization(app)
    with app.app_context():
        db.session.add(Project(organization_id=organization, slug="shop"))
        db.session.commit()
    return add_repository(app, organization, f"{git_server.url}/acme/api.git")


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
    searched = machines[1].search(**SAME_EVERYWHERE)
    assert [len(each.suspects) for each in searched[1:]] == [2]
    assert provider.requests == []
    for other in (machines[0], machines[2]):
        assert other.search(**SAME_EVERYWHERE) == searched
        assert provider.requests != []
        provider.requests.clear()


@ON_SQLITE
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


@ON_SQLITE
def test_what_searches_all_repositories_fetches_those_that_are_not_there(
    machines: list[Machine], repository: int, origin: GitRepository
) -> None:
    sync_on_both(machines, repository, origin)
    expected = machines[1].search()
    assert [path.repository_id for path in expected[0].outcomes] == [repository] * 2
    assert [len(each.suspects) for each in expected[1:]] == [2]
    for other in (machines[0], machines[2]):
        assert other.search() == expected
    shutil.rmtree(origin.path)
    for machine in machines:
        assert machine.search() == expected


@ON_SQLITE
def test_what_is_mapped_already_is_fetched_as_well(
    machines: list[Machine], repository: int, origin: GitRepository
) -> None:
    """And what a project has no mappings to is not."""
    first, _, third = machines
    sync(first.app, repository)
    stored = first.scm("DeriveCodeMappings", organization_id=1, project_id=1, stacktrace_paths=PATHS)
    assert {path.outcome for path in stored.outcomes} == {scm_pb2.PathOutcome.OUTCOME_DERIVED}
    other = add_repository(first.app, 1, "https://gone.example/acme/other.git")
    with first.app.app_context():
        db.session.get_one(Repository, other).mirror_fetched_at = datetime.now(timezone.utc)
        db.session.commit()
    assert third.search() == first.search()
    assert len([*places_below(third.folder)]) == 1


def test_searches_go_on_without_what_cannot_be_fetched(
    machines: list[Machine], repository: int, origin: GitRepository, git_server: GitServer
) -> None:
    first, _, third = machines
    lost = GitRepository(git_server.folder / "acme/lost.git")
    lost.write("src/lost.py", "lost = 1\n")
    lost.commit("lost")
    other = add_repository(first.app, 1, f"{git_server.url}/acme/lost.git", external_id="other")
    sync(first.app, repository)
    sync(first.app, other)
    expected = first.search()
    reached: list[str] = []

    def hang(request: Handler) -> None:
        if "lost.git" not in request.path:
            request.serve()
            return
        reached.append(request.path)
        request.connection.settimeout(30)
        # Until git is killed.
        request.rfile.read(1)

    git_server.fault = hang
    before = time.monotonic()
    assert third.search(timeout=5.0) == expected
    assert 2 <= time.monotonic() - before < 10
    paths = ["/srv/shop/src/lost.py"]
    (outcome,) = third.scm("DeriveCodeMappings", organization_id=1, project_id=1, stacktrace_paths=paths).outcomes
    assert outcome.outcome == scm_pb2.PathOutcome.OUTCOME_NO_MATCH
    assert "could not be searched: its mirror could not be fetched to this machine a moment ago" in outcome.reason
    # One time, of which the other calls have learned.
    assert len(reached) == 1
    # Whoever asks for that one repository has it tried.
    git_server.fault = None
    assert third.scm("GetCommit", repository_id=other).key == lost.head()
    (outcome,) = third.scm("DeriveCodeMappings", organization_id=1, project_id=1, stacktrace_paths=paths).outcomes
    assert outcome.source_path == "src/lost.py"


@ON_SQLITE
def test_a_mapped_repository_whose_remote_hangs_is_waited_for_once_in_a_minute(
    machines: list[Machine], repository: int, origin: GitRepository, git_server: GitServer
) -> None:
    first, _, third = machines
    sync(first.app, repository)
    asked = {"organization_id": 1, "project_id": 1, "stacktrace_paths": PATHS}
    first.scm("DeriveCodeMappings", **asked)
    reached: list[str] = []

    def hang(request: Handler) -> None:
        reached.append(request.path)
        request.connection.settimeout(30)
        # Until git is killed.
        request.rfile.read(1)

    git_server.fault = hang
    (outcome, _) = third.scm("DeriveCodeMappings", **asked, timeout=4.0).outcomes
    assert outcome.outcome == scm_pb2.PathOutcome.OUTCOME_COVERED
    before = time.monotonic()
    for _ in range(2):
        third.search(timeout=15.0)
    assert time.monotonic() - before < 10
    assert len(reached) == 1


def test_what_is_there_is_looked_for_until_the_deadline(machines: list[Machine], repository: int) -> None:
    """By a run of git for each mirror, which an organization may have thousands of."""
    first = machines[0]
    sync(first.app, repository)
    with first.app.app_context():
        row = db.session.get_one(Repository, repository)
        assert fetch_missing({row: None}, CallContext(timeout=60.0)) == {}
        with pytest.raises(RpcError, match="the deadline of the call has passed"):
            fetch_missing({row: None}, CallContext(timeout=0.0))


@ON_SQLITE
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


@ON_SQLITE
def test_a_first_fetch_that_fails_leaves_nothing_behind(
    machines: list[Machine], repository: int, origin: GitRepository, git_server: GitServer
) -> None:
    first, _, third = machines
    sync(first.app, repository)
    expected = first.results(repository, commit_sha="")

    def refuse_objects(request: Handler) -> None:
        # The list of branches comes, and what they have does not.
        if request.command == "POST" and b"want " in request.body:
            request.respond(500)
        else:
            request.serve()

    git_server.fault = refuse_objects
    asked = {"repository_id": repository, "commit_sha": "", "filepath": "README", "line_number": 1}
    third.scm.error(StatusCode.FAILED_PRECONDITION, "GetCommitContext", **asked)
    git_server.fault = None
    assert third.results(repository, commit_sha="") == expected
