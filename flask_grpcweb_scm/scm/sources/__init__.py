"""Sources of the contents of repositories: a local git mirror, or else the API of the integration.

The metadata of an integration has ``base_url`` and ``credentials``, as for its tracker; the repository's configuration
may have ``name`` (GitHub) or ``project_id`` and ``path`` (GitLab), when its own name is not the provider's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from flask_grpcweb_scm.rpc import CallContext
from flask_grpcweb_scm.scm.database.models import Integration, OrganizationIntegration, Repository
from flask_grpcweb_scm.scm.database.values import provider_name
from flask_grpcweb_scm.scm.lru_cache import LruCache
from flask_grpcweb_scm.scm.providers import is_configured
from flask_grpcweb_scm.scm.providers.api import account_of
from flask_grpcweb_scm.scm.settings import current_settings, kept_in_app
from flask_grpcweb_scm.scm.sources.blame import IgnoredRevisions, Line
from flask_grpcweb_scm.scm.sources.git import GitError
from flask_grpcweb_scm.scm.sources.github import GitHubEnterpriseSource, GitHubSource
from flask_grpcweb_scm.scm.sources.gitlab import GitLabSource
from flask_grpcweb_scm.scm.sources.mirror import Mirror, Storage, Tip
from flask_grpcweb_scm.scm.sources.source import ApiSource, Source

__all__ = [
    "BloblessMirror",
    "has_api",
    "is_behind",
    "is_blobless",
    "needs_api",
    "open_installed_source",
    "own_mirror_path",
]

COMMIT_SHARE = 1 / 16  # of the memory for lines
TIP_SHARE = 1 / 16
MIRRORS_PER_FOLDER = 1000


class BloblessMirror(Mirror):
    """A local mirror without the contents of files, which are read at the provider.

    :param contents: the repository there.
    """

    def __init__(self, git_dir: str, contents: Source, **how: Any) -> None:
        super().__init__(git_dir, **how)
        self._contents = contents

    def ignored_revisions(self, branch: str = "") -> IgnoredRevisions:
        """Return what the newest commit of a branch has in its file."""
        return self._contents.ignored_revisions(branch)

    def lines(self, *arguments: Any, **options: Any) -> dict[int, Line] | None:
        """Return lines of a file at a commit; see :meth:`Source.lines`."""
        lines = self._contents.lines(*arguments, **options)
        return None if lines is None else {**lines}


def needs_api(repository: Repository) -> bool:
    """Tell whether this machine has not all of the contents of a repository, so that its provider is to be read."""
    if repository.integration_id is None:
        return False
    path = None if is_blobless(repository) else _local_mirror(repository)
    return path is None or is_behind(repository, path)


def is_behind(repository: Repository, path: str) -> bool:
    """Tell whether the service's own mirror on this machine lacks what another machine has fetched and stored."""
    key = repository.imported_key
    if key is None or path == repository.mirror_path:
        return False
    try:
        return not _mirror(path, current_settings().git_timeout).has_commit(key)
    except GitError:
        # Whoever reads it says what is the matter.
        return False


def is_blobless(repository: Repository) -> bool:
    """Tell whether the service's own mirror of a repository is to have no contents of files."""
    return bool(repository.config.get("blobless"))


def _local_mirror(repository: Repository) -> str | None:
    """Return where a repository is on this machine: where the service has fetched it, or whoever has imported it."""
    if repository.mirror_fetched_at is not None:
        path = own_mirror_path(repository)
        # Another machine may have it.
        if path is not None and path.is_dir():
            return str(path)
    return repository.mirror_path


def own_mirror_path(repository: Repository) -> Path | None:
    """Return the place of the service's own mirror of a repository; None when it is to have none.

    An id alone might be that of an earlier row, whose mirror is still there: SQLite gives ids again.
    """
    root = current_settings().scm_mirrors
    if root is None:
        return None
    added = int(repository.date_added.timestamp() * 1_000_000)
    return Path(root, str(repository.id // MIRRORS_PER_FOLDER), f"{repository.id}-{added:x}.git")


def open_installed_source(
    repository: Repository, installation: OrganizationIntegration | None, context: CallContext
) -> Source | None:
    """Return the source of a repository, to be read until the call's deadline; None when it has none here.

    :param installation: of its integration; None for none, and where :func:`needs_api` says that it is not needed.
    :raises ProviderMisconfigured: when the settings of the integration cannot work.
    """
    remaining = context.remaining()
    api = None
    if installation is not None and has_api(installation.integration):
        api = _open_api(repository, installation.integration, remaining)
    path = _local_mirror(repository)
    if path is None or (api is not None and is_behind(repository, path)):
        return api
    settings = current_settings()
    timeout = settings.git_timeout if remaining is None else min(remaining, settings.git_timeout)
    if api is None:
        return _mirror(path, timeout)
    return BloblessMirror(path, api, timeout=timeout, **_how())


def _mirror(path: str, timeout: float) -> Mirror:
    return Mirror(path, timeout=timeout, **_how())


def _how() -> dict[str, Any]:
    return {"memory": current_settings().git_memory_bytes, "commits": _commit_cache(), "tips": _tip_cache()}


def has_api(integration: Integration) -> bool:
    """Tell whether the repositories of an integration can be read at its provider."""
    return provider_name(integration.provider) in SOURCES and is_configured(integration.metadata_)


def _commit_cache() -> LruCache[Storage]:
    """Return where local mirrors had commits, by path of the mirror and id."""
    return kept_in_app("commits", lambda: LruCache(int(current_settings().blame_cache_bytes * COMMIT_SHARE)))


def _tip_cache() -> LruCache[Tip]:
    """Return where branches of local mirrors were, by path of the mirror, branch and its state."""
    return kept_in_app("tips", lambda: LruCache(int(current_settings().blame_cache_bytes * TIP_SHARE)))


def _open_api(repository: Repository, integration: Integration, timeout: float | None) -> ApiSource:
    provider = provider_name(integration.provider)
    source, project = SOURCES[provider]
    account = account_of(provider, integration.metadata_, integration.external_id, timeout)
    return source(project=project(repository), **account)


def _github_project(repository: Repository) -> str:
    return str(repository.config.get("name") or repository.name)


def _gitlab_project(repository: Repository) -> str:
    known = repository.config.get("project_id") or repository.config.get("path")
    external_id = repository.external_id or ""
    return str(known or (external_id if external_id.isdecimal() else repository.name))


SOURCES: Mapping[str, tuple[type[ApiSource], Callable[[Repository], str]]] = {
    "github": (GitHubSource, _github_project),
    "github_enterprise": (GitHubEnterpriseSource, _github_project),
    "gitlab": (GitLabSource, _gitlab_project),
}
