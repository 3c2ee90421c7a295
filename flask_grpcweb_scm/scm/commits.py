"""Commits as stored, and storing the ones that git has."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence

import sqlalchemy as sa

from flask_grpcweb_scm.rpc import CallContext, RpcError, StatusCode
from flask_grpcweb_scm.scm.caches import commit_cache
from flask_grpcweb_scm.scm.db import Model, db, insert_new, insert_rows, is_one_of
from flask_grpcweb_scm.scm.git import Mirror
from flask_grpcweb_scm.scm.git_log import GitCommit
from flask_grpcweb_scm.scm.models import Commit, CommitAuthor, CommitFileChange, Repository
from flask_grpcweb_scm.scm.queries import find_commit, find_commits_starting_with, installation_of
from flask_grpcweb_scm.scm.settings import current_settings
from flask_grpcweb_scm.scm.sources import Source
from flask_grpcweb_scm.scm.validation import invalid_argument

__all__ = ["commit_not_found", "complete_sha", "fetch_commit", "open_source", "store_commits", "store_file_changes"]

MAX_NAME_CHARACTERS = 128
MAX_EMAIL_CHARACTERS = 200
# PostgreSQL indexes no more than 2704 bytes of a row.
MAX_FILENAME_BYTES = 2048

AuthorKey = tuple[str, str]
"""(e-mail address, "") or, for an author without one, ("", name)."""


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
    from flask_grpcweb_scm.scm.sources.accounts import open_api

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
    commits = [source.commit(sha)]
    store_file_changes(store_commits(repository, commits), commits)
    return find_commit(repository, sha)


def store_commits(repository: Repository, commits: Sequence[GitCommit]) -> dict[str, int]:
    """Store commits with their authors in the current transaction, without those there already.

    Returns the ids of the new ones by their SHA; their file changes are for :func:`store_file_changes`.
    """
    repository_id = repository.id
    authors = _author_ids(repository.organization_id, commits)
    rows = [
        (repository_id, commit.sha, authors.get(_author_key(commit)), commit.message, commit.committed)
        for commit in commits
    ]
    table = _table(Commit)
    statement = insert_new(table).returning(table.c.key, table.c.id)
    return dict(insert_rows(statement, ("repository_id", "key", "author_id", "message", "date_added"), rows))


def store_file_changes(new: Mapping[str, int], commits: Iterable[GitCommit]) -> None:
    """Store what the new ones of some commits changed, in the transaction that has stored them."""
    rows = (
        (new[commit.sha], filename, kind)
        for commit in commits
        if commit.sha in new
        # As a dictionary, because two paths may be one, once they are read as UTF-8.
        for filename, kind in dict(commit.changes).items()
        if len(filename.encode()) <= MAX_FILENAME_BYTES
    )
    # Nobody else can have stored any: the commits are visible to this transaction alone.
    insert_rows(sa.insert(_table(CommitFileChange)), ("commit_id", "filename", "type"), rows)


def _author_ids(organization_id: int, commits: Sequence[GitCommit]) -> dict[AuthorKey, int]:
    """Ids of all authors, who are stored if they were not; the name stored first stays."""
    names = {_author_key(commit): commit.author_name[:MAX_NAME_CHARACTERS] for commit in reversed(commits)}
    names.pop(("", ""), None)
    known = _known_author_ids(organization_id, names)
    # Sorted, so that two transactions which add the same authors do not wait for each other.
    missing = sorted(key for key in names if key not in known)
    if not missing:
        return known
    rows = [(organization_id, names[key], key[0] or None) for key in missing]
    insert_rows(insert_new(_table(CommitAuthor)), ("organization_id", "name", "email"), rows)
    return _known_author_ids(organization_id, names)


def _known_author_ids(organization_id: int, keys: Iterable[AuthorKey]) -> dict[AuthorKey, int]:
    emails = [email for email, _ in keys if email]
    names = [name for email, name in keys if not email]
    columns = sa.select(CommitAuthor.email, CommitAuthor.name, CommitAuthor.id)
    authors = columns.where(CommitAuthor.organization_id == organization_id)
    with_email = authors.where(is_one_of(CommitAuthor.email, emails))
    without_email = authors.where(CommitAuthor.email.is_(None), is_one_of(CommitAuthor.name, names))
    # For one condition with OR, PostgreSQL would compare every author of the organization.
    rows = db.session.execute(with_email.union_all(without_email))
    return {(email, "") if email else ("", name): row_id for email, name, row_id in rows}


def _author_key(commit: GitCommit) -> AuthorKey:
    email = commit.author_email[:MAX_EMAIL_CHARACTERS]
    return (email, "") if email else ("", commit.author_name[:MAX_NAME_CHARACTERS])


def _table(model: type[Model]) -> sa.Table:
    """For an INSERT of many rows, without the cost of mapped objects."""
    assert isinstance(model.__table__, sa.Table)
    return model.__table__
