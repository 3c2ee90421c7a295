"""Issues at a Roundup tracker of the classic template.

https://www.roundup-tracker.org/docs/rest.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from flask_grpcweb_scm.scm.providers import Credential, ProviderMisconfigured
from flask_grpcweb_scm.scm.providers.api import path_of
from flask_grpcweb_scm.scm.providers.reply import Complaint, HttpReply
from flask_grpcweb_scm.scm.trackers.issues import (
    MAX_FOUND,
    FoundIssue,
    NewIssue,
    TrackerField,
    TrackerIssue,
    is_number,
    user_name,
)
from flask_grpcweb_scm.scm.trackers.tracker import MAX_COMMENTS, Tracker

__all__ = ["Roundup"]

DATA = ("rest", "data")


class Roundup(Tracker):
    """Takes the fields ``priority``, ``status`` and ``assignedto``, by name or id.

    A description is a message, which is created before the issue that it is the first one of. The message id carries
    the marker.
    """

    kind = "roundup"
    batch_size = 50
    fields = (
        TrackerField("assignedto", "Assigned to", "user"),
        TrackerField("priority", "Priority", "string"),
        TrackerField("status", "Status", "string"),
    )

    def create(self, issue: NewIssue) -> TrackerIssue:
        """``POST /rest/data/issue``."""
        message = self._find_message(issue) or self._write(self.body(issue), messageid=issue.marker)
        fields = {name: issue.fields[name] for name in ("priority", "status", "assignedto") if issue.fields.get(name)}
        return self._issue(self._create("issue", title=self.title(issue), messages=[message], **fields))

    def find(self, issue: NewIssue) -> TrackerIssue | None:
        """``GET /rest/data/issue`` by message, ``GET /rest/data/msg`` by message id."""
        message = self._find_message(issue)
        found = None if message is None else self._first("issue", messages=message)
        return None if found is None else self._issue(found)

    def key_of(self, text: str) -> str:
        """Take ``issue7`` and ``{base_url}/issue7``."""
        path = self.path_in_site(text)
        key = text.strip() if path is None else path
        return f"issue{self._number(key)}"

    def read(self, key: str) -> FoundIssue:
        """``GET /rest/data/issue/{id}``, with the names of what it links to."""
        reply = self.http.get(path_of(*DATA, "issue", self._number(key)), query={"@verbose": 2})
        return self._found(reply.value("data", "id", kind=str), reply.value("data", "attributes", kind=dict))

    def read_many(self, keys: Sequence[str]) -> Mapping[str, FoundIssue]:
        """``GET /rest/data/issue`` by id."""
        numbers = {self._number(key): key for key in keys}
        query: dict[str, str | int | Sequence[str]] = {
            "id": [*numbers],
            "@fields": "title,status,assignedto",
            "@verbose": 2,
        }
        reply = self.http.get(path_of(*DATA, "issue"), query=query)
        found: dict[str, FoundIssue] = {}
        for index, row in enumerate(reply.value("data", "collection", kind=list)):
            with self.skipping():
                number = self._id(reply, "data", "collection", index, "id")
                found[numbers[number]] = self._found(number, row)
        return found

    def search(self, text: str, fields: Mapping[str, str]) -> Sequence[FoundIssue]:
        """``GET /rest/data/issue`` by words of the title."""
        query: dict[str, str | int] = {"title": text, "@fields": "title,status,assignedto", "@verbose": 2}
        reply = self.http.get(path_of(*DATA, "issue"), query={**query, "@page_size": MAX_FOUND})
        rows = reply.value("data", "collection", kind=list)
        return [
            self._found(self._id(reply, "data", "collection", i, "id"), row) for i, row in enumerate(rows[:MAX_FOUND])
        ]

    def _found(self, number: str, row: Mapping[str, Any]) -> FoundIssue:
        issue = self._issue(number)
        status, person = user_name(row.get("status"), "name"), user_name(row.get("assignedto"), "username")
        return self.found(issue.key, issue.web_url, row["title"], status, person)

    def _number(self, key: str) -> str:
        number = key.removeprefix("issue")
        if number == key or not is_number(number):
            raise self.invalid_key(key)
        return number

    def comment(self, key: str, text: str) -> None:
        """``PATCH /rest/data/issue/{id}``, unless another change gets in the way."""
        path = path_of(*DATA, "issue", self._number(key))
        version = self.http.get(path).value("data", "@etag", kind=str)
        message = self._write(self.write(text))
        self.http.request("PATCH", path, json={"@op": "add", "@etag": version, "messages": [message]})

    def comments(self, key: str) -> Sequence[str]:
        """``GET /rest/data/issue/{id}``, then ``GET /rest/data/msg``, of which the summary is the first line."""
        reply = self.http.get(path_of(*DATA, "issue", self._number(key)))
        count = len(reply.value("data", "attributes", "messages", kind=list))
        ids = [self._id(reply, "data", "attributes", "messages", index, "id") for index in range(count)]
        if not ids:
            return []
        query = {"id": ids[-MAX_COMMENTS:], "@fields": "summary"}
        rows = self.http.get(path_of(*DATA, "msg"), query=query).value("data", "collection", kind=list)
        return [str(row["summary"]) for row in rows]

    def _find_message(self, issue: NewIssue) -> str | None:
        return self._first("msg", messageid=issue.marker)

    def _write(self, text: str, **properties: str) -> str:
        """Create a message; unlike the tracker's pages its API fills in neither author nor date."""
        return self._create("msg", content=text, author=self.credential.user, date=".", **properties)

    def _create(self, kind: str, **properties: Any) -> str:
        return self._id(self.http.request("POST", path_of(*DATA, kind), json=properties), "data", "id")

    def _first(self, kind: str, **properties: str) -> str | None:
        reply = self.http.get(path_of(*DATA, kind), query=properties)
        found = reply.value("data", "collection", kind=list)
        return self._id(reply, "data", "collection", 0, "id") if found else None

    def _id(self, reply: HttpReply, *path: str | int) -> str:
        number = reply.value(*path, kind=str)
        if re.fullmatch(r"[0-9]{1,18}", number, re.ASCII) is None:
            raise self.http.unexpected()
        return number

    def _issue(self, number: str) -> TrackerIssue:
        return self.created(f"issue{number}", f"{self.site}/issue{number}")

    def headers(self) -> Mapping[str, str]:
        """Return headers that prove that the request is not made by a page of another site."""
        origin = "/".join(self.site.split("/", 3)[:3])
        return {"x-requested-with": "rest", "origin": origin}

    @classmethod
    def authorization(cls, credential: Credential) -> str:
        """Require a user, whom messages name as their author."""
        if not credential.user:
            raise ProviderMisconfigured("roundup needs credentials with user and password", provider=cls.kind)
        return credential.authorization()

    @classmethod
    def explain(cls, error: Any) -> Complaint:
        """Read ``{"error": {"status": number, "msg": text}}``."""
        return str(error["error"]["msg"]), {}
