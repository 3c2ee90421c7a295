"""``flask scm sync``, against hosts over real sockets, with real git."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_grpcweb_scm.scm import OrganizationIntegration, Repository, RepositoryStatus, db
from tests.scm.cli.test_rows import run
from tests.scm.sources.providers import running
from tests.scm.sync.hosts import GitHubHost, GitLabHost, forbidden
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


@pytest.fixture
def github(tmp_path: Path) -> Iterator[GitHubHost]:
    with running(GitHubHost(prefix="/api/v3", default=bare_repository(tmp_path / "empty", 0))) as host:
        yield host
    assert host.refusals == []


@pytest.fixture
def gitlab(tmp_path: Path) -> Iterator[GitLabHost]:
    with running(GitLabHost(default=bare_repository(tmp_path / "empty", 0))) as host:
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


def kinds(result: Any) -> list[tuple[str, str]]:
    return [(action["action"], action["name"]) for action in result["actions"]]


def test_repositories_come_with_their_history(app: Flask, github: GitHubHost, installed: int, tmp_path: Path) -> None:
    for number, name in ((1, "acme/a"), (2, "acme/b"), (3, "other/c")):
        github.add(number, name, bare_repository(tmp_path / str(number), number + 2), private=number == 2)
    lines = run(app, "sync", "acme", "--dry-run").stdout.splitlines()
    assert lines == ["add       acme/a", "add       acme/b", "would be 2 added"]
    planned = sync(app, "--dry-run")
    assert kinds(planned) == [("add", "acme/a"), ("add", "acme/b")]
    assert rows(app) == []
    done = sync(app)
    assert (kinds(done), done["synced"], done["failed"], done["exit_code"]) == (kinds(planned), 2, [], 0), done
    assert rows(app) == [("1", "acme/a", "active"), ("2", "acme/b", "active")]
    assert run(app, "sync", "acme").stdout == "2 unchanged, 2 synced\n"
    extend(tmp_path / "1", 4, 6)
    assert (kinds(sync(app)), kinds(sync(app))) == ([], [])
    for number in "12":
        assert stored_commits(app, number) == commits_of(tmp_path / number)


def test_what_changes_at_the_provider_changes_here(app: Flask, github: GitHubHost, installed: int) -> None:
    for number in range(1, 6):
        github.add(number, f"acme/{number}")
    sync(app)
    github.repositories[1].name, github.repositories[2].name = "acme/2", "acme/1"
    github.repositories[3].archived = True
    del github.repositories[4]
    github.repositories[5].name = "umbrella/5"
    changed = sync(app)
    assert kinds(changed) == [
        *[("rename", "acme/2"), ("rename", "acme/1"), ("archive", "acme/3"), ("hide", "acme/4"), ("hide", "acme/5")]
    ]
    assert rows(app) == [
        *[("1", "acme/2", "active"), ("2", "acme/1", "active"), ("3", "acme/3", "disabled")],
        *[("4", "acme/4", "hidden"), ("5", "acme/5", "hidden")],
    ]
    github.repositories[3].archived = False
    github.repositories[5].name = "acme/five"
    again = sync(app)
    assert kinds(again) == [("unarchive", "acme/3"), ("unhide", "acme/five")]
    assert rows(app)[2:] == [("3", "acme/3", "active"), ("4", "acme/4", "hidden"), ("5", "acme/five", "active")]


def test_what_was_imported_by_hand_becomes_the_providers(
    app: Flask, github: GitHubHost, installed: int, tmp_path: Path
) -> None:
    remote = github.add(1, "acme/a", bare_repository(tmp_path / "1", 3))
    host = github.url.removeprefix("http://")
    with app.app_context():
        db.session.add(
            Repository(organization_id=1, name="mine", url=f"http://{host}/acme/a", external_id=f"{host}/acme/a")
        )
        db.session.commit()
    done = sync(app)
    assert kinds(done) == [("adopt", "acme/a")]
    assert rows(app, lambda row: (row.id, row.external_id, row.provider, row.integration_id, row.name)) == [
        (1, "1", "github_enterprise", installed, "acme/a")
    ]
    assert remote.path is not None
    assert stored_commits(app, "1") == commits_of(remote.path)


def test_what_a_person_has_disabled_stays_disabled(app: Flask, github: GitHubHost, installed: int) -> None:
    github.add(1, "acme/a")
    run(app, "sync", "acme")
    assert run(app, "disable", "repository", "acme", "acme/a").exit_code == 0
    sync(app)
    assert rows(app) == [("1", "acme/a", "disabled")]


def test_an_unchanged_page_is_not_transferred_again(app: Flask, github: GitHubHost, installed: int) -> None:
    github.max_page = 2
    for number in range(1, 6):
        github.add(number, f"acme/{number}")
    sync(app, "--dry-run")
    github.requests.clear()
    run(app, "sync", "acme")
    listed = [request for request in github.requests if request.path.endswith("/orgs/acme/repos")]
    assert [request.headers.get("if-none-match") for request in listed] == [None, None, None]
    github.requests.clear()
    github.add(6, "acme/6")
    assert kinds(sync(app)) == [("add", "acme/6")]
    listed = [request for request in github.requests if request.path.endswith("/orgs/acme/repos")]
    assert [bool(request.headers.get("if-none-match")) for request in listed] == [True, True, True]


@pytest.mark.parametrize("max_page", [100, 2])
def test_one_that_begins_on_a_new_page_is_seen(
    app: Flask, github: GitHubHost, installed: int, max_page: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flask_grpcweb_scm.scm.sync.listing.PAGE_SIZE", 2)
    github.max_page = max_page
    for number in (1, 2):
        github.add(number, f"acme/{number}")
    sync(app)
    github.add(3, "acme/3")
    assert kinds(sync(app)) == [("add", "acme/3")]


def test_a_listing_that_breaks_off_hides_nothing(app: Flask, github: GitHubHost, installed: int) -> None:
    github.max_page = 2
    for number in range(1, 6):
        github.add(number, f"acme/{number}")
    sync(app)
    github.add(7, "acme/7")
    del github.repositories[1]
    for failed in (
        (502, b"<html>", {}), (200, b"{", {}), (200, {"message": "?"}, {}), (200, [{"id": "x"}], {}),
        forbidden("Server Error", 500), forbidden("Not Found", 404),
    ):  # fmt: skip
        github.faults = [*[lambda request: None] * 2, *[lambda request, failed=failed: failed] * 3]  # type: ignore[misc]
        done = sync(app)
        github.faults = []
        assert done["exit_code"] == 1
        assert len(done["errors"]) == 1
        assert {kind for kind, _ in kinds(done)} <= {"add"}
        assert "nothing is hidden" in done["stderr"]
    assert [row for row in rows(app) if row[2] != "active"] == []
    assert kinds(sync(app)) == [("hide", "acme/1")] or rows(app)[0][2] == "hidden"


def test_one_that_moves_to_a_page_that_was_read_is_not_hidden(app: Flask, github: GitHubHost, installed: int) -> None:
    github.max_page = 2
    for number in range(1, 7):
        github.add(number, f"acme/{number}")
    sync(app)

    def delete(request: Any) -> None:
        github.repositories.pop(1, None)

    # Its deletion moves the third one to the first page, after that was read.
    github.faults = [lambda request: None, lambda request: None, delete]
    assert kinds(sync(app)) == []
    assert kinds(sync(app)) == [("hide", "acme/1")]


@pytest.mark.parametrize(
    "answer",
    [
        forbidden("You have exceeded a secondary rate limit.", 403, **{"Retry-After": "1"}),
        forbidden("API rate limit exceeded", 429, **{"Retry-After": "1"}),
        forbidden("You have exceeded a secondary rate limit. Please wait a few minutes before you try again.", 403),
        forbidden("API rate limit exceeded", 403, **{"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "0"}),
    ],
)
def test_limits_are_waited_for(
    app: Flask, github: GitHubHost, installed: int, answer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    github.add(1, "acme/a")
    monkeypatch.setattr("flask_grpcweb_scm.scm.providers.http.SECONDARY_LIMIT_SECONDS", 0.1)
    app.config["GRPC_TRACKER_TIMEOUT"] = 0.5
    github.faults = [lambda request: answer, lambda request: answer]
    assert kinds(sync(app)) == [("add", "acme/a")]


def test_two_integrations_may_see_one_repository(app: Flask, github: GitHubHost, installed: int) -> None:
    other = add_installation(app, github, "github_enterprise", name="other", credentials="app")
    for number in (1, 2):
        github.add(number, f"acme/{number}")
    assert kinds(sync(app)) == [("add", "acme/1"), ("add", "acme/2")]
    github.organizations = ("umbrella", "acme")
    # The token loses sight of it, and the app does not.
    github.repositories[1].private, github.repositories[1].sees = True, {"app"}
    assert kinds(sync(app)) == [("hand over", "acme/1")]
    assert rows(app, lambda row: (row.name, row.integration_id, row.status)) == [
        ("acme/1", other, RepositoryStatus.ACTIVE),
        ("acme/2", installed, RepositoryStatus.ACTIVE),
    ]
    assert kinds(sync(app)) == []


def test_an_installation_names_the_projects_that_it_lists(app: Flask, github: GitHubHost) -> None:
    for number, name in enumerate(("acme/a", "acme/b", "umbrella/a"), 1):
        github.add(number, name)
    add_installation(app, github, "github_enterprise", projects="acme/a,UMBRELLA/*")
    assert kinds(sync(app)) == [("add", "acme/a"), ("add", "umbrella/a")]


def test_some_repositories_are_synced_by_name_or_id(app: Flask, github: GitHubHost, installed: int) -> None:
    for number in (1, 2):
        github.add(number, f"acme/{number}")
    assert kinds(sync(app, "--repository", "ACME/2")) == [("add", "acme/2")]
    assert rows(app) == [("2", "acme/2", "active")]
    github.repositories[2].name = "acme/two"
    assert kinds(sync(app, "--repository", "1")) == [("rename", "acme/two")]


@pytest.mark.parametrize(
    ("credentials", "config", "text"),
    [
        ("wrong", {}, "responded with 401: Bad credentials"),
        ("absent", {}, "GRPC_SCM_CREDENTIALS has no credentials named 'absent'"),
        ("bot", {"owner": ".."}, "unexpected response"),
        ("bot", {"projects": []}, "projects of the installation must list"),
    ],
)
def test_what_cannot_be_listed_is_told(app: Flask, credentials: str, config: Any, text: str) -> None:
    with running(GitHubHost(prefix="/api/v3")) as github:
        add_installation(app, github, "github_enterprise", credentials=credentials, **config)
        done = sync(app)
    assert done["exit_code"] == 1
    assert text in done["errors"][0]


def test_an_organization_without_an_integration_is_told(app: Flask) -> None:
    result = run(app, "sync", "acme")
    assert result.exit_code == 1
    assert "run: flask scm add-integration acme PROVIDER" in result.stderr


# GitLab


def test_a_group_with_its_subgroups(app: Flask, gitlab: GitLabHost, tmp_path: Path) -> None:
    add_installation(app, gitlab, "gitlab", owner="acme")
    gitlab.max_page = 2
    long = "acme/" + "g" * 200 + "/c"
    gitlab.add(1, "acme/a", bare_repository(tmp_path / "1"))
    gitlab.add(2, "acme/backend/b", bare_repository(tmp_path / "2"), private=True)
    gitlab.add(3, long, bare_repository(tmp_path / "3"), archived=True)
    gitlab.add(4, "umbrella/d")
    done = sync(app)
    assert (done["synced"], done["failed"]) == (3, []), done
    assert rows(app, lambda row: (row.external_id, row.name[-8:], row.config, row.status.value)) == [
        ("1", "acme/a", {}, "active"),
        ("2", "ackend/b", {}, "active"),
        ("3", "gggggg/c", {"path": long}, "disabled"),
    ]
    for number in "123":
        assert stored_commits(app, number) == commits_of(tmp_path / number)
    assert kinds(sync(app)) == []


@pytest.mark.parametrize(("owner", "found"), [("", ["acme/a", "acme/b", "bot/c"]), ("bot", ["bot/c"])])
def test_a_token_and_a_user(app: Flask, gitlab: GitLabHost, owner: str, found: list[str]) -> None:
    add_installation(app, gitlab, "gitlab", owner=owner)
    gitlab.max_page = 2
    for number, name in enumerate(("acme/a", "acme/b", "bot/c"), 5):
        gitlab.add(number, name)
    assert [name for _, name in kinds(sync(app))] == found


def test_numbers_of_two_hosts_are_two_repositories(app: Flask, gitlab: GitLabHost) -> None:
    with running(GitLabHost(default=gitlab.default)) as other:
        for number, host in enumerate((gitlab, other)):
            add_installation(app, host, "gitlab", name=str(number))
            host.add(1, f"acme/{number}")
        assert kinds(sync(app)) == [("add", "acme/0"), ("add", "acme/1")]
        assert kinds(sync(app)) == []
        assert rows(app, lambda row: row.external_id) == ["1", f"{other.url.removeprefix('http://')}:1"]


# GitHub: who is listed, and where


@pytest.mark.parametrize(
    ("credentials", "owner", "found"),
    [
        ("app", "", ["acme/a", "bot/c", "ann/d"]),
        ("bot", "", ["acme/a", "bot/c", "ann/d"]),
        ("bot", "Acme", ["acme/a"]),
        ("bot", "bot", ["bot/c"]),
        ("bot", "ann", ["ann/d"]),
    ],
)
def test_accounts_of_github(app: Flask, github: GitHubHost, credentials: str, owner: str, found: list[str]) -> None:
    for number, name in enumerate(("acme/a", "bot/c", "ann/d"), 1):
        github.add(number, name)
    add_installation(app, github, "github_enterprise", credentials=credentials, owner=owner)
    assert [name for _, name in kinds(sync(app))] == found


def test_the_state_is_small_and_has_no_secrets(app: Flask, github: GitHubHost, installed: int) -> None:
    github.add(1, "acme/a")
    sync(app)
    with app.app_context():
        row = db.session.scalars(sa.select(OrganizationIntegration)).one()
        assert row.sync_state is not None
        assert row.sync_state["pages"][0]["rows"] == [["1", "acme/a", f"{github.url}/acme/a.git", "main", False]]
        assert "s3cret" not in str(row.sync_state)


def test_a_run_that_was_interrupted_goes_on_and_one_that_failed_does_not(
    app: Flask, github: GitHubHost, installed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (1, 2):
        github.add(number, f"acme/{number}", bare_repository(tmp_path / str(number)))
    github.repositories[2].path = tmp_path / "absent"
    assert [fact["name"] for fact in sync(app)["failed"]] == ["acme/2"]
    github.repositories[2].path = tmp_path / "2"
    assert sync(app)["synced"] == 2

    def kill(*arguments: object) -> None:
        raise KeyboardInterrupt

    def fetched() -> set[str]:
        return {request.path.split("/")[2] for request in github.requests if ".git" in request.path}

    with monkeypatch.context() as patch:
        patch.setattr("flask_grpcweb_scm.scm.cli.sync.end_run", kill)
        assert run(app, "sync", "acme").exit_code != 0
    github.requests.clear()
    assert (sync(app)["synced"], fetched()) == (0, set())
    assert (sync(app)["synced"], fetched()) == (2, {"1.git", "2.git"})


def test_limits_are_waited_for_by_the_sync_itself(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("sync.organization", "providers.http"):
        monkeypatch.setattr(f"flask_grpcweb_scm.scm.{module}.SECONDARY_LIMIT_SECONDS", 0.7)
    limited = [
        forbidden("API rate limit exceeded", 429),
        forbidden("secondary rate limit", 403, **{"Retry-After": "1"}),
    ]
    host = GitHubHost(prefix="/api/v3", default=bare_repository(tmp_path / "empty", 0))
    with running(host) as github, syncing_app(database, tmp_path, GRPC_TRACKER_TIMEOUT=0.5) as app:
        add_installation(app, github, "github_enterprise")
        github.add(1, "acme/a")
        github.faults = [lambda request, answer=answer: answer for answer in limited for _ in range(3)]  # type: ignore[misc]
        done = sync(app)
        assert kinds(done) == [("add", "acme/a")]
        assert "limits the rate of requests; waiting for" in done["stderr"]
        # More than the command waits for.
        long = forbidden("API rate limit exceeded", 403, **{"Retry-After": "3000"})
        github.faults = [lambda request: long]
        done = sync(app)
        assert (done["exit_code"], kinds(done)) == (1, [])
        assert "API rate limit exceeded" in done["errors"][0]
