"""Work items at Azure DevOps.

https://learn.microsoft.com/en-us/rest/api/azure/devops/wit/work-items
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

from flask_grpcweb_scm.scm.lru_cache import LruCache, memory_of
from flask_grpcweb_scm.scm.providers import Credential, CredentialRefused, basic
from flask_grpcweb_scm.scm.providers.api import path_of
from flask_grpcweb_scm.scm.providers.reply import Complaint, HttpReply
from flask_grpcweb_scm.scm.trackers.issues import (
    MAX_ALLOWED,
    MAX_FOUND,
    FoundIssue,
    NewIssue,
    TrackerField,
    TrackerIssue,
    is_number,
    user_name,
)
from flask_grpcweb_scm.scm.trackers.markup import to_html
from flask_grpcweb_scm.scm.trackers.tracker import MAX_COMMENTS, MAX_FIELD_CHARACTERS, Tracker

__all__ = ["AzureDevOps"]

KEPT_SECONDS = 300
known_fields: LruCache[tuple[TrackerField, ...]] = LruCache(2**22)
"""By account, project and type of work item, and by the time: fields change, though seldom."""
API_VERSION = {"api-version": "7.1"}
PAGE_SIZE = 200
MAX_PAGES = 20
QUERY = "SELECT [System.Id] FROM WorkItems WHERE [System.TeamProject] = @project AND [System.Description] CONTAINS"
TITLES = "SELECT [System.Id] FROM WorkItems WHERE [System.TeamProject] = @project AND [System.Title] CONTAINS"
SHOWN = "System.Title,System.State,System.AssignedTo,System.TeamProject"
# "A project name can't contain … \ / : * ? " < > | ; # $ * { } , + = [ ]" (naming restrictions), nor be . or ..
NAME = r"(?!\.{1,2}\Z)[^\\/:*?\"'<>|;#${},+=\[\]\x00-\x1f]+"


_PAGE = re.compile(r"(?:[^/]+/)?_workitems/edit/([0-9]{1,18})/?", re.ASCII | re.IGNORECASE)
FIELD = re.compile(r"[A-Za-z][A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]+)+", re.ASCII)
# Of the work item itself, and those that would take it elsewhere or say what is not to be said here.
OWN_FIELDS = {
    *("system.title", "system.description", "system.history", "system.teamproject", "system.areaid", "system.id"),
    "system.workitemtype",
}
# What nobody sets: some of it is required of every work item by its description.
_COMPUTED = re.compile(
    r"system\.(?:(?:area|iteration)(?:id|level[1-7])|[a-z]+(?:count|date)|(?:changed|created)by|authorizedas|personid"
    r"|boardcolumn(?:done)?|boardlane|nodename|rev|watermark)",
    re.ASCII,
)
FIELDS = {"System.Title": "title", "System.Description": "description"}
HTML_FIELDS = {
    "microsoft.vsts.tcm.reprosteps",
    "microsoft.vsts.tcm.systeminfo",
    "microsoft.vsts.common.acceptancecriteria",
}


class AzureDevOps(Tracker):
    """Needs the field ``project``; takes ``work_item_type``, else creates an ``Issue``.

    Takes all fields of a work item by their reference names, such as ``Custom.Severity`` and ``System.Tags``. The base
    URL has the organization: ``https://dev.azure.com/{organization}``.
    """

    kind = "vsts"
    required: ClassVar = {"project": NAME}
    project_field = "project"
    max_title_characters = 128
    counts_utf16 = True
    paragraph_break = "<br><br>"
    batch_size = 200

    def create(self, issue: NewIssue) -> TrackerIssue:
        """``POST {project}/_apis/wit/workitems/${type}``."""
        project = issue.fields["project"]
        kind = issue.fields.get("work_item_type") or "Issue"
        fields = {"System.Title": self.title(issue), "System.Description": self.body(issue)}
        for name, text in issue.fields.items():
            if FIELD.fullmatch(name) and name.lower() not in OWN_FIELDS and text.strip():
                fields[name] = self.write(text) if name.lower() in HTML_FIELDS and not self.markup else text
        reply = self._send("POST", path_of(project, "_apis", "wit", "workitems", f"${kind}"), fields)
        return self._issue(project, reply.value("id", kind=int))

    def describe(self, fields: Mapping[str, str]) -> Sequence[TrackerField]:
        """``GET {project}/_apis/wit/workitemtypes/{type}/fields``."""
        self.check(fields)
        project, kind = fields["project"], fields.get("work_item_type") or "Issue"
        key = self.http.host, self.site, self.credential, project, kind, int(time.monotonic() / KEPT_SECONDS)
        known = known_fields.get(key)
        if known is None:
            known = tuple(self._described(path_of(project, "_apis", "wit", "workitemtypes", kind, "fields")))
            known_fields.put(key, known, memory_of(key, known))
        return known

    def _described(self, path: str) -> Sequence[TrackerField]:
        reply = self._signed_in(self.http.get(path, query={**API_VERSION, "$expand": "allowedValues"}))
        found = []
        for row in reply.value("value", kind=list):
            name, label = row["referenceName"], row["name"]
            lower = name.lower()
            if FIELD.fullmatch(name) and lower not in OWN_FIELDS and _COMPUTED.fullmatch(lower) is None:
                # One that has a value of its own need not be sent.
                required = row.get("alwaysRequired") is True and row.get("defaultValue") is None
                allowed = tuple(str(value) for value in (row.get("allowedValues") or ())[:MAX_ALLOWED])
                found.append(TrackerField(name, str(label), "option" if allowed else "string", required, allowed))
        return sorted(found, key=lambda each: not each.required)

    def find(self, issue: NewIssue) -> TrackerIssue | None:
        """``POST {project}/_apis/wit/wiql``, which is a query."""
        project = issue.fields["project"]
        query = f"{QUERY} '{issue.marker}'"
        path = path_of(project, "_apis", "wit", "wiql")
        reply = self._signed_in(self.http.request("POST", path, query=API_VERSION, json={"query": query}))
        if not reply.value("workItems", kind=list):
            return None
        return self._issue(project, reply.value("workItems", 0, "id", kind=int))

    def key_of(self, text: str) -> str:
        """Take ``7``, ``https://{host}/{organization}/{project}/_workitems/edit/7``, and boards that show an item."""
        path, key = self.path_in_site(text), text.strip()
        if path is not None:
            page, query = _PAGE.fullmatch(path), parse_qs(urlsplit(key).query)
            # Of a board, and of a list.
            shown = query.get("workitem") or (query.get("id") if path.endswith("/_workitems") else None) or [""]
            key = page[1] if page else shown[0]
        if not is_number(key):
            raise self.invalid_key(text)
        return str(int(key))

    def read(self, key: str) -> FoundIssue:
        """``GET _apis/wit/workitems/{id}``; its project is known then."""
        if not is_number(key):
            raise self.invalid_key(key)
        query = {**API_VERSION, "fields": SHOWN}
        issue, project = self._found(
            self._signed_in(self.http.get(path_of("_apis", "wit", "workitems", key), query=query))
        )
        self.check_project(project)
        return issue

    def read_many(self, keys: Sequence[str]) -> Mapping[str, FoundIssue]:
        """``POST _apis/wit/workitemsbatch``; one that does not exist is left out, or null."""
        if not all(map(is_number, keys)):
            raise self.invalid_key(next(key for key in keys if not is_number(key)))
        wanted = {"ids": [*map(int, keys)], "fields": SHOWN.split(","), "errorPolicy": "Omit"}
        path = path_of("_apis", "wit", "workitemsbatch")
        reply = self._signed_in(self.http.request("POST", path, query=API_VERSION, json=wanted))
        found: dict[str, FoundIssue] = {}
        for index, row in enumerate(reply.value("value", kind=list)):
            if row is not None:
                with self.skipping():
                    issue, project = self._found(reply, "value", index)
                    self.check_project(project)
                    found[issue.key] = issue
        return found

    def search(self, text: str, fields: Mapping[str, str]) -> Sequence[FoundIssue]:
        """``POST {project}/_apis/wit/wiql``, then ``GET _apis/wit/workitems``."""
        wanted = self.project_in(fields)
        quoted = text.replace("'", "''")
        query = f"{TITLES} '{quoted}' ORDER BY [System.ChangedDate] DESC"
        path = path_of(wanted, "_apis", "wit", "wiql")
        parameters: dict[str, str | int] = {**API_VERSION, "$top": MAX_FOUND}
        reply = self._signed_in(self.http.request("POST", path, query=parameters, json={"query": query}))
        rows = reply.value("workItems", kind=list)[:MAX_FOUND]
        numbers = [str(reply.value("workItems", index, "id", kind=int)) for index in range(len(rows))]
        if not numbers:
            return []
        parameters = {**API_VERSION, "ids": ",".join(numbers), "fields": SHOWN}
        reply = self._signed_in(self.http.get(path_of("_apis", "wit", "workitems"), query=parameters))
        found = [
            self._found(reply, "value", index) for index in range(len(reply.value("value", kind=list)[:MAX_FOUND]))
        ]
        return [issue for issue, project in found if project.casefold() == wanted.casefold()]

    def _found(self, reply: HttpReply, *row: str | int) -> tuple[FoundIssue, str]:
        """Read an issue, and its project."""
        fields = reply.value(*row, "fields", kind=dict)
        project = reply.value(*row, "fields", "System.TeamProject", kind=str)
        if len(project) > MAX_FIELD_CHARACTERS or re.fullmatch(NAME, project) is None:
            raise self.http.unexpected()
        issue = self._issue(project, reply.value(*row, "id", kind=int))
        person = user_name(fields.get("System.AssignedTo"), "displayName", "uniqueName")
        status = fields.get("System.State")
        return self.found(issue.key, issue.web_url, fields["System.Title"], status, person), project

    def comment(self, key: str, text: str) -> None:
        """``PATCH _apis/wit/workitems/{id}``, where comments are lines of the history."""
        if not is_number(key):
            raise self.invalid_key(key)
        self._send("PATCH", path_of("_apis", "wit", "workitems", key), {"System.History": self.write(text)})

    def comments(self, key: str) -> Sequence[str]:
        """``GET _apis/wit/workitems/{id}/updates``, where comments are lines of the history."""
        if not is_number(key):
            raise self.invalid_key(key)
        found: list[str] = []
        for page in range(MAX_PAGES):
            query: dict[str, str | int] = {**API_VERSION, "$top": PAGE_SIZE, "$skip": page * PAGE_SIZE}
            path = path_of("_apis", "wit", "workitems", key, "updates")
            rows = self._signed_in(self.http.get(path, query=query)).value("value", kind=list)
            changes = [(row.get("fields") or {}).get("System.History") for row in rows]
            found += [str(change["newValue"]) for change in changes if change and change.get("newValue")]
            if len(rows) < PAGE_SIZE:
                break
        return found[-MAX_COMMENTS:]

    def write(self, text: str) -> str:
        """Write a text in HTML."""
        return to_html(text)

    def _send(self, method: str, path: str, fields: dict[str, str]) -> HttpReply:
        patch = [{"op": "add", "path": f"/fields/{name}", "value": value} for name, value in fields.items()]
        return self._signed_in(
            self.http.request(method, path, query=API_VERSION, json=patch, content_type="application/json-patch+json")
        )

    def _signed_in(self, reply: HttpReply) -> HttpReply:
        """Refuse the page to sign in on, which requests without valid credentials get with the status 203."""
        if reply.status == 203:
            raise self.error(CredentialRefused, f"{self.kind} does not accept the credentials", status=203)
        return reply

    def _issue(self, project: str, number: int) -> TrackerIssue:
        path = path_of(project, "_workitems", "edit", number)
        return self.created(str(number), self.site + path)

    @classmethod
    def authorization(cls, credential: Credential) -> str:
        """Send a personal access token as a password without a user."""
        return basic("", credential.token) if credential.token else credential.authorization()

    @classmethod
    def explain(cls, error: Any) -> Complaint:
        """Read ``{"message": text}``, which may have ``RuleValidationErrors`` of fields."""
        broken = (error.get("customProperties") or {}).get("RuleValidationErrors") or ()
        fields = {
            FIELDS.get(name, f"metadata.{name}"): row.get("errorMessage") or error["message"]
            for row in broken
            if isinstance(row, dict) and isinstance(name := row.get("fieldReferenceName"), str)
        }
        return error["message"], fields
