"""Values of columns that have one of a few, or more than one spelling."""

from __future__ import annotations

import enum

__all__ = [
    "LOCAL_KEY",
    "REFRESH_ISSUES",
    "RESUME_OUTBOX",
    "SYNC_ORGANIZATION",
    "SYNC_REPOSITORY",
    "IssueState",
    "LinkRelationship",
    "LinkedType",
    "RepositoryStatus",
    "place_of",
    "provider_name",
    "provider_spellings",
]

INTEGRATION_PREFIX = "integrations:"

LOCAL_KEY = "ISSUE-"
"""Beginning of the keys of issues that exist only here; their ids follow."""

# Kinds of jobs.
SYNC_ORGANIZATION = "sync_organization"
"""Its subject is an organization."""
SYNC_REPOSITORY = "sync_repository"
"""Its subject is a repository."""
RESUME_OUTBOX = "resume_outbox"
"""Without a subject."""
REFRESH_ISSUES = "refresh_issues"
"""Its subject is an integration."""


class RepositoryStatus(str, enum.Enum):
    """Life cycle of a repository; for callers the last two do not exist."""

    ACTIVE = "active"
    DISABLED = "disabled"
    HIDDEN = "hidden"
    PENDING_DELETION = "pending_deletion"
    DELETION_IN_PROGRESS = "deletion_in_progress"


class IssueState(str, enum.Enum):
    """An issue at its tracker, as it was when it was last read there."""

    UNREAD = "unread"
    """It has not been read so far; one that exists only here never is."""
    PRESENT = "present"
    MOVED = "moved"
    """It has another key now."""
    GONE = "gone"
    """It does not exist, or the integration's credentials do not reach it."""


class LinkedType(enum.IntEnum):
    """Type of the row that ``GroupLink.linked_id`` refers to."""

    ISSUE = 3


class LinkRelationship(enum.IntEnum):
    """Relationship of a group to a row that it is linked to."""

    REFERENCES = 2


def place_of(key: str) -> str:
    """Return the same text for a key of an issue in any case; letters of ASCII alone have one."""
    return key.encode().upper().decode()


def provider_name(column: str) -> str:
    """Return the name of a provider; rows may have it with the prefix ``integrations:``."""
    return column.removeprefix(INTEGRATION_PREFIX)


def provider_spellings(name: str) -> tuple[str, str]:
    """Return what rows of a provider may have in their column."""
    return name, INTEGRATION_PREFIX + name
