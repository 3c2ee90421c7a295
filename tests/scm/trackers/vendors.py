"""Stand-ins for the vendors of trackers, whose issues have a state, and which can be told to fail at any request."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar
from urllib.parse import parse_qs, unquote, urlsplit

from tests.client.scripted import Peer, http, serve
from tests.scm.trackers.github_server import Fault, answer

Reply = tuple[int, Any]
NOT_FOUND: Reply = 404, {"message": "Not Found"}


@dataclass
class Issue:
    """An issue at a vendor."""

    number: int
    title: str
    status: str = ""
    assignee: str = ""
    refused: int = 0
    """Status of all requests about it; 0 for a success."""
    moved_to: str = ""
    """Where the vendor finds it, in place of where it was."""
    comments: list[str] = field(default_factory=list)


class VendorServer:
    """A tracker that keeps issues."""

    kind: ClassVar[str]
    path: ClassVar[str] = ""
    config: ClassVar[dict[str, str]]
    opened: ClassVar[str]
    """Status of a new issue."""

    def __init__(self) -> None:
        self.url = ""
        self.issues: dict[int, Issue] = {}
        self.asked: list[str] = []
        self.faults: list[Fault] = []
        """Of the next requests, one each."""
        self.can_batch = True

    def add(self, number: int, title: str = "Bug", **values: Any) -> Issue:
        self.issues[number] = Issue(number, title, **{"status": self.opened, **values})
        return self.issues[number]

    def key(self, number: int) -> str:
        """The key of one of its issues, here."""
        raise NotImplementedError

    @property
    def host(self) -> str:
        return self.url.removeprefix("http://")

    @property
    def base_url(self) -> str:
        return self.url + self.path

    def script(self, peer: Peer) -> None:
        self.asked.append(peer.target.rpartition(" ")[0])
        fault = self.faults.pop(0) if self.faults else answer
        fault(peer, lambda: self.act(peer))

    def act(self, peer: Peer) -> bytes:
        method, target, _ = peer.target.split(" ")
        parts = urlsplit(target)
        place = unquote(parts.path).removeprefix(self.path)
        status, content = self.respond(method, place, parse_qs(parts.query), json.loads(peer.body or b"null"))
        return http(json.dumps(content).encode(), status=f"{status} X", content_type="application/json")

    def respond(self, method: str, path: str, query: dict[str, list[str]], sent: Any) -> Reply:
        if self.is_batch(method, path, query):
            return self.batch(query, sent) if self.can_batch else (400, {"message": "no such thing"})
        match = re.search(r"[/-]([0-9]+)(/comments?|/notes|/updates)?$", path)
        if match is None or "createmeta" in path:
            return self.other(method, path, query, sent)
        issue = self.issues.get(int(match[1]))
        if issue is None:
            return NOT_FOUND
        if issue.refused:
            return issue.refused, {"message": "refused"}
        if method != "GET":
            issue.comments.append(json.dumps(sent))
            return 201, {"id": 1}
        return 200, self.comments(issue) if match[2] else self.shown(issue)

    def is_batch(self, method: str, path: str, query: dict[str, list[str]]) -> bool:
        raise NotImplementedError

    def batch(self, query: dict[str, list[str]], sent: Any) -> Reply:
        raise NotImplementedError

    def other(self, method: str, path: str, query: dict[str, list[str]], sent: Any) -> Reply:
        return NOT_FOUND

    def shown(self, issue: Issue) -> Any:
        raise NotImplementedError

    def comments(self, issue: Issue) -> Any:
        raise NotImplementedError

    def there(self, numbers: Any) -> list[Issue]:
        """Those of some issues that a request for many shows."""
        issues = [self.issues[int(number)] for number in numbers if int(number) in self.issues]
        return [issue for issue in issues if not issue.refused]


class GitHubVendor(VendorServer):
    kind = "github"
    config: ClassVar = {"repo": "o/r"}
    opened = "open"

    def key(self, number: int) -> str:
        return f"o/r#{number}"

    def is_batch(self, method: str, path: str, query: dict[str, list[str]]) -> bool:
        return path.endswith("/graphql")

    def batch(self, query: dict[str, list[str]], sent: Any) -> Reply:
        numbers = re.findall(r"issue\(number: ([0-9]+)\)", sent["query"])
        there = {issue.number: issue for issue in self.there(numbers) if not issue.moved_to}
        rows: dict[str, Any] = {f"i{number}": None for number in numbers}
        for number, issue in there.items():
            is_open = issue.status == "open"
            rows[f"i{number}"] = {
                "number": number, "title": issue.title, "url": f"https://github.example/o/r/issues/{number}",
                "state": "OPEN" if is_open else "CLOSED",
                "stateReason": None if is_open else issue.status.upper(),
                "assignees": {"nodes": [{"login": issue.assignee}] if issue.assignee else []},
            }  # fmt: skip
        errors = [{"type": "NOT_FOUND", "path": ["repository", name]} for name, row in rows.items() if row is None]
        return 200, {"data": {"repository": {"nameWithOwner": "o/r", **rows}}, "errors": errors}

    def other(self, method: str, path: str, query: dict[str, list[str]], sent: Any) -> Reply:
        if method == "POST":
            issue = self.add(len(self.issues) + 1, sent["title"])
            return 201, self.shown(issue)
        if path == "/search/issues":
            return 200, {"items": [self.shown(issue) for issue in self.issues.values()]}
        return 200, [self.shown(issue) for issue in self.issues.values()]

    def shown(self, issue: Issue) -> Any:
        repository, _, number = (issue.moved_to or self.key(issue.number)).partition("#")
        return {
            "number": int(number), "title": issue.title,
            "html_url": f"https://github.example/{repository}/issues/{number}",
            "repository_url": f"https://api.github.example/repos/{repository}",
            "state": "open" if issue.status == "open" else "closed",
            "state_reason": None if issue.status == "open" else issue.status,
            "assignee": {"login": issue.assignee} if issue.assignee else None,
        }  # fmt: skip

    def comments(self, issue: Issue) -> Any:
        return [{"body": json.loads(text)["body"]} for text in issue.comments]


class GitHubEnterpriseVendor(GitHubVendor):
    kind = "github_enterprise"

    def respond(self, method: str, path: str, query: dict[str, list[str]], sent: Any) -> Reply:
        if not path.startswith("/api/v3/") and path != "/api/graphql":
            return NOT_FOUND
        return super().respond(method, path.removeprefix("/api/v3"), query, sent)


class GitLabVendor(VendorServer):
    kind = "gitlab"
    config: ClassVar = {"project": "g/p"}
    opened = "opened"

    def key(self, number: int) -> str:
        return f"{self.host}:g/p#{number}"

    def is_batch(self, method: str, path: str, query: dict[str, list[str]]) -> bool:
        return path == "/api/v4/projects/g/p/issues" and "iids[]" in query

    def batch(self, query: dict[str, list[str]], sent: Any) -> Reply:
        return 200, [self.shown(issue) for issue in self.there(query["iids[]"]) if not issue.moved_to]

    def other(self, method: str, path: str, query: dict[str, list[str]], sent: Any) -> Reply:
        return 200, [self.shown(issue) for issue in self.issues.values()]

    def shown(self, issue: Issue) -> Any:
        place = issue.moved_to or self.key(issue.number)
        project, _, number = place.rpartition(":")[2].partition("#")
        return {
            "iid": int(number), "title": issue.title, "state": issue.status,
            "web_url": f"https://gitlab.example/{project}/-/issues/{number}",
            "references": {"full": f"{project}#{number}"}, "moved_to_id": None,
            "assignee": {"username": issue.assignee} if issue.assignee else None,
        }  # fmt: skip

    def comments(self, issue: Issue) -> Any:
        return [{"body": json.loads(text)["body"]} for text in reversed(issue.comments)]


class JiraVendor(VendorServer):
    kind = "jira_server"
    path = "/jira"
    config: ClassVar = {"project": "ABC", "issuetype": "Bug"}
    opened = "To Do"
    search_path: ClassVar[str] = "/rest/api/2/search"

    def key(self, number: int) -> str:
        return f"ABC-{number}"

    def is_batch(self, method: str, path: str, query: dict[str, list[str]]) -> bool:
        return path == self.search_path and query["jql"][0].startswith("key in")

    def batch(self, query: dict[str, list[str]], sent: Any) -> Reply:
        keys = re.findall(r"ABC-([0-9]+)", query["jql"][0])
        if len(self.there(keys)) < len(keys) and query.get("validateQuery") != ["false"]:
            return 400, {"errorMessages": ["An issue with that key does not exist for field 'key'."]}
        return 200, {"issues": [self.shown(issue) for issue in self.there(keys)]}

    def other(self, method: str, path: str, query: dict[str, list[str]], sent: Any) -> Reply:
        if "createmeta" in path:
            return 200, {"values": [{"id": "1", "name": "Bug"}]}
        return 200, {"issues": [self.shown(issue) for issue in self.issues.values()]}

    def shown(self, issue: Issue) -> Any:
        fields = {
            "summary": issue.title,
            "status": {"name": issue.status},
            "assignee": {"displayName": issue.assignee} if issue.assignee else None,
        }
        return {"key": issue.moved_to or self.key(issue.number), "fields": fields}

    def comments(self, issue: Issue) -> Any:
        return {"comments": [{"body": json.loads(text)["body"]} for text in reversed(issue.comments)]}


class JiraCloudVendor(JiraVendor):
    kind = "jira"
    path = ""

    def is_batch(self, method: str, path: str, query: dict[str, list[str]]) -> bool:
        return path == "/rest/api/3/issue/bulkfetch"

    def batch(self, query: dict[str, list[str]], sent: Any) -> Reply:
        there = self.there(key.partition("-")[2] for key in sent["issueIdsOrKeys"])
        return 200, {"issues": [self.shown(issue) for issue in there], "issueErrors": []}


class AzureVendor(VendorServer):
    kind = "vsts"
    path = "/acme"
    config: ClassVar = {"project": "Pier"}
    opened = "New"

    def key(self, number: int) -> str:
        return str(number)

    def is_batch(self, method: str, path: str, query: dict[str, list[str]]) -> bool:
        return path == "/_apis/wit/workitemsbatch"

    def batch(self, query: dict[str, list[str]], sent: Any) -> Reply:
        there = {issue.number: self.shown(issue) for issue in self.there(sent["ids"])}
        return 200, {"value": [there.get(number) for number in sent["ids"]]}

    def other(self, method: str, path: str, query: dict[str, list[str]], sent: Any) -> Reply:
        if path.endswith("/fields"):
            return 200, {"value": [{"referenceName": "Custom.Severity", "name": "Severity", "alwaysRequired": True}]}
        if path.endswith("/wiql"):
            return 200, {"workItems": [{"id": number} for number in self.issues]}
        return 200, {"value": [self.shown(issue) for issue in self.issues.values()]}

    def shown(self, issue: Issue) -> Any:
        fields = {
            "System.Title": issue.title,
            "System.State": issue.status,
            "System.TeamProject": issue.moved_to or "Pier",
            **({"System.AssignedTo": {"displayName": issue.assignee}} if issue.assignee else {}),
        }
        return {"id": issue.number, "fields": fields}

    def comments(self, issue: Issue) -> Any:
        texts = [json.loads(text)[0]["value"] for text in issue.comments]
        return {"value": [{"fields": {"System.History": {"newValue": text}}} for text in texts]}


VENDORS: dict[str, type[VendorServer]] = {
    vendor.kind: vendor
    for vendor in (GitHubVendor, GitHubEnterpriseVendor, GitLabVendor, AzureVendor, JiraCloudVendor, JiraVendor)
}


@contextlib.contextmanager
def serve_vendor(kind: str) -> Iterator[VendorServer]:
    vendor = VENDORS[kind]()
    with serve(vendor.script) as server:
        vendor.url = server.url
        yield vendor


def respond_with(status: str, *headers: str, body: bytes = b'{"message": "no"}') -> Fault:
    """A fault: another response."""

    def fault(peer: Peer, act: Callable[[], bytes]) -> None:
        peer.send(http(body, *headers, status=status, content_type="application/json"))

    return fault
