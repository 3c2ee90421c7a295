"""Repositories at GitHub and GitHub Enterprise Server.

https://docs.github.com/en/rest and, for blame, https://docs.github.com/en/graphql
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, ClassVar

from flask_grpcweb_scm.scm.providers import (
    Credential,
    ProviderError,
    ProviderForbidden,
    ProviderMisconfigured,
    ProviderNotFound,
    ProviderRateLimited,
    ProviderRejected,
    ProviderUnavailable,
)
from flask_grpcweb_scm.scm.providers.api import path_of
from flask_grpcweb_scm.scm.providers.reply import Complaint, HttpReply, short_line
from flask_grpcweb_scm.scm.sources.blame import (
    DEFAULT_BLAME,
    IGNORE_FILE,
    NOTHING_IGNORED,
    Blame,
    BlameOptions,
    IgnoredRevisions,
    Line,
    NoSuchCommit,
)
from flask_grpcweb_scm.scm.sources.git_log import GitCommit
from flask_grpcweb_scm.scm.sources.source import (
    MAX_CHANGES,
    ApiSource,
    branch_name,
    clean,
    make_blame,
    make_commit,
    next_page,
    object_id,
    snippet,
)
from flask_grpcweb_scm.scm.trackers.github import REPOSITORY, GitHub

__all__ = ["GitHubEnterpriseSource", "GitHubSource"]

MAX_FOLDERS = 100_000
CHANGES = {"added": "A", "copied": "A", "removed": "D", "renamed": "A", "modified": "M", "changed": "M"}
BLAME = """
query($owner: String!, $name: String!, $sha: GitObjectID!, $path: String!, $file: String!) {
  repository(owner: $owner, name: $name) {
    commit: object(oid: $sha) {
      ... on Commit {
        blame(path: $path) {
          ranges { startingLine endingLine commit { oid committedDate messageHeadline author { name email } } }
        }
      }
    }
    file: object(expression: $file) { __typename ... on Blob { text isTruncated } }
  }
}
"""
FILE = """
query($owner: String!, $name: String!, $file: String!) {
  repository(owner: $owner, name: $name) { file: object(expression: $file) { ... on Blob { text } } }
}
"""
GRAPHQL_ERRORS: Mapping[str, type[ProviderError]] = {
    "FORBIDDEN": ProviderForbidden,
    "NOT_FOUND": ProviderNotFound,
    "RATE_LIMITED": ProviderRateLimited,
}


class GitHubSource(ApiSource):
    """A repository named ``owner/name``."""

    kind = "github"
    base_url = "https://api.github.com"
    app_api: ClassVar = ""

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
        super().__init__(base_url, project, credential, deadline=deadline, allowed_hosts=allowed_hosts, proxy=proxy)
        if re.fullmatch(REPOSITORY, project) is None:
            raise self.error(
                ProviderMisconfigured, f"{project[:80]!r} is no repository of {self.kind}: write owner/name"
            )
        self.owner, self.name = project.split("/")

    def commit_id(self, revision: str) -> str:
        """``GET /repos/{owner}/{repo}/commits/{ref}``, which accepts prefixes, unless the id is full."""
        if len(revision) in {40, 64}:
            return self._get("git", "commits", revision).value("sha", kind=str)
        return self._get("commits", revision, per_page=1).value("sha", kind=str)

    def commit(self, sha: str) -> GitCommit:
        """``GET /repos/{owner}/{repo}/commits/{ref}``, page by page of its files."""
        changes: list[tuple[str, str]] = []
        pages: list[int | str] = [1]
        # Each page but the last has a file at least.
        while pages[-1] and len(pages) <= MAX_CHANGES and len(changes) <= MAX_CHANGES:
            reply = self._get("commits", sha, page=pages[-1])
            content = reply.json()
            with self.reading():
                # git shows no changes of a merge; GitHub shows those against the first parent.
                if len(content["parents"]) < 2:
                    changes += _changes(content.get("files") or ())
                pages.append(next_page(reply, "page"))
            if pages[-1] in pages[:-1]:
                raise self.http.unexpected()
        with self.reading():
            commit = content["commit"]
            author, date = commit["author"] or {}, commit["committer"]["date"]
            return make_commit(sha, date, author, commit["message"], changes)

    def tree(self, branch: str) -> tuple[str, str | None]:
        """``GET /repos/{owner}/{repo}/branches/{branch}``; a repository without commits has no branch."""
        name, reply = self._branch(branch)
        with self.reading():
            return name, None if reply is None else object_id(reply.value("commit", "commit", "tree", "sha", kind=str))

    def tip(self, branch: str) -> str | None:
        """``GET /repos/{owner}/{repo}/branches/{branch}``; a repository without commits has no branch."""
        _, reply = self._branch(branch)
        with self.reading():
            return None if reply is None else object_id(reply.value("commit", "sha", kind=str))

    def _branch(self, branch: str) -> tuple[str, HttpReply | None]:
        with self.reading():
            name = branch or branch_name(self._get().value("default_branch", kind=str))
        try:
            return name, self._get("branches", name)
        except ProviderNotFound:
            if branch:
                raise
            return name, None

    def files(self, tree: str) -> Iterator[str]:
        """``GET /repos/{owner}/{repo}/git/trees/{tree_sha}?recursive=1``, or by folder when that is truncated."""
        waiting = [("", tree)]
        while waiting:
            folder, sha = waiting.pop()
            content = self._get("git", "trees", sha, recursive=1).json()
            with self.reading():
                deep = not content["truncated"]
            if not deep:
                content = self._get("git", "trees", sha).json()
            with self.reading():
                if not deep and content["truncated"]:
                    raise self.error(
                        ProviderUnavailable, f"{self.kind} does not list all of a folder that is too large"
                    )
                for entry in content["tree"]:
                    path = folder + clean(entry["path"])
                    if entry["type"] == "blob":
                        yield path
                    elif entry["type"] == "tree" and not deep:
                        waiting.append((f"{path}/", object_id(entry["sha"])))
                if len(waiting) > MAX_FOLDERS:
                    raise self.http.unexpected()

    def ignore_file(self, branch: str) -> bytes:
        """``Blob.text`` of GraphQL: of REST, a file has several types."""
        content = self._query(FILE, file=f"{f'refs/heads/{branch}' if branch else 'HEAD'}:{IGNORE_FILE}")
        with self.reading():
            repository = (content.get("data") or {}).get("repository")
            if repository is None:
                raise self._graphql_error(content["errors"][0])
            return str((repository["file"] or {}).get("text") or "").encode("utf-8", "replace")

    def lines(
        self,
        sha: str,
        path: str,
        numbers: Iterable[int],
        options: BlameOptions = DEFAULT_BLAME,
        ignored: IgnoredRevisions = NOTHING_IGNORED,
    ) -> Mapping[int, Line] | None:
        """``Commit.blame`` and ``Blob.text`` of GraphQL: REST has no blame."""
        content = self._query(BLAME, sha=sha, path=path, file=f"{sha}:{path}")
        with self.reading():
            repository = (content.get("data") or {}).get("repository") or {}
            blame = (repository.get("commit") or {}).get("blame")
            if repository and (repository.get("file") or {}).get("__typename") != "Blob":
                if not repository.get("commit") and not self.has_commit(sha):
                    raise NoSuchCommit(sha)
                return None
            if blame is None:
                raise self._graphql_error(content["errors"][0])
            # The text of a large or binary file is not there, or not all of it.
            whole = not repository["file"]["isTruncated"] and repository["file"]["text"] is not None
            text = repository["file"]["text"].removesuffix("\n").split("\n") if whole else []
            found = _blamed(blame["ranges"], text, numbers)
            return {number: Line(self.judged(blame, options, ignored), around) for number, blame, around in found}

    def headers(self) -> Mapping[str, str]:
        """Return media type and version of the API."""
        return {"accept": "application/vnd.github+json", "x-github-api-version": "2022-11-28"}

    @classmethod
    def explain(cls, error: Any) -> Complaint:
        """Read an error as the tracker of the same host does."""
        return GitHub.explain(error)

    def _get(self, *more: str, **query: int | str) -> HttpReply:
        with self.reading():  # names from a response may make no path
            place = self.app_api + path_of("repos", self.owner, self.name, *more)
        return self.http.get(place, query=query)

    def _query(self, query: str, **variables: str) -> Mapping[str, Any]:
        variables = {"owner": self.owner, "name": self.name, **variables}
        content = self.http.request("POST", "/graphql", json={"query": query, "variables": variables}).json()
        with self.reading():
            return {**content}

    def _graphql_error(self, error: Mapping[str, Any]) -> ProviderError:
        kind = GRAPHQL_ERRORS.get(error.get("type", ""), ProviderRejected)
        return self.error(
            kind, f"{self.kind} responded: {short_line(self.http.credential.redact(str(error['message'])))}"
        )


class GitHubEnterpriseSource(GitHubSource):
    """GitHub on a host of one's own."""

    kind = "github_enterprise"
    base_url = ""
    app_api: ClassVar = "/v3"

    @classmethod
    def api_url(cls, site: str) -> str:
        """``https://{host}/api``: REST is below ``/v3`` there, GraphQL beside it."""
        return site.removesuffix("/api/v3") + "/api"


def _changes(files: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """Yield paths and kinds of changes: a renamed file is one deleted and one added."""
    for file in files:
        if file["status"] == "renamed":
            yield file["previous_filename"], "D"
        if file["status"] in CHANGES:
            yield file["filename"], CHANGES[file["status"]]


def _blamed(
    ranges: Iterable[Mapping[str, Any]], text: list[str], numbers: Iterable[int]
) -> Iterator[tuple[int, Blame, str]]:
    """Yield numbers of lines, each with its blame and its snippet."""
    left = sorted(set(numbers))
    for part in ranges:
        # Not the numbers of the range, which may be very many; and each line once, whatever else covers it.
        first, end = bisect_left(left, part["startingLine"]), bisect_right(left, part["endingLine"])
        commit, within = part["commit"], left[first:end]
        if within:
            del left[first:end]
            blame = make_blame(
                commit["oid"], commit["author"] or {}, commit["committedDate"], commit["messageHeadline"]
            )
            yield from ((number, blame, snippet(text, 1, number)) for number in within)
