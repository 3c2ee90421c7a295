"""Roots of code mappings: those that lead from a path to a file, told apart from others, and what they cover; pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from flask_grpcweb_scm.scm.code_mappings.frames import StackPath
from flask_grpcweb_scm.scm.code_mappings.trees import common_length, source_set
from flask_grpcweb_scm.scm.pages import Pages
from flask_grpcweb_scm.scm.validation import MAX_ROOT_CHARACTERS

__all__ = [
    "Mapped",
    "Place",
    "Roots",
    "Target",
    "apply_root",
    "choose_roots",
    "covering",
    "find_roots",
    "find_tied",
    "possible_roots",
    "target_of",
    "ties_of",
]

MAX_ORIGINS = 20  # of the paths below one root, which say where others are


@dataclass(frozen=True, slots=True)
class Place:
    """A repository at its default branch."""

    repository_id: int
    name: str
    branch: str
    remote: str = ""
    """Host and path of its remote, such as ``github.com/acme/shared``; empty when unknown."""
    pages: Pages = Pages()  # noqa: RUF009  # frozen

    @property
    def key(self) -> tuple[int, str]:
        """The repository, and the branch."""
        return self.repository_id, self.branch

    @property
    def identities(self) -> list[list[str]]:
        """Segments of its names, in lower case."""
        names = [self.remote] if self.remote else []
        return [name.lower().split("/") for name in [*names, self.name]]


@dataclass(frozen=True, slots=True)
class Roots:
    """The two roots of a code mapping: `source_root` replaces `stack_root`."""

    stack_root: str
    source_root: str

    def lead_to(self, path: str, file: str) -> bool:
        """Tell whether replacing the first stack root in the path gives the file; an empty root is at the start."""
        return path.replace(self.stack_root, self.source_root, 1).replace("\\", "/") == file


Target = tuple[int, str]
"""The repository and the source root to which a stack root leads."""


@dataclass(frozen=True, slots=True, eq=False)
class Mapped:
    """The file that a text of a frame means, and the shortest roots that lead to it."""

    place: Place
    file: str
    text: str
    roots: Roots | None
    """None when no folder leads there: only the name of the file is known."""

    def __str__(self) -> str:
        return f"{self.file} in {self.place.name}"

    def chain(self) -> Iterator[Roots]:
        """Yield the roots that lead to the file, each a folder longer than the one before."""
        if self.roots is None:
            return
        yield self.roots
        start = len(self.roots.stack_root)
        rest = self.text[start : MAX_ROOT_CHARACTERS + 1]
        source, room = self.roots.source_root, MAX_ROOT_CHARACTERS - len(self.roots.source_root)
        for separator in re.finditer(r"[/\\]", rest):
            end = separator.end()
            if end > room or start + end > MAX_ROOT_CHARACTERS:
                return
            folder = (source + rest[:end]).replace("\\", "/").removeprefix("/")
            yield Roots(self.text[: start + end], folder)


# --- From a path to a file ---


def find_roots(path: StackPath, file: str) -> Roots | None:
    """Return the shortest roots that lead from a path to a file; None when there are none.

    The stack root is empty only for a path without folders.
    """
    roots = _compare(path, file)
    if roots is None or not roots.lead_to(path.raw, file) or not path.raw.startswith(roots.stack_root):
        return None
    if not roots.stack_root and (folder := re.match(r"[^/\\]*[/\\]", path.raw)) is not None:
        # "A relative path whose roots would be '' → '' keeps its first folder in both."
        return Roots(folder[0], f"{roots.source_root}{folder[0][:-1]}/")
    return roots


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
    # One pass from the end, and one to the first segment that begins in what both have.
    start = len(rest) - common_length(rest[::-1], file[::-1])
    if start > 0 and rest[start - 1] != "/":
        start = rest.find("/", start) + 1 or len(rest)
    end = rest[start:]
    if not end:
        return None
    source_root = file.removesuffix(end)
    return Roots(
        head + rest[:start].replace("/", separator),
        source_root + "/" if source_root and source_root[-1] != "/" else source_root,
    )


# --- What other frames say ---


def ties_of(decided: Iterable[Mapped]) -> dict[str, set[tuple[Place, str]]]:
    """Return the repositories and source roots to which decided frames lead, by stack root."""
    ties: dict[str, set[tuple[Place, str]]] = {}
    for mapped in decided:
        for roots in mapped.chain():
            ties.setdefault(roots.stack_root, set()).add((mapped.place, roots.source_root))
    return ties


def find_tied(path: StackPath, ties: Mapping[str, set[tuple[Place, str]]]) -> list[list[Mapped]]:
    """Return what an undecided path would mean by each root of other frames that covers it, the longest first.

    Of these files any may not exist.
    """
    roots = {root for root in possible_roots(path.raw) if len(ties.get(root, ())) in range(1, MAX_ORIGINS + 1)}
    return [
        [
            Mapped(place, apply_root(path.raw, root, source_root), path.raw, Roots(root, source_root))
            for place, source_root in ties[root]
        ]
        for root in sorted(roots, key=len, reverse=True)
    ]


def choose_roots(
    decided: Collection[Mapped], covered: Iterable[Mapped], is_free: Callable[[str, Target], bool]
) -> dict[Mapped, Roots]:
    """Choose for each decided frame the shortest roots below which all frames are where these lead.

    A frame that no folder tells apart from others gets none, unless the others are tests of its folder.

    :param covered: frames that have code mappings already.
    :param is_free: tells whether a stack root may get a target.
    """
    fixed = set(covered)
    chains = {mapped: list(mapped.chain()) for mapped in [*decided, *fixed]}
    last: dict[str, set[Target]] = {}
    for mapped, chain in chains.items():
        if chain:
            last.setdefault(chain[-1].stack_root, set()).add(target_of(mapped, chain[-1]))
    winners = {root: _winners(targets) for root, targets in last.items()}
    held = {chain[-1].stack_root for mapped, chain in chains.items() if chain and mapped in fixed}
    kept = {
        mapped: chain
        for mapped, chain in chains.items()
        if chain
        and (
            mapped in fixed
            or len(last[chain[-1].stack_root]) == 1
            or (target_of(mapped, chain[-1]) in winners[chain[-1].stack_root] and chain[-1].stack_root not in held)
        )
    }
    targets: dict[str, set[Target]] = {}
    for mapped, chain in kept.items():
        for roots in chain:
            targets.setdefault(roots.stack_root, set()).add(target_of(mapped, roots))
    chosen: dict[Mapped, Roots] = {}
    for mapped in decided:
        for roots in kept.get(mapped, ()):
            target = target_of(mapped, roots)
            alone = targets[roots.stack_root] == {target} or roots is kept[mapped][-1]
            if alone and is_free(roots.stack_root, target):
                chosen[mapped] = roots
                break
    return chosen


def target_of(mapped: Mapped, roots: Roots) -> Target:
    """Return where roots that lead to a file lead."""
    return mapped.place.repository_id, roots.source_root


def _winners(targets: set[Target]) -> set[Target]:
    """Return the only target of several in ``src/main/``, when the others are in ``src/test/``."""
    main = {target for target in targets if source_set(target[1]) == "main"}
    others = {source_set(target[1]) for target in targets - main}
    return main if len(main) == 1 and others <= {"test"} else set()


# --- Which paths a stack root covers ---


def covering(path: str, ranks: Mapping[str, int]) -> list[int]:
    """Return the ranks, lowest first, of the stack roots that a path starts with on a segment boundary.

    ``/app`` covers ``/app/x.py`` and not ``/application/x.py``; an empty root covers every relative path.

    :param ranks: by stack root.
    """
    found = {ranks[start] for start in possible_roots(path) if start in ranks}
    if "" in ranks and _NOT_RELATIVE.match(path):
        found.discard(ranks[""])
    return sorted(found)


# Absolute paths, URLs and files without a name.
_NOT_RELATIVE = re.compile(r"[/\\<\[~]|[\w.+-]+:|$")


def apply_root(path: str, stack_root: str, source_root: str) -> str:
    """Replace the stack root of a path that it covers, which gives the path in the repository."""
    rest = path.removeprefix(stack_root)
    return (source_root + (rest if stack_root else rest.removeprefix("./"))).replace("\\", "/").removeprefix("/")


def possible_roots(path: str) -> Iterator[str]:
    """Yield the stack roots that cover a path: its prefixes up to each separator, without it and with it, and none."""
    yield ""
    for index, character in enumerate(path[: MAX_ROOT_CHARACTERS + 1]):
        if character in "/\\":
            yield path[:index]
            yield path[: index + 1]
    if len(path) <= MAX_ROOT_CHARACTERS:
        yield path
