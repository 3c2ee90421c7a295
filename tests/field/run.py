"""``make field REPOS=FOLDER``: import the real repositories of a folder, and compare with what git itself says.

Each entry of the folder that is a git repository, a clone or a bare one, is imported into a database of its own. Of all
its commits the authors, dates, messages and changed files must be git's; of some hundreds of lines the blame, with
options, too, and with a file of revisions to ignore. Then a stack trace is invented for each of some of its files, as a
container would print it: what it is mapped to must be that file, or nothing where several files could be meant, and
never a file that is not there.
"""

from __future__ import annotations

import functools
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from flask import Flask

from flask_grpcweb_scm.scm import Commit, CommitAuthor, CommitFileChange, Repository, db
from tests.scm.databases import disposed
from tests.scm.support import Scm, make_app

TRACES = 20
SAMPLE = 500  # lines
BATCH = 50
LARGEST = 30  # commits that are ignored: those that changed most files
MAX_NAME, MAX_EMAIL, MAX_PATH_BYTES = 128, 200, 2048
"""What columns hold."""

PYTHON = """Traceback (most recent call last):
  File "/usr/local/lib/python3.12/site-packages/werkzeug/serving.py", line 363, in run_wsgi
    execute(self.server.app)
  File "{root}/{path}", line {line}, in handle
    return call()
ValueError: invalid
"""
JAVASCRIPT = """TypeError: Cannot read properties of undefined (reading 'id')
    at handle ({root}/{path}:{line}:17)
    at process.processTicksAndRejections (node:internal/process/task_queues:95:5)
"""
GO = """panic: runtime error: invalid memory address or nil pointer dereference

goroutine 1 [running]:
main.handle(0x0)
\t{root}/{path}:{line} +0x1d
runtime.main()
\t/usr/local/go/src/runtime/proc.go:250 +0x207
"""
JAVA = """java.lang.IllegalStateException: closed
\tat {package}.{name}.handle({name}.java:{line})
\tat java.base/java.lang.Thread.run(Thread.java:840)
"""
RUBY = """{root}/{path}:{line}:in `handle': undefined method `id' for nil:NilClass (NoMethodError)
\tfrom /usr/local/lib/ruby/3.2.0/net/http.rb:960:in `connect'
"""
TEMPLATES = {".py": PYTHON, ".js": JAVASCRIPT, ".mjs": JAVASCRIPT, ".ts": JAVASCRIPT, ".tsx": JAVASCRIPT, ".go": GO}
TEMPLATES |= {".java": JAVA, ".rb": RUBY}
ROOTS = ["/app", "/usr/src/app", "/srv/{name}/releases/20260102030405", "/builds/acme/{name}", "/opt/{name}"]
SOURCES_OF_JAVA = re.compile(r"(?:.*/)?src/(?:main|test)/java/(?P<package>.+)/(?P<name>[^/]+)\.java")


@dataclass
class Figures:
    """What was compared of a repository, and what differs."""

    name: str
    commits: int = 0
    authors: int = 0
    changes: int = 0
    lines: int = 0
    blamed: set[str] = field(default_factory=set)
    seconds: float = 0
    traces: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    """Traces whose file was not found, which may be a rule, or a language that is not read."""

    def __str__(self) -> str:
        compared = f"{self.commits} commits, {self.authors} authors, {self.changes} changes, {self.lines} lines"
        traces = ", ".join(f"{number} {what}" for what, number in sorted(self.traces.items()))
        verdict = "as git has them" if not self.wrong else f"{len(self.wrong)} DIFFERENCES"
        return f"{self.name}: {compared}: {verdict} ({self.seconds:.1f} s); traces: {traces or 'none'}"


def git(repository: Path, *arguments: str) -> bytes:
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1"}
    place = repository / ".git" if (repository / ".git").exists() else repository
    command = ["git", "--no-replace-objects", f"--git-dir={place}", *arguments]
    return subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True).stdout


def commits_of_git(repository: Path) -> Iterator[tuple[str, tuple[str, str, int, str]]]:
    """SHA, and name, address, seconds and message."""
    log = git(repository, "log", "--no-mailmap", "-z", "--encoding=UTF-8", "--format=%H%n%an%n%ae%n%ct%n%B", "HEAD")
    for record in log.decode("utf-8", "replace").split("\0"):
        if record:
            sha, name, email, seconds, message = record.split("\n", 4)
            yield sha, (name.strip()[:MAX_NAME], email.strip().lower()[:MAX_EMAIL], int(seconds), message.rstrip("\n"))


def changes_of_git(repository: Path) -> set[tuple[str, str, str]]:
    """SHA, path and kind of each change; a rename is a deletion and an addition."""
    log = git(repository, "log", "-z", "--no-renames", "--name-status", "--format=%x01%H", "HEAD").split(b"\0")
    found, sha = set(), ""
    fields = iter(log)
    for text in fields:
        text = text.lstrip(b"\n")
        while text.startswith(b"\x01"):
            sha, text = text[1:41].decode(), text[41:].lstrip(b"\n")
        if text:
            path = next(fields)
            if len(path) <= MAX_PATH_BYTES:
                found.add((sha, path.decode("utf-8", "backslashreplace"), text.decode().replace("T", "M")[:1]))
    return found


def compare(app: Flask, repository: Path, row_id: int, figures: Figures) -> None:
    expected = dict(commits_of_git(repository))
    with app.app_context():
        rows = db.session.execute(
            sa.select(Commit.key, CommitAuthor.name, CommitAuthor.email, Commit.date_added, Commit.message)
            .outerjoin(CommitAuthor, Commit.author_id == CommitAuthor.id)
            .where(Commit.repository_id == row_id)
        )
        stored = {
            sha: (name or "", email or "", int(date.timestamp()), message) for sha, name, email, date, message in rows
        }
        columns = sa.select(Commit.key, CommitFileChange.filename, CommitFileChange.type)
        joined = columns.join(Commit, Commit.id == CommitFileChange.commit_id)
        changes = {tuple(row) for row in db.session.execute(joined.where(Commit.repository_id == row_id))}
    figures.commits, figures.changes = len(stored), len(changes)
    figures.authors = len({author[:2] for author in stored.values()})
    for sha in expected.keys() | stored.keys():
        if expected.get(sha) != stored.get(sha):
            figures.wrong.append(f"commit {sha}: {stored.get(sha)} instead of {expected.get(sha)}")
    for change in changes_of_git(repository) ^ changes:
        figures.wrong.append(f"change {change} is {'not git' if change in changes else 'missing'}")


OPTIONS: dict[tuple[str, ...], dict[str, bool]] = {
    (): {},
    ("-w",): {"ignore_whitespace": True},
    ("-M", "-w"): {"detect_moves": True, "ignore_whitespace": True},
}


def compare_lines(app: Flask, repository: Path, row_id: int, files: Sequence[str], figures: Figures) -> None:
    """Compare commits and blamed lines, as callers see them."""
    chance = random.Random(figures.name)  # a sample
    head = git(repository, "rev-parse", "HEAD").decode().strip()
    texts = {
        path: git(repository, "cat-file", "blob", f"{head}:{path}")
        for path in chance.sample(files, min(200, len(files)))
    }
    paths = [path for path, text in texts.items() if text.strip() and b"\0" not in text]
    lines = [(path, chance.randrange(texts[path].count(b"\n") or 1) + 1) for path in chance.choices(paths, k=SAMPLE)]
    compare_blame(app, repository, row_id, head, lines, figures)
    with tempfile.TemporaryDirectory(prefix="field-") as folder, app.app_context():
        row = db.session.get_one(Repository, row_id)
        place, clone = row.mirror_path, with_ignored_revisions(repository, Path(folder), head)
        row.mirror_path = str(clone)
        db.session.commit()
        compare_blame(app, clone, row_id, head, lines, figures)
        row.mirror_path = place
        db.session.commit()


def compare_blame(
    app: Flask, repository: Path, row_id: int, head: str, lines: Sequence[tuple[str, int]], figures: Figures
) -> None:
    scm = Scm(app)
    with tempfile.NamedTemporaryFile() as ignored:
        ignored.write(revisions_to_ignore(repository))
        ignored.flush()
        for flags, options in OPTIONS.items():
            for start in range(0, len(lines), BATCH):
                batch = lines[start : start + BATCH]
                wanted = [{"filepath": path, "line_number": line} for path, line in batch]
                names = {"repository_id": row_id, "commit_sha": head, "blame_options": options}
                outcomes = scm("BatchGetCommitContext", **names, lines=wanted).outcomes
                for (path, line), outcome in zip(batch, outcomes, strict=True):
                    how = ("--porcelain", *flags, f"--ignore-revs-file={ignored.name}", "-L", f"{line},{line}")
                    sha = git(repository, "blame", *how, head, "--", path)[: len(head)].decode()
                    compare_context(repository, f"{path}:{line} {' '.join(flags)}", sha, outcome, figures)
    for sha in sorted({figures.blamed.pop() for _ in range(min(40, len(figures.blamed)))}):
        compare_author(
            repository, f"commit {sha}", sha, scm("GetCommit", repository_id=row_id, commit_sha=sha).author, figures
        )


def compare_context(repository: Path, what: str, sha: str, outcome: Any, figures: Figures) -> None:
    figures.lines += 1
    context = outcome.context
    if (outcome.code, context.blame_commit_id) != (0, sha):
        figures.wrong.append(f"{what}: {outcome.message or context.blame_commit_id} instead of {sha}")
        return
    figures.blamed.add(sha)
    compare_author(repository, what, sha, context.blame_author, figures)
    _, _, seconds = facts_of_git(repository, sha)
    if context.blame_date.seconds != int(seconds):
        figures.wrong.append(f"{what}: date {context.blame_date.seconds} instead of {seconds}")


def compare_author(repository: Path, what: str, sha: str, author: Any, figures: Figures) -> None:
    name, email, _ = facts_of_git(repository, sha)
    if (author.name, author.email) != (name.strip()[:MAX_NAME], email.strip().lower()[:MAX_EMAIL]):
        figures.wrong.append(f"{what}: {author.name} <{author.email}> instead of {name} <{email}>")


@functools.cache
def facts_of_git(repository: Path, sha: str) -> list[str]:
    """Name and address of the author, and the commit date."""
    shown = git(repository, "log", "-1", "--no-use-mailmap", "--encoding=UTF-8", "--format=%an%x00%ae%x00%ct", sha)
    return shown.decode("utf-8", "replace").removesuffix("\n").split("\0")


def revisions_to_ignore(repository: Path) -> bytes:
    """Those lines of its file of them that git reads: for any other one it would refuse the file."""
    if not git(repository, "ls-tree", "HEAD", "--", ".git-blame-ignore-revs"):
        return b""
    content = git(repository, "cat-file", "blob", "HEAD:.git-blame-ignore-revs")
    return b"".join(line + b"\n" for line in re.findall(rb"^\s*([0-9a-f]{40})\s*(?:#.*)?$", content, re.MULTILINE))


def with_ignored_revisions(repository: Path, folder: Path, head: str) -> Path:
    """Make a clone whose newest commit has such a file, with the largest commits."""
    log = git(repository, "log", "--no-merges", "--name-only", "--no-renames", "--format=%x01%H", head).split(b"\x01")
    largest = sorted(log[1:], key=lambda text: text.count(b"\n"))[-LARGEST:]
    content = b"# the largest commits\nno revision\n" + b"".join(text[:40] + b"\n" for text in largest)
    clone = folder / "clone"
    subprocess.run(["git", "clone", "--quiet", "--bare", "--shared", repository, clone], check=True)

    def make(*command: str, stdin: bytes) -> str:
        who = {f"GIT_{role}_{key}": "field" for role in ("AUTHOR", "COMMITTER") for key in ("NAME", "EMAIL")}
        done = subprocess.run(
            ["git", f"--git-dir={clone}", *command],
            input=stdin,
            env={**os.environ, **who},
            stdout=subprocess.PIPE,
            check=True,
        )
        return done.stdout.decode().strip()

    entry = b"100644 blob %s\t.git-blame-ignore-revs\0" % make("hash-object", "-w", "--stdin", stdin=content).encode()
    others = [
        each for each in git(repository, "ls-tree", "-z", head).split(b"\0") if each and not each.endswith(entry[51:-1])
    ]
    tree = make("mktree", "-z", stdin=b"".join(each + b"\0" for each in others) + entry)
    commit = make("commit-tree", tree, "-p", head, "-m", "ignore", stdin=b"")
    make("update-ref", "HEAD", commit, stdin=b"")
    return clone


def invent_trace(path: str, name: str, line: int, root: str) -> str | None:
    """Invent a trace with one frame of a file; None for a file of no language."""
    template = TEMPLATES.get(Path(path).suffix)
    java = SOURCES_OF_JAVA.fullmatch(path)
    if template is None or (template is JAVA and java is None):
        return None
    facts = {} if java is None else {"package": java["package"].replace("/", "."), "name": java["name"]}
    return template.format(**{"root": root.format(name=name), "path": path, "line": line, "name": name, **facts})


def judge_traces(app: Flask, name: str, files: Sequence[str], figures: Figures) -> None:
    chance = random.Random(name)  # a sample
    # No file below tests/ is a source file for the rules.
    candidates = [path for path in files if not path.startswith("tests/") and invent_trace(path, name, 1, "")]
    tree, names = set(files), Counter(Path(path).name for path in files)
    for number, path in enumerate(chance.sample(candidates, min(TRACES, len(candidates)))):
        trace = invent_trace(path, name, 7 + number, ROOTS[number % len(ROOTS)]) or ""
        arguments = ["scm", "derive", "field", "traces", "--traceback", "-", "--dry-run", "--json"]
        result = app.test_cli_runner().invoke(args=arguments, input=trace)
        frames = json.loads(result.stdout)["frames"] if result.exit_code == 0 else []
        found = [frame for frame in frames if frame["source_path"]]
        outcomes = {frame["outcome"] for frame in frames} - {"skipped"}
        for frame in found:
            if frame["source_path"] not in tree:
                figures.wrong.append(f"trace of {path}: {frame['source_path']} is no file")
            elif frame["source_path"] != path:
                figures.wrong.append(f"trace of {path}: {frame['source_path']} instead")
        if found:
            figures.traces["found" if found[0]["source_path"] == path else "WRONG"] += 1
        elif outcomes == {"ambiguous"}:
            is_ambiguous = names[Path(path).name] > 1
            figures.traces["ambiguous" if is_ambiguous else "AMBIGUOUS WITHOUT REASON"] += 1
            if not is_ambiguous:
                figures.wrong.append(f"trace of {path}: ambiguous, and there is one file of that name")
        elif outcomes == {"no match"} and "/" not in path:
            # The name of a file alone decides nothing.
            figures.traces["at the top"] += 1
        else:
            figures.traces["not found" if outcomes else "unread"] += 1
            figures.missed.append(f"{path}: {[frame['reason'] for frame in frames if frame['outcome'] != 'skipped']}")


def examine(repository: Path, name: str) -> Figures:
    figures = Figures(name)
    with tempfile.TemporaryDirectory(prefix="field-") as folder:
        uri = f"sqlite:///{folder}/scm.db"
        with disposed(make_app(uri)) as app:
            for command in (["init-db"], ["add-organization", "field"], ["add-project", "field", "traces"]):
                assert app.test_cli_runner().invoke(args=["scm", *command]).exit_code == 0
            started = time.monotonic()
            result = app.test_cli_runner().invoke(
                args=["scm", "import-git", "field", str(repository), "--name", name, "--json"]
            )
            figures.seconds = time.monotonic() - started
            if result.exit_code != 0:
                figures.wrong.append(f"import-git: {result.stderr.strip()}")
                return figures
            row: dict[str, Any] = json.loads(result.stdout)
            listing = git(repository, "ls-tree", "-r", "-z", "HEAD").decode("utf-8", "backslashreplace").split("\0")
            files = [entry.partition("\t")[2] for entry in listing if entry.startswith("100")]
            compare(app, repository, row["id"], figures)
            compare_lines(app, repository, row["id"], files, figures)
            judge_traces(app, name, files, figures)
    return figures


def repositories(folder: Path) -> Iterator[tuple[str, Path]]:
    """Names and places of git repositories: entries of a folder, or one level below with nothing else beside."""
    for entry in sorted(folder.iterdir()):
        for place in (entry, entry / "repo"):
            if (place / ".git").exists() or (place / "objects").is_dir():
                yield entry.name.removesuffix(".git"), place
                break


def main(folder: str) -> int:
    """Print a line for each repository, and the first differences; return the number of repositories that have any."""
    failed, number = 0, 0
    for number, (name, place) in enumerate(repositories(Path(folder)), 1):  # noqa: B007  # counts
        figures = examine(place, name.rpartition("+")[2])
        print(figures, flush=True)  # noqa: T201  # for make
        for text in [*figures.wrong[:10], *figures.missed[:5]]:
            print(f"    {text}")  # noqa: T201
        failed += bool(figures.wrong)
    if not number:
        print(f"{folder} has no git repositories")  # noqa: T201
    return failed if number else 1


if __name__ == "__main__":
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_dir():
        sys.exit("name the folder of the repositories: make field REPOS=FOLDER")
    sys.exit(min(main(sys.argv[1]), 1))
