"""Decisions: which file a path of a stack trace means, the roots that lead to it, and which paths they cover; pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from flask_grpcweb_scm.scm.code_mappings.frames import StackPath
from flask_grpcweb_scm.scm.code_mappings.trees import EXAMPLES, Matches
from flask_grpcweb_scm.scm.validation import MAX_ROOT_CHARACTERS

__all__ = ["Finding", "Place", "Roots", "apply_root", "choose", "covering", "decide", "find_roots", "possible_roots"]


@dataclass(frozen=True, slots=True)
class Place:
    """A repository at its default branch."""

    repository_id: int
    name: str
    branch: str


@dataclass(frozen=True, slots=True)
class Roots:
    """The two roots of a code mapping: `source_root` replaces `stack_root`."""

    stack_root: str
    source_root: str

    def lead_to(self, path: str, file: str) -> bool:
        """Tell whether replacing the first stack root in the path gives the file; an empty root is at the start."""
        return path.replace(self.stack_root, self.source_root, 1).replace("\\", "/") == file


def find_roots(path: StackPath, file: str) -> Roots | None:
    """Return the shortest roots that lead from a path to a file; None when there are none."""
    roots = _compare(path, file)
    return roots if roots is not None and roots.lead_to(path.raw, file) else None


def _compare(path: StackPath, file: str) -> Roots | None:
    rest, head = path.raw, ""
    if rest[:1] in {"/", "\\"}:
        head, rest = rest[0], rest[1:]
    if rest == file:
        return Roots(head, "")
    if not rest or not file:
        return None
    if file.endswith(rest):
        before = file.removesuffix(rest)
        if "/" not in rest:
            return Roots("", before)
        # The file is deeper in the repository: the first folder that both know stays in both roots.
        return Roots(*((start + path.stack_root + "/").replace("//", "/") for start in (head, before)))
    if rest.endswith(file):
        return Roots(head + rest.removesuffix(file), "")
    return _overlap(rest, file, head)


def _overlap(rest: str, file: str, head: str) -> Roots | None:
    """Find the longest end of the path that the file ends with, when neither ends with the other."""
    separator = "/" if "/" in rest else "\\"
    rest = rest.replace("\\", "/") if separator == "\\" else rest
    for prefix in ("app:///", "../", "./"):
        while rest.startswith(prefix):
            head, rest = head + prefix, rest.removeprefix(prefix)
    segments = rest.split("/")
    for dropped in range(len(segments)):
        end = "/".join(segments[dropped:])
        if end and file.endswith(end):
            source_root = file.removesuffix(end)
            stack_root = head + "".join(segment + separator for segment in segments[:dropped])
            return Roots(stack_root, source_root + "/" if source_root and source_root[-1] != "/" else source_root)
    return None


@dataclass(frozen=True, slots=True)
class Mapped:
    """The only file that a path can mean, and the roots that lead to it."""

    place: Place
    file: str
    roots: Roots

    def __str__(self) -> str:
        return f"{self.file} in {self.place.name}"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result for one path."""

    path: StackPath
    mapped: Mapped | None
    reason: str
    """Explanation for people."""
    ambiguous: bool = False
    """True when there is no file because there are several candidates."""


def decide(path: StackPath, found: Sequence[tuple[Place, Matches]]) -> Finding:
    """Decide which file a path means: the only candidate of exactly one repository.

    :param found: the matches in each repository that was searched.
    """
    # "Per repository there must be exactly one matching file, else that repository contributes nothing."
    single = [(place, matches.files[0]) for place, matches in found if matches.count == 1]
    survivors = [Mapped(place, file, roots) for place, file in single if (roots := find_roots(path, file)) is not None]
    if len(survivors) == 1:
        return _check_length(path, survivors[0])
    if survivors:
        return Finding(path, None, f"it could be {_list(survivors, len(survivors))}", ambiguous=True)
    several = [(place, matches) for place, matches in found if matches.count > 1]
    if several:
        place, matches = several[0]
        return Finding(path, None, f"it could be {_list(matches.files, matches.count)} in {place.name}", ambiguous=True)
    if single:
        place, file = single[0]
        return Finding(path, None, f"{file} in {place.name} ends alike, but no replacement of a beginning leads there")
    if not found:
        return Finding(path, None, "there is no repository to search")
    where = found[0][0].name if len(found) == 1 else f"{len(found)} repositories"
    return Finding(path, None, f"no source file of {where} ends with {path.normalized}, or is an end of it")


def _check_length(path: StackPath, mapped: Mapped) -> Finding:
    if max(len(mapped.roots.stack_root), len(mapped.roots.source_root)) > MAX_ROOT_CHARACTERS:
        return Finding(path, None, f"it is {mapped}, but a root would have more than {MAX_ROOT_CHARACTERS} characters")
    return Finding(path, mapped, f"it is {mapped}")


def choose(findings: Iterable[Finding]) -> list[Finding]:
    """Choose the findings that become code mappings, each with a stack root of its own."""
    buckets: dict[str, Finding | None] = {}
    for finding in findings:
        # "In a bucket the last decidable frame wins", and buckets stay in order of first appearance.
        buckets.setdefault(finding.path.stack_root, None)
        if finding.mapped is not None:
            buckets[finding.path.stack_root] = finding
    chosen: dict[str, Finding] = {}
    for winner in buckets.values():
        if winner is not None and winner.mapped is not None:
            chosen.setdefault(winner.mapped.roots.stack_root, winner)
    return list(chosen.values())


def _list(candidates: Sequence[object], count: int) -> str:
    few = [str(candidate) for candidate in candidates[:EXAMPLES]]
    if count > len(few):
        return f"{', '.join(few)} or {count - len(few)} more"
    return " or ".join([", ".join(few[:-1]), few[-1]])


def covering(path: str, ranks: Mapping[str, int]) -> list[int]:
    """Return the ranks, lowest first, of the stack roots that a path starts with on a segment boundary.

    ``/app`` covers ``/app/x.py`` and not ``/application/x.py``; an empty root covers every path.

    :param ranks: by stack root.
    """
    return sorted({ranks[start] for start in possible_roots(path) if start in ranks})


def apply_root(path: str, stack_root: str, source_root: str) -> str:
    """Replace the stack root of a path that it covers, which gives the path in the repository."""
    return (source_root + path.removeprefix(stack_root)).replace("\\", "/").removeprefix("/")


def possible_roots(path: str) -> Iterator[str]:
    """Yield the stack roots that cover a path: its prefixes up to each separator, without it and with it, and none."""
    yield ""
    for index, character in enumerate(path[: MAX_ROOT_CHARACTERS + 1]):
        if character in "/\\":
            yield path[:index]
            yield path[: index + 1]
    if len(path) <= MAX_ROOT_CHARACTERS:
        yield path
