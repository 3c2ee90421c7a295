"""BatchGetCommitContext: for every line what GetCommitContext answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from flask_grpcweb_scm import Identity, RpcError, StatusCode
from flask_grpcweb_scm.scm import Commit, CommitFileChange, db
from tests.combinations import ON_SQLITE
from tests.scm.queries.plans import statements_of
from tests.scm.support import GitRepository, Scm, Tenant, set_mirror

LINES = [
    ("README", 1),
    ("README", 2),
    ("README", 22),
    ("src/app.py", 10),
    ("src/app.py", 10),
    ("src/helpers.py", 6),
    ("docs/naïve file.txt", 7),
    ("README", 23),
    ("README", 2**31 - 1),
    ("docs/naïve file.txt", 8),
    ("absent.py", 1),
    ("src", 1),
    ("", 1),
    ("../x", 1),
    ("README", 0),
    ("README", -5),
]
SHAS = ["", "HEAD~2", "short", "f" * 40, "fffffff", "no sha"]


def one(scm: Scm, repository: int, **fields: Any) -> tuple[int, str, Any]:
    """Code, message and context of the single call."""
    try:
        return 0, "", scm("GetCommitContext", repository_id=repository, **fields)
    except RpcError as error:
        return error.code, error.message, None


def many(scm: Scm, repository: int, sha: str, lines: list[dict[str, Any]]) -> list[tuple[int, str, Any]]:
    response = scm("BatchGetCommitContext", repository_id=repository, commit_sha=sha, lines=lines)
    return [(o.code, o.message, o.context if o.HasField("context") else None) for o in response.outcomes]


@ON_SQLITE
@pytest.mark.needs("time")
def test_every_line_is_answered_as_by_itself(scm: Scm, mirrored: int, history: GitRepository) -> None:
    head = history.git("rev-parse", "main")
    shas = {"HEAD~2": history.git("rev-parse", "main~2"), "short": head[:9]}
    lines = [
        {"commit_sha": shas.get(sha, sha), "filepath": path, "line_number": number}
        for sha in SHAS
        for path, number in LINES
    ]
    expected = [one(scm, mirrored, **{**line, "commit_sha": line["commit_sha"] or head}) for line in lines]
    assert many(scm, mirrored, head, lines) == expected
    assert {code for code, _, _ in expected} == {0, StatusCode.INVALID_ARGUMENT, StatusCode.NOT_FOUND}


def test_stored_history_answers_where_there_is_no_source(app: Flask, scm: Scm, ours: Tenant) -> None:
    with app.app_context():
        commit = Commit(repository_id=ours.repository, key="a" * 40)
        changes = [CommitFileChange(commit=commit, filename=name, type=kind) for name, kind in (("x", "M"), ("y", "D"))]
        db.session.add_all([commit, *changes])
        db.session.commit()
    lines = [{"filepath": path, "line_number": number} for path in ("x", "y", "z") for number in (1, 2)]
    expected = [one(scm, ours.repository, commit_sha="a" * 40, **line) for line in lines]
    assert many(scm, ours.repository, "a" * 40, lines) == expected
    assert [code for code, _, _ in expected] == [0, 0, 5, 5, 9, 9]


def test_lines_of_one_file_share_runs_of_git(
    scm: Scm, mirrored: int, history: GitRepository, runs_of_git: Callable[[], int]
) -> None:
    head = history.git("rev-parse", "main")
    runs_of_git()
    lines = [{"filepath": path, "line_number": n} for n in range(1, 20) for path in ("README", "src/app.py")]
    outcomes = many(scm, mirrored, head, lines)
    assert {code for code, _, _ in outcomes} == {0}
    assert runs_of_git() == 1 + 2
    # What an id names never changes: of lines that were asked for nothing is asked again.
    assert many(scm, mirrored, head, lines[5:]) == outcomes[5:]
    assert runs_of_git() == 0


@ON_SQLITE
@pytest.mark.parametrize("length", [7, 39, 40])
def test_commits_and_their_prefixes_share_runs_of_git(
    scm: Scm, mirrored: int, history: GitRepository, runs_of_git: Callable[[], int], length: int
) -> None:
    shas = [sha[:length] for sha in history.git("rev-list", "-4", "main").split()]
    expected = [one(scm, mirrored, commit_sha=sha, filepath="README", line_number=2) for sha in shas]
    lines = [{"filepath": "README", "line_number": 3, "commit_sha": sha} for sha in shas]
    runs_of_git()
    found = many(scm, mirrored, "", lines)
    assert [(code, context.commit_id) for code, _, context in found] == [(0, each[2].commit_id) for each in expected]
    # For each line its blame, and at most two for all commits.
    assert runs_of_git() <= 4 + 2


def test_a_name_that_is_written_with_escapes_is_found_by_as_few_at_any_depth(
    app: Flask, scm: Scm, ours: Tenant, tmp_path: Path, runs_of_git: Callable[[], int]
) -> None:
    repository = GitRepository(tmp_path / "deep")
    folders = "/".join("abcdefgh")
    names = [b"\xff.py", b"\\xff.py", b"\xe9t\xe9 \\xff.py", b"\xc3\xa9\xff.py", b"\xe9\xe8\xe7\xe0\xf9.py"]
    changes = b"".join(b"M 100644 inline %s/%s\ndata 2\nx\n\n" % (folders.encode(), name) for name in names[1:])
    changes += b"M 100644 inline %s\ndata 2\nx\n\n" % names[0]
    repository.fast_import(b"commit refs/heads/main\ncommitter a <a@x> 1 +0000\ndata 1\nm\n" + changes)
    sha = repository.git("rev-parse", "main")
    set_mirror(app, ours.repository, repository.path / ".git")
    # As `GetCommit` has them; the second time as nothing that there is.
    paths = ["\\xff.py", *(f"{folders}/{name.decode('utf-8', 'backslashreplace')}" for name in names[1:])]
    many(scm, ours.repository, sha, [{"filepath": "nothing", "line_number": 1}])
    for path, code in [*((path, 0) for path in paths), *((f"{path}.no", 5) for path in paths)]:
        runs_of_git()
        (outcome,) = many(scm, ours.repository, sha, [{"filepath": path, "line_number": 1}])
        assert outcome[0] == code, path
        assert runs_of_git() == (2 if code else 1)


def test_as_many_statements_are_run_for_all_lines_as_for_one(
    app: Flask, scm: Scm, ours: Tenant, mirrored: int, history: GitRepository
) -> None:
    head = history.git("rev-parse", "main")
    lines = [{"filepath": path, "line_number": number} for number in range(1, 12) for path in ("README", "src/app.py")]
    lines += [{"commit_sha": history.git("rev-parse", f"main~{n}")[:9], **lines[n]} for n in range(3)]
    for repository in (mirrored, ours.repository):
        counts = {
            len(statements_of(app, lambda few=few: many(scm, repository, head, few)))  # noqa: B023  # is called at once
            for few in (lines[-2:], lines)
        }
        assert len(counts) == 1


@pytest.mark.parametrize(("count", "message"), [(0, "lines is empty"), (201, "lines has 201 items; the limit is 200")])
def test_too_few_and_too_many_lines_are_invalid(scm: Scm, mirrored: int, count: int, message: str) -> None:
    lines = [{"filepath": "README", "line_number": 1}] * count
    error = scm.error(StatusCode.INVALID_ARGUMENT, "BatchGetCommitContext", repository_id=mirrored, lines=lines)
    assert error.message == message


def test_a_repository_of_others_does_not_exist(scm: Scm, mirrored: int, theirs: Tenant) -> None:
    lines = [{"filepath": "README", "line_number": 1}]
    caller = Identity(organizations=frozenset({"theirs"}))
    for repository, who in ((mirrored, caller), (999, None)):
        scm.error(
            StatusCode.NOT_FOUND, "BatchGetCommitContext", caller=who, repository_id=repository, commit_sha="a" * 40,
            lines=lines,
        )  # fmt: skip


def test_the_deadline_ends_the_whole_call(scm: Scm, mirrored: int) -> None:
    lines = [{"filepath": "README", "line_number": 1}]
    scm.error(
        StatusCode.DEADLINE_EXCEEDED, "BatchGetCommitContext", timeout=0, repository_id=mirrored, commit_sha="a" * 40,
        lines=lines,
    )  # fmt: skip


def test_a_source_that_fails_is_the_outcome_of_each_line(app: Flask, scm: Scm, ours: Tenant, tmp_path: Path) -> None:
    set_mirror(app, ours.repository, tmp_path / "gone")
    lines = [{"filepath": path, "line_number": 1} for path in ("x", "y", "")]
    codes = [code for code, _, _ in many(scm, ours.repository, "a" * 40, lines)]
    assert codes == [StatusCode.FAILED_PRECONDITION, StatusCode.FAILED_PRECONDITION, StatusCode.INVALID_ARGUMENT]
