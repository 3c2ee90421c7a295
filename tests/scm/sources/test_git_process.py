"""git that does not stop by itself, or fails."""

from __future__ import annotations

import os
import time
from contextlib import closing
from pathlib import Path

import pytest

from flask_grpcweb_scm.scm.sources.git_process import GitFailed, GitTimeout, run_git
from flask_grpcweb_scm.scm.sources.mirror import Mirror
from tests.scm.support import GitRepository, numbered, processes_with


@pytest.fixture
def stuck(tmp_path: Path) -> Path:
    """A git directory in which git waits for ever: its configuration includes a pipe that nobody writes to."""
    repository = GitRepository(tmp_path / "stuck")
    os.mkfifo(tmp_path / "pipe")
    (repository.path / ".git/config").write_text(f"[include]\n\tpath = {tmp_path}/pipe\n")
    return repository.path / ".git"


def test_git_is_killed_when_its_time_is_up(stuck: Path) -> None:
    started = time.monotonic()
    with pytest.raises(GitTimeout, match="git cat-file did not end in time"):
        Mirror(str(stuck), timeout=0.3).has_commit("a" * 40)
    assert time.monotonic() - started < 5
    assert processes_with(str(stuck)) == []


def test_the_time_is_for_all_questions_together(stuck: Path) -> None:
    mirror = Mirror(str(stuck), timeout=0.2)
    started = time.monotonic()
    for _ in range(3):
        with pytest.raises(GitTimeout):
            mirror.has_commit("a" * 40)
    assert time.monotonic() - started < 2


def test_git_is_killed_when_nobody_reads_on(tmp_path: Path) -> None:
    repository = GitRepository(tmp_path / "git")
    repository.write("big", numbered(1, 200_000))
    repository.commit("first")
    blob = repository.git("rev-parse", "HEAD:big")
    git_dir = str(repository.path / ".git")
    with closing(run_git(git_dir, "cat-file", "blob", blob, deadline=None)) as chunks:
        assert next(chunks).startswith(b"line 1\n")
        assert processes_with(git_dir)
    assert processes_with(git_dir) == []


def test_an_error_of_git_names_no_path_in_its_text(tmp_path: Path) -> None:
    with pytest.raises(GitFailed) as caught:
        list(run_git(str(tmp_path), "rev-parse", "--verify", "HEAD", deadline=None))
    assert str(caught.value) == "git rev-parse failed with exit status 128"
    assert caught.value.status == 128
    assert str(tmp_path) in caught.value.errors
