"""GitHub and GitLab as their documentation describes them, over a real git repository."""

from __future__ import annotations

import base64
import functools
import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

from graphql import build_schema

from tests.scm.graphql import respond
from tests.scm.support import GitRepository
from tests.servers import read_body

# Of @octokit/graphql-schema, with its licence in github-graphql.LICENSE; slim_graphql.py makes it.
SCHEMA = build_schema(Path(__file__).with_name("github.graphql").read_text())

__all__ = ["Answer", "FakeGitHub", "FakeGitLab", "Host", "Provider", "Request", "running"]

Answer = tuple[int, Any, dict[str, str]]
"""Status, JSON or bytes, and headers."""


class Request(NamedTuple):
    """A request as it came."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    """By lower-case name."""
    body: bytes


@functools.cache  # a blame shows a commit for every line
def show(repository: GitRepository, sha: str) -> str:
    return repository.git("show", "--no-patch", "--format=%an%x00%ae%x00%cI%x00%P%x00%B", sha)


H = TypeVar("H", bound="Host")


class Host:
    """A server of this machine."""

    url = ""

    def respond(self, request: Request) -> Answer:
        raise NotImplementedError


class Provider(Host):
    """An HTTP API, and what was asked of it."""

    page_size = 2
    """Small, so that there are several pages."""

    def __init__(self, repository: GitRepository) -> None:
        self.repository = repository
        self.requests: list[tuple[str, str]] = []
        self.authorizations: set[str | None] = set()
        self.always: Callable[[], Answer] | None = None
        """Instead of everything else."""

    def respond(self, request: Request) -> Answer:
        query = f"?{request.query}" if request.query else ""
        self.requests.append((request.method, request.path + query))
        self.authorizations.add(request.headers.get("authorization"))
        if self.always is not None:
            return self.always()
        body = json.loads(request.body or b"null")
        return self.answer(request.method, request.path, dict(parse_qsl(request.query)), body)

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> Answer:
        raise NotImplementedError

    def git(self, *arguments: str) -> str | None:
        try:
            return self.repository.git(*arguments)
        except subprocess.CalledProcessError:
            return None

    def facts(self, sha: str) -> dict[str, Any]:
        """Of a commit."""
        name, email, date, parents, message = show(self.repository, sha).split("\0")
        return {"name": name, "email": email, "date": date, "parents": parents.split(), "message": message.rstrip("\n")}

    def changes(self, sha: str) -> list[list[str]]:
        """Letter, path, and new path of what was renamed."""
        first_parent = ("--diff-merges=first-parent", "--root", "-r", "-z", "-M", "--name-status", "--no-commit-id")
        fields = self.repository.git("diff-tree", *first_parent, sha).split("\0")[:-1]
        changes = []
        while fields:
            letter = fields.pop(0)[0]
            changes.append([letter, fields.pop(0), *([fields.pop(0)] if letter == "R" else [])])
        return changes

    def blame(self, sha: str, path: str, *options: str) -> Iterator[tuple[str, str]]:
        """The id of a commit and the text of each line."""
        shown = self.repository.git("blame", "--line-porcelain", *options, sha, "--", path)
        commit = ""
        for line in shown.split("\n"):
            if re.match(r"[0-9a-f]{40} ", line):
                commit = line[:40]
            if line.startswith("\t"):
                yield commit, line[1:]

    def page(self, items: list[Any], number: int, query: dict[str, str]) -> Answer:
        """A page with a link to the next one."""
        start = (number - 1) * self.page_size
        page = items[start : start + self.page_size]
        more = start + self.page_size < len(items)
        link = f'<{self.url}/x?page={number + 1}&page_token=t{number + 1}>; rel="next", <{self.url}>; rel="first"'
        return 200, page, {"Link": link} if more else {}


class FakeGitHub(Provider):
    """Repository ``o/r``; below `prefix` as on an Enterprise server."""

    prefix = ""
    max_tree_entries = 1000
    blame_needs_file = False

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> Answer:
        if (method, path) == ("POST", ("/api" if self.prefix else "") + "/graphql"):
            return 200, self.graphql(body["query"], body["variables"]), {}
        match = re.fullmatch(re.escape(self.prefix) + r"/repos/o/r(?:/(.*))?", path)
        if method != "GET" or match is None:
            return 404, {"message": "Not Found"}, {}
        kind, _, rest = (match[1] or "").partition("/")
        if kind == "git":
            kind, _, rest = rest.partition("/")
            return getattr(self, f"git_{kind}")(rest, query)
        return getattr(self, kind or "repository_facts")(unquote(rest), query)

    def repository_facts(self, rest: str, query: dict[str, str]) -> Answer:
        return 200, {"default_branch": "main"}, {}

    def branches(self, name: str, query: dict[str, str]) -> Answer:
        sha = self.git("rev-parse", "--verify", f"refs/heads/{name}")
        if sha is None:
            return 404, {"message": "Branch not found"}, {}
        tree = self.repository.git("rev-parse", f"{sha}^{{tree}}")
        return 200, {"name": name, "commit": {"sha": sha, "commit": {"tree": {"sha": tree}}}}, {}

    def commits(self, revision: str, query: dict[str, str]) -> Answer:
        sha = self.git("rev-parse", "--verify", f"{revision}^{{commit}}")
        if sha is None:
            return 422, {"message": f"No commit found for SHA: {revision}"}, {}
        facts = self.facts(sha)
        statuses = {"A": "added", "D": "removed", "M": "modified", "T": "changed", "R": "renamed"}
        files = [
            {
                "status": statuses[letter],
                "filename": paths[-1],
                **({"previous_filename": paths[0]} if paths[1:] else {}),
            }
            for letter, *paths in self.changes(sha)
        ]
        status, page, headers = self.page(files, int(query.get("page", 1)), query)
        author = {"name": facts["name"], "email": facts["email"], "date": facts["date"]}
        commit = {"message": facts["message"], "author": author, "committer": {"date": facts["date"]}}
        parents = [{"sha": parent} for parent in facts["parents"]]
        return status, {"sha": sha, "commit": commit, "parents": parents, "files": page}, headers

    def git_commits(self, sha: str, query: dict[str, str]) -> Answer:
        if self.git("cat-file", "-e", f"{sha}^{{commit}}") is None:
            return 404, {"message": "Not Found"}, {}
        return 200, {"sha": sha}, {}

    def git_trees(self, sha: str, query: dict[str, str]) -> Answer:
        listing = self.repository.git("ls-tree", "-z", *(["-r", "-t"] if "recursive" in query else []), sha)
        entries = []
        for line in listing.split("\0")[:-1]:
            mode, kind, rest = line.split(" ", 2)
            entry_sha, _, path = rest.partition("\t")
            entries.append({"path": path, "mode": mode, "type": kind, "sha": entry_sha})
        truncated = "recursive" in query and len(entries) > self.max_tree_entries
        return 200, {"sha": sha, "tree": entries[: self.max_tree_entries], "truncated": truncated}, {}

    def graphql(self, query: str, variables: dict[str, str]) -> Any:
        """What GitHub's schema makes of a query."""
        done = respond(SCHEMA, query, {"repository": self.find_repository}, variables)
        return {"data": done.data, **({"errors": [{"message": e.message} for e in done.errors]} if done.errors else {})}

    def find_repository(self, info: object, owner: str, name: str, **more: object) -> Any:
        return {"object": self.find_object} if (owner, name) == ("o", "r") else None

    def find_object(self, info: object, oid: str | None = None, expression: str | None = None) -> Any:
        name = oid or expression or ""
        kind = self.git("cat-file", "-t", name)
        if kind is None:
            return None
        text = self.repository.git("show", name) + "\n" if kind == "blob" else None
        return {
            "__typename": kind.title(), "oid": self.git("rev-parse", name), "text": text, "isTruncated": False,
            "blame": lambda info, path: {"ranges": self.ranges(name, path)},
        }  # fmt: skip

    def ranges(self, sha: str, path: str) -> list[Any]:
        if self.git("cat-file", "-t", f"{sha}:{path}") != "blob":
            if self.blame_needs_file:
                raise ValueError("no such file")
            return []
        ranges: list[Any] = []
        for number, (commit, _) in enumerate(self.blame(sha, path), 1):
            facts = self.facts(commit)
            author = {"name": facts["name"], "email": facts["email"]}
            shown = {"oid": commit, "author": author, "committedDate": facts["date"]}
            shown["messageHeadline"] = facts["message"].partition("\n")[0]
            part = {"startingLine": number, "endingLine": number, "commit": shown}
            if ranges and ranges[-1]["commit"] == part["commit"]:
                ranges[-1]["endingLine"] = number
            else:
                ranges.append(part)
        return ranges


class FakeGitLab(Provider):
    """Project 7, which is ``g/p``."""

    page_size = 100

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> Answer:
        match = re.fullmatch(r"/api/v4/projects/(?:7|g%2Fp)(?:/repository/(.*))?", path)
        if match is None:
            return 404, {"message": "404 Project Not Found"}, {}
        kind, _, rest = (match[1] or "").partition("/")
        return getattr(self, kind or "project")(rest, query)

    def project(self, rest: str, query: dict[str, str]) -> Answer:
        return 200, {"id": 7, "default_branch": "main" if self.git("rev-parse", "--verify", "main") else None}, {}

    def branches(self, name: str, query: dict[str, str]) -> Answer:
        sha = self.git("rev-parse", "--verify", f"refs/heads/{unquote(name)}")
        if sha is None:
            return 404, {"message": "404 Branch Not Found"}, {}
        return 200, {"name": unquote(name), "commit": {"id": sha}}, {}

    def commits(self, rest: str, query: dict[str, str]) -> Answer:
        revision, _, diff = rest.partition("/")
        sha = self.git("rev-parse", "--verify", f"{revision}^{{commit}}")
        if sha is None:
            return 404, {"message": "404 Commit Not Found"}, {}
        if diff:
            size, number = int(query["per_page"]), int(query["page"])
            changes = [
                {
                    "old_path": paths[0], "new_path": paths[-1], "new_file": letter == "A",
                    "renamed_file": letter == "R", "deleted_file": letter == "D",
                }
                for letter, *paths in self.changes(sha)
            ]  # fmt: skip
            return 200, changes[(number - 1) * size : number * size], {}
        return 200, {"id": sha, "parent_ids": self.facts(sha)["parents"], **self.commit_facts(sha)}, {}

    def commit_facts(self, sha: str) -> dict[str, Any]:
        facts = self.facts(sha)
        names = {"author_name": facts["name"], "author_email": facts["email"]}
        return {"id": sha, "committed_date": facts["date"], "message": facts["message"] + "\n", **names}

    def tree(self, rest: str, query: dict[str, str]) -> Answer:
        listing = self.repository.git("ls-tree", "-z", "-r", "-t", query["ref"]).split("\0")[:-1]
        entries = [{"type": line.split(" ")[1], "path": line.partition("\t")[2]} for line in listing]
        self.page_size = 3
        return self.page(entries, int(query.get("page_token", "t1")[1:]), query)

    def files(self, rest: str, query: dict[str, str]) -> Answer:
        path = unquote(rest.removesuffix("/blame"))
        if self.git("cat-file", "-t", f"{query['ref']}:{path}") != "blob":
            return 404, {"message": "404 File Not Found"}, {}
        if not rest.endswith("/blame"):
            content = self.repository.git("cat-file", "blob", f"{query['ref']}:{path}").encode()
            return 200, {"encoding": "base64", "content": base64.b64encode(content).decode()}, {}
        start, end = query["range[start]"], query["range[end]"]
        if self.git("blame", "-L", f"{start},{end}", query["ref"], "--", path) is None:
            return 400, {"message": "400 Bad request - range[start] is past the end"}, {}
        parts: list[dict[str, Any]] = []
        for sha, text in self.blame(query["ref"], path, "-L", f"{start},{end}"):
            if parts and parts[-1]["commit"]["id"] == sha:
                parts[-1]["lines"].append(text)
            else:
                parts.append({"commit": self.commit_facts(sha), "lines": [text]})
        return 200, parts, {}


@contextmanager
def running(provider: H, address: str = "127.0.0.1") -> Iterator[H]:
    """Serve a host on this machine."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            url = urlsplit(self.path)
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, answer, headers = provider.respond(
                Request(self.command, url.path, url.query, headers, read_body(self))
            )
            data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(data))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        do_POST = do_HEAD = do_GET  # noqa: N815  # the names that http.server asks for

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            """Say nothing of clients that are killed."""
            if not isinstance(sys.exc_info()[1], ConnectionError):
                super().handle_error(request, client_address)  # type: ignore[arg-type]

    server = Server((address, 0), Handler)
    provider.url = f"http://{address}:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
