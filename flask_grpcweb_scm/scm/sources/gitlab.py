"""Repositories at GitLab.

https://docs.gitlab.com/api/commits/, repositories/ and repository_files/
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from flask_grpcweb_scm.scm.providers import ProviderNotFound
from flask_grpcweb_scm.scm.providers.api import path_of
from flask_grpcweb_scm.scm.providers.reply import Complaint, HttpReply
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
    ABSENT,
    MAX_CHANGES,
    SNIPPET_LINES,
    ApiSource,
    branch_name,
    clean,
    make_blame,
    make_commit,
    next_page,
    object_id,
    snippet,
)
from flask_grpcweb_scm.scm.trackers.gitlab import GitLab

__all__ = ["GitLabSource"]

PAGE_SIZE = 100


class GitLabSource(ApiSource):
    """A project, by its number or as ``group/project``."""

    kind = "gitlab"
    base_url = "https://gitlab.com"

    def commit_id(self, revision: str) -> str:
        """``GET /projects/:id/repository/commits/:sha``, which accepts prefixes."""
        return self._get("repository", "commits", revision).value("id", kind=str)

    def commit(self, sha: str) -> GitCommit:
        """``GET /projects/:id/repository/commits/:sha``, and ``…/diff`` page by page."""
        content = self._get("repository", "commits", sha).json()
        with self.reading():
            # git shows no changes of a merge; GitLab shows those against the first parent.
            changes = list(self._changes(sha)) if len(content["parent_ids"]) < 2 else []
            author = {"name": content["author_name"], "email": content["author_email"]}
            return make_commit(sha, content["committed_date"], author, content["message"], changes)

    def tree(self, branch: str) -> tuple[str, str | None]:
        """``GET /projects/:id/repository/branches/:branch``, which has the id of the commit and not of its tree."""
        # "default_branch" is null in a project without commits.
        with self.reading():
            name = branch or branch_name(self._get().json()["default_branch"])
            if not name:
                return "", None
            return name, object_id(self._get("repository", "branches", name).value("commit", "id", kind=str))

    def tip(self, branch: str) -> str | None:
        """``GET /projects/:id/repository/branches/:branch``."""
        return self.tree(branch)[1]

    def ignore_file(self, branch: str) -> bytes:
        """``GET /projects/:id/repository/files/:file_path``."""
        reply = self._get("repository", "files", IGNORE_FILE, query={"ref": branch or "HEAD"})
        with self.reading():
            return base64.b64decode(reply.value("content", kind=str))

    def files(self, tree: str) -> Iterator[str]:
        """``GET /projects/:id/repository/tree``, a hundred at a time."""
        query: dict[str, int | str] = {"ref": tree, "recursive": "true", "per_page": PAGE_SIZE, "pagination": "keyset"}
        tokens: set[str] = set()
        while True:
            reply = self._get("repository", "tree", query=query)
            with self.reading():
                yield from [clean(entry["path"]) for entry in reply.value(kind=list) if entry["type"] == "blob"]
                token = next_page(reply, "page_token")
            if token in {"", query.get("page_token")}:
                break
            if token in tokens:
                raise self.http.unexpected()
            tokens.add(token)
            query["page_token"] = token

    def lines(
        self,
        sha: str,
        path: str,
        numbers: Iterable[int],
        options: BlameOptions = DEFAULT_BLAME,
        ignored: IgnoredRevisions = NOTHING_IGNORED,
    ) -> Mapping[int, Line] | None:
        """``GET /projects/:id/repository/files/:file_path/blame`` for ranges of lines that are near each other."""
        found: dict[int, Line] = {}
        for near in _clusters(sorted(set(numbers))):
            first = max(1, near[0] - SNIPPET_LINES)
            query: dict[str, int | str] = {"ref": sha, "range[start]": first, "range[end]": near[-1] + SNIPPET_LINES}
            try:
                content = self._get("repository", "files", path, "blame", query=query).value(kind=list)
            except ABSENT:
                # No such file, or no such lines in it.
                if not self._has_file(sha, path):
                    if not self.has_commit(sha):
                        raise NoSuchCommit(sha) from None
                    return None
                continue
            with self.reading():
                for number, blame, around in _blamed(content, first, near):
                    found[number] = Line(self.judged(blame, options, ignored), around)
        return found

    @classmethod
    def api_url(cls, site: str) -> str:
        """``https://{host}/api/v4``."""
        return GitLab.api_url(site)

    @classmethod
    def explain(cls, error: Any) -> Complaint:
        """Read an error as the tracker of the same host does."""
        return GitLab.explain(error)

    def _get(self, *more: str, query: Mapping[str, int | str] | None = None) -> HttpReply:
        with self.reading():
            place = path_of("projects", self.project, *more)
        return self.http.get(place, query=query)

    def _changes(self, sha: str) -> Iterator[tuple[str, str]]:
        for page in range(1, MAX_CHANGES // PAGE_SIZE + 1):
            content = self._get(
                "repository", "commits", sha, "diff", query={"per_page": PAGE_SIZE, "page": page}
            ).value(kind=list)
            for change in content:
                if change["renamed_file"] or change["deleted_file"]:
                    yield change["old_path"], "D"
                if not change["deleted_file"]:
                    yield change["new_path"], "A" if change["new_file"] or change["renamed_file"] else "M"
            if len(content) < PAGE_SIZE:
                break

    def _has_file(self, sha: str, path: str) -> bool:
        try:
            self.http.request(
                "HEAD", path_of("projects", self.project, "repository", "files", path), query={"ref": sha}
            )
        except ProviderNotFound:
            return False
        return True


def _clusters(numbers: Sequence[int]) -> Iterator[list[int]]:
    """Group ascending numbers whose snippets touch."""
    group: list[int] = []
    for number in numbers:
        if group and number - group[-1] > 2 * SNIPPET_LINES + 1:
            yield group
            group = []
        group.append(number)
    if group:
        yield group


def _blamed(parts: Iterable[Mapping[str, Any]], first: int, wanted: Sequence[int]) -> Iterator[tuple[int, Blame, str]]:
    """Yield some of the lines from number `first` on, which come in parts of one commit each."""
    lines = [(text, part["commit"]) for part in parts for text in part["lines"]]
    texts = [text for text, _ in lines]
    for number in wanted:
        if number - first < len(lines):
            commit = lines[number - first][1]
            author = {"name": commit["author_name"], "email": commit["author_email"]}
            blame = make_blame(commit["id"], author, commit["committed_date"], commit["message"])
            yield number, blame, snippet(texts, first, number)
