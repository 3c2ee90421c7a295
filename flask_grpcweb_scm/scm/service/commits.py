"""Commits: from the database, or from the source of a repository."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from functools import partial

from flask_grpcweb_scm.pb import scm_pb2
from flask_grpcweb_scm.rpc import CallContext, RpcError, StatusCode
from flask_grpcweb_scm.scm.database.models import Commit, CommitAuthor, Repository
from flask_grpcweb_scm.scm.git_import.commit_store import CommitStore
from flask_grpcweb_scm.scm.lru_cache import LruCache, memory_of
from flask_grpcweb_scm.scm.mirrors.on_demand import open_or_fetch_source
from flask_grpcweb_scm.scm.queries.commits import (
    AuthorRow,
    find_commit,
    find_commits_starting_with,
    find_newest_commits,
)
from flask_grpcweb_scm.scm.queries.tenancy import find_repository
from flask_grpcweb_scm.scm.service.definition import attempt, service
from flask_grpcweb_scm.scm.settings import kept_in_app
from flask_grpcweb_scm.scm.sources.source import Source
from flask_grpcweb_scm.scm.validation import failed_precondition, invalid_argument, sha_problem, validate

__all__ = [
    "Naming",
    "author_message",
    "choose_sha",
    "commit_message",
    "commit_not_found",
    "complete_sha",
    "complete_shas",
    "fetch_commit",
    "get_commit",
    "stored_shas",
]


@service.GetCommit
def get_commit(request: scm_pb2.GetCommitRequest, context: CallContext) -> scm_pb2.Commit:
    """Return a commit by SHA, else that of the default branch, stored first if only the source has it."""
    validate(commit_sha=sha_problem(request.commit_sha))
    repository = find_repository(context, request.repository_id)
    source = open_or_fetch_source(repository, context)
    sha = complete_sha(repository, source, request.commit_sha.lower())
    found = find_commit(repository, sha) or fetch_commit(repository, source, sha)
    if found is None:
        raise commit_not_found(repository, sha)
    return commit_message(*found)


NEWEST_CACHE_BYTES = 2**20

Naming = tuple[Repository, "Source | None", str]
"""A repository, its source, and the beginning of a SHA; an empty one is the tip of the default branch."""


def complete_sha(repository: Repository, source: Source | None, sha: str) -> str:
    """Return the full SHA for its first 7 or more digits, from the stored commits or else from the source.

    Without any it is that of the newest commit of the default branch, as the source has it; without a source, that of
    the newest stored commit.

    :raises RpcError: NOT_FOUND; INVALID_ARGUMENT for an ambiguous prefix; FAILED_PRECONDITION without commits, or a
        source.
    """
    naming = (repository, source, sha)
    return choose_sha(*naming, stored_shas([naming]))


def complete_shas(repository: Repository, source: Source | None, shas: Collection[str]) -> dict[str, str | RpcError]:
    """Return the result of :func:`complete_sha`, or its error, for each SHA."""
    stored = stored_shas([(repository, source, sha) for sha in shas])
    return {sha: attempt(partial(choose_sha, repository, source, sha, stored)) for sha in shas}


def stored_shas(namings: Collection[Naming]) -> Mapping[tuple[int, str], Sequence[str]]:
    """Return what the database has for :func:`choose_sha`: full SHAs, by repository and beginning."""
    tips = {repository.id for repository, source, sha in namings if not sha and source is None}
    prefixes = {(repository.id, sha) for repository, _, sha in namings if len(sha) not in {0, 40, 64}}
    newest = {(repository_id, ""): [sha] for repository_id, sha in find_newest_commits(tips).items()}
    return {**newest, **find_commits_starting_with(prefixes)}


def choose_sha(
    repository: Repository,
    source: Source | None,
    sha: str,
    stored: Mapping[tuple[int, str], Sequence[str]],
    branch: str | None = None,
) -> str:
    """Do what :func:`complete_sha` does without the database.

    :param stored: see :func:`stored_shas`.
    :param branch: by default the repository's default branch.
    """
    found = stored.get((repository.id, sha), ())
    if not sha:
        return _tip(repository, source, found, repository.default_branch if branch is None else branch)
    if len(sha) in {40, 64}:
        return sha
    if not found and source is not None:
        found = source.commits_starting_with(sha)
    if len(found) > 1:
        raise invalid_argument({"commit_sha": f"{sha!r} begins the SHA of several commits; send more digits"})
    if not found:
        raise commit_not_found(repository, sha)
    return found[0]


def _tip(repository: Repository, source: Source | None, stored: Sequence[str], branch: str) -> str:
    if source is not None:
        tip = _newest(source, branch)
        if tip is None:
            raise RpcError(StatusCode.NOT_FOUND, f"repository {repository.id} has no commits on its default branch")
        return tip
    if not stored:
        subject = f"repository {repository.id}"
        raise failed_precondition("SOURCE", subject, f"{subject} has no source to read, and no stored commits")
    return stored[0]


def _newest(source: Source, branch: str) -> str | None:
    """Return the newest commit of a branch; a provider is not asked again for as long as about its trees."""
    if not source.tree_seconds:
        return source.tip(branch)
    newest: LruCache[str] = kept_in_app("newest", lambda: LruCache(NEWEST_CACHE_BYTES))
    key = (source.identity, branch, int(time.time() / source.tree_seconds))
    known = newest.get(key)
    if known is not None:
        return known
    tip = source.tip(branch)
    if tip is not None:
        newest.put(key, tip, memory_of(key, tip))
    return tip


def commit_not_found(repository: Repository, sha: str) -> RpcError:
    """Make the error for a commit that neither the database nor the source has."""
    return RpcError(StatusCode.NOT_FOUND, f"commit {sha} does not exist in repository {repository.id}")


def fetch_commit(repository: Repository, source: Source | None, sha: str) -> tuple[Commit, bool] | None:
    """Store a commit of the source, and return it as :func:`find_commit`; None when it has no such commit."""
    if source is None or not source.has_commit(sha):
        return None
    store = CommitStore(repository)
    commits = [store.rows_of(source.commit(sha))]
    store.add_file_changes(store.add_commits(commits), commits)
    return find_commit(repository, sha)


def commit_message(row: Commit, is_truncated: bool) -> scm_pb2.Commit:
    """Make a commit with its author."""
    message = scm_pb2.Commit(
        id=str(row.id),
        repository_id=row.repository_id,
        key=row.key,
        message=row.message,
        author=author_message(row.author),
        more_changes=is_truncated,
    )
    message.date_added.FromDatetime(row.date_added)
    return message


def author_message(row: CommitAuthor | AuthorRow | None) -> scm_pb2.CommitAuthor | None:
    """Make an author; None, which leaves the field unset, for none."""
    if row is None:
        return None
    return scm_pb2.CommitAuthor(name=row.name, email=row.email or "", external_id=row.external_id or "")
