"""Trackers: hosts of issues, and which one an integration has.

The metadata of an integration has ``base_url`` and ``credentials``, the name of an entry of ``GRPC_SCM_CREDENTIALS``.
The two say which host is trusted with what, so neither comes from anywhere else. The configuration of its installation
in an organization has the rest: defaults for the fields of issues, ``projects``, ``markup`` and ``comment_on_link``.
"""

from __future__ import annotations

from flask_grpcweb_scm.scm.database.models import OrganizationIntegration
from flask_grpcweb_scm.scm.database.values import provider_name
from flask_grpcweb_scm.scm.providers import ProviderMisconfigured, is_configured
from flask_grpcweb_scm.scm.providers.api import account_of
from flask_grpcweb_scm.scm.trackers.registry import SETTINGS, TRACKERS, has_tracker, tracker_class
from flask_grpcweb_scm.scm.trackers.tracker import Tracker

__all__ = ["TRACKERS", "allowed_projects", "comments_on_link", "has_tracker", "issue_defaults", "open_tracker"]

WITHOUT_TRACKER = {"bitbucket": "Bitbucket Cloud", "bitbucket_server": "Bitbucket Data Center"}


def open_tracker(installation: OrganizationIntegration, timeout: float | None) -> Tracker | None:
    """Return the tracker of an integration; None for an integration without settings for a tracker.

    :param timeout: seconds for all requests together, at most ``GRPC_TRACKER_TIMEOUT``; None for that.
    :raises ProviderMisconfigured: when the settings cannot work.
    """
    integration = installation.integration
    provider = provider_name(integration.provider)
    if provider in WITHOUT_TRACKER and not has_tracker(provider):
        text = f"{WITHOUT_TRACKER[provider]} has no issue tracker any more; use a Jira integration"
        raise ProviderMisconfigured(text, provider=provider)
    if not is_configured(integration.metadata_):
        return None
    return tracker_class(provider)(
        **account_of(provider, integration.metadata_, integration.external_id, timeout),
        projects=allowed_projects(installation),
        markup=_is_on(installation, "markup"),
    )


def issue_defaults(installation: OrganizationIntegration) -> dict[str, str]:
    """Return the organization's defaults for the fields of issues."""
    return {
        name: value for name, value in installation.config.items() if isinstance(value, str) and name not in SETTINGS
    }


def comments_on_link(installation: OrganizationIntegration, *, default: bool = False) -> bool:
    """Tell whether linking an issue to an error group adds a comment at the tracker."""
    return _is_on(installation, "comment_on_link") if "comment_on_link" in installation.config else default


def _is_on(installation: OrganizationIntegration, name: str) -> bool:
    value = installation.config.get(name)
    return value is True or value == "true"


def allowed_projects(installation: OrganizationIntegration) -> list[str] | None:
    """Return the patterns of the projects that the organization may name; None for all.

    :raises ProviderMisconfigured: for anything but a list of texts, or a text with commas, that names something.
    """
    if "projects" not in installation.config:
        return None
    value = installation.config["projects"]
    names = value.split(",") if isinstance(value, str) else value
    if isinstance(names, list) and all(isinstance(name, str) for name in names):
        patterns = [name.strip() for name in names if name.strip()]
        if patterns:
            return patterns
    raise ProviderMisconfigured(
        "projects of the installation must list at least one project or pattern, such as team-a/*",
        provider=provider_name(installation.integration.provider),
    )
