"""Ranking of suspects: who comes first, and who is none."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from flask_grpcweb_scm.scm.ranking import BlamedFrame, exclusion, rank

NOW = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
DAY = timedelta(days=1)


def stack(*calls: tuple[str, float], repository: int = 1) -> list[BlamedFrame]:
    """Frames, the one that failed last: each a commit and its age in days; a name of one letter and a line for it."""
    return [
        BlamedFrame(place, (repository, f"{place}.py", 1), sha, NOW - days * DAY)
        for place, (sha, days) in enumerate(calls)
    ]


@pytest.mark.parametrize(
    ("calls", "expected"),
    [
        pytest.param([("a", 10), ("b", 10), ("c", 10)], "cba", id="the nearer to the failure, the first"),
        pytest.param([("d", 1), ("d", 1), ("d", 1), ("c", 500)], "cd", id="a decoy in all callers"),
        pytest.param([("d", 1), ("e", 0), ("c", 700)], "ced", id="younger decoys in the callers"),
        pytest.param([("e", 1), ("u", 5 * 365)], "eu", id="a caller that is new, and an old line that everybody calls"),
        pytest.param([("a", 5), ("b", 5), ("a", 5), ("c", 5)], "cab", id="a commit in two frames counts for both"),
        pytest.param([("a", 1)], "a", id="one frame"),
        pytest.param([], "", id="none"),
    ],
)
def test_who_comes_first(calls: list[tuple[str, float]], expected: str) -> None:
    assert "".join(suspicion.frames[0].sha for suspicion in rank(stack(*calls), NOW)) == expected


@pytest.mark.parametrize(
    ("calls", "expected"),
    [
        pytest.param([("e", 1), ("g", 300)], "eg", id="a caller of the day before, and what it passes is refused"),
        pytest.param([("d", 3), ("c", 210)], "cd", id="a caller that was changed after the line that failed"),
        pytest.param([("d", 30), ("e", 20), ("c", 60)], "ced", id="younger decoys in the callers"),
    ],
)
def test_who_comes_first_when_it_is_known_since_when_it_fails(calls: list[tuple[str, float]], expected: str) -> None:
    ranked = rank(stack(*calls), NOW, seen=True)
    assert "".join(suspicion.frames[0].sha for suspicion in ranked) == expected


def test_scores_say_what_the_rule_says() -> None:
    years = 2 * 365.25
    found = rank(stack(("a", 0), ("b", years), ("c", 2 * years)), NOW)
    assert [(suspicion.frames[0].sha, round(suspicion.score, 6)) for suspicion in found] == [
        ("c", 0.25), ("b", round(1 / 3 / 2, 6)), ("a", round(1 / 9, 6)),
    ]  # fmt: skip
    found = rank(stack(("a", 0), ("b", 120), ("c", 240)), NOW, seen=True)
    assert [round(suspicion.score, 6) for suspicion in found] == [
        round(1 / 3, 6), round(1 / 3 / 2, 6), round(1 / 9, 6),
    ]  # fmt: skip


def test_a_line_of_many_calls_counts_once() -> None:
    recursion = [BlamedFrame(place, (1, "tree.py", 4), "r", NOW - 400 * DAY) for place in range(1, 500)]
    frames = [BlamedFrame(0, (1, "main.py", 1), "m", NOW), *recursion]
    first, second = rank(frames, NOW)
    assert (first.frames[0].sha, len(first.frames), first.nearest) == ("r", 499, 0)
    assert [frame.place for frame in first.frames[:3]] == [499, 498, 497]
    assert (second.frames[0].sha, second.nearest, round(second.score, 6)) == ("m", 1, round(1 / 3, 6))


def test_an_approximate_commit_counts_half() -> None:
    frames = [
        BlamedFrame(0, (1, "a.py", 1), "a", NOW),
        BlamedFrame(1, (1, "b.py", 1), "b", NOW, approximate=True),
        BlamedFrame(2, (1, "c.py", 1), "c", NOW, approximate=True),
        BlamedFrame(3, (1, "d.py", 1), "c", NOW),
    ]
    found = {suspicion.frames[0].sha: suspicion for suspicion in rank(frames, NOW)}
    assert [(sha, found[sha].approximate) for sha in "abc"] == [("a", False), ("b", True), ("c", False)]
    assert found["b"].score == pytest.approx(1 / 9 / 2)


def test_equals_are_in_one_order_whatever_theirs_is() -> None:
    """Of commits that blame the same line in two repositories, as in a fork, and in one."""
    stacks = [stack(("b", 3), repository=2), stack(("b", 3)), stack(("a", 3)), stack(("c", 2))]
    ordered = sorted((rank(frames, NOW)[0] for frames in stacks), key=lambda suspicion: suspicion.sort_key)
    assert [suspicion.frames[0].commit for suspicion in ordered] == [(1, "c"), (1, "a"), (1, "b"), (2, "b")]


def test_an_unknown_date_is_no_age_and_comes_after_known_ones() -> None:
    unknown = BlamedFrame(0, (1, "a.py", 1), "a", None)
    (found,) = rank([unknown], NOW)
    assert (found.age, found.score) == (None, 1)
    assert found.sort_key > rank([BlamedFrame(0, (1, "a.py", 1), "b", NOW)], NOW)[0].sort_key


def test_a_commit_of_a_clock_that_is_fast_has_no_negative_age() -> None:
    (found,) = rank([BlamedFrame(0, (1, "a.py", 1), "a", NOW + DAY)], NOW)
    assert (found.age, found.score) == (timedelta(), 1)


SEEN = NOW - 10 * DAY


@pytest.mark.parametrize(
    ("date", "first_seen", "max_age", "part"),
    [
        (SEEN, SEEN, None, ""),
        (SEEN + timedelta(seconds=1), SEEN, None, "younger than the error"),
        (NOW + DAY, None, None, ""),
        (SEEN - 5 * DAY, SEEN, 5 * DAY, ""),
        (SEEN - 5 * DAY - timedelta(seconds=1), SEEN, 5 * DAY, "older than max_age"),
        (NOW - 6 * DAY, None, 5 * DAY, "older than max_age"),
        (None, None, None, ""),
        (None, SEEN, None, "unknown"),
        (None, None, DAY, "unknown"),
    ],
)
def test_who_is_no_suspect(
    date: datetime | None, first_seen: datetime | None, max_age: timedelta | None, part: str
) -> None:
    reason = exclusion(BlamedFrame(0, (1, "a.py", 1), "a", date), first_seen=first_seen, now=NOW, max_age=max_age)
    assert part in reason
    assert bool(part) == bool(reason)
