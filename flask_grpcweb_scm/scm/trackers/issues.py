"""Issues as trackers are told of them and as they show them, the fields that issues may have, and their values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

__all__ = [
    "MAX_ALLOWED",
    "MAX_FOUND",
    "FoundIssue",
    "NewIssue",
    "TrackerField",
    "TrackerIssue",
    "comma_separated",
    "is_number",
    "matches_project",
    "user_name",
]

MAX_ALLOWED = 200
"""Values of a field that a caller may choose from: a project may have thousands of versions."""
MAX_FOUND = 20
"""Issues of a search."""
MAX_DIGITS = 18


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


def matches_project(pattern: str, name: str) -> bool:
    """Compare a name with a pattern; letters of ASCII alone have a case, so that no look-alike of another is one."""
    name = _lower(name)
    first, *others = _lower(pattern).split("*")
    if not others:
        return name == first
    position, end = len(first), len(name) - len(others[-1])
    if not name.startswith(first) or not name.endswith(others[-1]) or position > end:
        return False
    for part in others[:-1]:
        found = name.find(part, position, end)
        if found < 0:
            return False
        position = found + len(part)
    return True


def _lower(text: str) -> str:
    return "".join(char.lower() if char.isascii() else char for char in text)


def user_name(user: Any, *names: str) -> str:
    """Return the name of a person in a response; empty for none."""
    found = (user.get(name) for name in names) if isinstance(user, dict) else ()
    return next((name for name in found if isinstance(name, str)), "")


def is_number(text: str) -> bool:
    """Return whether a text is a number of a row."""
    return text.isdecimal() and text.isascii() and len(text) <= MAX_DIGITS


def comma_separated(text: str) -> list[str]:
    """Split a list in one field."""
    return [item.strip() for item in text.split(",") if item.strip()]
