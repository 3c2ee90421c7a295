"""Pages of providers for files, their lines, and commits; pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import quote

from flask_grpcweb_scm.scm.remotes import PROVIDERS_BY_HOST, guess_provider, parse_remote

__all__ = ["Pages"]


class _Addresses(NamedTuple):
    """Addresses at a provider, below the page of a repository."""

    branch: str
    """Of a file on a branch."""
    file: str
    """Of a file at a commit."""
    line: str
    """The end of either of them for a line."""
    commit: str
    slash: str = "/"
    """Characters that are not encoded in the name of a branch."""


_GITHUB = _Addresses("/blob/{ref}/{path}", "/blob/{ref}/{path}", "#L{line}", "/commit/{sha}")
_ADDRESSES = {
    "github": _GITHUB,
    "github_enterprise": _GITHUB,
    "gitlab": _Addresses("/-/blob/{ref}/{path}", "/-/blob/{ref}/{path}", "#L{line}", "/-/commit/{sha}"),
    # What follows "src" ends at the next slash.
    "bitbucket": _Addresses("/src/{ref}/{path}", "/src/{ref}/{path}", "#lines-{line}", "/commits/{sha}", slash=""),
    "bitbucket_server": _Addresses(
        "/browse/{path}?at=refs%2Fheads%2F{ref}", "/browse/{path}?at={ref}", "#{line}", "/commits/{sha}", slash=""
    ),
    # A range of lines ends before lineEnd; without columns nothing is marked.
    "vsts": _Addresses(
        "?path=/{path}&version=GB{ref}",
        "?path=/{path}&version=GC{ref}",
        "&line={line}&lineEnd={next}&lineStartColumn=1&lineEndColumn=1",
        "/commit/{sha}",
        slash="",
    ),
}
_HOST = re.compile(r"(?:[\w.-]+|\[[0-9a-f:.]+\])(?::\d+)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Pages:
    """The pages of a repository at its provider; every address is empty when unknown."""

    home: str = ""
    """Address of the repository's own page."""
    provider: str = ""

    @classmethod
    def of(cls, url: str, provider: str) -> Pages:
        """Find the pages of a repository.

        :param url: of its remote, in any notation.
        :param provider: empty for the one of a known host.
        """
        known = provider or guess_provider(url)
        return cls(_home(url, known), known) if known in _ADDRESSES else cls()

    def file(self, path: str, *, branch: str = "", sha: str = "", line: int = 0) -> str:
        """Return the address of a file at a commit, else on a branch; with a line, at that line."""
        ref = sha or branch
        if not (self.home and ref and path):
            return ""
        addresses = _ADDRESSES[self.provider]
        page = self.home + (addresses.file if sha else addresses.branch)
        where = addresses.line.format(line=line, next=line + 1) if line > 0 else ""
        return page.format(ref=quote(ref, safe=addresses.slash), path=quote(path)) + where

    def commit(self, sha: str) -> str:
        """Return the address of a commit."""
        return self.home + _ADDRESSES[self.provider].commit.format(sha=sha) if self.home else ""


def _home(url: str, provider: str) -> str:
    remote = parse_remote(url)
    if remote is None or _HOST.fullmatch(remote.host) is None:
        return ""
    scheme = url.partition("://")[0].lower()
    host = remote.host
    if scheme not in {"http", "https"}:
        host = re.sub(r":\d+\Z", "", host)  # the port is that of ssh
    if scheme != "http" or host in PROVIDERS_BY_HOST:
        scheme = "https"
    segments = _SEGMENTS.get(provider, list)(remote.path.split("/"))
    # In braces nothing is meant to be filled in.
    return f"{scheme}://{host}/{'/'.join(map(quote, segments))}" if segments else ""


def _of_github(path: Sequence[str]) -> Sequence[str]:
    return path[:2] if len(path) >= 2 else ()


def _of_gitlab(path: Sequence[str]) -> Sequence[str]:
    return path[: path.index("-")] if "-" in path else path


def _of_bitbucket_server(path: Sequence[str]) -> Sequence[str]:
    """Return ``projects/KEY/repos/name``, of clone URLs too: ``scm/KEY/name`` over HTTP, ``KEY/name`` over SSH."""
    for start, segment in enumerate(path):
        if segment in {"projects", "users"} and path[start + 2 : start + 3] == ["repos"] and len(path) > start + 3:
            return path[: start + 4]
    *before, key, name = path if len(path) >= 2 else ("", "", "")
    if before[-1:] == ["scm"]:
        before.pop()
    owner = ["users", key[1:]] if key.startswith("~") else ["projects", key]
    return [*before, *owner, "repos", name] if name else ()


def _of_azure(path: Sequence[str]) -> Sequence[str]:
    """Return ``organization/project/_git/name``; the project is left out where the repository has its name."""
    parts = [part for part in path if part not in {"_git", "_ssh", "_optimized", "_full"}]
    return [*parts[:-1], "_git", parts[-1]] if len(parts) >= 2 else ()


_SEGMENTS: dict[str, Callable[[Sequence[str]], Sequence[str]]] = {
    "github": _of_github,
    "github_enterprise": _of_github,
    "gitlab": _of_gitlab,
    "bitbucket": _of_github,
    "bitbucket_server": _of_bitbucket_server,
    "vsts": _of_azure,
}
