"""GitHub and GitLab with many repositories: their APIs, which refuse what the vendors refuse, and git over HTTP."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.scm.sources.providers import Answer, Host, Request

__all__ = ["APP_ID", "KEY", "GitHubHost", "GitLabHost", "Hosted", "VendorHost", "pem"]

TOKEN = "s3cret-t0ken"
APP_ID = "1234"
WHEN = "2026-01-02T03:04:05Z"
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
LONGEST_JWT = 600


def pem(key: rsa.RSAPrivateKey = KEY) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()


@dataclass
class Hosted:
    """A repository at a host."""

    id: int
    name: str
    """With its owner."""
    path: Path | None = None
    """Of its git directory."""
    archived: bool = False
    private: bool = False
    branch: str = "main"
    sees: set[str] = field(default_factory=lambda: {"token", "app"})
    """Who sees it when it is private, and what the installation of an app has."""

    @property
    def owner(self) -> str:
        return self.name.rpartition("/")[0]


class VendorHost(Host):
    """What both vendors do."""

    realm = ""

    def __init__(self, default: Path | None = None) -> None:
        self.default = default
        """The git directory of repositories that have none of their own."""
        self.repositories: dict[int, Hosted] = {}
        self.requests: list[Request] = []
        self.answers: list[tuple[Request, Answer]] = []
        """Of the API, to what it has not refused."""
        self.refusals: list[str] = []
        """The rules that clients have broken."""
        self.tokens: dict[str, str] = {TOKEN: "token"}
        """Who they are of."""
        self.faults: list[Callable[[Request], Answer | None]] = []
        """Of the next requests to the API, one each; None for no fault."""
        self.max_page = 100

    def add(self, number: int, name: str, path: Path | None = None, **facts: Any) -> Hosted:
        self.repositories[number] = Hosted(number, name, path or self.default, **facts)
        return self.repositories[number]

    def respond(self, request: Request) -> Answer:
        self.requests.append(request)
        if re.search(r"\.git(?:/|$)", request.path):
            return self.git(request)
        fault = self.faults.pop(0) if self.faults else None
        failed = fault(request) if fault is not None else None
        if failed is not None:
            return failed
        refused = self.refuse(request)
        if refused is not None:
            self.refusals.append(refused[0])
            return refused[1]
        answer = self.validated(request, self.api(request, dict(parse_qsl(request.query))))
        self.answers.append((request, answer))
        return answer

    def refuse(self, request: Request) -> tuple[str, Answer] | None:
        raise NotImplementedError

    def api(self, request: Request, query: dict[str, str]) -> Answer:
        raise NotImplementedError

    @staticmethod
    def validated(request: Request, answer: Answer) -> Answer:
        """Give a validator to a response, and none of the response to who has it."""
        status, body, headers = answer
        if request.method != "GET" or status != 200:
            return answer
        etag = f'W/"{hashlib.sha256(json.dumps(body).encode()).hexdigest()}"'
        if request.headers.get("if-none-match") == etag:
            return 304, b"", {"ETag": etag}
        return status, body, {**headers, "ETag": etag}

    def paged(self, items: list[Any], query: dict[str, str], path: str) -> tuple[list[Any], dict[str, str]]:
        size, number = min(int(query.get("per_page", 30)), self.max_page), int(query.get("page", 1))
        page, rest = items[(number - 1) * size : number * size], items[number * size :]
        link = f'<{self.url}{path}?per_page={size}&page={number + 1}>; rel="next"'
        return page, {"Link": link} if rest else {}

    def seen_by(self, who: str) -> list[Hosted]:
        return [
            row for _, row in sorted(self.repositories.items()) if who in row.sees or (who != "app" and not row.private)
        ]

    # git over HTTP

    def git(self, request: Request) -> Answer:
        match = re.fullmatch(r"/(?P<name>.+?)\.git(?P<rest>/.*)", unquote(request.path))
        found = [row for row in self.repositories.values() if match and row.name.lower() == match["name"].lower()]
        scheme, _, value = request.headers.get("authorization", "").partition(" ")
        who = self.tokens.get(base64.b64decode(value).decode().partition(":")[2], "") if scheme == "Basic" else ""
        if scheme and not who:
            return 401, b"bad credentials", {"WWW-Authenticate": f'Basic realm="{self.realm}"'}
        if match is None or not found or found[0].path is None or (found[0].private and who not in found[0].sees):
            # Nobody is told that there is a private repository.
            return (404, b"not found", {}) if who else (401, b"", {"WWW-Authenticate": f'Basic realm="{self.realm}"'})
        return self.http_backend(request, found[0].path, match["rest"])

    @staticmethod
    def http_backend(request: Request, git_dir: Path, rest: str) -> Answer:
        environment = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(git_dir),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": "*",
            "PATH_INFO": rest,
            "QUERY_STRING": request.query,
            "REQUEST_METHOD": request.method,
            "CONTENT_TYPE": request.headers.get("content-type", ""),
            "CONTENT_LENGTH": str(len(request.body)),
            "HTTP_CONTENT_ENCODING": request.headers.get("content-encoding", ""),
            "GIT_PROTOCOL": request.headers.get("git-protocol", ""),
        }
        files = [(file.path, *_identity(file)) for file in _files(git_dir)]
        head, _, body = _http_backend(tuple(environment.items()), request.body, tuple(files)).partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if line)
        return int(headers.pop("Status", "200 OK").split(" ")[0]), body, headers


def _files(folder: str | Path) -> Iterator[os.DirEntry[str]]:
    for entry in os.scandir(folder):
        yield entry
        if entry.is_dir(follow_symlinks=False):
            yield from _files(entry.path)


def _identity(file: os.DirEntry[str]) -> tuple[int, ...]:
    found = file.stat(follow_symlinks=False)
    return found.st_ino, found.st_size, found.st_mtime_ns


@functools.lru_cache(100)
def _http_backend(environment: tuple[tuple[str, str], ...], body: bytes, files: object) -> bytes:
    """Run git, whose response to a request is the same as long as the files of the repository are."""
    command = ["git", "http-backend"]
    return subprocess.run(command, input=body, capture_output=True, env=dict(environment), timeout=60).stdout


def forbidden(message: str, status: int = 403, **headers: str) -> Answer:
    return status, {"message": message, "documentation_url": "https://docs.github.com/rest"}, headers


class GitHubHost(VendorHost):
    """GitHub: its REST API at the top of the host, or below ``/api/v3``, as on an Enterprise server."""

    realm = "GitHub"
    login = "bot"
    """Who the token is of."""
    organizations = ("acme",)

    def __init__(self, prefix: str = "", default: Path | None = None) -> None:
        super().__init__(default)
        self.prefix = prefix
        self.installations = {"77"}
        self.token_seconds = 3600
        self.made: list[str] = []
        """Tokens of installations."""

    def revoke(self) -> None:
        """End the tokens of installations before their time."""
        for token in self.made:
            self.tokens.pop(token, None)

    # https://docs.github.com/en/rest/using-the-rest-api/getting-started-with-the-rest-api,
    # …/authenticating-as-a-github-app/generating-a-json-web-token-jwt-for-a-github-app
    def refuse(self, request: Request) -> tuple[str, Answer] | None:
        headers, query = request.headers, dict(parse_qsl(request.query))
        if not headers.get("user-agent"):
            text = "Request forbidden by administrative rules. Please make sure your request has a User-Agent header"
            return "user agent", (403, text.encode(), {"Content-Type": "text/html"})
        if headers.get("accept") not in {"application/vnd.github+json", "application/json"}:
            return "media type", forbidden("Unsupported 'Accept' header. Must accept 'application/json'.", 415)
        if headers.get("x-github-api-version", "2022-11-28") != "2022-11-28":
            return "version", forbidden("Invalid API version", 400)
        if not 1 <= int(query.get("per_page", 30)) <= 100:
            return "page size", forbidden("per_page must be from 1 to 100", 422)
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() not in {"bearer", "token"}:
            return "no token", forbidden("Requires authentication", 401)
        if request.path.startswith(f"{self.prefix}/app/"):
            problem = self.jwt_problem(token)
            return ("jwt", forbidden(problem, 401)) if problem else None
        if token not in self.tokens:
            return "bad token", forbidden("Bad credentials", 401)
        is_app = self.tokens[token] == "app"
        if is_app != request.path.startswith(f"{self.prefix}/installation/") and not request.path.startswith("/users/"):
            return "integration", forbidden("Resource not accessible by integration")
        return None

    @staticmethod
    def jwt_problem(token: str) -> str:
        try:
            options: Any = {"verify_exp": False, "verify_iat": False}
            claims = jwt.decode(token, KEY.public_key(), algorithms=["RS256"], options=options)
        except jwt.PyJWTError:
            return "A JSON web token could not be decoded"
        now = time.time()
        if claims.get("iss") != APP_ID:
            return "Integration not found"
        if not isinstance(claims.get("iat"), int) or claims["iat"] > now:
            return "'Issued at' claim ('iat') must be an Integer representing the time that the assertion was issued"
        if not isinstance(claims.get("exp"), int) or claims["exp"] < now:
            return "'Expiration time' claim ('exp') must be a numeric value representing the future time"
        if claims["exp"] > now + LONGEST_JWT:
            return "'Expiration time' claim ('exp') is too far in the future"
        return ""

    def api(self, request: Request, query: dict[str, str]) -> Answer:
        path = unquote(request.path.removeprefix(self.prefix))
        if match := re.fullmatch(r"/app/installations/([0-9]+)/access_tokens", path):
            return self.make_token(match[1]) if request.method == "POST" else forbidden("Not Found", 404)
        if request.method != "GET":
            return forbidden("Not Found", 404)
        if path == "/installation/repositories":
            seen = self.seen_by("app")
            page, headers = self.paged(seen, query, request.path)
            return 200, {"total_count": len(seen), "repositories": [*map(self.row, page)]}, headers
        if path == "/user":
            return 200, self.user(self.login), {}
        if match := re.fullmatch(r"/users/([^/]+)", path):
            return 200, self.user(match[1]), {}
        match = re.fullmatch(r"/(?:orgs|users)/([^/]+)/repos", path)
        if path == "/user/repos":
            mine = self.seen_by("token")
            if query.get("affiliation") == "owner":
                mine = [row for row in mine if row.owner == self.login]
        elif match and (path.startswith("/users/") or match[1].lower() in self.organizations):
            of_owner = [row for row in self.seen_by("token") if row.owner.lower() == match[1].lower()]
            mine = of_owner if path.startswith("/orgs/") else [row for row in of_owner if not row.private]
        else:
            return forbidden("Not Found", 404)
        page, headers = self.paged(mine, query, request.path)
        return 200, [*map(self.row, page)], headers

    def make_token(self, installation: str) -> Answer:
        if installation not in self.installations:
            return forbidden("Not Found", 404)
        token = f"ghs_{len(self.made)}{hashlib.sha256(self.url.encode()).hexdigest()[:30]}"
        self.tokens[token] = "app"
        self.made.append(token)
        ends = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + self.token_seconds))
        return 201, {"token": token, "expires_at": ends, "permissions": {}, "repository_selection": "all"}, {}

    def user(self, login: str) -> dict[str, Any]:
        kind = "Organization" if login.lower() in self.organizations else "User"
        numbers = dict.fromkeys(("public_repos", "public_gists", "followers", "following"), 0)
        texts = dict.fromkeys(("name", "company", "blog", "location", "email", "hireable", "bio"))
        return {
            **self.owner(login),
            **numbers,
            **texts,
            "user_view_type": "public",
            "type": kind,
            "created_at": WHEN,
            "updated_at": WHEN,
        }

    def owner(self, login: str) -> dict[str, Any]:
        api = f"{self.url}/users/{login}"
        names = (
            *("avatar", "html", "followers", "following", "gists", "starred", "subscriptions", "organizations"),
            *("repos", "events", "received_events"),
        )
        urls = {f"{name}_url": f"{api}/{name}" for name in names}
        kind = "Organization" if login.lower() in self.organizations else "User"
        of_user = {"login": login, "id": 1, "node_id": "U", "gravatar_id": "", "type": kind, "site_admin": False}
        return {**urls, **of_user, "url": api}

    def row(self, hosted: Hosted) -> dict[str, Any]:
        owner, name = hosted.name.split("/")
        api, page = f"{self.url}/repos/{hosted.name}", f"{self.url}/{hosted.name}"
        names = (
            *("archive", "assignees", "blobs", "branches", "collaborators", "comments", "commits", "compare"),
            *("contents", "contributors", "deployments", "downloads", "events", "forks", "git_commits", "git_refs"),
            *("git_tags", "hooks", "issue_comment", "issue_events", "issues", "keys", "labels", "languages", "merges"),
            *("milestones", "notifications", "pulls", "releases", "stargazers", "statuses", "subscribers"),
            *("subscription", "tags", "teams", "trees"),
        )
        flags = ("has_issues", "has_projects", "has_wiki", "has_pages", "has_downloads", "has_discussions")
        counts = ("forks", "forks_count", "open_issues", "open_issues_count", "size", "stargazers_count")
        return {
            **{f"{each}_url": f"{api}/{each}" for each in names},
            **dict.fromkeys(flags, False),
            **dict.fromkeys((*counts, "watchers", "watchers_count"), 0),
            "id": hosted.id, "node_id": f"R_{hosted.id}", "name": name, "full_name": hosted.name,
            "owner": self.owner(owner), "private": hosted.private, "html_url": page, "url": api, "fork": False,
            "description": None, "homepage": None, "language": None, "license": None, "mirror_url": None,
            "clone_url": f"{page}.git", "git_url": f"git:{page}.git", "ssh_url": f"git@host:{hosted.name}.git",
            "svn_url": page, "default_branch": hosted.branch, "archived": hosted.archived, "disabled": False,
            "visibility": "private" if hosted.private else "public",
            "pushed_at": WHEN, "created_at": WHEN, "updated_at": WHEN,
        }  # fmt: skip


class GitLabHost(VendorHost):
    """GitLab."""

    realm = "GitLab"
    groups = ("acme", "acme/backend")
    users = ("bot",)

    # https://docs.gitlab.com/api/rest/, …/rest/authentication/
    def refuse(self, request: Request) -> tuple[str, Answer] | None:
        headers, query = request.headers, dict(parse_qsl(request.query))
        token = headers.get("private-token") or headers.get("authorization", "").removeprefix("Bearer ")
        if token not in self.tokens:
            return "bad token", (401, {"message": "401 Unauthorized"}, {})
        if not 1 <= int(query.get("per_page", 20)) <= 100:
            return "page size", (400, {"error": "per_page does not have a valid value"}, {})
        if query.get("pagination") == "keyset" and query.get("order_by") != "id":
            text = "Keyset pagination is not yet available for this type of request"
            return "keyset", (405, {"error": text}, {})
        return None

    def api(self, request: Request, query: dict[str, str]) -> Answer:
        path = request.path.removeprefix("/api/v4")
        mine = self.seen_by("token")
        if path == "/projects":
            after = int(query.get("id_after", 0))
            size = min(int(query.get("per_page", 20)), self.max_page)
            rest = [row for row in mine if row.id > after and "token" in row.sees]
            link = (
                f'<{self.url}{request.path}?pagination=keyset&id_after={rest[:size][-1].id}>; rel="next"'
                if rest
                else ""
            )
            return 200, [*map(self.row, rest[:size])], {"Link": link} if rest[size:] else {}
        if path == "/users":
            return 200, [{"id": 5, "username": name} for name in self.users if name == query.get("username")], {}
        match = re.fullmatch(r"/groups/([^/]+)(/projects)?", path)
        group = unquote(match[1]) if match else ""
        if path == "/users/5/projects":
            mine = [row for row in mine if row.owner == self.users[0]]
        elif match is None or group.lower() not in self.groups:
            return 404, {"message": "404 Group Not Found"}, {}
        elif not match[2]:
            return 200, {"id": 3, "full_path": group}, {}
        else:
            below = query.get("include_subgroups") == "true"
            mine = [row for row in mine if row.owner == group or (below and row.owner.startswith(f"{group}/"))]
        page, headers = self.paged(mine, query, request.path)
        return 200, [*map(self.row, page)], headers

    def row(self, hosted: Hosted) -> dict[str, Any]:
        page = f"{self.url}/{hosted.name}"
        return {
            "id": hosted.id, "path_with_namespace": hosted.name, "name": hosted.name.rpartition("/")[2],
            "http_url_to_repo": f"{page}.git", "ssh_url_to_repo": f"git@host:{hosted.name}.git", "web_url": page,
            "default_branch": hosted.branch, "archived": hosted.archived, "empty_repo": False,
            "visibility": "private" if hosted.private else "public", "created_at": WHEN, "last_activity_at": WHEN,
        }  # fmt: skip
