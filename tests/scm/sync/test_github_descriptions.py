"""What is asked of GitHub to list repositories, and what its stand-in answers, by GitHub's own description."""

from __future__ import annotations

import json
import time
from typing import Any
from urllib.parse import parse_qsl

import pytest

from flask_grpcweb_scm.scm.providers import Credential, GitHubApp, github_app
from flask_grpcweb_scm.scm.sync.listing import GitHubListing
from tests.scm.sources.providers import Answer, Request, running
from tests.scm.sources.test_github_descriptions import RAW, resolve
from tests.scm.sync.hosts import APP_ID, TOKEN, GitHubHost, pem
from tests.scm.trackers.test_github_openapi import description

API = "https://api.github.com"
# What is read: an operation, and the way to a value in its answer.
READ = [
    ("/installation/repositories", "get", "200", "total_count", "integer"),
    ("/installation/repositories", "get", "200", "repositories.id", "integer"),
    ("/installation/repositories", "get", "200", "repositories.full_name", "string"),
    ("/installation/repositories", "get", "200", "repositories.clone_url", "string"),
    ("/installation/repositories", "get", "200", "repositories.default_branch", "string"),
    ("/installation/repositories", "get", "200", "repositories.archived", "boolean"),
    ("/installation/repositories", "get", "200", "repositories.disabled", "boolean"),
    *(
        (path, "get", "200", name, kind)
        for path in ("/orgs/{org}/repos", "/users/{username}/repos", "/user/repos")
        for name, kind in (
            *[("id", "integer"), ("full_name", "string"), ("clone_url", "string"), ("html_url", "string")],
            *[("default_branch", "string"), ("archived", "boolean"), ("disabled", "boolean")],
        )
    ),
    ("/users/{username}", "get", "200", "type", "string"),
    ("/user", "get", "200", "login", "string"),
    ("/app/installations/{installation_id}/access_tokens", "post", "201", "token", "string"),
    ("/app/installations/{installation_id}/access_tokens", "post", "201", "expires_at", "string"),
]


@pytest.mark.parametrize(("path", "method", "status", "way", "kind"), READ)
def test_what_is_read_is_described(path: str, method: str, status: str, way: str, kind: str) -> None:
    answer = RAW["paths"][path][method]["responses"][status]
    schema = answer["content"]["application/json"]["schema"]
    for step in way.split("."):
        schema = chosen(schema)
        schema = schema["properties"][step]
    assert chosen(schema)["type"] == kind


def chosen(schema: dict[str, Any]) -> dict[str, Any]:
    """The first of alternatives, and the items of lists."""
    schema = resolve(schema)
    while "oneOf" in schema:
        schema = resolve(schema["oneOf"][0])
    return schema


def check(request: Request, answer: Answer) -> None:
    """Raises an OpenAPIError for what GitHub does not describe."""
    from openapi_core.testing import MockRequest, MockResponse

    status, body, _ = answer
    sent = MockRequest(API, request.method.lower(), request.path, args=dict(parse_qsl(request.query)))
    description().validate_request(sent)
    if status != 304:
        description().validate_response(sent, MockResponse(json.dumps(body).encode(), status))


def answers(owner: str, *, is_app: bool = False) -> list[tuple[Request, Answer]]:
    """Everything that is ever asked, and answered."""
    github_app._kept.clear()
    app = GitHubApp(app_id=APP_ID, private_key=pem(), installation_id="77")
    with running(GitHubHost()) as host:
        host.max_page = 1
        for number, name in enumerate(("acme/a", "acme/b", "bot/c", "bot/d", "ann/e"), 1):
            host.add(number, name, archived=number == 1)
        api = GitHubListing(
            host.url,
            app if is_app else Credential(token=TOKEN),
            deadline=time.monotonic() + 10,
            allowed_hosts=["127.0.0.1"],
        )
        place = api.place(owner)
        page = api.page(place, "")
        assert page is not None
        assert api.page(place, "", page.etag) is None
        assert page.next or owner == "ann"
        if page.next:
            api.page(place, page.next)
    assert host.refusals == []
    return host.answers


@pytest.mark.parametrize("owner", ["", "acme", "bot", "ann", "app"])
def test_requests_and_answers_are_described(owner: str) -> None:
    for request, answer in answers("" if owner == "app" else owner, is_app=owner == "app"):
        check(request, answer)


def test_the_description_sees_what_is_wrong() -> None:
    from openapi_core.exceptions import OpenAPIError

    listed = {request.path: (request, answer) for request, answer in answers("acme")}
    request, (_, rows, headers) = next(pair for path, pair in listed.items() if path.endswith("/repos"))
    check(request, (200, rows, headers))
    for wrong in (
        [{**rows[0], "id": "7"}],
        [{**rows[0], "full_name": None}],
        [{**rows[0], "archived": "no"}],
        [{name: value for name, value in rows[0].items() if name != "html_url"}],
        rows[0],
    ):
        with pytest.raises(OpenAPIError):
            check(request, (200, wrong, headers))
    for query in ("sort=stars", "direction=up", "type=mine", "page=first"):
        with pytest.raises(OpenAPIError):
            check(request._replace(query=query), (200, rows, headers))
