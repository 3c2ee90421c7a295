"""Histories in which a known commit breaks a known line, and others hide it."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.scm.planted.program import KINDS, Program

__all__ = ["MOVES", "Change", "History", "plant"]

AUTHORS = tuple((name, f"{name.lower()}@shop.example") for name in ("Ada", "Ben", "Cid", "Dora", "Emil", "Fay", "Gus"))
FIRST_DAYS, CULPRIT_DAYS = 400, 60
"""Days before the end, of the first commit and of the first culprit."""
MOVES = {"file": {"move_file"}, "lines": {"move_lines"}, "both": {"move_file", "move_lines"}}


@dataclass(frozen=True, slots=True)
class Change:
    """A commit."""

    mark: int
    parents: tuple[int, ...]
    events: frozenset[str]
    """All of them so far."""
    what: str
    author: tuple[str, str]
    seconds: int
    """Since the epoch."""
    sha: str = ""


@dataclass(slots=True)
class History:
    """Commits of a program; those of the default branch are the first parents of the last one."""

    program: Program
    git_dir: Path
    commits: list[Change] = field(default_factory=list)

    def of(self, event: str) -> Change:
        """Return the commit that an event came with."""
        return next(commit for commit in self.commits if event in commit.events)

    def named(self, sha: str) -> str:
        """Return the message of a commit."""
        return next(commit.what for commit in self.commits if commit.sha == sha)

    def main(self) -> list[Change]:
        """Return the commits of the default branch, the newest first."""
        found = [self.commits[-1]]
        while found[-1].parents:
            found.append(self.commits[found[-1].parents[0] - 1])
        return found


def plant(program: Program, git_dir: Path, *, seed: int, moves: str, end: int) -> History:
    """Make a bare repository with such a history.

    :param moves: of the file with the broken lines to another folder, of its ``"lines"`` within it, or ``"both"``.
    :param end: time of the last commit, in seconds since the epoch.
    """
    writer = _Writer(program, random.Random(f"{program.language} {seed}"), end)
    writer.write(MOVES[moves])
    history = History(program, git_dir, writer.commits)
    _import(history)
    return history


class _Writer:
    """The commits, in the order of their dates."""

    def __init__(self, program: Program, generator: random.Random, end: int) -> None:
        self.program, self.random, self.end = program, generator, end
        self.commits: list[Change] = []
        self.now = end - FIRST_DAYS * 86400
        self.notes = 0

    def write(self, moves: set[str]) -> None:
        tip = self.commit([], set(), "Sell tea")
        for _ in range(self.random.randint(14, 18)):
            tip = self.note(tip)
        tip = self.culprits(tip)
        steps = [("reformat",), *((move,) for move in sorted(moves)), ("clean merge",), ("evil merge", "decoy_evil")]
        decoys = [(event,) for event in sorted(self.program.events) if event.startswith("decoy")]
        steps += [one for one in decoys if one != ("decoy_evil",)]
        self.random.shuffle(steps)
        pause = (self.end - self.now) // (len(steps) * 3)
        for step in steps:
            self.now += pause
            if "merge" in step[0]:
                tip = self.merge(tip, self.note(tip), *step[1:])
            else:
                tip = self.commit([tip], set(step), step[0])
            if step == ("reformat",):
                tip = self.commit([tip], {"ignore_file"}, "Pass over the reformat")
            if self.random.random() < 0.3:
                tip = self.note(tip)
        self.now = self.end
        self.note(tip)

    def culprits(self, tip: int) -> int:
        """Break a line in each of some commits: of the default branch, of a branch, one in a merge itself."""
        kinds = list(KINDS)
        self.random.shuffle(kinds)
        self.now = self.end - CULPRIT_DAYS * 86400
        for number, kind in enumerate(kinds):
            if number == 0:
                tip = self.merge(tip, self.note(tip), kind)
            elif number % 2:
                tip = self.commit([tip], {kind}, f"break {kind}")
            else:
                side = self.commit([self.note(tip)], {kind}, f"break {kind} on a branch")
                tip = self.merge(tip, self.note(side))
            tip = self.note(tip)
        return tip

    def note(self, parent: int) -> int:
        self.notes += 1
        return self.commit([parent], {f"note{self.notes}"}, f"Note {self.notes}")

    def merge(self, tip: int, side: int, *events: str) -> int:
        """Merge a branch; with events, the merge has changes of its own."""
        return self.commit([self.note(tip), side], set(events), "Merge a branch")

    def commit(self, parents: Sequence[int], events: set[str], what: str) -> int:
        before = frozenset[str]().union(*(self.commits[parent - 1].events for parent in parents))
        mark = len(self.commits) + 1
        self.now += self.random.randint(600, 40_000)
        author = AUTHORS[0] if not parents else self.random.choice(AUTHORS)
        self.commits.append(Change(mark, tuple(parents), before | events, what, author, self.now))
        return mark


def _import(history: History) -> None:
    subprocess.run(["git", "init", "--quiet", "--bare", "--initial-branch=main", history.git_dir], check=True)
    command = ["git", "--git-dir", str(history.git_dir), "fast-import", "--quiet", "--date-format=raw"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        ignored = ""
        for number, commit in enumerate(history.commits):
            files = history.program.at(commit.events)
            # Names of other people, which nobody is to be told.
            files[".mailmap"] = "".join(f"Nobody <nobody@shop.example> <{email}>\n" for _, email in AUTHORS)
            if "ignore_file" in commit.events:
                files[".git-blame-ignore-revs"] = f"# The reformat\n{ignored}\n"
            name, email = commit.author
            lines = [
                "commit refs/heads/main", f"mark :{commit.mark}",
                f"author {name} <{email}> {commit.seconds - 3000} +0200",
                f"committer Robot <robot@shop.example> {commit.seconds} -0500",
                _data(commit.what),
                *(f"{'merge' if place else 'from'} :{mark}" for place, mark in enumerate(commit.parents)),
                "deleteall",
                *(f"M 100644 inline {path}\n{_data(text)}" for path, text in files.items()),
                f"\nget-mark :{commit.mark}\n",
            ]  # fmt: skip
            process.stdin.write("\n".join(lines).encode())
            process.stdin.flush()
            sha = process.stdout.readline().decode().strip()
            history.commits[number] = replace(commit, sha=sha)
            if commit.what == "reformat":
                ignored = sha
            assert sha, f"commit {number} was not made"
    assert process.returncode == 0


def _data(text: str) -> str:
    return f"data {len(text.encode())}\n{text}"
