"""GetCommitContext: what is in a file, who is named, and git that does not answer."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_grpcweb_scm import RpcError, StatusCode
from flask_grpcweb_scm.scm import Commit, CommitAuthor, CommitFileChange, Organization, Repository, db
from flask_grpcweb_scm.scm.git_import import prepare_import
from flask_grpcweb_scm.scm.sources.mirror import Mirror
from tests.combinations import ON_SQLITE
from tests.scm.support import GitRepository, Scm, Tenant, numbered, set_mirror


def ask(scm: Scm, repository: int, history: GitRepository, path: str, line: int, revision: str = "main") -> Any:
    sha = history.git("rev-parse", revision)
    return scm("GetCommitContext", repository_id=repository, commit_sha=sha, filepath=path, line_number=line)


@pytest.mark.parametrize(
    ("line", "lines"),
    [(1, range(1, 5)), (2, range(1, 6)), (4, range(1, 8)), (5, range(2, 8)), (6, range(3, 8)), (7, range(4, 8))],
)
def test_the_snippet_is_the_line_with_three_around_it(
    scm: Scm, mirrored: int, history: GitRepository, line: int, lines: range
) -> None:
    answer = ask(scm, mirrored, history, "docs/naïve file.txt", line)
    assert answer.code_snippet.split("\n") == [f"text {number}" for number in lines]


def test_a_short_sha_will_do(scm: Scm, mirrored: int, history: GitRepository) -> None:
    sha = history.git("rev-parse", "main")
    answer = scm("GetCommitContext", repository_id=mirrored, commit_sha=sha[:9], filepath="README", line_number=1)
    assert answer.commit_id == sha


def test_the_author_is_as_the_commit_has_it_with_what_is_stored_of_that_name_and_address(
    app: Flask, scm: Scm, ours: Tenant, mirrored: int, history: GitRepository
) -> None:
    with app.app_context():
        for name in ("Robert", "Bob"):
            known = CommitAuthor(
                organization_id=ours.organization, name=name, email="bob@example.com", external_id=f"github:{name}"
            )
            db.session.add(known)
        db.session.commit()
    answer = ask(scm, mirrored, history, "src/app.py", 10)
    assert answer.blame_author.name == "Bob"
    assert answer.blame_author.external_id == "github:Bob"
    with app.app_context():
        other = CommitAuthor(organization_id=ours.organization, name="As stored", email="x@example.com")
        db.session.add(Commit(repository_id=mirrored, key=answer.blame_commit_id, author=other))
        db.session.commit()
    answer = ask(scm, mirrored, history, "src/app.py", 10)
    assert answer.blame_author.name == "As stored"
    with app.app_context():
        db.session.scalars(
            sa.select(CommitAuthor).where(CommitAuthor.name == "As stored")
        ).one().email = "bob@example.com"
        db.session.commit()
    answer = ask(scm, mirrored, history, "src/app.py", 10)
    assert answer.blame_author.name == "Bob"


@ON_SQLITE
@pytest.mark.parametrize(
    ("path", "line", "message"),
    [
        ("README", 23, "README has no line 23 at commit"),
        ("README", 2**31 - 1, "README has no line 2147483647 at commit"),
        ("docs/naïve file.txt", 8, "has no line 8"),
        ("absent.py", 1, "file absent.py does not exist at commit"),
        ("side.txt", 1, "file side.txt does not exist at commit"),
        ("src", 1, "file src does not exist at commit"),
        ("src/*.py", 1, "does not exist"),
        (":(top)README", 1, "does not exist"),
        ("readme", 1, "does not exist"),
        ("--help", 1, "does not exist"),
    ],
)
def test_an_unknown_file_or_line_is_not_found(
    scm: Scm, mirrored: int, history: GitRepository, path: str, line: int, message: str
) -> None:
    error = scm.error(
        StatusCode.NOT_FOUND, "GetCommitContext",
        repository_id=mirrored, commit_sha=history.git("rev-parse", "main"), filepath=path, line_number=line,
    )  # fmt: skip
    assert message in error.message


@ON_SQLITE
@pytest.mark.parametrize(
    ("path", "line", "field"),
    [
        ("", 1, "filepath"),
        ("/etc/passwd", 1, "filepath"),
        ("../x", 1, "filepath"),
        ("a/../../x", 1, "filepath"),
        ("./README", 1, "filepath"),
        ("src//app.py", 1, "filepath"),
        ("src/", 1, "filepath"),
        ("RE\0ADME", 1, "filepath"),
        ("x" * 4097, 1, "filepath"),
        ("README", 0, "line_number"),
        ("README", -1, "line_number"),
        ("README", -(2**31), "line_number"),
    ],
)
def test_a_malformed_path_or_line_is_an_invalid_argument(
    scm: Scm, mirrored: int, history: GitRepository, path: str, line: int, field: str
) -> None:
    error = scm.error(
        StatusCode.INVALID_ARGUMENT, "GetCommitContext",
        repository_id=mirrored, commit_sha=history.git("rev-parse", "main"), filepath=path, line_number=line,
    )  # fmt: skip
    assert [violation.field for violation in error.details[0].field_violations] == [field]
    assert len(error.message) < 300


def test_everything_wrong_is_said_at_once(scm: Scm, mirrored: int) -> None:
    error = scm.error(StatusCode.INVALID_ARGUMENT, "GetCommitContext", repository_id=mirrored, commit_sha="HEAD")
    fields = [violation.field for violation in error.details[0].field_violations]
    assert fields == ["commit_sha", "filepath", "line_number"]


@ON_SQLITE
@pytest.mark.needs("time")
def test_contents_of_any_kind_can_be_blamed(app: Flask, scm: Scm, ours: Tenant, tmp_path: Path) -> None:
    repository = GitRepository(tmp_path / "git")
    repository.write("latin1.txt", "Größe\n".encode("latin-1"))
    repository.write("binary", b"\0\1\2\n\xff\xfe\n")
    repository.write("one long line.js", "x" * 5_000_000)
    repository.write("no end of line", "a\nb")
    repository.write("crlf", "a\r\nb\r\n")
    repository.write("empty", "")
    repository.write("deep", numbered(1, 300_000))
    sha = repository.commit("first")
    set_mirror(app, ours.repository, repository.path / ".git")

    def snippet(path: str, line: int) -> str:
        answer = ask(scm, ours.repository, repository, path, line)
        assert answer.blame_commit_id == sha
        text: str = answer.code_snippet
        return text

    assert snippet("latin1.txt", 1) == "Gr\ufffd\ufffde"
    assert snippet("binary", 2) == "\0\1\2\n\ufffd\ufffd"
    assert snippet("one long line.js", 1) == "x" * 2048
    assert snippet("no end of line", 2) == "a\nb"
    assert snippet("crlf", 2) == "a\r\nb\r"
    assert snippet("deep", 299_998).split("\n") == [f"line {number}" for number in range(299_995, 300_000)]
    for path, line in [("empty", 1), ("no end of line", 3), ("crlf", 3), ("deep", 300_000)]:
        scm.error(
            StatusCode.NOT_FOUND, "GetCommitContext",
            repository_id=ours.repository, commit_sha=sha, filepath=path, line_number=line,
        )  # fmt: skip


def test_of_commits_in_the_same_second_the_one_asked_about_answers(app: Flask, scm: Scm, ours: Tenant) -> None:
    date = datetime(2026, 1, 1, tzinfo=timezone.utc)
    with app.app_context():
        for key in ("a" * 40, "b" * 40):
            commit = Commit(repository_id=ours.repository, key=key, date_added=date)
            db.session.add_all([commit, CommitFileChange(commit=commit, filename="x", type="M")])
        db.session.commit()
    for key in ("a" * 40, "b" * 40):
        answer = scm("GetCommitContext", repository_id=ours.repository, commit_sha=key, filepath="x", line_number=1)
        assert answer.blame_commit_id == key
        assert not answer.HasField("blame_author")


def test_what_was_asked_before_starts_no_git(
    scm: Scm, mirrored: int, history: GitRepository, runs_of_git: Callable[[], int]
) -> None:
    first = ask(scm, mirrored, history, "README", 3)
    # The fixture keeps what git has said to us, also to another test.
    history.git("rev-parse", "main~1")
    runs_of_git()
    assert ask(scm, mirrored, history, "README", 3) == first
    assert runs_of_git() == 0
    # Of another file of the commit, or another commit with the file, git is asked for the blame alone.
    ask(scm, mirrored, history, "src/app.py", 3)
    assert runs_of_git() == 1
    ask(scm, mirrored, history, "README", 3, "main~1")
    assert runs_of_git() == 1


def make_anew(repository: GitRepository) -> None:
    """With the same file, but not the same commit."""
    shutil.rmtree(repository.path)
    GitRepository(repository.path)
    repository.write("x", "1\n")
    repository.commit("another")


def forget(repository: GitRepository, command: str) -> None:
    """Let git remove the commit that it is at."""
    repository.git("reset", "--quiet", "--soft", "main~1")
    repository.commit("another")
    repository.git("reflog", "expire", "--expire=now", "--all")
    repository.git(*command.split())


GONE = "the git mirror of the repository is gone; import it again"
NO_COMMIT = "commit {sha} does not exist in repository"


@pytest.mark.parametrize(
    ("packed", "change", "message"),
    [
        (False, lambda git: shutil.rmtree(git.path), GONE),
        (False, make_anew, NO_COMMIT),
        (False, lambda git: forget(git, "prune --expire=now"), NO_COMMIT),
        (False, lambda git: forget(git, "gc --quiet --prune=now"), NO_COMMIT),
        (True, make_anew, NO_COMMIT),
        (True, lambda git: forget(git, "repack -a -d -q"), NO_COMMIT),
        (True, lambda git: forget(git, "gc --quiet --prune=now"), NO_COMMIT),
    ],
    ids=["gone", "made anew", "pruned", "collected", "packed, made anew", "packed, repacked", "packed, collected"],
)
def test_what_a_mirror_no_longer_has_is_not_answered_from_memory(
    app: Flask,
    scm: Scm,
    ours: Tenant,
    tmp_path: Path,
    packed: bool,
    change: Callable[[GitRepository], object],
    message: str,
) -> None:
    repository = GitRepository(tmp_path / "git")
    repository.commit("first")
    repository.write("x", "1\n")
    sha = repository.commit("second")
    if packed:
        repository.git("gc", "--quiet")
    set_mirror(app, ours.repository, repository.path / ".git")
    asked = {"repository_id": ours.repository, "commit_sha": sha, "filepath": "x", "line_number": 1}
    assert scm("GetCommitContext", **asked).blame_commit_id == sha
    change(repository)
    with pytest.raises(RpcError, match=message.format(sha=sha)):
        scm("GetCommitContext", **asked)


def test_a_repository_with_another_mirror_has_what_that_has(
    app: Flask, scm: Scm, mirrored: int, tmp_path: Path, history: GitRepository
) -> None:
    ask(scm, mirrored, history, "README", 1)
    set_mirror(app, mirrored, GitRepository(tmp_path / "git").path / ".git")
    with pytest.raises(RpcError, match="does not exist in repository"):
        ask(scm, mirrored, history, "README", 1)


def test_a_commit_that_was_not_there_is_found_once_it_is(
    app: Flask, scm: Scm, ours: Tenant, tmp_path: Path, history: GitRepository
) -> None:
    mirror = GitRepository(tmp_path / "git")
    set_mirror(app, ours.repository, mirror.path / ".git")
    for _ in range(2):
        with pytest.raises(RpcError, match="does not exist in repository"):
            ask(scm, ours.repository, history, "README", 1)
    mirror.git("fetch", "--quiet", str(history.path), "main")
    assert ask(scm, ours.repository, history, "README", 1).blame_author.name == "Ann Author"


@pytest.mark.parametrize("kind", ["linked working tree", "clone that shares objects"])
def test_objects_that_are_stored_elsewhere_are_looked_for_every_time(
    app: Flask, scm: Scm, ours: Tenant, tmp_path: Path, kind: str
) -> None:
    repository = GitRepository(tmp_path / "git")
    repository.write("x", "1\n")
    sha = repository.commit("first")
    if kind == "linked working tree":
        repository.git("worktree", "add", "--quiet", str(tmp_path / "linked"))
        git_dir = repository.path / ".git/worktrees/linked"
    else:
        repository.git("clone", "--quiet", "--bare", "--shared", ".", str(tmp_path / "clone"))
        git_dir = tmp_path / "clone"
    set_mirror(app, ours.repository, git_dir)
    asked = {"repository_id": ours.repository, "commit_sha": sha, "filepath": "x", "line_number": 1}
    assert scm("GetCommitContext", **asked).blame_commit_id == sha
    (repository.path / ".git/objects" / sha[:2] / sha[2:]).unlink()
    with pytest.raises(RpcError, match="mirror of the repository is damaged"):
        scm("GetCommitContext", **asked)


def test_git_is_killed_at_the_deadline(app: Flask, scm: Scm, ours: Tenant, stuck: Path) -> None:
    set_mirror(app, ours.repository, stuck)
    error = scm.error(
        StatusCode.DEADLINE_EXCEEDED, "GetCommitContext", timeout=0.5,
        repository_id=ours.repository, commit_sha="a" * 40, filepath="x", line_number=1,
    )  # fmt: skip
    assert error.message == "git cat-file did not end in time"


def test_lines_that_do_not_exist_take_no_memory(app: Flask, scm: Scm, mirrored: int, history: GitRepository) -> None:
    line = {"repository_id": mirrored, "commit_sha": history.head(), "filepath": "README"}
    for number in (10_000, 2**31 - 1):
        scm.error(StatusCode.NOT_FOUND, "GetCommitContext", **line, line_number=number)
    assert app.extensions["grpcweb_scm.lines"].bytes == 0
    scm("GetCommitContext", **line, line_number=1)
    assert app.extensions["grpcweb_scm.lines"].bytes > 700


# What is said about a blame


def test_a_context_has_the_commit_date_and_is_exact(scm: Scm, mirrored: int, history: GitRepository) -> None:
    answer = ask(scm, mirrored, history, "src/app.py", 10)
    assert answer.blame_date.seconds == int(history.git("show", "-s", "--format=%ct", answer.blame_commit_id))
    assert (answer.approximate, answer.approximate_reason) == (False, "")


@pytest.mark.parametrize("has_mirror", [False, True])
def test_what_stored_commits_say_is_approximate(
    app: Flask, scm: Scm, ours: Tenant, history: GitRepository, has_mirror: bool
) -> None:
    date = datetime(2026, 1, 1, tzinfo=timezone.utc)
    with app.app_context():
        commit = Commit(repository_id=ours.repository, key="a" * 40, date_added=date)
        db.session.add_all([commit, CommitFileChange(commit=commit, filename="README", type="M")])
        db.session.commit()
    if has_mirror:
        set_mirror(app, ours.repository, history.path / ".git")
    line = {"filepath": "README", "line_number": 1}
    answer = scm("GetCommitContext", repository_id=ours.repository, commit_sha="a" * 40, **line)
    assert (answer.blame_commit_id, answer.blame_date.ToDatetime(timezone.utc)) == ("a" * 40, date)
    reason = (
        f"the source of repository {ours.repository} does not have commit {'a' * 40}"
        if has_mirror
        else f"repository {ours.repository} has no source to read"
    )
    assert answer.approximate_reason.startswith(f"{reason}: this is the last of its stored commits")
    assert answer.approximate


def make_reformatted(app: Flask, ours: Tenant, path: Path) -> tuple[GitRepository, str, str]:
    repository = GitRepository(path)
    repository.write("f", "one\n    two\n")
    written = repository.commit("written", name="Wanda", email="wanda@example.com")
    repository.write("f", "one\n\ttwo\n")
    reformatted = repository.commit("reformatted", name="Rita", email="rita@example.com")
    set_mirror(app, ours.repository, repository.path / ".git")
    return repository, written, reformatted


def test_what_is_looked_through_is_remembered_apart(
    app: Flask, scm: Scm, ours: Tenant, tmp_path: Path, runs_of_git: Callable[[], int]
) -> None:
    repository, written, reformatted = make_reformatted(app, ours, tmp_path / "git")
    line = {"repository_id": ours.repository, "commit_sha": reformatted, "filepath": "f", "line_number": 2}

    def blamed(**options: bool) -> str:
        (outcome,) = scm(
            "BatchGetCommitContext", repository_id=ours.repository, blame_options=options,
            lines=[{name: value for name, value in line.items() if name != "repository_id"}],
        ).outcomes  # fmt: skip
        context = scm("GetCommitContext", **line, blame_options=options)
        assert outcome.context == context
        sha: str = context.blame_commit_id
        return sha

    def ask_all() -> list[str]:
        return [blamed(), blamed(ignore_whitespace=True), blamed(include_ignored_revisions=True)]

    runs_of_git()
    assert ask_all() == [reformatted, written, reformatted]
    # One for the tip and its file of ignored revisions, and one for each other way to look.
    assert runs_of_git() == 1 + 2
    assert ask_all() == [reformatted, written, reformatted]
    assert runs_of_git() == 0
    repository.write(".git-blame-ignore-revs", f"{reformatted}\n")
    repository.commit("ignore")
    runs_of_git()
    assert ask_all() == [written, written, reformatted]
    assert runs_of_git() == 1 + 2
    # A commit that changes nothing about the file of ignored revisions leaves what is remembered.
    repository.commit("another")
    runs_of_git()
    assert ask_all() == [written, written, reformatted]
    assert runs_of_git() == 1
    repository.git("rm", "-q", ".git-blame-ignore-revs")
    repository.commit("ignore nothing")
    assert ask_all() == [reformatted, written, reformatted]


def test_of_a_file_of_ignored_revisions_that_is_too_large_it_says_so(
    app: Flask, scm: Scm, ours: Tenant, tmp_path: Path
) -> None:
    repository, written, reformatted = make_reformatted(app, ours, tmp_path / "git")
    repository.write(".git-blame-ignore-revs", f"{reformatted}\n" + "# a comment\n" * 200_000)
    repository.commit("ignore")
    answer = ask(scm, ours.repository, repository, "f", 2)
    assert answer.blame_commit_id == written
    assert answer.approximate
    assert answer.approximate_reason == "of .git-blame-ignore-revs, only the beginning could be read"


def test_a_shallow_clone_that_is_deepened_is_exact(app: Flask, scm: Scm, ours: Tenant, tmp_path: Path) -> None:
    repository, written, reformatted = make_reformatted(app, ours, tmp_path / "git")
    repository.git("clone", "-q", "--depth=1", f"file://{repository.path}", str(tmp_path / "clone"))
    set_mirror(app, ours.repository, tmp_path / "clone/.git")
    for _ in range(2):
        answer = ask(scm, ours.repository, repository, "f", 1)
        assert (answer.blame_commit_id, answer.approximate) == (reformatted, True)
        assert answer.approximate_reason == "the history of the mirror ends at this commit: it is a shallow clone"
    repository.git("-C", str(tmp_path / "clone"), "fetch", "-q", "--unshallow")
    answer = ask(scm, ours.repository, repository, "f", 1)
    assert (answer.blame_commit_id, answer.approximate) == (written, False)


@ON_SQLITE
@pytest.mark.parametrize("is_bare", [False, True])
@pytest.mark.parametrize("is_stored", [False, True])
def test_a_mailmap_counts_neither_before_nor_after_a_commit_is_stored(
    app: Flask, scm: Scm, ours: Tenant, tmp_path: Path, is_bare: bool, is_stored: bool
) -> None:
    repository, _, reformatted = make_reformatted(app, ours, tmp_path / "git")
    repository.write(".mailmap", "Somebody Else <else@example.com> <rita@example.com>\n")
    sha = repository.commit("a map")
    git_dir = repository.path / ".git"
    if is_bare:
        git_dir = tmp_path / "bare"
        repository.git("clone", "-q", "--bare", ".", str(git_dir))
    for key, value in {
        "log.mailmap": "true", "mailmap.blob": "HEAD:.mailmap", "mailmap.file": str(repository.path / ".mailmap")
    }.items():  # fmt: skip
        repository.git(f"--git-dir={git_dir}", "config", key, value)
    set_mirror(app, ours.repository, git_dir)
    if is_stored:
        with app.app_context():
            organization = db.session.get_one(Organization, ours.organization)
            list(prepare_import(organization, Mirror.find(git_dir), "imported").run())
            ours_row = db.session.scalars(sa.select(Repository.id).where(Repository.name == "imported")).one()
    else:
        ours_row = ours.repository
    context = scm("GetCommitContext", repository_id=ours_row, commit_sha=sha, filepath="f", line_number=2)
    commit = scm("GetCommit", repository_id=ours_row, commit_sha=reformatted)
    for author in (context.blame_author, commit.author):
        assert (author.name, author.email) == ("Rita", "rita@example.com")
