"""The tables of the SCM service, and the unique constraints of each."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column, relationship, validates

from flask_grpcweb_scm.scm.database.db import Model
from flask_grpcweb_scm.scm.database.values import (
    IssueState,
    LinkedType,
    LinkRelationship,
    RepositoryStatus,
    place_of,
)
from flask_grpcweb_scm.scm.remotes import MAX_KEY_CHARACTERS, remote_of

__all__ = [
    "MAX_FILE_CHANGES",
    "CodeMapping",
    "Commit",
    "CommitAuthor",
    "CommitFileChange",
    "ExternalIssue",
    "Group",
    "GroupLink",
    "Integration",
    "IssueOperation",
    "IssueState",
    "Job",
    "LinkRelationship",
    "LinkedType",
    "Organization",
    "OrganizationIntegration",
    "Project",
    "Repository",
    "RepositoryStatus",
    "WebhookDelivery",
]

MAX_FILE_CHANGES = 20_000
"""Of one commit. One that changes more is stored with one more, which tells it from one that changes as many."""

_MIRRORED = sa.text("mirror_path IS NOT NULL OR mirror_fetched_at IS NOT NULL")
_WITH_REMOTE = sa.text("remote IS NOT NULL")
_UNTOLD = sa.text("announce_at IS NOT NULL")
_REFRESHED = sa.text("refresh_at IS NOT NULL")


def _now() -> datetime:
    return datetime.now(timezone.utc)


def _status(**how: Any) -> sa.orm.MappedColumn[Any]:
    """Declare a column with the status of a repository."""
    values = {"values_callable": lambda enum: [status.value for status in enum]}
    return mapped_column(sa.Enum(RepositoryStatus, native_enum=False, length=24, **values), **how)


def _reference(target: str, *, index: bool = False, ondelete: str = "CASCADE") -> sa.orm.MappedColumn[Any]:
    """Declare a foreign key, with an index unless a unique constraint begins with it."""
    return mapped_column(sa.ForeignKey(f"{target}.id", ondelete=ondelete), index=index)


class Organization(Model):
    """A tenant: callers are restricted to organizations."""

    __tablename__ = "scm_organization"
    __table_args__ = (sa.UniqueConstraint("slug", name="uq_scm_organization_slug"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    slug: Mapped[str] = mapped_column(sa.String(64))
    name: Mapped[str] = mapped_column(sa.String(64), default="")
    date_added: Mapped[datetime] = mapped_column(default=_now)


class Project(Model):
    """A collection of an organization's errors, usually those of one program."""

    __tablename__ = "scm_project"
    __table_args__ = (sa.UniqueConstraint("organization_id", "slug", name="uq_scm_project_slug"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    organization_id: Mapped[int] = _reference("scm_organization")
    slug: Mapped[str] = mapped_column(sa.String(100))
    name: Mapped[str] = mapped_column(sa.String(200), default="")
    platform: Mapped[str | None] = mapped_column(sa.String(64))
    date_added: Mapped[datetime] = mapped_column(default=_now)

    organization: Mapped[Organization] = relationship()


class Group(Model):
    """An error group; it belongs to the organization of its project."""

    __tablename__ = "scm_group"
    __table_args__ = (sa.UniqueConstraint("project_id", "short_id", name="uq_scm_group_short_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = _reference("scm_project")
    short_id: Mapped[int | None]
    title: Mapped[str] = mapped_column(sa.Text, default="")
    first_seen: Mapped[datetime] = mapped_column(default=_now)

    project: Mapped[Project] = relationship()


class Integration(Model):
    """An account at a provider, which several organizations may share."""

    __tablename__ = "scm_integration"
    __table_args__ = (sa.UniqueConstraint("provider", "external_id", name="uq_scm_integration_external_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    provider: Mapped[str] = mapped_column(sa.String(64))
    external_id: Mapped[str] = mapped_column(sa.String(256))
    name: Mapped[str] = mapped_column(sa.String(200), default="", index=True)
    # `metadata` is reserved: SQLAlchemy has the tables of a model class there.
    metadata_: Mapped[dict[str, Any]] = mapped_column("metadata", sa.JSON, default=dict)
    date_added: Mapped[datetime] = mapped_column(default=_now)


class OrganizationIntegration(Model):
    """The installation of an integration in an organization."""

    __tablename__ = "scm_organization_integration"
    __table_args__ = (
        sa.UniqueConstraint("organization_id", "integration_id", name="uq_scm_organization_integration_pair"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    organization_id: Mapped[int] = _reference("scm_organization")
    integration_id: Mapped[int] = _reference("scm_integration", index=True)
    config: Mapped[dict[str, Any]] = mapped_column(sa.JSON, default=dict)
    sync_state: Mapped[dict[str, Any] | None] = mapped_column(sa.JSON(none_as_null=True))
    """Beginning of the next listing of its repositories: where the last one ended, and validators of its pages."""
    date_added: Mapped[datetime] = mapped_column(default=_now)

    organization: Mapped[Organization] = relationship()
    integration: Mapped[Integration] = relationship()


def _remote_of_url(context: Any) -> str | None:
    return remote_of((context.get_current_parameters() or {}).get("url") or "")


class Repository(Model):
    """A repository of an organization; names are not unique.

    It is known by its provider's number in `external_id`. Without one, that column has what it is known by instead: its
    remote, or else its name.
    """

    __tablename__ = "scm_repository"
    __table_args__ = (
        sa.UniqueConstraint("organization_id", "provider", "external_id", name="uq_scm_repository_external_id"),
        # Everything that decides whether a row is on a page, so that only the rows of the page are read from the table.
        sa.Index("ix_scm_repository_page", "organization_id", "status", "name", "id", "provider"),
        sa.Index("ix_scm_repository_provider", "organization_id", "status", "provider", "name", "id"),
        sa.Index(
            "ix_scm_repository_mirror", "organization_id", "status", postgresql_where=_MIRRORED, sqlite_where=_MIRRORED
        ),
        sa.Index(
            *("ix_scm_repository_remote", "organization_id", "remote"),
            postgresql_where=_WITH_REMOTE,
            sqlite_where=_WITH_REMOTE,
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    organization_id: Mapped[int] = _reference("scm_organization")
    integration_id: Mapped[int | None] = _reference("scm_integration", index=True, ondelete="SET NULL")
    # In the order of its bytes, as SQLite has it: the collation of the database would order pages by its language.
    name: Mapped[str] = mapped_column(sa.String(200).with_variant(sa.String(200, collation="C"), "postgresql"))
    url: Mapped[str] = mapped_column(sa.Text, default="")
    provider: Mapped[str] = mapped_column(sa.String(64), default="")
    external_id: Mapped[str | None] = mapped_column(sa.String(64))
    config: Mapped[dict[str, Any]] = mapped_column(sa.JSON, default=dict)
    """Goes to callers: nothing private."""
    status: Mapped[RepositoryStatus] = _status(default=RepositoryStatus.ACTIVE)
    synced_status: Mapped[RepositoryStatus | None] = _status()
    """The status that syncs have set; None counts as active. One that differs is a person's, and stays."""
    date_added: Mapped[datetime] = mapped_column(default=_now)
    default_branch: Mapped[str] = mapped_column(sa.String(255), default="")
    mirror_path: Mapped[str | None] = mapped_column(sa.Text)
    """Absolute path of a git directory on this machine that somebody else fetches; never sent to a caller."""
    mirror_fetched_at: Mapped[datetime | None]
    """Last time that the service's own mirror was as its remote; None before it has one. Its path has the row's id."""
    imported_key: Mapped[str | None] = mapped_column(sa.String(64))
    """A commit whose ancestors are all stored: the next import continues there."""
    remote: Mapped[str | None] = mapped_column(sa.String(MAX_KEY_CHARACTERS), default=_remote_of_url)
    """Host and path of the remote, or a path of this machine; one text for all its URLs, and never sent to a caller."""

    organization: Mapped[Organization] = relationship()
    integration: Mapped[Integration | None] = relationship()

    @validates("url")
    def _note_remote(self, key: str, url: str) -> str:
        remote = remote_of(url or "")
        if remote is not None:
            self.remote = remote
        return url


class CommitAuthor(Model):
    """An author as commits have it, name and address; git allows one without an address.

    Several people may have one address, and one person several names: each pair is a row.
    """

    __tablename__ = "scm_commit_author"
    __table_args__ = (
        sa.UniqueConstraint("organization_id", "email", "name", name="uq_scm_commit_author_name"),
        sa.UniqueConstraint("organization_id", "external_id", name="uq_scm_commit_author_external_id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    organization_id: Mapped[int] = _reference("scm_organization")
    name: Mapped[str] = mapped_column(sa.String(128), default="")
    email: Mapped[str | None] = mapped_column(sa.String(200))
    external_id: Mapped[str | None] = mapped_column(sa.String(164))

    organization: Mapped[Organization] = relationship()

    @validates("email")
    def _lower_email(self, key: str, email: str | None) -> str | None:
        return email and email.lower()


class Commit(Model):
    """A commit of a repository; `date_added` is git's commit date."""

    __tablename__ = "scm_commit"
    __table_args__ = (
        sa.UniqueConstraint("repository_id", "key", name="uq_scm_commit_key"),
        sa.Index("ix_scm_commit_newest", "repository_id", "date_added", "id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    repository_id: Mapped[int] = _reference("scm_repository")
    key: Mapped[str] = mapped_column(sa.String(64))
    author_id: Mapped[int | None] = _reference("scm_commit_author", index=True, ondelete="SET NULL")
    message: Mapped[str] = mapped_column(sa.Text, default="")
    date_added: Mapped[datetime] = mapped_column(default=_now)

    repository: Mapped[Repository] = relationship()
    author: Mapped[CommitAuthor | None] = relationship()


def _of_commit(column: str) -> Callable[[Any], Any]:
    """Make the default of a column that repeats one of the row's commit."""

    def default(context: Any) -> Any:
        value = sa.select(Commit.__table__.c[column])
        commit_id = context.get_current_parameters()["commit_id"]
        return context.connection.scalar(value.where(Commit.__table__.c.id == commit_id))

    return default


class CommitFileChange(Model):
    """A file that a commit added (A), deleted (D) or modified (M).

    `repository_id` and `date_added` are the commit's: an index over two tables, to find the last change of a file, does
    not exist.
    """

    __tablename__ = "scm_commit_file_change"
    __table_args__ = (
        sa.Index("ix_scm_commit_file_change_path", "repository_id", "filename", "date_added", "commit_id"),
    )

    commit_id: Mapped[int] = mapped_column(sa.ForeignKey("scm_commit.id", ondelete="CASCADE"), primary_key=True)
    filename: Mapped[str] = mapped_column(sa.Text, primary_key=True)
    type: Mapped[str] = mapped_column(sa.String(1))
    repository_id: Mapped[int] = mapped_column(default=_of_commit("repository_id"))
    date_added: Mapped[datetime] = mapped_column(default=_of_commit("date_added"))

    commit: Mapped[Commit] = relationship()


class CodeMapping(Model):
    """Replacement of a prefix that turns paths of a project's stack traces into paths of a repository."""

    __tablename__ = "scm_code_mapping"
    __table_args__ = (
        sa.UniqueConstraint("project_id", "stack_root", name="uq_scm_code_mapping_stack_root"),
        sa.Index("ix_scm_code_mapping_page", "project_id", "automatically_generated", "root_rank", "id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    organization_id: Mapped[int] = _reference("scm_organization", index=True)
    project_id: Mapped[int] = _reference("scm_project")
    repository_id: Mapped[int] = _reference("scm_repository", index=True)
    stack_root: Mapped[str] = mapped_column(sa.String(512), default="")
    root_rank: Mapped[int] = mapped_column(sa.Computed("-length(stack_root)", persisted=True))
    """Of two mappings the one with the longer stack root comes first."""
    source_root: Mapped[str] = mapped_column(sa.String(512), default="")
    default_branch: Mapped[str] = mapped_column(sa.String(255), default="")
    automatically_generated: Mapped[bool] = mapped_column(default=False)
    date_added: Mapped[datetime] = mapped_column(default=_now)

    organization: Mapped[Organization] = relationship()
    project: Mapped[Project] = relationship()
    repository: Mapped[Repository] = relationship()


def _place_of_key(context: Any) -> str:
    return place_of(context.get_current_parameters()["key"])


class ExternalIssue(Model):
    """An issue in a tracker, or a local one with a key such as ``ISSUE-1``."""

    __tablename__ = "scm_external_issue"
    __table_args__ = (
        sa.UniqueConstraint("organization_id", "integration_id", "key", name="uq_scm_external_issue_key"),
        sa.UniqueConstraint("organization_id", "idempotency_key", name="uq_scm_external_issue_idempotency_key"),
        sa.Index("ix_scm_external_issue_page", "organization_id", "id"),
        sa.Index("ix_scm_external_issue_place", "integration_id", "place"),
        sa.Index(
            *("ix_scm_external_issue_refresh", "integration_id", "refresh_at"),
            postgresql_where=_REFRESHED,
            sqlite_where=_REFRESHED,
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    organization_id: Mapped[int] = _reference("scm_organization")
    integration_id: Mapped[int] = _reference("scm_integration", index=True)
    key: Mapped[str] = mapped_column(sa.String(256))
    title: Mapped[str] = mapped_column(sa.Text, default="")
    description: Mapped[str] = mapped_column(sa.Text, default="")
    metadata_: Mapped[dict[str, Any]] = mapped_column("metadata", sa.JSON, default=dict)
    web_url: Mapped[str] = mapped_column(sa.Text, default="")
    date_added: Mapped[datetime] = mapped_column(default=_now)
    idempotency_key: Mapped[str | None] = mapped_column(sa.String(255))
    request_digest: Mapped[str | None] = mapped_column(sa.String(64))
    """SHA-256 in hex of the request that `idempotency_key` came with."""
    status: Mapped[str] = mapped_column(sa.String(200), default="", server_default="")
    """In the tracker's word, such as ``open`` or ``In Progress``."""
    assignee: Mapped[str] = mapped_column(sa.String(200), default="", server_default="")
    state: Mapped[IssueState] = mapped_column(
        sa.Enum(IssueState, native_enum=False, length=24, values_callable=lambda enum: [s.value for s in enum]),
        default=IssueState.UNREAD,
        server_default=IssueState.UNREAD.value,
    )
    state_time: Mapped[datetime | None]
    """Time of the last reading at the tracker: title, status, assignee and state are as old as this."""
    moved_to: Mapped[str] = mapped_column(sa.String(256), default="", server_default="")
    """The tracker's key for one that was moved; empty also where the tracker does not say."""
    place: Mapped[str | None] = mapped_column(sa.String(256), default=_place_of_key)
    """The key that it has now, `key` or `moved_to`, in one case: owners change that of names, and webhooks tell keys in
    the new one."""
    refresh_at: Mapped[datetime | None]
    """Time when it is to be read again; None for never."""
    misses: Mapped[int] = mapped_column(default=0, server_default="0")
    """Number of times that it could not be read, since it was."""

    organization: Mapped[Organization] = relationship()
    integration: Mapped[Integration] = relationship()


class GroupLink(Model):
    """A reference from an error group to another row, so far always an external issue."""

    __tablename__ = "scm_group_link"
    __table_args__ = (
        sa.UniqueConstraint("group_id", "linked_type", "linked_id", name="uq_scm_group_link_linked"),
        sa.Index(*("ix_scm_group_link_announce_at", "announce_at"), postgresql_where=_UNTOLD, sqlite_where=_UNTOLD),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    group_id: Mapped[int] = _reference("scm_group")
    project_id: Mapped[int] = _reference("scm_project", index=True)
    linked_type: Mapped[int] = mapped_column(default=LinkedType.ISSUE)
    linked_id: Mapped[int]
    relationship: Mapped[int] = mapped_column(default=LinkRelationship.REFERENCES)
    date_added: Mapped[datetime] = mapped_column(default=_now)
    announce_at: Mapped[datetime | None]
    """Time when a worker is to see to it that the tracker's issue has a comment about the link; None for no more."""


class IssueOperation(Model):
    """A row of the outbox: an issue to create at a tracker, from before the first request until the issue is stored."""

    __tablename__ = "scm_issue_operation"
    __table_args__ = (
        sa.UniqueConstraint("marker", name="uq_scm_issue_operation_marker"),
        sa.UniqueConstraint("organization_id", "idempotency_key", name="uq_scm_issue_operation_idempotency_key"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    organization_id: Mapped[int] = _reference("scm_organization")
    integration_id: Mapped[int] = _reference("scm_integration", index=True)
    marker: Mapped[str] = mapped_column(sa.String(64))
    """A unique word in the tracker's issue, by which it is found."""
    title: Mapped[str] = mapped_column(sa.Text)
    description: Mapped[str] = mapped_column(sa.Text, default="")
    metadata_: Mapped[dict[str, Any]] = mapped_column("metadata", sa.JSON, default=dict)
    """Metadata of the request."""
    fields: Mapped[dict[str, Any]] = mapped_column(sa.JSON, default=dict)
    """Metadata and the defaults at that time: the issue is searched for where it was to be created."""
    idempotency_key: Mapped[str | None] = mapped_column(sa.String(255))
    request_digest: Mapped[str] = mapped_column(sa.String(64))
    """SHA-256 in hex of the request."""
    claimed_until: Mapped[datetime]
    """End of the lease of the last call that has claimed the operation."""
    attempts: Mapped[int] = mapped_column(default=1)
    error: Mapped[str] = mapped_column(sa.Text, default="")
    """Error of the last attempt; empty while one is under way, and after it was killed."""
    not_before: Mapped[datetime | None]
    """End of a wait that the tracker has demanded of the last attempt; None without one."""
    date_added: Mapped[datetime] = mapped_column(default=_now)

    organization: Mapped[Organization] = relationship()
    integration: Mapped[Integration] = relationship()


class Job(Model):
    """Work that is done again and again, such as the sync of a repository: when it is due, and who does it."""

    __tablename__ = "scm_job"
    __table_args__ = (sa.UniqueConstraint("kind", "subject_id", name="uq_scm_job_subject"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(sa.String(32))
    organization_id: Mapped[int | None] = _reference("scm_organization", index=True)
    subject_id: Mapped[int] = mapped_column(default=0)
    """Id of the row that it is about, in the table of its kind; 0 for none."""
    due_at: Mapped[datetime] = mapped_column(index=True)
    """Stays as it is while the job is claimed."""
    requests: Mapped[int] = mapped_column(default=0)
    """Number of times that it was made due: one more while it is claimed makes it due again."""
    not_before: Mapped[datetime | None]
    """End of a wait that a provider has demanded, which nothing shortens; None without one."""
    claimed_until: Mapped[datetime | None]
    """End of the lease of the last worker that has claimed it; None once that has released it."""
    claims: Mapped[int] = mapped_column(default=0)
    """Number of claims: a worker whose lease is over cannot complete the claim of the next one."""
    attempts: Mapped[int] = mapped_column(default=0)
    """Number of claims since it last succeeded."""
    error: Mapped[str] = mapped_column(sa.Text, default="")
    """Error of the last attempt; empty after a success."""
    succeeded_at: Mapped[datetime | None]
    date_added: Mapped[datetime] = mapped_column(default=_now)

    organization: Mapped[Organization | None] = relationship()


class WebhookDelivery(Model):
    """A delivery of a webhook that has made work due; the oldest ones are deleted."""

    __tablename__ = "scm_webhook_delivery"
    __table_args__ = (sa.UniqueConstraint("webhook", "delivery_id", name="uq_scm_webhook_delivery_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    webhook: Mapped[str] = mapped_column(sa.String(200))
    """Its name in ``GRPC_SCM_WEBHOOKS``."""
    delivery_id: Mapped[str] = mapped_column(sa.String(200))
    """As the provider says it, the same when it sends the delivery again."""
    date_added: Mapped[datetime] = mapped_column(default=_now)
