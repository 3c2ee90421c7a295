"""Remotes of repositories, and mirrors that a call needs before a sync has brought them to its machine."""

from __future__ import annotations

import logging
from urllib.parse import urlsplit

from flask_grpcweb_scm.rpc import CallContext, printable
from flask_grpcweb_scm.scm.database.db import release_connection
from flask_grpcweb_scm.scm.database.models import Integration, Repository
from flask_grpcweb_scm.scm.database.values import provider_name
from flask_grpcweb_scm.scm.git_import.destination import host_at_provider
from flask_grpcweb_scm.scm.mirrors import Limits, OwnMirror
from flask_grpcweb_scm.scm.mirrors.remote import Remote, fetch_url
from flask_grpcweb_scm.scm.providers import Credential, GitHubApp, ProviderError
from flask_grpcweb_scm.scm.providers.api import account_of
from flask_grpcweb_scm.scm.queries.tenancy import installation_of
from flask_grpcweb_scm.scm.remotes import parse_remote
from flask_grpcweb_scm.scm.settings import current_settings
from flask_grpcweb_scm.scm.sources import is_behind, is_blobless, open_source, own_mirror_path
from flask_grpcweb_scm.scm.sources.git import GitError
from flask_grpcweb_scm.scm.sources.source import ApiSource, Source
from flask_grpcweb_scm.scm.trackers import TRACKERS

__all__ = ["open_or_fetch_source", "remote_of_row"]

logger = logging.getLogger(__name__)

SHARE = 0.8
"""Of the time that a call has left, for a fetch: the rest is for what it is fetched for."""


def remote_of_row(row: Repository) -> Remote:
    """Return the remote of a repository, with the credential of its integration.

    :raises FetchFailed: for a URL that no mirror is fetched from.
    :raises ProviderError: when there is no credential.
    """
    provider = provider_name(row.provider)
    url = fetch_url(row.url, provider)
    installation = installation_of(row)
    credential = None if installation is None else _credential(installation.integration, url)
    return Remote(url, provider, credential, current_settings().scm_allowed_hosts, _proxy(url))


def _credential(integration: Integration, url: str) -> Credential | None:
    """Return the credential of an integration for a repository; None for one on another host than its own."""
    provider, remote = provider_name(integration.provider), parse_remote(url)
    host = host_at_provider(provider, integration)
    if integration.metadata_.get("credentials") is None or remote is None or remote.host != host:
        return None
    # Over http only where the integration itself is: its host says the URL, and one that is wrong is no reason.
    if urlsplit(url).scheme == "http" and urlsplit(str(integration.metadata_.get("base_url"))).scheme != "http":
        return None
    account = account_of(provider, integration.metadata_, integration.external_id, None)
    if isinstance(account["credential"], GitHubApp) and provider in TRACKERS:
        return TRACKERS[provider](**account).current_credential()
    return account["credential"]


def _proxy(url: str) -> str:
    settings = current_settings()
    return "" if urlsplit(url).hostname in settings.scm_no_proxy else settings.scm_proxy


def open_or_fetch_source(repository: Repository, context: CallContext) -> Source | None:
    """Return the source of a repository; where only other machines have it, it is fetched within the call's deadline.

    :raises ProviderMisconfigured: see :func:`open_source`.
    :raises GitError: when this machine has no mirror, and cannot fetch one.
    """
    source = open_source(repository, context)
    path = own_mirror_path(repository)
    if repository.mirror_fetched_at is None or path is None or isinstance(source, ApiSource):
        return source
    if source is not None and not is_behind(repository, str(path)):
        return source
    left, settings = context.remaining(), current_settings()
    timeout = settings.git_timeout if left is None else min(left * SHARE, settings.git_timeout)
    blobless, name = is_blobless(repository), printable(repository.name)
    limits = Limits(timeout=timeout, memory=settings.git_memory_bytes, size=settings.scm_mirror_bytes)
    try:
        remote = remote_of_row(repository)
        release_connection()
        OwnMirror(path, limits).update(remote, blobless=blobless)
    except (GitError, ProviderError) as error:
        if source is None:
            raise
        logger.warning("the mirror of %s on this machine is not up to date: %s", name, error)
        return source
    return open_source(repository, context)
