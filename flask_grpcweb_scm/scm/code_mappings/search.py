"""Search of an organization's repositories for the files that paths of a stack trace mean."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field

from flask_grpcweb_scm.rpc import CallContext
from flask_grpcweb_scm.scm.code_mappings.decide import Finding, Place, decide
from flask_grpcweb_scm.scm.code_mappings.frames import StackPath
from flask_grpcweb_scm.scm.code_mappings.tree_cache import TreeCache
from flask_grpcweb_scm.scm.code_mappings.tree_index import Matches, TreeTooLarge
from flask_grpcweb_scm.scm.database.models import Project, Repository
from flask_grpcweb_scm.scm.lru_cache import LruCache
from flask_grpcweb_scm.scm.providers.errors import ProviderError
from flask_grpcweb_scm.scm.queries.repositories import active_repositories
from flask_grpcweb_scm.scm.settings import current_settings, kept_in_app
from flask_grpcweb_scm.scm.sources.git_process import GitError
from flask_grpcweb_scm.scm.sources.open import open_source
from flask_grpcweb_scm.scm.sources.source import Source

__all__ = ["search_repositories"]

logger = logging.getLogger(__name__)

READERS = 8
TIP_CACHE_BYTES = 2**20
TIP_BYTES = 500  # of one in the cache, roughly
UNREADABLE = (GitError, ProviderError, TreeTooLarge, TimeoutError)

Tip = tuple[float, tuple[str, "str | None"]]
"""An instant of :func:`time.monotonic` until which it is fresh, and a result of :meth:`Source.tree`."""


def search_repositories(
    project: Project, paths: Sequence[StackPath], context: CallContext
) -> tuple[dict[StackPath, Finding], list[str]]:
    """Find out which file each path means in the active repositories of a project's organization.

    Returns a finding for each path, and the problems of repositories that could not be searched.
    """
    repositories = active_repositories(project.organization_id) if paths else ()
    searches = [search for repository in repositories if (search := _prepare(repository, context)) is not None]
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


def _prepare(repository: Repository, context: CallContext) -> _Search | None:
    """Prepare the search of a repository; None when it has no source."""
    trees = kept_in_app("trees", lambda: TreeCache(current_settings().tree_cache_bytes))
    tips: LruCache[Tip] = kept_in_app("tips", lambda: LruCache(TIP_CACHE_BYTES))
    search = _Search(repository.id, repository.name, repository.default_branch, trees, tips, context)
    try:
        search.source = open_source(repository, context)
    except ProviderError as error:
        search.fail(error)
        return search
    return None if search.source is None else search


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
