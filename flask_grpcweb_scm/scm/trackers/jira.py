"""Issues in Jira, Cloud and Data Center.

https://developer.atlassian.com/cloud/jira/platform/rest/v3/, https://developer.atlassian.com/server/jira/platform/rest/
"""

from __future__ import annotations

import re
from typing import Any, ClassVar

from flask_grpcweb_scm.scm.providers.api import path_of
from flask_grpcweb_scm.scm.providers.reply import Complaint
from flask_grpcweb_scm.scm.trackers.tracker import NewIssue, Tracker, TrackerIssue, comma_separated

__all__ = ["JiraCloud", "JiraDataCenter"]

KEY = r"[A-Za-z][A-Za-z0-9_]*"
FIELDS = {"summary": "title", "description": "description"}


class JiraDataCenter(Tracker):
    """Needs the fields ``project``, by key or id, and ``issuetype``, by name or id; takes ``labels``."""

    kind = "jira_server"
    required: ClassVar = {"project": f"{KEY}|[0-9]+", "issuetype": r"[^\x00-\x1f]+"}
    max_title_characters = 255
    # Nodes tell each other of new issues.
    search_delay = 30
    api: ClassVar[str] = "2"
    search: ClassVar[tuple[str, ...]] = ("search",)

    def create(self, issue: NewIssue) -> TrackerIssue:
        """``POST /rest/api/{version}/issue``."""
        project, kind = issue.fields["project"], issue.fields["issuetype"]
        fields: dict[str, Any] = {
            "project": {"id" if project.isdecimal() else "key": project},
            "issuetype": {"id" if kind.isdecimal() else "name": kind},
            "summary": " ".join(issue.title.split()),  # "The summary is invalid because it contains newline characters"
            "description": self.document(issue.body),
        }
        if labels := comma_separated(issue.fields.get("labels", "")):
            fields["labels"] = labels
        reply = self.http.request("POST", self._path("issue"), json={"fields": fields})
        return self._issue(reply.value("key", kind=str))

    def find(self, issue: NewIssue) -> TrackerIssue | None:
        """``GET /rest/api/{version}/search``."""
        query = f'text ~ "{issue.marker}"'
        reply = self.http.get(self._path(*self.search), query={"jql": query, "fields": "summary", "maxResults": 1})
        return self._issue(reply.value("issues", 0, "key", kind=str)) if reply.value("issues", kind=list) else None

    def comment(self, key: str, text: str) -> None:
        """``POST /rest/api/{version}/issue/{key}/comment``."""
        if re.fullmatch(rf"{KEY}-[0-9]+", key) is None:
            raise self.invalid_key(key)
        self.http.request("POST", self._path("issue", key, "comment"), json={"body": self.document(text)})

    def _path(self, *segments: str) -> str:
        return path_of("rest", "api", self.api, *segments)

    def _issue(self, key: str) -> TrackerIssue:
        return TrackerIssue(key=key, web_url=self.site + path_of("browse", key))

    @classmethod
    def document(cls, text: str) -> Any:
        """Convert a text to what the API takes."""
        return text

    @classmethod
    def explain(cls, error: Any) -> Complaint:
        """Read ``{"errorMessages": [text], "errors": {field: text}}``."""
        fields = {FIELDS.get(name, f"metadata.{name}"): text for name, text in error.get("errors", {}).items()}
        texts = [*error.get("errorMessages", ()), *(f"{name}: {text}" for name, text in fields.items())]
        return "; ".join(texts), fields


class JiraCloud(JiraDataCenter):
    """Jira Cloud, whose texts are in the Atlassian Document Format."""

    kind = "jira"
    search_delay = 120
    api = "3"
    search = ("search", "jql")

    @classmethod
    def document(cls, text: str) -> Any:
        """Make a paragraph of each line: an ADF text must not be empty, a paragraph may."""
        lines = [[{"type": "text", "text": line}] if line else [] for line in text.split("\n")]
        content = [{"type": "paragraph", "content": line} for line in lines]
        return {"type": "doc", "version": 1, "content": content}
