"""``flask scm issues``."""

from __future__ import annotations

import json

import pytest
from flask import Flask

from flask_grpcweb_scm.scm import ExternalIssue, db
from flask_grpcweb_scm.scm.cli import issues
from tests.scm.cli.test_rows import run
from tests.scm.support import Tenant, add_tenant
from tests.scm.sync.test_issues import INTERVAL, app, know, ours, pass_time, vendor
from tests.scm.trackers.vendors import VendorServer, respond_with

__all__ = ["app", "ours", "vendor"]  # fixtures


def test_issues_are_listed_with_their_age_and_read_now(app: Flask, ours: Tenant, vendor: VendorServer) -> None:
    vendor.add(1, assignee="ann")
    vendor.add(2, moved_to="n/m#9", title="two\nlines")
    know(app, ours, "o/r#1", "o/r#2", "o/r#3")
    assert run(app, "issues", "list", "ours").stdout.splitlines() == [
        f"o/r#{number}  unread, no status, nobody: Bug" for number in (1, 2, 3)
    ]
    done = run(app, "issues", "refresh", "ours")
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert [line.partition(", read ")[0] for line in lines] == [
        "o/r#1  open, ann",
        "o/r#2  moved, to n/m#9, open, nobody",
        "o/r#3  gone, no status, nobody",
        "3 of 3 read",
    ]
    assert lines[1].endswith(" s ago: two lines")
    pass_time(app, 7300)
    assert ", read 2 h ago: " in run(app, "issues", "list", "ours", "--integration", "Jira").stdout
    listed = json.loads(run(app, "issues", "list", "ours", "--json").stdout)["issues"]
    assert (listed[1]["state"], listed[1]["moved_to"], listed[1]["age"]) == ("moved", "n/m#9", "2 h")


def test_some_are_read(app: Flask, ours: Tenant, vendor: VendorServer) -> None:
    for number in (1, 2):
        vendor.add(number)
    with app.app_context():
        know(app, ours, "o/r#1", "o/r#2", refresh_at=None)
    assert run(app, "issues", "refresh", "ours", "--key", "o/r#2").stdout.endswith("\n1 of 1 read\n")
    assert vendor.asked == ["GET /repos/o/r/issues/2"]
    for known in ((), ("--key", "o/r#2")):
        vendor.asked.clear()
        wrong = run(app, "issues", "refresh", "ours", *known, "--key", "o/r#9")
        assert "'ours' has no issue 'o/r#9' at a tracker; see: flask scm issues list ours" in wrong.stderr
        assert vendor.asked == []
    assert run(app, "issues", "refresh", "ours", "--integration", "No").exit_code == 1


def test_why_nothing_was_read(app: Flask, ours: Tenant, vendor: VendorServer) -> None:
    know(app, ours, "o/r#1")
    vendor.faults = [respond_with("401 Unauthorized")] * 9
    done = run(app, "issues", "refresh", "ours", "--json")
    assert done.exit_code == 1
    facts = json.loads(done.stdout)
    assert (facts["read"], [*facts["errors"]]) == (0, ["Jira"])
    assert "with 401: no" in facts["errors"]["Jira"]
    [job] = json.loads(run(app, "jobs", "--json").stdout)["jobs"]
    assert (job["kind"], job["integration"], job["state"]) == ("refresh_issues", "Jira", "failing")
    assert f"refresh_issues {ours.integration}    Jira  failing" in run(app, "jobs").stdout


def test_without_issues_of_a_tracker(app: Flask) -> None:
    with app.app_context():
        tenant = add_tenant("local")
        db.session.delete(db.session.get_one(ExternalIssue, tenant.issue))
        db.session.commit()
    assert run(app, "issues", "list", "local").stdout == "there are no external issues\n"
    assert run(app, "issues", "refresh", "local").stdout == "0 of 0 read\n"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0 s"), (0, "0 s"), (119, "119 s"), (120, "2 min"), (INTERVAL * 13, "2 h"), (86400 * 2.5, "2 d")],
)
def test_ages(seconds: float, text: str) -> None:
    from datetime import timedelta

    assert issues._age(timedelta(seconds=seconds)) == text
