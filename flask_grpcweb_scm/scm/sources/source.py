"""The interface of sources, and what those at providers have in common."""

from __future__ import annotations

import abc
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any, Protocol
from urllib.parse import parse_qs, urlsplit

from flask_grpcweb_scm.scm.providers import (
    Credential,
    ProviderConflict,
    ProviderNotFound,
    ProviderRejected,
)
from flask_grpcweb_scm.scm.providers.api import ProviderApi
from flask_grpcweb_scm.scm.providers.reply import HttpReply
from flask_grpcweb_scm.scm.sources.blame import (
    DEFAULT_BLAME,
    IGNORE_FILE,
    NOTHING_IGNORED,
    Blame,
    BlameOptions,
    IgnoredRevisions,
    Line,
    summary,
)
from flask_grpcweb_scm.scm.sources.git_log import FileChange, GitCommit

__all__ = [
    "ABSENT",
    "SNIPPET_LINES",
    "ApiSource",
    "Source",
    "branch_name",
    "clean",
    "instant",
    "make_blame",
    "make_commit",
    "next_page",
    "object_id",
    "snippet",
]

SNIPPET_LINES = 3  # before the line, and after it
# GitHub lists up to 100 000 files in one response, each with a URL.
MAX_BODY_BYTES = 48 * 2**20
MAX_LINE_CHARACTERS = 2000
MAX_CHANGES = 3000  # files of one commit; GitHub lists no more
MAX_MESSAGE_CHARACTERS = 2**20
# Of names, addresses and branches: what the columns of the database have.
MAX_NAME_CHARACTERS = 128
MAX_EMAIL_CHARACTERS = 200
MAX_BRANCH_CHARACTERS = 255
SHA1_DIGITS = 40  # no provider has repositories with SHA-256 that are blamed by an API

ABSENT = (ProviderNotFound, ProviderRejected, ProviderConflict)
"""Errors for a commit that does not exist: GitHub rejects it, or reports a conflict for an empty repository."""

_OBJECT_ID = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


class Source(Protocol):
    """A repository's contents, to be read within the time limit of one call.

    Object ids are full and in lower case. The object of an id never changes, so that results may be cached.
    """

    @property
    def tree_seconds(self) -> float:
        """Seconds that a result of :meth:`tree` may be cached; 0 where another one costs nothing."""

    @property
    def identity(self) -> str:
        """Unique among all repositories of all callers."""

    def commits_starting_with(self, prefix: str) -> Sequence[str]:
        """Return the ids of commits with this prefix; two are enough."""

    def has_commit(self, sha: str) -> bool:
        """Tell whether there is such a commit."""

    def prepare(self, shas: Iterable[str]) -> None:
        """Expect questions about many commits, by ids and prefixes; errors come with these."""

    def commit(self, sha: str) -> GitCommit:
        """Return a commit that exists."""

    def tree(self, branch: str) -> tuple[str, str | None]:
        """Return the name of a branch, by default the default branch, and the id of its tree; None without commits."""

    def files(self, tree: str) -> Iterable[str]:
        """Yield the paths of all files of a tree, without submodules."""

    def tip(self, branch: str) -> str | None:
        """Return the newest commit of a branch, by default the default branch; None in a repository without commits.

        An error of the source when there is no branch of that name.
        """

    def ignored_revisions(self, branch: str) -> IgnoredRevisions:
        """Return what the newest commit of a branch, by default the default branch, has in its file of them."""

    def lines(
        self,
        sha: str,
        path: str,
        numbers: Iterable[int],
        options: BlameOptions = DEFAULT_BLAME,
        ignored: IgnoredRevisions = NOTHING_IGNORED,
    ) -> Mapping[int, Line] | None:
        """Return lines of a file at a commit, without those past its end; None when there is no such file.

        :raises NoSuchCommit: when there is no such commit.
        """


class ApiSource(ProviderApi):
    """A :class:`Source` at a provider.

    Every method raises ProviderError when the provider does not respond as it should.

    :param project: the provider's name of the repository.
    """

    max_body_bytes = MAX_BODY_BYTES
    tree_seconds = 60.0  # providers limit requests: GitHub allows 5000 an hour

    def __init__(
        self,
        base_url: str,
        project: str,
        credential: Credential,
        *,
        deadline: float,
        allowed_hosts: Collection[str] = (),
        proxy: str = "",
    ) -> None:
        super().__init__(base_url, credential, deadline=deadline, allowed_hosts=allowed_hosts, proxy=proxy)
        self.project = project

    def prepare(self, shas: Iterable[str]) -> None:
        """See :class:`Source`."""

    @property
    def identity(self) -> str:
        """Unique among all repositories of all callers."""
        return f"{self.kind} {self.site} {self.project}"

    def has_commit(self, sha: str) -> bool:
        """Tell whether there is such a commit."""
        return self.commits_starting_with(sha) == [sha]

    def commits_starting_with(self, prefix: str) -> list[str]:
        """Return the id of the commit with this prefix; none when there are several."""
        try:
            sha = self.commit_id(prefix)
        except ABSENT:
            return []
        # A branch may have such a name.
        return [sha] if sha.startswith(prefix) and _OBJECT_ID.fullmatch(sha) else []

    @abc.abstractmethod
    def commit_id(self, revision: str) -> str:
        """Return the full id of a commit.

        :raises ProviderError: one of :data:`ABSENT`, when there is none.
        """

    @abc.abstractmethod
    def commit(self, sha: str) -> GitCommit:
        """Return a commit that exists."""

    @abc.abstractmethod
    def tree(self, branch: str) -> tuple[str, str | None]:
        """Return the name of a branch, by default the default branch, and an id of its tree; None without commits."""

    @abc.abstractmethod
    def files(self, tree: str) -> Iterator[str]:
        """Yield the paths of all files of a tree, without submodules."""

    @abc.abstractmethod
    def tip(self, branch: str) -> str | None:
        """Return the newest commit of a branch, by default the default branch; None in a repository without commits."""

    def ignored_revisions(self, branch: str) -> IgnoredRevisions:
        """Return what the newest commit of a branch, by default the default branch, has in its file of them."""
        try:
            content = self.ignore_file(branch)
        except ABSENT:
            return NOTHING_IGNORED
        return IgnoredRevisions.parse(content, SHA1_DIGITS)

    @abc.abstractmethod
    def ignore_file(self, branch: str) -> bytes:
        """Return the content of the file :data:`IGNORE_FILE` of a branch, by default of the default branch.

        :raises ProviderError: one of :data:`ABSENT`, when there is none.
        """

    @abc.abstractmethod
    def lines(
        self,
        sha: str,
        path: str,
        numbers: Iterable[int],
        options: BlameOptions = DEFAULT_BLAME,
        ignored: IgnoredRevisions = NOTHING_IGNORED,
    ) -> Mapping[int, Line] | None:
        """Return lines of a file at a commit, without those past its end; None when there is no such file.

        :raises NoSuchCommit: when there is no such commit.
        """

    def judged(self, blame: Blame, options: BlameOptions, ignored: IgnoredRevisions) -> Blame:
        """Return a blame with the reason why it is approximate, if it is: providers know no options."""
        wanted = [*(["moves"] if options.detect_moves else ()), *(["whitespace"] if options.ignore_whitespace else ())]
        reasons = [f"{self.kind} does not look through {' and '.join(wanted)}"] if wanted else []
        if blame.sha in ignored and not options.include_ignored_revisions:
            reasons.append(f"{IGNORE_FILE} names this commit, which {self.kind} has not passed over")
        return replace(blame, approximate="; ".join(reasons)) if reasons else blame


def make_commit(
    sha: str, committed: str, author: Mapping[str, Any], message: str, changes: Iterable[tuple[str, str]]
) -> GitCommit:
    """Make a commit as git itself would show it.

    :param author: may have ``name`` and ``email``.
    :param changes: paths, and their kinds of change.
    """
    return GitCommit(
        sha=sha,
        committed=instant(committed),
        author_name=clean(author.get("name")).strip(),
        author_email=clean(author.get("email")).strip().lower(),
        message=clean(message)[:MAX_MESSAGE_CHARACTERS].rstrip("\n"),
        changes=[FileChange(clean(path), kind) for path, kind in dict(changes).items()],
    )


def clean(text: str | None) -> str:
    """Make a text storable: JSON may have lone surrogates, and NUL."""
    return (text or "").replace("\0", "").encode("utf-8", "replace").decode()


def make_blame(sha: object, author: Mapping[str, Any], committed: str, message: str) -> Blame:
    """Make a blame of what a provider says.

    :param author: may have ``name`` and ``email``.
    :raises ValueError: for an id that is none, and as :func:`instant`.
    """
    return Blame(
        object_id(sha),
        clean(author.get("name"))[:MAX_NAME_CHARACTERS],
        clean(author.get("email"))[:MAX_EMAIL_CHARACTERS].lower(),
        instant(committed).astimezone(timezone.utc),
        summary(clean(message)),
    )


def object_id(value: object) -> str:
    """Return the id of an object of git.

    :raises ValueError: for anything else.
    """
    if not isinstance(value, str) or _OBJECT_ID.fullmatch(value) is None:
        raise ValueError("not the id of an object")
    return value


def branch_name(value: object) -> str:
    """Return the name of a branch; empty for None.

    :raises ValueError: for what is none.
    """
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > MAX_BRANCH_CHARACTERS or not value.isprintable():
        raise ValueError("not the name of a branch")
    return value


def instant(text: str) -> datetime:
    """Parse a date with time of ISO 8601, by default in UTC.

    :raises ValueError: for any other text; OverflowError for a date that is in no calendar in UTC.
    """
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    if moment.tzinfo is None:
        return moment.replace(tzinfo=timezone.utc)
    moment.astimezone(timezone.utc)
    return moment


def next_page(reply: HttpReply, parameter: str) -> str:
    """Return a parameter of the next page's URL in the header ``Link`` (RFC 8288); empty for the last page.

    Not the URL itself: it may lead anywhere.

    :raises ValueError: for a link to what is no URL, or is one without the parameter: there is more, and no way to it.
    """
    for link in reply.headers.get("link", "").split(","):
        match = re.match(r"\s*<(?P<url>[^>]*)>", link)
        if match is not None and re.search(r';\s*rel="?next"?', link[match.end() :]):
            found = parse_qs(urlsplit(match["url"]).query).get(parameter)
            if not found:
                raise ValueError(f"the link to the next page has no {parameter}")
            return found[0]
    return ""


def snippet(lines: Sequence[str], first: int, number: int) -> str:
    """Return a line with a few around it.

    :param lines: of a file, from line `first` on.
    """
    start = max(first, number - SNIPPET_LINES)
    around = lines[start - first : number + SNIPPET_LINES + 1 - first]
    return "\n".join(clean(line[:MAX_LINE_CHARACTERS]) for line in around)
