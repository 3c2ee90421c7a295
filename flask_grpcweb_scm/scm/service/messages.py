"""Rows as messages."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timezone

from google.protobuf.timestamp_pb2 import Timestamp

from flask_grpcweb_scm.pb import scm_pb2
from flask_grpcweb_scm.scm.database.models import Commit, ExternalIssue, RepositoryStatus
from flask_grpcweb_scm.scm.queries.repositories import CodeMappingRow, RepositoryRow
from flask_grpcweb_scm.scm.queries.tenancy import AuthorRow

__all__ = [
    "author_message",
    "code_mapping_message",
    "commit_message",
    "external_issue_message",
    "fill_repository",
    "provider_spellings",
]

_NAIVE_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  # of instants in UTC that do not say so
_EPOCH = _NAIVE_EPOCH.replace(tzinfo=timezone.utc)

INTEGRATION_PREFIX = "integrations:"
PROVIDERS = {
    "github": scm_pb2.PROVIDER_GITHUB,
    "gitlab": scm_pb2.PROVIDER_GITLAB,
    "bitbucket": scm_pb2.PROVIDER_BITBUCKET,
    "bitbucket_server": scm_pb2.PROVIDER_BITBUCKET_SERVER,
    "vsts": scm_pb2.PROVIDER_AZURE_DEVOPS,
    "github_enterprise": scm_pb2.PROVIDER_GITHUB_ENTERPRISE,
}
STATUSES = {
    RepositoryStatus.ACTIVE: scm_pb2.REPOSITORY_STATUS_ACTIVE,
    RepositoryStatus.DISABLED: scm_pb2.REPOSITORY_STATUS_DISABLED,
    RepositoryStatus.HIDDEN: scm_pb2.REPOSITORY_STATUS_HIDDEN,
}


def provider_spellings(number: int) -> Sequence[str]:
    """What rows of a provider may have in their column; nothing for a number that is no provider's."""
    names = [name for name, value in PROVIDERS.items() if value == number]
    return [spelling for name in names for spelling in (name, INTEGRATION_PREFIX + name)]


def fill_repository(message: scm_pb2.Repository, row: RepositoryRow) -> scm_pb2.Repository:
    """A repository without what is private to this server.

    Field by field into a message that is in its place already: keyword arguments and copies take six times as long.
    """
    row_id, organization_id, name, url, provider, external_id, status, date_added, config = row
    message.id = row_id
    message.organization_id = organization_id
    message.name = name
    message.url = url
    message.provider = PROVIDERS.get(provider.removeprefix(INTEGRATION_PREFIX), scm_pb2.PROVIDER_UNSPECIFIED)
    message.external_id = external_id or ""
    message.status = STATUSES[status]
    _set_timestamp(message.date_added, date_added)
    if config != "{}":
        for key, value in json.loads(config).items():
            message.config[key] = value if isinstance(value, str) else json.dumps(value)
    return message


def commit_message(row: Commit) -> scm_pb2.Commit:
    """A commit with its author."""
    message = scm_pb2.Commit(
        id=str(row.id),
        repository_id=row.repository_id,
        key=row.key,
        message=row.message,
        author=author_message(row.author),
    )
    _set_timestamp(message.date_added, row.date_added)
    return message


def author_message(row: AuthorRow | None) -> scm_pb2.CommitAuthor | None:
    """An author; None, which leaves the field out, for none."""
    if row is None:
        return None
    return scm_pb2.CommitAuthor(name=row.name, email=row.email or "", external_id=row.external_id or "")


def code_mapping_message(row: CodeMappingRow) -> scm_pb2.CodeMapping:
    """A code mapping."""
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
    """An external issue."""
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
