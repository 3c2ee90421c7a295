"""From a suspect to an issue in Chromium: created with what the tracker requires, or found there, and linked."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

import example_app
from flask_grpcweb_scm.scm import ExternalIssue, Group, GroupLink, db
from flask_grpcweb_scm.testing.trackers import Vendor
from tests.browser.browser import Scenarios
from tests.browser.build import missing_tools
from tests.scm.trackers.vendor_apps import jira_app
from tests.servers import serving

pytestmark = pytest.mark.needs("browser")

if "CI" not in os.environ and missing_tools():
    pytest.skip(missing_tools(), allow_module_level=True)

TOKENS = {"of-acme": {"organizations": ["acme"]}, "of-example": {"organizations": ["example"]}}
# May read, and create nothing.
READERS = {"reader": {"methods": ["sentry.integrations.scm.v1.ScmService/" + each for each in (
    "FindSuspectCommits", "DeriveCodeMappings", "GetRepository", "ListRepositories", "ListIntegrations",
    "DescribeTrackerFields", "SearchExternalIssues")] + ["grpc.reflection.v1.ServerReflection/*"]}}  # fmt: skip
MARKUP = "<img src=x onerror=document.title=1>"
JIRA = f"{MARKUP} (jira_server)"


@pytest.fixture
def jira() -> Iterator[Vendor]:
    with Vendor(jira_app("2")).serving() as vendor:
        yield vendor


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jira: Vendor) -> Iterator[Flask]:
    for key, value in {
        "SQLALCHEMY_DATABASE_URI": f"sqlite:///{tmp_path}/scm.db",
        "GRPC_CONSOLE": "true",
        "GRPC_REFLECTION": "true",
        "GRPC_AUTH_TOKENS": json.dumps(TOKENS | READERS),
        "GRPC_SCM_CREDENTIALS": '{"bot": "s3cret-t0ken"}',
        "GRPC_SCM_ALLOWED_HOSTS": "127.0.0.1",
    }.items():
        monkeypatch.setenv(f"FLASK_{key}", value)
    app = example_app.create_app()
    run = app.test_cli_runner().invoke
    assert run(args=["scm", "demo", "--folder", str(tmp_path)]).exit_code == 0
    at = ["--base-url", f"{jira.url}/jira", "--credentials", "bot", "--set", "project=ABC"]
    result = run(args=["scm", "add-integration", "acme", "jira_server", "--name", MARKUP, *at])
    assert (result.exit_code, result.stderr) == (0, "")
    yield app
    with app.app_context():
        db.engine.dispose()


def take(chromium: Scenarios, app: Flask, folder: Path, *steps: dict[str, Any], **given: Any) -> dict[str, Any]:
    """What the page shows at each look; see issues.mjs."""
    trace = (folder / "traceback.txt").read_text()
    with serving(app) as url:
        asked = {"url": f"{url}/_grpc/", "token": "of-acme", "organization": "1", "project": "1", "stacktrace": trace}
        answer = chromium.play("issues", {**asked, "steps": steps, **given})
    assert (answer["violations"], answer["errors"]) == ([], [])
    seen: dict[str, Any] = answer["seen"]
    assert {(each["overflow"], each["elements"]) for each in seen.values()} == {(0, 0)}
    return seen


def stored(app: Flask) -> tuple[list[str], list[tuple[int, str]]]:
    """The keys of issues at Jira, and the links, by the number of the group."""
    with app.app_context():
        keys = db.session.scalars(sa.select(ExternalIssue.key).where(ExternalIssue.key.like("ABC-%"))).all()
        links = sa.select(Group.short_id, ExternalIssue.key).join(GroupLink, GroupLink.group_id == Group.id)
        links = links.join(ExternalIssue, ExternalIssue.id == GroupLink.linked_id)
        rows = db.session.execute(links.where(ExternalIssue.key.like("ABC-%"))).all()
        return [*keys], [(number, key) for number, key in rows]


TYPE = {"fill": {"issuetype": "Bug"}, "wait": 700, "await": "[name=customfield_1]", "look": "fields"}


def test_an_issue_is_created_with_what_is_required_and_linked(
    chromium: Scenarios, app: Flask, tmp_path: Path, jira: Vendor
) -> None:
    seen = take(
        chromium,
        app,
        tmp_path,
        {"choose": JIRA, "await": "[name=issuetype]", "look": "first"},
        TYPE,
        {"fill": {"Error group": "77", "Severity": MARKUP, "Title": "Broken", "Description": "See there."}},
        {"press": "Create and link", "await": ".done", "look": "created"},
    )
    first = seen["first"]
    assert first["integrations"] == ["Issues of this database (example)", JIRA]
    assert (first["fields"]["issuetype"][0], first["title"]) == (True, "KeyError: 'CH'")
    assert first["description"].startswith("Suspected: 85bc4bed26 A country without a rate is no longer free of taxes")
    assert "Traceback (most recent call last)" in first["description"]
    assert seen["fields"]["fields"]["customfield_1"] == [True, "", []]
    created = seen["created"]
    assert created["done"] == ["ABC-1 Broken is created, and linked to error group 77."]
    assert created["focus"] == "good done"
    assert created["links"] == [f"{jira.url}/jira/browse/ABC-1"]
    assert stored(app) == (["ABC-1"], [(77, "ABC-1")])
    [sent] = [json.loads(request.body)["fields"] for request in jira.requests if request.target.endswith("/issue")]
    assert (sent["customfield_1"], sent["summary"]) == (MARKUP, "Broken")


def test_a_response_that_is_lost_makes_no_second_issue(
    chromium: Scenarios, app: Flask, tmp_path: Path, jira: Vendor
) -> None:
    lost = [False]

    def lose(run: Any) -> Any:
        response = run()
        if lost[0] or not jira.requests[-1].target.endswith("/issue"):
            return response
        lost[0] = True
        return None

    jira.fail(lose)
    create = [
        {"press": "Create and link", "look": look, "await": end}
        for look, end in (("lost", ".wrong"), ("again", ".done"))
    ]
    fill = {"fill": {"Error group": "77", "Severity": "High", "Title": "Broken"}}
    seen = take(chromium, app, tmp_path, {"choose": JIRA, "await": "[name=issuetype]"}, TYPE, fill, *create)
    assert [text.partition(":")[0] for text in seen["lost"]["wrong"]] == ["UNAVAILABLE (14)"]
    assert seen["again"]["done"] == ["ABC-1 Broken is created, and linked to error group 77."]
    assert len([request for request in jira.requests if request.target.endswith("/issue")]) == 1


def test_a_refusal_is_shown_at_its_field(chromium: Scenarios, app: Flask, tmp_path: Path, jira: Vendor) -> None:
    seen = take(
        chromium,
        app,
        tmp_path,
        {"choose": JIRA, "await": "[name=issuetype]"},
        TYPE,
        {"fill": {"Error group": "77", "Severity": "impossible", "Title": "Broken"}},
        {"press": "Create and link", "await": ".wrong", "look": "refused"},
        width=375,
    )
    assert seen["refused"]["invalid"] == ["customfield_1"]
    assert "Severity is none of High, Low." in seen["refused"]["wrong"][0]
    assert stored(app) == ([], [])


def test_an_issue_that_exists_is_found_and_linked(
    chromium: Scenarios, app: Flask, tmp_path: Path, jira: Vendor
) -> None:
    import urllib3

    fields = {"project": {"key": "ABC"}, "issuetype": {"name": "Bug"}, "customfield_1": "High", "description": ""}
    for title in (f"Checkout {MARKUP}", "Something else"):
        path = f"{jira.url}/jira/rest/api/2/issue"
        assert urllib3.request("POST", path, json={"fields": {**fields, "summary": title}}).status == 201
    seen = take(
        chromium,
        app,
        tmp_path,
        {"choose": JIRA, "await": "section h4"},
        {
            "fill": {"Error group": "77", "Issue": "checkout"},
            "press": "Search",
            "await": ".issue-results li",
            "look": "found",
        },
        {"press": "Link ABC-1", "await": ".done", "look": "linked"},
        {"fill": {"Issue": f"{jira.url}/jira/browse/ABC-2"}, "press": "Link by key or address"},
        {"await": ".done", "wait": 300, "look": "by address"},
        {"fill": {"Issue": "https://elsewhere.example/ABC-2"}, "press": "Link by key or address"},
        {"await": ".wrong", "look": "wrong"},
    )
    assert seen["found"]["results"] == [f"ABC-1 Checkout {MARKUP} To Do, AnnLink"]
    assert seen["linked"]["done"] == [f"ABC-1 Checkout {MARKUP} is linked to error group 77."]
    assert seen["by address"]["done"] == ["ABC-2 Something else is linked to error group 77."]
    assert seen["wrong"]["wrong"][0].startswith("INVALID_ARGUMENT (3): 'https://elsewhere.example/ABC-2' is no key")
    assert stored(app) == (["ABC-1", "ABC-2"], [(77, "ABC-1"), (77, "ABC-2")])


def test_who_may_not_create_is_told_so(chromium: Scenarios, app: Flask, tmp_path: Path, jira: Vendor) -> None:
    seen = take(
        chromium,
        app,
        tmp_path,
        {"choose": JIRA, "await": "[name=issuetype]"},
        TYPE,
        {"fill": {"Error group": "77", "Severity": "High", "Title": "Broken"}},
        {"press": "Create and link", "await": ".wrong", "look": "refused"},
        token="reader",
    )
    assert [text.partition(":")[0] for text in seen["refused"]["wrong"]] == ["PERMISSION_DENIED (7)"]
    assert not [request for request in jira.requests if request.method == "POST"]
    assert stored(app) == ([], [])
