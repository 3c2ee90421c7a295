"""What is sent to GitHub, and what its stand-in answers here, by GitHub's own description."""

from __future__ import annotations

import functools
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from graphql import build_schema
from werkzeug import Response

from flask_grpcweb_scm.scm.providers import Credential, ProviderRejected
from flask_grpcweb_scm.scm.trackers.github import GitHub
from tests.scm.graphql import respond
from tests.scm.trackers.documented import BODY, SECRET, ScriptedVendor, vendor
from tests.scm.trackers.test_trackers import TestGitHub as Contract

if TYPE_CHECKING:
    from openapi_core import OpenAPI

__all__ = ["vendor"]

DESCRIPTION = Path(__file__).parent / "github-openapi.json"
API = "https://api.github.com"
ISSUES = f"{API}/repos/o/r/issues"
USER = {
    **{f"{name}_url": f"{API}/users/ann/{name}" for name in (
        "followers", "following", "gists", "starred", "subscriptions", "organizations", "repos", "events",
        "received_events", "avatar", "html")},
    "login": "ann", "id": 1, "node_id": "U", "gravatar_id": "", "url": f"{API}/users/ann", "type": "User",
    "site_admin": False,
}  # fmt: skip
WHEN = "2026-01-02T03:04:05Z"
ISSUE = {
    "id": 1, "node_id": "I", "number": 7, "title": "Bug ü", "body": BODY, "state": "open", "locked": False,
    "url": f"{ISSUES}/7", "html_url": "https://github.com/o/r/issues/7", "repository_url": f"{API}/repos/o/r",
    "labels_url": f"{ISSUES}/7/labels", "comments_url": f"{ISSUES}/7/comments", "events_url": f"{ISSUES}/7/events",
    "user": USER, "labels": ["bug"], "assignee": None, "milestone": None, "comments": 0,
    "closed_at": None, "created_at": WHEN, "updated_at": WHEN, "author_association": "MEMBER",
}  # fmt: skip
COMMENT = {
    "id": 1, "node_id": "C", "url": f"{ISSUES}/comments/1", "html_url": "https://github.com/o/r/issues/7#c",
    "issue_url": f"{ISSUES}/7", "user": USER, "created_at": WHEN, "updated_at": WHEN, "body": "Linked.",
    "author_association": "MEMBER",
}  # fmt: skip
INVALID = {
    "message": "Validation Failed",
    "documentation_url": "https://docs.github.com/rest",
    "errors": [{"resource": "Issue", "field": "title", "code": "missing_field"}],
}


@functools.cache
def description() -> OpenAPI:
    # Not for every process of a test run: it takes half a second, and one of them has these tests.
    from openapi_core import OpenAPI

    return OpenAPI.from_dict(json.loads(DESCRIPTION.read_text()))


def check(method: str, path: str, query: dict[str, str], body: Any, status: int, answer: Any) -> None:
    """Raises an OpenAPIError for a request or an answer that GitHub does not describe."""
    from openapi_core.testing import MockRequest, MockResponse

    content_type = {} if body is None else {"data": json.dumps(body).encode(), "content_type": "application/json"}
    request = MockRequest(API, method.lower(), path, args=query, **content_type)
    description().validate_request(request)
    description().validate_response(request, MockResponse(json.dumps(answer).encode(), status))


def check_asked(vendor: ScriptedVendor, status: int, answer: Any) -> None:
    (request,) = vendor.requests
    body = json.loads(request.data) if request.data else None
    check(request.method, request.path, request.args.to_dict(), body, status, answer)


@pytest.fixture
def github(vendor: ScriptedVendor) -> GitHub:
    return GitHub(
        vendor.url, Credential(token=SECRET), deadline=time.monotonic() + 5, allowed_hosts=["localhost"]
    )  # fmt: skip


def test_create(github: GitHub, vendor: ScriptedVendor) -> None:
    vendor.answer(ISSUE, status=201)
    assert github.create(Contract().issue()) == Contract.created
    check_asked(vendor, 201, ISSUE)


def test_create_of_what_is_invalid(github: GitHub, vendor: ScriptedVendor) -> None:
    vendor.answer(INVALID, status=422)
    with pytest.raises(ProviderRejected, match="Validation Failed") as caught:
        github.create(Contract().issue())
    assert caught.value.fields == {"title": "missing_field"}
    check_asked(vendor, 422, INVALID)


def test_find(github: GitHub, vendor: ScriptedVendor) -> None:
    answer = [{**ISSUE, "number": 8, "body": None}, ISSUE]
    vendor.answer(answer)
    assert github.find(Contract().issue()) == Contract.created
    check_asked(vendor, 200, answer)


def test_comment(github: GitHub, vendor: ScriptedVendor) -> None:
    vendor.answer(COMMENT, status=201)
    github.comment("o/r#7", "Linked.")
    check_asked(vendor, 201, COMMENT)


def test_read_and_comments(github: GitHub, vendor: ScriptedVendor) -> None:
    shown = {**ISSUE, "state": "closed", "state_reason": "not_planned", "assignee": USER}
    vendor.answer(shown)
    assert (found := github.read("O/R#7")).key == "o/r#7"
    assert (found.status, found.assignee) == ("not_planned", "ann")
    check_asked(vendor, 200, shown)
    vendor.requests.clear()
    vendor.answer([COMMENT])
    assert github.comments("o/r#7") == ["Linked."]
    check_asked(vendor, 200, [COMMENT])


SCHEMA = build_schema((DESCRIPTION.parent.parent / "sources/github.graphql").read_text())


def test_read_many_by_the_schema(github: GitHub, vendor: ScriptedVendor) -> None:
    def issue(info: object, number: int) -> Any:
        if number == 9:
            raise ValueError("Could not resolve to an Issue with the number of 9.")
        rest: dict[str, Any] = {
            "number": number,
            "title": f"Bug {number}",
            "url": f"https://github.com/o/r/issues/{number}",
        }
        people = {"nodes": [{"login": "ann"}] if number == 7 else []}
        state = {7: ("OPEN", None), 8: ("CLOSED", "DUPLICATE")}[number]
        return {
            **rest,
            "state": state[0],
            "stateReason": lambda info, **more: state[1],
            "assignees": lambda info, **more: people,
        }

    def resolve() -> Response:
        sent = json.loads(vendor.requests[-1].data)
        root = {"repository": lambda info, **names: {"nameWithOwner": "o/r", "issue": issue}}
        done = respond(SCHEMA, sent["query"], root, sent["variables"])
        errors = [{"type": "NOT_FOUND", "message": error.message} for error in done.errors or ()]
        return Response(json.dumps({"data": done.data, "errors": errors}), mimetype="application/json")

    vendor.answers = [resolve]
    found = github.read_many(["o/r#7", "o/r#8", "o/r#9"])
    assert {key: (each.key, each.title, each.status, each.assignee) for key, each in found.items()} == {
        "o/r#7": ("o/r#7", "Bug 7", "open", "ann"),
        "o/r#8": ("o/r#8", "Bug 8", "duplicate", ""),
    }


CREATE = ("POST", "/repos/o/r/issues")


@pytest.mark.parametrize(
    ("method", "path", "query", "body", "status", "answer"),
    [
        (*CREATE, {}, {"body": "no title"}, 201, ISSUE),
        (*CREATE, {}, {"title": "x", "labels": "bug,ui"}, 201, ISSUE),
        (*CREATE, {}, {"title": "x", "assignees": [7]}, 201, ISSUE),
        (*CREATE, {}, {"title": "x"}, 201, {**ISSUE, "number": "7"}),
        (*CREATE, {}, {"title": "x"}, 200, ISSUE),
        (*CREATE, {}, {"title": "x"}, 422, {**INVALID, "errors": [{"field": "title"}]}),
        ("PUT", "/repos/o/r/issues", {}, {"title": "x"}, 201, ISSUE),
        ("POST", "/repos/o/r/issue", {}, {"title": "x"}, 201, ISSUE),
        ("GET", "/repos/o/r/issues", {"state": "any"}, None, 200, [ISSUE]),
        ("GET", "/repos/o/r/issues", {"since": "yesterday"}, None, 200, [ISSUE]),
        ("GET", "/repos/o/r/issues", {}, None, 200, ISSUE),
        ("POST", "/repos/o/r/issues/7/comments", {}, {"text": "x"}, 201, COMMENT),
    ],
)
def test_the_description_sees_what_is_wrong(
    method: str, path: str, query: dict[str, str], body: Any, status: int, answer: Any
) -> None:
    from openapi_core.exceptions import OpenAPIError

    with pytest.raises(OpenAPIError):
        check(method, path, query, body, status, answer)
