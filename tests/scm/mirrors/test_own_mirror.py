"""Mirrors that the service fetches from a real git server: what they become, whatever the remote does."""

from __future__ import annotations

import os
import re
import shutil
import ssl
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from flask_grpcweb_scm.scm import mirrors
from flask_grpcweb_scm.scm.mirrors import FolderFailed, Limits, MirrorBusy, OwnMirror, places_below, size_of
from flask_grpcweb_scm.scm.mirrors.remote import FetchFailed, Remote
from flask_grpcweb_scm.scm.providers import Credential
from flask_grpcweb_scm.scm.sources.mirror import Mirror
from tests.client.test_http_tls import CERTIFICATE
from tests.scm.mirrors.git_server import GitServer, git_server, origin, serve_git
from tests.scm.support import GitRepository

__all__ = ["git_server", "origin"]

pytestmark = pytest.mark.needs("time")

SECONDS = 60.0


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


def test_what_others_have_at_the_remote_is_no_change(
    git_server: GitServer, origin: GitRepository, tmp_path: Path
) -> None:
    """After "git push --mirror" a remote has what its clone had: other names end as those of branches do."""
    for name in ("refs/remotes/origin/HEAD", "refs/remotes/origin/main", "refs/x/refs/heads/y", "refs/pull/1/head"):
        origin.git("update-ref", name, "HEAD")
    mirror = own_mirror(tmp_path)
    assert mirror.update(remote_at(git_server))
    assert not mirror.update(remote_at(git_server))
    assert set(re.findall("refs/[a-z]+/", names_of(mirror.path))) == {"refs/heads/", "refs/tags/"}


@pytest.mark.parametrize("place", ["mirrors", "mirrors/0"])
def test_a_folder_that_cannot_be_written(
    git_server: GitServer, origin: GitRepository, tmp_path: Path, place: str
) -> None:
    """Whatever the system says of it: as root, nothing is forbidden."""
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).write_text("a file")
    text = "the folder of GRPC_SCM_MIRRORS cannot be written: File exists; the user of this process needs to own it"
    for act in (lambda mirror: mirror.update(remote_at(git_server)), OwnMirror.discard):
        with pytest.raises(FolderFailed, match=text):
            act(own_mirror(tmp_path))


def test_files_that_a_crash_has_damaged(git_server: GitServer, origin: GitRepository, tmp_path: Path) -> None:
    mirror = own_mirror(tmp_path)
    for name in ("config", "HEAD", "packed-refs", "objects/info", "objects", "refs", "refs/heads"):
        for content in (b"", bytes(100), b"\xff\xfe\x80" * 30):
            mirror.update(remote_at(git_server))
            path = mirror.path / name
            if path.is_dir():
                shutil.rmtree(path)
            path.write_bytes(content)
            mirror.update(remote_at(git_server))
            assert mirror.problems(full=True) == "", (name, content)
            assert names_of(mirror.path) == names_of(origin.path / ".git"), (name, content)


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


def test_one_at_a_time(
    git_server: GitServer, origin: GitRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror, other = own_mirror(tmp_path), own_mirror(tmp_path)
    monkeypatch.setattr(mirrors, "LOCK_SECONDS", 0.2)
    with mirror._locked(), pytest.raises(MirrorBusy):
        other.update(remote_at(git_server))
    assert other.update(remote_at(git_server))
    other.discard()
    assert places_below(tmp_path / "mirrors") == []
    assert [*(tmp_path / "mirrors/0").iterdir()] == []


def test_what_fetches_at_the_same_time_waits(git_server: GitServer, origin: GitRepository, tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        changed = [*pool.map(lambda _: own_mirror(tmp_path).update(remote_at(git_server)), range(4))]
    assert sorted(changed) == [False, False, False, True]


def test_many_fetches_do_not_become_many_packs(
    git_server: GitServer, origin: GitRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(mirrors.MAINTENANCE, "gc.autoPackLimit", "3")
    mirror = own_mirror(tmp_path)
    rewritten = []
    for number in range(8):
        if number % 2:
            rewritten.append(origin.head())
            origin.git("reset", "--quiet", "--hard", "HEAD~1")
        origin.write("file", f"{number}\n")
        origin.commit(f"{number}")
        mirror.update(remote_at(git_server))
    packs = [*(mirror.path / "objects/pack").glob("*.pack")]
    assert len(packs) <= 5
    assert mirror.problems(full=True) == ""
    reader = Mirror(str(mirror.path), timeout=SECONDS)
    assert [sha for sha in rewritten if not reader.has_commit(sha)] == []


def test_a_mirror_that_is_too_large_is_not_fetched(
    git_server: GitServer, origin: GitRepository, tmp_path: Path
) -> None:
    origin.write("large", os.urandom(300_000))
    origin.commit("large")
    with pytest.raises(FetchFailed, match="would have more than 200000 bytes; GRPC_SCM_MIRROR_BYTES can allow it"):
        own_mirror(tmp_path, size=200_000).update(remote_at(git_server))
    assert size_of(tmp_path / "mirrors") < 1000
    assert own_mirror(tmp_path, size=500_000).update(remote_at(git_server))


def test_what_watches_can_end_it(git_server: GitServer, origin: GitRepository, tmp_path: Path) -> None:
    class Ended(Exception):
        pass

    def end() -> None:
        raise Ended

    with pytest.raises(Ended):
        OwnMirror(tmp_path / "mirrors/0/1-a.git", Limits(timeout=None, memory=None, check=end)).update(
            remote_at(git_server)
        )
    assert own_mirror(tmp_path, "1-a.git").update(remote_at(git_server))


def test_a_certificate_is_checked(origin: GitRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(CERTIFICATE)
    with serve_git(tmp_path / "remotes", tls) as server:
        remote = Remote(
            f"{server.url}/acme/api.git", allowed_hosts={"localhost"}, credential=Credential(token="secret")
        )
        monkeypatch.delenv("SSL_CERT_FILE", raising=False)
        with pytest.raises(FetchFailed, match="certificate"):
            own_mirror(tmp_path).update(remote)
        assert server.requests == []
        monkeypatch.setenv("SSL_CERT_FILE", CERTIFICATE)
        mirror = own_mirror(tmp_path)
        mirror.update(remote)
        assert names_of(mirror.path) == names_of(origin.path / ".git")
