"""Issues at GitHub and GitHub Enterprise Server.

https://docs.github.com/en/rest/issues/issues
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from flask_grpcweb_scm.scm.providers import ProviderNotFound, ProviderRateLimited, ProviderUnavailable
from flask_grpcweb_scm.scm.providers.api import path_of
from flask_grpcweb_scm.scm.providers.reply import SECONDARY_LIMIT_SECONDS, Complaint, HttpReply, retry_after
from flask_grpcweb_scm.scm.trackers.issues import (
    MAX_FOUND,
    FoundIssue,
    NewIssue,
    TrackerField,
    TrackerIssue,
    comma_separated,
    is_number,
    user_name,
)
from flask_grpcweb_scm.scm.trackers.markup import to_markdown
from flask_grpcweb_scm.scm.trackers.tracker import MAX_COMMENTS, Tracker

__all__ = ["GitHub", "GitHubEnterprise"]

logger = logging.getLogger(__name__)

NAME = r"(?!\.{1,2}(?:[/#]|\Z))[A-Za-z0-9_.-]+"
REPOSITORY = f"{NAME}/{NAME}"

_KEY = re.compile(rf"({REPOSITORY})#([0-9]{{1,18}})", re.ASCII)

_PAGE = re.compile(rf"({REPOSITORY})/issues/([0-9]{{1,18}})/?", re.ASCII)

# "<https://…?page=9>; rel="last""
_LAST_PAGE = re.compile(r'[?&]page=([0-9]{1,9})[^>,?]{0,1000}>; rel="last"', re.ASCII)

PAGE_SIZE = 100
MAX_URL_CHARACTERS = 2000
MAX_PAGES = 20
# https://docs.github.com/en/graphql/reference/objects#issue
REPOSITORY_QUERY = "query($owner: String!, $name: String!) { repository(owner: $owner, name: $name)"
ISSUE_QUERY = "number title url state stateReason(enableDuplicate: true) assignees(first: 1) { nodes { login } }"
FIELDS = {"body": "description", "title": "title"}


class GitHub(Tracker):
    """Needs the field ``repo``; takes ``assignees``, ``labels``, ``milestone`` by number or title, and ``type``."""

    kind = "github"
    base_url = "https://api.github.com"
    app_api: ClassVar = ""
    fields = (
        TrackerField("repo", "Repository", "string", required=True),
        TrackerField("assignees", "Assignees", "list of user"),
        TrackerField("labels", "Labels", "list of string"),
        TrackerField("milestone", "Milestone", "number or title"),
        TrackerField("type", "Type", "string"),
    )
    required: ClassVar = {"repo": REPOSITORY}
    project_field = "repo"
    max_title_characters = 256
    max_body_characters = 65_536
    batch_size = 100

    def create(self, issue: NewIssue) -> TrackerIssue:
        """``POST /repos/{owner}/{repo}/issues``."""
        repository = issue.fields["repo"]
        fields: dict[str, Any] = {"title": self.title(issue), "body": self.body(issue)}
        for name in ("assignees", "labels"):
            if items := comma_separated(issue.fields.get(name, "")):
                fields[name] = items
        if kind := issue.fields.get("type", "").strip():
            fields["type"] = kind
        if milestone := issue.fields.get("milestone", "").strip():
            fields["milestone"] = self._milestone(repository, milestone)
        reply = self.http.request("POST", _path(repository, "issues"), json=fields)
        created = reply.value(kind=dict)
        left_out = [name for name in sorted(fields) if name in created and not created[name]]
        if left_out:
            # "Only users with push access can set assignees …, silently dropped otherwise".
            text = "%s left out %s of an issue in %s; may the account push there?"
            logger.warning(text, self.kind, ", ".join(left_out), repository)
        # As GitHub writes its name, in webhooks too.
        shown = _repository_of(created)
        return self._issue(shown if shown.casefold() == repository.casefold() else repository, reply)

    def _milestone(self, repository: str, name: str) -> int:
        """Return the number of a milestone that is given by number or title.

        :raises ProviderRejected: when the repository has none of that title.
        """
        if is_number(name):
            return int(name)
        with self.lookup():
            titles: dict[str, object] = {}
            for page in range(1, MAX_PAGES + 1):
                query: dict[str, str | int] = {"state": "all", "per_page": PAGE_SIZE, "page": page}
                rows = self.http.get(_path(repository, "milestones"), query=query).value(kind=list)
                titles |= {row["title"].casefold(): row["number"] for row in rows}
                if name.casefold() in titles or len(rows) < PAGE_SIZE:
                    break
        return self.chosen("milestone", name, titles)

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

    def key_of(self, text: str) -> str:
        """Take ``owner/repo#7`` and ``https://{host}/{owner}/{repo}/issues/7``."""
        path = self.path_in_site(text)
        match = _KEY.fullmatch(text.strip()) if path is None else _PAGE.fullmatch(path)
        if match is None:
            raise self.invalid_key(text)
        return f"{match[1]}#{int(match[2])}"

    def page_site(self) -> str:
        """Return the host of the pages; that of the API is another one."""
        return "https://github.com" if self.http.host == "api.github.com" else self.site.removesuffix("/api/v3")

    def read(self, key: str) -> FoundIssue:
        """``GET /repos/{owner}/{repo}/issues/{number}``, which leads to where it is now."""
        repository, number = self.match_key(_KEY, key).groups()
        self.check_project(repository)
        row = self.http.get(_path(repository, "issues", number))
        if row.json().get("pull_request"):
            raise self.error(ProviderNotFound, f"{key} is a pull request, no issue")
        now = _repository_of(row.json()) or repository
        self.check_project(now)
        return self._found(now, row)

    def read_many(self, keys: Sequence[str]) -> Mapping[str, FoundIssue]:
        """``Repository.issue`` of GraphQL, once for each."""
        numbers = {int(self.match_key(_KEY, key)[2]): key for key in keys}
        repository = self.project_of(keys[0])
        self.check_project(repository)
        owner, name = repository.split("/")
        wanted = " ".join(f"i{number}: issue(number: {number}) {{ {ISSUE_QUERY} }}" for number in numbers)
        query = f"{REPOSITORY_QUERY} {{ nameWithOwner {wanted} }} }}"
        content = {"query": query, "variables": {"owner": owner, "name": name}}
        # REST of GitHub Enterprise is at /api/v3.
        reply = self.http.without("/v3").request("POST", "/graphql", json=content)
        if any(error["type"] == "RATE_LIMITED" for error in reply.json().get("errors") or ()):
            wait = retry_after(reply.headers) or SECONDARY_LIMIT_SECONDS
            raise self.error(ProviderRateLimited, f"{self.kind} limits the rate of queries", retry_after=wait)
        found: dict[str, FoundIssue] = {}
        rows = (reply.json()["data"] or {}).get("repository") or {}
        for number, key in numbers.items():
            row = rows.get(f"i{number}")
            if row is not None:
                with self.skipping():
                    found[key] = self._found_by_query(row, rows["nameWithOwner"], reply, number)
        return found

    def _found_by_query(self, row: Mapping[str, Any], repository: str, reply: HttpReply, number: int) -> FoundIssue:
        if re.fullmatch(REPOSITORY, repository, re.ASCII) is None or row["number"] != number:
            raise self.http.unexpected()
        self.check_project(repository)
        reason = row["stateReason"] if row["state"] == "CLOSED" else None
        return self.found(
            f"{repository}#{number}",
            reply.url("data", "repository", f"i{number}", "url"),
            row["title"],
            (reason or row["state"]).lower(),
            user_name(next(iter(row["assignees"]["nodes"]), None), "login"),
        )

    def search(self, text: str, fields: Mapping[str, str]) -> Sequence[FoundIssue]:
        """``GET /search/issues``, for a phrase: words such as ``repo:`` of the text are not to lead elsewhere."""
        repository = self.project_in(fields)
        phrase = " ".join(re.sub(r'["\\]', " ", text).split())
        words = (f'"{phrase}"' if phrase else "", f"repo:{repository}", "is:issue")
        query: dict[str, str | int] = {"q": " ".join(filter(None, words)), "per_page": MAX_FOUND}
        reply = self.http.get("/search/issues", query=query)
        rows = reply.value("items", kind=list)
        end = f"/repos/{repository}".lower()
        return [
            self._found(repository, reply, "items", index)
            for index, row in enumerate(rows[:MAX_FOUND])
            if row["repository_url"].lower().endswith(end)
        ]

    def _found(self, repository: str, reply: HttpReply, *row: str | int) -> FoundIssue:
        values = reply.json()
        for step in row:
            values = values[step]
        issue = self._issue(repository, reply, *row)
        status = values.get("state_reason") if values.get("state") == "closed" else values.get("state")
        return self.found(
            issue.key,
            issue.web_url,
            values["title"],
            status or values.get("state"),
            user_name(values.get("assignee"), "login"),
        )

    def comment(self, key: str, text: str) -> None:
        """``POST /repos/{owner}/{repo}/issues/{number}/comments``."""
        repository, number = self.match_key(_KEY, key).groups()
        self.http.request("POST", _path(repository, "issues", number, "comments"), json={"body": self.write(text)})

    def comments(self, key: str) -> Sequence[str]:
        """``GET /repos/{owner}/{repo}/issues/{number}/comments``, of which the last page has the newest."""
        repository, number = self.match_key(_KEY, key).groups()
        path = _path(repository, "issues", number, "comments")
        reply = self.http.get(path, query={"per_page": MAX_COMMENTS})
        last = _LAST_PAGE.search(reply.headers.get("link", ""))
        if last:
            reply = self.http.get(path, query={"per_page": MAX_COMMENTS, "page": int(last[1])})
        return [str(row["body"]) for row in reply.value(kind=list)]

    def write(self, text: str) -> str:
        """Write a text in GitHub's Markdown, which keeps line breaks."""
        host = self.http.host.partition(":")[0]
        return to_markdown(text, host="github.com" if host == "api.github.com" else host)

    @classmethod
    def project_of(cls, key: str) -> str:
        """Return the repository of an issue."""
        return key.partition("#")[0]

    def _issue(self, repository: str, reply: HttpReply, *row: str | int) -> TrackerIssue:
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


def _repository_of(issue: Mapping[str, Any]) -> str:
    """Return the repository that an issue is in now, as GitHub writes it; empty when it does not say."""
    # Of html_url, should there be no other, the path.
    for name, end in (("repository_url", ""), ("html_url", r"/issues/[0-9]+")):
        match = re.fullmatch(
            rf"https?://.*?/({REPOSITORY}){end}", str(issue.get(name) or "")[:MAX_URL_CHARACTERS], re.ASCII
        )
        if match:
            return match[1]
    return ""


def _path(repository: str, *more: str) -> str:
    return path_of("repos", *repository.split("/"), *more)
