"""Code mappings for the frames of a stack trace: the stored ones that cover them, and derived ones for the others."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field

from flask_grpcweb_scm.pb import scm_pb2
from flask_grpcweb_scm.rpc import CallContext
from flask_grpcweb_scm.scm.code_mappings.decide import (
    Finding,
    Place,
    apply_root,
    choose,
    covering,
    decide,
    possible_roots,
)
from flask_grpcweb_scm.scm.code_mappings.frames import StackFrame, StackPath, UnsupportedFrame, read_frame
from flask_grpcweb_scm.scm.code_mappings.trees import Matches, TreeCache, TreeTooLarge
from flask_grpcweb_scm.scm.database.db import db, insert_new
from flask_grpcweb_scm.scm.database.models import CodeMapping, OrganizationIntegration, Project, Repository
from flask_grpcweb_scm.scm.lru_cache import LruCache
from flask_grpcweb_scm.scm.providers import ProviderError
from flask_grpcweb_scm.scm.queries.code_mappings import code_mappings_with_roots, precedence, stack_roots_of
from flask_grpcweb_scm.scm.queries.repositories import repositories_to_search
from flask_grpcweb_scm.scm.queries.tenancy import installations_of
from flask_grpcweb_scm.scm.settings import current_settings, kept_in_app
from flask_grpcweb_scm.scm.sources import has_api, open_installed_source
from flask_grpcweb_scm.scm.sources.git import GitError
from flask_grpcweb_scm.scm.sources.source import Source
from flask_grpcweb_scm.scm.validation import branch_problem

__all__ = ["Derivation", "derive", "search_repositories"]

logger = logging.getLogger(__name__)

READERS = 8
TIP_CACHE_BYTES = 2**20
TIP_BYTES = 500  # of one in the cache, roughly
UNREADABLE = (GitError, ProviderError, TreeTooLarge, TimeoutError)
MAX_ROOTS = 20_000  # to look up: more paths than a trace has, or very deep ones
PROBLEMS = 3  # to name in an outcome
MAX_REASON_CHARACTERS = 1000

Outcome = scm_pb2.PathOutcome
Tip = tuple[float, tuple[str, "str | None"]]
"""An instant of :func:`time.monotonic` until which it is fresh, and a result of :meth:`Source.tree`."""


@dataclass(frozen=True, slots=True)
class Derivation:
    """The result for a stack trace."""

    mappings: list[CodeMapping]
    """The stored ones in order of precedence, then the derived ones; on a dry run the latter have no id."""
    outcomes: list[scm_pb2.PathOutcome]
    """One for each frame."""


def derive(project: Project, frames: Sequence[StackFrame], *, dry_run: bool, context: CallContext) -> Derivation:
    """Find or derive the code mappings of a project that cover frames of a stack trace.

    :param dry_run: derive them without storing them.
    """
    paths = [_read(frame) for frame in frames]
    texts = {text for frame, (path, _) in zip(frames, paths, strict=True) for text in _texts(frame, path) if text}
    stored = _Coverage(_stored_mappings(context, project, texts))
    outcomes: dict[int, scm_pb2.PathOutcome] = {}
    uncovered: dict[int, StackPath] = {}
    for index, (frame, (path, problem)) in enumerate(zip(frames, paths, strict=True)):
        if cover := stored.cover(frame, path):
            outcomes[index] = cover
        elif path is None:
            outcomes[index] = Outcome(path=frame.text, outcome=Outcome.OUTCOME_UNSUPPORTED, reason=problem)
        else:
            uncovered[index] = path
    findings, problems = search_repositories(project, list(dict.fromkeys(uncovered.values())), context)
    made = _record(context, project, choose(findings[path] for path in uncovered.values()), dry_run=dry_run)
    derived = _Coverage(sorted(made, key=precedence))
    for index, path in uncovered.items():
        outcomes[index] = derived.explain(frames[index].text, findings[path], problems)
    return Derivation([*stored.used(), *made], [outcomes[index] for index in range(len(frames))])


def _read(frame: StackFrame) -> tuple[StackPath | None, str]:
    try:
        return read_frame(frame), ""
    except UnsupportedFrame as problem:
        return None, str(problem)


def _texts(frame: StackFrame, path: StackPath | None) -> tuple[str, str]:
    """Return the texts that a mapping may cover: the path of a frame, or else its absolute path."""
    return frame.path if path is None else path.raw, "" if frame.names_module else frame.abs_path


def _stored_mappings(context: CallContext, project: Project, texts: Collection[str]) -> Sequence[CodeMapping]:
    """Return the code mappings of a project that cover any of these texts, in order of precedence."""
    roots: set[str] = set()
    for text in texts:
        roots.update(root for root in possible_roots(text) if "\0" not in root)
        if len(roots) > MAX_ROOTS:
            stored = stack_roots_of(project.id)
            roots = {root for text in texts for root in possible_roots(text) if root in stored}
            break
    return code_mappings_with_roots(context, project.id, roots) if roots else ()


class _Coverage:
    """Code mappings in order of precedence, and which of them have been used."""

    def __init__(self, mappings: Sequence[CodeMapping]) -> None:
        self.mappings = mappings
        self._ranks = {mapping.stack_root: rank for rank, mapping in enumerate(mappings)}
        self._used: set[int] = set()

    def used(self) -> list[CodeMapping]:
        """Return the mappings that covered a path."""
        return [self.mappings[rank] for rank in sorted(self._used)]

    def cover(self, frame: StackFrame, path: StackPath | None) -> scm_pb2.PathOutcome | None:
        """Return the outcome of a frame that a mapping covers, by its path or else by its absolute path."""
        text, absolute = _texts(frame, path)
        mapping = self._best(text)
        if mapping is None and absolute:
            text = absolute
            mapping = self._best(text, with_empty=False)
        if mapping is None:
            return None
        return Outcome(
            path=frame.text,
            outcome=Outcome.OUTCOME_COVERED,
            code_mapping_id=mapping.id,
            source_path=apply_root(text, mapping.stack_root, mapping.source_root),
            reason=_short(
                f"code mapping {mapping.id} covers it: {mapping.stack_root!r} becomes {mapping.source_root!r}"
            ),
        )

    def explain(self, text: str, finding: Finding, problems: Sequence[str]) -> scm_pb2.PathOutcome:
        """Return the outcome of a path that none of the stored mappings covers."""
        mapping = self._best(finding.path.raw)
        if mapping is not None:
            file = apply_root(finding.path.raw, mapping.stack_root, mapping.source_root)
            meant = finding.mapped is not None and finding.mapped.file == file
            reason = finding.reason if meant else f"a path with the same root decides; by itself {finding.reason}"
            return Outcome(
                path=text,
                outcome=Outcome.OUTCOME_DERIVED,
                code_mapping_id=mapping.id,
                source_path=file,
                reason=_short(reason),
            )
        if finding.mapped is not None:
            reason = f"{finding.reason}, but a later path with the same root says otherwise; send it by itself"
            return Outcome(path=text, outcome=Outcome.OUTCOME_AMBIGUOUS, reason=_short(reason))
        outcome = Outcome.OUTCOME_AMBIGUOUS if finding.ambiguous else Outcome.OUTCOME_NO_MATCH
        reason = "; ".join([_short(finding.reason), *problems[:PROBLEMS]])
        return Outcome(path=text, outcome=outcome, reason=reason)

    def _best(self, text: str, *, with_empty: bool = True) -> CodeMapping | None:
        ranks = covering(text, self._ranks) if text else []
        ranks = [rank for rank in ranks if with_empty or self.mappings[rank].stack_root]
        self._used.update(ranks)
        return self.mappings[ranks[0]] if ranks else None


def _short(text: str) -> str:
    """Cut a text: the paths in it may have any length, and there may be many outcomes."""
    return text if len(text) <= MAX_REASON_CHARACTERS else text[:MAX_REASON_CHARACTERS] + "…"


def _record(context: CallContext, project: Project, chosen: Sequence[Finding], *, dry_run: bool) -> list[CodeMapping]:
    """Make code mappings of findings, and store them unless this is a dry run; a row that exists stays unchanged."""
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
    in_order = sorted(rows, key=lambda row: str(row["stack_root"]))
    inserted = db.session.scalars(insert_new(CodeMapping).returning(CodeMapping), in_order)
    stored = {mapping.stack_root: mapping for mapping in inserted}
    if len(stored) < len(rows):
        # Another call, perhaps a user's, has stored some meanwhile.
        existing = code_mappings_with_roots(context, project.id, [str(row["stack_root"]) for row in rows])
        stored = {mapping.stack_root: mapping for mapping in existing}
    return [stored[row["stack_root"]] for row in rows if row["stack_root"] in stored]


def search_repositories(
    project: Project, paths: Sequence[StackPath], context: CallContext
) -> tuple[dict[StackPath, Finding], list[str]]:
    """Find out which file each path means in the caller's active repositories of a project's organization.

    Returns a finding for each path, and the problems of repositories that could not be searched.
    """
    searches = _searches(project.organization_id, context) if paths else []
    if len(searches) == 1:
        searches[0].run(paths)  # in this thread: starting another one is slow
    elif searches:
        with ThreadPoolExecutor(min(READERS, len(searches))) as pool:
            # Only the matches of a tree are kept: the trees of all repositories may not fit into memory.
            # In the context of the call: what it runs belongs to its span.
            contexts = [copy_context() for _ in searches]
            list(pool.map(lambda context, search: context.run(search.run, paths), contexts, searches))
    context.check_deadline()
    found = [(search.place, search.matches) for search in searches if search.place is not None]
    findings = {
        path: decide(path, [(place, matches[index]) for place, matches in found]) for index, path in enumerate(paths)
    }
    return findings, [f"{search.name} could not be searched: {search.problem}" for search in searches if search.problem]


def _searches(organization_id: int, context: CallContext) -> list[_Search]:
    """Prepare the search of each repository that has a source."""
    installed = installations_of(organization_id)
    readable = {row_id: row for row_id, row in installed.items() if has_api(row.integration)}
    repositories = repositories_to_search(context, organization_id, readable)
    return [_prepare(repository, readable.get(repository.integration_id or 0), context) for repository in repositories]


def _prepare(repository: Repository, installation: OrganizationIntegration | None, context: CallContext) -> _Search:
    trees = kept_in_app("trees", lambda: TreeCache(current_settings().tree_cache_bytes))
    tips: LruCache[Tip] = kept_in_app("tips", lambda: LruCache(TIP_CACHE_BYTES))
    search = _Search(repository.id, repository.name, repository.default_branch, trees, tips, context)
    try:
        search.source = open_installed_source(repository, installation, context)
    except ProviderError as error:
        search.fail(error)
    return search


@dataclass(slots=True)
class _Search:
    """The search for paths in one repository; any thread may run it, because it needs no database."""

    repository_id: int
    name: str
    branch: str
    trees: TreeCache
    tips: LruCache[Tip]
    context: CallContext
    source: Source | None = None
    place: Place | None = None
    """None when it was not searched."""
    matches: list[Matches] = field(default_factory=list)
    """One for each path."""
    problem: str = ""

    def run(self, paths: Sequence[StackPath]) -> None:
        """Set the matches of each path, or the problem."""
        if self.source is None:
            return
        try:
            self._match(self.source, paths)
        except UNREADABLE as error:
            self.fail(error)

    def fail(self, error: Exception) -> None:
        """Set the problem."""
        self.problem = str(error)
        logger.warning("repository %d could not be searched: %s", self.repository_id, error)

    def _match(self, source: Source, paths: Sequence[StackPath]) -> None:
        branch, tree = self._newest_tree(source)
        if tree is None:
            return
        index = self.trees.get((source.identity, tree), lambda: source.files(tree), timeout=self.context.remaining())
        for path in paths:
            self.context.check_deadline()
            self.matches.append(index.find(path.normalized))
        self.place = Place(self.repository_id, self.name, branch)

    def _newest_tree(self, source: Source) -> tuple[str, str | None]:
        key = (self.repository_id, source.identity, self.branch)
        until, tip = self.tips.get(key) or (0.0, ("", None))
        if until <= time.monotonic():
            tip = source.tree(self.branch)
            if source.tree_seconds:
                self.tips.put(key, (time.monotonic() + source.tree_seconds, tip), TIP_BYTES)
        return tip
