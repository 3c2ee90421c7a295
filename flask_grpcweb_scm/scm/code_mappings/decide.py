"""Which code mappings follow from the paths of a stack trace and the files of repositories: pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from flask_grpcweb_scm.scm.code_mappings.coverage import MAX_ROOT_CHARACTERS
from flask_grpcweb_scm.scm.code_mappings.frames import StackPath
from flask_grpcweb_scm.scm.code_mappings.roots import Roots, find_roots
from flask_grpcweb_scm.scm.code_mappings.tree_index import EXAMPLES, Matches

__all__ = ["Finding", "Place", "choose", "decide"]


@dataclass(frozen=True, slots=True)
class Place:
    """A repository at its default branch."""

    repository_id: int
    name: str
    branch: str


@dataclass(frozen=True, slots=True)
class Mapped:
    """The one file that a path means, and the roots that lead to it."""

    place: Place
    file: str
    roots: Roots

    def __str__(self) -> str:
        return f"{self.file} in {self.place.name}"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one path means."""

    path: StackPath
    mapped: Mapped | None
    reason: str
    """For a person to read."""
    ambiguous: bool = False
    """Without a file: whether there are too many, not none."""


def decide(path: StackPath, found: Sequence[tuple[Place, Matches]]) -> Finding:
    """The file of exactly one repository that a path can mean.

    :param found: in each repository that was searched.
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
    """The findings that make a mapping, each with a stack root of its own."""
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
