"""Mirrors that the service fetches from a real git server: what they become, whatever the remote does."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flask_grpcweb_scm.scm.mirrors import Limits, OwnMirror
from flask_grpcweb_scm.scm.mirrors.remote import Remote
from flask_grpcweb_scm.scm.sources.mirror import Mirror
from tests.scm.mirrors.git_server import GitServer, serve_git
from tests.scm.support import GitRepository, build_history

SECONDS = 60.0


@pytest.fixture
def git_server(tmp_path: Path) -> Iterator[GitServer]:
    with serve_git(tmp_path / "remotes") as server:
        yield server


@pytest.fixture
def origin(tmp_path: Path) -> GitRepository:
    repository = GitRepository(tmp_path / "remotes/acme/api.git")
    build_history(repository)
    return repository


def remote_at(server: GitServer, path: str = "acme/api.git") -> Remote:
    return Remote(f"{server.url}/{path}", allowed_hosts={"127.0.0.1"})


def own_mirror(tmp_path: Path, name: str = "17-a.git", size: int | None = None) -> OwnMirror:
    return OwnMirror(tmp_path / "mirrors/0" / name, Limits(timeout=SECONDS, memory=2**30, size=size))


def names_of(git_dir: Path) -> str:
    """Everything that has a name in a git directory, with HEAD."""
    run = ["git", f"--git-dir={git_dir}", "for-each-ref", "--format=%(objectname) %(refname)"]
    head = ["git", f"--git-dir={git_dir}", "symbolic-ref", "HEAD"]
    return "".join(subprocess.run(each, capture_output=True, text=True, check=True).stdout for each in (run, head))


def test_a_mirror_is_what_its_remote_is(git_server: GitServer, origin: GitRepository, tmp_path: Path) -> None:
    mirror = own_mirror(tmp_path)
    assert mirror.update(remote_at(git_server))
    assert names_of(mirror.path) == names_of(origin.path / ".git")
    assert mirror.problems(full=True) == ""
    assert (mirror.path / "objects/info/commit-graphs").is_dir()
    log = [*Mirror(str(mirror.path), timeout=SECONDS).log(origin.head())]
    assert log == [*Mirror(str(origin.path / ".git"), timeout=SECONDS).log(origin.head())]
    git_server.requests.clear()
    assert not mirror.update(remote_at(git_server))
    assert [target for _, target, _ in git_server.requests] == [
        "/acme/api.git/info/refs?service=git-upload-pack", "/acme/api.git/git-upload-pack",
    ]  # fmt: skip


def test_it_follows(git_server: GitServer, origin: GitRepository, tmp_path: Path) -> None:
    mirror = own_mirror(tmp_path)
    mirror.update(remote_at(git_server))
    first = origin.head()

    def force_push() -> None:
        origin.git("reset", "--quiet", "--hard", "HEAD~2")
        origin.write("README", "another way\n")
        origin.commit("another way")

    def delete_a_branch() -> None:
        origin.git("branch", "--delete", "--force", "side")

    def rename_the_default_branch() -> None:
        origin.git("branch", "--move", "main", "trunk")

    def put_a_folder_where_a_branch_was() -> None:
        origin.git("branch", "a")

    def and_a_branch_there() -> None:
        origin.git("branch", "--move", "a", "a/b")

    def move_a_tag() -> None:
        origin.git("tag", "--force", "v1", "HEAD~1")

    def detach() -> None:
        origin.git("checkout", "--quiet", "--detach")

    def take_everything_away() -> None:
        origin.git("update-ref", "--stdin", stdin=b"".join(
            f"delete {line.split(' ')[1]}\n".encode() for line in origin.git("show-ref").splitlines()
        ))  # fmt: skip

    steps: list[Callable[[], None]] = [
        force_push, delete_a_branch, rename_the_default_branch, put_a_folder_where_a_branch_was, and_a_branch_there,
        move_a_tag,
    ]  # fmt: skip
    for step in steps:
        step()
        assert mirror.update(remote_at(git_server)), step
        assert names_of(mirror.path) == names_of(origin.path / ".git"), step
        assert not mirror.update(remote_at(git_server)), step
    detach()
    assert not mirror.update(remote_at(git_server)), "HEAD names the branch that it did"
    take_everything_away()
    assert mirror.update(remote_at(git_server))
    assert names_of(mirror.path) == "refs/heads/trunk\n"
    assert Mirror(str(mirror.path), timeout=SECONDS).has_commit(first), "a commit that was once there is still wanted"


def test_empty_and_sha256_repositories(git_server: GitServer, tmp_path: Path) -> None:
    empty = GitRepository(tmp_path / "remotes/empty.git")
    mirror = own_mirror(tmp_path)
    mirror.update(remote_at(git_server, "empty.git"))
    assert Mirror(str(mirror.path), timeout=SECONDS).branch() == ("main", None)
    shutil.rmtree(empty.path)
    empty.path.mkdir()
    empty.git("init", "--quiet", "--initial-branch=main", "--object-format=sha256", "--template=")
    head = empty.commit("first")
    mirror.update(remote_at(git_server, "empty.git"))
    assert Mirror(str(mirror.path), timeout=SECONDS).branch() == ("main", head)
    assert len(head) == 64
