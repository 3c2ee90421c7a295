"""Links are told to their trackers once, whatever is cut off on the way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_grpcweb_scm.scm import GroupLink, IssueOperation, db
from flask_grpcweb_scm.scm.service import external_issues
from flask_grpcweb_scm.scm.trackers.announcements import LONGEST
from flask_grpcweb_scm.scm.trackers.tracker import Tracker
from tests.client.scripted import Peer, http
from tests.combinations import ON_SQLITE
from tests.scm.support import Scm, Tenant
from tests.scm.sync.test_issues import (
    app,
    at_vendor,
    every_vendor,
    every_vendor_and_database,
    ours,
    pass_time,
    vendor,
    work,
)
from tests.scm.trackers import github_server as faults
from tests.scm.trackers.github_server import Fault
from tests.scm.trackers.vendors import VendorServer, respond_with

__all__ = ["app", "ours", "vendor"]  # fixtures

LATER = 700.0


def link(scm: Scm, tenant: Tenant, vendor: VendorServer) -> None:
    scm("LinkExternalIssue", group_id=tenant.group, integration_id=tenant.integration, external_key=vendor.key(1))


def pending(app: Flask) -> int:
    with app.app_context():
        assert db.session.scalars(sa.select(IssueOperation)).all() == []
        found = sa.select(sa.func.count()).select_from(GroupLink).where(GroupLink.announce_at.is_not(None))
        return db.session.scalar(found) or 0


def status_after(status: str) -> Fault:
    def fault(peer: Peer, act: Callable[[], bytes]) -> None:
        act()
        peer.send(http(b"<html>", status=status))

    return fault


UNCERTAIN = {
    "cut before": (faults.cut_before, 0),
    "cut after": (faults.cut_after, 1),
    "cut in the response": (faults.cut_in_the_answer, 1),
    "silent before": (faults.silent_before, 0),
    "silent after": (faults.silent_after, 1),
    "502 before": (respond_with("502 Bad Gateway"), 0),
    "502 after": (status_after("502 Bad Gateway"), 1),
    "limited": (respond_with("429 Too Many Requests", "retry-after: 1"), 0),
    "signed out": (respond_with("401 Unauthorized"), 0),
}


@ON_SQLITE
@every_vendor
@pytest.mark.parametrize("name", UNCERTAIN)
def test_a_comment_whose_outcome_is_not_known(
    app: Flask, scm: Scm, ours: Tenant, vendor: VendorServer, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Others do not wait for it, and are later on a busy machine.
    if name.startswith(("silent", "limited")):
        monkeypatch.setattr(external_issues, "COMMENT_SECONDS", 0.5)
    fault, count = UNCERTAIN[name]
    issue = vendor.add(1)
    vendor.faults = [faults.answer, fault]
    link(scm, ours, vendor)
    assert (len(issue.comments), pending(app)) == (count, 1)
    # The call may be under way.
    work(app)
    assert (len(issue.comments), pending(app)) == (count, 1)
    pass_time(app, LATER)
    work(app)
    assert (len(issue.comments), pending(app)) == (1, 0)
    assert f"Linked to error group {ours.group}: " in issue.comments[0]
    pass_time(app, LATER)
    work(app)
    assert len(issue.comments) == 1


@ON_SQLITE
@pytest.mark.parametrize("status", ["403 Forbidden", "404 Not Found", "410 Gone", "422 Unprocessable"])
def test_a_comment_that_is_refused_is_not_tried_again(
    app: Flask, scm: Scm, ours: Tenant, vendor: VendorServer, status: str
) -> None:
    issue = vendor.add(1)
    vendor.faults = [faults.answer, respond_with(status)]
    link(scm, ours, vendor)
    assert pending(app) == 0
    pass_time(app, LATER)
    work(app)
    assert issue.comments == []


def test_a_tracker_that_stays_down_is_tried_for_a_day(app: Flask, scm: Scm, ours: Tenant, vendor: VendorServer) -> None:
    vendor.add(1)
    vendor.faults = [faults.answer, faults.cut_before]
    link(scm, ours, vendor)
    for _ in range(3):
        pass_time(app, LATER)
        vendor.faults = [respond_with("503 Unavailable")] * 50
        work(app)
        assert pending(app) == 1
    pass_time(app, LONGEST.total_seconds())
    work(app)
    assert pending(app) == 0


def test_a_tracker_that_shows_no_comments_gets_at_most_one(
    app: Flask, scm: Scm, ours: Tenant, vendor: VendorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flask_grpcweb_scm.scm.trackers.github.GitHub.comments", Tracker.comments)
    issue = vendor.add(1)
    vendor.faults = [faults.answer, faults.cut_after]
    link(scm, ours, vendor)
    pass_time(app, LATER)
    work(app)
    assert (len(issue.comments), pending(app)) == (1, 0)


def test_other_groups_have_comments_of_their_own(app: Flask, scm: Scm, ours: Tenant, vendor: VendorServer) -> None:
    issue = vendor.add(1)
    issue.comments = ['{"body": "Linked to error group 11: x"}', '{"body": "Linked to error group"}']
    vendor.faults = [faults.answer, faults.cut_before]
    link(scm, ours, vendor)
    pass_time(app, LATER)
    work(app)
    assert len(issue.comments) == 3


def test_github_shows_the_newest_comments_on_the_last_page(
    app: Flask, scm: Scm, ours: Tenant, vendor: VendorServer
) -> None:
    issue = vendor.add(1)
    vendor.faults = [faults.answer, faults.cut_after]
    link(scm, ours, vendor)
    pass_time(app, LATER)
    work_at = f"{vendor.url}/repos/o/r/issues/1/comments?per_page=100&page="
    first = respond_with("200 OK", f'link: <{work_at}2>; rel="next", <{work_at}9>; rel="last"', body=b"[]")
    vendor.faults = [first]
    work(app)
    assert any("page=9" in target for target in vendor.asked)
    assert (len(issue.comments), pending(app)) == (1, 0)


@every_vendor_and_database
def test_an_organization_that_is_held_to_its_projects(app: Flask, scm: Scm, vendor: VendorServer) -> None:
    [project] = [vendor.config[name] for name in ("repo", "project") if name in vendor.config]
    held = at_vendor(app, vendor, "held", projects=project)
    issue = vendor.add(1)
    link(scm, held, vendor)
    assert (len(issue.comments), pending(app)) == (1, 0)
    # A worker is held to them, too.
    other = at_vendor(app, vendor, "other", projects=project)
    vendor.faults = [faults.answer] * 2 + [respond_with("502 Bad Gateway")]
    link(scm, other, vendor)
    vendor.faults.clear()
    pass_time(app, LATER)
    work(app)
    assert pending(app) == 0
    assert len(issue.comments) == 2


@pytest.mark.parametrize("config", [{"comment_on_link": "false"}, {"projects": "o/other", "comment_on_link": "true"}])
def test_what_is_not_to_be_told(app: Flask, scm: Scm, vendor: VendorServer, config: dict[str, Any]) -> None:
    quiet = at_vendor(app, vendor, "quiet", **config)
    issue = vendor.add(1)
    with app.app_context():
        from flask_grpcweb_scm.scm import ExternalIssue

        ids = {"organization_id": quiet.organization, "integration_id": quiet.integration}
        row = ExternalIssue(**ids, key="o/r#1")
        db.session.add(row)
        db.session.commit()
        row_id = row.id
    scm("LinkExternalIssue", group_id=quiet.group, external_issue_id=row_id)
    assert pending(app) == 0
    work(app)
    assert issue.comments == []
