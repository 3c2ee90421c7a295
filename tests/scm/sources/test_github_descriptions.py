"""What is asked of GitHub and read of its answers, by GitHub's own descriptions of REST and GraphQL."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest

from flask_grpcweb_scm.scm.sources.github import BLAME, FILE
from tests.scm.sources.providers import FakeGitHub, running
from tests.scm.sources.test_sources import open_github
from tests.scm.support import GitRepository
from tests.scm.trackers.test_github_openapi import DESCRIPTION, description

if TYPE_CHECKING:
    from openapi_core.testing import MockRequest

RAW: dict[str, Any] = json.loads(DESCRIPTION.read_text())
API = "https://api.github.com"

# What is read: an operation, the way to a value in its answer, and the type of that.
READ = [
    ("", "default_branch", "string"),
    ("/branches/{branch}", "commit.sha", "string"),
    ("/branches/{branch}", "commit.commit.tree.sha", "string"),
    ("/commits/{ref}", "sha", "string"),
    ("/commits/{ref}", "parents", "array"),
    ("/commits/{ref}", "commit.message", "string"),
    ("/commits/{ref}", "commit.committer.date", "string"),
    ("/commits/{ref}", "commit.author.name", "string"),
    ("/commits/{ref}", "commit.author.email", "string"),
    ("/commits/{ref}", "files.status", "string"),
    ("/commits/{ref}", "files.filename", "string"),
    ("/commits/{ref}", "files.previous_filename", "string"),
    ("/git/commits/{commit_sha}", "sha", "string"),
    ("/git/trees/{tree_sha}", "truncated", "boolean"),
    ("/git/trees/{tree_sha}", "tree.path", "string"),
    ("/git/trees/{tree_sha}", "tree.type", "string"),
    ("/git/trees/{tree_sha}", "tree.sha", "string"),
]


def resolve(schema: dict[str, Any]) -> dict[str, Any]:
    """Without references and without the choices of null."""
    while True:
        if "$ref" in schema:
            _, *way = schema["$ref"].split("/")
            schema = RAW
            for step in way:
                schema = schema[step]
        elif schema.get("type") == "array":
            schema = {**resolve(schema["items"]), "array": True}
        elif "properties" not in schema and ("anyOf" in schema or "allOf" in schema):
            schema = (schema.get("anyOf") or schema["allOf"])[0]
        else:
            return schema


def described_type(operation: str, way: str) -> str:
    answer = RAW["paths"][f"/repos/{{owner}}/{{repo}}{operation}"]["get"]["responses"]["200"]
    schema = resolve(answer["content"]["application/json"]["schema"])
    for step in way.split("."):
        schema = resolve(schema["properties"][step])
    return "array" if schema.get("array") else schema["type"]


@pytest.mark.parametrize(("operation", "way", "kind"), READ)
def test_what_is_read_is_described(operation: str, way: str, kind: str) -> None:
    assert described_type(operation, way) == kind


def test_what_is_not_described_is_noticed() -> None:
    with pytest.raises(KeyError):
        described_type("/commits/{ref}", "commit.committer.mail")


def requests(history: GitRepository) -> list[MockRequest]:
    """Everything that is ever asked of REST."""
    from openapi_core.testing import MockRequest

    with running(FakeGitHub(history)) as provider:
        provider.max_tree_entries = 7  # type: ignore[attr-defined]
        source = open_github(provider)
        sha = history.head()
        source.commits_starting_with(sha[:7])
        source.has_commit(sha)
        source.commit(history.git("rev-list", "--max-parents=0", "HEAD"))
        list(source.files(source.tree("")[1] or ""))
        source.tip("side")
        asked = [(method, urlsplit(target)) for method, target in provider.requests]
    return [
        MockRequest(API, method.lower(), unquote(url.path), args=dict(parse_qsl(url.query))) for method, url in asked
    ]


def test_requests_are_described(history: GitRepository) -> None:
    asked = requests(history)
    assert len(asked) > 8
    for request in asked:
        description().validate_request(request)


def test_a_request_that_is_not_described_is_noticed() -> None:
    from openapi_core.exceptions import OpenAPIError
    from openapi_core.testing import MockRequest

    for path, query in (("/repos/o/r/comits/a", {}), ("/repos/o/r/commits/a", {"page": "one"})):
        with pytest.raises(OpenAPIError):
            description().validate_request(MockRequest(API, "get", path, args=query))


def test_the_query_for_blame_is_one_of_githubs_schema(history: GitRepository) -> None:
    sha = history.head()
    variables = {"owner": "o", "name": "r", "sha": sha, "path": "README", "file": f"{sha}:README"}
    assert "errors" not in FakeGitHub(history).graphql(BLAME, variables)
    for wrong in (BLAME.replace("startingLine", "startLine"), BLAME.replace("GitObjectID!", "ID!")):
        assert FakeGitHub(history).graphql(wrong, variables)["errors"]


def test_the_query_for_a_file_is_one_of_githubs_schema(history: GitRepository) -> None:
    variables = {"owner": "o", "name": "r", "file": "HEAD:README"}
    found = FakeGitHub(history).graphql(FILE, variables)
    assert found == {"data": {"repository": {"file": {"text": history.git("show", "HEAD:README") + "\n"}}}}
    assert FakeGitHub(history).graphql(FILE.replace("text", "content"), variables)["errors"]
