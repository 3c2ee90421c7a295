"""``flask scm import-git``: the imported history equals `git log`."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import Result
from flask import Flask

from flask_grpcweb_scm.scm import (
    Commit,
    CommitAuthor,
    CommitFileChange,
    Organization,
    Repository,
    db,
    git_import,
)
from flask_grpcweb_scm.scm.git_import import prepare_import
from flask_grpcweb_scm.scm.sources.git import GitError
from flask_grpcweb_scm.scm.sources.mirror import Mirror
from tests.combinations import ON_SQLITE
from tests.scm.cli.test_rows import add, run
from tests.scm.support import GitRepository


def scm_command(app: Flask, *arguments: str) -> Result:
    return app.test_cli_runner().invoke(args=["scm", *arguments])


@pytest.fixture
def imported(app: Flask) -> Flask:
    assert scm_command(app, "add-organization", "demo").exit_code == 0
    return app


def run_import(app: Flask, repository: GitRepository, *options: str) -> dict[str, Any]:
    result = scm_command(app, "import-git", "demo", str(repository.path), "--json", *options)
    assert result.exit_code == 0, result.output
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


def stored(app: Flask) -> dict[str, tuple[Any, ...]]:
    """SHA → author's e-mail, seconds, message, changes."""
    with app.app_context():
        rows = db.session.execute(sa.select(Commit, CommitAuthor).outerjoin(Commit.author)).all()
        return {
            commit.key: (
                author.email,
                int(commit.date_added.timestamp()),
                commit.message.strip(),
                sorted((change.filename, change.type) for change in changes_of(commit)),
            )
            for commit, author in rows
        }


def changes_of(commit: Commit) -> Iterator[CommitFileChange]:
    yield from db.session.scalars(sa.select(CommitFileChange).where(CommitFileChange.commit_id == commit.id))


def as_git_log_says(repository: GitRepository) -> dict[str, tuple[Any, ...]]:
    log = {}
    # Of merges, git shows no changes here.
    text = repository.git("log", "-z", "--no-renames", "--name-status", "--format=%x02%H%x00%ae%x00%ct%x00%B%x01")
    for record in text.split("\x02")[1:]:
        facts, _, names = record.partition("\x01")
        sha, email, seconds, message = facts.split("\0")
        parts = names.removeprefix("\0").removeprefix("\n").split("\0")[:-1]
        changes = sorted((name, kind.replace("T", "M")) for kind, name in zip(parts[::2], parts[1::2], strict=True))
        log[sha] = (email.lower(), int(seconds), message.strip(), changes)
    return log


def test_count_authors_dates_messages_and_changes_equal_git_log(imported: Flask, history: GitRepository) -> None:
    answer = run_import(imported, history)
    expected = as_git_log_says(history)
    assert answer["commits"] == len(expected)
    assert stored(imported) == expected


def test_a_second_run_imports_only_new_commits(imported: Flask, tmp_path: Path) -> None:
    repository = GitRepository(tmp_path / "growing")
    repository.write("a", "1\n")
    repository.commit("one")
    first = run_import(imported, repository)
    assert run_import(imported, repository) == {**first, "commits": 0, "seconds": pytest.approx(0, abs=5)}
    repository.write("a", "2\n")
    repository.commit("two")
    assert run_import(imported, repository)["commits"] == 1
    assert stored(imported) == as_git_log_says(repository)


def test_progress_is_told_apart_from_the_answer(imported: Flask, history: GitRepository) -> None:
    result = scm_command(imported, "import-git", "demo", str(history.path), "--json")
    assert set(json.loads(result.stdout)) == {"id", "name", "commits", "seconds"}
    assert result.stderr == "importing history\n"


def test_a_rewritten_history_is_imported_beside_the_old_one(imported: Flask, tmp_path: Path) -> None:
    repository = GitRepository(tmp_path / "rewritten")
    repository.write("a", "1\n")
    repository.commit("one")
    run_import(imported, repository)
    repository.git("commit", "--quiet", "--amend", "--message=other")
    repository.git("reflog", "expire", "--expire=now", "--all")
    repository.git("gc", "--quiet", "--prune=now")
    assert run_import(imported, repository)["commits"] == 1
    assert as_git_log_says(repository).items() <= stored(imported).items()
    assert len(stored(imported)) == 2


def test_the_repository_gets_its_name_branch_and_a_url_without_credentials(imported: Flask, tmp_path: Path) -> None:
    repository = GitRepository(tmp_path / "named")
    repository.write("a", "1\n")
    repository.commit("one")
    repository.git("remote", "add", "origin", "https://user:secret@github.com/acme/named.git")
    run_import(imported, repository)
    with imported.app_context():
        row = db.session.scalars(sa.select(Repository)).one()
        assert (row.name, row.default_branch) == ("named", "main")
        assert row.url.startswith("https://github.com/acme/named")
        assert "secret" not in row.url
        assert row.mirror_path == str(repository.path / ".git")


def test_a_branch_and_a_name_can_be_chosen(imported: Flask, history: GitRepository) -> None:
    answer = run_import(imported, history, "--branch", "side", "--name", "the side")
    assert answer["name"] == "the side"
    assert answer["commits"] == 2


def test_an_empty_repository_has_no_commits(imported: Flask, tmp_path: Path) -> None:
    assert run_import(imported, GitRepository(tmp_path / "empty"))["commits"] == 0


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["import-git", "nobody", "."], "nobody"),
        (["import-git", "demo", "/nonexistent"], "/nonexistent"),
        (["import-git", "demo", "{tmp}"], "is not a git repository"),
        (["import-git", "demo", "{history}", "--branch", "nowhere"], "nowhere"),
        (["import-git", "demo", "{history}", "--branch", "--output=x"], "--output=x"),
    ],
)
def test_what_cannot_be_imported_says_why(
    imported: Flask, history: GitRepository, tmp_path: Path, arguments: list[str], text: str
) -> None:
    result = scm_command(imported, *(a.format(tmp=tmp_path, history=history.path) for a in arguments))
    assert result.exit_code != 0
    assert text in result.stderr
    assert "Traceback" not in result.output


ODD = [
    ("no e-mail", b"Nameless <> 1600000000 +0000", b"message\n"),
    ("no name", b" <a@b.example> 1600000000 +0000", b"message\n"),
    ("long name", b"n" * 500 + b" <" + b"e" * 500 + b"> 1600000000 +0000", b"message\n"),
    ("not utf-8", b"J\xf6rg <j\xf6rg@b.example> 1600000000 +0000", b"gr\xfc\xdfe\n"),
    ("long message", b"A <a@b.example> 1600000000 +0000", b"m" * 2**20 + b"\n"),
    ("separators", b"A <a@b.example> 1600000000 +0000", b"a\x01\x02\x1e\x1fb\n\n:100644 000000 M\tx\n"),
    ("before 1970", b"A <a@b.example> 0 -1400", b"old\n"),
]


@ON_SQLITE
@pytest.mark.parametrize(("signature", "message"), [row[1:] for row in ODD], ids=[row[0] for row in ODD])
def test_odd_commits_are_imported(imported: Flask, tmp_path: Path, signature: bytes, message: bytes) -> None:
    repository = GitRepository(tmp_path / "odd")
    # fast-import refuses some of what old and broken tools have written; hash-object does not.
    tree = repository.git("hash-object", "-w", "-t", "tree", "--stdin", stdin=b"")
    commit = b"tree %s\nauthor %s\ncommitter %s\n\n%s" % (tree.encode(), signature, signature, message)
    sha = repository.git("hash-object", "-w", "-t", "commit", "--literally", "--stdin", stdin=commit)
    repository.git("update-ref", "refs/heads/main", sha)
    assert run_import(imported, repository)["commits"] == 1
    assert list(stored(imported)) == [sha]


def test_two_paths_that_are_read_as_one_are_one_change(imported: Flask, tmp_path: Path) -> None:
    repository = GitRepository(tmp_path / "paths")
    repository.fast_import(
        b"commit refs/heads/main\ncommitter A <a@b.example> 1600000000 +0000\ndata 2\nx\n"
        b'M 100644 inline "a\\377"\ndata 1\n1\nM 100644 inline "a\\\\xff"\ndata 1\n2\n'
    )
    assert run_import(imported, repository)["commits"] == 1
    ((*_, changes),) = stored(imported).values()
    assert changes == [(r"a\xff", "A")]


def test_commits_that_are_stored_already_are_left_as_they_are(imported: Flask, history: GitRepository) -> None:
    run_import(imported, history)
    ids = sa.select(Commit.key, Commit.id)
    with imported.app_context():
        before = {row.key: row.id for row in db.session.execute(ids)}
        gone = sorted(before)[::2]
        db.session.execute(sa.delete(Commit).where(Commit.key.in_(gone)))
        db.session.execute(sa.update(Repository).values(imported_key=None))
        db.session.commit()
    assert run_import(imported, history)["commits"] == len(gone)
    assert stored(imported) == as_git_log_says(history)
    with imported.app_context():
        after = {row.key: row.id for row in db.session.execute(ids)}
    assert {sha for sha in before if before[sha] != after[sha]} == set(gone)


class TestReadingAhead:
    """A batch is read in a thread while the one before it is stored."""

    @pytest.fixture(autouse=True)
    def small_batches(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(git_import, "BATCH_COMMITS", 2)

    def prepare(self, repository: GitRepository) -> git_import.GitImport:
        organization = db.session.scalars(sa.select(Organization)).one()
        return git_import.prepare_import(organization, Mirror.find(repository.path), "repository")

    def test_people_are_the_same_in_every_batch(self, imported: Flask, tmp_path: Path) -> None:
        repository = GitRepository(tmp_path / "people")
        people = [("Ann", "ann@x.example"), ("Bob", "bob@x.example"), ("Ann", ""), ("Cy", "cy@x.example"), ("Cy", "")]
        stream = ""
        for number in range(30):
            # Some are in batches next to each other, some are gone for a while.
            name, email = people[number * number // 7 % len(people)]
            stream += f"commit refs/heads/main\ncommitter {name} <{email}> {number} +0000\ndata 1\nx\n"
        repository.fast_import(stream.encode())
        with imported.app_context():
            assert list(self.prepare(repository).run()) == [2] * 15
            columns = sa.select(Commit.key, CommitAuthor.name, sa.func.coalesce(CommitAuthor.email, ""))
            rows = {"\0".join(row) for row in db.session.execute(columns.join(Commit.author))}
            assert rows == set(repository.git("log", "--format=%H%x00%an%x00%ae").splitlines())
            assert db.session.scalar(sa.select(sa.func.count()).select_from(CommitAuthor)) == len(people)

    def test_what_was_read_before_an_error_is_stored(self, imported: Flask, tmp_path: Path) -> None:
        repository = GitRepository(tmp_path / "damaged")
        for number in range(6):
            repository.write("file", str(number))
            repository.commit(str(number))
        tree = repository.git("rev-parse", "HEAD^{tree}")
        (repository.path / ".git" / "objects" / tree[:2] / tree[2:]).unlink()
        with imported.app_context():
            job = self.prepare(repository)
            with pytest.raises(GitError):
                deque(job.run(), maxlen=0)
            assert job.stored == 4
            assert job.repository.imported_key == repository.git("rev-parse", "HEAD~2")
        assert len(stored(imported)) == 4

    def test_an_import_that_is_given_up_leaves_no_thread(self, imported: Flask, history: GitRepository) -> None:
        before = set(threading.enumerate())
        with imported.app_context():
            batches = self.prepare(history).run()
            assert next(batches) == 2
            # Of those before, some may end meanwhile.
            assert set(threading.enumerate()) - before
            batches.close()
        assert set(threading.enumerate()) <= before
        assert len(stored(imported)) == 2


@pytest.mark.needs("time")
def test_ten_thousand_commits_take_seconds(imported: Flask, tmp_path: Path) -> None:
    repository = GitRepository(tmp_path / "big")
    stream = bytearray()
    for number in range(10_000):
        message = f"commit {number}\n".encode()
        stream += b"commit refs/heads/main\nmark :%d\n" % (number + 1)
        stream += b"committer A%d <a%d@b.example> %d +0000\n" % (number % 50, number % 50, 1_600_000_000 + number)
        stream += b"data %d\n%s\n" % (len(message), message)
        stream += b"M 100644 inline dir%d/file%d.txt\ndata 5\n%05d\n" % (number % 20, number % 300, number)
    repository.fast_import(bytes(stream))
    started = time.monotonic()
    assert run_import(imported, repository)["commits"] == 10_000
    # About 2 s; a bound against quadratic behaviour, not a measurement.
    assert time.monotonic() - started < 60
    with imported.app_context():
        assert db.session.scalar(sa.select(sa.func.count()).select_from(CommitFileChange)) == 10_000
        assert db.session.scalar(sa.select(sa.func.count()).select_from(CommitAuthor)) == 50


@pytest.mark.parametrize("batches", [1, 2, 4])
def test_an_import_goes_on_where_one_was_interrupted(
    app: Flask, history: GitRepository, monkeypatch: pytest.MonkeyPatch, batches: int
) -> None:
    monkeypatch.setattr(git_import, "BATCH_COMMITS", 2)
    with app.app_context():
        organization = Organization(slug="demo")
        db.session.add(organization)
        job = prepare_import(organization, Mirror.find(history.path), "history")
        total = job.total
        commits = job.run()
        for _ in range(batches):
            assert next(commits) == 2
        commits.close()  # type: ignore[attr-defined]  # a generator
        assert job.stored == 2 * batches
    with app.app_context():
        organization = db.session.scalars(sa.select(Organization)).one()
        rest = prepare_import(organization, Mirror.find(history.path), "history")
        assert rest.total < total
        assert sum(rest.run()) == rest.total
        assert rest.stored == total - 2 * batches
    assert total == int(history.git("rev-list", "--count", "HEAD"))


def test_a_batch_is_bounded_in_memory_too(app: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(git_import, "BATCH_WEIGHT", 100_000)
    repository = GitRepository(tmp_path / "heavy")
    for number in range(4):
        repository.write("file", f"{number}\n")
        repository.commit(f"{number}" * 60_000)
    with app.app_context():
        organization = Organization(slug="demo")
        db.session.add(organization)
        assert list(prepare_import(organization, Mirror.find(repository.path), "heavy").run()) == [2, 2]


def test_authors_are_told_apart_by_name_and_address(app: Flask, tmp_path: Path) -> None:
    repository = GitRepository(tmp_path / "git")
    authors = [b"Ann <>", b"Bob <>", b"Ann <>", b"Ann <ann@x>", b"Annie <ANN@x>", b" <>"]
    commit = b"commit refs/heads/main\nauthor %s %d +0000\ncommitter C <c@x> %d +0000\ndata 1\nm\n"
    repository.fast_import(b"".join(commit % (author, day, day) for day, author in enumerate(authors)))
    run(app, "add-organization", "demo")
    assert add(app, "import-git", "demo", str(repository.path))["commits"] == 6
    with app.app_context():
        counted = sa.select(CommitAuthor.name, CommitAuthor.email, sa.func.count()).select_from(Commit)
        rows = db.session.execute(counted.outerjoin(Commit.author).group_by(CommitAuthor.id))
        assert sorted(map(repr, rows)) == [
            "('Ann', 'ann@x', 1)", "('Ann', None, 2)", "('Annie', 'ann@x', 1)", "('Bob', None, 1)", "(None, None, 1)"
        ]  # fmt: skip


@pytest.mark.parametrize("slug", ["first", "second", "third"])
def test_imports_at_once_store_each_author_once(
    app: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slug: str
) -> None:
    monkeypatch.setattr(git_import, "BATCH_COMMITS", 25)
    # No unique constraint holds for those without an address.
    authors = [(f"{n}@example.com" if n % 3 == 0 else None, f"Author {n}") for n in range(200)]
    repository = GitRepository(tmp_path / "of-many")
    repository.fast_import(
        b"".join(
            b"commit refs/heads/main\nauthor %s <%s> %d +0000\ncommitter C <c@example.com> %d +0000\ndata 0\n\n"
            % (name.encode(), (email or "").encode(), seconds, seconds)
            for seconds, (email, name) in enumerate(authors, 10**9)
        )
    )
    # The last one stores the same authors for other commits.
    names = ["one", "one", "two"]
    with app.app_context():
        organization = Organization(slug=slug)
        db.session.add(organization)
        for name in names:
            prepare_import(organization, Mirror.find(repository.path), name)
    start = threading.Barrier(len(names), timeout=30)

    def run_at_once(name: str) -> git_import.GitImport:
        with app.app_context():
            organization = db.session.scalars(sa.select(Organization)).one()
            job = prepare_import(organization, Mirror.find(repository.path), name)
            start.wait()
            assert sum(job.run()) == job.total == len(authors)
            return job

    with ThreadPoolExecutor(len(names)) as threads:
        jobs = [job.result(60) for job in [threads.submit(run_at_once, name) for name in names]]
    assert [job.corrected for job in jobs] == [0, 0, 0]
    assert [jobs[0].stored + jobs[1].stored, jobs[2].stored] == [len(authors)] * 2
    with app.app_context():
        rows = db.session.execute(sa.select(CommitAuthor.email, CommitAuthor.name).order_by(CommitAuthor.id)).all()
        of_commits = sa.select(CommitAuthor.email, CommitAuthor.name).join(Commit, Commit.author_id == CommitAuthor.id)
        assert len(rows) == len(authors)
        assert {tuple(row) for row in rows} == set(authors)
        by_date = [tuple(row) for row in db.session.execute(of_commits.order_by(Commit.date_added, Commit.id))]
        assert by_date == [author for author in authors for _ in range(2)]
