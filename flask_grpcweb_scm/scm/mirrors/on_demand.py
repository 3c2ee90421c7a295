"""Remotes of repositories, and mirrors that a call needs before a sync has brought them to its machine."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from flask_grpcweb_scm.rpc import CallContext, printable
from flask_grpcweb_scm.scm.database.db import release_connection
from flask_grpcweb_scm.scm.database.models import Integration, OrganizationIntegration, Repository
from flask_grpcweb_scm.scm.database.values import provider_name
from flask_grpcweb_scm.scm.git_import.destination import host_at_provider
from flask_grpcweb_scm.scm.lru_cache import LruCache
from flask_grpcweb_scm.scm.mirrors import Limits, MirrorBusy, OwnMirror
from flask_grpcweb_scm.scm.mirrors.remote import Remote, fetch_url
from flask_grpcweb_scm.scm.providers import Credential, GitHubApp, ProviderError
from flask_grpcweb_scm.scm.providers.api import account_of
from flask_grpcweb_scm.scm.queries.tenancy import installation_of
from flask_grpcweb_scm.scm.remotes import parse_remote
from flask_grpcweb_scm.scm.settings import current_settings, kept_in_app
from flask_grpcweb_scm.scm.sources import (
    has_api,
    is_behind,
    is_blobless,
    needs_api,
    open_installed_source,
    own_mirror_path,
)
from flask_grpcweb_scm.scm.sources.git import GitError
from flask_grpcweb_scm.scm.sources.source import Source
from flask_grpcweb_scm.scm.trackers import TRACKERS

__all__ = ["fetch_missing", "open_or_fetch_source", "remote_of_row"]

logger = logging.getLogger(__name__)

SHARE = 0.8
"""Of the time that a call has left, for fetches: the rest is for what they are for."""
FETCHERS = 4
FAILURE_SECONDS = 60.0
FAILURES_BYTES = 2**20
FAILURE_BYTES = 500  # of one in the cache, roughly


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

    :raises ProviderMisconfigured: when the settings of its integration cannot work.
    :raises GitError: when this machine has no mirror, and cannot fetch one.
    """
    installation = installation_of(repository) if needs_api(repository) else None
    if errors := fetch_missing({repository: installation}, context):
        raise errors[repository.id]
    return open_installed_source(repository, installation, context)


def fetch_missing(
    repositories: Mapping[Repository, OrganizationIntegration | None],
    context: CallContext,
    *,
    skip_failed: bool = False,
) -> dict[int, GitError | ProviderError]:
    """Fetch the mirrors that only other machines have, several at a time, within the call's deadline.

    Those of repositories with an API are not needed. Rows stay as they were read, though the connection is released.

    :param repositories: each with its integration as it is installed; None for one that has no API.
    :param skip_failed: do not try again what has failed a moment ago.
    :return: by the ids of repositories, why nothing of them can be read.
    :raises RpcError: DEADLINE_EXCEEDED, when there is no time to look which these are.
    """
    missing = {}
    for row, installation in repositories.items():
        context.check_deadline()  # each may need a run of git
        if path := _missing_mirror(row, installation):
            missing[row] = path
    if not missing:
        return {}
    left = context.remaining()
    end = None if left is None else time.monotonic() + left * SHARE
    errors: dict[int, GitError | ProviderError] = {}
    fetches: dict[int, Callable[[], GitError | None]] = {}
    for row, path in missing.items():
        failed = _failures().get(path) if skip_failed else None
        if failed is not None and time.monotonic() < failed + FAILURE_SECONDS:
            errors[row.id] = GitError("its mirror could not be fetched to this machine a moment ago")
            continue
        try:
            fetches[row.id] = partial(_fetch, path, remote_of_row(row), is_blobless(row), end)
        except (GitError, ProviderError) as error:
            errors[row.id] = error
    if fetches:
        release_connection(keep_rows=True)
        results = zip(fetches, _run_all([*fetches.values()]), strict=True)
        errors.update((row_id, error) for row_id, error in results if error is not None)
    for row, path in missing.items():
        if row.id in errors and OwnMirror(path, Limits(timeout=None, memory=None)).is_complete():
            text = "the mirror of %s on this machine is not up to date: %s"
            logger.warning(text, printable(row.name), errors.pop(row.id))
    return errors


def _missing_mirror(row: Repository, installation: OrganizationIntegration | None) -> Path | None:
    """Return the place of a mirror that this machine lacks, or has as it was; None when it needs no fetch."""
    path = own_mirror_path(row)
    has_other = installation is not None and has_api(installation.integration)
    if row.mirror_fetched_at is None or path is None or has_other:
        return None
    is_missing = is_behind(row, str(path)) if path.is_dir() else row.mirror_path is None
    return path if is_missing else None


def _run_all(fetches: Sequence[Callable[[], GitError | None]]) -> list[GitError | None]:
    if len(fetches) < 2:
        return [fetch() for fetch in fetches]  # in this thread: starting another one is slow
    with ThreadPoolExecutor(min(FETCHERS, len(fetches))) as pool:
        # In the context of the call: what it runs belongs to its span.
        contexts = [copy_context() for _ in fetches]
        return list(pool.map(lambda copied, fetch: copied.run(fetch), contexts, fetches))


def _fetch(path: Path, remote: Remote, blobless: bool, end: float | None) -> GitError | None:
    """Fetch a mirror, and return why that has failed; any thread may do it, because it needs no database.

    :param end: instant of :func:`time.monotonic`.
    """
    settings = current_settings()
    timeout = settings.git_timeout if end is None else min(end - time.monotonic(), settings.git_timeout)
    if timeout <= 0:
        return GitError("there was no time left to fetch its mirror to this machine")
    limits = Limits(timeout=timeout, memory=settings.git_memory_bytes, size=settings.scm_mirror_bytes)
    try:
        OwnMirror(path, limits).update(remote, blobless=blobless)
    except MirrorBusy as error:
        return error
    except GitError as error:
        _failures().put(path, time.monotonic(), FAILURE_BYTES)
        return error
    return None


def _failures() -> LruCache[float]:
    """Return when fetches have failed, by the places of mirrors."""
    return kept_in_app("unfetched", lambda: LruCache(FAILURES_BYTES))
