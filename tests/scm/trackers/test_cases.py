"""Responses of the trackers of real teams to a create, each as its vendor sends it, and what the caller gets."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
import sqlalchemy as sa
from flask import Flask
from google.rpc import error_details_pb2

from flask_grpcweb_scm.pb import scm_pb2
from flask_grpcweb_scm.scm import Integration, OrganizationIntegration, db
from tests.client.scripted import Peer, ScriptedServer, http, serve
from tests.grpcweb import Answer
from tests.scm.databases import disposed
from tests.scm.support import add_tenant, make_app
from tests.scm.trackers.tracking import SECRET, create
from tests.tables import check_rows

CREDENTIALS = {"bot": SECRET, "two": {"user": "ann", "password": SECRET}}
CONFIG: dict[str, dict[str, str]] = {
    "github": {"repo": "harbor/pier"},
    "gitlab": {"project": "harbor/pier"},
    "jira": {"project": "APP", "issuetype": "Bug"},
    "jira_server": {"project": "APP", "issuetype": "Bug"},
    "vsts": {"project": "Pier"},
    "roundup": {},
}


class Case(NamedTuple):
    tracker: str
    status: int
    body: Any
    """JSON, or a text."""
    code: int
    texts: tuple[str, ...] = ()
    """Of the message."""
    headers: tuple[str, ...] = ()
    wait: tuple[float, float] | None = None
    """Of a RetryInfo, at least and at most."""
    fields: tuple[str, ...] = ()
    """Of a BadRequest."""
    without: tuple[str, ...] = ()
    """Texts that the message is not to have."""


def at(seconds: float) -> int:
    return int(time.time() + seconds)


def iso(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%MZ", time.gmtime(time.time() + seconds))


SECONDARY = "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."
RULE = "TF401320: Rule Error for field Severity. Error code: Required."
SIGN_IN = "<html><form action=login.jsp>Log in <input type=password></form></html>"
CASES = [
    # Limits
    Case("github", 403, {"message": SECONDARY}, 8, wait=(60, 599),
         headers=("x-ratelimit-remaining: 4711", "x-ratelimit-reset: {in_900}")),
    Case("github", 429, {"message": SECONDARY}, 8, wait=(60, 599)),
    Case("github", 403, {"message": "You have triggered an abuse detection mechanism."}, 8, wait=(60, 599)),
    Case("github", 403, {"message": SECONDARY}, 8, headers=("retry-after: 120",), wait=(120, 120)),
    Case("github", 403, {"message": "API rate limit exceeded for installation ID 1."}, 8,
         headers=("x-ratelimit-remaining: 0", "x-ratelimit-reset: {in_900}"), wait=(800, 900)),
    Case("gitlab", 429, {"message": "Too Many Requests"}, 8,
         headers=("ratelimit-remaining: 0", "ratelimit-reset: {in_77}"), wait=(50, 78)),
    Case("gitlab", 429, {"message": "Too Many Requests"}, 8, headers=("ratelimit-remaining: 0", "ratelimit-reset: 40"),
         wait=(40, 40)),
    Case("gitlab", 429, "Retry later\n", 8),
    Case("jira", 429, {}, 8, headers=("x-ratelimit-remaining: 0", "x-ratelimit-reset: {iso_300}"), wait=(200, 300)),
    Case("jira", 429, {}, 8, headers=("x-ratelimit-remaining: 0", "x-ratelimit-reset: soon")),
    Case("jira", 429, {}, 8, headers=("x-ratelimit-nearlimit: true", "retry-after: 11"), wait=(11, 11)),
    Case("vsts", 503, {"message": "TF400733: The request has been canceled."}, 14,
         headers=("retry-after: 5",), wait=(5, 5)),
    Case("roundup", 429, {"error": {"status": 429, "msg": "Api rate limits exceeded."}}, 8, headers=("retry-after: 3",),
         wait=(3, 3)),
    # What the account may not
    Case("github", 403, {"message": "Resource not accessible by integration"}, 7,
         headers=("x-ratelimit-remaining: 4711",)),
    Case("github", 403, {"message": "Resource protected by organization SAML enforcement."}, 7, ("single sign-on",)),
    Case("github", 403, {"message": "Repository was archived so is read-only."}, 7, ("bring the project back",)),
    Case("gitlab", 403, {"error": "insufficient_scope", "error_description": "It requires higher privileges."}, 7,
         ("insufficient_scope: It requires higher privileges.",)),
    Case("jira_server", 403, "<html>Forbidden</html>", 7, ("sign in once in a browser",),
         headers=("x-authentication-denied-reason: CAPTCHA_CHALLENGE; login-url=https://x",)),
    Case("roundup", 403, {"error": {"status": 403, "msg": "Permission Denied"}}, 7, ("Permission Denied",)),
    # Tokens
    Case("github", 401, {"message": "Bad credentials"}, 9, ("Bad credentials",)),
    Case("gitlab", 401, {"error": "invalid_token", "error_description": "Token is expired."}, 9,
         ("Token is expired.",)),
    Case("jira", 401, {"code": 401, "message": "Unauthorized; scope does not match"}, 9, ("scope does not match",)),
    Case("vsts", 302, "", 9, ("is the token good",),
         headers=("location: https://login.azure.example/_signin?realm=dev.azure.example",)),
    Case("vsts", 203, "<html>Sign in</html>", 9, ("credentials",)),
    Case("gitlab", 302, "", 9, ("is the token good",), headers=("location: /users/sign_in",)),
    Case("jira_server", 302, "", 9, ("is the token good",), headers=("location: /login.jsp?os_destination=x",)),
    Case("jira_server", 200, SIGN_IN, 9, ("is the token good",)),
    # What has moved, or is gone
    Case("gitlab", 405, {"message": "Non GET methods are not allowed for moved projects"}, 9, ("moved projects",)),
    Case("github", 301, {"message": "Moved Permanently"}, 9, ("has moved; name it as it is called now",)),
    Case("github", 301, {"message": "Moved Permanently"}, 9, ("has moved; name it as it is called now",),
         headers=("location: {url}/repositories/1/issues",)),
    Case("vsts", 308, "", 9, ("has moved",)),
    Case("github", 410, {"message": "Issues has been disabled in this repository."}, 5, ("switch issues on",)),
    Case("jira_server", 403, {"errorMessages": ["The account of ann has been disabled."]}, 7, ("been disabled.",),
         without=("switch issues on",)),
    Case("github", 403, {"message": "Sorry. Your account was suspended as spam."}, 7, ("suspended",)),
    Case("vsts", 404, {"message": "TF200016: The following project does not exist: Pier."}, 5, ("TF200016",)),
    Case("jira", 404, {"errorMessage": "Site temporarily unavailable"}, 5, ("Site temporarily unavailable",)),
    # What is wrong with the request
    Case("github", 422, {"message": "Validation Failed", "errors": [{"resource": "Issue", "field": "assignees",
         "code": "invalid", "value": "nobody"}]}, 3, fields=("metadata.assignees",)),
    Case("gitlab", 400, {"message": {"base": ["Labels can't be blank"], "milestone": {"title": ["is too short"]}}}, 3,
         ("Labels can't be blank", "title is too short"), fields=("metadata.milestone",)),
    Case("gitlab", 400, {"error": "title is missing, description is invalid"}, 3, ("title is missing",)),
    Case("jira", 400, {"errorMessages": [], "errors": {"customfield_10042": "Severity is required."}}, 3,
         ("Severity is required.",), fields=("metadata.customfield_10042",)),
    Case("vsts", 400, {"message": RULE, "customProperties": {"RuleValidationErrors": [
         {"fieldReferenceName": "Custom.Severity", "errorMessage": RULE}, {"fieldReferenceName": 7}, None]}}, 3,
         (RULE,), fields=("metadata.Custom.Severity",)),
    Case("vsts", 400, {"message": RULE, "customProperties": 7}, 3),
    Case("vsts", 413, {"message": "VS402625: too many bytes"}, 3, ("VS402625",)),
    Case("roundup", 400, {"error": {"status": 400, "msg": "'x' is not a valid priority"}}, 3,
         ("not a valid priority",)),
    # Spam
    Case("gitlab", 409, {"needs_captcha_response": True, "spam_log_id": 42, "message": {
         "error": "Your issue has been recognized as spam. Change it or solve the captcha."}}, 10,
         ("Your issue has been recognized as spam. Change it or solve the captcha.",)),
    # Outages
    Case("github", 502, "<html>Bad Gateway</html>", 14, ("is kept",)),
    Case("jira", 504, {"errorMessages": ["x"]}, 14, ("is kept",)),
]  # fmt: skip


@pytest.fixture
def app(database: str) -> Iterator[Flask]:
    with disposed(make_app(database, GRPC_SCM_CREDENTIALS=CREDENTIALS, GRPC_SCM_ALLOWED_HOSTS="127.0.0.1")) as app:
        yield app


class Replies:
    """A tracker that has one response for everything."""

    def __init__(self) -> None:
        self.response = b""
        self.sent: list[Any] = []

    def script(self, peer: Peer) -> None:
        self.sent.append(json.loads(peer.body or b"null"))
        peer.send(self.response)


def created(app: Flask, kind: str, server: ScriptedServer, slug: str, path: str = "", **fields: Any) -> Answer:
    with app.app_context():
        tenant = add_tenant(slug)
        integration = db.session.get_one(Integration, tenant.integration)
        integration.provider = kind
        name = "two" if kind == "roundup" else "bot"
        integration.metadata_ = {"base_url": server.url + path, "credentials": name}
        installed = sa.select(OrganizationIntegration).filter_by(integration=integration)
        db.session.scalars(installed).one().config = CONFIG[kind]
        db.session.commit()
    issue = {"title": "KeyError in checkout", "description": "trace", **fields}
    return create(app, tenant, slug, timeout="8S", **issue)


@pytest.mark.needs("time")
def test_responses(app: Flask) -> None:
    replies = Replies()
    numbers = iter(range(1000))
    with serve(replies.script) as server:

        def check(*row: Any) -> None:
            case = Case(*row)
            text = case.body if isinstance(case.body, str) else json.dumps(case.body)
            kind = "text/html" if text.startswith("<html") else "application/json"
            instants = {"in_77": at(77), "in_900": at(900), "iso_300": iso(300)}
            headers = (header.format(url=server.url, **instants) for header in case.headers)
            replies.response = http(text.encode(), *headers, status=f"{case.status} X", content_type=kind)
            answer = created(app, case.tracker, server, f"case{next(numbers)}")
            assert answer.code == case.code, answer.message
            assert all(text in answer.message for text in case.texts), answer.message
            assert not any(text in answer.message for text in case.without), answer.message
            waits = [info.retry_delay.seconds for info in answer.details(error_details_pb2.RetryInfo)]
            least, most = case.wait or (0, 0)
            assert all(least <= wait <= most for wait in waits), waits
            assert bool(waits) is (case.wait is not None)
            assert len(answer.details(error_details_pb2.PreconditionFailure)) == (case.code == 9)
            names = [v.field for each in answer.details(error_details_pb2.BadRequest) for v in each.field_violations]
            assert names == [*case.fields]

        check_rows(check, CASES)


ISSUES = {
    "github": {"number": 1, "html_url": "https://github.example/harbor/pier/issues/1"},
    "gitlab": {"iid": 1, "web_url": "https://gitlab.example/harbor/pier/-/issues/1"},
    "jira": {"id": "1", "key": "APP-1"},
    "jira_server": {"id": "1", "key": "APP-1"},
    "vsts": {"id": 1},
}
# The longest title of each, in what it counts.
LIMITS = {
    "github": ("title", 256, False),
    "gitlab": ("title", 255, False),
    "jira": ("summary", 255, True),
    "jira_server": ("summary", 255, True),
    "vsts": ("System.Title", 128, True),
}


def title_of(kind: str, sent: Any) -> str:
    if kind == "vsts":
        sent = {row["path"].removeprefix("/fields/"): row["value"] for row in sent}
    return str(sent.get("fields", sent)[LIMITS[kind][0]])


@pytest.mark.parametrize("kind", LIMITS)
def test_titles(app: Flask, kind: str) -> None:
    _, limit, in_utf16 = LIMITS[kind]
    replies = Replies()
    replies.response = http(json.dumps(ISSUES[kind]).encode(), status="201 Created", content_type="application/json")
    emoji = "\U0001f525"
    units = 2 if in_utf16 else 1
    fitting = [("fits", "x" * limit), ("emoji", emoji * (limit // units)), ("kept", "  two  spaces ")]
    with serve(replies.script) as server:
        for slug, title in fitting:
            assert created(app, kind, server, slug, title=title).code == 0
            assert title_of(kind, replies.sent[-1]) == title
        for slug, title in [
            ("long", "word " * 100),
            ("longer", emoji * 300),
            ("one", "a" + emoji * (limit // units + 1)),
        ]:
            assert created(app, kind, server, slug, title=title).code == 0
            cut = title_of(kind, replies.sent[-1])
            assert title.startswith(cut[:-1])
            assert cut.endswith("…")
            assert "\ufffd" not in cut
            assert limit - 6 <= (len(cut.encode("utf-16-le")) // 2 if in_utf16 else len(cut)) <= limit


@pytest.mark.parametrize("kind", ["jira", "jira_server"])
def test_fields_of_jira_without_its_metadata(app: Flask, kind: str) -> None:
    replies = Replies()
    replies.response = http(json.dumps(ISSUES[kind]).encode(), status="201 Created", content_type="application/json")
    metadata = {
        "components": "cart,api", "fixVersions": " 1.2 , ", "customfield_10042": '{"value": "High"}',
        "customfield_10043": '[{"value": "a"}]', "customfield_10077": "plain", "customfield_10078": "{not json",
        "note": "for people",
    }  # fmt: skip
    with serve(replies.script) as server:
        assert created(app, kind, server, "fields", metadata=metadata).code == 0
    fields = replies.sent[-1]["fields"]
    assert {name: fields.get(name) for name in metadata} == {
        "components": [{"name": "cart"}, {"name": "api"}],
        "fixVersions": [{"name": "1.2"}],
        "customfield_10042": {"value": "High"},
        "customfield_10043": [{"value": "a"}],
        "customfield_10077": "plain",
        "customfield_10078": "{not json",
        "note": None,
    }


SITE = "https://harbor.atlassian.example"


@pytest.mark.parametrize(
    ("info", "url"),
    [
        (http(json.dumps({"baseUrl": SITE}).encode()), f"{SITE}/browse/APP-1"),
        (http(json.dumps({"baseUrl": f"{SITE}/"}).encode()), f"{SITE}/browse/APP-1"),
        (http(b'{"baseUrl": "javascript:alert(1)"}'), ""),
        (http(b'{"baseUrl": 7}'), ""),
        (http(b"{}"), ""),
        (http(b"<html>"), ""),
        (http(b"{}", status="403 Forbidden"), ""),
        (http(b"{}", "location: https://elsewhere.example/", status="302 Found"), ""),
    ],
)
def test_links_of_scoped_tokens_lead_to_the_site(app: Flask, info: bytes, url: str) -> None:
    def script(peer: Peer) -> None:
        is_info = "/ex/jira/1111-2222/rest/api/3/serverInfo" in peer.target
        peer.send(info if is_info else http(json.dumps(ISSUES["jira"]).encode(), status="201 Created"))

    with serve(script) as server:
        for slug, end in (("a", ""), ("b", "/")):
            answer = created(app, "jira", server, slug, path=f"/ex/jira/1111-2222{end}")
            assert answer.only(scm_pb2.ExternalIssue).web_url == url
