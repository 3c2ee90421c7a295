"""From a repository and its integration to the provider's API.

An integration's metadata has ``base_url`` and ``credentials``, as for its tracker; the repository's configuration may
have ``name`` (GitHub) or ``project_id`` and ``path`` (GitLab), when its own name is not the provider's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from flask_grpcweb_scm.scm.database.models import Integration, Repository
from flask_grpcweb_scm.scm.settings import ScmSettings
from flask_grpcweb_scm.scm.sources.api import ApiSource
from flask_grpcweb_scm.scm.sources.github import GitHubEnterpriseSource, GitHubSource
from flask_grpcweb_scm.scm.sources.gitlab import GitLabSource
from flask_grpcweb_scm.scm.trackers import find_credential

__all__ = ["open_api"]

PREFIX = "integrations:"


def open_api(
    repository: Repository, integration: Integration, settings: ScmSettings, deadline: float
) -> ApiSource | None:
    """The source of a repository at its provider; None for a provider whose API is not known.

    :param deadline: an instant of :func:`time.monotonic`.
    :raises TrackerMisconfigured: when the settings cannot work.
    """
    provider = integration.provider.removeprefix(PREFIX)
    if provider not in SOURCES:
        return None
    source, project = SOURCES[provider]
    return source(
        integration.metadata_.get("base_url", ""),
        project(repository),
        find_credential(integration.metadata_.get("credentials"), settings.scm_credentials, tracker=provider),
        deadline=deadline,
        allowed_hosts=settings.scm_allowed_hosts,
    )


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
