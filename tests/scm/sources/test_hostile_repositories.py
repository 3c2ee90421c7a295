"""Repositories that are made to cost: what git, this process and the database spend on them is bounded."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_grpcweb_scm import StatusCode
from flask_grpcweb_scm.scm import CommitFileChange, db
from flask_grpcweb_scm.scm.database.models import MAX_FILE_CHANGES
from flask_grpcweb_scm.scm.sources import mirror as mirror_module
from flask_grpcweb_scm.scm.sources.git import GitError, GitOutOfMemory, run_git
from flask_grpcweb_scm.scm.sources.mirror import Mirror
from tests.combinations import ON_SQLITE
from tests.scm.cli.test_rows import add, run
from tests.scm.support import GitRepository, Scm, Tenant, make_app, set_mirror
from tests.servers import ROOT

pytestmark = pytest.mark.needs("time")

LITTLE = 96 * 2**20
PATIENCE = 600
"""Seconds for a run of git. It ends at a limit of memory or of files, however busy the machine is."""
needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="no other system limits the memory of others")


@pytest.fixture
def repository(tmp_path: Path) -> GitRepository:
    return GitRepository(tmp_path / "repository")


def mirror_of(repository: GitRepository, memory: int = LITTLE) -> Mirror:
    return Mirror(str(repository.path / ".git"), timeout=PATIENCE, memory=memory)


def bomb(repository: GitRepository, *, width: int = 10, depth: int = 10, name: str = "f{}") -> str:
    """A commit of a few kilobytes, of `width ** depth` files."""
    entry = repository.git("hash-object", "-w", "--stdin", stdin=b"line\n")
    kind = "100644 blob"
    for level in range(depth):
        suffix = ".py" if level == 0 else ""
        listing = "".join(f"{kind} {entry}\t{name.format(number)}{suffix}\n" for number in range(width))
        entry, kind = repository.git("mktree", stdin=listing.encode()), "040000 tree"
    sha = repository.git("commit-tree", entry, "-m", "bomb")
    repository.git("update-ref", "refs/heads/main", sha)
    return sha


def many_files(repository: GitRepository, count: int) -> str:
    changes = "".join(f"M 100644 :1 d{number % 100}/f{number}.py\n" for number in range(count))
    head = "blob\nmark :1\ndata 1\nx\ncommit refs/heads/main\ncommitter a <a@x> 1 +0000\ndata 1\nm\n"
    repository.fast_import((head + changes).encode())
    return repository.git("rev-parse", "main")


READERS: dict[str, Callable[[Mirror, str], object]] = {
    "commit": lambda mirror, sha: mirror.commit(sha),
    "log": lambda mirror, sha: [*mirror.log(sha)],
}


@needs_linux
@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_git_stays_below_its_memory(repository: GitRepository, read: Callable[[Mirror, str], object]) -> None:
    sha = bomb(repository)
    with pytest.raises(GitOutOfMemory, match=r"git log needs more than the 96 MiB .* GRPC_GIT_MEMORY_BYTES"):
        read(mirror_of(repository), sha)


@needs_linux
def test_a_pack_may_be_larger_than_the_memory(repository: GitRepository) -> None:
    repository.git("config", "core.compression", "0")
    for number in range(20):
        repository.write(str(number), os.urandom(5 * 2**20) + b"\nlast\n")
    sha = repository.commit()
    repository.git("repack", "-adq", "--window=0")
    (pack,) = (repository.path / ".git/objects/pack").glob("*.pack")
    assert pack.stat().st_size > LITTLE
    mirror = mirror_of(repository)
    assert [len(commit.changes) for commit in mirror.log(sha)] == [20]
    for number in range(20):
        blob = mirror.find_file(sha, str(number))
        chunks = run_git(mirror.git_dir, "cat-file", "blob", str(blob), deadline=None, memory=LITTLE)
        assert sum(map(len, chunks)) == 5 * 2**20 + 6


@pytest.fixture
def little_app(tmp_path: Path) -> Flask:
    app = make_app(f"sqlite:///{tmp_path}/little.sqlite", GRPC_GIT_MEMORY_BYTES=LITTLE, GRPC_GIT_TIMEOUT=PATIENCE)
    run(app, "init-db")
    run(app, "add-organization", "demo")
    run(app, "add-project", "demo", "web")
    return app


@needs_linux
def test_every_way_to_a_tree_of_billions_of_files_ends_in_words(little_app: Flask, repository: GitRepository) -> None:
    sha = bomb(repository)
    added = add(little_app, "add-repository", "demo", "bomb")
    set_mirror(little_app, added["id"], repository.path / ".git")
    scm = Scm(little_app)
    error = scm.error(StatusCode.FAILED_PRECONDITION, "GetCommit", repository_id=added["id"], commit_sha=sha)
    assert "needs more than the 96 MiB of memory" in error.message
    # One of its lines costs no more than elsewhere.
    path = "/".join(["f0"] * 9) + "/f0.py"
    line = {"repository_id": added["id"], "commit_sha": sha, "filepath": path, "line_number": 1}
    assert scm("GetCommitContext", **line).blame_commit_id == sha
    derived = scm("DeriveCodeMappings", organization_id=1, project_id=1, stacktrace_paths=["/app/x/y.py"])
    assert "bomb could not be searched: the tree has more than" in derived.outcomes[0].reason
    result = run(little_app, "import-git", "demo", str(repository.path), "--name", "bomb")
    assert result.exit_code == 1
    assert "Error: git log needs more than the 96 MiB of memory" in result.stderr


@pytest.mark.parametrize(
    ("width", "depth", "name", "limits"),
    [
        (10, 4, "f{}", {"MAX_TREE_FILES": 9_999}),
        (10, 4, "f{}", {"MAX_TREE_BYTES": 99_999}),
        (2, 2, "f{}" + "n" * 1000, {"MAX_TREE_BYTES": 8_000}),
    ],
)
def test_the_files_of_a_tree_are_bounded(
    repository: GitRepository,
    width: int,
    depth: int,
    name: str,
    limits: dict[str, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bomb(repository, width=width, depth=depth, name=name)
    mirror = mirror_of(repository)
    tree = mirror.tree()[1] or ""
    assert len([*mirror.files(tree)]) == width**depth
    for limit, value in limits.items():
        monkeypatch.setattr(mirror_module, limit, value)
    with pytest.raises(GitError, match=r"the tree has more than .* too many to list"):
        list(mirror.files(tree))


@pytest.mark.parametrize(
    ("count", "is_truncated"), [(MAX_FILE_CHANGES, False), (MAX_FILE_CHANGES + 1, True), (60_000, True)]
)
@pytest.mark.parametrize("by_import", [False, True])
def test_the_file_changes_of_a_commit_are_bounded(
    little_app: Flask, repository: GitRepository, count: int, is_truncated: bool, by_import: bool
) -> None:
    sha = many_files(repository, count)
    if by_import:
        answer = add(little_app, "import-git", "demo", str(repository.path))
        assert (answer["commits"], answer.get("truncated", 0)) == (1, is_truncated)
        again = run(little_app, "import-git", "demo", str(repository.path), "--name", "again")
        assert ("; 1 changed more files than the 20000 that are stored" in again.stdout) == is_truncated
    else:
        answer = add(little_app, "add-repository", "demo", "many")
        set_mirror(little_app, answer["id"], repository.path / ".git")
    for _ in range(2):
        commit = Scm(little_app)("GetCommit", repository_id=answer["id"], commit_sha=sha)
        assert commit.more_changes == is_truncated
    with little_app.app_context():
        statement = sa.select(sa.func.count()).where(CommitFileChange.repository_id == answer["id"])
        assert db.session.scalar(statement) == min(count, MAX_FILE_CHANGES + 1)


def test_after_a_commit_of_many_files_come_the_others(repository: GitRepository) -> None:
    many_files(repository, MAX_FILE_CHANGES + 500)
    for number in range(2):
        # As git would commit it, without so many files in a working tree.
        repository.fast_import(
            b"commit refs/heads/main\ncommitter A <a@b> 2 +0000\ndata 1\nx\nfrom refs/heads/main^0\n"
            b"M 100644 inline last\ndata 1\n%d\n" % number
        )
    counts = [len(commit.changes) for commit in mirror_of(repository, 2**30).log(repository.head())]
    assert counts == [MAX_FILE_CHANGES + 1, 1, 1]


@ON_SQLITE
@pytest.mark.parametrize("content", [b"ab\n" * (6 * 2**20), b"\n" * (17 * 2**20), b"a" * (17 * 2**20)])
def test_a_file_that_is_too_large_is_not_blamed(
    app: Flask, scm: Scm, ours: Tenant, repository: GitRepository, content: bytes
) -> None:
    repository.write("f", content)
    sha = repository.commit()
    set_mirror(app, ours.repository, repository.path / ".git")
    line = {"repository_id": ours.repository, "commit_sha": sha, "filepath": "f", "line_number": 1}
    error = scm.error(StatusCode.FAILED_PRECONDITION, "GetCommitContext", **line)
    assert error.message == f"f has {len(content)} bytes; lines of up to 16777216 are blamed"


@needs_linux
def test_a_file_that_was_large_is_blamed_within_the_memory(repository: GitRepository) -> None:
    repository.write("f", b"ab\n" * (40 * 2**20) + b"last\n")
    repository.commit()
    repository.write("f", b"ab\nlast\n")
    sha = repository.commit()
    with pytest.raises(GitOutOfMemory):
        mirror_of(repository).lines(sha, "f", [2])


# Who has written a line

SOMEBODY = "Somebody Else <else@example.com> <ann@example.com>\n"


def as_pushed(repository: GitRepository) -> Path:
    repository.write(".mailmap", SOMEBODY)
    repository.commit()
    return repository.path / ".git"


def as_bare(repository: GitRepository) -> Path:
    as_pushed(repository)
    repository.git("clone", "--quiet", "--bare", ".", "../bare.git")
    return repository.path.parent / "bare.git"


def as_file(repository: GitRepository) -> Path:
    (repository.path.parent / "map").write_text(SOMEBODY)
    repository.git("config", "mailmap.file", str(repository.path.parent / "map"))
    return repository.path / ".git"


def as_blob(repository: GitRepository) -> Path:
    as_pushed(repository)
    repository.git("config", "mailmap.blob", "HEAD:.mailmap")
    return repository.path / ".git"


def as_other_working_tree(repository: GitRepository) -> Path:
    other = repository.path.parent / "other"
    other.mkdir()
    (other / ".mailmap").write_text(SOMEBODY)
    repository.git("config", "core.worktree", str(other))
    return repository.path / ".git"


def as_parent_working_tree(repository: GitRepository) -> Path:
    (repository.path.parent / ".mailmap").write_text(SOMEBODY)
    repository.git("config", "core.worktree", str(repository.path.parent))
    return repository.path / ".git"


def as_link(repository: GitRepository) -> Path:
    (repository.path.parent / "map").write_text(SOMEBODY)
    (repository.path / ".mailmap").symlink_to("../map")
    repository.git("config", "log.mailmap", "true")
    return repository.path / ".git"


def as_linked_working_tree(repository: GitRepository) -> Path:
    as_pushed(repository)
    repository.git("worktree", "add", "--quiet", "../linked")
    return repository.path / ".git/worktrees/linked"


WAYS = [
    *(as_pushed, as_bare, as_file, as_blob, as_other_working_tree, as_parent_working_tree, as_link),
    as_linked_working_tree,
]


@pytest.mark.parametrize("way", WAYS)
def test_a_mailmap_gives_no_line_to_somebody_else(
    repository: GitRepository, way: Callable[[GitRepository], Path]
) -> None:
    repository.write("f", "one\ntwo\n")
    sha = repository.commit()
    repository.write("f", "one\n2\n")
    last = repository.commit(name="Bob", email="Bob@Example.com")
    git_dir = way(repository)
    lines = Mirror(str(git_dir), timeout=60).lines(last, "f", [1, 2]) or {}
    authors = [(line.blame.sha, line.blame.author_name, line.blame.author_email) for line in lines.values()]
    assert authors == [(sha, "Ann Author", "ann@example.com"), (last, "Bob", "bob@example.com")]
    assert Mirror(str(git_dir), timeout=60).commit(sha).author_name == "Ann Author"


# A user with no pages left for pipes: see pipe(7), /proc/sys/fs/pipe-user-pages-soft.
POOR = """
import fcntl, os, sys
sys.path.insert(0, sys.argv[1])
from flask_grpcweb_scm.scm.sources.git import run_git
os.setgid(65534)
os.setuid(65534)
pipes = []
try:
    for _ in range(10_000):
        pipes.append(os.pipe())
        fcntl.fcntl(pipes[-1][0], fcntl.F_SETPIPE_SZ, 2**20)
except PermissionError:
    print(b"".join(run_git(sys.argv[2], "version", deadline=None)).decode())
"""


@needs_linux
@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="another user is needed")
def test_a_user_without_pages_for_pipes_can_run_git(repository: GitRepository) -> None:
    for folder in (repository.path / ".git", *repository.path.parents):
        if folder.stat().st_uid == 0 and folder != Path("/") and folder.is_relative_to("/tmp"):
            folder.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-c", POOR, str(ROOT), str(repository.path / ".git")], capture_output=True, text=True
    )
    assert (done.stdout[:12], done.stderr) == ("git version ", "")
