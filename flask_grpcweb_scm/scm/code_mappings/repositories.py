"""The trees of an organization's repositories, read for one call: only those that it needs."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from typing import TypeVar

from flask_grpcweb_scm.rpc import CallContext
from flask_grpcweb_scm.scm.code_mappings.roots import Place
from flask_grpcweb_scm.scm.code_mappings.trees import TreeCache, TreeIndex, TreeTooLarge
from flask_grpcweb_scm.scm.database.models import CodeMapping, OrganizationIntegration, Repository, RepositoryStatus
from flask_grpcweb_scm.scm.database.values import provider_name
from flask_grpcweb_scm.scm.lru_cache import LruCache
from flask_grpcweb_scm.scm.mirrors.on_demand import fetch_missing
from flask_grpcweb_scm.scm.pages import Pages
from flask_grpcweb_scm.scm.providers import ProviderError
from flask_grpcweb_scm.scm.queries.repositories import repositories_by_id, repositories_to_search
from flask_grpcweb_scm.scm.queries.tenancy import installations_of
from flask_grpcweb_scm.scm.remotes import parse_remote
from flask_grpcweb_scm.scm.settings import current_settings, kept_in_app
from flask_grpcweb_scm.scm.sources import has_api, needs_api, open_installed_source
from flask_grpcweb_scm.scm.sources.git import GitError
from flask_grpcweb_scm.scm.sources.source import Source

__all__ = ["Branch", "RepositoryTree", "RepositoryTrees", "branch_of", "read_all"]

logger = logging.getLogger(__name__)

READERS = 8
TIP_CACHE_BYTES = 2**20
TIP_BYTES = 500  # of one in the cache, roughly
UNREADABLE = (GitError, ProviderError, TreeTooLarge, TimeoutError)

Result = TypeVar("Result")
Opened = Source | GitError | ProviderError | None
"""A source, or the reason why there is none; None for a repository without any."""
Branch = tuple[int, str]
"""A repository, and the name of a branch; empty for its default branch."""
Tip = tuple[float, tuple[str, "str | None"]]
"""An instant of :func:`time.monotonic` until which it is fresh, and a result of :meth:`Source.tree`."""


@dataclass(slots=True, eq=False)
class RepositoryTree:
    """The newest tree of a branch, or that of a commit; any thread may read it, because it needs no database."""

    repository_id: int
    name: str
    remote: str
    pages: Pages
    branch: str
    """Empty for the source's default branch."""
    trees: TreeCache
    tips: LruCache[Tip]
    context: CallContext
    commit: str = ""
    """The commit that is read in place of the newest one, by the first digits of its id; empty for the newest."""
    source: Source | None = None
    problem: str = ""
    """Reason why it cannot be read."""
    _tree: str = ""

    @property
    def place(self) -> Place:
        """The repository, at a branch whose name is known once the tree has been read."""
        return Place(self.repository_id, self.name, self.branch, self.remote, self.pages)

    def read(self, work: Callable[[TreeIndex, RepositoryTree], Result]) -> Result | None:
        """Return what a function makes of the index of the tree; None when that cannot be read, or there is none.

        The index is not kept: those of all repositories may not fit into memory.
        """
        if self.source is None or self.problem:
            return None
        try:
            index = self._index(self.source)
        except UNREADABLE as error:
            self.fail(error)
            return None
        return None if index is None else work(index, self)

    def fail(self, error: Exception) -> None:
        """Set the problem."""
        self.problem = str(error)
        logger.warning("repository %d could not be searched: %s", self.repository_id, error)

    def _index(self, source: Source) -> TreeIndex | None:
        if not self._tree:
            branch, tree = self._tip(source)
            if tree is None:
                return None
            self._tree, self.branch = self._commit(source) or tree, branch
        return self.trees.get(
            (source.identity, self._tree), lambda: source.files(self._tree), timeout=self.context.remaining()
        )

    def _commit(self, source: Source) -> str:
        """Return the id of the commit to read; empty when there is none, or the source does not have it."""
        commit = self.commit
        if len(commit) not in {0, 40, 64}:
            shas = source.commits_starting_with(commit)
            commit = shas[0] if len(shas) == 1 else ""
        return commit if commit and source.has_commit(commit) else ""

    def _tip(self, source: Source) -> tuple[str, str | None]:
        key = (self.repository_id, source.identity, self.branch)
        until, tip = self.tips.get(key) or (0.0, ("", None))
        if until <= time.monotonic():
            tip = source.tree(self.branch)
            if source.tree_seconds:
                self.tips.put(key, (time.monotonic() + source.tree_seconds, tip), TIP_BYTES)
        return tip


class RepositoryTrees:
    """The trees that a call may read: of the caller's repositories of an organization that have a source.

    A disabled one is read for the code mappings that it has, and gets no new ones.

    :param commits: to read in place of the newest ones, by repository.
    """

    def __init__(self, organization_id: int, context: CallContext, commits: Mapping[int, str] | None = None) -> None:
        self.organization_id, self.context, self._commits = organization_id, context, commits or {}
        self._trees: dict[tuple[int, str], RepositoryTree] = {}
        self._rows: dict[int, Repository] = {}
        self._readable: Mapping[int, OrganizationIntegration] | None = None

    def all(self) -> list[RepositoryTree]:
        """Return the trees of all default branches of active repositories, of the oldest repository first."""
        self._load(None)
        active = [self._rows[row_id] for row_id in sorted(self._rows) if self.is_active(row_id)]
        return self._open([(row, row.default_branch) for row in active])

    def is_active(self, repository_id: int) -> bool:
        """Tell whether a repository whose tree has been read may get new code mappings."""
        return self._rows[repository_id].status == RepositoryStatus.ACTIVE

    def existing(
        self, wanted: Mapping[Branch, Collection[str]], has: Callable[[TreeIndex, str], bool] = TreeIndex.has
    ) -> dict[Branch, set[str]]:
        """Return which of these texts the trees of branches have, for each tree that can be read.

        :param has: tells it of one text, by default of the path of a file.
        """
        trees = self._of_branches(wanted)
        texts: dict[RepositoryTree, set[str]] = {}
        for branch, tree in trees.items():
            texts.setdefault(tree, set()).update(wanted[branch])
        found = dict(read_all(texts, lambda index, tree: {text for text in texts[tree] if has(index, text)}))
        return {branch: found[tree].intersection(wanted[branch]) for branch, tree in trees.items() if tree in found}

    def read(self, branch: Branch, work: Callable[[TreeIndex, RepositoryTree], Result]) -> Result | None:
        """Return what a function makes of the tree of a branch; None when that cannot be read, or there is none."""
        tree = self._of_branches([branch]).get(branch)
        return None if tree is None else tree.read(work)

    def place(self, branch: Branch) -> Place:
        """Return the place of a branch whose tree has been read."""
        return self._of_branches([branch])[branch].place

    def sources(self, repository_ids: Collection[int]) -> dict[int, tuple[Repository, Opened]]:
        """Return repositories that the caller may reach, each with its source: None, or an error, without one."""
        missing = [row_id for row_id in repository_ids if row_id not in self._rows]
        rows = {**self._rows, **(repositories_by_id(self.context, self.organization_id, missing) if missing else {})}
        found = [rows[row_id] for row_id in repository_ids if row_id in rows]
        return {row.id: (row, opened) for row, opened in zip(found, self._open_sources(found), strict=True)}

    def _of_branches(self, wanted: Collection[Branch]) -> dict[Branch, RepositoryTree]:
        """Return the trees of branches; an empty name is that of the repository's default branch."""
        unknown = {repository_id for repository_id, _ in wanted} - self._rows.keys()
        if unknown:
            self._load(unknown)
        known = [(row_id, branch) for row_id, branch in wanted if row_id in self._rows]
        rows = [(self._rows[row_id], branch or self._rows[row_id].default_branch) for row_id, branch in known]
        return dict(zip(known, self._open(rows), strict=True))

    def problems(self) -> list[str]:
        """Return why repositories could not be searched."""
        return [f"{tree.name} could not be searched: {tree.problem}" for tree in self._trees.values() if tree.problem]

    @property
    def _installations(self) -> Mapping[int, OrganizationIntegration]:
        """By the id of the integration: those with an API to read."""
        if self._readable is None:
            installed = installations_of(self.organization_id)
            self._readable = {row_id: row for row_id, row in installed.items() if has_api(row.integration)}
        return self._readable

    def _installation(self, row: Repository) -> OrganizationIntegration | None:
        return self._installations.get(row.integration_id or 0) if needs_api(row) else None

    def _load(self, only: Collection[int] | None) -> None:
        for row in repositories_to_search(self.context, self.organization_id, self._installations, only=only):
            self._rows[row.id] = row

    def _open(self, branches: Sequence[tuple[Repository, str]]) -> list[RepositoryTree]:
        """Return the trees of these branches."""
        new = [(row, branch) for row, branch in dict.fromkeys(branches) if (row.id, branch) not in self._trees]
        opened = self._open_sources([row for row, _ in new])
        for (row, branch), source in zip(new, opened, strict=True):
            tree = self._trees[row.id, branch] = RepositoryTree(
                row.id,
                row.name,
                _remote(row.url),
                Pages.of(row.url, provider_name(row.provider)),
                branch,
                kept_in_app("trees", lambda: TreeCache(current_settings().tree_cache_bytes)),
                kept_in_app("tree_tips", lambda: LruCache(TIP_CACHE_BYTES)),
                self.context,
                self._commits.get(row.id, ""),
            )
            if isinstance(source, Exception):
                tree.fail(source)
            else:
                tree.source = source
        return [self._trees[row.id, branch] for row, branch in branches]

    def _open_sources(self, rows: Sequence[Repository]) -> list[Opened]:
        """Return a source for each of these rows; what only other machines have is fetched."""
        errors = fetch_missing({row: self._installation(row) for row in rows}, self.context, skip_failed=True)
        return [errors.get(row.id) or self._open_source(row) for row in rows]

    def _open_source(self, row: Repository) -> Opened:
        try:
            return open_installed_source(row, self._installation(row), self.context)
        except ProviderError as error:
            return error


def _remote(url: str) -> str:
    """Return host and path of the URL of a remote: ``github.com/acme/shared``; empty for none."""
    remote = parse_remote(url)
    return "" if remote is None else f"{remote.host}/{remote.path}"


def branch_of(mapping: CodeMapping) -> Branch:
    """Return the branch that a code mapping leads to."""
    return mapping.repository_id, mapping.default_branch


def read_all(
    trees: Collection[RepositoryTree], work: Callable[[TreeIndex, RepositoryTree], Result]
) -> list[tuple[RepositoryTree, Result]]:
    """Read trees in threads; return what a function makes of each that can be read."""
    if len(trees) > 1:
        with ThreadPoolExecutor(min(READERS, len(trees))) as pool:
            # In the context of the call: what it runs belongs to its span.
            contexts = [copy_context() for _ in trees]
            results = list(pool.map(lambda context, tree: context.run(tree.read, work), contexts, trees))
    else:
        results = [tree.read(work) for tree in trees]  # in this thread: starting another one is slow
    return [(tree, result) for tree, result in zip(trees, results, strict=True) if result is not None]
