"""Issues at GitLab.

https://docs.gitlab.com/api/issues/
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from flask_grpcweb_scm.scm.providers.api import path_of
from flask_grpcweb_scm.scm.providers.reply import MAX_FIELDS, MAX_TEXT_CHARACTERS, Complaint, HttpReply
from flask_grpcweb_scm.scm.trackers.issues import (
    MAX_FOUND,
    FoundIssue,
    NewIssue,
    TrackerField,
    TrackerIssue,
    comma_separated,
    user_name,
)
from flask_grpcweb_scm.scm.trackers.markup import to_markdown
from flask_grpcweb_scm.scm.trackers.tracker import MAX_COMMENTS, Tracker

__all__ = ["GitLab"]

NAME = r"(?!\.{1,2}(?:[/#]|\Z))[A-Za-z0-9_.-]+"
PROJECT = f"[0-9]+|{NAME}(?:/{NAME})+"
_KEY = re.compile(rf"[^:]+(?::[0-9]+)?:({PROJECT})#([0-9]{{1,18}})", re.ASCII)
_NAME = re.compile(rf"({NAME}(?:/{NAME})+)#([0-9]{{1,18}})", re.ASCII)
_PAGE = re.compile(
    rf"({NAME}(?:/{NAME})+?)(?:/-)?/(?:issues|issues/incident|work_items)/([0-9]{{1,18}})/?(?:designs/?)?", re.ASCII
)
GENERAL = ("base", "error")
FIELDS = {"description": "description", "title": "title"}


class GitLab(Tracker):
    """Needs the field ``project``, as ``group/project`` or a number.

    Takes ``labels``, ``assignees`` by name, ``milestone`` by title, ``confidential`` and ``due_date``.
    """

    kind = "gitlab"
    base_url = "https://gitlab.com"
    fields = (
        TrackerField("project", "Project", "string", required=True),
        TrackerField("assignees", "Assignees", "list of user"),
        TrackerField("confidential", "Confidential", "option", allowed=("true", "false")),
        TrackerField("due_date", "Due date", "date"),
        TrackerField("labels", "Labels", "list of string"),
        TrackerField("milestone", "Milestone", "title"),
    )
    required: ClassVar = {"project": PROJECT}
    project_field = "project"
    max_title_characters = 255
    max_body_characters = 1_048_576
    batch_size = 100

    def create(self, issue: NewIssue) -> TrackerIssue:
        """``POST /projects/:id/issues``."""
        project, given = issue.fields["project"], issue.fields
        fields: dict[str, Any] = {"title": self.title(issue), "description": self.body(issue)}
        if labels := comma_separated(given.get("labels", "")):
            fields["labels"] = ",".join(labels)
        if names := comma_separated(given.get("assignees", "")):
            fields["assignee_ids"] = [self._user(name.removeprefix("@")) for name in names]
        if milestone := given.get("milestone", "").strip():
            fields["milestone_id"] = self._milestone(project, milestone)
        if (confidential := given.get("confidential", "").strip().lower()) in ("true", "false"):
            fields["confidential"] = confidential == "true"
        if due := given.get("due_date", "").strip():
            fields["due_date"] = due
        reply = self.http.request("POST", path_of("projects", project, "issues"), json=fields)
        # As GitLab writes its name, in webhooks too.
        shown = _project_of(reply.value(kind=dict))
        return self._issue(shown if shown.casefold() == project.casefold() else project, reply)

    def _user(self, name: str) -> int:
        """Return the number of a user."""
        with self.lookup():
            rows = self.http.get("/users", query={"username": name}).value(kind=list)
            ids = {row["username"].casefold(): row["id"] for row in rows}
        return self.chosen("assignees", name, ids)

    def _milestone(self, project: str, title: str) -> int:
        """Return the number of a milestone of the project or of its groups."""
        with self.lookup():
            query = {"title": title, "include_ancestors": "true"}
            rows = self.http.get(path_of("projects", project, "milestones"), query=query).value(kind=list)
            ids = {row["title"].casefold(): row["id"] for row in rows}
        return self.chosen("milestone", title, ids)

    def find(self, issue: NewIssue) -> TrackerIssue | None:
        """``GET /projects/:id/issues`` with a search in the database of GitLab."""
        project = issue.fields["project"]
        reply = self.http.get(
            path_of("projects", project, "issues"),
            query={"search": issue.marker, "in": "description", "scope": "all"},
        )
        return self._issue(project, reply, 0) if reply.value(kind=list) else None

    def key_of(self, text: str) -> str:
        """Take ``host:group/project#7``, ``group/project#7`` and ``https://{host}/{group}/{project}/-/issues/7``."""
        path = self.path_in_site(text)
        host = self.http.host + ":"
        match = _NAME.fullmatch(text.strip().removeprefix(host)) if path is None else _PAGE.fullmatch(path)
        if match is None:
            raise self.invalid_key(text)
        return f"{host}{match[1]}#{int(match[2])}"

    def read(self, key: str) -> FoundIssue:
        """``GET /projects/:id/issues/:issue_iid``."""
        project, number = self.match_key(_KEY, key).groups()
        self.check_project(project)
        reply = self.http.get(path_of("projects", project, "issues", number))
        now = _project_of(reply.json()) or project
        self.check_project(now)
        return self._found(now, reply)

    def read_many(self, keys: Sequence[str]) -> Mapping[str, FoundIssue]:
        """``GET /projects/:id/issues?iids[]=…``."""
        numbers = {self.match_key(_KEY, key)[2]: key for key in keys}
        project = self.project_of(keys[0])
        self.check_project(project)
        query: dict[str, str | int | Sequence[str]] = {"iids[]": [*numbers], "scope": "all", "per_page": len(numbers)}
        reply = self.http.get(path_of("projects", project, "issues"), query=query)
        found: dict[str, FoundIssue] = {}
        for index, row in enumerate(reply.value(kind=list)):
            with self.skipping():
                now = _project_of(row) or project
                self.check_project(now)
                found[numbers[str(row["iid"])]] = self._found(now, reply, index)
        return found

    def search(self, text: str, fields: Mapping[str, str]) -> Sequence[FoundIssue]:
        """``GET /projects/:id/issues``."""
        project = self.project_in(fields)
        query: dict[str, str | int] = {"search": text, "in": "title,description", "scope": "all", "per_page": MAX_FOUND}
        reply = self.http.get(path_of("projects", project, "issues"), query=query)
        return [self._found(project, reply, index) for index in range(len(reply.value(kind=list)[:MAX_FOUND]))]

    def _found(self, project: str, reply: HttpReply, *row: int) -> FoundIssue:
        issue = self._issue(project, reply, *row)
        values = reply.json()[row[0]] if row else reply.json()
        person = user_name(values.get("assignee"), "username", "name")
        # As its pages say it, of what is left of an issue in its former project: its new place is not told.
        status = "closed (moved)" if values.get("moved_to_id") is not None else values.get("state")
        return self.found(issue.key, issue.web_url, values["title"], status, person)

    def comment(self, key: str, text: str) -> None:
        """``POST /projects/:id/issues/:issue_iid/notes``."""
        project, number = self.match_key(_KEY, key).groups()
        path = path_of("projects", project, "issues", number, "notes")
        self.http.request("POST", path, json={"body": self.write(text)})

    def comments(self, key: str) -> Sequence[str]:
        """``GET /projects/:id/issues/:issue_iid/notes``."""
        project, number = self.match_key(_KEY, key).groups()
        query: dict[str, str | int] = {"order_by": "created_at", "sort": "desc", "per_page": MAX_COMMENTS}
        reply = self.http.get(path_of("projects", project, "issues", number, "notes"), query=query)
        return [str(row["body"]) for row in reply.value(kind=list)]

    def write(self, text: str) -> str:
        """Write a text in GitLab's Markdown, where spaces at the end of a line keep the line break."""
        return to_markdown(text, host=self.http.host.partition(":")[0], line_break="  \n", dollar="\\$")

    @classmethod
    def project_of(cls, key: str) -> str:
        """Return the path of the project of an issue."""
        match = _KEY.fullmatch(key)
        return match[1] if match else ""

    def _issue(self, project: str, reply: HttpReply, *row: int) -> TrackerIssue:
        """Read the issue of a reply, or of one of its rows."""
        number, url = reply.value(*row, "iid", kind=int), reply.url(*row, "web_url")
        if project.isdecimal():
            project = reply.value(*row, "references", "full", kind=str).partition("#")[0]
            if re.fullmatch(PROJECT, project) is None:
                raise self.http.unexpected()
        return self.created(f"{self.http.host}:{project}#{number}", url)

    @classmethod
    def api_url(cls, site: str) -> str:
        """``https://{host}/api/v4``."""
        return site + "/api/v4"

    @classmethod
    def explain(cls, error: Any) -> Complaint:
        """Read ``{"message": {field: [text]} or text}`` or ``{"error": text, "error_description": text}``."""
        message = error.get("message") or error["error"]
        if not isinstance(message, dict):
            return ": ".join(str(text) for text in (message, error.get("error_description")) if text), {}
        # Errors of no field have such a name: {"base": [text]}, {"error": text}.
        general = [text for name in GENERAL for text in itertools.islice(_sentences(message.get(name)), MAX_FIELDS)]
        fields = {
            FIELDS.get(name, f"metadata.{name}"): "; ".join(itertools.islice(_sentences(value), MAX_FIELDS))
            for name, value in itertools.islice(message.items(), MAX_FIELDS)
            if name not in GENERAL
        }
        return "; ".join([*general, *(f"{name} {text}" for name, text in fields.items())]), fields


def _project_of(issue: Mapping[str, Any]) -> str:
    """Return the path of the project that an issue is in now; empty when GitLab does not say."""
    shown = issue.get("references")
    name = str(shown.get("full")).partition("#")[0] if isinstance(shown, dict) else ""
    return name if re.fullmatch(f"{NAME}(?:/{NAME})+", name, re.ASCII) else ""


def _sentences(value: Any) -> Iterator[str]:
    """Yield the texts of an error: ``text``, ``[text]`` or ``{attribute: [text]}``, in one another."""
    if isinstance(value, str):
        yield value[:MAX_TEXT_CHARACTERS]
    elif isinstance(value, list):
        for item in itertools.islice(value, MAX_FIELDS):
            yield from _sentences(item)
    elif isinstance(value, dict):
        for name, item in itertools.islice(value.items(), MAX_FIELDS):
            some = itertools.islice(_sentences(item), MAX_FIELDS)
            yield from (f"{name[:MAX_TEXT_CHARACTERS]} {text}" for text in some)
