"""Commits as stored, and fetching the ones that are not."""

from __future__ import annotations

import time

from flask_grpcweb_scm.rpc import CallContext, RpcError, StatusCode
from flask_grpcweb_scm.scm.caches import commit_cache
from flask_grpcweb_scm.scm.database.models import Commit, Repository
from flask_grpcweb_scm.scm.git_import.commit_store import CommitStore
from flask_grpcweb_scm.scm.queries.tenancy import find_commit, find_commits_starting_with, installation_of
from flask_grpcweb_scm.scm.settings import current_settings
from flask_grpcweb_scm.scm.sources import Source
from flask_grpcweb_scm.scm.sources.mirror import Mirror
from flask_grpcweb_scm.scm.validation import invalid_argument

__all__ = ["commit_not_found", "complete_sha", "fetch_commit", "open_source"]


def open_source(repository: Repository, context: CallContext) -> Source | None:
    """Where a repository's contents are, to be read until the call's deadline; None when nobody knows.

    That is its local git mirror, or else the API of its integration.

    :raises TrackerMisconfigured: when the settings of the integration cannot work.
    """
    settings, remaining = current_settings(), context.remaining()
    if repository.mirror_path is not None:
        limit = settings.git_timeout
        timeout = limit if remaining is None else min(remaining, limit)
        return Mirror(repository.mirror_path, timeout=timeout, commits=commit_cache())
    installation = installation_of(repository)
    if installation is None or not {"base_url", "credentials"} & set(installation.integration.metadata_):
        return None
    # It imports urllib3, which takes its time.
    from flask_grpcweb_scm.scm.sources.open import open_api

    limit = settings.tracker_timeout
    deadline = time.monotonic() + (limit if remaining is None else min(remaining, limit))
    return open_api(repository, installation.integration, settings, deadline)


def complete_sha(repository: Repository, source: Source | None, sha: str) -> str:
    """The full SHA that 7 or more hexadecimal digits begin, from the stored commits or else from the source.

    :raises RpcError: NOT_FOUND; INVALID_ARGUMENT when several commits begin so.
    """
    if len(sha) in {40, 64}:
        return sha
    found = find_commits_starting_with(repository, sha)
    if not found and source is not None:
        found = source.commits_starting_with(sha)
    if len(found) > 1:
        raise invalid_argument({"commit_sha": f"{sha!r} begins the SHA of several commits; send more digits"})
    if not found:
        raise commit_not_found(repository, sha)
    return found[0]


def commit_not_found(repository: Repository, sha: str) -> RpcError:
    """The error for a commit that neither the database nor the source has."""
    return RpcError(StatusCode.NOT_FOUND, f"commit {sha} does not exist in repository {repository.id}")


def fetch_commit(repository: Repository, source: Source | None, sha: str) -> Commit | None:
    """Store a commit of the source; None when it has no such commit."""
    if source is None or not source.has_commit(sha):
        return None
    store = CommitStore(repository)
    commits = [store.rows_of(source.commit(sha))]
    store.add_file_changes(store.add_commits(commits), commits)
    return find_commit(repository, sha)
