"""Repositories: one by id, a page, a stream."""

from __future__ import annotations

from collections.abc import Iterator

from flask_grpcweb_scm.pb import scm_pb2
from flask_grpcweb_scm.rpc import CallContext
from flask_grpcweb_scm.scm.queries.paging import PageScope, RequestedPage
from flask_grpcweb_scm.scm.queries.repositories import (
    RepositoryFilter,
    page_of_repositories,
    repository_row,
    stream_of_repositories,
)
from flask_grpcweb_scm.scm.service.definition import service
from flask_grpcweb_scm.scm.service.messages import fill_repository, spellings_of
from flask_grpcweb_scm.scm.validation import text_problem, validate

__all__ = ["get_repository", "list_repositories", "stream_repositories"]

MAX_NAME_CHARACTERS = 200
PROVIDERS = frozenset(scm_pb2.Provider.values())


@service.rpc("ListRepositories")
def list_repositories(
    request: scm_pb2.ListRepositoriesRequest, context: CallContext
) -> scm_pb2.ListRepositoriesResponse:
    """Return one page of an organization's active repositories."""
    wanted = _filter(request)
    scope: PageScope = ["ListRepositories", request.organization_id, request.provider, request.query]
    page = RequestedPage.of(request.page_size, request.page_token, scope)
    rows = page_of_repositories(context, wanted, after=page.after, limit=page.limit)
    response = scm_pb2.ListRepositoriesResponse(next_page_token=page.next_token(rows, lambda row: (row.name, row.id)))
    for row in rows[: page.size]:
        fill_repository(response.repositories.add(), row)
    return response


@service.rpc("StreamRepositories")
def stream_repositories(
    request: scm_pb2.StreamRepositoriesRequest, context: CallContext
) -> Iterator[scm_pb2.Repository]:
    """Stream all active repositories of an organization."""
    for row in stream_of_repositories(context, _filter(request)):
        yield fill_repository(scm_pb2.Repository(), row)


def _filter(request: scm_pb2.ListRepositoriesRequest | scm_pb2.StreamRepositoriesRequest) -> RepositoryFilter:
    validate(
        provider=None if request.provider in PROVIDERS else f"must be one of the enum Provider, got {request.provider}",
        query=text_problem(request.query, limit=MAX_NAME_CHARACTERS),
    )
    return RepositoryFilter(request.organization_id, spellings_of(request.provider), request.query)


@service.rpc("GetRepository")
def get_repository(request: scm_pb2.GetRepositoryRequest, context: CallContext) -> scm_pb2.Repository:
    """Return a repository by id."""
    return fill_repository(scm_pb2.Repository(), repository_row(context, request.repository_id))
