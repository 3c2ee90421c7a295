"""Decisions: which file a frame of a stack trace means; pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from flask_grpcweb_scm.scm.code_mappings.frames import Reading, StackPath
from flask_grpcweb_scm.scm.code_mappings.libraries import Package
from flask_grpcweb_scm.scm.code_mappings.roots import Mapped, Place, Roots, find_roots
from flask_grpcweb_scm.scm.code_mappings.trees import EXAMPLES, NOTHING, Matches, TreeIndex
from flask_grpcweb_scm.scm.validation import MAX_ROOT_CHARACTERS

__all__ = ["Finding", "decide", "matches_of"]


@dataclass(frozen=True, slots=True)
class Finding:
    """The result for one frame."""

    mapped: Mapped | None
    reason: str
    """Explanation for people."""
    ambiguous: bool = False
    """True when there is no file because there are several candidates."""
    not_ours: bool = False
    """True for a package that is no organization's own."""


def matches_of(index: TreeIndex, place: Place, reading: Reading) -> list[Matches]:
    """Return the files of a repository that each path of a reading may mean, or its package."""
    if reading.package is not None:
        return [_matches_of_package(index, place, reading.package)]
    return [index.find(path.normalized, top=not path.absolute, tails=not path.whole) for path in reading.paths]


def _matches_of_package(index: TreeIndex, place: Place, package: Package) -> Matches:
    """Return the files that have the package's own name in their path, or in their repository's name."""
    if package.beside:
        beside = index.ending_with(package.beside)
        if beside.count == 1 and not beside.files[0].startswith(package.beside):
            return beside
    if not package.name:
        if "/" in package.file:
            return index.ending_with(package.file)
        files = [file for file in (package.file, f"src/{package.file}") if package.file and index.has(file)]
        return Matches(len(files), files)
    name = [segment.lower() for segment in package.name]
    is_go = "." in name[0] and len(name) > 1
    for identity in place.identities:
        if is_go:
            inside = _file_of_module(index, identity if place.remote else [name[0], *identity], package)
        else:  # owner and repository of npm and Composer, elsewhere the repository alone
            inside = package.file if identity[-len(name) :] == name and index.has(package.file) else ""
        if inside:
            return Matches(1, [inside])
    owners = {identity[-2] for identity in place.identities if len(identity) > 1}
    if is_go or (len(name) > 1 and name[0] not in owners):
        return NOTHING
    # A folder of a repository with many packages.
    return index.ending_with(f"{package.name[-1]}/{package.file}")


def _file_of_module(index: TreeIndex, identity: list[str], package: Package) -> str:
    """Return the file of a Go package in a repository with this host and path; empty when that has none."""
    segments = [*package.name, *package.file.split("/")]
    if [segment.lower() for segment in segments[: len(identity)]] != identity:
        return ""
    below = segments[len(identity) :]
    # A module may be in a folder; a major version is a folder, or a branch.
    module = segments[len(identity) : len(package.name)]
    candidates = [below, below[: len(module) - 1] + below[len(module) :]] if module else [below]
    if module and re.fullmatch(r"v\d+", module[-1]) is None:
        candidates = [below]
    return next((file for file in map("/".join, candidates) if index.has(file)), "")


def decide(reading: Reading, found: Sequence[tuple[Place, Sequence[Matches]]]) -> Finding:
    """Decide which file a frame means by itself: by the first of its paths that means exactly one.

    :param found: the results of :func:`matches_of` in each repository that was searched.
    """
    if reading.package is not None:
        return _decide_package(reading.package, [(place, matches[0]) for place, matches in found])
    findings = [
        _decide_path(path, [(place, matches[number]) for place, matches in found])
        for number, path in enumerate(reading.paths)
    ]
    decided = [finding for finding in findings if finding.mapped is not None]
    ambiguous = [finding for finding in findings if finding.ambiguous]
    return [*decided, *ambiguous, *findings][0]


def _decide_path(path: StackPath, found: Sequence[tuple[Place, Matches]]) -> Finding:
    ends = [(place, matches) for place, matches in found if matches.count and not matches.tail]
    if not ends:
        # "Where neither path is the end of the other": the longest end that they have in common.
        longest = max((matches.tail for _, matches in found), default=0)
        tails = [(place, matches) for place, matches in found if longest and matches.tail == longest]
        if sum(matches.count for _, matches in tails) > 1:
            return _ambiguous([f"{file} in {place.name}" for place, matches in tails for file in matches.files], tails)
        ends = tails
    # "Per repository there must be exactly one matching file, else that repository contributes nothing."
    single = [(place, matches.files[0]) for place, matches in ends if matches.count == 1]
    survivors = [
        Mapped(place, file, path.raw, roots if roots.stack_root and _has_folder(path, file) else None)
        for place, file in single
        if (roots := find_roots(path, file)) is not None
    ]
    if len(survivors) == 1:
        return _check_length(survivors[0])
    if survivors:
        return Finding(None, f"it could be {_list(survivors, len(survivors))}", ambiguous=True)
    several = [(place, matches) for place, matches in ends if matches.count > 1]
    if several:
        place, matches = several[0]
        return Finding(None, f"it could be {_list(matches.files, matches.count)} in {place.name}", ambiguous=True)
    if single:
        place, file = single[0]
        return Finding(None, f"{file} in {place.name} ends alike, but no replacement of a beginning leads there")
    if not found:
        return Finding(None, "there is no repository to search")
    where = found[0][0].name if len(found) == 1 else f"{len(found)} repositories"
    return Finding(None, f"no source file of {where} ends with {path.normalized}, or is an end of it")


def _has_folder(path: StackPath, file: str) -> bool:
    """Tell whether a path says more of a file than its name, which may be the name of others elsewhere."""
    return "/" in path.normalized or "/" not in file


def _decide_package(package: Package, found: Sequence[tuple[Place, Matches]]) -> Finding:
    having = [(place, matches) for place, matches in found if matches.count]
    count = sum(matches.count for _, matches in having)
    if count > 1:
        return _ambiguous([f"{file} in {place.name}" for place, matches in having for file in matches.files], having)
    if not having:
        return Finding(None, "it is in an installed package, which is in no repository", not_ours=True)
    place, matches = having[0]
    file, rest = matches.files[0], package.rest
    # A module without a folder has the folder of all packages as its root.
    folder = bool(package.name) or "/" in package.file
    leads = folder and file.endswith(rest)
    roots = Roots(package.path[: package.root], file.removesuffix(rest)) if leads else None
    return _check_length(Mapped(place, file, package.path, roots))


def _ambiguous(files: Sequence[str], found: Sequence[tuple[Place, Matches]]) -> Finding:
    return Finding(None, f"it could be {_list(files, sum(matches.count for _, matches in found))}", ambiguous=True)


def _check_length(mapped: Mapped) -> Finding:
    roots = mapped.roots
    if roots is not None and max(len(roots.stack_root), len(roots.source_root)) > MAX_ROOT_CHARACTERS:
        return Finding(None, f"it is {mapped}, but a root would have more than {MAX_ROOT_CHARACTERS} characters")
    return Finding(mapped, f"it is {mapped}")


def _list(candidates: Sequence[object], count: int) -> str:
    few = [str(candidate) for candidate in candidates[:EXAMPLES]]
    if count > len(few):
        return f"{', '.join(few)} or {count - len(few)} more"
    return " or ".join([", ".join(few[:-1]), few[-1]])
