"""Searching the repositories of an organization for the files that paths of a stack trace mean."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from flask_grpcweb_scm.rpc import CallContext
from flask_grpcweb_scm.scm.caches import Tip, tip_cache, tree_cache
from flask_grpcweb_scm.scm.code_mappings import Finding, Matches, Place, StackPath, TreeCache, TreeTooLarge, decide
from flask_grpcweb_scm.scm.commits import open_source
from flask_grpcweb_scm.scm.database.models import Project, Repository
from flask_grpcweb_scm.scm.lru_cache import LruCache
from flask_grpcweb_scm.scm.queries import tenancy as queries
from flask_grpcweb_scm.scm.sources import Source
from flask_grpcweb_scm.scm.sources.git_process import GitError
from flask_grpcweb_scm.scm.trackers import TrackerError

__all__ = ["search_repositories"]

logger = logging.getLogger(__name__)

READERS = 8
TIP_BYTES = 500  # roughly
UNREADABLE = (GitError, TrackerError, TreeTooLarge, TimeoutError)


def search_repositories(
    project: Project, paths: Sequence[StackPath], context: CallContext
) -> tuple[dict[StackPath, Finding], list[str]]:
    """What each path means in the active repositories of a project's organization.

    Returns that, and why which repositories could not be searched: they do not keep the others from it.
    """
    repositories = queries.active_repositories(project.organization_id) if paths else ()
    searches = [search for repository in repositories if (search := _prepare(repository, context)) is not None]
    if len(searches) == 1:
        searches[0].run(paths)  # at once: starting a thread takes its time
    elif searches:
        with ThreadPoolExecutor(min(READERS, len(searches))) as pool:
            # Only what matches is kept of a tree: those of all repositories together may be larger than memory.
            list(pool.map(lambda search: search.run(paths), searches))
    context.check_deadline()
    found = [(search.place, search.matches) for search in searches if search.place is not None]
    findings = {
        path: decide(path, [(place, matches[index]) for place, matches in found]) for index, path in enumerate(paths)
    }
    return findings, [f"{search.name} could not be searched: {search.problem}" for search in searches if search.problem]


def _prepare(repository: Repository, context: CallContext) -> _Search | None:
    """What to do in a repository; None when its contents are nowhere."""
    search = _Search(repository.id, repository.name, repository.default_branch, tree_cache(), tip_cache(), context)
    try:
        search.source = open_source(repository, context)
    except TrackerError as error:
        search.fail(error)
        return search
    return None if search.source is None else search


@dataclass(slots=True)
class _Search:
    """Looking for paths in one repository; it touches no database, and so any thread may do it."""

    repository_id: int
    name: str
    branch: str
    trees: TreeCache
    tips: LruCache[Tip]
    context: CallContext
    source: Source | None = None
    place: Place | None = None
    """None when nothing was searched."""
    matches: list[Matches] = field(default_factory=list)
    """For each path."""
    problem: str = ""

    def run(self, paths: Sequence[StackPath]) -> None:
        """Set what matches each path, or what the problem was."""
        if self.source is None:
            return
        try:
            self._match(self.source, paths)
        except UNREADABLE as error:
            self.fail(error)

    def fail(self, error: Exception) -> None:
        """Say what the problem was."""
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
        until, answer = self.tips.get(key) or (0.0, ("", None))
        if until <= time.monotonic():
            answer = source.tree(self.branch)
            if source.tree_seconds:
                self.tips.put(key, (time.monotonic() + source.tree_seconds, answer), TIP_BYTES)
        return answer
