"""Repositories of an organization."""

from __future__ import annotations

from flask_grpcweb_scm.pb import scm_pb2
from flask_grpcweb_scm.rpc import CallContext
from flask_grpcweb_scm.scm import queries
from flask_grpcweb_scm.scm.conversion import provider_spellings, repository_message
from flask_grpcweb_scm.scm.paging import Position, page_size, read_page_token, write_page_token
from flask_grpcweb_scm.scm.service.definition import service
from flask_grpcweb_scm.scm.settings import current_settings
from flask_grpcweb_scm.scm.validation import text_problem, validate

__all__ = ["get_repository", "list_repositories"]

MAX_NAME_CHARACTERS = 200


@service.rpc("ListRepositories")
def list_repositories(
    request: scm_pb2.ListRepositoriesRequest, context: CallContext
) -> scm_pb2.ListRepositoriesResponse:
    """One page of an organization's active repositories."""
    settings = current_settings()
    known_provider = request.provider in scm_pb2.Provider.values()
    validate(
        provider=None if known_provider else f"must be one of the enum Provider, got {request.provider}",
        query=text_problem(request.query, limit=MAX_NAME_CHARACTERS),
    )
    size = page_size(request.page_size, settings)
    scope: list[str | int] = [request.organization_id, request.provider, request.query]
    after = read_page_token(request.page_token, scope, settings)
    organization = queries.find_organization(context, request.organization_id)
    rows = queries.page_of_repositories(
        organization,
        providers=provider_spellings(request.provider),
        query=request.query,
        after=after,
        limit=size + 1,  # one more says whether there is a next page
    )
    response = scm_pb2.ListRepositoriesResponse(repositories=map(repository_message, rows[:size]))
    if len(rows) > size:
        last = rows[size - 1]
        response.next_page_token = write_page_token(scope, Position(last.name, last.id), settings)
    return response


@service.rpc("GetRepository")
def get_repository(request: scm_pb2.GetRepositoryRequest, context: CallContext) -> scm_pb2.Repository:
    """A repository by id."""
    return repository_message(queries.find_repository(context, request.repository_id))
