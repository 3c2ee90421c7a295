"""Commits: from the database, or from the source of a repository; one, and lists of them."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from functools import partial

from flask_grpcweb_scm.pb import scm_pb2
from flask_grpcweb_scm.rpc import CallContext, RpcError, StatusCode
from flask_grpcweb_scm.scm.database.models import Commit, CommitAuthor, Repository
from flask_grpcweb_scm.scm.git_import.commit_store import CommitStore
from flask_grpcweb_scm.scm.lru_cache import LruCache, memory_of
from flask_grpcweb_scm.scm.mirrors.on_demand import open_or_fetch_source
from flask_grpcweb_scm.scm.queries.commits import (
    AuthorRow,
    CommitFilter,
    find_commit,
    find_commits_starting_with,
    find_newest_commits,
    page_of_commits,
    stored_commits,
)
from flask_grpcweb_scm.scm.queries.paging import PageScope, Position, RequestedPage
from flask_grpcweb_scm.scm.queries.tenancy import find_repository
from flask_grpcweb_scm.scm.service.definition import attempt, cut_to_page, service
from flask_grpcweb_scm.scm.service.projects import read_instant
from flask_grpcweb_scm.scm.settings import kept_in_app
from flask_grpcweb_scm.scm.sources.mirror import Mirror, NoSuchBranch
from flask_grpcweb_scm.scm.sources.source import Source
from flask_grpcweb_scm.scm.validation import (
    branch_problem,
    failed_precondition,
    invalid_argument,
    path_problem,
    sha_problem,
    text_problem,
    validate,
)

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
    "list_commits",
    "stored_shas",
]

MAX_AUTHOR_CHARACTERS = 200
NEWEST_CACHE_BYTES = 2**20

Naming = tuple[Repository, "Source | None", str]
"""A repository, its source, and the beginning of a SHA; an empty one is the tip of the default branch."""
Found = tuple[Commit, bool]
"""A commit, and whether it changed more files than are stored of one."""


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


# Lists


@service.ListCommits
def list_commits(request: scm_pb2.ListCommitsRequest, context: CallContext) -> scm_pb2.ListCommitsResponse:
    """Return one page of a repository's commits, the newest first."""
    since, since_problem = read_instant(request.since if request.HasField("since") else None)
    until, until_problem = read_instant(request.until if request.HasField("until") else None)
    validate(
        branch=branch_problem(request.branch),
        path=path_problem(request.path) if request.path else None,
        author=text_problem(request.author, limit=MAX_AUTHOR_CHARACTERS),
        since=since_problem,
        until=until_problem,
    )
    wanted = CommitFilter(request.path, request.author, since, until)
    scope: PageScope = ["ListCommits", request.repository_id, request.branch, request.path, request.author]
    scope += [str(instant) for instant in (since, until)]
    repository = find_repository(context, request.repository_id)
    source = open_or_fetch_source(repository, context) if request.branch else None
    # Positions in git's order mean nothing in that of the database, should a mirror come or go between two pages.
    scope.append("git" if isinstance(source, Mirror) else "database")
    page = RequestedPage.of(request.page_size, request.page_token, scope)
    response = scm_pb2.ListCommitsResponse()
    if request.branch:
        if isinstance(source, Mirror):
            tip, skip = _place(source, request.branch, page.after)
            found = _of_branch(repository, source, tip, wanted, skip, page.limit)
            response.commits.extend(commit_message(*each) for each in found[: page.size])
            is_cut = cut_to_page(response, response.commits)
            found = found[: len(response.commits)] if is_cut else found
            shown = min(len(found), page.size)
            response.next_page_token = page.next_token(found, lambda _: (tip, skip + shown), is_cut=is_cut)
            return response
        if request.branch != repository.default_branch:
            subject = f"repository {repository.id}"
            text = f"{subject} has no mirror here, and no other branch than {repository.default_branch!r}"
            raise failed_precondition("SOURCE", subject, text)
    after = None if page.after is None else (datetime.fromisoformat(str(page.after[0])), int(page.after[1]))
    found = page_of_commits(repository, wanted, after=after, limit=page.limit)
    response.commits.extend(commit_message(*each) for each in found[: page.size])
    is_cut = cut_to_page(response, response.commits)
    found = found[: len(response.commits)] if is_cut else found
    response.next_page_token = page.next_token(
        found, lambda row: (row[0].date_added.isoformat(), row[0].id), is_cut=is_cut
    )
    return response


def _place(mirror: Mirror, branch: str, after: Position | None) -> tuple[str, int]:
    """Return the tip of a branch and 0, or those of the first page and how many commits have been listed.

    :raises RpcError: NOT_FOUND, for the branch; INVALID_ARGUMENT, when the tip of the first page is gone.
    """
    if after is not None:
        tip, skip = str(after[0]), int(after[1])
        if not mirror.has_commit(tip):
            raise invalid_argument({"page_token": "is of a branch that was rewritten; request the first page again"})
        return tip, skip
    try:
        newest = mirror.tip(branch)
    except NoSuchBranch:
        newest = None
    if newest is None:
        raise RpcError(StatusCode.NOT_FOUND, f"branch {branch!r} does not exist")
    return newest, 0


def _of_branch(
    repository: Repository, mirror: Mirror, tip: str, wanted: CommitFilter, skip: int, limit: int
) -> Sequence[Found]:
    """Return commits of a branch in git's order; those that are not stored are stored first."""
    shas = mirror.page(
        tip,
        path=wanted.path,
        author=wanted.author,
        since=None if wanted.since is None else wanted.since.timestamp(),
        until=None if wanted.until is None else wanted.until.timestamp(),
        skip=skip,
        limit=limit,
    )
    stored = stored_commits(repository, shas)
    missing = [sha for sha in shas if sha not in stored]
    if missing:
        store = CommitStore(repository)
        commits = [store.rows_of(mirror.commit(sha)) for sha in missing]
        store.add_file_changes(store.add_commits(commits), commits)
        stored = {**stored, **stored_commits(repository, missing)}
    return [stored[sha] for sha in shas]
