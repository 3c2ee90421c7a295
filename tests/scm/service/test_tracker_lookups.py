"""Issues and fields that are looked up at a tracker: links by key, searches, and what a project requires."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_grpcweb_scm import Identity, StatusCode
from flask_grpcweb_scm.scm import ExternalIssue, Group, GroupLink, OrganizationIntegration, db
from tests.client.scripted import Peer, http
from tests.combinations import ON_SQLITE
from tests.scm.support import Scm, Tenant
from tests.scm.trackers import github_server
from tests.scm.trackers.github_server import GitHubServer
from tests.scm.trackers.tracking import app, github, ours, tracked

__all__ = ["app", "github", "ours"]

PAGE = "https://github.example/o/r/issues/1"


@pytest.fixture(autouse=True)
def _an_issue(github: GitHubServer) -> None:
    github.issues.append({"number": 1, "html_url": PAGE, "title": "Checkout\nfails", "state": "open"})


def by_key(tenant: Tenant, key: str = "o/r#1", **more: Any) -> dict[str, Any]:
    return {"group_id": tenant.group, "integration_id": tenant.integration, "external_key": key, **more}


def known(app: Flask) -> list[tuple[str, str, str]]:
    with app.app_context():
        rows = db.session.scalars(sa.select(ExternalIssue).order_by(ExternalIssue.id)).all()
        return [(row.key, row.title, row.web_url) for row in rows if "#" in row.key]


def links(app: Flask) -> int:
    with app.app_context():
        return db.session.scalar(sa.select(sa.func.count()).select_from(GroupLink)) or 0


def test_an_issue_that_exists_at_the_tracker_is_linked(
    app: Flask, scm: Scm, ours: Tenant, github: GitHubServer
) -> None:
    issue = scm("LinkExternalIssue", **by_key(ours))
    assert (issue.key, issue.title, issue.web_url) == ("o/r#1", "Checkout fails", PAGE)
    assert (issue.organization_id, issue.integration_id) == (ours.organization, ours.integration)
    listed = scm("ListExternalIssues", organization_id=ours.organization, group_id=ours.group)
    assert [row.id for row in listed.issues] == [issue.id]
    # People see it there, too.
    [(target, text)] = github.comments
    assert "/issues/1/comments" in target
    assert text.startswith(f"Linked to error group {ours.group}: ")
    # By the address of its page, which is the same one.
    error = scm.error(StatusCode.ALREADY_EXISTS, "LinkExternalIssue", **by_key(ours, f"{github.url}/o/r/issues/1"))
    assert error.message == f"external issue {issue.id} is linked to group {ours.group} already"
    assert known(app) == [("o/r#1", "Checkout fails", PAGE)]


def test_an_issue_that_is_known_is_not_looked_up(scm: Scm, ours: Tenant, github: GitHubServer) -> None:
    first = scm("LinkExternalIssue", **by_key(ours))
    scm("UnlinkExternalIssue", group_id=ours.group, external_issue_id=first.id)
    github.asked.clear()
    assert scm("LinkExternalIssue", **by_key(ours)).id == first.id
    assert [target.partition(" ")[0] for target in github.asked] == ["POST"]


def test_there_may_be_no_comment(app: Flask, scm: Scm, github: GitHubServer) -> None:
    quiet = tracked(app, "quiet", github.url, comment_on_link="false")
    scm("LinkExternalIssue", **by_key(quiet))
    assert github.comments == []


@ON_SQLITE
@pytest.mark.parametrize(
    ("more", "code", "text"),
    [
        ({"external_issue_id": 1}, 3, "external_issue_id names an issue, and so do integration_id and external_key"),
        ({"integration_id": 0}, 3, "integration_id is needed with external_key"),
        ({"external_key": ""}, 3, "external_key"),
        ({"external_key": "x" * 3000}, 3, "external_key"),
        ({"external_key": "7"}, 3, "'7' is no key of github"),
        ({"external_key": "o/r#2"}, 5, "github responded with 404: Not Found"),
        ({"integration_id": 999}, 5, "integration 999 is not installed"),
        ({"group_id": 999}, 5, "group 999 does not exist"),
    ],
)
def test_what_names_no_issue_is_refused(
    app: Flask, scm: Scm, ours: Tenant, more: dict[str, Any], code: int, text: str
) -> None:
    assert text in scm.error(StatusCode(code), "LinkExternalIssue", **by_key(ours, **more)).message
    assert (known(app), links(app)) == ([], 0)


def test_projects_of_others_are_not_looked_at(app: Flask, scm: Scm, github: GitHubServer) -> None:
    held = tracked(app, "held", github.url, projects="o/other")
    scm.error(StatusCode.PERMISSION_DENIED, "LinkExternalIssue", **by_key(held))
    ids = {"organization_id": held.organization, "integration_id": held.integration}
    scm.error(StatusCode.PERMISSION_DENIED, "SearchExternalIssues", **ids, query="x")
    assert github.asked == []


def test_what_a_tracker_has_is_not_for_callers_of_some_projects(scm: Scm, ours: Tenant, github: GitHubServer) -> None:
    caller = Identity("c", projects=frozenset({ours.project}))
    ids = {"organization_id": ours.organization, "integration_id": ours.integration}
    for method, fields in [
        ("LinkExternalIssue", by_key(ours)),
        ("SearchExternalIssues", {**ids, "query": "x"}),
        ("DescribeTrackerFields", ids),
    ]:
        scm.error(StatusCode.PERMISSION_DENIED, method, caller=caller, **fields)
    assert github.asked == []


def test_an_integration_without_a_tracker(scm: Scm, app: Flask, ours: Tenant) -> None:
    with app.app_context():
        from tests.scm.support import add_tenant

        local = add_tenant("local")
    error = scm.error(StatusCode.FAILED_PRECONDITION, "LinkExternalIssue", **by_key(local))
    assert error.message == f"integration {local.integration} has no tracker: its issues exist here only"


def configure(app: Flask, tenant: Tenant, **config: str) -> None:
    with app.app_context():
        statement = sa.select(OrganizationIntegration).filter_by(integration_id=tenant.integration)
        db.session.scalars(statement).one().config = config
        db.session.commit()


FAULTS = ["cut_before", "cut_after", "cut_in_the_answer", "nonsense_after"]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_link_that_is_cut_off_leaves_nothing_and_can_be_repeated(
    app: Flask, scm: Scm, ours: Tenant, github: GitHubServer, fault: str
) -> None:
    # GET is tried three times.
    github.faults = [getattr(github_server, fault)] * 3
    scm.error(StatusCode.UNAVAILABLE, "LinkExternalIssue", **by_key(ours))
    assert (known(app), links(app)) == ([], 0)
    github.faults.clear()
    assert scm("LinkExternalIssue", **by_key(ours)).key == "o/r#1"
    assert links(app) == 1


@ON_SQLITE
@pytest.mark.parametrize("fault", [*FAULTS, "silent_after"])
def test_a_comment_that_fails_does_not_fail_the_link(
    app: Flask, scm: Scm, ours: Tenant, github: GitHubServer, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flask_grpcweb_scm.scm.service import external_issues

    monkeypatch.setattr(external_issues, "COMMENT_SECONDS", 0.5)
    github.faults = [github_server.answer, getattr(github_server, fault)]
    assert scm("LinkExternalIssue", **by_key(ours)).key == "o/r#1"
    assert links(app) == 1


@pytest.mark.parametrize(
    ("row", "text"),
    [(OrganizationIntegration.integration_id, "is not installed"), (Group.id, "does not exist")],
    ids=["installation", "group"],
)
def test_what_is_deleted_meanwhile_gets_no_link(
    app: Flask, scm: Scm, ours: Tenant, github: GitHubServer, row: Any, text: str
) -> None:
    def fault(peer: Peer, act: Callable[[], bytes]) -> None:
        with app.app_context():
            if row is Group.id:
                db.session.execute(sa.delete(GroupLink))
            wanted = ours.group if row is Group.id else ours.integration
            db.session.execute(sa.delete(row.class_).where(row == wanted))
            db.session.commit()
        peer.send(act())

    github.faults = [fault]
    assert text in scm.error(StatusCode.NOT_FOUND, "LinkExternalIssue", **by_key(ours)).message
    assert (known(app), links(app)) == ([], 0)
    assert github.comments == []


def test_links_at_the_same_time_store_one_issue(app: Flask, scm: Scm, ours: Tenant) -> None:
    def link(_: int) -> str:
        try:
            return str(scm("LinkExternalIssue", **by_key(ours)).key)
        except Exception as error:
            return type(error).__name__

    with ThreadPoolExecutor(4) as threads:
        results = [*threads.map(link, range(4))]
    assert results.count("o/r#1") == 1
    assert (len(known(app)), links(app)) == (1, 1)


def test_search(scm: Scm, ours: Tenant, github: GitHubServer) -> None:
    ids = {"organization_id": ours.organization, "integration_id": ours.integration}
    [found] = scm("SearchExternalIssues", **ids, query="checkout").issues
    assert (found.key, found.title, found.web_url, found.status) == ("o/r#1", "Checkout fails", PAGE, "open")
    for query in ("", " ", "x" * 257, "a\0"):
        assert "query" in scm.error(StatusCode.INVALID_ARGUMENT, "SearchExternalIssues", **ids, query=query).message


def test_fields_and_their_defaults(scm: Scm, ours: Tenant) -> None:
    ids = {"organization_id": ours.organization, "integration_id": ours.integration}
    fields = {field.name: field for field in scm("DescribeTrackerFields", **ids).fields}
    assert set(fields) == {"repo", "assignees", "labels", "milestone", "type"}
    # The configuration of the integration has it.
    assert (fields["repo"].required, fields["repo"].default_value) == (False, "o/r")


def test_jira_names_what_the_caller_can_set(
    app: Flask, github: GitHubServer, scm: Scm, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant = tracked(app, "jira", github.url, provider="jira_server", project="ABC", issuetype="Bug")
    schema = {"type": "option"}
    field = {"fieldId": "customfield_1", "name": "Severity", "required": True, "schema": schema}
    pages = [{"values": [{"id": "1", "name": "Bug"}]}, {"values": [field]}]

    def answers(*texts: Any) -> list[Callable[[Peer, Callable[[], bytes]], None]]:
        return [lambda peer, act, text=text: peer.send(http(json.dumps(text).encode())) for text in texts]

    github.faults = answers(*pages)  # type: ignore[assignment]
    ids = {"organization_id": tenant.organization, "integration_id": tenant.integration}
    [found] = scm("DescribeTrackerFields", **ids).fields
    assert (found.name, found.label, found.required) == ("customfield_1", "Severity", True)
    # A default counts by the name that it has in the configuration, and one without a value does not.
    for defaults, expected in [
        ({"severity": "High"}, (False, "High")),
        ({"customfield_1": "Low", "Severity": " "}, (False, "Low")),
        ({"customfield_1": " "}, (True, "")),
    ]:
        configure(app, tenant, project="ABC", issuetype="Bug", **defaults)
        [found] = scm("DescribeTrackerFields", **ids).fields
        assert (found.required, found.default_value) == expected
    refused = {"errors": {"customfield_1": "Severity is required."}}
    github.faults = [lambda peer, act: peer.send(http(json.dumps(refused).encode(), status="400 Bad Request"))]
    error = scm.error(StatusCode.INVALID_ARGUMENT, "CreateExternalIssue", **ids, title="x")
    assert "metadata.customfield_1: Severity is required." in error.message
