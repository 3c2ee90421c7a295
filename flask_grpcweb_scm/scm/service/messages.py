"""Messages made of rows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timezone

from google.protobuf.timestamp_pb2 import Timestamp

from flask_grpcweb_scm.pb import scm_pb2
from flask_grpcweb_scm.scm.database.models import (
    CodeMapping,
    Commit,
    CommitAuthor,
    ExternalIssue,
    RepositoryStatus,
    provider_spellings,
)
from flask_grpcweb_scm.scm.queries.code_mappings import CodeMappingRow
from flask_grpcweb_scm.scm.queries.commits import AuthorRow
from flask_grpcweb_scm.scm.queries.repositories import RepositoryRow

__all__ = [
    "author_message",
    "code_mapping_message",
    "commit_message",
    "external_issue_message",
    "fill_repository",
    "spellings_of",
]

_NAIVE_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  # for SQLite's instants, which are in UTC
_EPOCH = _NAIVE_EPOCH.replace(tzinfo=timezone.utc)

PROVIDERS = {
    "github": scm_pb2.PROVIDER_GITHUB,
    "gitlab": scm_pb2.PROVIDER_GITLAB,
    "bitbucket": scm_pb2.PROVIDER_BITBUCKET,
    "bitbucket_server": scm_pb2.PROVIDER_BITBUCKET_SERVER,
    "vsts": scm_pb2.PROVIDER_AZURE_DEVOPS,
    "github_enterprise": scm_pb2.PROVIDER_GITHUB_ENTERPRISE,
}
_BY_SPELLING = {spelling: number for name, number in PROVIDERS.items() for spelling in provider_spellings(name)}
STATUSES = {
    RepositoryStatus.ACTIVE.value: scm_pb2.REPOSITORY_STATUS_ACTIVE,
    RepositoryStatus.DISABLED.value: scm_pb2.REPOSITORY_STATUS_DISABLED,
    RepositoryStatus.HIDDEN.value: scm_pb2.REPOSITORY_STATUS_HIDDEN,
}


def spellings_of(provider: int) -> Sequence[str]:
    """Return what rows of a provider may have in their column; nothing for a number of no provider."""
    return [spelling for spelling, number in _BY_SPELLING.items() if number == provider]


def fill_repository(message: scm_pb2.Repository, row: RepositoryRow) -> scm_pb2.Repository:
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
    message.status = STATUSES[status]
    _set_timestamp(message.date_added, date_added)
    if config != "{}":
        for key, value in json.loads(config).items():
            message.config[key] = value if isinstance(value, str) else json.dumps(value)
    return message


def commit_message(row: Commit) -> scm_pb2.Commit:
    """Make a commit with its author."""
    message = scm_pb2.Commit(
        id=str(row.id),
        repository_id=row.repository_id,
        key=row.key,
        message=row.message,
        author=author_message(row.author),
    )
    _set_timestamp(message.date_added, row.date_added)
    return message


def author_message(row: CommitAuthor | AuthorRow | None) -> scm_pb2.CommitAuthor | None:
    """Make an author; None, which leaves the field unset, for none."""
    if row is None:
        return None
    return scm_pb2.CommitAuthor(name=row.name, email=row.email or "", external_id=row.external_id or "")


def code_mapping_message(row: CodeMapping | CodeMappingRow) -> scm_pb2.CodeMapping:
    """Make a code mapping."""
    return scm_pb2.CodeMapping(
        id=row.id,
        organization_id=row.organization_id,
        project_id=row.project_id,
        repository_id=row.repository_id,
        stack_root=row.stack_root,
        source_root=row.source_root,
        default_branch=row.default_branch,
        automatically_generated=row.automatically_generated,
    )


def external_issue_message(row: ExternalIssue) -> scm_pb2.ExternalIssue:
    """Make an external issue."""
    return scm_pb2.ExternalIssue(
        id=row.id,
        organization_id=row.organization_id,
        integration_id=row.integration_id,
        key=row.key,
        title=row.title,
        description=row.description,
        web_url=row.web_url,
        metadata=row.metadata_,
    )


def _set_timestamp(message: Timestamp, instant: datetime) -> None:
    since = instant - (_EPOCH if instant.tzinfo else _NAIVE_EPOCH)
    message.seconds = since.days * 86_400 + since.seconds
    message.nanos = since.microseconds * 1000
