"""Moves of lines that ``git blame -M`` does not see; pure.

git compares a line with what the parents of a commit have elsewhere as the line is in the end, and only when so many
letters and digits were moved together; of a single line that it is asked about, it looks at no others. So it misses a
short line, and one that an ignored revision has changed since; and with ``-M`` it looks at no other file. Here each
commit that a line is blamed on is asked once more, about the line as it was in it and those around: with ``-C``, which
looks at the files that the commit has changed, too, and takes too long for a whole history. A line that the other file
still has was copied: whoever wrote it there did not break it here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from flask_grpcweb_scm.scm.sources.blame import BlamedLine

__all__ = ["HARDER", "OF_COMMIT", "pursue_moves"]

OF_COMMIT = "^!"
"""Of all history just the one commit, which is a comparison with each of its parents, see gitrevisions(7)."""

AROUND = 8
"""Lines before and after a line, which were perhaps moved with it."""
HARDER = ("-M8", "-C8")
"""Compare with all files that a commit has changed, and by as few letters and digits as a short statement has. Then
it has to be gone where it was; and within a file a line beside it must be moved, too: a statement that has changed its
place alone may be what broke."""
MAX_MOVES = 20  # of one line

Blame = Callable[[str, str, Iterable[int], int], Mapping[int, BlamedLine]]
"""A run of ``git blame``: a range of revisions, a path, the numbers of lines, and how many around each."""
IsGone = Callable[[str, str, BlamedLine], bool]
"""Tells whether a commit has moved a line of a parent to a path, and not copied it."""


def pursue_moves(lines: Mapping[int, BlamedLine], blame: Blame, is_gone: IsGone) -> dict[int, BlamedLine]:
    """Return the last changes of lines before moves that git did not see.

    :param lines: what git found, by number.
    """
    found = dict(lines)
    suspected: Mapping[int, BlamedLine] = lines
    for _ in range(MAX_MOVES):
        moved = _moved(suspected, blame, is_gone)
        suspected = {}
        for (sha, path), places in moved.items():
            before = blame(sha, path, places.values(), 0)
            suspected |= {number: before[place] for number, place in places.items()}
        if not suspected:
            break
        found |= suspected
    return found


def _moved(lines: Mapping[int, BlamedLine], blame: Blame, is_gone: IsGone) -> dict[tuple[str, str], dict[int, int]]:
    """Return where lines were that were only moved: by commit and path, numbers of lines by their numbers now."""
    changed: dict[tuple[str, str], dict[int, int]] = {}
    for number, line in lines.items():
        if line.path and not line.is_first:
            changed.setdefault((line.blame.sha, line.path), {})[number] = line.number
    moved: dict[tuple[str, str], dict[int, int]] = {}
    for (sha, path), places in changed.items():
        of_commit = blame(sha + OF_COMMIT, path, places.values(), AROUND)
        for number, place in places.items():
            before = of_commit[place]
            if before.blame.sha == sha or not before.path:
                continue
            if (before.path != path or _is_of_block(of_commit, place)) and is_gone(sha, path, before):
                moved.setdefault((before.blame.sha, before.path), {})[number] = before.number
    return moved


def _is_of_block(lines: Mapping[int, BlamedLine], place: int) -> bool:
    """Tell whether a line beside another one was beside it before."""
    line = lines[place]
    beside = {step: lines[place + step] for step in (-1, 1) if place + step in lines}
    where = (line.blame.sha, line.path, line.number)
    return any(near.text and (near.blame.sha, near.path, near.number - step) == where for step, near in beside.items())
