"""ListCommits: stored commits, and those of a branch, compared with what git says."""

from __future__ import annotations

import os
import re
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_grpcweb_scm import StatusCode
from flask_grpcweb_scm.scm import Commit, Repository, db
from tests.combinations import ON_SQLITE
from tests.scm.cli.test_rows import run
from tests.scm.support import GitRepository, Scm, Tenant, set_mirror
from tests.tables import check_rows


@pytest.fixture
def imported(app: Flask, ours: Tenant, history: GitRepository) -> int:
    """The id of a repository with all commits of `history`, whose source is that too."""
    done = run(app, "import-git", "ours", str(history.path))
    assert done.exit_code == 0, done.stderr
    with app.app_context():
        row_id = db.session.scalar(sa.select(Repository.id).where(Repository.name == "history"))
        assert row_id is not None
        return row_id


def keys(scm: Scm, repository_id: int, *, page_size: int = 1000, **fields: Any) -> list[str]:
    found, token = [], ""
    while True:
        page = scm("ListCommits", repository_id=repository_id, page_size=page_size, page_token=token, **fields)
        assert len(page.commits) <= page_size
        found += [commit.key for commit in page.commits]
        token = page.next_page_token
        if not token:
            return found


def git(history: GitRepository, *arguments: str) -> list[str]:
    return history.git("rev-list", *arguments).split()


@pytest.mark.parametrize("page_size", [1, 3, 1000])
def test_all_commits_by_date(scm: Scm, imported: int, history: GitRepository, page_size: int) -> None:
    assert keys(scm, imported, page_size=page_size) == git(history, "--date-order", "main")
    assert keys(scm, imported, page_size=page_size, branch="main") == git(history, "main")


def test_a_commit_has_all_that_get_commit_has(scm: Scm, imported: int) -> None:
    for branch in ("", "main"):
        for commit in scm("ListCommits", repository_id=imported, branch=branch).commits:
            assert commit == scm("GetCommit", repository_id=imported, commit_sha=commit.key)


CONDITIONS: list[tuple[dict[str, Any], list[str]]] = [
    ({"path": "README"}, ["README"]),
    ({"path": "src/app.py"}, ["src/app.py"]),
    ({"path": "docs/naïve file.txt"}, ["docs/naïve file.txt"]),
    ({"path": "absent"}, ["absent"]),
    ({"path": "src"}, ["absent"]),
    ({"path": "docs"}, ["absent"]),
    ({"path": "src/app.py/x"}, ["absent"]),
    ({"author": "bob@example.com"}, ["--author=bob@", "-i"]),
    ({"author": "BOB@EXAMPLE.com"}, ["--author=bob@", "-i"]),
    ({"author": "Bob"}, ["--author=^Bob <"]),
    ({"author": "Bob B. Renamed"}, ["--author=Bob B"]),
    ({"author": "Bob B. Rename."}, ["--author=nobody"]),
    ({"author": "ob"}, ["--author=nobody"]),
    ({"author": ".*"}, ["--author=nobody"]),
    ({"author": "b@example.com"}, ["--author=nobody"]),
    ({"author": "Bob\n"}, ["--author=nobody"]),
    ({"author": "nobody\nBob"}, ["--author=nobody"]),
    ({"author": "x@y\nexample.com"}, ["--author=nobody"]),
    ({"author": "Sid", "path": "side.txt"}, ["--author=Sid", "side.txt"]),
    ({"author": "Bob", "path": "side.txt"}, ["--author=Bob", "side.txt"]),
]


@pytest.mark.parametrize("branch", ["", "main"])
def test_conditions(scm: Scm, imported: int, history: GitRepository, branch: str) -> None:
    def check(fields: dict[str, Any], arguments: list[str]) -> None:
        flags = [argument for argument in arguments if argument.startswith("-")]
        paths = [argument for argument in arguments if not argument.startswith("-")]
        flags += ["--full-history", "--no-merges"] if paths else []
        expected = git(history, "--date-order", *flags, "main", "--", *paths)
        assert keys(scm, imported, page_size=2, branch=branch, **fields) == expected

    check_rows(check, CONDITIONS)


def test_a_path_is_that_of_a_file_whatever_it_was_before(app: Flask, scm: Scm, ours: Tenant, tmp_path: Any) -> None:
    """A folder before, or a name that is not UTF-8."""
    repository = GitRepository(tmp_path / "git")
    odd = os.fsdecode(b"a\xff.txt")
    steps: list[tuple[str, str | None]] = [
        *[("x/y", "1"), ("x/y", None), ("x", "1"), (odd, "1"), ("x", "2"), (odd, "2"), ("x", None), ("x/z", "1")]
    ]
    shas: dict[str, list[str]] = {}
    for name, text in steps:
        if text is None:
            repository.git("rm", "--quiet", "--force", name)
        else:
            repository.write(name, text)
        shas.setdefault(name, []).insert(0, repository.commit(f"{name!a} {text}"))
    set_mirror(app, ours.repository, repository.path / ".git")
    with app.app_context():
        db.session.get_one(Repository, ours.repository).default_branch = "main"
        db.session.commit()
    assert len(keys(scm, ours.repository, branch="main")) == len(steps)  # which stores them
    for name, expected in shas.items():
        path = os.fsencode(name).decode("utf-8", "backslashreplace")
        for branch in ("", "main"):
            for page_size in (1, 1000):
                assert keys(scm, ours.repository, path=path, branch=branch, page_size=page_size) == expected


@pytest.mark.parametrize("branch", ["", "main"])
def test_times(scm: Scm, imported: int, history: GitRepository, branch: str) -> None:
    dates = {key: int(history.git("show", "--no-patch", "--format=%ct", key)) for key in git(history, "main")}
    moments = sorted(dates.values())
    for since, until in [
        (moments[2], None), (None, moments[2]), (moments[2], moments[5]), (moments[2], moments[2]),
        (-62135596800, 253402300799), (253402300799, None), (None, -62135596800),
    ]:  # fmt: skip
        fields = {name: {"seconds": value} for name, value in (("since", since), ("until", until)) if value is not None}
        expected = {
            key for key, date in dates.items()
            if (since is None or date >= since) and (until is None or date < until)
        }  # fmt: skip
        assert set(keys(scm, imported, branch=branch, **fields)) == expected
    fields = {"since": {"seconds": moments[2], "nanos": 1000}, "until": {"seconds": moments[5], "nanos": 1000}}
    assert {dates[key] for key in keys(scm, imported, branch=branch, **fields)} == set(moments[3:6])


def test_commits_of_another_branch_are_stored(app: Flask, scm: Scm, imported: int, history: GitRepository) -> None:
    with app.app_context():
        db.session.execute(sa.delete(Commit).where(Commit.repository_id == imported))
        db.session.commit()
    assert keys(scm, imported) == []
    side = git(history, "side")
    assert keys(scm, imported, branch="side", page_size=2) == side
    assert sorted(keys(scm, imported)) == sorted(side)


def test_a_mirror_that_comes_or_goes_between_two_pages_begins_anew(app: Flask, scm: Scm, imported: int) -> None:
    fields = {"repository_id": imported, "branch": "main", "page_size": 2}
    from_mirror = scm("ListCommits", **fields).next_page_token
    with app.app_context():
        row = db.session.get_one(Repository, imported)
        path, row.mirror_path = row.mirror_path, None
        db.session.commit()
    error = scm.error(StatusCode.INVALID_ARGUMENT, "ListCommits", **fields, page_token=from_mirror)
    assert "page_token" in error.message
    from_database = scm("ListCommits", **fields).next_page_token
    with app.app_context():
        db.session.get_one(Repository, imported).mirror_path = path
        db.session.commit()
    error = scm.error(StatusCode.INVALID_ARGUMENT, "ListCommits", **fields, page_token=from_database)
    assert "page_token" in error.message


@ON_SQLITE
def test_pages_stay_those_of_the_first_tip(app: Flask, scm: Scm, ours: Tenant, tmp_path: Any) -> None:
    repository = GitRepository(tmp_path / "git")
    shas = [repository.commit(str(number)) for number in range(4)]
    set_mirror(app, ours.repository, repository.path / ".git")
    fields = {"repository_id": ours.repository, "branch": "main", "page_size": 2}
    first = scm("ListCommits", **fields)
    repository.commit("another")
    second = scm("ListCommits", **fields, page_token=first.next_page_token)
    assert [commit.key for commit in (*first.commits, *second.commits)] == shas[::-1]
    repository.git("checkout", "--quiet", "--orphan", "other")
    repository.commit("anew")
    repository.git("branch", "-D", "main")
    repository.git("reflog", "expire", "--expire=now", "--all")
    repository.git("gc", "--quiet", "--prune=now")
    error = scm.error(StatusCode.INVALID_ARGUMENT, "ListCommits", **fields, page_token=first.next_page_token)
    assert "was rewritten" in error.message
    scm.error(StatusCode.NOT_FOUND, "ListCommits", **fields)


@ON_SQLITE
@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"branch": "a b"}, "branch"),
        ({"branch": "--all"}, None),
        ({"path": "../x"}, "path"),
        ({"author": "x" * 201}, "author"),
        ({"author": "a\0"}, "author"),
        ({"since": {"seconds": 2**60}}, "since"),
        ({"until": {"nanos": -1}}, "until"),
        ({"page_size": -1}, "page_size"),
        ({"page_token": "x"}, "page_token"),
    ],
)
def test_wrong_fields_are_refused(scm: Scm, mirrored: int, wrong: dict[str, Any], field: str | None) -> None:
    code = StatusCode.NOT_FOUND if field is None else StatusCode.INVALID_ARGUMENT
    error = scm.error(code, "ListCommits", repository_id=mirrored, **wrong)
    assert field is None or [violation.field for violation in error.details[0].field_violations] == [field]


def test_a_token_is_of_its_request(scm: Scm, imported: int) -> None:
    fields = {"repository_id": imported, "page_size": 1}
    token = scm("ListCommits", **fields).next_page_token
    more = {"seconds": 1}
    for other in ({"path": "README"}, {"author": "Bob"}, {"since": more}, {"until": more}, {"branch": "main"}):
        scm.error(StatusCode.INVALID_ARGUMENT, "ListCommits", **fields, **other, page_token=token)


def test_without_a_mirror_there_is_the_default_branch_alone(app: Flask, scm: Scm, imported: int) -> None:
    everything = keys(scm, imported)
    with app.app_context():
        db.session.get_one(Repository, imported).mirror_path = None
        db.session.commit()
    assert keys(scm, imported, branch="main") == everything
    error = scm.error(StatusCode.FAILED_PRECONDITION, "ListCommits", repository_id=imported, branch="side")
    assert re.search("has no mirror here, and no other branch than 'main'", error.message)


def test_a_page_has_a_bounded_size(app: Flask, scm: Scm, ours: Tenant) -> None:
    with app.app_context():
        for number in range(5):
            when = datetime(2026, 1, 1, tzinfo=timezone.utc) + timedelta(days=number)
            row = Commit(repository_id=ours.repository, key=f"{number:040x}", message="x" * 2**20, date_added=when)
            db.session.add(row)
        db.session.commit()
    first = scm("ListCommits", repository_id=ours.repository)
    assert len(first.commits) == 2
    assert len(keys(scm, ours.repository)) == 5
