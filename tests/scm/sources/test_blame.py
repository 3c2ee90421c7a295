"""What blame looks through, as git does, and what git would refuse."""

from __future__ import annotations

import copy
import os
import shutil
import subprocess
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

import pytest

from flask_grpcweb_scm.scm.lru_cache import LruCache
from flask_grpcweb_scm.scm.sources import blame as blame_module
from flask_grpcweb_scm.scm.sources.blame import (
    CUT_OFF,
    DEFAULT_BLAME,
    IGNORE_FILE,
    Blame,
    BlameOptions,
    IgnoredRevisions,
    NoSuchCommit,
    parse_blame,
    summary,
)
from flask_grpcweb_scm.scm.sources.git import GitError
from flask_grpcweb_scm.scm.sources.mirror import Mirror, Tip
from tests.scm.support import GitRepository, numbered

FIRST = numbered(1, 5, "    first_of_the_functions = compute_something")
SECOND = numbered(1, 5, "    second_of_the_functions = compute_others")
CODE, MOVED = FIRST + "\n" + SECOND, SECOND + "\n" + FIRST
REFORMATTED = MOVED.replace("    ", "\t")
TEXT = (1, 2, 3, 4, 6, 7, 8, 9)
"""Lines that are not empty."""


class Story:
    """A repository whose lines were written, moved and reformatted, by different people."""

    def __init__(self, path: Path) -> None:
        self.repository = GitRepository(path)
        self.written = self.commit(CODE, "Wanda")
        self.moved = self.commit(MOVED, "Moe")
        self.reformatted = self.commit(REFORMATTED, "Rita")

    def commit(self, text: str, name: str) -> str:
        self.repository.write("code.py", text)
        return self.repository.commit(f"by {name}\n\nbody\n", name=name, email=f"{name}@example.com")

    def ignore(self, content: str | bytes) -> str:
        """Commit a file of revisions to ignore."""
        self.repository.write(IGNORE_FILE, content)
        return self.repository.commit("ignore")

    @property
    def mirror(self) -> Mirror:
        return Mirror(str(self.repository.path / ".git"), timeout=60)

    def blamed(self, number: int, options: BlameOptions = DEFAULT_BLAME, sha: str = "") -> str:
        """Name who is blamed for a line."""
        mirror = self.mirror
        lines = mirror.lines(sha or self.repository.head(), "code.py", [number], options, mirror.ignored_revisions())
        return lines[number].blame.author_name if lines else ""

    def git_blames(self, number: int, *options: str, sha: str = "") -> str:
        revision = sha or self.repository.head()
        command = ["blame", "--porcelain", *options, "-L", f"{number},{number}", revision, "--", "code.py"]
        shown = self.repository.git(*command)
        return shown.split("\nauthor ")[1].partition("\n")[0]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Story:
    """To be copied."""
    return Story(tmp_path_factory.mktemp("told") / "git")


@pytest.fixture
def story(told: Story, tmp_path: Path) -> Story:
    story = copy.copy(told)
    story.repository = copy.copy(told.repository)
    story.repository.path = tmp_path / "git"
    shutil.copytree(told.repository.path, story.repository.path)
    return story


@pytest.mark.parametrize("detect_moves", [False, True])
@pytest.mark.parametrize("ignore_whitespace", [False, True])
def test_options_are_those_of_git(story: Story, detect_moves: bool, ignore_whitespace: bool) -> None:
    options = BlameOptions(detect_moves=detect_moves, ignore_whitespace=ignore_whitespace)
    flags = [flag for flag, is_on in (("-M", detect_moves), ("-w", ignore_whitespace)) if is_on]
    found = [story.blamed(number, options) for number in TEXT]
    assert found == [story.git_blames(number, *flags) for number in TEXT]
    assert ("Rita" in found, "Moe" in found) == (not ignore_whitespace, ignore_whitespace and not detect_moves)


@pytest.mark.parametrize("detect_moves", [False, True])
def test_lines_are_blamed_together_as_alone(tmp_path: Path, detect_moves: bool) -> None:
    repository = GitRepository(tmp_path / "git")
    texts = [f"a = {number}\n" for number in range(30)]
    repository.write("code.py", "".join(texts))
    repository.commit()
    repository.write("code.py", "".join(texts[20:] + texts[:20]))
    sha = repository.commit()
    mirror, options = Mirror(str(repository.path / ".git"), timeout=60), BlameOptions(detect_moves=detect_moves)
    alone = {
        number: line for each in range(1, 31) for number, line in mirror.blame(sha, "code.py", [each], options).items()
    }
    assert mirror.blame(sha, "code.py", range(1, 31), options) == alone


def test_ignored_revisions_are_looked_through(story: Story) -> None:
    assert story.blamed(7) == "Rita"
    story.ignore(f"# formatting\n{story.reformatted}\n")
    assert story.blamed(7) == story.git_blames(7, f"--ignore-rev={story.reformatted}") == "Moe"
    # Those of today count for a commit of yesterday, too.
    assert story.blamed(7, sha=story.reformatted) == "Moe"
    assert story.blamed(7, BlameOptions(include_ignored_revisions=True)) == "Rita"
    assert story.blamed(7, BlameOptions(detect_moves=True, ignore_whitespace=True)) == "Wanda"
    story.ignore("")
    assert story.blamed(7) == "Rita"


# What is in the file → whether the commit in it is looked through, and whether git reads such a file.
CONTENTS: dict[str, tuple[Callable[[str], str | bytes], bool, bool]] = {
    "a line": (lambda sha: f"{sha}\n", True, True),
    "without a line feed": (lambda sha: sha, True, True),
    "comments and empty lines": (lambda sha: f"# a comment\n\n   \n{sha}\n#{sha}x\n", True, True),
    "a comment behind it": (lambda sha: f"{sha} # reformat\n", True, True),
    "a comment right behind it": (lambda sha: f"{sha}#reformat\n", True, True),
    "indented": (lambda sha: f"\t  {sha}  \t\n", True, True),
    "upper case": (lambda sha: f"{sha.upper()}\n", True, True),
    "line feeds of Windows": (lambda sha: f"# x\r\n{sha}\r\n\r\n", True, True),
    "twice": (lambda sha: f"{sha}\n{sha}\n", True, True),
    "unknown commits": (lambda sha: f"{'f' * 40}\n{sha}\n{'0' * 40}\n", True, True),
    "a commented commit": (lambda sha: f"# {sha}\n", False, True),
    "empty": (lambda sha: "", False, True),
    "a short id": (lambda sha: f"{sha[:12]}\n", False, False),
    "text behind it": (lambda sha: f"{sha} reformat\n", False, False),
    "text before it": (lambda sha: f"commit {sha}\n", False, False),
    "two on a line": (lambda sha: f"{sha} {sha}\n", False, False),
    "too long an id": (lambda sha: f"{sha}{sha[:24]}\n", False, False),
    "other line feeds": (lambda sha: f"{'f' * 40}\r{sha}\r", False, False),
    "a byte order mark": (lambda sha: f"\ufeff{sha}\n", False, False),
    "UTF-16": (lambda sha: f"{sha}\n".encode("utf-16"), False, False),
    "a branch": (lambda sha: "main\n", False, False),
    "other lines that git refuses": (lambda sha: f"main\n{sha[:7]}\n{sha}\n<<<<<<< x\n\0\xff\n", True, False),
}


@pytest.mark.parametrize(("content", "is_ignored", "git_reads"), CONTENTS.values(), ids=CONTENTS)
def test_lines_that_git_cannot_read_are_dropped(
    story: Story, content: Callable[[str], str | bytes], is_ignored: bool, git_reads: bool
) -> None:
    story.ignore(content(story.reformatted))
    assert story.blamed(7) == ("Moe" if is_ignored else "Rita")
    try:
        assert story.git_blames(7, f"--ignore-revs-file={IGNORE_FILE}") == story.blamed(7)
    except subprocess.CalledProcessError as error:
        assert not git_reads
        assert b"invalid object name" in error.stderr
    else:
        assert git_reads


def put_link(story: Story) -> None:
    story.repository.write("list", f"{story.reformatted}\n")
    (story.repository.path / IGNORE_FILE).symlink_to("list")


def put_folder(story: Story) -> None:
    story.repository.write(f"{IGNORE_FILE}/x", f"{story.reformatted}\n")


def put_below_the_top(story: Story) -> None:
    story.repository.write(f"folder/{IGNORE_FILE}", f"{story.reformatted}\n")


def put_module(story: Story) -> None:
    story.repository.git("update-index", "--add", "--cacheinfo", f"160000,{story.reformatted},{IGNORE_FILE}")
    story.repository.git("commit", "-q", "-m", "a submodule")


def put_without_a_commit(story: Story) -> None:
    story.repository.write(IGNORE_FILE, f"{story.reformatted}\n")


@pytest.mark.parametrize("put", [put_link, put_folder, put_below_the_top, put_module, put_without_a_commit])
def test_what_is_no_such_file_ignores_nothing(story: Story, put: Callable[[Story], None]) -> None:
    put(story)
    if put not in (put_module, put_without_a_commit):
        story.repository.commit("put")
    assert story.blamed(7) == "Rita"
    assert story.mirror.ignored_revisions() == IgnoredRevisions()


def test_a_tag_in_the_file_stands_for_its_commit(story: Story) -> None:
    story.repository.git("tag", "--annotate", "--message=x", "v1", story.reformatted)
    story.ignore(story.repository.git("rev-parse", "v1") + "\n")
    assert story.blamed(7) == story.git_blames(7, f"--ignore-revs-file={IGNORE_FILE}") == "Moe"


@pytest.mark.parametrize(
    ("content", "is_ignored"),
    [
        (lambda sha: f"{sha}\n" + "# comment\n" * 200_000, True),
        (lambda sha: "# comment\n" * 200_000 + f"{sha}\n", False),
        (lambda sha: f"{sha}\n" + "".join(f"{number:040x}\n" for number in range(5_000)), True),
        (lambda sha: "".join(f"{number:040x}\n" for number in range(5_000)) + f"{sha}\n", False),
        (lambda sha: f"{sha}\n" + "x" * 3_000_000, True),
    ],
)
def test_of_a_large_file_the_beginning_counts(story: Story, content: Callable[[str], str], is_ignored: bool) -> None:
    story.ignore(content(story.reformatted))
    ignored = story.mirror.ignored_revisions()
    assert ignored.is_cut
    assert (story.reformatted in ignored) == is_ignored
    assert story.blamed(7) == ("Moe" if is_ignored else "Rita")


def test_an_id_is_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blame_module, "MAX_IGNORE_FILE_BYTES", 100)
    content = f"{'a' * 40}\n{'b' * 40}\n{'c' * 64}\n".encode()
    assert IgnoredRevisions.parse(content, 40).listing == f"{'a' * 40}\n{'b' * 40}\n".encode()


def test_the_default_branch_decides(story: Story) -> None:
    story.repository.git("checkout", "-q", "-b", "other")
    story.ignore(f"{story.reformatted}\n")
    assert story.reformatted in story.mirror.ignored_revisions("other")
    assert story.mirror.ignored_revisions("main") == IgnoredRevisions()
    assert story.mirror.ignored_revisions("absent") == IgnoredRevisions()
    assert story.reformatted in story.mirror.ignored_revisions()


CONFIGURED = {
    "absent": lambda story: "absent",
    "absent below the top": lambda story: "folder/absent",
    "a file that git refuses": lambda story: "code.py",
    "a folder": lambda story: str(story.repository.path),
    "the file itself": lambda story: IGNORE_FILE,
    "another file": lambda story: str(story.repository.path.parent / "list"),
}


@pytest.mark.parametrize("with_map", [False, True])
@pytest.mark.parametrize("configured", CONFIGURED.values(), ids=CONFIGURED)
def test_a_file_that_the_configuration_names_neither_counts_nor_harms(
    story: Story, configured: Callable[[Story], str], with_map: bool
) -> None:
    (story.repository.path.parent / "list").write_text(f"{story.moved}\n")
    story.ignore(f"{story.reformatted}\nnonsense\n")
    if with_map:
        story.repository.write(".mailmap", "Somebody <else@x> <Moe@example.com>\n")
    story.repository.git("config", "blame.ignoreRevsFile", configured(story))
    assert story.blamed(7) == "Moe"


def test_that_also_holds_for_a_shallow_clone_with_sha_256(tmp_path: Path) -> None:
    repository = GitRepository(tmp_path / "git")
    shutil.rmtree(repository.path / ".git")
    repository.git("init", "-q", "--initial-branch=main", "--template=", "--object-format=sha256")
    for number in range(3):
        repository.write("f", numbered(0, number + 1))
        repository.commit()
    repository.git("clone", "-q", "--depth=2", f"file://{repository.path}", str(tmp_path / "clone"))
    clone = Mirror(str(tmp_path / "clone/.git"), timeout=60)
    expected = clone.lines(repository.head(), "f", [1, 3])
    assert expected
    assert [line.blame.approximate for line in expected.values()] == [CUT_OFF, ""]
    subprocess.run(["git", "-C", tmp_path / "clone", "config", "blame.ignoreRevsFile", "absent"], check=True)
    assert clone.lines(repository.head(), "f", [1, 3]) == expected


# What a blame has


def test_a_blame_has_what_the_commit_has(tmp_path: Path) -> None:
    repository = GitRepository(tmp_path / "git")
    repository.write("f", "one\n")
    repository.git("add", "f")
    repository.git(
        "commit", "-q", "-m", "Größe\nwrapped\n\nbody",
        GIT_AUTHOR_NAME="Jörg <>", GIT_AUTHOR_EMAIL="J@Example.com", GIT_AUTHOR_DATE="1500000000 +0100",
        GIT_COMMITTER_DATE="1600000000 -0700",
    )  # fmt: skip
    sha = repository.head()
    repository.git("config", "i18n.logOutputEncoding", "latin1")
    lines = Mirror(str(repository.path / ".git"), timeout=60).lines(sha, "f", [1]) or {}
    date = datetime.fromtimestamp(1_600_000_000, timezone.utc)
    assert lines[1].blame == Blame(sha, "Jörg", "j@example.com", date, "Größe")


BROKEN: dict[str, Callable[[str], str]] = {
    "no author": lambda body: "\n".join(line for line in body.split("\n") if not line.startswith("author ")),
    "no committer": lambda body: "\n".join(line for line in body.split("\n") if not line.startswith("committer ")),
    "no address": lambda body: body.replace("<Ann@Example.com>", ""),
    "an empty name": lambda body: body.replace("author Ann Author <", "author <"),
    "an empty address": lambda body: body.replace("<Ann@Example.com>", "<>"),
    "brackets in the address": lambda body: body.replace("<Ann@Example.com>", "<<Ann@Example.com>"),
    "more brackets": lambda body: body.replace("<Ann@Example.com>", "<Ann@Example.com>>"),
    "no date": lambda body: body.replace(" -0500", "").replace("committer", "committer", 1),
    "a date that is none": lambda body: body.replace("> 16", "> x16"),
    "a date far away": lambda body: body.replace("> 16", "> 9999999999916"),
    "no message": lambda body: body.partition("\n\n")[0] + "\n\n",
    "line feeds before the message": lambda body: body.replace("\n\n", "\n\n\n\n"),
    "latin1": lambda body: body.replace("\n\n", "\nencoding ISO-8859-1\n\n").replace("Author", "\udce4"),
    "no UTF-8": lambda body: body.replace("Author", "\udce4"),
}


@pytest.mark.parametrize("break_", BROKEN.values(), ids=BROKEN)
def test_of_a_broken_commit_it_has_what_the_log_has(tmp_path: Path, break_: Callable[[str], str]) -> None:
    repository = GitRepository(tmp_path / "git")
    repository.write("f", "one\n")
    repository.commit("subject")
    body = break_(repository.git("cat-file", "commit", "HEAD") + "\n").encode("utf-8", "surrogateescape")
    sha = repository.git("hash-object", "-w", "-t", "commit", "--literally", "--stdin", stdin=body)
    mirror = Mirror(str(repository.path / ".git"), timeout=60)
    blame, commit = (mirror.lines(sha, "f", [1]) or {})[1].blame, mirror.commit(sha)
    assert blame == Blame(sha, commit.author_name, commit.author_email, commit.committed, summary(commit.message))


def test_merges_are_looked_through(tmp_path: Path) -> None:
    repository = GitRepository(tmp_path / "git")
    repository.write("f", numbered(1, 20))
    repository.commit("first")
    repository.git("checkout", "-q", "-b", "side")
    repository.write("f", numbered(1, 19) + "side\n")
    side = repository.commit("side")
    repository.git("checkout", "-q", "main")
    repository.write("f", "main\n" + numbered(2, 20))
    main = repository.commit("main")
    merge = repository.merge("side")
    lines = Mirror(str(repository.path / ".git"), timeout=60).lines(merge, "f", [1, 19]) or {}
    assert [line.blame.sha for line in lines.values()] == [main, side]


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_where_a_shallow_clone_ends_is_approximate(tmp_path: Path, depth: int) -> None:
    repository = GitRepository(tmp_path / "git")
    for number in range(3):
        repository.write("f", numbered(0, number + 1))
        repository.commit()
    repository.git("clone", "-q", f"--depth={depth}", f"file://{repository.path}", str(tmp_path / "clone"))
    lines = Mirror(str(tmp_path / "clone/.git"), timeout=60).lines(repository.head(), "f", [1, 2, 3]) or {}
    # The first commit of all has no parents either, and is no end.
    expected = {1: [CUT_OFF] * 3, 2: [CUT_OFF, CUT_OFF, ""], 3: [""] * 3}
    assert [line.blame.approximate for line in lines.values()] == expected[depth]


@pytest.mark.parametrize("how", ["grafts", "replace"])
def test_a_history_that_was_changed_afterwards_is_the_one_that_was_written(story: Story, how: str) -> None:
    if how == "grafts":
        (story.repository.path / ".git/info").mkdir(exist_ok=True)
        (story.repository.path / ".git/info/grafts").write_text(f"{story.moved}\n")
    else:
        story.repository.git("replace", "--graft", story.moved)
    options = BlameOptions(detect_moves=True, ignore_whitespace=True)
    assert story.git_blames(7, "-M", "-w") == "Moe"
    assert story.blamed(7, options) == "Wanda"


@pytest.mark.parametrize("kind", ["absent", "tag", "tree", "blob"])
def test_a_commit_that_is_none(story: Story, kind: str) -> None:
    repository = story.repository
    repository.git("tag", "--annotate", "--message=x", "tag")
    names = {"tag": "tag", "tree": "main^{tree}", "blob": "main:code.py"}
    sha = repository.git("rev-parse", names[kind]) if kind in names else "f" * 40
    with pytest.raises(NoSuchCommit):
        story.mirror.lines(sha, "code.py", [1])


def test_the_text_of_a_line_cannot_pass_for_facts() -> None:
    sha = "a" * 40
    text = [f"{sha} 1 1 1", "author A", "author-mail <a@x>", "committer-time 1", "summary s", "\tauthor B", ""]
    ((number, line),) = parse_blame(line.encode() for line in text)
    assert (number, line.blame.author_name, line.is_first) == (1, "A", False)


@pytest.mark.parametrize(
    ("message", "expected"),
    [("", ""), ("a", "a"), ("\n\na\nb", "a"), ("  a  \nb", "a"), ("\n", ""), ("x" * 5000, "x" * 1000)],
)
def test_the_first_line_of_a_message(message: str, expected: str) -> None:
    assert summary(message) == expected


# Where a branch is

REFS: dict[str, list[str]] = {
    "loose": [],
    "packed": ["pack-refs", "--all"],
    "symbolic": ["symbolic-ref", "refs/heads/main", "refs/heads/side"],
    "detached": ["checkout", "-q", "--detach"],
    "linked": ["worktree", "add", "-q", "../linked", "side"],
    "unborn": ["symbolic-ref", "HEAD", "refs/heads/absent"],
    "odd": ["checkout", "-q", "-b", "ünïcode/x.y-z"],
}


BRANCHES = ["", "main", "side", "absent", "folder"]


@pytest.mark.parametrize("kind", REFS)
@pytest.mark.needs("time")
def test_the_tip_of_a_branch_is_remembered_until_it_changes(tmp_path: Path, kind: str) -> None:
    repository = GitRepository(tmp_path / "git")
    repository.commit("first")
    repository.git("branch", "side")
    repository.git("branch", "folder/x")
    if REFS[kind]:
        repository.git(*REFS[kind])
    git_dir = repository.path / (".git/worktrees/linked" if kind == "linked" else ".git")
    tips: LruCache[Tip] = LruCache(2**20)

    def tip(branch: str) -> object:
        found: list[object] = []
        for cache in (tips, tips, None):
            try:
                found.append(Mirror(str(git_dir), timeout=60, tips=cache).tip(branch))
            except GitError as error:
                found.append(str(error))
        assert found[0] == found[1] == found[2], branch
        return found[0]

    seen = [list(map(tip, BRANCHES))]
    for change in (
        ["commit", "-q", "--allow-empty", "-m", "second"],
        ["branch", "-f", "side", "HEAD"] if kind not in ("linked", "symbolic") else ["status"],
        ["pack-refs", "--all"],
        ["commit", "-q", "--allow-empty", "-m", "third"],
        ["pack-refs", "--all"],
        ["reset", "-q", "--hard", "HEAD~1"],
        ["gc", "-q"],
        ["update-ref", "refs/remotes/origin/absent", "HEAD"],
        ["branch", "absent", "HEAD~1"] if kind != "unborn" else ["status"],
        ["checkout", "-q", "--detach", "HEAD"],
    ):
        repository.git(*change)
        seen.append(list(map(tip, BRANCHES)))
    if kind not in ("symbolic", "linked", "unborn"):
        assert len({of_head for of_head, *_ in seen}) == 3


def test_a_head_that_is_no_file_is_for_git(tmp_path: Path) -> None:
    repository = GitRepository(tmp_path / "git")
    sha = repository.commit("first")
    mirror = Mirror(str(repository.path / ".git"), timeout=60)
    for text in ("ref: refs/heads/../../pipe\n", "ref: refs/heads/x\0y\n", "x" * 10_000, ""):
        (repository.path / ".git/HEAD").write_text(text)
        assert mirror.branch_state("main") is not None
        assert mirror.branch_state("") is None or text == ""
    (repository.path / ".git/HEAD").write_text("ref: refs/heads/main\n")
    os.mkfifo(repository.path / ".git/refs/heads/pipe")
    assert mirror.branch_state("pipe") is None
    assert mirror.tip("main") == sha


@pytest.mark.parametrize("name", ["../HEAD", "main:f", "main^", "main~1", "ma in", "@{-1}", "main\n", "main..side"])
def test_only_names_of_branches_are_looked_up(tmp_path: Path, name: str) -> None:
    repository = GitRepository(tmp_path / "git")
    repository.write(IGNORE_FILE, "a" * 40)
    repository.commit("first")
    repository.commit("second")
    mirror = Mirror(str(repository.path / ".git"), timeout=60)
    assert mirror.ignored_revisions(name) == IgnoredRevisions()
    with pytest.raises(GitError):
        mirror.tip(name)


@pytest.mark.parametrize("has_files", [False, True], ids=["no files", "the newest files"])
def test_a_partial_clone_without_the_files_says_what_to_fetch(tmp_path: Path, has_files: bool) -> None:
    story = Story(tmp_path / "story")
    story.repository.git("config", "uploadpack.allowFilter", "true")
    clone = tmp_path / "clone"
    options = ["--filter=blob:none", *(() if has_files else ("--no-checkout",)), f"file://{story.repository.path}"]
    story.repository.git("clone", "--quiet", *options, str(clone))
    mirror = Mirror(str(clone / ".git"), timeout=60)
    with pytest.raises(GitError) as caught:
        mirror.lines(story.reformatted, "code.py", [1])
    _, _, command = str(caught.value).partition("; run in it: git ")
    story.repository.git("-C", str(clone), *command.split())
    assert mirror.blame(story.reformatted, "code.py", [1])[1].sha == story.reformatted
