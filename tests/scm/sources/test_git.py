"""git that does not stop by itself, or fails."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from flask_grpcweb_scm.scm.sources.git import GitError, GitFailed, GitTimeout, run_git
from flask_grpcweb_scm.scm.sources.mirror import Mirror
from tests.scm.support import GitRepository, numbered, processes_with
from tests.servers import ROOT


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
    with pytest.raises(GitTimeout):
        mirror.has_commit("a" * 40)
    (stuck / "config").unlink()
    assert not Mirror(str(stuck), timeout=30).has_commit("a" * 40)
    with pytest.raises(GitTimeout):
        mirror.has_commit("a" * 40)


def test_git_is_killed_when_nobody_reads_on(tmp_path: Path) -> None:
    repository = GitRepository(tmp_path / "git")
    repository.write("big", numbered(1, 200_000))
    repository.commit("first")
    blob = repository.git("rev-parse", "HEAD:big")
    git_dir = str(repository.path / ".git")
    with closing(run_git(git_dir, "cat-file", "blob", blob, deadline=None)) as chunks:
        assert b"".join(itertools.islice(chunks, 2)).startswith(b"line 1\n")
        assert processes_with(git_dir)
    assert processes_with(git_dir) == []


@pytest.mark.skipif(sys.platform == "win32", reason="git is not killed there")
@pytest.mark.parametrize("script", ["exec >&-; sleep 100", "while :; do echo x; done", "sleep 100"])
def test_git_is_killed_whatever_it_does_with_its_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    git = tmp_path / "git"
    git.write_text(f"#!/bin/sh\n{script}\n")
    git.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(GitTimeout, match="git log did not end in time"):
        list(run_git(str(tmp_path / "x"), "log", deadline=time.monotonic() + 0.3))
    assert processes_with(str(tmp_path / "x")) == []


READERS = {
    "main thread": "read()",
    "a thread": """
import threading
threading.Thread(target=read).start()
""",
    "a forked child": """
if os.fork():
    os.wait()
else:
    read()
""",
    "a greenlet": """
import gevent
gevent.spawn(read).join()
""",
}
"""Ways to run git in a process of its own."""


@pytest.mark.skipif(sys.platform != "linux", reason="no other system has a signal for a pipe that is closed")
@pytest.mark.parametrize("reader", READERS)
@pytest.mark.needs("processes that are killed")
def test_git_dies_with_the_process_that_reads_it(stuck: Path, reader: str) -> None:
    patch = "from gevent import monkey; monkey.patch_all()" if reader == "a greenlet" else ""
    script = f"""
{patch}
import os, sys
from flask_grpcweb_scm.scm.sources.git import run_git
git_dir = sys.argv[1]
def read():
    chunks = run_git(git_dir, "cat-file", "--batch-check", deadline=None)
    next(chunks)  # git is tied to this process
    print(os.getpid(), flush=True)
    list(chunks)
{READERS[reader]}
"""
    with subprocess.Popen([sys.executable, "-c", script, str(stuck)], stdout=subprocess.PIPE, cwd=ROOT) as process:
        try:
            assert process.stdout is not None
            worker = process.stdout.readline()
            assert eventually(lambda: processes_with(f"--git-dir={stuck}"))
            os.kill(int(worker), signal.SIGKILL)
            assert eventually(lambda: not processes_with(f"--git-dir={stuck}"))
        finally:
            process.kill()


def test_git_goes_on_when_the_thread_ends_that_has_started_it(tmp_path: Path) -> None:
    repository = GitRepository(tmp_path / "git")
    repository.write("big", text := numbered(1, 400_000))
    repository.commit("first")
    blob = repository.git("rev-parse", "HEAD:big")
    chunks = run_git(str(repository.path / ".git"), "cat-file", "blob", blob, deadline=None)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(next, chunks).result()
    assert (first + b"".join(chunks)).decode() == text


def eventually(condition: Callable[[], object]) -> bool:
    stop = time.monotonic() + 20
    while not condition() and time.monotonic() < stop:
        time.sleep(0.02)
    return bool(condition())


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="the system has no files in memory")
def test_git_needs_no_room_for_temporary_files(
    history: GitRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "absent"))
    mirror = Mirror(str(history.path / ".git"), timeout=30)
    assert mirror.has_commit(history.head())
    assert mirror.blame(history.head(), "README", [3])
    with pytest.raises(GitFailed) as caught:
        mirror.count("a" * 40)
    assert "bad object" in caught.value.errors


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="the system has no files in memory")
def test_errors_of_git_take_little_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git = tmp_path / "git"
    git.write_text("#!/bin/sh\nyes 'error: no' | head -c 10000000 >&2\nstat -Lc %s /proc/self/fd/2\nexit 3\n")
    git.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    sizes = []
    with pytest.raises(GitFailed) as caught:
        sizes.extend(run_git(str(tmp_path / "x"), "log", deadline=None))
    assert caught.value.errors.startswith("error: no\nerror: no")
    assert int(b"".join(sizes)) <= 64 * 1024


def test_git_may_be_installed_moved_and_removed_under_a_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    monkeypatch.setenv("PATH", f"{first}{os.pathsep}{second}")

    def run() -> bytes:
        return b"".join(run_git(str(tmp_path / "x"), "log", deadline=None))

    for folder, text in ((second, "older"), (first, "newer")):
        folder.mkdir()
        (folder / "git").write_text(f"#!/bin/sh\necho {text}\n")
        (folder / "git").chmod(0o755)
        assert run() == f"{text}\n".encode()
    (first / "git").unlink()
    assert run() == b"older\n"
    (second / "git").unlink()
    with pytest.raises(GitError, match="not installed"):
        run()


def test_an_error_of_git_names_no_path_in_its_text(tmp_path: Path) -> None:
    with pytest.raises(GitFailed) as caught:
        list(run_git(str(tmp_path), "rev-parse", "--verify", "HEAD", deadline=None))
    assert str(caught.value) == "git rev-parse failed with exit status 128"
    assert caught.value.status == 128
    assert str(tmp_path) in caught.value.errors
