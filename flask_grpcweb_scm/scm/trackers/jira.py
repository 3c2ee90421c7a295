"""Issues in Jira, Cloud and Data Center.

https://developer.atlassian.com/cloud/jira/platform/rest/v3/, https://developer.atlassian.com/server/jira/platform/rest/
"""

from __future__ import annotations

import re
from typing import Any, ClassVar

from flask_grpcweb_scm.scm.providers.api import path_of
from flask_grpcweb_scm.scm.providers.reply import Complaint
from flask_grpcweb_scm.scm.trackers.markup import readable, to_wiki
from flask_grpcweb_scm.scm.trackers.tracker import NewIssue, Tracker, TrackerIssue, comma_separated

__all__ = ["JiraCloud", "JiraDataCenter"]

KEY = r"[A-Za-z][A-Za-z0-9_]*"
_ISSUE = re.compile(rf"{KEY}-[0-9]+", re.ASCII)
FIELDS = {"summary": "title", "description": "description"}


class JiraDataCenter(Tracker):
    """Needs the fields ``project``, by key or id, and ``issuetype``, by name or id; takes ``labels``."""

    kind = "jira_server"
    required: ClassVar = {"project": f"{KEY}|[0-9]+", "issuetype": r"[^\x00-\x1f]+"}
    project_field = "project"
    max_title_characters = 255
    # 32 767 unless an administrator says otherwise, with some room for what Jira Cloud makes of paragraphs.
    max_body_characters = 30_000
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
            "summary": self.title(issue),
            "description": self.document(self.body(issue)),
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
        if _ISSUE.fullmatch(key) is None:
            raise self.invalid_key(key)
        self.http.request("POST", self._path("issue", key, "comment"), json={"body": self.document(self.write(text))})

    def write(self, text: str) -> str:
        """Write a text in wiki markup."""
        return to_wiki(text)

    @classmethod
    def project_of(cls, key: str) -> str:
        """Return the key of the project of an issue."""
        return key.rpartition("-")[0]

    def _path(self, *segments: str) -> str:
        return path_of("rest", "api", self.api, *segments)

    def _issue(self, key: str) -> TrackerIssue:
        if _ISSUE.fullmatch(key) is None:
            raise self.http.unexpected()
        return self.created(key, self.site + path_of("browse", key))

    @classmethod
    def document(cls, text: str) -> Any:
        """Convert a text in the tracker's markup to what the API takes."""
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

    def write(self, text: str) -> str:
        """Leave a text as it is: nodes of text have no markup."""
        return readable(text)

    @classmethod
    def document(cls, text: str) -> Any:
        """Make a paragraph of each line: an ADF text must not be empty, a paragraph may."""
        lines = [[{"type": "text", "text": line}] if line else [] for line in text.split("\n")]
        content = [{"type": "paragraph", "content": line} for line in lines]
        return {"type": "doc", "version": 1, "content": content}
