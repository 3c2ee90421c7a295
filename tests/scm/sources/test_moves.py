"""Moves that ``git blame -M`` does not see, in real repositories."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from flask_grpcweb_scm.scm.sources.blame import BlameOptions, IgnoredRevisions
from flask_grpcweb_scm.scm.sources.mirror import Mirror
from tests.scm.support import GitRepository, numbered

GIT = BlameOptions(detect_moves=True, ignore_whitespace=True)
PURSUED = BlameOptions(detect_moves=True, ignore_whitespace=True, pursue_moves=True)
OTHERS = numbered(1, 30, "others = what has nothing to do with it, number")
HEAD, TAIL = "def mean(total, count):\n    # The mean of a number of numbers.\n", "\n# Behind it.\n"
BROKEN = "    return total / 0\n"
SHORT = "def f(x):\n    return x / 0\n"
CHECKS = "    check(i)\n    check_more(i)\n    check_even_more_of_it(i)\n"
FUNCTION = HEAD + BROKEN + TAIL

# What the file is after each commit, and which of them the broken line is blamed on: by git, and when it is pursued.
# Commits whose text begins with "!" are ignored.
CASES: dict[str, tuple[Sequence[str], int, int]] = {
    "a short line, moved": ([FUNCTION + OTHERS, OTHERS + FUNCTION], 1, 0),
    "moved twice": ([FUNCTION + OTHERS, OTHERS + FUNCTION, FUNCTION + OTHERS], 2, 0),
    "moved and indented": ([FUNCTION + OTHERS, OTHERS + FUNCTION.replace("    ", "\t")], 1, 0),
    "moved, and changed where it is now": (
        [FUNCTION + OTHERS, OTHERS + FUNCTION, OTHERS + FUNCTION.replace("/", "*")], 2, 2,
    ),
    "changed before it was moved": (
        [FUNCTION.replace("0", "count") + OTHERS, FUNCTION + OTHERS, OTHERS + FUNCTION], 2, 1,
    ),
    "moved, then ignored": (
        [FUNCTION + OTHERS, OTHERS + FUNCTION, "!" + OTHERS + FUNCTION.replace("total", "all_of_them")], 1, 0,
    ),
    "ignored, then moved": (
        [FUNCTION + OTHERS, "!" + FUNCTION.replace("total", "all") + OTHERS, OTHERS + FUNCTION.replace("total", "all")],
        2, 0,
    ),
    "a very short function, moved": ([SHORT + OTHERS, OTHERS + SHORT], 1, 0),
    "a short statement that changed its place": (
        ["def f(i):\n    return 1 / 0\n" + CHECKS + OTHERS, "def f(i):\n" + CHECKS + "    return 1 / 0\n" + OTHERS],
        1, 1,
    ),
    "a new line that is elsewhere, too": (
        ["def none():\n" + BROKEN + OTHERS, "def none():\n" + BROKEN + OTHERS + FUNCTION], 1, 1,
    ),
    "a changed line like one elsewhere": (
        [
            "def none():\n" + BROKEN + OTHERS + FUNCTION.replace("0", "count"),
            "def none():\n" + BROKEN + OTHERS + FUNCTION,
        ],
        1, 1,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("texts", "by_git", "pursued"), CASES.values(), ids=CASES)
def test_the_commit_that_broke_a_line(tmp_path: Path, texts: Sequence[str], by_git: int, pursued: int) -> None:
    repository = GitRepository(tmp_path / "git")
    shas, ignored = [], []
    for text in texts:
        repository.write("mean.py", text.removeprefix("!"))
        shas.append(repository.commit())
        ignored += [shas[-1]] if text.startswith("!") else []
    lines = texts[-1].removeprefix("!").splitlines()
    number = max(place for place, line in enumerate(lines, 1) if line.lstrip().startswith("return"))
    revisions = IgnoredRevisions.parse("\n".join(ignored).encode(), 40)
    mirror = Mirror(str(repository.path / ".git"), timeout=60)
    found = [mirror.blame(shas[-1], "mean.py", [number], options, revisions)[number].sha for options in (GIT, PURSUED)]
    assert [shas.index(sha) for sha in found] == [by_git, pursued]


# What the files are after the commit that breaks a line, and after the one that it is moved by; which of the two the
# line of mean.py is blamed on. The other one is ignored if its sums.py begins with "!".
BETWEEN_FILES: dict[str, tuple[dict[str, str], dict[str, str], int]] = {
    "to a file": (
        {"sums.py": FUNCTION + OTHERS, "mean.py": OTHERS}, {"sums.py": OTHERS, "mean.py": OTHERS + FUNCTION}, 0,
    ),
    "to a new file": ({"sums.py": FUNCTION + OTHERS}, {"sums.py": OTHERS, "mean.py": FUNCTION}, 0),
    "one of two files in one": (
        {"sums.py": OTHERS, "means.py": "import sums\n" + FUNCTION},
        {"sums.py": "", "mean.py": OTHERS + FUNCTION}, 0,
    ),
    "with another name, and indented": (
        {"sums.py": FUNCTION + OTHERS},
        {"sums.py": OTHERS, "mean.py": "class Mean:\n" + FUNCTION.replace("mean(", "of(").replace("    ", " " * 8)}, 0,
    ),
    "a short one": ({"sums.py": "def f():\n" + BROKEN + OTHERS}, {"sums.py": OTHERS, "mean.py": BROKEN}, 0),
    "by an ignored revision": (
        {"sums.py": FUNCTION + OTHERS, "mean.py": OTHERS}, {"sums.py": "!" + OTHERS, "mean.py": OTHERS + FUNCTION}, 0,
    ),
    "copied": ({"sums.py": FUNCTION + OTHERS}, {"sums.py": FUNCTION + OTHERS + "#\n", "mean.py": FUNCTION}, 1),
    "a line like one of a file that is changed, too": (
        {"sums.py": FUNCTION + OTHERS, "mean.py": FUNCTION.replace("0", "count")},
        {"sums.py": FUNCTION, "mean.py": FUNCTION}, 1,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("before", "after", "blamed"), BETWEEN_FILES.values(), ids=BETWEEN_FILES)
def test_moves_between_files(tmp_path: Path, before: dict[str, str], after: dict[str, str], blamed: int) -> None:
    repository = GitRepository(tmp_path / "git")
    shas = []
    for files in (before, after):
        for old in repository.path.glob("*.py"):
            old.unlink()
        for name, text in files.items():
            repository.write(name, text)
        shas.append(repository.commit())
    number = next(place for place, line in enumerate(after["mean.py"].splitlines(), 1) if "/ 0" in line)
    mirror = Mirror(str(repository.path / ".git"), timeout=60)
    ignored = [shas[-1]] if after.get("sums.py", "").startswith("!") else []
    revisions = IgnoredRevisions.parse("\n".join(ignored).encode(), 40)
    found = mirror.blame(shas[-1], "mean.py", [number], PURSUED, revisions)[number]
    assert shas.index(found.sha) == blamed


def test_the_other_parents_of_a_merge_are_looked_at(tmp_path: Path) -> None:
    repository = GitRepository(tmp_path / "git")
    repository.write("mean.py", OTHERS)
    repository.commit()
    repository.git("checkout", "--quiet", "-b", "side")
    repository.write("mean.py", FUNCTION + OTHERS)
    culprit = repository.commit()
    repository.git("checkout", "--quiet", "main")
    repository.write("other.py", "")
    repository.commit()
    repository.git("merge", "--quiet", "--no-commit", "--no-ff", "side")
    repository.write("mean.py", OTHERS + FUNCTION)
    merge = repository.commit("merge, and move")
    number = (OTHERS + FUNCTION).splitlines().index(BROKEN.rstrip()) + 1
    mirror = Mirror(str(repository.path / ".git"), timeout=60)
    assert mirror.blame(merge, "mean.py", [number], PURSUED)[number].sha == culprit


@pytest.mark.parametrize(
    ("name", "is_pursued"), [("naïve file.py", True), ('"naïve".py', False), ("na\udcefve.py", False)], ids=ascii
)
def test_names_of_files(tmp_path: Path, name: str, is_pursued: bool) -> None:
    """Where git quotes a name, or it is not UTF-8, what git found stays."""
    repository = GitRepository(tmp_path / "git")
    repository.write("mean.py", FUNCTION + OTHERS)
    culprit = repository.commit()
    repository.git("mv", "mean.py", name)
    repository.commit()
    repository.write(name, OTHERS + FUNCTION)
    moved = repository.commit()
    number = (OTHERS + FUNCTION).splitlines().index(BROKEN.rstrip()) + 1
    mirror = Mirror(str(repository.path / ".git"), timeout=60)
    assert mirror.blame(moved, name, [number], PURSUED)[number].sha == (culprit if is_pursued else moved)


def test_what_git_found_stays_where_what_is_older_is_lost(tmp_path: Path) -> None:
    repository = GitRepository(tmp_path / "git")
    shas = []
    for text in (FUNCTION.replace("0", "count") + OTHERS, FUNCTION + OTHERS, OTHERS + FUNCTION):
        repository.write("mean.py", text)
        shas.append(repository.commit())
    number = (OTHERS + FUNCTION).splitlines().index(BROKEN.rstrip()) + 1
    blob = repository.git("rev-parse", f"{shas[0]}:mean.py")
    (repository.path / ".git/objects" / blob[:2] / blob[2:]).unlink()
    mirror = Mirror(str(repository.path / ".git"), timeout=60)
    found = [mirror.blame(shas[2], "mean.py", [number], options)[number].sha for options in (GIT, PURSUED)]
    assert found == [shas[2], shas[2]]


def test_a_line_that_was_never_moved_takes_one_run_more(tmp_path: Path, runs_of_git: Callable[[], int]) -> None:
    repository = GitRepository(tmp_path / "git")
    repository.write("mean.py", OTHERS)
    repository.commit()
    repository.write("mean.py", OTHERS + FUNCTION)
    sha = repository.commit()
    mirror = Mirror(str(repository.path / ".git"), timeout=60)
    mirror.blame(sha, "mean.py", [1], GIT)  # what is asked once for a repository
    runs_of_git()
    short = len((OTHERS + HEAD).splitlines()) + 1
    for number, options in ((short, GIT), (3, PURSUED), (short - 1, PURSUED), (short, PURSUED)):
        mirror.blame(sha, "mean.py", [number], options)
    assert runs_of_git() == 1 + 1 + 2 + 2
