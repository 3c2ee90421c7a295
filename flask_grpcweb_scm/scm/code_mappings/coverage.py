"""Stored code mappings: which paths they cover, and which of them lead to no file any more."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from flask_grpcweb_scm.pb import scm_pb2
from flask_grpcweb_scm.rpc import CallContext
from flask_grpcweb_scm.scm.code_mappings.frames import Reading
from flask_grpcweb_scm.scm.code_mappings.repositories import Branch, RepositoryTrees, branch_of
from flask_grpcweb_scm.scm.code_mappings.roots import Mapped, Place, Roots, apply_root, covering
from flask_grpcweb_scm.scm.code_mappings.trees import TreeIndex, main_file, source_set
from flask_grpcweb_scm.scm.database.models import CodeMapping

__all__ = ["Cover", "Coverage"]

Outcome = scm_pb2.PathOutcome


@dataclass(frozen=True, slots=True)
class Cover:
    """A code mapping that covers a path."""

    mapping: CodeMapping
    text: str
    file: str
    place: Place | None
    """None when the tree could not be read: then nobody knows that the file exists."""

    @property
    def mapped(self) -> Mapped | None:
        """The file, which other frames may be tied to."""
        if self.place is None or not self.mapping.stack_root:
            return None
        return Mapped(self.place, self.file, self.text, Roots(self.mapping.stack_root, self.mapping.source_root))

    def outcome(self, path: str) -> scm_pb2.PathOutcome:
        """Return the outcome of a frame."""
        mapping = self.mapping
        return Outcome(
            path=path,
            outcome=Outcome.OUTCOME_COVERED,
            code_mapping_id=mapping.id,
            source_path=self.file,
            reason=f"code mapping {mapping.id} covers it: {mapping.stack_root!r} becomes {mapping.source_root!r}",
            repository_id=mapping.repository_id,
            branch=mapping.default_branch if self.place is None else self.place.branch,
            source_url="" if self.place is None else self.place.pages.file(self.file, branch=self.place.branch),
        )


class Coverage:
    """Stored code mappings in order of precedence, and which of them have been used.

    A mapping covers a path when the file is there; where the tree cannot be read, whatever it leads to.
    """

    def __init__(self, mappings: Sequence[CodeMapping], trees: RepositoryTrees, context: CallContext) -> None:
        self.mappings = mappings
        self._trees = trees
        self._context = context
        self._ranks = {mapping.stack_root: rank for rank, mapping in enumerate(mappings)}
        self._used: set[int] = set()

    def used(self) -> list[CodeMapping]:
        """Return the mappings that covered a path."""
        return [self.mappings[rank] for rank in sorted(self._used)]

    def cover(self, readings: Collection[Reading]) -> dict[Reading, Cover]:
        """Return the mapping that decides for each reading that one covers."""
        candidates: dict[Reading, list[tuple[int, str, str]]] = {}
        wanted: dict[Branch, set[str]] = {}
        for reading in readings if self.mappings else ():
            self._context.check_deadline()
            candidates[reading] = [*self._candidates(reading)]
            for rank, _, file in candidates[reading]:
                wanted.setdefault(branch_of(self.mappings[rank]), set()).update((file, main_file(file)))
        there = self._trees.existing(wanted)
        places = {branch: self._trees.place(branch) for branch in there}
        covers: dict[Reading, Cover] = {}
        for reading, found in candidates.items():
            for rank, text, file in found:
                mapping = self.mappings[rank]
                branch = branch_of(mapping)
                if branch in there and not _leads_to(mapping, text, file, there[branch]):
                    continue
                self._used.add(rank)
                covers.setdefault(reading, Cover(mapping, text, file, places.get(branch)))
        return covers

    def dead_roots(self, stack_roots: Iterable[str]) -> set[str]:
        """Return those stack roots whose generated mappings have no file below their source roots any more."""
        rows = [
            self.mappings[self._ranks[root]]
            for root in set(stack_roots)
            if root in self._ranks and self.mappings[self._ranks[root]].automatically_generated
        ]
        wanted: dict[Branch, set[str]] = {}
        for row in rows:
            wanted.setdefault(branch_of(row), set()).add(row.source_root)
        living = self._trees.existing(wanted, TreeIndex.has_below)
        return {row.stack_root for row in rows if row.source_root not in living.get(branch_of(row), {row.source_root})}

    def _candidates(self, reading: Reading) -> Iterator[tuple[int, str, str]]:
        """Yield rank, text and file of mappings that may cover a reading, in order of precedence."""
        found = [(rank, text) for text in reading.texts if text for rank in covering(text, self._ranks)]
        # Users' mappings come first, whichever text they cover.
        for rank, text in sorted(found, key=lambda each: self.mappings[each[0]].automatically_generated):
            mapping = self.mappings[rank]
            if mapping.automatically_generated and not _is_within(reading, text, mapping.stack_root):
                continue
            yield rank, text, apply_root(text, mapping.stack_root, mapping.source_root)


def _leads_to(mapping: CodeMapping, text: str, file: str, there: Collection[str]) -> bool:
    """Tell whether a mapping leads from a text to a file.

    A generated one does not lead to a test that ``src/main/`` has too, unless the text says that it is the test.
    """
    if file not in there:
        return False
    main = main_file(file)
    is_chosen = mapping.automatically_generated and main != file and not source_set(text.replace("\\", "/"))
    return not is_chosen or main not in there


def _is_within(reading: Reading, text: str, stack_root: str) -> bool:
    """Tell whether a generated mapping may cover a reading: no library, and a package only by its own folder."""
    if reading.package is not None:
        return text == reading.package.path and len(stack_root) >= reading.package.root
    return not reading.library
