"""Values of columns that have one of a few, or more than one spelling."""

from __future__ import annotations

import enum

__all__ = [
    "RESUME_OUTBOX",
    "SYNC_ORGANIZATION",
    "SYNC_REPOSITORY",
    "LinkRelationship",
    "LinkedType",
    "RepositoryStatus",
    "provider_name",
    "provider_spellings",
]

INTEGRATION_PREFIX = "integrations:"

# Kinds of jobs.
SYNC_ORGANIZATION = "sync_organization"
"""Its subject is an organization."""
SYNC_REPOSITORY = "sync_repository"
"""Its subject is a repository."""
RESUME_OUTBOX = "resume_outbox"
"""Without a subject."""


class RepositoryStatus(str, enum.Enum):
    """Life cycle of a repository; for callers the last two do not exist."""

    ACTIVE = "active"
    DISABLED = "disabled"
    HIDDEN = "hidden"
    PENDING_DELETION = "pending_deletion"
    DELETION_IN_PROGRESS = "deletion_in_progress"


class LinkedType(enum.IntEnum):
    """Type of the row that ``GroupLink.linked_id`` refers to."""

    ISSUE = 3


class LinkRelationship(enum.IntEnum):
    """Relationship of a group to a row that it is linked to."""

    REFERENCES = 2


def provider_name(column: str) -> str:
    """Return the name of a provider; rows may have it with the prefix ``integrations:``."""
    return column.removeprefix(INTEGRATION_PREFIX)


def provider_spellings(name: str) -> tuple[str, str]:
    """Return what rows of a provider may have in their column."""
    return name, INTEGRATION_PREFIX + name
