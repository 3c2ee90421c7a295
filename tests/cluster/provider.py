"""The provider of a cluster: a GitHub Enterprise server, with its repositories, git, contents, blame and issues."""

from __future__ import annotations

import json
import re
import threading
from collections import Counter
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from tests.scm.sources.providers import Answer, FakeGitHub, Request
from tests.scm.support import GitRepository
from tests.scm.sync.hosts import GitHubHost
from tests.scm.sync.syncing import extend

__all__ = ["Provider"]

Issue = dict[str, Any]


class Provider(GitHubHost):
    """Of the repositories acme/r1, acme/r2 and so on."""

    def __init__(self) -> None:
        super().__init__(prefix="/api/v3")
        self.contents: dict[str, FakeGitHub] = {}
        self._issues: dict[str, list[Issue]] = {}
        self._lock = threading.Lock()

    def add_repository(self, number: int, path: Path, commits: int) -> None:
        repository = GitRepository(path)
        extend(path, 1, commits, seed=str(number))
        self.add(number, f"acme/r{number}", path / ".git")
        self.contents[f"r{number}"] = contents = FakeGitHub(repository)
        contents.prefix = self.prefix
        self._issues[f"r{number}"] = []

    def titles(self) -> Counter[str]:
        """The titles of all issues, and how many have each."""
        with self._lock:
            return Counter(issue["title"] for issues in self._issues.values() for issue in issues)

    def respond(self, request: Request) -> Answer:
        if request.path != "/api/graphql":
            return super().respond(request)
        body = json.loads(request.body)
        name = body["variables"]["name"]
        if numbers := re.findall(r"issue\(number: ([0-9]+)\)", body["query"]):
            rows = {f"i{number}": self._queried(self._issues[name][int(number) - 1]) for number in numbers}
            return 200, {"data": {"repository": {"nameWithOwner": f"acme/{name}", **rows}}}, {}
        variables = {**body["variables"], "owner": "o", "name": "r"}
        return 200, self.contents[name].graphql(body["query"], variables), {}

    def api(self, request: Request, query: dict[str, str]) -> Answer:
        match = re.fullmatch(rf"({self.prefix}/repos)/acme/(r[0-9]+)(/.*)?", request.path)
        if match is None:
            return super().api(request, query)
        _, name, rest = match.groups("")
        if re.fullmatch("/issues(/[0-9]+)?", rest):
            return self._about_issues(request, name, rest.removeprefix("/issues").removeprefix("/"), query)
        return self.contents[name].answer(request.method, f"{match[1]}/o/r{rest}", query, None)

    # Issues

    def _about_issues(self, request: Request, name: str, number: str, query: dict[str, str]) -> Answer:
        with self._lock:
            issues = self._issues[name]
            if request.method == "POST":
                issues.append(self._new_issue(name, len(issues) + 1, json.loads(request.body)))
                return 201, issues[-1], {}
            if number:
                return 200, issues[int(number) - 1], {}
            since = [issue for issue in issues if issue["updated_at"] >= query["since"]]
        page, headers = self.paged(since[::-1], query, request.path)
        return 200, page, headers

    def _new_issue(self, name: str, number: int, sent: Issue) -> Issue:
        place = f"acme/{name}"
        return {
            "number": number,
            "title": sent["title"],
            "body": sent["body"],
            "state": "open",
            "state_reason": None,
            "html_url": f"{self.url}/{place}/issues/{number}",
            "repository_url": f"{self.url}{self.prefix}/repos/{place}",
            "assignee": None,
            "updated_at": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }

    @staticmethod
    def _queried(issue: Issue) -> Issue:
        row = {"number": issue["number"], "title": issue["title"], "url": issue["html_url"]}
        return {**row, "state": "OPEN", "stateReason": None, "assignees": {"nodes": []}}
