"""Issues at GitHub and GitHub Enterprise Server.

https://docs.github.com/en/rest/issues/issues
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from flask_grpcweb_scm.scm.providers import ProviderUnavailable
from flask_grpcweb_scm.scm.providers.api import path_of
from flask_grpcweb_scm.scm.providers.reply import Complaint, HttpReply
from flask_grpcweb_scm.scm.trackers.markup import to_markdown
from flask_grpcweb_scm.scm.trackers.tracker import NewIssue, Tracker, TrackerIssue, comma_separated

__all__ = ["GitHub", "GitHubEnterprise"]

NAME = r"(?!\.{1,2}(?:[/#]|\Z))[A-Za-z0-9_.-]+"
REPOSITORY = f"{NAME}/{NAME}"

_KEY = re.compile(rf"({REPOSITORY})#([0-9]+)", re.ASCII)

PAGE_SIZE = 100
MAX_PAGES = 20
FIELDS = {"body": "description", "title": "title"}


class GitHub(Tracker):
    """Needs the field ``repo``; takes ``assignees`` and ``labels``, with commas between them."""

    kind = "github"
    base_url = "https://api.github.com"
    app_api: ClassVar = ""
    required: ClassVar = {"repo": REPOSITORY}
    project_field = "repo"
    max_title_characters = 256
    max_body_characters = 65_536

    def create(self, issue: NewIssue) -> TrackerIssue:
        """``POST /repos/{owner}/{repo}/issues``."""
        repository = issue.fields["repo"]
        fields = {"title": self.title(issue), "body": self.body(issue)}
        lists = {name: comma_separated(issue.fields.get(name, "")) for name in ("assignees", "labels")}
        reply = self.http.request(
            "POST",
            _path(repository, "issues"),
            json={**fields, **{name: items for name, items in lists.items() if items}},
        )
        return self._issue(repository, reply)

    def find(self, issue: NewIssue) -> TrackerIssue | None:
        """List the newest issues, because the index of the search may be minutes old."""
        repository = issue.fields["repo"]
        query: dict[str, str | int] = {
            "state": "all",
            "sort": "created",
            "direction": "desc",
            "since": issue.since.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "per_page": PAGE_SIZE,
        }
        for page in range(1, MAX_PAGES + 1):
            reply = self.http.get(_path(repository, "issues"), query={**query, "page": page})
            rows = reply.value(kind=list)
            bodies = [row.get("body") if isinstance(row, dict) else None for row in rows]
            for index, body in enumerate(bodies):
                if isinstance(body, str) and issue.marker in body:
                    return self._issue(repository, reply, index)
            if len(rows) < PAGE_SIZE:
                return None
        text = f"{repository} has more than {PAGE_SIZE * MAX_PAGES} newer issues, too many to look through"
        raise self.error(ProviderUnavailable, text, may_have_acted=True)

    def comment(self, key: str, text: str) -> None:
        """``POST /repos/{owner}/{repo}/issues/{number}/comments``."""
        match = _KEY.fullmatch(key)
        if match is None:
            raise self.invalid_key(key)
        self.http.request("POST", _path(match[1], "issues", match[2], "comments"), json={"body": self.write(text)})

    def write(self, text: str) -> str:
        """Write a text in GitHub's Markdown, which keeps line breaks."""
        host = self.http.host.partition(":")[0]
        return to_markdown(text, host="github.com" if host == "api.github.com" else host)

    @classmethod
    def project_of(cls, key: str) -> str:
        """Return the repository of an issue."""
        return key.partition("#")[0]

    def _issue(self, repository: str, reply: HttpReply, *row: int) -> TrackerIssue:
        """Read the issue of a reply, or of one of its rows."""
        number = reply.value(*row, "number", kind=int)
        return self.created(f"{repository}#{number}", reply.url(*row, "html_url"))

    def headers(self) -> Mapping[str, str]:
        """Return media type and version of the API."""
        return {"accept": "application/vnd.github+json", "x-github-api-version": "2022-11-28"}

    @classmethod
    def explain(cls, error: Any) -> Complaint:
        """Read ``{"message": …, "errors": [{"field": …, "code": …, "message": …} or text]}``."""
        fields = {
            FIELDS.get(item["field"], f"metadata.{item['field']}"): item.get("message") or item["code"]
            for item in error.get("errors", ())
            if isinstance(item, dict) and "field" in item
        }
        return error["message"], fields


class GitHubEnterprise(GitHub):
    """GitHub on a host of one's own."""

    kind = "github_enterprise"
    base_url = ""

    @classmethod
    def api_url(cls, site: str) -> str:
        """``https://{host}/api/v3``."""
        return site if site.endswith("/api/v3") else site + "/api/v3"


def _path(repository: str, *more: str) -> str:
    return path_of("repos", *repository.split("/"), *more)
