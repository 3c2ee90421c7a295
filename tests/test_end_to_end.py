"""The whole product as a user meets it: commands fill a database, gunicorn serves it, a script calls every RPC."""

from __future__ import annotations

import json
import os
import subprocess
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import Message

from flask_grpcweb_scm.pb import scm_pb2
from tests.grpcweb import FOUR_CONTENT_TYPES, PROTO, Answer, body_of, read
from tests.servers import running

pytestmark = pytest.mark.needs("server")

SCM = "/sentry.integrations.scm.v1.ScmService/"
TOKEN = "end-to-end-token"


def run(*command: str, cwd: Path, **environ: str) -> str:
    done = subprocess.run(
        command, cwd=cwd, env={**os.environ, **environ}, check=True, capture_output=True, text=True, timeout=60
    )
    return done.stdout


def commit(repository: Path, text: str, author: str) -> str:
    (repository / "app.py").write_text(text)
    run("git", "add", ".", cwd=repository)
    identity = ["-c", f"user.name={author}", "-c", f"user.email={author}@Example.com"]
    run("git", *identity, "commit", "-qm", f"as {author} likes it", cwd=repository)
    return run("git", "rev-parse", "HEAD", cwd=repository).strip()


@dataclass
class World:
    port: int
    ids: dict[str, int]
    first: str
    second: str

    def call(
        self, method: str, message: Message, content_type: str = PROTO, headers: dict[str, str] | None = None
    ) -> Answer:
        """POST a message as any HTTP client would."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{SCM}{method}",
            data=body_of(message, content_type=content_type),
            headers={"content-type": content_type, "x-grpc-auth-token": TOKEN, **(headers or {})},
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            return read(response.status, response.headers.items(), response.read())


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, shell_path: str) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("end-to-end")
    repository = folder / "repository"
    repository.mkdir()
    run("git", "init", "-q", "-b", "main", cwd=repository)
    first = commit(repository, "one\ntwo\nthree\n", "ann")
    second = commit(repository, "one\nTWO\nthree\n", "bob")
    environ = {
        "FLASK_SQLALCHEMY_DATABASE_URI": f"sqlite:///{folder}/scm.db",
        "FLASK_GRPC_AUTH_TOKENS": TOKEN,
        "FLASK_SECRET_KEY": "end-to-end",
    }
    ids = fill(repository, {**environ, "PATH": shell_path})
    with running("gunicorn", "example_app:create_app", folder / "log", environ) as port:
        yield World(port, ids, first, second)
    assert "Traceback" not in (folder / "log").read_text()


def fill(repository: Path, environ: dict[str, str]) -> dict[str, int]:
    def flask(*arguments: str) -> Any:
        command = ["flask", "--app", "example_app", "scm", *arguments, "--json"]
        return json.loads(run(*command, cwd=Path(__file__).parent.parent, **environ))

    flask("init-db")
    return {
        "organization": flask("add-organization", "demo")["id"],
        "project": flask("add-project", "demo", "web")["id"],
        "integration": flask("add-integration", "demo", "github", "--name", "GitHub")["id"],
        "repository": flask("import-git", "demo", str(repository), "--name", "app")["id"],
        **{f"group{n}": flask("add-group", "demo", "web", "--title", f"Error {n}")["id"] for n in range(4)},
    }


@pytest.mark.parametrize("content_type", FOUR_CONTENT_TYPES)
def test_each_of_the_eight_rpcs_answers_right(world: World, content_type: str) -> None:
    number = FOUR_CONTENT_TYPES.index(content_type)
    ids = world.ids

    def call(method: str, message: Message, response_class: type[Message]) -> Any:
        return world.call(method, message, content_type).only(response_class)

    listed = call(
        "ListRepositories",
        scm_pb2.ListRepositoriesRequest(organization_id=ids["organization"], page_size=10),
        scm_pb2.ListRepositoriesResponse,
    )
    assert [repository.name for repository in listed.repositories] == ["app"]

    repository = call(
        "GetRepository", scm_pb2.GetRepositoryRequest(repository_id=ids["repository"]), scm_pb2.Repository
    )
    assert repository == listed.repositories[0]
    assert repository.status == scm_pb2.REPOSITORY_STATUS_ACTIVE

    commit = call(
        "GetCommit",
        scm_pb2.GetCommitRequest(repository_id=ids["repository"], commit_sha=world.second[:10]),
        scm_pb2.Commit,
    )
    assert (commit.key, commit.message.strip()) == (world.second, "as bob likes it")
    assert (commit.author.name, commit.author.email) == ("bob", "bob@example.com")

    for line, sha, author in ((1, world.first, "ann"), (2, world.second, "bob"), (3, world.first, "ann")):
        blamed = call(
            "GetCommitContext",
            scm_pb2.GetCommitContextRequest(
                repository_id=ids["repository"], commit_sha=world.second, filepath="app.py", line_number=line
            ),
            scm_pb2.CommitContext,
        )
        assert (blamed.blame_commit_id, blamed.blame_author.name) == (sha, author)
        assert "TWO" in blamed.code_snippet

    mapping = call(
        "CreateCodeMapping",
        scm_pb2.CreateCodeMappingRequest(
            organization_id=ids["organization"],
            project_id=ids["project"],
            repository_id=ids["repository"],
            stack_root=f"/srv{number}/",
            source_root="",
            default_branch="main",
        ),
        scm_pb2.CodeMapping,
    )
    derived = call(
        "DeriveCodeMappings",
        scm_pb2.DeriveCodeMappingsRequest(
            organization_id=ids["organization"], project_id=ids["project"], stacktrace_paths=[f"/srv{number}/app.py"]
        ),
        scm_pb2.DeriveCodeMappingsResponse,
    )
    assert list(derived.mappings) == [mapping]

    issue = call(
        "CreateExternalIssue",
        scm_pb2.CreateExternalIssueRequest(
            organization_id=ids["organization"],
            integration_id=ids["integration"],
            title="Bug Report",
            description="Issue description",
            metadata={"label": "bug"},
        ),
        scm_pb2.ExternalIssue,
    )
    assert issue.key.startswith("ISSUE-")
    assert (issue.title, dict(issue.metadata)) == ("Bug Report", {"label": "bug"})

    linked = call(
        "LinkExternalIssue",
        scm_pb2.LinkExternalIssueRequest(group_id=ids[f"group{number}"], external_issue_id=issue.id),
        scm_pb2.ExternalIssue,
    )
    assert linked == issue


ERRORS = [
    ("ListRepositories", scm_pb2.ListRepositoriesRequest(organization_id=999), {}, 5, "999"),
    ("ListRepositories", scm_pb2.ListRepositoriesRequest(organization_id=1, page_size=-1), {}, 3, "page_size"),
    ("ListRepositories", scm_pb2.ListRepositoriesRequest(organization_id=1, page_token="x"), {}, 3, "page_token"),
    ("GetRepository", scm_pb2.GetRepositoryRequest(repository_id=999), {}, 5, "999"),
    ("GetRepository", scm_pb2.GetRepositoryRequest(repository_id=1), {"x-grpc-auth-token": "wrong"}, 16, "not valid"),
    ("GetRepository", scm_pb2.GetRepositoryRequest(repository_id=1), {"grpc-timeout": "0n"}, 4, "deadline"),
    ("GetRepository", scm_pb2.GetRepositoryRequest(repository_id=1), {"grpc-timeout": "1"}, 3, "grpc-timeout"),
    ("GetRepository", scm_pb2.GetRepositoryRequest(repository_id=1), {"grpc-encoding": "lzw"}, 12, "lzw"),
    ("GetCommit", scm_pb2.GetCommitRequest(repository_id=1, commit_sha="xyz"), {}, 3, "commit_sha"),
    ("GetCommit", scm_pb2.GetCommitRequest(repository_id=1, commit_sha="0" * 40), {}, 5, "0" * 40),
    ("GetRepositories", scm_pb2.GetRepositoryRequest(repository_id=1), {}, 12, "did you mean"),
    ("CreateExternalIssue", scm_pb2.CreateExternalIssueRequest(organization_id=1, integration_id=1), {}, 3, "title"),
    (
        "CreateExternalIssue",
        scm_pb2.CreateExternalIssueRequest(organization_id=1, integration_id=1, title="x", description="d" * 5 * 2**20),
        {},
        8,
        "over the limit of 4194304 bytes",
    ),
]


@pytest.mark.parametrize(("method", "message", "headers", "code", "text"), ERRORS)
@pytest.mark.parametrize("content_type", FOUR_CONTENT_TYPES)
def test_errors_carry_the_codes_of_the_readme(
    world: World, method: str, message: Message, headers: dict[str, str], code: int, text: str, content_type: str
) -> None:
    answer = world.call(method, message, content_type, headers)
    assert (answer.http_status, answer.code) == (200, code)
    assert text in answer.message
    assert answer.headers["grpc-status"] == str(code)


def test_a_script_may_read_the_status_from_the_headers(world: World) -> None:
    request = scm_pb2.ListRepositoriesRequest(organization_id=world.ids["organization"], page_size=10)
    answer = world.call("ListRepositories", request)
    assert answer.headers.get("grpc-status") == "0"
