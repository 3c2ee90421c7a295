"""What every tracker does."""

from __future__ import annotations

import abc
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from flask_grpcweb_scm.scm.providers.credentials import Credential
from flask_grpcweb_scm.scm.providers.errors import TrackerError, TrackerRejected
from flask_grpcweb_scm.scm.providers.http import HttpClient
from flask_grpcweb_scm.scm.providers.reply import Complaint

__all__ = ["NewIssue", "Tracker", "TrackerIssue", "comma_separated"]


@dataclass(frozen=True, slots=True)
class NewIssue:
    """An issue to create."""

    title: str
    description: str
    fields: Mapping[str, str]
    """What the tracker wants to know besides, by its own names; others are ignored."""
    marker: str
    """A word that no other issue has; it is in the description, so that the issue can be found by it."""
    since: datetime
    """When it was first tried to create the issue: no issue that is older can be meant."""

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


class Tracker(abc.ABC):
    """An account at a host of issues, for the length of one RPC.

    :param base_url: where people find the host; empty for the one that all users of the kind share, if there is one.
    :param allowed_hosts: see :class:`HttpClient`.
    :param deadline: an instant of :func:`time.monotonic`, for everything together.
    :raises TrackerMisconfigured: when the base URL cannot be used.
    """

    kind: ClassVar[str]
    """For messages."""
    base_url: ClassVar[str] = ""
    """The default."""
    required: ClassVar[Mapping[str, str]] = {}
    """Fields that an issue must have, and the pattern that each has to match."""
    max_title_characters: ClassVar[int | None] = None
    search_delay: ClassVar[float] = 5
    """Seconds after the end of a :meth:`create` until :meth:`find` is sure to find what that has made.

    Not 0, because the tracker may still be at a request whose connection has gone.
    """

    def __init__(
        self, base_url: str, credential: Credential, *, deadline: float, allowed_hosts: Collection[str] = ()
    ) -> None:
        self.site = (base_url or self.base_url).rstrip("/")
        self.credential = credential
        self.http = HttpClient(
            self.api_url(self.site),
            tracker=self.kind,
            authorization=self.authorization(credential),
            credential=credential,
            headers=self.headers(),
            allowed_hosts=allowed_hosts,
            deadline=deadline,
            explain=self.explain,
        )

    def check(self, issue: NewIssue) -> None:
        """Find out what can be wrong with an issue without asking the tracker.

        :raises TrackerRejected: for everything that is.
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
            raise TrackerRejected(text, tracker=self.kind, fields=problems)

    def no_issue(self, key: str) -> TrackerError:
        """The error for a key that is none of this tracker's."""
        return TrackerRejected(f"{key[:80]!r} is no key of {self.kind}", tracker=self.kind)

    @abc.abstractmethod
    def create(self, issue: NewIssue) -> TrackerIssue:
        """Create an issue.

        :raises TrackerError: see :attr:`TrackerError.may_have_acted`.
        """

    @abc.abstractmethod
    def find(self, issue: NewIssue) -> TrackerIssue | None:
        """The issue that an earlier :meth:`create` made, if it came so far.

        :raises TrackerError: when the tracker does not say.
        """

    @abc.abstractmethod
    def comment(self, key: str, text: str) -> None:
        """Add a comment to an issue.

        :raises TrackerError: when that is not possible.
        """

    @classmethod
    def api_url(cls, site: str) -> str:
        """Where programs find the host."""
        return site

    def headers(self) -> Mapping[str, str]:
        """What to send besides with every request."""
        return {}

    @classmethod
    def authorization(cls, credential: Credential) -> str:
        """The ``Authorization`` header."""
        return credential.authorization()

    @classmethod
    @abc.abstractmethod
    def explain(cls, answer: Any) -> Complaint:
        """What the JSON of an error says, with our names for fields.

        :raises TypeError, AttributeError, LookupError: when it is not what this tracker writes.
        """


def comma_separated(text: str) -> list[str]:
    """The items of a list in one field."""
    return [item.strip() for item in text.split(",") if item.strip()]
