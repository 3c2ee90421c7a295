"""``flask scm sync``, against hosts over real sockets, with real git."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_grpcweb_scm.scm import Job, OrganizationIntegration, Repository, RepositoryStatus, db
from flask_grpcweb_scm.scm.database.db import release_connection
from flask_grpcweb_scm.scm.jobs import SYNC_REPOSITORY, make_due, run_due
from flask_grpcweb_scm.scm.sync import KINDS
from flask_grpcweb_scm.scm.sync.organization import OrganizationSync
from tests.combinations import ON_SQLITE
from tests.scm.cli.test_rows import run
from tests.scm.sources.providers import running
from tests.scm.sync.hosts import GitHubHost, GitLabHost, forbidden
from tests.scm.sync.syncing import (
    add_installation,
    bare_repository,
    commits_of,
    extend,
    kinds,
    rows,
    stored_commits,
    sync,
    syncing_app,
)


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


@ON_SQLITE
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


@ON_SQLITE
@pytest.mark.needs("time")
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


@ON_SQLITE
@pytest.mark.needs("time")
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


@pytest.mark.needs("time")
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


@ON_SQLITE
@pytest.mark.needs("time")
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
    for module in ("providers.host_errors", "sync.organization"):
        monkeypatch.setattr(f"flask_grpcweb_scm.scm.{module}.SECONDARY_LIMIT_SECONDS", 0.1)
    app.config["GRPC_TRACKER_TIMEOUT"] = 0.5
    github.faults = [lambda request: answer, lambda request: answer]
    assert kinds(sync(app)) == [("add", "acme/a")]


@pytest.mark.parametrize("value", ["0", "Mon, 01 Jan 2001 00:00:00 GMT"])
def test_a_limit_without_a_pause_is_not_hammered(
    app: Flask, github: GitHubHost, installed: int, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flask_grpcweb_scm.scm.sync.organization.SHORTEST_PAUSE_SECONDS", 0.05)
    monkeypatch.setattr("flask_grpcweb_scm.scm.sync.organization.LONGEST_PAUSE_SECONDS", 0.5)
    app.config["GRPC_TRACKER_TIMEOUT"] = 0.2
    limit = forbidden("You have exceeded a secondary rate limit.", 403, **{"Retry-After": value})
    github.faults = [lambda request: limit] * 100
    done = sync(app, "--dry-run")
    github.faults = []
    assert done["errors"] == ["github_enterprise responded with 403: You have exceeded a secondary rate limit."]
    assert len(github.requests) < 20


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
    for flags in ([], ["--dry-run"]):
        done = sync(app, "--repository", "acme/1", "--repository", "acme/tow", "--repository", "7", *flags)
        assert done["exit_code"] == 1
        assert done["errors"][0].startswith("no repository that is listed has the name or id '7', 'acme/tow'; run it")
        assert done["errors"][0] in done["stderr"]
    assert [row[1] for row in rows(app)] == ["acme/two", "acme/1"]


@ON_SQLITE
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


def test_a_listing_without_an_end_ends(
    app: Flask, github: GitHubHost, installed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each page leads to another one, and has more than was requested."""
    monkeypatch.setattr("flask_grpcweb_scm.scm.sync.organization.MAX_CHARACTERS", 100_000)
    pages = []

    def page(request: Any) -> Any:
        pages.append(request)
        link = {"Link": f'<{github.url}/x?page={len(pages)}>; rel="next"'}
        names = [f"acme/{len(pages)}-{number}" for number in range(50)]
        rows = [
            {"id": 1 + len(pages) * 1000 + number, "full_name": name, "html_url": f"{github.url}/{name}"}
            for number, name in enumerate(names)
        ]
        return 200, rows, link

    github.faults = [lambda request: None, *[page] * 100]
    done = sync(app, "--dry-run")
    github.faults = []
    assert "unexpected response" in done["errors"][0]
    assert len(pages) < 10


def test_a_token_of_an_app_that_git_cannot_use_any_more_is_renewed(
    app: Flask, github: GitHubHost, tmp_path: Path
) -> None:
    """A worker that lists nothing meanwhile."""
    path = bare_repository(tmp_path / "1", 2)
    github.add(1, "acme/a", path, private=True)
    add_installation(app, github, "github_enterprise", credentials="app")
    assert sync(app)["synced"] == 1
    extend(path, 3, 4)
    github.revoke()
    with app.app_context():
        row_id = db.session.scalars(sa.select(Repository.id)).one()
        for _ in range(2):
            make_due(SYNC_REPOSITORY, row_id)
            release_connection()
            run_due(KINDS)
    assert stored_commits(app, "1") == commits_of(path)
    assert len(github.made) == 2


def test_an_organization_without_an_integration_is_told(app: Flask) -> None:
    result = run(app, "sync", "acme")
    assert result.exit_code == 1
    assert "run: flask scm add-integration acme PROVIDER" in result.stderr


# GitLab


@ON_SQLITE
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


@ON_SQLITE
@pytest.mark.parametrize(("owner", "found"), [("", ["acme/a", "acme/b", "bot/c"]), ("bot", ["bot/c"])])
def test_a_token_and_a_user(app: Flask, gitlab: GitLabHost, owner: str, found: list[str]) -> None:
    add_installation(app, gitlab, "gitlab", owner=owner)
    gitlab.max_page = 2
    for number, name in enumerate(("acme/a", "acme/b", "bot/c"), 5):
        gitlab.add(number, name)
    assert [name for _, name in kinds(sync(app))] == found


@ON_SQLITE
def test_numbers_of_two_hosts_are_two_repositories(app: Flask, gitlab: GitLabHost) -> None:
    with running(GitLabHost(default=gitlab.default)) as other:
        for number, host in enumerate((gitlab, other)):
            add_installation(app, host, "gitlab", name=str(number))
            host.add(1, f"acme/{number}")
        assert kinds(sync(app)) == [("add", "acme/0"), ("add", "acme/1")]
        assert kinds(sync(app)) == []
        assert rows(app, lambda row: row.external_id) == ["1", f"{other.url.removeprefix('http://')}:1"]


# GitHub: who is listed, and where


@ON_SQLITE
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


@pytest.mark.needs("time")
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


@ON_SQLITE
@pytest.mark.needs("time")
def test_limits_are_waited_for_by_the_sync_itself(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("sync.organization", "providers.host_errors"):
        monkeypatch.setattr(f"flask_grpcweb_scm.scm.{module}.SECONDARY_LIMIT_SECONDS", 0.7)
    monkeypatch.setattr("flask_grpcweb_scm.scm.sync.organization.SHORTEST_PAUSE_SECONDS", 0.1)
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


# What people have set


def status_of(app: Flask) -> list[str]:
    return [status for _, _, status in rows(app)]


@pytest.mark.needs("time")
@pytest.mark.parametrize("by", ["command", "statement"])
def test_the_status_that_a_person_has_set_stays(app: Flask, github: GitHubHost, installed: int, by: str) -> None:
    """Whatever syncs have set before, and whatever becomes of the repository."""
    github.add(1, "acme/a")
    hosted = github.repositories[1]

    def set_status(status: RepositoryStatus) -> None:
        if by == "command":
            verb = "disable" if status is RepositoryStatus.DISABLED else "enable"
            assert run(app, verb, "repository", "acme", "1").exit_code == 0
            return
        with app.app_context():
            db.session.execute(sa.update(Repository).values(status=status))
            db.session.commit()

    def goes_through(expected: str) -> None:
        for change in ("archived", "active", "archived", "gone", "archived", "gone", "active", "renamed"):
            hosted.archived = change == "archived"
            hosted.name = f"acme/{change}"
            github.repositories = {} if change == "gone" else {1: hosted}
            sync(app)
            assert status_of(app) == [expected], change

    sync(app)
    hosted.archived = True
    sync(app)
    assert status_of(app) == ["disabled"]
    set_status(RepositoryStatus.ACTIVE)
    for _ in range(2):
        sync(app)
        assert status_of(app) == ["active"]
    github.repositories = {}
    sync(app)
    assert status_of(app) == ["active"]
    github.repositories = {1: hosted}
    if by == "command":  # what a statement does twice between two syncs leaves no trace
        set_status(RepositoryStatus.DISABLED)
        goes_through("disabled")
        set_status(RepositoryStatus.ACTIVE)
        sync(app)
        assert status_of(app) == ["active"]
    # Both have it active: from here on it is as it is at the provider.
    hosted.archived, github.repositories = False, {1: hosted}
    sync(app)
    hosted.archived = True
    assert kinds(sync(app)) == [("archive", "acme/renamed" if by == "command" else "acme/a")]
    hosted.archived = False
    sync(app)
    set_status(RepositoryStatus.DISABLED)
    goes_through("disabled")


@ON_SQLITE
def test_a_person_disables_what_a_sync_has_disabled(app: Flask, github: GitHubHost, installed: int) -> None:
    github.add(1, "acme/a", archived=True)
    sync(app)
    assert run(app, "disable", "repository", "acme", "1").exit_code == 0
    github.repositories[1].archived = False
    assert kinds(sync(app)) == []
    assert status_of(app) == ["disabled"]
    assert run(app, "enable", "repository", "acme", "1").exit_code == 0
    github.repositories[1].archived = True
    assert kinds(sync(app)) == []
    assert status_of(app) == ["active"]


def test_an_id_that_is_given_again_has_nothing_of_the_row_before(
    app: Flask, github: GitHubHost, installed: int
) -> None:
    github.add(1, "acme/a", archived=True)
    sync(app)
    with app.app_context():
        before = db.session.scalars(sa.select(Job).filter_by(kind="sync_repository")).one()
        before.not_before = before.due_at = datetime(2100, 1, 1, tzinfo=timezone.utc)
        before.error, before.attempts = "its rate limit is exhausted", 7
        db.session.commit()
    assert run(app, "delete", "repository", "acme", "1", "--yes").exit_code == 0
    del github.repositories[1]
    with app.app_context():
        db.session.add(
            Repository(id=1, organization_id=1, name="other", url="", status=RepositoryStatus.DISABLED, external_id="o")
        )
        db.session.commit()
        job = db.session.scalars(sa.select(Job).filter_by(kind="sync_repository")).one()
        assert (job.not_before, job.error, job.attempts, job.succeeded_at) == (None, "", 0, None)
        assert job.due_at <= datetime.now(timezone.utc)
    github.add(2, "acme/b")
    sync(app)
    assert rows(app) == [("o", "other", "disabled"), ("2", "acme/b", "active")]


def test_a_person_who_was_faster_than_a_sync(
    app: Flask, github: GitHubHost, installed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plan was made before, and is stored after."""
    github.add(1, "acme/a", archived=True)
    sync(app)
    store = OrganizationSync._store

    def disable_first(self: OrganizationSync, actions: Any) -> Any:
        release_connection()
        assert run(app, "disable", "repository", "acme", "1").exit_code == 0
        return store(self, actions)

    monkeypatch.setattr(OrganizationSync, "_store", disable_first)
    github.repositories[1].archived = False
    github.repositories[1].name = "acme/b"
    sync(app)
    assert rows(app) == [("1", "acme/b", "disabled")]


# What hosts say that cannot be


@ON_SQLITE
@pytest.mark.needs("time")
def test_a_listing_that_leads_back_keeps_what_is_known(app: Flask, github: GitHubHost, installed: int) -> None:
    github.max_page = 2
    for number in range(1, 6):
        github.add(number, f"acme/{number}")
    sync(app)
    del github.repositories[5]
    github.add(6, "acme/6")
    link = f'<{github.url}/api/v3/orgs/acme/repos?page=2>; rel="next"'
    page = [github.row(github.repositories[number]) for number in (4, 6)]
    github.faults = [lambda request: None] * 4 + [lambda request: (200, page, {"Link": link})]
    done = sync(app)
    github.faults = []
    assert (done["exit_code"], kinds(done), len(done["errors"])) == (1, [("add", "acme/6")], 1)
    assert "unexpected response" in done["errors"][0]
    assert set(status_of(app)) == {"active"}
    assert kinds(sync(app)) == [("hide", "acme/5")]


@ON_SQLITE
@pytest.mark.parametrize("number", [True, -1, 0, 2.7, 2.0, "3", "\uff13", None, [1], 2**64])
def test_a_number_that_is_none_is_no_repository(app: Flask, github: GitHubHost, installed: int, number: Any) -> None:
    github.add(1, "acme/a")
    sync(app)
    row = {**github.row(github.repositories[1]), "id": number, "full_name": "acme/odd"}
    github.faults = [lambda request: None, lambda request: (200, [row], {})]
    done = sync(app)
    assert (done["exit_code"], kinds(done), len(done["errors"])) == (1, [], 1)
    assert rows(app) == [("1", "acme/a", "active")]


def test_a_flag_that_is_none_disables_nothing(app: Flask, github: GitHubHost, installed: int) -> None:
    github.add(1, "acme/a")
    sync(app)
    row = {**github.row(github.repositories[1]), "archived": "false"}
    github.faults = [lambda request: None, lambda request: (200, [row], {})]
    assert (sync(app)["exit_code"], rows(app)) == (1, [("1", "acme/a", "active")])


@ON_SQLITE
def test_odd_names_and_urls(app: Flask, github: GitHubHost, installed: int) -> None:
    github.add(1, "acme/a")
    template = github.row(github.repositories.pop(1))
    odd = [
        {**template, "id": 7, "full_name": "7"},
        {**template, "id": 8, "full_name": "acme/long", "clone_url": f"{github.url}/{'x' * 200_000}.git"},
        {**template, "id": 9, "full_name": "acme/a"},
        {**template, "id": 9, "full_name": "acme/b"},
    ]
    for expected in ([("add", "acme/b")], []):
        github.faults = [lambda request: None, lambda request: (200, odd, {})]
        done = sync(app)
        assert kinds(done) == [("skip", "7"), ("skip", "acme/long"), *expected]
        assert [action["reason"] for action in done["actions"][:2]] == [
            *("its name is without an owner", "its URL has more than 8000 characters")
        ]
        assert "number 9 is listed twice, as acme/a and acme/b; the last one counts" in done["stderr"]


def test_what_a_provider_has_wait_is_told(app: Flask, github: GitHubHost, installed: int) -> None:
    for number in (1, 2):
        github.add(number, f"acme/{number}")
    sync(app)
    later = {
        "not_before": datetime(2100, 1, 1, tzinfo=timezone.utc),
        "due_at": datetime(2100, 1, 1, tzinfo=timezone.utc),
    }
    with app.app_context():
        waiting = sa.update(Job).where(Job.kind == "sync_repository", Job.subject_id == 1)
        db.session.execute(waiting.values(error="its rate limit is exhausted", attempts=1, **later))
        db.session.commit()
    done = sync(app)
    assert (done["exit_code"], done["synced"]) == (1, 1)
    assert done["failed"] == [{"id": 1, "name": "acme/1", "error": "its rate limit is exhausted"}]
    with app.app_context():
        waiting = sa.update(Job).where(Job.kind == "sync_organization")
        db.session.execute(waiting.values(error="API rate limit exceeded", attempts=1, **later))
        db.session.commit()
    github.requests.clear()
    for arguments in ([], ["--dry-run"], ["--integration", "main"]):
        result = run(app, "sync", "acme", *arguments)
        assert result.exit_code == 1
        assert "a provider has it wait until 2100-01-01T00:00:00+00:00 (API rate limit exceeded)" in result.stderr
    assert github.requests == []
