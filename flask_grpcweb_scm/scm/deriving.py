"""Code mappings for the frames of a stack trace: the stored ones that cover them, and derived ones for the others."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import sqlalchemy as sa
from flask import current_app

from flask_grpcweb_scm.pb import scm_pb2
from flask_grpcweb_scm.rpc import CallContext
from flask_grpcweb_scm.scm import queries
from flask_grpcweb_scm.scm.code_mapping import apply_root, covering
from flask_grpcweb_scm.scm.commits import open_source
from flask_grpcweb_scm.scm.db import db, insert_new
from flask_grpcweb_scm.scm.derivation import (
    Finding,
    Frame,
    Matches,
    Place,
    StackPath,
    TreeCache,
    TreeTooLarge,
    UnsupportedFrame,
    choose,
    decide,
    read_frame,
)
from flask_grpcweb_scm.scm.git_process import GitError
from flask_grpcweb_scm.scm.models import CodeMapping, Project, Repository
from flask_grpcweb_scm.scm.settings import current_settings
from flask_grpcweb_scm.scm.sources import Source
from flask_grpcweb_scm.scm.trackers import TrackerError
from flask_grpcweb_scm.scm.validation import branch_problem

__all__ = ["Derivation", "derive"]

logger = logging.getLogger(__name__)

READERS = 8
UNREADABLE = (GitError, TrackerError, TreeTooLarge, TimeoutError)
PROBLEMS = 3  # to name in an outcome

Outcome = scm_pb2.PathOutcome


@dataclass(frozen=True, slots=True)
class Derivation:
    """What a stack trace came to."""

    mappings: list[CodeMapping]
    """Those that were there, in order of precedence, then those derived; on a dry run the latter have no id."""
    outcomes: list[scm_pb2.PathOutcome]
    """One for each frame."""


def derive(project: Project, frames: Sequence[Frame], *, dry_run: bool, context: CallContext) -> Derivation:
    """Find or make the code mappings of a project that cover frames of a stack trace.

    :param dry_run: make them without storing them.
    """
    stored = _Coverage(queries.code_mappings_of(project))
    outcomes: dict[int, scm_pb2.PathOutcome] = {}
    uncovered: dict[int, StackPath] = {}
    for index, frame in enumerate(frames):
        path, problem = _read(frame)
        if cover := stored.cover(frame, path):
            outcomes[index] = cover
        elif path is None:
            outcomes[index] = Outcome(path=frame.text, outcome=Outcome.OUTCOME_UNSUPPORTED, reason=problem)
        else:
            uncovered[index] = path
    findings, problems = _search(project, list(dict.fromkeys(uncovered.values())), context)
    made = _record(project, choose(findings[path] for path in uncovered.values()), dry_run=dry_run)
    derived = _Coverage(sorted(made, key=lambda mapping: -len(mapping.stack_root)))
    for index, path in uncovered.items():
        outcomes[index] = derived.explain(frames[index].text, findings[path], problems)
    return Derivation([*stored.used(), *made], [outcomes[index] for index in range(len(frames))])


def _read(frame: Frame) -> tuple[StackPath | None, str]:
    try:
        return read_frame(frame), ""
    except UnsupportedFrame as problem:
        return None, str(problem)


class _Coverage:
    """Code mappings in order of precedence, and which of them have been used."""

    def __init__(self, mappings: Sequence[CodeMapping]) -> None:
        self.mappings = mappings
        self._ranks = {mapping.stack_root: rank for rank, mapping in enumerate(mappings)}
        self._used: set[int] = set()

    def used(self) -> list[CodeMapping]:
        """The mappings that covered something."""
        return [self.mappings[rank] for rank in sorted(self._used)]

    def cover(self, frame: Frame, path: StackPath | None) -> scm_pb2.PathOutcome | None:
        """The outcome of a frame that a mapping covers, by its path or else by its absolute path."""
        text = frame.path if path is None else path.raw
        mapping = self._best(text)
        if mapping is None and not frame.names_module and frame.abs_path:
            text = frame.abs_path
            mapping = self._best(text, with_empty=False)
        if mapping is None:
            return None
        return Outcome(
            path=frame.text,
            outcome=Outcome.OUTCOME_COVERED,
            code_mapping_id=mapping.id,
            source_path=apply_root(text, mapping.stack_root, mapping.source_root),
            reason=f"code mapping {mapping.id} covers it: {mapping.stack_root!r} becomes {mapping.source_root!r}",
        )

    def explain(self, text: str, finding: Finding, problems: Sequence[str]) -> scm_pb2.PathOutcome:
        """The outcome of a path, now that these mappings are derived."""
        mapping = self._best(finding.path.raw)
        if mapping is not None:
            file = apply_root(finding.path.raw, mapping.stack_root, mapping.source_root)
            meant = finding.mapped is not None and finding.mapped.file == file
            reason = finding.reason if meant else f"a path with the same root is mapped so; by itself {finding.reason}"
            return Outcome(
                path=text,
                outcome=Outcome.OUTCOME_DERIVED,
                code_mapping_id=mapping.id,
                source_path=file,
                reason=reason,
            )
        if finding.mapped is not None:
            reason = f"{finding.reason}, but a later path with the same root says otherwise; send it by itself"
            return Outcome(path=text, outcome=Outcome.OUTCOME_AMBIGUOUS, reason=reason)
        outcome = Outcome.OUTCOME_AMBIGUOUS if finding.ambiguous else Outcome.OUTCOME_NO_MATCH
        return Outcome(path=text, outcome=outcome, reason="; ".join([finding.reason, *problems]))

    def _best(self, text: str, *, with_empty: bool = True) -> CodeMapping | None:
        ranks = [rank for rank in covering(text, self._ranks) if with_empty or self.mappings[rank].stack_root]
        self._used.update(ranks)
        return self.mappings[ranks[0]] if ranks else None


def _search(
    project: Project, paths: Sequence[StackPath], context: CallContext
) -> tuple[dict[StackPath, Finding], list[str]]:
    """What each path means in the repositories of the project's organization, and which of these could not be read."""
    repositories = queries.active_repositories(project.organization_id) if paths else ()
    searches = [search for repository in repositories if (search := _prepare(repository, context)) is not None]
    if searches:
        with ThreadPoolExecutor(min(READERS, len(searches))) as pool:
            # Only what matches is kept of a tree: those of all repositories together may be larger than memory.
            list(pool.map(lambda search: search.run(paths), searches))
    context.check_deadline()
    done = [search for search in searches if search.place is not None]
    findings = {
        path: decide(path, [(search.place, search.found[index]) for search in done if search.place])
        for index, path in enumerate(paths)
    }
    problems = [f"{search.name} could not be searched: {search.problem}" for search in searches if search.problem]
    return findings, problems[:PROBLEMS]


def _prepare(repository: Repository, context: CallContext) -> _Search | None:
    """What to do in a repository; None when its contents are nowhere."""
    search = _Search(repository.id, repository.name, repository.default_branch, _tree_cache(), context)
    try:
        search.source = open_source(repository, context)
    except TrackerError as error:
        search.problem = str(error)
        return search
    return None if search.source is None else search


@dataclass(slots=True)
class _Search:
    """Looking for paths in one repository; it touches no database, and so any thread may do it."""

    repository_id: int
    name: str
    branch: str
    cache: TreeCache
    context: CallContext
    source: Source | None = None
    place: Place | None = None
    """None when there is nothing to search in."""
    found: list[Matches] = field(default_factory=list)
    problem: str = ""

    def run(self, paths: Iterable[StackPath]) -> None:
        """Set what was found of each path, or what the problem was."""
        source = self.source
        if source is None:
            return
        try:
            branch, tree = source.tree(self.branch)
            if tree is None:
                return
            index = self.cache.get(
                (source.identity, tree), lambda: source.files(tree), timeout=self.context.remaining()
            )
        except UNREADABLE as error:
            self.problem = str(error)
            logger.warning("repository %d could not be searched: %s", self.repository_id, error)
            return
        for path in paths:
            self.context.check_deadline()
            self.found.append(index.find(path.normalized))
        self.place = Place(self.repository_id, self.name, branch)


def _tree_cache() -> TreeCache:
    """The cache of the current app."""
    cache: TreeCache = current_app.extensions.setdefault(
        "grpcweb_scm.trees", TreeCache(current_settings().tree_cache_bytes)
    )
    return cache


def _record(project: Project, chosen: Sequence[Finding], *, dry_run: bool) -> list[CodeMapping]:
    """The mappings for these findings, stored unless that is a dry run; a row that is there already stays as it is."""
    rows = [
        {
            "organization_id": project.organization_id,
            "project_id": project.id,
            "repository_id": mapped.place.repository_id,
            "stack_root": mapped.roots.stack_root,
            "source_root": mapped.roots.source_root,
            "default_branch": "" if branch_problem(mapped.place.branch) else mapped.place.branch,
            "automatically_generated": True,
        }
        for finding in chosen
        if (mapped := finding.mapped) is not None
    ]
    if dry_run or not rows:
        return [CodeMapping(**row) for row in rows]
    # Sorted, so that two transactions which add the same roots do not wait for each other.
    statement = insert_new(CodeMapping).values(sorted(rows, key=lambda row: str(row["stack_root"])))
    stored = {mapping.stack_root: mapping for mapping in db.session.scalars(statement.returning(CodeMapping))}
    if len(stored) < len(rows):
        # Another call was faster, which may also have been a user.
        roots = CodeMapping.stack_root.in_([row["stack_root"] for row in rows])
        taken = sa.select(CodeMapping).join(CodeMapping.repository)
        taken = taken.where(CodeMapping.project_id == project.id, roots, queries.EXISTING)
        stored = {mapping.stack_root: mapping for mapping in db.session.scalars(taken)}
    return [stored[row["stack_root"]] for row in rows if row["stack_root"] in stored]
