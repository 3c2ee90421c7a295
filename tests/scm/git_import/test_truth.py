"""An import tells the truth: of what is left out, and of what is not there."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_grpcweb_scm.scm import Commit, CommitAuthor, CommitFileChange, Repository, db
from flask_grpcweb_scm.scm.sources.mirror import Mirror
from tests.scm.cli.test_rows import add, run
from tests.scm.git_import.test_git_import import as_git_log_says, stored
from tests.scm.support import GitRepository, Scm


@pytest.fixture
def demo(app: Flask) -> Flask:
    run(app, "add-organization", "demo")
    return app


@pytest.fixture
def five(tmp_path: Path) -> GitRepository:
    """Five commits, two of them on a branch that is merged, so that depths cut several lines."""
    repository = GitRepository(tmp_path / "five")
    for number in range(5):
        if number == 1:
            repository.git("checkout", "--quiet", "-b", "side")
        if number == 2:
            repository.git("checkout", "--quiet", "main")
        repository.write(f"file{number}", f"{number}\n")
        repository.commit(f"{number}")
    repository.merge("side")
    return repository


def clone(origin: GitRepository, path: Path, *options: str) -> GitRepository:
    command = ["git", "clone", "--quiet", *options, f"file://{origin.path}", path]
    subprocess.run(command, check=True, timeout=60, capture_output=True)
    return GitRepository(path)


def imported(app: Flask, repository: GitRepository, *options: str) -> int:
    return int(add(app, "import-git", "demo", str(repository.path), *options)["commits"])


def refusal(app: Flask, path: Path, *options: str) -> str:
    result = run(app, "import-git", "demo", str(path), *options)
    assert result.exit_code == 1
    assert "Traceback" not in result.output
    return result.stderr.splitlines()[-1].removeprefix("Error: ")


def test_what_a_shallow_clone_leaves_out_is_imported_once_it_is_there(
    demo: Flask, five: GitRepository, tmp_path: Path
) -> None:
    shallow = clone(five, tmp_path / "shallow", "--depth=2")
    first = imported(demo, shallow)
    assert 0 < first < 6
    assert imported(demo, shallow) == 0
    with demo.app_context():
        # All files are no changes of a commit whose parents are unknown.
        cut = (shallow.path / ".git/shallow").read_text().split()
        changed = sa.select(Commit.key).join(CommitFileChange, CommitFileChange.commit_id == Commit.id)
        assert [*db.session.scalars(changed.where(Commit.key.in_(cut)))] == []
    for step in (["--deepen=1"], ["--unshallow"]):
        shallow.git("fetch", "--quiet", *step)
        imported(demo, shallow)
    assert stored(demo) == as_git_log_says(five)
    assert imported(demo, shallow) == 0
    with demo.app_context():
        assert db.session.scalars(sa.select(Repository.imported_key)).one() == five.head()


def test_what_is_stored_of_a_whole_clone_stays_when_it_becomes_a_shallow_one(
    demo: Flask, five: GitRepository, tmp_path: Path
) -> None:
    imported(demo, clone(five, tmp_path / "whole"))
    with demo.app_context():
        db.session.execute(sa.update(Repository).values(imported_key=None))
        db.session.commit()
    before = stored(demo)
    assert imported(demo, clone(five, tmp_path / "shallow", "--depth=1")) == 0
    assert stored(demo) == before == as_git_log_says(five)


def test_a_commit_that_was_fetched_from_a_shallow_clone_gets_its_changes(
    demo: Flask, scm: Scm, five: GitRepository, tmp_path: Path
) -> None:
    shallow = clone(five, tmp_path / "shallow", "--depth=1")
    shallow.write("file4", "changed\n")
    shallow.commit("local")
    shallow.git("fetch", "--quiet", "--depth=1")
    row = add(demo, "add-repository", "demo", "shallow")["id"]
    with demo.app_context():
        db.session.get_one(Repository, row).mirror_path = str(shallow.path / ".git")
        db.session.commit()
    scm("GetCommit", repository_id=row, commit_sha=five.head())
    ((*_, changes),) = stored(demo).values()
    assert changes == []
    shallow.git("fetch", "--quiet", "--unshallow")
    imported(demo, shallow)
    assert stored(demo) == as_git_log_says(shallow)


def test_stored_commits_are_corrected_by_an_import(demo: Flask, five: GitRepository) -> None:
    imported(demo, five)
    before = stored(demo)
    with demo.app_context():
        wrong = CommitAuthor(organization_id=1, name="Old", email="ann@example.com")
        db.session.add(wrong)
        db.session.flush()
        db.session.execute(sa.update(Commit).values(author_id=wrong.id))
        db.session.execute(sa.text("DELETE FROM scm_commit_file_change WHERE filename = 'file3'"))
        db.session.execute(sa.update(Repository).values(imported_key=None))
        db.session.commit()
    result = run(demo, "import-git", "demo", str(five.path))
    assert result.stdout.startswith("imported 0 commits, and corrected 6 stored ones, into repository 'five' with id 1")
    assert stored(demo) == before
    with demo.app_context():
        names = sa.select(CommitAuthor.name).join(Commit, Commit.author_id == CommitAuthor.id)
        assert {*db.session.scalars(names)} == {"Ann Author"}


def test_head_at_a_branch_that_does_not_exist_names_those_that_do(
    demo: Flask, five: GitRepository, tmp_path: Path
) -> None:
    bare = clone(five, tmp_path / "five.git", "--mirror")
    (bare.path / ".git").rename(tmp_path / "unused")  # GitRepository has made it
    five.git("branch", "--move", "main", "trunk")
    bare.git("fetch", "--quiet", "--prune")
    text = refusal(demo, bare.path)
    assert text == "the branch 'main' that HEAD names does not exist; use --branch; there are 'side', 'trunk'"
    assert imported(demo, bare, "--branch", "trunk") == 6
    assert refusal(demo, bare.path, "--branch", "main").endswith("has no branch 'main'; there are 'side', 'trunk'")
    with demo.app_context():
        assert db.session.scalars(sa.select(Repository.default_branch)).one() == "trunk"
    bare.git("symbolic-ref", "HEAD", "refs/heads/side")
    assert imported(demo, bare) == 0


def test_the_branches_of_a_message_are_few_and_printable(demo: Flask, tmp_path: Path) -> None:
    repository = GitRepository(tmp_path / "many")
    repository.commit()
    for number in range(30):
        repository.git("branch", f"\u202e{number:02}")
    repository.git("symbolic-ref", "HEAD", "refs/heads/unborn")
    repository.git("branch", "--delete", "--force", "main")
    text = refusal(demo, repository.path)
    assert text.count("\\u202e") == 10
    assert text.endswith(", …")


def test_a_detached_head_a_working_tree_of_its_own_and_nothing_at_all(
    demo: Flask, five: GitRepository, tmp_path: Path
) -> None:
    five.git("worktree", "add", "--quiet", "--detach", str(tmp_path / "linked"), "HEAD~1")
    linked = add(demo, "import-git", "demo", str(tmp_path / "linked"), "--follow")
    assert (linked["name"], linked["commits"]) == ("linked", int(five.git("rev-list", "--count", "HEAD~1")))
    five.git("checkout", "--quiet", "--detach", "HEAD~1")
    assert imported(demo, five) == linked["commits"]
    assert imported(demo, GitRepository(tmp_path / "empty")) == 0


def test_object_ids_may_be_sha256(demo: Flask, tmp_path: Path) -> None:
    subprocess.run(["git", "init", "--quiet", "--object-format=sha256", tmp_path / "sha256"], check=True, timeout=60)
    repository = GitRepository(tmp_path / "sha256")
    repository.write("a", "1\n")
    sha = repository.commit("one")
    assert len(sha) == 64
    assert imported(demo, repository) == 1
    assert [*stored(demo)] == [sha]


def test_a_partial_clone_needs_no_mailmap(demo: Flask, five: GitRepository, tmp_path: Path) -> None:
    five.write(".mailmap", "Other Name <other@example.com> <ann@example.com>\n")
    five.commit("mailmap")
    five.git("config", "uploadpack.allowFilter", "true")
    for number, options in enumerate((["--bare"], ["--no-checkout"])):
        path = tmp_path / f"partial{number}"
        command = ["git", "clone", "--quiet", "--filter=blob:none", *options, f"file://{five.path}", path]
        subprocess.run(command, check=True, timeout=60)
        assert add(demo, "import-git", "demo", str(path))["commits"] == (0 if number else 7)
    assert stored(demo) == as_git_log_says(five)


def test_a_clone_without_trees_says_what_to_fetch(demo: Flask, five: GitRepository, tmp_path: Path) -> None:
    five.git("config", "uploadpack.allowFilter", "true")
    command = ["git", "clone", "--quiet", "--bare", "--filter=tree:0", f"file://{five.path}", tmp_path / "treeless"]
    subprocess.run(command, check=True, timeout=60)
    assert refusal(demo, tmp_path / "treeless").endswith("git fetch --refetch --filter=blob:none")


def test_names_that_cannot_be_stored_are_refused(demo: Flask, tmp_path: Path) -> None:
    repository = GitRepository(tmp_path / ("x" * 240))
    repository.commit()
    assert "use another --name" in refusal(demo, repository.path)
    assert imported(demo, repository, "--name", "x") == 1
    (repository.path / ".git/HEAD").write_bytes(b"ref: refs/heads/\xff\n")
    repository.git("branch", "--quiet", b"\xff".decode("utf-8", "surrogateescape"), "main")
    assert "use another --branch" in refusal(demo, repository.path, "--name", "x")
    broken = tmp_path / b"\xff".decode("utf-8", "surrogateescape")
    repository.path.rename(broken)
    assert "--branch" in refusal(demo, broken, "--name", "x")
    (broken / ".git/HEAD").write_text("ref: refs/heads/main\n")
    assert "the path '" in refusal(demo, broken, "--name", "x")


def test_grafts_are_no_history(demo: Flask, five: GitRepository) -> None:
    (five.path / ".git/info").mkdir(exist_ok=True)
    (five.path / ".git/info/grafts").write_text(f"{five.head()}\n")
    assert imported(demo, five) == 6


@pytest.mark.parametrize("bare", [True, False])
def test_a_folder_of_a_repository_names_its_top(demo: Flask, five: GitRepository, tmp_path: Path, bare: bool) -> None:
    top = five.path
    if bare:
        top = tmp_path / "five.git"
        subprocess.run(["git", "clone", "--quiet", "--bare", five.path, top], check=True, timeout=60)
    folder = top / "refs" if bare else top / "src/deep"
    folder.mkdir(parents=True, exist_ok=True)
    assert refusal(demo, folder) == f"{folder} is a folder of the git repository {top}; name that"


NAMES = [b"a\xff.py", b"d\xe9p/f\xfc.py", b"back\\xslash", b"both\\xff\xfe", b"\\xff/\xff", "naïve".encode()]


def test_a_file_can_be_asked_about_by_the_name_that_the_service_gave(
    app: Flask, scm: Scm, tmp_path: Path, demo: Flask
) -> None:
    repository = GitRepository(tmp_path / "names")
    stream = b"commit refs/heads/main\ncommitter A <a@b.example> 1600000000 +0000\ndata 2\nx\n"
    for number, name in enumerate(NAMES):
        quoted = b"".join(b"\\%03o" % byte for byte in name)
        stream += b'M 100644 inline "%s"\ndata 2\n%d\n\n' % (quoted, number)
    repository.fast_import(stream)
    row = add(app, "import-git", "demo", str(repository.path))["id"]
    ((sha, (*_, changes)),) = stored(app).items()
    mirror = Mirror.find(repository.path)
    given = sorted(mirror.files(mirror.tree()[1] or ""))
    assert given == sorted(path for path, _ in changes)
    for name in NAMES:
        path = name.decode("utf-8", "backslashreplace")
        fields = {"repository_id": row, "commit_sha": sha, "filepath": path, "line_number": 1}
        found = scm("GetCommitContext", **fields)
        assert (found.filename, found.code_snippet) == (path, str(NAMES.index(name)))
        assert found.blame_commit_id == sha
        with app.app_context():
            db.session.get_one(Repository, row).mirror_path = None
            db.session.commit()
        assert scm("GetCommitContext", **fields).blame_commit_id == sha
        with app.app_context():
            db.session.get_one(Repository, row).mirror_path = mirror.git_dir
            db.session.commit()


def test_two_people_with_one_address_are_two(demo: Flask, scm: Scm, tmp_path: Path) -> None:
    repository = GitRepository(tmp_path / "people")
    repository.write(".mailmap", "Mapped <team@example.com>\n")
    people = ["Ann", "Bob", "Ann Married"]
    shas = []
    for line, name in enumerate(people):
        repository.write("file", "".join(f"{number}\n" for number in range(line + 1)))
        shas.append(repository.commit(name, name=name, email="Team@Example.com"))
    row = None
    for is_stored in (False, True):
        if is_stored:
            imported(demo, repository)
        else:
            row = add(demo, "add-repository", "demo", "people")["id"]
            with demo.app_context():
                db.session.get_one(Repository, row).mirror_path = str(repository.path / ".git")
                db.session.commit()
        for line, (name, sha) in enumerate(zip(people, shas, strict=True), 1):
            context = scm("GetCommitContext", repository_id=row, commit_sha=shas[-1], filepath="file", line_number=line)
            assert (context.blame_commit_id, context.blame_author.email) == (sha, "team@example.com")
            assert context.blame_author.name == name
    for name, sha in zip(people, shas, strict=True):
        commit = scm("GetCommit", repository_id=row, commit_sha=sha)
        assert (commit.author.name, commit.author.email) == (name, "team@example.com")
