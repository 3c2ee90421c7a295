"""The repository that an import fills: one for each remote, whatever folders are called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_grpcweb_scm.scm import Integration, Repository, RepositoryStatus, db
from tests.scm.cli.test_rows import add, run
from tests.scm.support import GitRepository


@pytest.fixture
def demo(app: Flask) -> Flask:
    run(app, "add-organization", "demo")
    return app


def clone(path: Path, remote: str | None, text: str = "") -> GitRepository:
    """A repository with one commit, which differs by the text."""
    repository = GitRepository(path)
    repository.write("file", text or str(remote))
    repository.commit()
    if remote is not None:
        repository.git("remote", "add", "origin", remote)
    return repository


def refusal(app: Flask, *arguments: str) -> str:
    result = run(app, "import-git", "demo", *arguments)
    assert result.exit_code == 1
    assert "Traceback" not in result.output
    return result.stderr.splitlines()[-1].removeprefix("Error: ")


def rows(app: Flask) -> list[tuple[Any, ...]]:
    columns = sa.select(Repository.name, Repository.provider, Repository.external_id, Repository.remote)
    with app.app_context():
        return [tuple(row) for row in db.session.execute(columns.order_by(Repository.id))]


def test_two_remotes_are_never_one_repository(demo: Flask, tmp_path: Path) -> None:
    ours = clone(tmp_path / "ours/api", "git@github.com:ours/api.git")
    theirs = clone(tmp_path / "theirs/api", "https://github.com/theirs/api")
    first = add(demo, "import-git", "demo", str(ours.path))
    for options in ([], ["--name", "api"]):
        text = refusal(demo, str(theirs.path), *options)
        assert "repository 'api' of 'demo' is git@github.com:ours/api.git" in text
        assert "this is https://github.com/theirs/api; give it a name of its own, such as --name theirs/api" in text
    second = add(demo, "import-git", "demo", str(theirs.path), "--name", "theirs/api")
    assert first["id"] != second["id"]
    assert (first["commits"], second["commits"]) == (1, 1)
    assert rows(demo) == [
        ("api", "github", "github.com/ours/api", "github.com/ours/api"),
        ("theirs/api", "github", "github.com/theirs/api", "github.com/theirs/api"),
    ]
    # From then on each is known by its remote.
    assert add(demo, "import-git", "demo", str(theirs.path))["id"] == second["id"]


@pytest.mark.parametrize("url", ["https://github.com/Acme/API.git", "ssh://git@github.com/acme/api"])
def test_a_remote_is_one_repository_wherever_its_clones_are(demo: Flask, tmp_path: Path, url: str) -> None:
    first = add(demo, "import-git", "demo", str(clone(tmp_path / "api", "git@github.com:acme/api", "x").path))
    second = add(demo, "import-git", "demo", str(clone(tmp_path / "elsewhere", url, "x").path))
    assert (second["id"], second["name"], second["commits"]) == (first["id"], "api", 0)
    text = refusal(demo, str(tmp_path / "elsewhere"), "--name", "another")
    assert "is repository 'api' of 'demo' already; leave --name out, or run: flask scm rename repository demo 1" in text


@pytest.mark.parametrize(
    ("options", "base_url", "url"),
    [
        (["acme/api", "--provider", "github", "--external-id", "5"], None, "git@github.com:acme/api.git"),
        (["acme/api", "--provider", "integrations:gitlab", "--external-id", "5"], None, "https://gitlab.com/acme/api"),
        (["acme/api", "--provider", "gitlab", "--external-id", "5"], "https://git.example", "git@git.example:acme/api"),
        (["x", "--provider", "github", "--external-id", "5", "--url", "https://github.com/acme/api"], None,
         "git@github.com:acme/api.git"),
        (["x", "--url", "https://github.com/acme/api"], None, "git@github.com:acme/api.git"),
    ],
)  # fmt: skip
def test_a_providers_repository_is_known_by_its_remote(
    demo: Flask, tmp_path: Path, options: list[str], base_url: str | None, url: str
) -> None:
    if base_url is not None:
        more = ("--name", "G", "--base-url", base_url)
        options += ["--integration", str(add(demo, "add-integration", "demo", "gitlab", *more)["id"])]
    added = add(demo, "add-repository", "demo", *options)
    other = clone(tmp_path / "other/api", url.replace("acme", "fork"))
    mine = clone(tmp_path / "api", url)
    if options[0] == "acme/api":
        assert "such as --name fork/api" in refusal(demo, str(other.path), "--name", "acme/api")
    assert add(demo, "import-git", "demo", str(other.path))["name"] == "api"
    assert add(demo, "import-git", "demo", str(mine.path))["id"] == added["id"]
    with demo.app_context():
        row = db.session.get_one(Repository, added["id"])
        assert row.external_id == ("5" if "--external-id" in options else "github.com/acme/api")


def test_one_of_another_provider_is_not_filled(demo: Flask, tmp_path: Path) -> None:
    run(demo, "add-repository", "demo", "api", "--provider", "github", "--external-id", "5")
    for number, url in enumerate(("https://gitlab.com/acme/api", "https://git.example/acme/api")):
        repository = clone(tmp_path / str(number) / "api", url)
        assert "--name acme/api" in refusal(demo, str(repository.path))


def test_a_repository_without_a_remote_goes_by_its_name(demo: Flask, tmp_path: Path) -> None:
    first = add(demo, "import-git", "demo", str(clone(tmp_path / "a/api", None, "x").path))
    moved = add(demo, "import-git", "demo", str(clone(tmp_path / "b/api", None, "x").path))
    assert (moved["id"], moved["commits"]) == (first["id"], 0)
    assert rows(demo) == [("api", "", "api", None)]
    # It gets a remote when it is pushed somewhere, and another history of that name does not get it.
    other = clone(tmp_path / "c/api", "git@github.com:other/api", "y")
    assert "such as --name other/api" in refusal(demo, str(other.path))
    GitRepository(tmp_path / "b/api").git("remote", "add", "origin", "git@github.com:acme/api.git")
    assert add(demo, "import-git", "demo", str(tmp_path / "b/api"))["id"] == first["id"]
    assert rows(demo) == [("api", "", "github.com/acme/api", "github.com/acme/api")]
    stranger = clone(tmp_path / "d/api", None, "z")
    assert "such as --name api-2" in refusal(demo, str(stranger.path))


def test_paths_of_this_machine_are_remotes_and_stay_private(demo: Flask, tmp_path: Path) -> None:
    for team in "ab":
        clone(tmp_path / team / "api", None, team)
        GitRepository(tmp_path / f"clone-{team}").git(
            "clone", "--quiet", str(tmp_path / team / "api"), str(tmp_path / f"clone-{team}/api")
        )
    first = add(demo, "import-git", "demo", str(tmp_path / "clone-a/api"))
    text = refusal(demo, str(tmp_path / "clone-b/api"))
    assert "give it a name of its own" in text
    assert add(demo, "import-git", "demo", str(tmp_path / "a/api"))["id"] == first["id"]
    ((_, provider, external_id, remote),) = rows(demo)
    assert (provider, remote) == ("", str(tmp_path / "a/api"))
    assert str(tmp_path) not in str(external_id)


def test_a_remote_that_is_being_deleted_is_left_alone(demo: Flask, tmp_path: Path) -> None:
    repository = clone(tmp_path / "api", "git@github.com:acme/api")
    add(demo, "import-git", "demo", str(repository.path))
    with demo.app_context():
        db.session.scalars(sa.select(Repository)).one().status = RepositoryStatus.DELETION_IN_PROGRESS
        db.session.commit()
    assert "is being deleted; run this again when it is gone" in refusal(demo, str(repository.path))


def test_several_repositories_of_one_remote_are_told_apart_by_name(demo: Flask, tmp_path: Path) -> None:
    url = "https://github.com/acme/api"
    for name, number in (("one", "1"), ("two", "2")):
        run(demo, "add-repository", "demo", name, "--provider", "github", "--external-id", number, "--url", url)
    repository = clone(tmp_path / "api", url)
    text = refusal(demo, str(repository.path))
    assert text == f"organization 'demo' has several repositories of {url}; choose one by --name: 'one', 'two'"
    assert add(demo, "import-git", "demo", str(repository.path), "--name", "two")["id"] == 2


def test_the_remote_of_a_row_is_that_of_its_url(demo: Flask) -> None:
    with demo.app_context():
        row = Repository(organization_id=1, name="r", url="https://github.com/Acme/App")
        db.session.add_all([row, Integration(provider="p", external_id="e")])
        db.session.commit()
        assert row.remote == "github.com/acme/app"
        row.url = "git@gitlab.com:x/y.git"
        assert row.remote == "gitlab.com/x/y"
        row.url = "not a url"
        assert row.remote == "gitlab.com/x/y"


def test_the_remote_is_origin_or_else_the_first(demo: Flask, tmp_path: Path) -> None:
    repository = clone(tmp_path / "api", None)
    repository.git("remote", "add", "upstream", "git@github.com:upstream/api")
    repository.git("remote", "add", "fork", "git@github.com:fork/api")
    add(demo, "import-git", "demo", str(repository.path))
    repository.git("remote", "add", "origin", "git@github.com:origin/api")
    repository.git("remote", "set-url", "--add", "origin", "git@github.com:second/api")
    add(demo, "import-git", "demo", str(repository.path), "--name", "origin")
    assert [row[3] for row in rows(demo)] == ["github.com/upstream/api", "github.com/origin/api"]


@pytest.mark.parametrize(
    "options", [["api"], ["acme/api", "--provider", "github"], ["x", "--url", "https://github.com/acme/api"]]
)
def test_adding_a_repository_can_be_repeated_after_its_import(demo: Flask, tmp_path: Path, options: list[str]) -> None:
    added = add(demo, "add-repository", "demo", *options)
    assert add(demo, "add-repository", "demo", *options) == {"id": added["id"], "created": False}
    repository = clone(tmp_path / "api", "git@github.com:acme/api.git")
    assert add(demo, "import-git", "demo", str(repository.path))["id"] == added["id"]
    assert add(demo, "add-repository", "demo", *options) == {"id": added["id"], "created": False}
    numbered = [options[0], "--provider", "integrations:github", "--external-id", "5"]
    numbered += ["--url", "https://github.com/acme/api"]
    for spelling in ("integrations:github", "github"):
        numbered[2] = spelling
        assert add(demo, "add-repository", "demo", *numbered) == {"id": added["id"], "created": False}
    assert add(demo, "import-git", "demo", str(repository.path))["id"] == added["id"]
    assert [row[2] for row in rows(demo)] == ["5"]


def test_a_number_belongs_to_one_repository_of_a_provider(demo: Flask) -> None:
    for name, provider in (("a/b", "github"), ("c/d", "integrations:github"), ("a/b", "gitlab")):
        add(demo, "add-repository", "demo", name, "--provider", provider, "--external-id", "5")
    assert [row[:3] for row in rows(demo)] == [("a/b", "github", "5"), ("a/b", "gitlab", "5")]
