"""GetRepository, GetCommit and GetCommitContext."""

from __future__ import annotations

import subprocess
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from google.rpc.error_details_pb2 import PreconditionFailure

from flask_grpcweb_scm import StatusCode
from flask_grpcweb_scm.pb import scm_pb2
from flask_grpcweb_scm.scm import (
    Commit,
    CommitAuthor,
    CommitFileChange,
    Organization,
    Repository,
    RepositoryStatus,
    db,
)
from tests.combinations import ON_SQLITE
from tests.scm.support import GitRepository, Scm, Tenant, set_mirror

# GetRepository


def test_an_unknown_repository_is_not_found_by_its_id(scm: Scm) -> None:
    error = scm.error(StatusCode.NOT_FOUND, "GetRepository", repository_id=77)
    assert error.message == "repository 77 does not exist"


def test_a_repository_that_is_being_deleted_is_not_found(app: Flask, scm: Scm, ours: Tenant) -> None:
    for status in RepositoryStatus:
        with app.app_context():
            db.session.get_one(Repository, ours.repository).status = status
            db.session.commit()
        if status in (RepositoryStatus.ACTIVE, RepositoryStatus.DISABLED, RepositoryStatus.HIDDEN):
            wire = scm("GetRepository", repository_id=ours.repository).status
            assert scm_pb2.RepositoryStatus.Name(wire) == f"REPOSITORY_STATUS_{status.name}"
        else:
            scm.error(StatusCode.NOT_FOUND, "GetRepository", repository_id=ours.repository)


@ON_SQLITE
@pytest.mark.parametrize(
    ("stored", "name"),
    [
        ("github", "PROVIDER_GITHUB"),
        ("integrations:github", "PROVIDER_GITHUB"),
        ("gitlab", "PROVIDER_GITLAB"),
        ("bitbucket", "PROVIDER_BITBUCKET"),
        ("integrations:bitbucket_server", "PROVIDER_BITBUCKET_SERVER"),
        ("vsts", "PROVIDER_AZURE_DEVOPS"),
        ("integrations:github_enterprise", "PROVIDER_GITHUB_ENTERPRISE"),
        ("integrations:integrations:github", "PROVIDER_UNSPECIFIED"),
        ("GitHub", "PROVIDER_UNSPECIFIED"),
        ("", "PROVIDER_UNSPECIFIED"),
    ],
)
def test_a_provider_is_spelled_with_one_prefix_or_none(
    app: Flask, scm: Scm, ours: Tenant, stored: str, name: str
) -> None:
    with app.app_context():
        db.session.get_one(Repository, ours.repository).provider = stored
        db.session.commit()
    assert scm_pb2.Provider.Name(scm("GetRepository", repository_id=ours.repository).provider) == name


def test_config_values_that_are_not_strings_are_json_text(app: Flask, scm: Scm, ours: Tenant) -> None:
    with app.app_context():
        db.session.get_one(Repository, ours.repository).config = {"a": "text", "b": 5, "c": [1, None], "d": {"e": True}}
        db.session.commit()
    config = dict(scm("GetRepository", repository_id=ours.repository).config)
    assert config == {"a": "text", "b": "5", "c": "[1, null]", "d": '{"e": true}'}


def test_the_mirror_path_is_on_no_wire(scm: Scm, mirrored: int, history: GitRepository) -> None:
    assert str(history.path) not in str(scm("GetRepository", repository_id=mirrored))


# GetCommit


def test_a_missing_commit_is_fetched_from_the_mirror_and_stored(
    app: Flask, scm: Scm, mirrored: int, history: GitRepository
) -> None:
    sha = history.head()
    first = scm("GetCommit", repository_id=mirrored, commit_sha=sha)
    assert (first.key, first.author.name, first.author.email) == (sha, "Ann Author", "ann@example.com")
    assert first.date_added.seconds == int(history.git("log", "-1", "--format=%ct"))
    with app.app_context():
        assert db.session.scalars(sa.select(Commit.key)).all() == [sha]
    assert scm("GetCommit", repository_id=mirrored, commit_sha=sha) == first


@pytest.mark.parametrize("length", [7, 12, 39])
def test_a_prefix_finds_a_commit_in_the_mirror_and_in_the_database(
    app: Flask, scm: Scm, mirrored: int, history: GitRepository, length: int
) -> None:
    sha = history.head()
    assert scm("GetCommit", repository_id=mirrored, commit_sha=sha[:length].upper()).key == sha
    with app.app_context():
        db.session.get_one(Repository, mirrored).mirror_path = None
        db.session.commit()
    assert scm("GetCommit", repository_id=mirrored, commit_sha=sha[:length]).key == sha


def test_an_ambiguous_prefix_is_an_invalid_argument(app: Flask, scm: Scm, ours: Tenant) -> None:
    with app.app_context():
        for end in "ab":
            db.session.add(Commit(repository_id=ours.repository, key="1234567" + "0" * 32 + end, message=""))
        db.session.commit()
    error = scm.error(StatusCode.INVALID_ARGUMENT, "GetCommit", repository_id=ours.repository, commit_sha="1234567")
    assert "1234567" in error.message
    full = "1234567" + "0" * 32 + "a"
    assert scm("GetCommit", repository_id=ours.repository, commit_sha=full).key == full


@pytest.mark.parametrize("sha", ["123456", "g" * 40, "a" * 65, "--output=x", "HEAD", "1234567\n", "main"])
def test_a_malformed_sha_is_an_invalid_argument(scm: Scm, mirrored: int, sha: str) -> None:
    error = scm.error(StatusCode.INVALID_ARGUMENT, "GetCommit", repository_id=mirrored, commit_sha=sha)
    assert "commit_sha" in error.message


def test_an_unknown_commit_is_not_found(scm: Scm, mirrored: int, ours: Tenant) -> None:
    for sha in ("0" * 40, "0" * 10):
        assert sha in scm.error(StatusCode.NOT_FOUND, "GetCommit", repository_id=mirrored, commit_sha=sha).message
    scm.error(StatusCode.NOT_FOUND, "GetCommit", repository_id=999, commit_sha="0" * 40)


def test_a_blob_is_not_a_commit(scm: Scm, mirrored: int, history: GitRepository) -> None:
    blob = history.git("rev-parse", "HEAD:README")
    scm.error(StatusCode.NOT_FOUND, "GetCommit", repository_id=mirrored, commit_sha=blob)


# GetCommitContext


def porcelain(history: GitRepository, sha: str, path: str) -> list[str]:
    """The commit that `git blame` names for each line."""
    lines = history.git("blame", "--porcelain", sha, "--", path).split("\n")
    return [
        line.split()[0]
        for line in lines
        if len(line.split(" ")[0]) == 40 and not line.startswith("\t") and len(line.split()) in (3, 4)
        and all(part.isdigit() for part in line.split()[1:])
    ]  # fmt: skip


FILES = ["README", "src/app.py", "src/helpers.py", "docs/naïve file.txt", 'odd\n"name"\t.txt']


@ON_SQLITE
@pytest.mark.parametrize("path", FILES)
@pytest.mark.parametrize("revision", ["HEAD", ":/merge side"])
def test_blame_equals_git_blame_for_every_line(
    scm: Scm, mirrored: int, history: GitRepository, path: str, revision: str
) -> None:
    sha = history.git("rev-parse", revision)
    if path == "src/helpers.py" and revision != "HEAD":
        path = "src/util.py"
    blamed = porcelain(history, sha, path)
    assert blamed
    for number, expected in enumerate(blamed, start=1):
        context = scm("GetCommitContext", repository_id=mirrored, commit_sha=sha, filepath=path, line_number=number)
        assert context.blame_commit_id == expected
        assert context.blame_author.name == history.git("log", "-1", "--format=%an", expected)
        assert (context.commit_id, context.filename, context.line_number) == (sha, path, number)


def test_the_snippet_has_the_line_and_a_few_around_it(scm: Scm, mirrored: int, history: GitRepository) -> None:
    fields: dict[str, Any] = {"repository_id": mirrored, "commit_sha": history.head(), "filepath": "src/app.py"}
    assert scm("GetCommitContext", **fields, line_number=10).code_snippet.splitlines() == [
        *("def 7", "def 8", "def 9", "changed", "def 12", "def 13", "def 14")
    ]
    assert scm("GetCommitContext", **fields, line_number=1).code_snippet.splitlines()[0] == "def 1"


@ON_SQLITE
@pytest.mark.parametrize(
    ("fields", "code", "text"),
    [
        ({"filepath": ""}, StatusCode.INVALID_ARGUMENT, "filepath"),
        ({"filepath": "/etc/passwd"}, StatusCode.INVALID_ARGUMENT, "filepath"),
        ({"filepath": "../x"}, StatusCode.INVALID_ARGUMENT, "filepath"),
        ({"filepath": "a\0b"}, StatusCode.INVALID_ARGUMENT, "filepath"),
        ({"line_number": 0}, StatusCode.INVALID_ARGUMENT, "line_number"),
        ({"line_number": -5}, StatusCode.INVALID_ARGUMENT, "line_number"),
        ({"commit_sha": "HEAD"}, StatusCode.INVALID_ARGUMENT, "commit_sha"),
        ({"repository_id": 999}, StatusCode.NOT_FOUND, "repository 999 does not exist"),
        ({"commit_sha": "0" * 40}, StatusCode.NOT_FOUND, "0" * 40),
        ({"filepath": "nothing.py"}, StatusCode.NOT_FOUND, "file nothing.py does not exist at commit"),
        ({"filepath": "src"}, StatusCode.NOT_FOUND, "file src does not exist"),
        ({"filepath": ":(glob)*"}, StatusCode.NOT_FOUND, "does not exist"),
        ({"line_number": 999}, StatusCode.NOT_FOUND, "README has no line 999"),
    ],
)
def test_what_cannot_be_blamed_says_why(
    scm: Scm, mirrored: int, history: GitRepository, fields: dict[str, Any], code: StatusCode, text: str
) -> None:
    good = {"repository_id": mirrored, "commit_sha": history.head(), "filepath": "README", "line_number": 1}
    assert text in scm.error(code, "GetCommitContext", **{**good, **fields}).message


@pytest.fixture
def unmirrored(app: Flask, ours: Tenant) -> dict[str, str]:
    """Stored commits, a second apart, of a repository without a source."""
    shas = {name: name * 40 for name in "abc"}
    changes = {"a": [("x.py", "A")], "b": [("x.py", "M"), ("y.py", "A")], "c": [("y.py", "D")]}
    with app.app_context():
        organization = db.session.get_one(Organization, ours.organization)
        author = CommitAuthor(organization=organization, name="Ann", email="ann@example.com")
        for day, (name, sha) in enumerate(shas.items(), start=1):
            date = datetime(2024, 1, day, tzinfo=timezone.utc)
            commit = Commit(repository_id=ours.repository, key=sha, message=name, author=author, date_added=date)
            db.session.add(commit)
            for filename, kind in changes[name]:
                db.session.add(CommitFileChange(commit=commit, filename=filename, type=kind))
        db.session.commit()
    return shas


@pytest.mark.parametrize(
    ("at", "path", "expected"), [("a", "x.py", "a"), ("b", "x.py", "b"), ("c", "x.py", "b"), ("b", "y.py", "b")]
)
def test_without_a_source_the_newest_stored_commit_that_touched_the_file_answers(
    scm: Scm, ours: Tenant, unmirrored: dict[str, str], at: str, path: str, expected: str
) -> None:
    context = scm(
        "GetCommitContext", repository_id=ours.repository, commit_sha=unmirrored[at], filepath=path, line_number=1
    )
    assert context.blame_commit_id == unmirrored[expected]
    assert context.blame_author.email == "ann@example.com"


@pytest.mark.parametrize(
    ("at", "path", "code"),
    [
        ("a", "y.py", StatusCode.FAILED_PRECONDITION),
        ("c", "y.py", StatusCode.NOT_FOUND),
        ("d", "x.py", StatusCode.NOT_FOUND),
    ],
)
def test_without_a_source_what_nobody_knows_says_so(
    scm: Scm, ours: Tenant, unmirrored: dict[str, str], at: str, path: str, code: StatusCode
) -> None:
    scm.error(code, "GetCommitContext", repository_id=ours.repository, commit_sha=at * 40, filepath=path, line_number=1)


@pytest.mark.parametrize("mirror", [None, "gone"])
def test_a_precondition_that_fails_is_in_the_details(
    app: Flask, scm: Scm, ours: Tenant, unmirrored: dict[str, str], tmp_path: Path, mirror: str | None
) -> None:
    if mirror is not None:
        set_mirror(app, ours.repository, tmp_path / mirror)
    error = scm.error(
        StatusCode.FAILED_PRECONDITION,
        "GetCommitContext", repository_id=ours.repository, commit_sha="a" * 40, filepath="y.py", line_number=1,
    )  # fmt: skip
    (detail,) = error.details
    assert isinstance(detail, PreconditionFailure)
    (violation,) = detail.violations
    assert (violation.type, violation.description) == ("SOURCE", error.message)


# A hostile repository


def test_a_hostile_repository_runs_and_writes_nothing(app: Flask, scm: Scm, ours: Tenant, tmp_path: Path) -> None:
    repository = GitRepository(tmp_path / "hostile")
    marker = tmp_path / "marker"
    repository.write("file.txt", "one\ntwo\n")
    sha = repository.commit("first")
    script = tmp_path / "hook"
    script.write_text(f"#!/bin/sh\ntouch {marker}\ncat\n")
    script.chmod(0o755)
    repository.write(".gitattributes", "* diff=evil filter=evil\n")
    hostile = {
        "diff.evil.textconv": script,
        "diff.external": script,
        "diff.evil.command": script,
        "filter.evil.clean": script,
        "filter.evil.smudge": script,
        "core.fsmonitor": script,
        "core.pager": script,
        "core.hooksPath": tmp_path,
        "core.sshCommand": script,
        "gpg.program": script,
        "log.showSignature": "true",
        "core.editor": script,
        "pager.blame": script,
        "alias.blame": f"!{script}",
        "core.alternateRefsCommand": script,
    }
    for key, value in hostile.items():
        subprocess.run(["git", "config", key, str(value)], cwd=repository.path, check=True)
    set_mirror(app, ours.repository, repository.path / ".git")
    before = sorted(tmp_path.rglob("*"))
    good = {"repository_id": ours.repository, "commit_sha": sha, "filepath": "file.txt", "line_number": 1}
    assert scm("GetCommitContext", **good).blame_commit_id == sha
    assert scm("GetCommit", repository_id=ours.repository, commit_sha=sha[:8]).key == sha
    for bad in ("--output=written", "-Lx", "--contents=/etc/passwd"):
        scm.error(StatusCode.INVALID_ARGUMENT, "GetCommitContext", **{**good, "commit_sha": bad})
        scm.error(StatusCode.NOT_FOUND, "GetCommitContext", **{**good, "filepath": bad})
    assert not marker.exists()
    assert sorted(tmp_path.rglob("*")) == before


def test_a_mirror_that_is_gone_is_a_failed_precondition_that_names_no_path(
    app: Flask, scm: Scm, ours: Tenant, tmp_path: Path
) -> None:
    set_mirror(app, ours.repository, tmp_path / "gone")
    error = scm.error(StatusCode.FAILED_PRECONDITION, "GetCommit", repository_id=ours.repository, commit_sha="0" * 40)
    assert "import it again" in error.message
    assert str(tmp_path) not in error.message


def test_git_is_killed_at_the_deadline(scm: Scm, mirrored: int) -> None:
    scm.error(StatusCode.DEADLINE_EXCEEDED, "GetCommit", repository_id=mirrored, commit_sha="0" * 40, timeout=0.0001)
