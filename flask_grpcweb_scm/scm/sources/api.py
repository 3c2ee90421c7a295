"""What the sources have in common that read the API of a provider."""

from __future__ import annotations

import abc
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

from flask_grpcweb_scm.scm.providers.http import HttpClient
from flask_grpcweb_scm.scm.providers.reply import Complaint, HttpReply
from flask_grpcweb_scm.scm.sources.git_log import FileChange, GitCommit
from flask_grpcweb_scm.scm.sources.source import SNIPPET_LINES, Line
from flask_grpcweb_scm.scm.trackers import (
    Credential,
    TrackerConflict,
    TrackerError,
    TrackerNotFound,
    TrackerRejected,
    TrackerUnavailable,
)

__all__ = ["ABSENT", "ApiSource", "clean", "instant", "make_commit", "next_page", "snippet"]

# GitHub lists up to 100 000 files in one answer, each with a URL.
MAX_BODY_BYTES = 48 * 2**20
MAX_LINE_CHARACTERS = 2000
MAX_CHANGES = 3000  # files of one commit; GitHub lists no more

ABSENT = (TrackerNotFound, TrackerRejected, TrackerConflict)
"""What providers answer for a commit that does not exist: GitHub rejects it, or says that the repository is empty."""

_OBJECT_ID = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


class ApiSource(abc.ABC):
    """A :class:`Source` at a provider, for the length of one RPC.

    Every method raises TrackerError when the provider does not answer as it should.

    :param base_url: where people find the host; empty for the one that all users of the kind share, if there is one.
    :param project: the provider's name of the repository.
    :param deadline: an instant of :func:`time.monotonic`, for everything together.
    :param allowed_hosts: see :class:`HttpClient`.
    :raises TrackerMisconfigured: when the base URL or the project cannot be used.
    """

    kind: ClassVar[str]
    """For messages."""
    base_url: ClassVar[str] = ""
    """The default."""
    tree_seconds = 60.0  # providers count requests: GitHub allows 5000 an hour
    headers: ClassVar[Mapping[str, str]] = {}
    """To send with every request."""

    def __init__(
        self,
        base_url: str,
        project: str,
        credential: Credential,
        *,
        deadline: float,
        allowed_hosts: Collection[str] = (),
    ) -> None:
        self.site = (base_url or self.base_url).rstrip("/")
        self.project = project
        self.credential = credential
        self.http = HttpClient(
            self.api_url(self.site),
            tracker=self.kind,
            authorization=credential.authorization(),
            credential=credential,
            headers=self.headers,
            allowed_hosts=allowed_hosts,
            deadline=deadline,
            explain=self.explain,
            max_body_bytes=MAX_BODY_BYTES,
        )

    @property
    def identity(self) -> str:
        """Tells this repository from all others."""
        return f"{self.kind} {self.site} {self.project}"

    def has_commit(self, sha: str) -> bool:
        """Whether there is such a commit."""
        return self.commits_starting_with(sha) == [sha]

    def commits_starting_with(self, prefix: str) -> list[str]:
        """The id of the commit that begins with these hexadecimal digits; none when there are several."""
        try:
            sha = self.commit_id(prefix)
        except ABSENT:
            return []
        # A branch may have such a name.
        return [sha] if sha.startswith(prefix) and _OBJECT_ID.fullmatch(sha) else []

    @abc.abstractmethod
    def commit_id(self, revision: str) -> str:
        """The full id of a commit.

        :raises TrackerError: one of :data:`ABSENT`, when there is none.
        """

    @abc.abstractmethod
    def commit(self, sha: str) -> GitCommit:
        """A commit that is there."""

    @abc.abstractmethod
    def tree(self, branch: str) -> tuple[str, str | None]:
        """Name of a branch, or of the default one for an empty name, and an id of its contents; None without any."""

    @abc.abstractmethod
    def files(self, tree: str) -> Iterator[str]:
        """The paths of all files of a tree, without submodules."""

    @abc.abstractmethod
    def lines(self, sha: str, path: str, numbers: Iterable[int]) -> Mapping[int, Line] | None:
        """Lines of a file at a commit that is there, but for numbers past its end; None when it has no such file."""

    @classmethod
    def api_url(cls, site: str) -> str:
        """Where programs find the host."""
        return site

    @classmethod
    @abc.abstractmethod
    def explain(cls, answer: Any) -> Complaint:
        """What the JSON of an error says."""

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Around what reads an answer: it may have any form.

        :raises TrackerUnavailable: when it does not have the one that is expected.
        """
        try:
            yield
        except (LookupError, TypeError, AttributeError, ValueError) as error:
            raise self.error(
                TrackerUnavailable, f"{self.http.host} answered what is no answer of {self.kind}"
            ) from error

    def error(self, kind: type[TrackerError], text: str) -> TrackerError:
        """An error of this provider."""
        return kind(text, tracker=self.kind)


def make_commit(
    sha: str, committed: str, author: Mapping[str, Any], message: str, changes: Iterable[tuple[str, str]]
) -> GitCommit:
    """A commit as git itself would show it.

    :param author: has ``name`` and ``email``, perhaps.
    :param changes: paths, and what was done to them.
    """
    return GitCommit(
        sha=sha,
        committed=instant(committed),
        author_name=clean(author.get("name")).strip(),
        author_email=clean(author.get("email")).strip().lower(),
        message=clean(message).rstrip("\n"),
        changes=[FileChange(clean(path), kind) for path, kind in dict(changes).items()],
    )


def clean(text: str | None) -> str:
    """A text that can be stored and sent: JSON can have halves of characters, and NUL."""
    return (text or "").replace("\0", "").encode("utf-8", "replace").decode()


def instant(text: str) -> datetime:
    """A date with time of ISO 8601, in UTC when it does not say.

    :raises ValueError: when it is none.
    """
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=timezone.utc)


def next_page(reply: HttpReply, parameter: str) -> str:
    """A parameter of the URL of the next page, which the header ``Link`` has (RFC 8288); empty on the last one.

    Not the URL itself: it may lead anywhere.
    """
    for link in reply.headers.get("link", "").split(","):
        match = re.fullmatch(r'\s*<(?P<url>[^>]*)>.*;\s*rel="?next"?.*', link)
        if match is not None:
            return parse_qs(urlsplit(match["url"]).query).get(parameter, [""])[0]
    return ""


def snippet(lines: Sequence[str], first: int, number: int) -> str:
    """A line with a few around it.

    :param lines: of a file, from line `first` on.
    """
    start = max(first, number - SNIPPET_LINES)
    around = lines[start - first : number + SNIPPET_LINES + 1 - first]
    return "\n".join(clean(line[:MAX_LINE_CHARACTERS]) for line in around)
