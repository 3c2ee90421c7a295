"""The interface of trackers, and what they have in common."""

from __future__ import annotations

import abc
import contextlib
import logging
import re
import sys
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import ClassVar
from urllib.parse import SplitResult, unquote, urlsplit

from flask_grpcweb_scm.scm.providers import (
    Credential,
    ProviderError,
    ProviderForbidden,
    ProviderMisconfigured,
    ProviderRejected,
)
from flask_grpcweb_scm.scm.providers.api import ProviderApi
from flask_grpcweb_scm.scm.trackers.issues import (
    MAX_ALLOWED,
    FoundIssue,
    NewIssue,
    TrackerField,
    TrackerIssue,
    matches_project,
)
from flask_grpcweb_scm.scm.trackers.markup import MIN_ROOM, one_line, readable, shortened, written_within

__all__ = ["MAX_COMMENTS", "MAX_FIELD_CHARACTERS", "Tracker"]

logger = logging.getLogger(__name__)

# Of a required field: no tracker has longer names, and keys are made of them.
MAX_FIELD_CHARACTERS = 200
MAX_KEY_CHARACTERS = 256
_PORTS = {"http": 80, "https": 443}
# Characters of a text that is written in markup, sign by sign: more would take seconds.
MAX_WRITTEN = 2**18
MAX_TITLE_CHARACTERS = 1000
MAX_COMMENTS = 100
MAX_WORD_CHARACTERS = 200
# Of the time that is left, for a look-up that a create does not depend on.
LOOKUP_SHARE = 0.25


class Tracker(ProviderApi):
    """An account at a host of issues.

    :param projects: patterns of the projects that may be named, with ``*`` for any text; None for all.
    :param markup: descriptions are in the tracker's own markup; else they are text, as titles and comments always are.
    """

    fields: ClassVar[Sequence[TrackerField]] = ()
    """The fields that issues have at every tracker of this kind, beside title and description."""
    required: ClassVar[Mapping[str, str]] = {}
    """Patterns of the fields that an issue must have, by field."""
    project_field: ClassVar[str | None] = None
    """The one of these that names a project."""
    max_title_characters: ClassVar[int | None] = None
    """A longer title is cut."""
    counts_utf16: ClassVar[bool] = False
    """True for a tracker that counts an emoji in a title as two characters."""
    max_body_characters: ClassVar[int | None] = None
    """A longer description is cut."""
    paragraph_break: ClassVar[str] = "\n\n"
    batch_size: ClassVar[int] = 1
    """Number of issues that :meth:`read_many` reads at once; 1 for a tracker without such a request."""
    search_delay: ClassVar[float] = 5
    """Seconds after the end of a :meth:`create` until :meth:`find` is sure to find its issue.

    Not 0, because the tracker may still work on a request whose connection is closed.
    """

    def __init__(
        self,
        base_url: str,
        credential: Credential,
        *,
        deadline: float,
        allowed_hosts: Collection[str] = (),
        proxy: str = "",
        projects: Collection[str] | None = None,
        markup: bool = False,
    ) -> None:
        super().__init__(base_url, credential, deadline=deadline, allowed_hosts=allowed_hosts, proxy=proxy)
        self.projects = projects
        self.markup = markup

    def check(self, fields: Mapping[str, str]) -> None:
        """Validate the fields of an issue without a request to the tracker.

        :raises ProviderRejected: with all violations.
        :raises ProviderForbidden: for a project that may not be named.
        """
        required = {name: self._problem(name, fields.get(name, "")) for name in self.required}
        found = {**self._not_allowed(fields), **required}
        problems = {f"metadata.{name}": problem for name, problem in found.items() if problem}
        if problems:
            text = "; ".join(f"{name} {problem}" for name, problem in problems.items())
            raise self.error(ProviderRejected, text, fields=problems)
        if self.project_field is not None:
            self.check_project(fields[self.project_field])

    def check_defaults(self, fields: Mapping[str, str]) -> None:
        """Validate an organization's defaults for the fields of issues; requests may have the ones that are missing.

        :raises ProviderMisconfigured: for one that no issue can have.
        :raises ProviderForbidden: for a project that may not be named.
        """
        given = {name: self._problem(name, fields[name]) for name in self.required if fields.get(name)}
        for name, problem in {**self._not_allowed(fields), **given}.items():
            if problem:
                raise self.error(ProviderMisconfigured, f"{name} {problem}")
        if project := fields.get(self.project_field or ""):
            self.check_project(project)

    def _not_allowed(self, fields: Mapping[str, str]) -> dict[str, str]:
        """Say what is wrong with values of fields that have these few only at every tracker of this kind."""
        problems = {}
        for field in self.fields:
            value, allowed = fields.get(field.name, "").strip(), [text.casefold() for text in field.allowed]
            if value and allowed and len(allowed) < MAX_ALLOWED and value.casefold() not in allowed:
                known = ", ".join(field.allowed)[:300]
                problems[field.name] = f"is none that {self.kind} has, which are {known}, got {value[:80]!r}"
        return problems

    def _problem(self, name: str, value: str) -> str:
        """Say what is wrong with the value of a required field; nothing when it can be one."""
        if not value:
            return f"is needed by {self.kind}"
        if len(value) > MAX_FIELD_CHARACTERS or re.fullmatch(self.required[name], value) is None:
            return f"is not one that {self.kind} has, got {value[:80]!r}"
        return ""

    def project_in(self, fields: Mapping[str, str]) -> str:
        """Return the project that fields name, the only one of them that a search needs.

        :raises ProviderRejected: when they name none.
        :raises ProviderForbidden: for a project that may not be named.
        """
        name = self.project_field or ""
        project = fields.get(name, "")
        if problem := self._problem(name, project):
            text = f"metadata.{name} {problem}"
            raise self.error(ProviderRejected, text, fields={f"metadata.{name}": problem})
        self.check_project(project)
        return project

    def check_project(self, name: str) -> None:
        """Refuse the name of a project that is none of the installation's.

        :raises ProviderForbidden: for such a name.
        """
        if self.projects is not None and not any(matches_project(pattern, name) for pattern in self.projects):
            text = f"{name[:80]!r} is none of the projects that this organization may name at {self.kind}"
            raise self.error(ProviderForbidden, text)

    def title(self, issue: NewIssue) -> str:
        """Return the title as it is sent."""
        return self.shown_title(issue.title)

    def shown_title(self, text: str) -> str:
        """Return a title as the tracker can have it: in one line, and cut where it is too long."""
        title, limit = one_line(text), self.max_title_characters
        return title if limit is None else shortened(title, limit, in_utf16=self.counts_utf16)

    def body(self, issue: NewIssue) -> str:
        """Return the description as it is sent, with the whole of a title that was cut before it, and the marker."""
        title, reference = one_line(issue.title), f"Reference: {issue.marker}"
        room = (self.max_body_characters or sys.maxsize) - len(reference) - 2 * len(self.paragraph_break)
        whole = "" if title == self.title(issue) else written_within(title, room, self.write)
        room -= len(whole)
        if self.markup:
            text = shortened(issue.description, room) if room >= MIN_ROOM else ""
        else:
            text = written_within(issue.description, min(room, MAX_WRITTEN), self.write)
        return self.paragraph_break.join(filter(None, (whole, text, reference)))

    def found(self, key: str, web_url: str, title: object, status: object = "", assignee: object = "") -> FoundIssue:
        """Make an issue of a response, whose texts may be anything.

        :raises ProviderUnavailable: for a key that no tracker has.
        """
        issue = self.created(key, web_url)
        texts = [readable(one_line(text)) if isinstance(text, str) else "" for text in (title, status, assignee)]
        word, person = (shortened(text, MAX_WORD_CHARACTERS) for text in texts[1:])
        return FoundIssue(issue.key, issue.web_url, shortened(texts[0], MAX_TITLE_CHARACTERS), word, person)

    def created(self, key: str, web_url: str) -> TrackerIssue:
        """Make the issue of a response.

        :raises ProviderUnavailable: for a key that no tracker has.
        """
        if not 0 < len(key) <= MAX_KEY_CHARACTERS or not key.isprintable():
            raise self.http.unexpected()
        return TrackerIssue(key, web_url)

    @classmethod
    def project_of(cls, key: str) -> str:
        """Return the project that a key of an issue names; empty when it names none."""
        return ""

    def write(self, text: str) -> str:
        """Write a text in the tracker's markup, to be read as it is."""
        return readable(text)

    def match_key(self, pattern: re.Pattern[str], key: str) -> re.Match[str]:
        """Return the parts of a key.

        :raises ProviderRejected: for one that is not of this pattern.
        """
        match = pattern.fullmatch(key)
        if match is None:
            raise self.invalid_key(key)
        return match

    def invalid_key(self, key: str) -> ProviderError:
        """Make the error for a key that is not one of this tracker's."""
        text = f"{key[:80]!r} is no key of {self.kind}"
        return self.error(ProviderRejected, text, fields={"external_key": text})

    def describe(self, fields: Mapping[str, str]) -> Sequence[TrackerField]:
        """Return the fields that an issue may have, required ones first.

        :param fields: which project, and where it matters which type of issue, is meant.
        :raises ProviderRejected: when they do not say so; ProviderError, when the tracker does not say.
        """
        return self.fields

    def defaults_of(self, fields: Sequence[TrackerField], defaults: Mapping[str, str]) -> Mapping[str, str]:
        """Return which default a create takes for each of some fields, by name."""
        return {field.name: defaults[field.name] for field in fields if defaults.get(field.name, "").strip()}

    @contextlib.contextmanager
    def lookup(self) -> Iterator[None]:
        """Read what a create needs to know first: an error that comes before it leaves nothing behind."""
        try:
            with self.reading():
                yield
        except ProviderError as error:
            error.may_have_acted = False
            raise

    def chosen(self, field: str, name: str, ids: Mapping[str, object]) -> int:
        """Return the number of what a field names.

        :param ids: numbers by name, in lower case.
        :raises ProviderRejected: when there is none of that name.
        """
        number = ids.get(name.casefold())
        if isinstance(number, int) and not isinstance(number, bool) and number > 0:
            return number
        text = f"is none that {self.kind} has, or shows to this account, got {name[:80]!r}"
        raise self.error(ProviderRejected, f"metadata.{field} {text}", fields={f"metadata.{field}": text})

    @contextlib.contextmanager
    def optional_lookup(self) -> Iterator[None]:
        """Have what a create does not depend on take a part of its time only, and never fail it."""
        deadline = self.http.deadline
        self.http.deadline = time.monotonic() + (deadline - time.monotonic()) * LOOKUP_SHARE
        try:
            with self.reading():
                yield
        except ProviderError as error:
            logger.warning("%s: a look-up failed, which is done without: %s", self.kind, error.private)
        finally:
            self.http.deadline = deadline

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
    def key_of(self, text: str) -> str:
        """Return the key of an issue that is named by its key, or by the address of its page.

        :raises ProviderRejected: for what is neither.
        """

    @abc.abstractmethod
    def read(self, key: str) -> FoundIssue:
        """Return an issue as it is now.

        :raises ProviderNotFound: when it does not exist, or the account does not see it; ProviderForbidden, when it is
            of a project that may not be named.
        """

    def read_many(self, keys: Sequence[str]) -> Mapping[str, FoundIssue]:
        """Return issues of one project as they are now, by the keys that were given, with few requests.

        Whatever is missing in the result, because it was moved or deleted or cannot be read, is read alone.

        :param keys: of one project, by :meth:`project_of`, at most :attr:`batch_size`.
        :raises ProviderError: as :meth:`read`.
        """
        return {}

    @contextlib.contextmanager
    def skipping(self) -> Iterator[None]:
        """Leave out a row of several that cannot be read."""
        try:
            with self.reading():
                yield
        except ProviderError as error:
            logger.debug("%s: left out of several: %s", self.kind, error.private)

    @abc.abstractmethod
    def search(self, text: str, fields: Mapping[str, str]) -> Sequence[FoundIssue]:
        """Return issues of a project that have a text, at most :data:`MAX_FOUND`.

        :param fields: the project, as for :meth:`create`.
        :raises ProviderError: when that fails.
        """

    def path_in_site(self, text: str) -> str | None:
        """Return the path of a page below this site; None for any other text."""
        try:
            url = urlsplit(text.strip())
            origin = _origin(url)
        except ValueError:  # of brackets, ports and look-alikes of slashes
            return None
        # Only of an address: a tracker may have to be asked for that of its pages.
        if url.scheme not in _PORTS or "@" in url.netloc:
            return None
        site = urlsplit(self.page_site())
        path, base = unquote(url.path), unquote(site.path).rstrip("/") + "/"
        # Hosts write the names of organizations as people do.
        is_below = origin == _origin(site) and path.lower().startswith(base.lower())
        return path[len(base) :] if is_below else None

    def page_site(self) -> str:
        """Return the address below which the pages are that people read."""
        return self.site

    @abc.abstractmethod
    def comment(self, key: str, text: str) -> None:
        """Add a comment to an issue.

        :raises ProviderError: when that fails.
        """

    def comments(self, key: str) -> Sequence[str] | None:
        """Return the newest comments of an issue, as they are stored; None for a tracker that does not show them.

        By them an earlier :meth:`comment` is found whose outcome is not known. Without them it is not repeated.

        :raises ProviderError: when that fails.
        """
        return None


def _origin(url: SplitResult) -> tuple[str, str | None, int | None]:
    return url.scheme, url.hostname, url.port or _PORTS.get(url.scheme)
