"""Repositories, their commits, and the code mappings that lead to them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column, relationship, validates

from flask_grpcweb_scm.scm.database.db import Model
from flask_grpcweb_scm.scm.database.models.columns import choice, now, reference
from flask_grpcweb_scm.scm.database.models.tenants import Integration, Organization, Project
from flask_grpcweb_scm.scm.database.values import RepositoryStatus
from flask_grpcweb_scm.scm.remotes import MAX_KEY_CHARACTERS, remote_of

__all__ = ["MAX_FILE_CHANGES", "CodeMapping", "Commit", "CommitAuthor", "CommitFileChange", "Repository"]

MAX_FILE_CHANGES = 20_000
"""Of one commit. One that changes more is stored with one more, which tells it from one that changes as many."""

_MIRRORED = sa.text("mirror_path IS NOT NULL OR mirror_fetched_at IS NOT NULL")
_WITH_REMOTE = sa.text("remote IS NOT NULL")


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
    organization_id: Mapped[int] = reference("scm_organization")
    integration_id: Mapped[int | None] = reference("scm_integration", index=True, ondelete="SET NULL")
    # In the order of its bytes, as SQLite has it: the collation of the database would order pages by its language.
    name: Mapped[str] = mapped_column(sa.String(200).with_variant(sa.String(200, collation="C"), "postgresql"))
    url: Mapped[str] = mapped_column(sa.Text, default="")
    provider: Mapped[str] = mapped_column(sa.String(64), default="")
    external_id: Mapped[str | None] = mapped_column(sa.String(64))
    config: Mapped[dict[str, Any]] = mapped_column(sa.JSON, default=dict)
    """Goes to callers: nothing private."""
    status: Mapped[RepositoryStatus] = choice(RepositoryStatus, default=RepositoryStatus.ACTIVE)
    synced_status: Mapped[RepositoryStatus | None] = choice(RepositoryStatus)
    """The status that syncs have set; None counts as active. One that differs is a person's, and stays."""
    date_added: Mapped[datetime] = mapped_column(default=now)
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
    organization_id: Mapped[int] = reference("scm_organization")
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
    repository_id: Mapped[int] = reference("scm_repository")
    key: Mapped[str] = mapped_column(sa.String(64))
    author_id: Mapped[int | None] = reference("scm_commit_author", index=True, ondelete="SET NULL")
    message: Mapped[str] = mapped_column(sa.Text, default="")
    date_added: Mapped[datetime] = mapped_column(default=now)

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
    organization_id: Mapped[int] = reference("scm_organization", index=True)
    project_id: Mapped[int] = reference("scm_project")
    repository_id: Mapped[int] = reference("scm_repository", index=True)
    stack_root: Mapped[str] = mapped_column(sa.String(512), default="")
    root_rank: Mapped[int] = mapped_column(sa.Computed("-length(stack_root)", persisted=True))
    """Of two mappings the one with the longer stack root comes first."""
    source_root: Mapped[str] = mapped_column(sa.String(512), default="")
    default_branch: Mapped[str] = mapped_column(sa.String(255), default="")
    automatically_generated: Mapped[bool] = mapped_column(default=False)
    date_added: Mapped[datetime] = mapped_column(default=now)

    organization: Mapped[Organization] = relationship()
    project: Mapped[Project] = relationship()
    repository: Mapped[Repository] = relationship()
