"""The interface of sources: a repository's contents in a local git mirror or at its provider."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from flask_grpcweb_scm.scm.sources.git_log import GitCommit

__all__ = ["SNIPPET_LINES", "Blame", "Line", "Source"]

SNIPPET_LINES = 3  # before the line, and after it


@dataclass(frozen=True, slots=True)
class Blame:
    """The last change of a line."""

    sha: str
    author_name: str
    author_email: str
    """Address in lower case; empty when unknown."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a file as it was at a commit."""

    blame: Blame
    snippet: str
    """The line with a few around it."""


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

    def commit(self, sha: str) -> GitCommit:
        """Return a commit that exists."""

    def tree(self, branch: str) -> tuple[str, str | None]:
        """Return the name of a branch, by default the default branch, and the id of its tree; None without commits."""

    def files(self, tree: str) -> Iterable[str]:
        """Yield the paths of all files of a tree, without submodules."""

    def lines(self, sha: str, path: str, numbers: Iterable[int]) -> Mapping[int, Line] | None:
        """Return lines of a file at a commit, without those past its end; None when there is no such file."""
