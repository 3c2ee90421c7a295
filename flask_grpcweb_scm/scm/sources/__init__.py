"""Sources of the contents of repositories: a local git mirror, or else the API of the integration.

The metadata of an integration has ``base_url`` and ``credentials``, as for its tracker; the repository's configuration
may have ``name`` (GitHub) or ``project_id`` and ``path`` (GitLab), when its own name is not the provider's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from flask_grpcweb_scm.rpc import CallContext
from flask_grpcweb_scm.scm.database.models import Integration, OrganizationIntegration, Repository, provider_name
from flask_grpcweb_scm.scm.lru_cache import LruCache
from flask_grpcweb_scm.scm.providers import is_configured
from flask_grpcweb_scm.scm.providers.accounts import account_of
from flask_grpcweb_scm.scm.queries.tenancy import installation_of
from flask_grpcweb_scm.scm.settings import current_settings, kept_in_app
from flask_grpcweb_scm.scm.sources.github import GitHubEnterpriseSource, GitHubSource
from flask_grpcweb_scm.scm.sources.gitlab import GitLabSource
from flask_grpcweb_scm.scm.sources.mirror import Mirror, Storage, Tip
from flask_grpcweb_scm.scm.sources.source import ApiSource, Source

__all__ = ["has_api", "open_installed_source", "open_source"]

COMMIT_SHARE = 1 / 16  # of the memory for lines
TIP_SHARE = 1 / 16


def open_source(repository: Repository, context: CallContext) -> Source | None:
    """Return the source of a repository, to be read until the call's deadline; None when it has none.

    :raises ProviderMisconfigured: when the settings of its integration cannot work.
    """
    has_mirror = repository.mirror_path is not None or repository.integration_id is None
    return open_installed_source(repository, None if has_mirror else installation_of(repository), context)


def open_installed_source(
    repository: Repository, installation: OrganizationIntegration | None, context: CallContext
) -> Source | None:
    """Return what :func:`open_source` does, for a repository whose integration is known.

    :param installation: None for no integration, or one that is not installed.
    """
    remaining = context.remaining()
    if repository.mirror_path is not None:
        settings = current_settings()
        timeout = settings.git_timeout if remaining is None else min(remaining, settings.git_timeout)
        memory = settings.git_memory_bytes
        return Mirror(
            repository.mirror_path, timeout=timeout, memory=memory, commits=_commit_cache(), tips=_tip_cache()
        )
    if installation is None or not has_api(installation.integration):
        return None
    integration = installation.integration
    provider = provider_name(integration.provider)
    source, project = SOURCES[provider]
    account = account_of(provider, integration.metadata_, integration.external_id, remaining)
    return source(project=project(repository), **account)


def has_api(integration: Integration) -> bool:
    """Tell whether the repositories of an integration can be read at its provider."""
    return provider_name(integration.provider) in SOURCES and is_configured(integration.metadata_)


def _commit_cache() -> LruCache[Storage]:
    """Return where local mirrors had commits, by path of the mirror and id."""
    return kept_in_app("commits", lambda: LruCache(int(current_settings().blame_cache_bytes * COMMIT_SHARE)))


def _tip_cache() -> LruCache[Tip]:
    """Return where branches of local mirrors were, by path of the mirror, branch and its state."""
    return kept_in_app("tips", lambda: LruCache(int(current_settings().blame_cache_bytes * TIP_SHARE)))


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
