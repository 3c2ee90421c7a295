"""Issues in Jira, Cloud and Data Center.

https://developer.atlassian.com/cloud/jira/platform/rest/v3/, https://developer.atlassian.com/server/jira/platform/rest/
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

from flask_grpcweb_scm.scm.lru_cache import LruCache, memory_of
from flask_grpcweb_scm.scm.providers import ProviderForbidden, ProviderRejected, ProviderUnavailable
from flask_grpcweb_scm.scm.providers.api import path_of
from flask_grpcweb_scm.scm.providers.reply import Complaint, HttpReply
from flask_grpcweb_scm.scm.trackers.issues import MAX_FOUND, FoundIssue, NewIssue, TrackerField, TrackerIssue, user_name
from flask_grpcweb_scm.scm.trackers.jira_fields import (
    SYSTEM,
    JiraField,
    field_json,
    given_json,
    named,
    read_field,
    system_field,
)
from flask_grpcweb_scm.scm.trackers.markup import readable, to_wiki
from flask_grpcweb_scm.scm.trackers.tracker import MAX_COMMENTS, Tracker

__all__ = ["JiraCloud", "JiraDataCenter"]

KEY = r"[A-Za-z][A-Za-z0-9_]*"
_ISSUE = re.compile(rf"{KEY}-[0-9]+", re.ASCII)
_PAGE = re.compile(rf"(?:browse|(?:.*/)?projects/[^/]+/issues)/({_ISSUE.pattern})/?", re.ASCII)
FIELDS = {"summary": "title", "description": "description"}
# What the tracker's create makes of the issue itself.
OWN_FIELDS = {"project", "issuetype", "summary", "description"}
# Scoped tokens are good at a gateway only, which has no pages: https://api.atlassian.com/ex/jira/{cloudId}
_GATEWAY = re.compile(r"/ex/jira/[^/]+")
OPERATORS = {"AND", "NOT", "OR"}
PAGE_SIZE = 200
MAX_PAGES = 10
KEPT_SECONDS = 300
SHOWN = "summary,status,assignee"

known_fields: LruCache[tuple[JiraField, ...]] = LruCache(2**22)
"""By account, project and type of issue, and by the time: fields change, though seldom."""
known_sites: LruCache[str] = LruCache(2**18)


class JiraDataCenter(Tracker):
    """Needs the fields ``project``, by key or id, and ``issuetype``, by name or id.

    Takes all fields of the project by id (``components``, ``customfield_10042``) or name (``Severity``). A text becomes
    the JSON that the field has by the metadata of the project; an object or a list in JSON is sent as it is.
    """

    kind = "jira_server"
    required: ClassVar = {"project": f"{KEY}|[0-9]+", "issuetype": r"[^\x00-\x1f]+"}
    project_field = "project"
    max_title_characters = 255
    counts_utf16 = True
    # 32 767 unless an administrator says otherwise, with some room for what Jira Cloud makes of paragraphs.
    max_body_characters = 30_000
    # Nodes tell each other of new issues.
    search_delay = 30
    batch_size = 50
    api: ClassVar[str] = "2"
    search_path: ClassVar[tuple[str, ...]] = ("search",)
    user_key: ClassVar[str] = "name"
    """Of a user, in the JSON of fields."""

    def create(self, issue: NewIssue) -> TrackerIssue:
        """``POST /rest/api/{version}/issue``."""
        project, kind = issue.fields["project"], issue.fields["issuetype"]
        fields: dict[str, Any] = {
            **self._additional(issue.fields),
            "project": {"id" if project.isdecimal() else "key": project},
            "issuetype": {"id" if kind.isdecimal() else "name": kind},
            "summary": self.title(issue),
            "description": self.document(self.body(issue)),
        }
        reply = self.http.request("POST", self._path("issue"), json={"fields": fields})
        return self._issue(reply.value("key", kind=str))

    def _additional(self, given: Mapping[str, str]) -> dict[str, Any]:
        """Return the JSON of the fields that a caller sets, by id."""
        others = {name: text for name, text in given.items() if name not in OWN_FIELDS and text.strip()}
        found = {name: field for name in others if (field := system_field(name))}
        # The names of fields, and the types of custom ones, are the project's.
        if any(name not in found or (name not in SYSTEM and given_json(text) is None) for name, text in others.items()):
            with self.optional_lookup():
                fields = self._fields(given["project"], given["issuetype"])
                found |= {name: field for name in others if (field := named(fields, name))}
        known = ((found.get(name) or named(SYSTEM.values(), name), text) for name, text in others.items())
        # A name may be that of a field which says where the issue goes. Of an id and a name of one field, in an
        # organization's default and in a request, the request's comes last.
        return {
            field.id: field_json(field, text, self._document_of, self.user_key)
            for field, text in known
            if field is not None and field.id not in OWN_FIELDS
        }

    def _document_of(self, text: str) -> Any:
        return self.document(self.write(text))

    def describe(self, fields: Mapping[str, str]) -> Sequence[TrackerField]:
        """``GET /rest/api/{version}/issue/createmeta/{project}/issuetypes/{id}``."""
        self.check(fields)
        found = [each for each in self._fields(fields["project"], fields["issuetype"]) if each.id not in OWN_FIELDS]
        return [each.described() for each in sorted(found, key=lambda each: not each.required)]

    def defaults_of(self, fields: Sequence[TrackerField], defaults: Mapping[str, str]) -> Mapping[str, str]:
        """Return defaults that are given by the name of a field, too."""
        known = [JiraField(field.name, field.label, field.kind) for field in fields]
        found = ((named(known, name), text) for name, text in defaults.items() if text.strip())
        return {field.id: text for field, text in found if field is not None}

    def _fields(self, project: str, kind: str) -> Sequence[JiraField]:
        """Return the fields of a type of issue in a project.

        :raises ProviderRejected: when the project has no such type.
        """
        key = self.http.host, self.site, self.credential, project, kind, int(time.monotonic() / KEPT_SECONDS)
        fields = known_fields.get(key)
        if fields is None:
            types = ("issue", "createmeta", project, "issuetypes")
            ids = {str(row["name"]).casefold(): row["id"] for row in self._rows("issueTypes", *types)}
            number = kind if kind in ids.values() else ids.get(kind.casefold())
            if not ids:
                text = f"{self.kind} shows no type of issue of {project}; may the account create issues there?"
                raise self.error(ProviderForbidden, text)
            if number is None:
                text = f"{project} has no type of issue {kind[:80]!r}; it has {', '.join(sorted(ids))[:300]}"
                raise self.error(ProviderRejected, text, fields={"metadata.issuetype": text})
            fields = tuple(filter(None, map(read_field, self._rows("fields", *types, number))))
            known_fields.put(key, fields, memory_of(key, fields))
        return fields

    def _rows(self, name: str, *path: str) -> Iterator[Any]:
        """Yield the rows of all pages: Cloud and Data Center have other names for them."""
        start = 0
        for _ in range(MAX_PAGES):
            reply = self.http.get(self._path(*path), query={"startAt": start, "maxResults": PAGE_SIZE})
            rows = reply.json().get("values", reply.json().get(name))
            if not isinstance(rows, list):
                raise self.http.unexpected()
            yield from rows
            start += len(rows)
            total = reply.json().get("total")
            is_last = reply.json().get("isLast", True) if total is None else start >= total
            if not rows or is_last is not False:
                return

    def find(self, issue: NewIssue) -> TrackerIssue | None:
        """``GET /rest/api/{version}/search``."""
        query = f'text ~ "{issue.marker}"'
        reply = self.http.get(self._path(*self.search_path), query={"jql": query, "fields": "summary", "maxResults": 1})
        return self._issue(reply.value("issues", 0, "key", kind=str)) if reply.value("issues", kind=list) else None

    def key_of(self, text: str) -> str:
        """Take ``ABC-7``, ``https://{site}/browse/ABC-7``, and pages of projects and boards that show an issue."""
        path, key = self.path_in_site(text), text.strip()
        if path is not None:
            page, query = _PAGE.fullmatch(path), parse_qs(urlsplit(key).query)
            key = page[1] if page else next(iter(query.get("selectedIssue", ())), "")
        if _ISSUE.fullmatch(key) is None:
            raise self.invalid_key(text)
        return key.upper()

    def page_site(self) -> str:
        """Return the site; a gateway has no pages.

        :raises ProviderUnavailable: when Jira does not say what its site is.
        """
        site = self._web_site()
        if not site:
            text = f"{self.kind} does not say where its pages are; name the issue by its key"
            raise self.error(ProviderUnavailable, text)
        return site

    def read(self, key: str) -> FoundIssue:
        """``GET /rest/api/{version}/issue/{key}``, also for an issue that has another key since."""
        self.match_key(_ISSUE, key)
        self.check_project(self.project_of(key))
        issue = self._found(self.http.get(self._path("issue", key), query={"fields": SHOWN}))
        self.check_project(self.project_of(issue.key))
        return issue

    def read_many(self, keys: Sequence[str]) -> Mapping[str, FoundIssue]:
        """``GET /rest/api/{version}/search``; of Data Center also with keys that there are not."""
        self._check_keys(keys)
        parameters: dict[str, str | int] = {
            # In quotes, for a key may be a word of the language: OR-1.
            "jql": f"key in ({','.join(map(json.dumps, keys))})",
            "fields": SHOWN,
            "maxResults": len(keys),
            "validateQuery": "false",
        }
        return self._read_rows(keys, self.http.get(self._path(*self.search_path), query=parameters))

    def _check_keys(self, keys: Sequence[str]) -> None:
        for key in keys:
            self.match_key(_ISSUE, key)
        self.check_project(self.project_of(keys[0]))

    def _read_rows(self, keys: Sequence[str], reply: HttpReply) -> Mapping[str, FoundIssue]:
        """Read the issues that still have their keys."""
        found: dict[str, FoundIssue] = {}
        for index in range(len(reply.value("issues", kind=list))):
            with self.skipping():
                issue = self._found(reply, "issues", index)
                if issue.key in keys:
                    found[issue.key] = issue
        return found

    def search(self, text: str, fields: Mapping[str, str]) -> Sequence[FoundIssue]:
        """``GET /rest/api/{version}/search``, for all words of the text."""
        project = self.project_in(fields)
        # What Lucene and JQL read as operators is a space, or in small letters a word.
        parts = (word.strip(".@-") for word in re.sub(r"[^\w.@-]+", " ", text).split())
        words = " ".join(word.lower() if word in OPERATORS else word for word in parts if word)
        query = f"project = {project if project.isdecimal() else json.dumps(project)}"
        if words:
            query += f" AND text ~ {json.dumps(words, ensure_ascii=False)}"
        parameters: dict[str, str | int] = {
            "jql": f"{query} ORDER BY updated DESC",
            "fields": SHOWN,
            "maxResults": MAX_FOUND,
        }
        reply = self.http.get(self._path(*self.search_path), query=parameters)
        return [
            self._found(reply, "issues", index) for index in range(len(reply.value("issues", kind=list)[:MAX_FOUND]))
        ]

    def _found(self, reply: HttpReply, *row: str | int) -> FoundIssue:
        issue = self._issue(reply.value(*row, "key", kind=str))
        fields = reply.value(*row, "fields", kind=dict)
        status = user_name(fields.get("status"), "name")
        person = user_name(fields.get("assignee"), "displayName", "name")
        return self.found(issue.key, issue.web_url, fields["summary"], status, person)

    def comment(self, key: str, text: str) -> None:
        """``POST /rest/api/{version}/issue/{key}/comment``."""
        self.match_key(_ISSUE, key)
        self.http.request("POST", self._path("issue", key, "comment"), json={"body": self.document(self.write(text))})

    def comments(self, key: str) -> Sequence[str]:
        """``GET /rest/api/{version}/issue/{key}/comment``."""
        self.match_key(_ISSUE, key)
        query: dict[str, str | int] = {"orderBy": "-created", "maxResults": MAX_COMMENTS}
        reply = self.http.get(self._path("issue", key, "comment"), query=query)
        # A document of the Atlassian format has the texts of its nodes.
        return [json.dumps(row["body"], ensure_ascii=False) for row in reply.value("comments", kind=list)]

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
        site = self._web_site()
        return self.created(key, site and site + path_of("browse", key))

    def _web_site(self) -> str:
        """Return the address of the pages of a site; empty when Jira does not say."""
        if _GATEWAY.fullmatch(urlsplit(self.site).path) is None:
            return self.site
        site = known_sites.get(self.site)
        if site is None:
            with self.optional_lookup():
                site = self.http.get(self._path("serverInfo")).url("baseUrl").rstrip("/")
                known_sites.put(self.site, site, memory_of(self.site, site))
        return site or ""

    @classmethod
    def document(cls, text: str) -> Any:
        """Convert a text in the tracker's markup to what the API takes."""
        return text

    @classmethod
    def explain(cls, error: Any) -> Complaint:
        """Read ``{"errorMessages": [text], "errors": {field: text}}``, and of a gateway ``{"message": text}``."""
        fields = {FIELDS.get(name, f"metadata.{name}"): text for name, text in error.get("errors", {}).items()}
        general = [error[name] for name in ("message", "errorMessage") if isinstance(error.get(name), str)]
        texts = [*general, *error.get("errorMessages", ()), *(f"{name}: {text}" for name, text in fields.items())]
        return "; ".join(texts), fields


class JiraCloud(JiraDataCenter):
    """Jira Cloud, whose texts are in the Atlassian Document Format."""

    kind = "jira"
    user_key = "accountId"
    search_delay = 120
    api = "3"
    search_path = ("search", "jql")
    batch_size = 100

    def read_many(self, keys: Sequence[str]) -> Mapping[str, FoundIssue]:
        """``POST /rest/api/3/issue/bulkfetch``, which is no index: that of the search may be minutes behind."""
        self._check_keys(keys)
        wanted = {"issueIdsOrKeys": [*keys], "fields": SHOWN.split(",")}
        return self._read_rows(keys, self.http.request("POST", self._path("issue", "bulkfetch"), json=wanted))

    def write(self, text: str) -> str:
        """Leave a text as it is: nodes of text have no markup."""
        return readable(text)

    @classmethod
    def document(cls, text: str) -> Any:
        """Make a paragraph of each line: an ADF text must not be empty, a paragraph may."""
        lines = [[{"type": "text", "text": line}] if line else [] for line in text.split("\n")]
        content = [{"type": "paragraph", "content": line} for line in lines]
        return {"type": "doc", "version": 1, "content": content}
