"""The tables of the SCM service, and what is unique in each."""

from __future__ import annotations

import enum
from datetime import datetime, timezone
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column, relationship, validates

from flask_grpcweb_scm.scm.database.db import Model

__all__ = [
    "CodeMapping",
    "Commit",
    "CommitAuthor",
    "CommitFileChange",
    "ExternalIssue",
    "Group",
    "GroupLink",
    "Integration",
    "IssueOperation",
    "LinkRelationship",
    "LinkedType",
    "Organization",
    "OrganizationIntegration",
    "Project",
    "Repository",
    "RepositoryStatus",
]


def _now() -> datetime:
    return datetime.now(timezone.utc)


def _reference(target: str, *, index: bool = False, ondelete: str = "CASCADE") -> sa.orm.MappedColumn[Any]:
    """A foreign key; `index` says that no unique constraint begins with it already."""
    return mapped_column(sa.ForeignKey(f"{target}.id", ondelete=ondelete), index=index)


class RepositoryStatus(str, enum.Enum):
    """Life of a repository row; the last two count as gone."""

    ACTIVE = "active"
    DISABLED = "disabled"
    HIDDEN = "hidden"
    PENDING_DELETION = "pending_deletion"
    DELETION_IN_PROGRESS = "deletion_in_progress"


class LinkedType(enum.IntEnum):
    """What ``GroupLink.linked_id`` is the id of."""

    ISSUE = 3


class LinkRelationship(enum.IntEnum):
    """How a group stands to what it is linked to."""

    REFERENCES = 2


class Organization(Model):
    """A tenant: callers are restricted to organizations."""

    __tablename__ = "scm_organization"
    __table_args__ = (sa.UniqueConstraint("slug", name="uq_scm_organization_slug"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    slug: Mapped[str] = mapped_column(sa.String(64))
    name: Mapped[str] = mapped_column(sa.String(64), default="")
    date_added: Mapped[datetime] = mapped_column(default=_now)


class Project(Model):
    """Where an organization's errors are collected, usually one per program."""

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
    name: Mapped[str] = mapped_column(sa.String(200), default="")
    # `metadata` is taken: SQLAlchemy keeps the tables of a model class there.
    metadata_: Mapped[dict[str, Any]] = mapped_column("metadata", sa.JSON, default=dict)
    date_added: Mapped[datetime] = mapped_column(default=_now)


class OrganizationIntegration(Model):
    """That an integration is installed in an organization."""

    __tablename__ = "scm_organization_integration"
    __table_args__ = (
        sa.UniqueConstraint("organization_id", "integration_id", name="uq_scm_organization_integration_pair"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    organization_id: Mapped[int] = _reference("scm_organization")
    integration_id: Mapped[int] = _reference("scm_integration", index=True)
    config: Mapped[dict[str, Any]] = mapped_column(sa.JSON, default=dict)
    date_added: Mapped[datetime] = mapped_column(default=_now)

    organization: Mapped[Organization] = relationship()
    integration: Mapped[Integration] = relationship()


class Repository(Model):
    """A repository of an organization; names are not unique."""

    __tablename__ = "scm_repository"
    __table_args__ = (
        sa.UniqueConstraint("organization_id", "provider", "external_id", name="uq_scm_repository_external_id"),
        # Everything that decides whether a row is on a page, so that only the rows of the page are read from the table.
        sa.Index("ix_scm_repository_page", "organization_id", "status", "name", "id", "provider"),
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
    status: Mapped[RepositoryStatus] = mapped_column(
        sa.Enum(RepositoryStatus, native_enum=False, length=24, values_callable=lambda enum: [s.value for s in enum]),
        default=RepositoryStatus.ACTIVE,
    )
    date_added: Mapped[datetime] = mapped_column(default=_now)
    default_branch: Mapped[str] = mapped_column(sa.String(255), default="")
    mirror_path: Mapped[str | None] = mapped_column(sa.Text)
    """Git directory on this machine, absolute; never sent to a caller."""
    imported_key: Mapped[str | None] = mapped_column(sa.String(64))
    """A commit all of whose ancestors are stored: where the next import goes on."""

    organization: Mapped[Organization] = relationship()
    integration: Mapped[Integration | None] = relationship()


class CommitAuthor(Model):
    """A person as commits name it; git allows an author without an e-mail address."""

    __tablename__ = "scm_commit_author"
    __table_args__ = (
        sa.UniqueConstraint("organization_id", "email", name="uq_scm_commit_author_email"),
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
        sa.Index("ix_scm_commit_date", "repository_id", "date_added"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    repository_id: Mapped[int] = _reference("scm_repository")
    key: Mapped[str] = mapped_column(sa.String(64))
    author_id: Mapped[int | None] = _reference("scm_commit_author", index=True, ondelete="SET NULL")
    message: Mapped[str] = mapped_column(sa.Text, default="")
    date_added: Mapped[datetime] = mapped_column(default=_now)

    repository: Mapped[Repository] = relationship()
    author: Mapped[CommitAuthor | None] = relationship()


class CommitFileChange(Model):
    """A file that a commit added (A), deleted (D) or modified (M)."""

    __tablename__ = "scm_commit_file_change"

    commit_id: Mapped[int] = mapped_column(sa.ForeignKey("scm_commit.id", ondelete="CASCADE"), primary_key=True)
    filename: Mapped[str] = mapped_column(sa.Text, primary_key=True)
    type: Mapped[str] = mapped_column(sa.String(1))

    commit: Mapped[Commit] = relationship()


class CodeMapping(Model):
    """How paths in a project's stack traces become paths in a repository."""

    __tablename__ = "scm_code_mapping"
    __table_args__ = (sa.UniqueConstraint("project_id", "stack_root", name="uq_scm_code_mapping_stack_root"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    organization_id: Mapped[int] = _reference("scm_organization", index=True)
    project_id: Mapped[int] = _reference("scm_project")
    repository_id: Mapped[int] = _reference("scm_repository", index=True)
    stack_root: Mapped[str] = mapped_column(sa.String(512), default="")
    source_root: Mapped[str] = mapped_column(sa.String(512), default="")
    default_branch: Mapped[str] = mapped_column(sa.String(255), default="")
    automatically_generated: Mapped[bool] = mapped_column(default=False)
    date_added: Mapped[datetime] = mapped_column(default=_now)

    organization: Mapped[Organization] = relationship()
    project: Mapped[Project] = relationship()
    repository: Mapped[Repository] = relationship()


class ExternalIssue(Model):
    """An issue in a tracker, or a local one with a key of the form ``ISSUE-<n>``."""

    __tablename__ = "scm_external_issue"
    __table_args__ = (
        sa.UniqueConstraint("organization_id", "integration_id", "key", name="uq_scm_external_issue_key"),
        sa.UniqueConstraint("organization_id", "idempotency_key", name="uq_scm_external_issue_idempotency_key"),
        sa.Index("ix_scm_external_issue_page", "organization_id", "id"),
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

    organization: Mapped[Organization] = relationship()
    integration: Mapped[Integration] = relationship()


class GroupLink(Model):
    """That an error group refers to something, so far always an external issue."""

    __tablename__ = "scm_group_link"
    __table_args__ = (sa.UniqueConstraint("group_id", "linked_type", "linked_id", name="uq_scm_group_link_linked"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    group_id: Mapped[int] = _reference("scm_group")
    project_id: Mapped[int] = _reference("scm_project", index=True)
    linked_type: Mapped[int] = mapped_column(default=LinkedType.ISSUE)
    linked_id: Mapped[int]
    relationship: Mapped[int] = mapped_column(default=LinkRelationship.REFERENCES)
    date_added: Mapped[datetime] = mapped_column(default=_now)


class IssueOperation(Model):
    """An issue that is to be created at a tracker: from before the tracker is asked until the issue is stored."""

    __tablename__ = "scm_issue_operation"
    __table_args__ = (
        sa.UniqueConstraint("marker", name="uq_scm_issue_operation_marker"),
        sa.UniqueConstraint("organization_id", "idempotency_key", name="uq_scm_issue_operation_idempotency_key"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    organization_id: Mapped[int] = _reference("scm_organization")
    integration_id: Mapped[int] = _reference("scm_integration", index=True)
    marker: Mapped[str] = mapped_column(sa.String(64))
    """The word that the tracker's issue is found by."""
    title: Mapped[str] = mapped_column(sa.Text)
    description: Mapped[str] = mapped_column(sa.Text, default="")
    metadata_: Mapped[dict[str, Any]] = mapped_column("metadata", sa.JSON, default=dict)
    """What the request sent."""
    fields: Mapped[dict[str, Any]] = mapped_column(sa.JSON, default=dict)
    """With the defaults of then: an issue is looked for where it was to be created."""
    idempotency_key: Mapped[str | None] = mapped_column(sa.String(255))
    request_digest: Mapped[str] = mapped_column(sa.String(64))
    """SHA-256 in hex of the request."""
    claimed_until: Mapped[datetime]
    """Until then the last call that asked the tracker to create it is, or was, at it."""
    attempts: Mapped[int] = mapped_column(default=1)
    error: Mapped[str] = mapped_column(sa.Text, default="")
    """What the last attempt ended with; empty for one that is under way or was killed."""
    date_added: Mapped[datetime] = mapped_column(default=_now)

    organization: Mapped[Organization] = relationship()
    integration: Mapped[Integration] = relationship()
