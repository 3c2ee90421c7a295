"""What the service asks of wherever a repository's contents are: a local git mirror, or the API of its provider."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from flask_grpcweb_scm.scm.sources.git_log import GitCommit

__all__ = ["SNIPPET_LINES", "Blame", "Line", "Source"]

SNIPPET_LINES = 3  # before the line, and after it


@dataclass(frozen=True, slots=True)
class Blame:
    """Who last changed a line."""

    sha: str
    author_name: str
    author_email: str
    """In lower case; empty when unknown."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a file as it was at a commit."""

    blame: Blame
    snippet: str
    """The line with a few around it."""


class Source(Protocol):
    """A repository's contents, to be read within the time limit of one call.

    Object ids are full and in lower case. What an id names never changes, so answers may be kept.
    """

    @property
    def tree_seconds(self) -> float:
        """How long an answer of :meth:`tree` may be used again: 0 where asking costs nothing."""

    @property
    def identity(self) -> str:
        """Tells this repository from all others, whoever asks."""

    def commits_starting_with(self, prefix: str) -> Sequence[str]:
        """The ids of commits that begin with these hexadecimal digits; two are enough."""

    def has_commit(self, sha: str) -> bool:
        """Whether there is such a commit."""

    def commit(self, sha: str) -> GitCommit:
        """A commit that is there."""

    def tree(self, branch: str) -> tuple[str, str | None]:
        """Name of a branch, or of the default one for an empty name, and the id of its tree; None without commits."""

    def files(self, tree: str) -> Iterable[str]:
        """The paths of all files of a tree, without submodules."""

    def lines(self, sha: str, path: str, numbers: Iterable[int]) -> Mapping[int, Line] | None:
        """Lines of a file at a commit that is there, but for numbers past its end; None when it has no such file."""
