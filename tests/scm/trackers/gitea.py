"""A tracker of one's own for Gitea, and a Gitea on loopback: make trackers builds it."""

from __future__ import annotations

import contextlib
import getpass
import os
import re
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import urllib3
from werkzeug import Request, Response

from flask_grpcweb_scm.trackers import (
    MAX_FOUND,
    Complaint,
    FoundIssue,
    HttpReply,
    NewIssue,
    ProviderNotFound,
    ProviderUnavailable,
    Tracker,
    TrackerField,
    TrackerIssue,
    path_of,
    to_markdown,
    user_name,
)
from tests.servers import ROOT, free_port

NAME = r"(?!\.{1,2}(?:[/#]|\Z))[A-Za-z0-9_.-]+"
KEY = re.compile(rf"({NAME}/{NAME})#([1-9][0-9]{{0,8}})", re.ASCII)
PAGE = re.compile(rf"({NAME}/{NAME})/issues/([1-9][0-9]{{0,8}})/?", re.ASCII)
PROGRAM = Path(os.environ.get("GITEA", ROOT / ".venv-gitea/gitea"))
PASSWORD = "s3cret-Passw0rd"
HOME_PAGE = "http://gitea.example/"
PAGE_SIZE = 50


class Gitea(Tracker):
    """Needs the field ``repo``."""

    kind = "gitea"
    fields = (TrackerField("repo", "Repository", "string", required=True),)
    required: ClassVar = {"repo": f"{NAME}/{NAME}"}
    project_field = "repo"
    max_title_characters = 255
    max_body_characters = 100_000

    def create(self, issue: NewIssue) -> TrackerIssue:
        repository, given = issue.fields["repo"], {"title": self.title(issue), "body": self.body(issue)}
        return self._issue(repository, self.http.request("POST", self._path(repository), json=given))

    def find(self, issue: NewIssue) -> TrackerIssue | None:
        repository = issue.fields["repo"]
        since = issue.since.strftime("%Y-%m-%dT%H:%M:%SZ")
        query: dict[str, str | int] = {"state": "all", "type": "issues", "since": since, "limit": PAGE_SIZE}
        for page in range(1, 21):
            reply = self.http.get(self._path(repository), query={**query, "page": page})
            rows = reply.value(kind=list)
            for index, row in enumerate(rows):
                if issue.marker in (row["body"] or ""):
                    return self._issue(repository, reply, index)
            if not rows:
                return None
        raise self.error(ProviderUnavailable, f"{repository} has too many newer issues", may_have_acted=True)

    def key_of(self, text: str) -> str:
        path = self.path_in_site(text)
        match = KEY.fullmatch(text.strip()) if path is None else PAGE.fullmatch(path)
        if match is None:
            raise self.invalid_key(text)
        return f"{match[1]}#{match[2]}"

    def read(self, key: str) -> FoundIssue:
        repository, number = self.match_key(KEY, key).groups()
        self.check_project(repository)
        reply = self.http.get(self._path(repository, number))
        if reply.json().get("pull_request"):
            raise self.error(ProviderNotFound, f"{key} is a pull request, no issue")
        return self._found(repository, reply)

    def search(self, text: str, fields: Mapping[str, str]) -> Sequence[FoundIssue]:
        repository = self.project_in(fields)
        query: dict[str, str | int] = {"q": text, "state": "all", "type": "issues", "limit": MAX_FOUND}
        reply = self.http.get(self._path(repository), query=query)
        return [self._found(repository, reply, index) for index in range(len(reply.value(kind=list)[:MAX_FOUND]))]

    def comment(self, key: str, text: str) -> None:
        repository, number = self.match_key(KEY, key).groups()
        self.http.request("POST", self._path(repository, number, "comments"), json={"body": self.write(text)})

    def write(self, text: str) -> str:
        return to_markdown(text, host=self.http.host.partition(":")[0])

    @classmethod
    def project_of(cls, key: str) -> str:
        return key.partition("#")[0]

    @classmethod
    def api_url(cls, site: str) -> str:
        return f"{site}/api/v1"

    @classmethod
    def explain(cls, error: Any) -> Complaint:
        return str(error["message"]), {}

    def _path(self, repository: str, *more: str) -> str:
        return path_of("repos", *repository.split("/"), "issues", *more)

    def _issue(self, repository: str, reply: HttpReply, *row: int) -> TrackerIssue:
        return self.created(f"{repository}#{reply.value(*row, 'number', kind=int)}", reply.url(*row, "html_url"))

    def _found(self, repository: str, reply: HttpReply, *row: int) -> FoundIssue:
        issue, values = self._issue(repository, reply, *row), reply.json()[row[0]] if row else reply.json()
        person = user_name(values.get("assignee"), "login")
        return self.found(issue.key, issue.web_url, values["title"], values.get("state"), person)


@dataclass(frozen=True)
class GiteaServer:
    url: str
    token: str

    def __call__(self, environ: Any, start_response: Any) -> Any:
        """Pass a request on, as a proxy in front of it would."""
        request = Request(environ)
        target = self.url + (environ.get("REQUEST_URI") or request.full_path)
        headers = {name: value for name, value in request.headers if name.lower() not in {"host", "connection"}}
        done = urllib3.request(request.method, target, headers=headers, body=request.get_data(), redirect=False)
        body = done.data.replace(HOME_PAGE.encode(), request.host_url.encode())
        response = Response(body, done.status, content_type=done.headers.get("content-type"))
        return response(environ, start_response)

    def call(self, method: str, path: str, **json: Any) -> Any:
        headers = {"Authorization": f"Bearer {self.token}"}
        done = urllib3.request(method, f"{self.url}/api/v1{path}", json=json or None, headers=headers)
        assert done.status < 300, done.data
        is_json = "json" in done.headers["content-type"]
        return done.json() if is_json else done.data.decode()


@contextlib.contextmanager
def serve_gitea(folder: Path) -> Iterator[GiteaServer]:
    """Serve a new Gitea with the user `bot` and its repository `pier`."""
    url = f"http://127.0.0.1:{(port := free_port())}"
    settings = {
        "": {"RUN_MODE": "prod", "RUN_USER": getpass.getuser(), "I_AM_BEING_UNSAFE_RUNNING_AS_ROOT": "true"},
        "server": {
            "HTTP_ADDR": "127.0.0.1", "HTTP_PORT": port, "ROOT_URL": HOME_PAGE, "DISABLE_SSH": "true",
            "OFFLINE_MODE": "true", "STATIC_ROOT_PATH": (PROGRAM.parent / "source").read_text().strip(),
        },
        "database": {"DB_TYPE": "sqlite3", "PATH": folder / "gitea.db"},
        "security": {"INSTALL_LOCK": "true", "PASSWORD_HASH_ALGO": "pbkdf2$10$10"},
        "log": {"LEVEL": "Warn"},
        "indexer": {"ISSUE_INDEXER_TYPE": "db"},
        "cron": {"ENABLED": "false"},
    }  # fmt: skip
    config = folder / "app.ini"
    sections = (
        "\n".join([f"[{name}]" * bool(name), *(f"{k} = {v}" for k, v in keys.items())])
        for name, keys in settings.items()
    )
    config.write_text("\n".join(sections))
    command = [str(PROGRAM), "--config", str(config), "--work-path", str(folder)]
    environ = {**os.environ, "HOME": str(folder)}

    def run(*arguments: str) -> str:
        done = subprocess.run([*command, *arguments], env=environ, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run("migrate")
    user = ("--username", "bot", "--password", PASSWORD, "--email", "bot@acme.example", "--must-change-password=false")
    created = run("admin", "user", "create", "--admin", *user, "--access-token")
    token = re.search(r"\b[0-9a-f]{40}\b", created)
    assert token, created
    log = (folder / "web.log").open("w")
    with log, subprocess.Popen([*command, "web"], env=environ, stdout=log, stderr=log) as server:
        try:
            gitea = GiteaServer(url, token[0])
            for _ in range(300):
                with contextlib.suppress(urllib3.exceptions.HTTPError):
                    if urllib3.request("GET", f"{url}/api/v1/version", retries=False).status == 200:
                        break
                assert server.poll() is None, (folder / "web.log").read_text()
                time.sleep(0.1)
            gitea.call("POST", "/user/repos", name="pier")
            yield gitea
        finally:
            server.terminate()
