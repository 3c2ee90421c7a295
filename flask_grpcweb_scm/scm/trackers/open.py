"""From the settings of an integration to its tracker.

An integration's metadata has ``base_url`` and ``credentials``, the name of one in ``GRPC_SCM_CREDENTIALS``. The two say
which host is trusted with what, so neither comes from anywhere else. The configuration of its installation in an
organization has the rest: defaults for the fields of issues, and ``comment_on_link``.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from flask_grpcweb_scm.rpc import did_you_mean
from flask_grpcweb_scm.scm.database.models import OrganizationIntegration
from flask_grpcweb_scm.scm.providers.credentials import find_credential
from flask_grpcweb_scm.scm.providers.errors import TrackerMisconfigured
from flask_grpcweb_scm.scm.settings import current_settings

if TYPE_CHECKING:
    from flask_grpcweb_scm.scm.trackers.tracker import Tracker

__all__ = ["comments_on_link", "issue_defaults", "open_tracker"]

PREFIX = "integrations:"
WITHOUT_TRACKER = {"bitbucket": "Bitbucket Cloud", "bitbucket_server": "Bitbucket Data Center"}


def open_tracker(installation: OrganizationIntegration, timeout: float | None) -> Tracker | None:
    """The tracker of an integration; None for one without settings for any.

    :param timeout: seconds that it may take for everything; None for the setting's own.
    :raises TrackerMisconfigured: when the settings cannot work.
    """
    integration = installation.integration
    provider = integration.provider.removeprefix(PREFIX)
    if provider in WITHOUT_TRACKER:
        text = f"{WITHOUT_TRACKER[provider]} has no issue tracker any more; use a Jira integration"
        raise TrackerMisconfigured(text, tracker=provider)
    if not {"base_url", "credentials"} & set(integration.metadata_):
        return None
    # The trackers import urllib3, which takes its time.
    from flask_grpcweb_scm.scm.trackers.registry import TRACKERS

    if provider not in TRACKERS:
        text = f"there is no tracker {provider!r}{did_you_mean(provider, TRACKERS)}"
        raise TrackerMisconfigured(text, tracker=provider)
    settings = current_settings()
    limit = settings.tracker_timeout
    return TRACKERS[provider](
        integration.metadata_.get("base_url", ""),
        find_credential(integration.metadata_.get("credentials"), settings.scm_credentials, tracker=provider),
        deadline=time.monotonic() + (limit if timeout is None else min(timeout, limit)),
        allowed_hosts=settings.scm_allowed_hosts,
    )


def issue_defaults(installation: OrganizationIntegration) -> dict[str, str]:
    """What issues of an organization have in fields that a request leaves out."""
    return {name: value for name, value in installation.config.items() if isinstance(value, str)}


def comments_on_link(installation: OrganizationIntegration) -> bool:
    """Whether the tracker is told when an issue is linked to an error group."""
    return installation.config.get("comment_on_link") in {True, "true"}
