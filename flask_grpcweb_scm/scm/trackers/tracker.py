"""The interface of trackers, and what they have in common."""

from __future__ import annotations

import abc
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from flask_grpcweb_scm.scm.providers import ProviderError, ProviderRejected
from flask_grpcweb_scm.scm.providers.api import ProviderApi

__all__ = ["NewIssue", "Tracker", "TrackerIssue", "comma_separated"]


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

    @property
    def body(self) -> str:
        """The description with the marker."""
        return f"{self.description}\n\nReference: {self.marker}".lstrip()


@dataclass(frozen=True, slots=True)
class TrackerIssue:
    """An issue at a tracker."""

    key: str
    """The tracker's name for it, such as ``owner/repo#7``."""
    web_url: str


class Tracker(ProviderApi):
    """An account at a host of issues."""

    required: ClassVar[Mapping[str, str]] = {}
    """Patterns of the fields that an issue must have, by field."""
    max_title_characters: ClassVar[int | None] = None
    search_delay: ClassVar[float] = 5
    """Seconds after the end of a :meth:`create` until :meth:`find` is sure to find its issue.

    Not 0, because the tracker may still work on a request whose connection is closed.
    """

    def check(self, issue: NewIssue) -> None:
        """Validate an issue without a request to the tracker.

        :raises ProviderRejected: with all violations.
        """
        problems = {}
        for name, pattern in self.required.items():
            value = issue.fields.get(name, "")
            if not value:
                problems[f"metadata.{name}"] = f"is needed by {self.kind}"
            elif re.fullmatch(pattern, value) is None:
                problems[f"metadata.{name}"] = f"is not one that {self.kind} has, got {value[:80]!r}"
        limit = self.max_title_characters
        if limit is not None and len(issue.title) > limit:
            problems["title"] = f"has {len(issue.title)} characters; the limit of {self.kind} is {limit}"
        if problems:
            text = "; ".join(f"{name} {problem}" for name, problem in problems.items())
            raise self.error(ProviderRejected, text, fields=problems)

    def invalid_key(self, key: str) -> ProviderError:
        """Make the error for a key that is not one of this tracker's."""
        return self.error(ProviderRejected, f"{key[:80]!r} is no key of {self.kind}")

    @abc.abstractmethod
    def create(self, issue: NewIssue) -> TrackerIssue:
        """Create an issue.

        :raises ProviderError: see :attr:`ProviderError.may_have_acted`.
        """

    @abc.abstractmethod
    def find(self, issue: NewIssue) -> TrackerIssue | None:
        """Return the issue of an earlier :meth:`create`; None if that created none.

        :raises ProviderError: when the tracker does not say.
        """

    @abc.abstractmethod
    def comment(self, key: str, text: str) -> None:
        """Add a comment to an issue.

        :raises ProviderError: when that fails.
        """


def comma_separated(text: str) -> list[str]:
    """Split a list in one field."""
    return [item.strip() for item in text.split(",") if item.strip()]
