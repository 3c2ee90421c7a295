"""Git mirrors that are damaged: FAILED_PRECONDITION, and one warning in the log."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from flask_grpcweb_scm import StatusCode
from tests.combinations import ON_SQLITE
from tests.scm.support import GitRepository, Scm, Tenant, set_mirror

ABSENT = "a" * 40

pytestmark = ON_SQLITE


def overwrite(git: Path, pattern: str, change: Callable[[bytes], bytes]) -> None:
    for path in [path for path in git.glob(pattern) if path.is_file()]:
        path.chmod(0o644)
        path.write_bytes(change(path.read_bytes()))


def remove(git: Path, pattern: str) -> None:
    for path in git.glob(pattern):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


DAMAGES: dict[str, Callable[[Path], None]] = {
    "empty objects": lambda git: overwrite(git, "objects/??/*", lambda data: b""),
    "cut objects": lambda git: overwrite(git, "objects/??/*", lambda data: data[:20]),
    "garbage for objects": lambda git: overwrite(git, "objects/??/*", lambda data: b"x" * len(data)),
    "no loose objects": lambda git: remove(git, "objects/??"),
    "cut pack": lambda git: overwrite(git, "objects/pack/*.pack", lambda data: data[:200]),
    "garbage for an index": lambda git: overwrite(git, "objects/pack/*.idx", lambda data: b"x" * len(data)),
    "no pack": lambda git: remove(git, "objects/pack/*.pack"),
    "no objects": lambda git: remove(git, "objects"),
    "garbage for the configuration": lambda git: overwrite(git, "config", lambda data: b"[core\nx"),
    "garbage for HEAD": lambda git: overwrite(git, "HEAD", lambda data: b"x"),
    "nothing": lambda git: remove(git, "*"),
    "no directory": lambda git: remove(git, "../.git"),
}


def calls(sha: str) -> list[tuple[str, dict[str, Any]]]:
    lines = [{"filepath": name, "line_number": 3} for name in ("README", "src/app.py")]
    return [
        ("GetCommit", {"commit_sha": sha}),
        ("GetCommit", {"commit_sha": sha[:10]}),
        ("GetCommitContext", {"commit_sha": sha, **lines[0]}),
        ("BatchGetCommitContext", {"commit_sha": sha, "lines": lines}),
    ]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_mirror_is_a_failed_precondition_and_one_warning(
    app: Flask,
    scm: Scm,
    ours: Tenant,
    history: GitRepository,
    tmp_path: Path,
    damage: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    shutil.copytree(history.path, tmp_path / "copy")
    git = tmp_path / "copy/.git"
    if "pack" in damage or "index" in damage:
        GitRepository(tmp_path / "copy").git("gc", "--quiet", "--prune=now")
    DAMAGES[damage](git)
    set_mirror(app, ours.repository, git)
    for method, fields in calls(history.head()):
        if method.startswith("Batch"):
            outcomes = scm(method, repository_id=ours.repository, **fields).outcomes
            assert {outcome.code for outcome in outcomes} == {StatusCode.FAILED_PRECONDITION}
        else:
            error = scm.error(StatusCode.FAILED_PRECONDITION, method, repository_id=ours.repository, **fields)
            assert str(tmp_path) not in error.message
    (warning,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warning.startswith(f"git mirror {git} cannot be read: ")


def test_one_broken_commit_is_not_a_missing_one(
    app: Flask, scm: Scm, ours: Tenant, history: GitRepository, tmp_path: Path
) -> None:
    shutil.copytree(history.path, tmp_path / "copy")
    git, first = tmp_path / "copy/.git", history.git("rev-list", "--max-parents=0", "HEAD")
    overwrite(git, f"objects/{first[:2]}/{first[2:]}", lambda data: data[:20])
    set_mirror(app, ours.repository, git)
    scm.error(StatusCode.FAILED_PRECONDITION, "GetCommit", repository_id=ours.repository, commit_sha=first)
    assert scm("GetCommit", repository_id=ours.repository, commit_sha=history.head()).key == history.head()


@pytest.mark.parametrize("kind", ["with commits", "without a branch", "without commits", "of another branch"])
def test_what_a_sound_mirror_does_not_have_is_not_found(
    app: Flask, scm: Scm, ours: Tenant, tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    repository = GitRepository(tmp_path / "git")
    if kind != "without commits":
        repository.commit("first")
    if kind == "without a branch":
        repository.git("checkout", "--quiet", "--detach")
    if kind == "of another branch":
        repository.git("symbolic-ref", "HEAD", "refs/heads/absent")
    set_mirror(app, ours.repository, repository.path / ".git")
    for method, fields in calls(ABSENT):
        if not method.startswith("Batch"):
            scm.error(StatusCode.NOT_FOUND, method, repository_id=ours.repository, **fields)
    assert [record for record in caplog.records if record.levelname == "WARNING"] == []
