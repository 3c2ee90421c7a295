"""Issues in trackers, their links to error groups, and the outbox of those to create."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column, relationship

from flask_grpcweb_scm.scm.database.db import Model
from flask_grpcweb_scm.scm.database.models.columns import choice, now, reference
from flask_grpcweb_scm.scm.database.models.tenants import Integration, Organization
from flask_grpcweb_scm.scm.database.values import IssueState, LinkedType, LinkRelationship, place_of

__all__ = ["ExternalIssue", "GroupLink", "IssueOperation"]

_UNTOLD = sa.text("announce_at IS NOT NULL")
_REFRESHED = sa.text("refresh_at IS NOT NULL")


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
    organization_id: Mapped[int] = reference("scm_organization")
    integration_id: Mapped[int] = reference("scm_integration", index=True)
    key: Mapped[str] = mapped_column(sa.String(256))
    title: Mapped[str] = mapped_column(sa.Text, default="")
    description: Mapped[str] = mapped_column(sa.Text, default="")
    metadata_: Mapped[dict[str, Any]] = mapped_column("metadata", sa.JSON, default=dict)
    web_url: Mapped[str] = mapped_column(sa.Text, default="")
    date_added: Mapped[datetime] = mapped_column(default=now)
    idempotency_key: Mapped[str | None] = mapped_column(sa.String(255))
    request_digest: Mapped[str | None] = mapped_column(sa.String(64))
    """SHA-256 in hex of the request that `idempotency_key` came with."""
    status: Mapped[str] = mapped_column(sa.String(200), default="", server_default="")
    """In the tracker's word, such as ``open`` or ``In Progress``."""
    assignee: Mapped[str] = mapped_column(sa.String(200), default="", server_default="")
    state: Mapped[IssueState] = choice(IssueState, default=IssueState.UNREAD, server_default=IssueState.UNREAD.value)
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
    group_id: Mapped[int] = reference("scm_group")
    project_id: Mapped[int] = reference("scm_project", index=True)
    linked_type: Mapped[int] = mapped_column(default=LinkedType.ISSUE)
    linked_id: Mapped[int]
    relationship: Mapped[int] = mapped_column(default=LinkRelationship.REFERENCES)
    date_added: Mapped[datetime] = mapped_column(default=now)
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
    organization_id: Mapped[int] = reference("scm_organization")
    integration_id: Mapped[int] = reference("scm_integration", index=True)
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
    date_added: Mapped[datetime] = mapped_column(default=now)

    organization: Mapped[Organization] = relationship()
    integration: Mapped[Integration] = relationship()
