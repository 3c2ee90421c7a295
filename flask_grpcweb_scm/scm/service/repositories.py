"""Repositories: one by id, a page, a stream."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone

from google.protobuf.timestamp_pb2 import Timestamp

from flask_grpcweb_scm.pb import scm_pb2
from flask_grpcweb_scm.rpc import CallContext
from flask_grpcweb_scm.scm.database.models import RepositoryStatus
from flask_grpcweb_scm.scm.database.values import provider_spellings
from flask_grpcweb_scm.scm.jobs import SYNC_REPOSITORY, make_due
from flask_grpcweb_scm.scm.queries.paging import PageScope, RequestedPage
from flask_grpcweb_scm.scm.queries.repositories import (
    RepositoryFilter,
    RepositoryRow,
    page_of_repositories,
    repository_row,
    stream_of_repositories,
)
from flask_grpcweb_scm.scm.queries.tenancy import find_repository
from flask_grpcweb_scm.scm.remotes import parse_remote
from flask_grpcweb_scm.scm.service.definition import cut_to_page, service
from flask_grpcweb_scm.scm.settings import current_settings
from flask_grpcweb_scm.scm.validation import failed_precondition, text_problem, validate

__all__ = ["get_repository", "list_repositories", "stream_repositories", "sync_repository"]

MAX_NAME_CHARACTERS = 200
PROVIDERS = frozenset(scm_pb2.Provider.values())

_NAIVE_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  # for SQLite's instants, which are in UTC
_EPOCH = _NAIVE_EPOCH.replace(tzinfo=timezone.utc)

_PROVIDERS = {
    "github": scm_pb2.PROVIDER_GITHUB,
    "gitlab": scm_pb2.PROVIDER_GITLAB,
    "bitbucket": scm_pb2.PROVIDER_BITBUCKET,
    "bitbucket_server": scm_pb2.PROVIDER_BITBUCKET_SERVER,
    "vsts": scm_pb2.PROVIDER_AZURE_DEVOPS,
    "github_enterprise": scm_pb2.PROVIDER_GITHUB_ENTERPRISE,
}
_BY_SPELLING = {spelling: number for name, number in _PROVIDERS.items() for spelling in provider_spellings(name)}
_STATUSES = {
    RepositoryStatus.ACTIVE.value: scm_pb2.REPOSITORY_STATUS_ACTIVE,
    RepositoryStatus.DISABLED.value: scm_pb2.REPOSITORY_STATUS_DISABLED,
    RepositoryStatus.HIDDEN.value: scm_pb2.REPOSITORY_STATUS_HIDDEN,
}


@service.ListRepositories
def list_repositories(
    request: scm_pb2.ListRepositoriesRequest, context: CallContext
) -> scm_pb2.ListRepositoriesResponse:
    """Return one page of an organization's active repositories."""
    wanted = _filter(request)
    scope: PageScope = ["ListRepositories", request.organization_id, request.provider, request.query]
    page = RequestedPage.of(request.page_size, request.page_token, scope)
    rows = page_of_repositories(context, wanted, after=page.after, limit=page.limit)
    response = scm_pb2.ListRepositoriesResponse()
    for row in rows[: page.size]:
        _fill(response.repositories.add(), row)
    is_cut = cut_to_page(response, response.repositories)
    rows = rows[: len(response.repositories)] if is_cut else rows
    response.next_page_token = page.next_token(rows, lambda row: (row.name, row.id), is_cut=is_cut)
    return response


@service.StreamRepositories
def stream_repositories(
    request: scm_pb2.StreamRepositoriesRequest, context: CallContext
) -> Iterator[scm_pb2.Repository]:
    """Stream all active repositories of an organization."""
    for row in stream_of_repositories(context, _filter(request)):
        yield _fill(scm_pb2.Repository(), row)


def _filter(request: scm_pb2.ListRepositoriesRequest | scm_pb2.StreamRepositoriesRequest) -> RepositoryFilter:
    validate(
        provider=None if request.provider in PROVIDERS else f"must be one of the enum Provider, got {request.provider}",
        query=text_problem(request.query, limit=MAX_NAME_CHARACTERS),
    )
    return RepositoryFilter(request.organization_id, _spellings_of(request.provider), request.query)


@service.GetRepository
def get_repository(request: scm_pb2.GetRepositoryRequest, context: CallContext) -> scm_pb2.Repository:
    """Return a repository by id."""
    return _fill(scm_pb2.Repository(), repository_row(context, request.repository_id))


@service.SyncRepository
def sync_repository(request: scm_pb2.SyncRepositoryRequest, context: CallContext) -> scm_pb2.SyncRepositoryResponse:
    """Have a repository synced by a worker, soon."""
    repository = find_repository(context, request.repository_id)
    subject = f"repository {repository.id}"
    problem = ""
    if repository.status is not RepositoryStatus.ACTIVE:
        problem = f"is {repository.status.value}"
    elif parse_remote(repository.url) is None:
        problem = "has no remote on a host"
    elif current_settings().scm_mirrors is None:
        problem = "is not synced: this server keeps no mirrors"
    if problem:
        raise failed_precondition("SYNC", subject, f"{subject} {problem}")
    due_at = make_due(SYNC_REPOSITORY, repository.id, organization_id=repository.organization_id, is_patient=True)
    response = scm_pb2.SyncRepositoryResponse()
    response.due_at.FromDatetime(due_at)
    if repository.mirror_fetched_at is not None:
        response.synced_at.FromDatetime(repository.mirror_fetched_at)
    return response


def _spellings_of(provider: int) -> Sequence[str]:
    """Return what rows of a provider may have in their column; nothing for a number of no provider."""
    return [spelling for spelling, number in _BY_SPELLING.items() if number == provider]


def _fill(message: scm_pb2.Repository, row: RepositoryRow) -> scm_pb2.Repository:
    """Fill in a repository, without what is private to this server.

    Field by field into a message that is in its place already, because keyword arguments and copies take six times as
    long; the row is unpacked, because its attributes take even longer.
    """
    row_id, organization_id, name, url, provider, external_id, status, date_added, config = row
    message.id = row_id
    message.organization_id = organization_id
    message.name = name
    message.url = url
    message.provider = _BY_SPELLING.get(provider, scm_pb2.PROVIDER_UNSPECIFIED)
    message.external_id = external_id or ""
    message.status = _STATUSES[status]
    _set_timestamp(message.date_added, date_added)
    if config != "{}":
        for key, value in json.loads(config).items():
            message.config[key] = value if isinstance(value, str) else json.dumps(value)
    return message


def _set_timestamp(message: Timestamp, instant: datetime) -> None:
    since = instant - (_EPOCH if instant.tzinfo else _NAIVE_EPOCH)
    message.seconds = since.days * 86_400 + since.seconds
    message.nanos = since.microseconds * 1000
