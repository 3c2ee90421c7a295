"""GetRepository and GetCommit: whole messages, and how a commit is looked up."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_grpcweb_scm import StatusCode
from flask_grpcweb_scm.pb import scm_pb2
from flask_grpcweb_scm.scm import Commit, CommitAuthor, CommitFileChange, Repository, RepositoryStatus, db
from tests.combinations import ON_SQLITE
from tests.scm.support import GitRepository, Scm, Tenant, set_mirror

SHA = "0123456789abcdef0123456789abcdef01234567"


def add_commit(app: Flask, repository: int, key: str, **values: Any) -> int:
    with app.app_context():
        commit = Commit(repository_id=repository, key=key, **values)
        db.session.add(commit)
        db.session.commit()
        return commit.id


def test_a_repository_has_every_field(app: Flask, scm: Scm, ours: Tenant) -> None:
    with app.app_context():
        row = Repository(
            organization_id=ours.organization,
            name="acme/app",
            url="https://github.com/acme/app",
            provider="integrations:github",
            external_id="1234",
            config={"name": "acme/app", "depth": 3, "nested": {"a": [None, True]}, "none": None},
            status=RepositoryStatus.HIDDEN,
            date_added=datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=timezone(timedelta(hours=2))),
            default_branch="main",
            mirror_path="/secret/place",
        )
        db.session.add(row)
        db.session.commit()
        row_id = row.id
    message = scm("GetRepository", repository_id=row_id)
    expected = scm_pb2.Repository(
        id=row_id,
        organization_id=ours.organization,
        name="acme/app",
        url="https://github.com/acme/app",
        provider=scm_pb2.PROVIDER_GITHUB,
        external_id="1234",
        status=scm_pb2.REPOSITORY_STATUS_HIDDEN,
        config={"name": "acme/app", "depth": "3", "nested": '{"a": [null, true]}', "none": "null"},
    )
    expected.date_added.FromJsonString("2026-01-02T01:04:05.678Z")
    assert message == expected
    assert "/secret" not in str(message)


def test_a_stored_commit_is_found_by_its_full_sha(app: Flask, scm: Scm, ours: Tenant) -> None:
    with app.app_context():
        author = CommitAuthor(
            organization_id=ours.organization, name="Ann", email="ANN@Example.com", external_id="github:7"
        )
        db.session.add(author)
        db.session.commit()
        author_id = author.id
    date = datetime(2026, 5, 6, 7, 8, 9, tzinfo=timezone.utc)
    row_id = add_commit(app, ours.repository, SHA, author_id=author_id, message="Fix\n\nIt", date_added=date)
    expected = scm_pb2.Commit(
        id=str(row_id),
        repository_id=ours.repository,
        key=SHA,
        message="Fix\n\nIt",
        author=scm_pb2.CommitAuthor(name="Ann", email="ann@example.com", external_id="github:7"),
    )
    expected.date_added.FromJsonString("2026-05-06T07:08:09Z")
    assert scm("GetCommit", repository_id=ours.repository, commit_sha=SHA) == expected


@pytest.mark.parametrize("sha", [SHA[:7], SHA[:39], SHA.upper(), SHA[:10].upper()])
def test_an_unambiguous_prefix_finds_a_commit(app: Flask, scm: Scm, ours: Tenant, sha: str) -> None:
    add_commit(app, ours.repository, SHA)
    add_commit(app, ours.repository, "f" * 40)
    response = scm("GetCommit", repository_id=ours.repository, commit_sha=sha)
    assert response.key == SHA
    assert not response.HasField("author")


def test_a_sha_256_is_a_full_sha(app: Flask, scm: Scm, ours: Tenant) -> None:
    add_commit(app, ours.repository, "ab" * 32)
    assert scm("GetCommit", repository_id=ours.repository, commit_sha="ab" * 32).key == "ab" * 32
    assert scm("GetCommit", repository_id=ours.repository, commit_sha="ab" * 25).key == "ab" * 32


@ON_SQLITE
@pytest.mark.parametrize(
    "sha", ["abc123", "HEAD", "main", "g" * 40, SHA + "0" * 25, f" {SHA}", f"{SHA}\n", "--output=x", "٣" * 40]
)
@pytest.mark.parametrize("method", ["GetCommit", "GetCommitContext"])
def test_a_malformed_sha_is_an_invalid_argument(scm: Scm, mirrored: int, method: str, sha: str) -> None:
    more = {"filepath": "README", "line_number": 1} if method == "GetCommitContext" else {}
    error = scm.error(StatusCode.INVALID_ARGUMENT, method, repository_id=mirrored, commit_sha=sha, **more)
    assert error.message.startswith("commit_sha must be a full SHA, or at least its first 7 hexadecimal digits, got ")


def test_a_commit_of_another_repository_is_not_found(app: Flask, scm: Scm, ours: Tenant, theirs: Tenant) -> None:
    add_commit(app, theirs.repository, SHA)
    scm.error(StatusCode.NOT_FOUND, "GetCommit", repository_id=ours.repository, commit_sha=SHA)
    scm.error(StatusCode.NOT_FOUND, "GetCommit", repository_id=ours.repository, commit_sha=SHA[:8])


@pytest.mark.parametrize("digits", [40, 12])
def test_a_missing_commit_is_fetched_from_the_mirror_and_stored(
    app: Flask, scm: Scm, mirrored: int, history: GitRepository, digits: int
) -> None:
    sha = history.git("rev-parse", "main~2")
    first = scm("GetCommit", repository_id=mirrored, commit_sha=sha[:digits])
    again = scm("GetCommit", repository_id=mirrored, commit_sha=sha)
    assert first == again
    assert first.key == sha
    assert first.message == "delete, and add a link"
    assert (first.author.name, first.author.email) == ("Ann Author", "ann@example.com")
    assert first.date_added.seconds == int(history.git("log", "-1", "--format=%ct", sha))
    with app.app_context():
        changes = db.session.execute(sa.select(CommitFileChange.type, CommitFileChange.filename)).all()
    assert sorted(map(tuple, changes)) == [("A", "link"), ("A", "script"), ("D", "side.txt")]


def test_only_commits_are_fetched(scm: Scm, mirrored: int, history: GitRepository) -> None:
    for name in ("v1", "main^{tree}", "main:README"):
        sha = history.git("rev-parse", name)
        scm.error(StatusCode.NOT_FOUND, "GetCommit", repository_id=mirrored, commit_sha=sha)
        scm.error(StatusCode.NOT_FOUND, "GetCommit", repository_id=mirrored, commit_sha=sha[:12])


def test_a_prefix_that_is_ambiguous_in_the_mirror_is_refused(
    app: Flask, scm: Scm, ours: Tenant, tmp_path: Path
) -> None:
    repository = GitRepository(tmp_path / "git")
    shas = _two_commits_with_a_common_prefix(repository)
    set_mirror(app, ours.repository, repository.path / ".git")
    error = scm.error(StatusCode.INVALID_ARGUMENT, "GetCommit", repository_id=ours.repository, commit_sha=shas[0][:7])
    assert "several commits" in error.message
    assert scm("GetCommit", repository_id=ours.repository, commit_sha=shas[0][:12]).key == shas[0]


def _two_commits_with_a_common_prefix(repository: GitRepository) -> list[str]:
    """By the birthday paradox: 60 000 commits share 7 digits with near certainty."""
    empty_tree = repository.git("hash-object", "-t", "tree", "-w", "--stdin", stdin=b"")
    seen: dict[str, bytes] = {}
    for number in range(1_000_000):
        body = f"tree {empty_tree}\nauthor A <a@b> {number} +0000\ncommitter A <a@b> {number} +0000\n\nx\n".encode()
        digest = hashlib.sha1(b"commit %d\0" % len(body) + body, usedforsecurity=False).hexdigest()
        if digest[:7] in seen:
            bodies = [seen[digest[:7]], body]
            return [repository.git("hash-object", "-t", "commit", "-w", "--stdin", stdin=one) for one in bodies]
        seen[digest[:7]] = body
    raise AssertionError("no two alike")


def test_a_mirror_that_cannot_be_read_says_so_without_its_path(
    app: Flask, scm: Scm, ours: Tenant, tmp_path: Path
) -> None:
    set_mirror(app, ours.repository, tmp_path)
    error = scm.error(StatusCode.FAILED_PRECONDITION, "GetCommit", repository_id=ours.repository, commit_sha=SHA)
    assert error.message == "git cat-file failed with exit status 128"


def test_a_stored_commit_needs_no_mirror(app: Flask, scm: Scm, ours: Tenant, tmp_path: Path) -> None:
    add_commit(app, ours.repository, SHA)
    set_mirror(app, ours.repository, tmp_path / "gone")
    assert scm("GetCommit", repository_id=ours.repository, commit_sha=SHA[:8]).key == SHA


# Without a SHA

NEWEST_FIRST = ["c" * 40, "b" * 40, "a" * 40]


def ask_without_a_sha(scm: Scm, repository: int, path: str = "README") -> list[str]:
    """The commit that each method finds."""
    line = {"filepath": path, "line_number": 1}
    batch = scm("BatchGetCommitContext", repository_id=repository, lines=[line, {**line, "commit_sha": ""}])
    contexts = [scm("GetCommitContext", repository_id=repository, **line), *(o.context for o in batch.outcomes)]
    return [scm("GetCommit", repository_id=repository).key, *(context.commit_id for context in contexts)]


@pytest.mark.parametrize("branch", ["", "main", "side"])
def test_without_a_sha_it_is_the_tip_of_the_default_branch(
    app: Flask, scm: Scm, mirrored: int, history: GitRepository, branch: str
) -> None:
    with app.app_context():
        db.session.get_one(Repository, mirrored).default_branch = branch
        db.session.add(Commit(repository_id=mirrored, key="a" * 40))  # newer, and not in the mirror
        db.session.commit()
    assert set(ask_without_a_sha(scm, mirrored)) == {history.git("rev-parse", branch or "main")}


def test_a_tip_is_another_one_after_a_push(app: Flask, scm: Scm, ours: Tenant, tmp_path: Path) -> None:
    repository = GitRepository(tmp_path / "git")
    set_mirror(app, ours.repository, repository.path / ".git")
    for number in range(3):
        repository.write("README", f"{number}\n")
        sha = repository.commit(f"{number}")
        assert set(ask_without_a_sha(scm, ours.repository)) == {sha}


def test_without_a_source_it_is_the_newest_stored_commit(app: Flask, scm: Scm, ours: Tenant, theirs: Tenant) -> None:
    with app.app_context():
        for age, key in enumerate(NEWEST_FIRST):
            date = datetime(2026, 1, 9, tzinfo=timezone.utc) - timedelta(days=age)
            commit = Commit(repository_id=ours.repository, key=key, date_added=date, message=f"of {age}\n\nbody")
            db.session.add_all([commit, CommitFileChange(commit=commit, filename="README", type="M")])
        db.session.add(Commit(repository_id=theirs.repository, key="d" * 40))
        db.session.commit()
    assert set(ask_without_a_sha(scm, ours.repository)) == {NEWEST_FIRST[0]}
    # What was imported last counts more than what claims to be of tomorrow.
    with app.app_context():
        db.session.get_one(Repository, ours.repository).imported_key = NEWEST_FIRST[1]
        db.session.commit()
    assert set(ask_without_a_sha(scm, ours.repository)) == {NEWEST_FIRST[1]}
    with app.app_context():
        db.session.get_one(Repository, ours.repository).imported_key = "e" * 40
        db.session.commit()
    assert set(ask_without_a_sha(scm, ours.repository)) == {NEWEST_FIRST[0]}


@ON_SQLITE
@pytest.mark.parametrize(
    ("prepare", "code", "message"),
    [
        ("no source", StatusCode.FAILED_PRECONDITION, "has no source to read, and no stored commits"),
        ("empty", StatusCode.NOT_FOUND, "has no commits on its default branch"),
        ("no such branch", StatusCode.FAILED_PRECONDITION, "has no branch 'absent'; there are 'main'"),
        ("unborn", StatusCode.NOT_FOUND, "has no commits on its default branch"),
        ("gone", StatusCode.FAILED_PRECONDITION, "is gone; import it again"),
        ("no repository", StatusCode.FAILED_PRECONDITION, "failed with exit status 128"),
    ],
)
def test_where_there_is_no_tip(
    app: Flask, scm: Scm, ours: Tenant, tmp_path: Path, prepare: str, code: StatusCode, message: str
) -> None:
    repository = GitRepository(tmp_path / "git")
    places = {"no source": None, "gone": tmp_path / "gone", "no repository": tmp_path}
    if prepare not in {"empty", "no source"}:
        repository.commit("first")
        repository.git("branch", "other")
    if prepare == "unborn":
        repository.git("symbolic-ref", "HEAD", "refs/heads/absent")
    with app.app_context():
        row = db.session.get_one(Repository, ours.repository)
        place = places.get(prepare, repository.path / ".git")
        row.mirror_path = None if place is None else str(place)
        row.default_branch = "absent" if prepare == "no such branch" else ""
        db.session.commit()
    line = {"filepath": "README", "line_number": 1}
    for method, fields in (("GetCommit", {}), ("GetCommitContext", line)):
        error = scm.error(code, method, repository_id=ours.repository, **fields)
        assert message in error.message
        assert str(tmp_path) not in error.message
    (outcome,) = scm("BatchGetCommitContext", repository_id=ours.repository, lines=[line]).outcomes
    assert (outcome.code, message in outcome.message) == (code, True)
