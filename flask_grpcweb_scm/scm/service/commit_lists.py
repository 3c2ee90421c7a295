"""Lists of commits: of those that are stored, or of a branch of a mirror."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from flask_grpcweb_scm.pb import scm_pb2
from flask_grpcweb_scm.rpc import CallContext, RpcError, StatusCode
from flask_grpcweb_scm.scm.database.models import Commit, Repository
from flask_grpcweb_scm.scm.git_import.commit_store import CommitStore
from flask_grpcweb_scm.scm.mirrors.on_demand import open_or_fetch_source
from flask_grpcweb_scm.scm.queries.commits import CommitFilter, page_of_commits, stored_commits
from flask_grpcweb_scm.scm.queries.paging import PageScope, Position, RequestedPage
from flask_grpcweb_scm.scm.queries.tenancy import find_repository
from flask_grpcweb_scm.scm.service.commits import commit_message
from flask_grpcweb_scm.scm.service.definition import cut_to_page, service
from flask_grpcweb_scm.scm.service.projects import read_instant
from flask_grpcweb_scm.scm.sources.mirror import Mirror, NoSuchBranch
from flask_grpcweb_scm.scm.validation import (
    branch_problem,
    failed_precondition,
    invalid_argument,
    path_problem,
    text_problem,
    validate,
)

__all__ = ["list_commits"]

MAX_AUTHOR_CHARACTERS = 200

Found = tuple[Commit, bool]
"""A commit, and whether it changed more files than are stored of one."""


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
