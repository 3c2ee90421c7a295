"""Issues as trackers are told of them and as they show them, and the fields that issues may have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

__all__ = ["MAX_ALLOWED", "FoundIssue", "NewIssue", "TrackerField", "TrackerIssue"]

MAX_ALLOWED = 200
"""Values of a field that a caller may choose from: a project may have thousands of versions."""


@dataclass(frozen=True, slots=True)
class NewIssue:
    """An issue to create."""

    title: str
    description: str
    fields: Mapping[str, str]
    """Additional fields by the tracker's names; unknown ones are ignored."""
    marker: str
    """A unique word in the description, by which the issue can be found."""
    since: datetime
    """Start of the first attempt to create the issue: it cannot be older."""


@dataclass(frozen=True, slots=True)
class TrackerIssue:
    """An issue at a tracker."""

    key: str
    """The tracker's name for it, such as ``owner/repo#7``."""
    web_url: str


@dataclass(frozen=True, slots=True)
class FoundIssue:
    """An issue as a tracker shows it."""

    key: str
    web_url: str
    title: str
    status: str = ""
    """In the tracker's word, such as ``open`` or ``In Progress``."""
    assignee: str = ""
    """Name of the person; empty for none."""


@dataclass(frozen=True, slots=True)
class TrackerField:
    """A field of issues at a tracker."""

    name: str
    """Its key in the metadata of a request."""
    label: str
    """Its name for people."""
    kind: str
    """Its type in the tracker's words: ``string``, ``option``, ``list of version``."""
    required: bool = False
    allowed: Sequence[str] = ()
    """Values to choose from, at most :data:`MAX_ALLOWED`; empty when any value will do, or the tracker does not say."""
