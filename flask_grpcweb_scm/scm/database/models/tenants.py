"""Organizations, what they have their errors in, and their accounts at providers."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column, relationship

from flask_grpcweb_scm.scm.database.db import Model
from flask_grpcweb_scm.scm.database.models.columns import now, reference

__all__ = ["Group", "Integration", "Organization", "OrganizationIntegration", "Project"]


class Organization(Model):
    """A tenant: callers are restricted to organizations."""

    __tablename__ = "scm_organization"
    __table_args__ = (sa.UniqueConstraint("slug", name="uq_scm_organization_slug"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    slug: Mapped[str] = mapped_column(sa.String(64))
    name: Mapped[str] = mapped_column(sa.String(64), default="")
    date_added: Mapped[datetime] = mapped_column(default=now)


class Project(Model):
    """A collection of an organization's errors, usually those of one program."""

    __tablename__ = "scm_project"
    __table_args__ = (sa.UniqueConstraint("organization_id", "slug", name="uq_scm_project_slug"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    organization_id: Mapped[int] = reference("scm_organization")
    slug: Mapped[str] = mapped_column(sa.String(100))
    name: Mapped[str] = mapped_column(sa.String(200), default="")
    platform: Mapped[str | None] = mapped_column(sa.String(64))
    date_added: Mapped[datetime] = mapped_column(default=now)

    organization: Mapped[Organization] = relationship()


class Group(Model):
    """An error group; it belongs to the organization of its project."""

    __tablename__ = "scm_group"
    __table_args__ = (sa.UniqueConstraint("project_id", "short_id", name="uq_scm_group_short_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = reference("scm_project")
    short_id: Mapped[int | None]
    title: Mapped[str] = mapped_column(sa.Text, default="")
    first_seen: Mapped[datetime] = mapped_column(default=now)

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
    date_added: Mapped[datetime] = mapped_column(default=now)


class OrganizationIntegration(Model):
    """The installation of an integration in an organization."""

    __tablename__ = "scm_organization_integration"
    __table_args__ = (
        sa.UniqueConstraint("organization_id", "integration_id", name="uq_scm_organization_integration_pair"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    organization_id: Mapped[int] = reference("scm_organization")
    integration_id: Mapped[int] = reference("scm_integration", index=True)
    config: Mapped[dict[str, Any]] = mapped_column(sa.JSON, default=dict)
    sync_state: Mapped[dict[str, Any] | None] = mapped_column(sa.JSON(none_as_null=True))
    """Beginning of the next listing of its repositories: where the last one ended, and validators of its pages."""
    date_added: Mapped[datetime] = mapped_column(default=now)

    organization: Mapped[Organization] = relationship()
    integration: Mapped[Integration] = relationship()
