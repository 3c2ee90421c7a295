"""Reading repositories, also those that mean harm."""

from __future__ import annotations

import itertools
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from flask_grpcweb_scm.scm.sources.git import GitError, GitFailed
from flask_grpcweb_scm.scm.sources.mirror import Mirror, MirrorMissing
from tests.scm.support import GitRepository, numbered


class Trap:
    """A repository whose configuration runs a program, and whether it has run."""

    def __init__(self, folder: Path) -> None:
        self.repository = GitRepository(folder / "trap")
        self.repository.write("file.txt", "one\ntwo\n")
        self.repository.write(".gitattributes", "* diff=evil filter=evil\n")
        self.sha = self.repository.commit("first")
        self.marker = folder / "marker"
        self.program = folder / "program"
        self.program.write_text(f"#!/bin/sh\ntouch '{self.marker}'\nexit 1\n")
        self.program.chmod(0o755)

    def set(self, key: str, value: str) -> None:
        self.repository.git("config", key, value.replace("PROGRAM", str(self.program)))

    def sprung(self) -> bool:
        """Say whether the program has run since this was last asked."""
        found = self.marker.exists()
        self.marker.unlink(missing_ok=True)
        return found

    def plain_git(self, *arguments: str) -> None:
        """Do what the product does, without its precautions."""
        environment = {**os.environ, "GIT_CONFIG_NOSYSTEM": "1", "HOME": str(self.repository.path)}
        subprocess.run(
            ["git", *arguments], cwd=self.repository.path, env=environment, capture_output=True, timeout=30, check=False
        )

    def lose(self, name: str) -> None:
        """Remove an object, as if the repository were a partial clone."""
        sha = self.repository.git("rev-parse", name)
        (self.repository.path / ".git/objects" / sha[:2] / sha[2:]).unlink()


@pytest.fixture
def trap(tmp_path: Path) -> Trap:
    return Trap(tmp_path)


def read_everything(mirror: Mirror, sha: str) -> None:
    """Every question a mirror answers; that it fails on a damaged repository does not matter here."""
    questions: list[Callable[[], object]] = [
        lambda: mirror.branch(),
        lambda: mirror.branch("main"),
        lambda: list(mirror.files(mirror.tree("main")[1] or "")),
        lambda: mirror.tree(),
        lambda: mirror.remote_url(),
        lambda: mirror.has_commit(sha),
        lambda: mirror.commits_starting_with(sha[:7]),
        lambda: mirror.count(sha),
        lambda: list(mirror.log(sha)),
        lambda: mirror.commit(sha),
        lambda: mirror.blame(sha, "file.txt", [1]),
        lambda: mirror.lines(sha, "file.txt", [1]),
    ]
    for question in questions:
        try:
            question()
        except (GitFailed, ValueError, StopIteration):
            continue


def signed(trap: Trap) -> None:
    """A commit with a signature, which `log.showSignature` has gpg check."""
    body = trap.repository.git("cat-file", "commit", trap.sha)
    headers, _, message = body.partition("\n\n")
    signature = "gpgsig -----BEGIN PGP SIGNATURE-----\n \n x\n -----END PGP SIGNATURE-----"
    raw = f"{headers}\n{signature}\n\n{message}\n".encode()
    trap.sha = trap.repository.git("hash-object", "-w", "-t", "commit", "--stdin", stdin=raw)
    trap.repository.git("update-ref", "refs/heads/main", trap.sha)


TRAPS: dict[str, tuple[dict[str, str], Callable[[Trap], None], list[str]]] = {
    # name: (configuration, preparation, the plain command that falls into it)
    "textconv": ({"diff.evil.textconv": "PROGRAM"}, lambda trap: None, ["blame", "HEAD", "--", "file.txt"]),
    "clean filter": (
        {"filter.evil.clean": "PROGRAM"},
        lambda trap: trap.repository.write("file.txt", "changed\n"),
        ["blame", "file.txt"],
    ),
    "fsmonitor": ({"core.fsmonitor": "PROGRAM"}, lambda trap: None, ["status"]),
    "external diff": ({"diff.external": "PROGRAM"}, lambda trap: None, ["log", "-p", "--ext-diff"]),
    "signature": ({"log.showSignature": "true", "gpg.program": "PROGRAM"}, signed, ["log", "--raw"]),
    "partial clone": (
        {
            "core.repositoryFormatVersion": "1",
            "extensions.partialClone": "origin",
            "remote.origin.promisor": "true",
            "remote.origin.url": "ext::PROGRAM",
            "protocol.ext.allow": "always",
        },
        lambda trap: trap.lose("HEAD:file.txt"),
        ["cat-file", "blob", "HEAD:file.txt"],
    ),
    "partial clone by a file": (
        {
            "core.repositoryFormatVersion": "1",
            "extensions.partialClone": "origin",
            "remote.origin.promisor": "true",
            "remote.origin.url": ".",
            "remote.origin.uploadpack": "PROGRAM",
            "protocol.file.allow": "always",
        },
        lambda trap: trap.lose("HEAD:file.txt"),
        ["cat-file", "blob", "HEAD:file.txt"],
    ),
}


@pytest.mark.parametrize(("configuration", "prepare", "command"), TRAPS.values(), ids=TRAPS)
def test_a_hostile_repository_runs_and_writes_nothing(
    trap: Trap, configuration: dict[str, str], prepare: Callable[[Trap], None], command: list[str]
) -> None:
    prepare(trap)
    for key, value in configuration.items():
        trap.set(key, value)
    trap.plain_git(*command)
    assert trap.sprung(), "this git does not fall into the trap, so the test proves nothing"
    before = sorted(trap.repository.path.parent.rglob("*"))
    read_everything(Mirror(str(trap.repository.path / ".git"), timeout=30), trap.sha)
    assert not trap.sprung()
    assert sorted(trap.repository.path.parent.rglob("*")) == before


@pytest.mark.parametrize("bad", ["--output=written", "HEAD", "main", "", "-", "a" * 39, "A" * 40, "a" * 40 + "\n"])
def test_only_a_full_object_id_becomes_an_argument(trap: Trap, bad: str) -> None:
    mirror = Mirror(str(trap.repository.path / ".git"), timeout=30)
    before = sorted(trap.repository.path.parent.rglob("*"))
    for question in (
        lambda: mirror.has_commit(bad),
        lambda: mirror.count(bad),
        lambda: mirror.count(trap.sha, since=bad),
        lambda: list(mirror.log(bad)),
        lambda: mirror.commit(bad),
        lambda: mirror.find_file(bad, "file.txt"),
        lambda: list(mirror.files(bad)),
        lambda: mirror.snippets(bad, [1]),
        lambda: mirror.blame(bad, "file.txt", [1]),
    ):
        with pytest.raises(ValueError, match="is not a full object id"):
            question()
    with pytest.raises(ValueError, match="is not 7 to 64"):
        mirror.commits_starting_with("--output")
    assert sorted(trap.repository.path.parent.rglob("*")) == before


@pytest.mark.parametrize("path", ["--output=written", "--contents=/etc/passwd", ":(exclude)x", "*.txt", "-p"])
def test_a_path_is_a_path_and_no_option_or_pattern(trap: Trap, path: str) -> None:
    mirror = Mirror(str(trap.repository.path / ".git"), timeout=30)
    assert mirror.find_file(trap.sha, path) is None
    trap.repository.write(path.replace("/", "_"), "found\n")
    sha = trap.repository.commit("odd name")
    named = path.replace("/", "_")
    assert mirror.find_file(sha, named) is not None
    assert mirror.blame(sha, named, [1])[1].sha == sha


def test_settings_of_the_repository_do_not_change_answers(history: GitRepository, tmp_path: Path) -> None:
    copy = GitRepository(tmp_path / "copy")
    copy.git("pull", "--quiet", str(history.path), "main")
    copy.write("src/app.py", numbered(1, 10, "def") + "changed again\n" + numbered(12, 35, "def"))
    sha = copy.commit("a revision to ignore")
    mirror = Mirror(str(copy.path / ".git"), timeout=None)
    log, blame = list(mirror.log(sha)), mirror.blame(sha, "src/app.py", [10])
    copy.write(".git-blame-ignore-revs", f"{blame[10].sha}\n")
    for key, value in {
        "blame.ignoreRevsFile": ".git-blame-ignore-revs",
        "blame.blankBoundary": "true",
        "color.ui": "always",
        "core.abbrev": "4",
        "core.excludesFile": "~/ignore",  # without a home, git would give up on it
        "core.quotePath": "true",
        "diff.noPrefix": "true",
        "diff.renames": "copies",
        "format.pretty": "oneline",
        "i18n.logOutputEncoding": "latin1",
        "log.date": "relative",
        "log.decorate": "full",
        "log.follow": "true",
        "log.showRoot": "false",
    }.items():
        copy.git("config", key, value)
    assert copy.git("blame", "--porcelain", "-L10,10", sha, "--", "src/app.py").split(" ")[0] != blame[10].sha
    copy.git("config", "diff.orderFile", "absent")
    assert list(mirror.log(sha)) == log
    assert mirror.blame(sha, "src/app.py", [10]) == blame


def test_the_tree_of_a_branch(history: GitRepository, tmp_path: Path) -> None:
    mirror = Mirror(str(history.path / ".git"), timeout=None)
    main, side = (history.git("rev-parse", f"{name}^{{tree}}") for name in ("main", "side"))
    assert mirror.tree() == mirror.tree("main") == ("main", main)
    assert mirror.tree("side") == ("side", side)
    for absent in ("absent", "mai", "main/x", "m*", "--output=x", "HEAD", "v1"):
        with pytest.raises(GitError, match="has no branch"):
            mirror.tree(absent)
    clone = GitRepository(tmp_path / "clone")
    assert Mirror(str(clone.path / ".git"), timeout=None).tree() == ("main", None)
    clone.git("fetch", "--quiet", str(history.path), "+refs/heads/*:refs/remotes/origin/*")
    assert Mirror(str(clone.path / ".git"), timeout=None).tree("side") == ("side", side)
    clone.git("checkout", "--quiet", "--detach", "refs/remotes/origin/main")
    assert Mirror(str(clone.path / ".git"), timeout=None).tree() == ("", main)


def test_the_files_of_a_tree(history: GitRepository) -> None:
    mirror = Mirror(str(history.path / ".git"), timeout=None)
    expected = history.git("ls-tree", "-r", "-z", "--name-only", "main").removesuffix("\0").split("\0")
    assert list(mirror.files(mirror.tree("main")[1] or "")) == expected


def test_output_that_should_be_short_is_bounded(tmp_path: Path) -> None:
    repository = GitRepository(tmp_path / "git")
    repository.git("config", "remote.origin.url", "x")
    with (repository.path / ".git/config").open("a") as config:
        config.write('[remote "origin"]\n\turl = ' + "x" * 2_000_000 + "\n")
    with pytest.raises(GitFailed) as caught:
        Mirror(str(repository.path / ".git"), timeout=30)._text("config", "--get", "remote.origin.url")
    assert "more than 1048576 bytes" in caught.value.errors


def test_a_repository_is_found_from_its_working_tree_bare_and_linked(history: GitRepository, tmp_path: Path) -> None:
    history.git("worktree", "add", "--quiet", "--detach", str(tmp_path / "linked"), "side")
    try:
        subprocess.run(["git", "clone", "--quiet", "--bare", history.path, tmp_path / "bare.git"], check=True)
        head = history.head()
        assert Mirror.find(history.path).branch() == ("main", head)
        assert Mirror.find(tmp_path / "bare.git").branch() == ("main", head)
        assert Mirror.find(tmp_path / "linked").branch() == ("", history.git("rev-parse", "side"))
        assert Mirror.find(os.path.relpath(history.path)).git_dir == str(history.path / ".git")
    finally:
        history.git("worktree", "remove", str(tmp_path / "linked"))


@pytest.mark.parametrize("name", ["absent", "file", "empty"])
def test_what_is_no_repository_is_said_to_be_none(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    with pytest.raises(MirrorMissing, match=f"{name} is not a git repository"):
        Mirror.find(tmp_path / name)


def test_parents_come_before_children(history: GitRepository) -> None:
    mirror = Mirror.find(history.path)
    order = [commit.sha for commit in mirror.log(history.head())]
    place = {sha: number for number, sha in enumerate(order)}
    for line in history.git("rev-list", "--parents", "HEAD").split("\n"):
        child, *parents = line.split(" ")
        assert all(place[parent] < place[child] for parent in parents)
    for middle in itertools.islice(order, 3, None, 3):
        rest = [commit.sha for commit in mirror.log(history.head(), since=middle)]
        assert rest == [sha for sha in order if sha in set(rest)]
        assert len(rest) == mirror.count(history.head(), since=middle)
        assert set(rest) == set(history.git("rev-list", "HEAD", f"^{middle}").split())
