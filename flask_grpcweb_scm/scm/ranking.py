"""Ranking of the commits that frames of a stack trace are blamed on; pure.

The frame nearest to the failure counts 1 for the commit that its line is blamed on, and each frame behind it a third of
the one before. Of the sum, half is left for each two years of the commit's age. All callers together count less than
half of the line that failed: whoever touched them last comes first only when that line is years older.

When it is known since when the error is there, age tells more, for it seldom takes months until a bug is seen. Half is
left for 120 days then, and a third for 240: a caller that was changed on the day before comes before a line that was
right for eight months, and that raises the error on purpose, perhaps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

__all__ = ["BlamedFrame", "Suspicion", "exclusion", "rank"]

STEP = 1 / 3
HALF_LIFE = timedelta(days=2 * 365.25)
SEEN_AFTER = timedelta(days=120)
APPROXIMATE = 0.5
"""The share of a commit that may not be the one."""

Line = tuple[int, str, int]
"""A repository, the path of a file, and the number of a line."""


@dataclass(frozen=True, slots=True)
class BlamedFrame:
    """A frame, and the commit that its line is blamed on."""

    place: int
    """In the stack trace; the last one failed."""
    line: Line
    sha: str
    date: datetime | None
    """None when unknown."""
    approximate: bool = False

    @property
    def commit(self) -> tuple[int, str]:
        """The repository, and the commit's id."""
        return self.line[0], self.sha


@dataclass(frozen=True, slots=True)
class Suspicion:
    """A suspected commit, and why."""

    frames: Sequence[BlamedFrame]
    """From the nearest to the failure; at least one."""
    lines: int
    """Number of different lines among them."""
    nearest: int
    """Number of lines of other commits between it and the failure."""
    score: float
    age: timedelta | None
    """None when unknown."""
    approximate: bool

    @property
    def sort_key(self) -> tuple[float, float, str, int]:
        """Sorts the most suspicious one first; of equal ones the newest."""
        repository_id, sha = self.frames[0].commit
        age = timedelta.max if self.age is None else self.age
        return -self.score, age.total_seconds(), sha, repository_id


def exclusion(frame: BlamedFrame, *, first_seen: datetime | None, now: datetime, max_age: timedelta | None) -> str:
    """Return why the commit of a frame is no suspect; empty when it is one."""
    if frame.date is None:
        if first_seen is None and max_age is None:
            return ""
        return "the date of the commit is unknown, and so is whether it is younger or too old"
    if first_seen is not None and frame.date > first_seen:
        return f"the commit, of {frame.date:%Y-%m-%d}, is younger than the error"
    if max_age is not None and (first_seen or now) - frame.date > max_age:
        return f"the commit, of {frame.date:%Y-%m-%d}, is older than max_age allows"
    return ""


def rank(frames: Sequence[BlamedFrame], at: datetime, *, seen: bool = False) -> list[Suspicion]:
    """Return the suspected commits, the most suspicious one first.

    A line counts once, for its frame nearest to the failure, however often it was called.

    :param frames: in the order of the calls.
    :param at: when the error was seen first, or now.
    :param seen: True for the former.
    """
    weights: dict[Line, tuple[int, float]] = {}
    by_commit: dict[tuple[int, str], list[BlamedFrame]] = {}
    for frame in reversed(frames):
        if frame.line not in weights:
            weights[frame.line] = (len(weights), STEP ** len(weights))
        by_commit.setdefault(frame.commit, []).append(frame)
    found = [_suspicion(of_commit, weights, at, seen=seen) for of_commit in by_commit.values()]
    return sorted(found, key=lambda suspicion: suspicion.sort_key)


def _suspicion(
    frames: Sequence[BlamedFrame], weights: dict[Line, tuple[int, float]], at: datetime, *, seen: bool
) -> Suspicion:
    date = frames[0].date
    age = None if date is None else max(at - date, timedelta())
    lines = dict.fromkeys(frame.line for frame in frames)
    approximate = all(frame.approximate for frame in frames)
    score = sum(weights[line][1] for line in lines)
    score *= _left_after(age or timedelta(), seen=seen) * (APPROXIMATE if approximate else 1)
    return Suspicion(frames, len(lines), weights[frames[0].line][0], score, age, approximate)


def _left_after(age: timedelta, *, seen: bool) -> float:
    """Return the share that is left for a commit of some age."""
    return 1 / (1 + age / SEEN_AFTER) if seen else 0.5 ** (age / HALF_LIFE)
