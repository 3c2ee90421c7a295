"""Issues are read again at their trackers: what has changed there is here, and the age of it is honest."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_grpcweb_scm.scm import ExternalIssue, GroupLink, IssueState, Job, OrganizationIntegration, db
from flask_grpcweb_scm.scm.database.db import database_now
from flask_grpcweb_scm.scm.jobs import REFRESH_ISSUES, RESUME_OUTBOX, make_due, run_due
from flask_grpcweb_scm.scm.jobs.issues import issue_changed
from flask_grpcweb_scm.scm.sync import KINDS
from tests.client.scripted import Peer
from tests.combinations import ON_SQLITE
from tests.scm.databases import disposed
from tests.scm.support import Scm, Tenant
from tests.scm.trackers.github_server import answer, cut_before
from tests.scm.trackers.tracking import PATIENCE, tracked, tracking_app
from tests.scm.trackers.vendors import VENDORS, VendorServer, respond_with, serve_vendor

INTERVAL = 600.0
DAY = 86400.0


@pytest.fixture
def app(database: str) -> Iterator[Flask]:
    with disposed(tracking_app(database, PATIENCE)) as app:
        yield app


@pytest.fixture(params=["github"])
def vendor(request: pytest.FixtureRequest) -> Iterator[VendorServer]:
    with serve_vendor(request.param) as vendor:
        yield vendor


every_vendor = pytest.mark.parametrize("vendor", [*VENDORS], indirect=True)
# Statements are the same whatever the vendor.
every_vendor_and_database = pytest.mark.parametrize(
    ("databases", "vendor"),
    [
        *(("sqlite", vendor) for vendor in VENDORS),
        pytest.param("postgresql", "github", marks=pytest.mark.needs("PostgreSQL")),
    ],
    indirect=True,
)


@pytest.fixture
def ours(app: Flask, vendor: VendorServer) -> Tenant:
    return at_vendor(app, vendor, "ours")


def at_vendor(app: Flask, vendor: VendorServer, slug: str, **config: Any) -> Tenant:
    config = {**vendor.config, **config}
    tenant = tracked(app, slug, vendor.base_url, provider=vendor.kind, **config)
    with app.app_context():
        db.session.execute(sa.delete(ExternalIssue).where(ExternalIssue.id == tenant.issue))
        if "repo" not in vendor.config:
            row = db.session.scalars(sa.select(OrganizationIntegration).filter_by(organization_id=tenant.organization))
            row.one().config = config
        db.session.commit()
    return tenant


def know(app: Flask, tenant: Tenant, *keys: str, **values: Any) -> None:
    """Have issues known here that are to be read."""
    with app.app_context():
        now = database_now()
        for key in keys:
            ids = {"organization_id": tenant.organization, "integration_id": tenant.integration}
            db.session.add(ExternalIssue(**{**ids, "key": key, "title": "Bug", "refresh_at": now, **values}))
        db.session.commit()


def work(app: Flask, *, tenant: Tenant | None = None) -> list[str]:
    """Run what is due; returns what the worker says."""
    lines: list[str] = []
    with app.app_context():
        make_due(RESUME_OUTBOX)
        if tenant is not None:
            make_due(REFRESH_ISSUES, tenant.integration)
        db.session.commit()
        run_due(KINDS, note=lines.append)
    return [line for line in lines if "outbox" not in line]


def pass_time(app: Flask, seconds: float) -> None:
    """Have time passed: all that is due later is due earlier."""
    columns = {
        ExternalIssue: ("refresh_at", "state_time"),
        Job: ("due_at",),
        GroupLink: ("announce_at", "date_added"),
    }
    with app.app_context():
        for model, names in columns.items():
            for row in db.session.scalars(sa.select(model)):
                for name in names:
                    value: datetime | None = getattr(row, name)
                    if value is not None:
                        setattr(row, name, value - timedelta(seconds=seconds))
        db.session.commit()


def rows(app: Flask) -> dict[str, ExternalIssue]:
    with app.app_context():
        found = {row.key: row for row in db.session.scalars(sa.select(ExternalIssue).order_by(ExternalIssue.id))}
        db.session.expunge_all()
        return found


def states(app: Flask) -> dict[str, tuple[str, str, str]]:
    return {key: (row.state.value, row.status, row.assignee) for key, row in rows(app).items()}


def seconds_until_read(app: Flask, key: str) -> float | None:
    row = rows(app)[key]
    with app.app_context():
        return None if row.refresh_at is None else (row.refresh_at - database_now()).total_seconds()


@ON_SQLITE
@every_vendor
def test_what_changes_at_the_tracker_is_here_too(app: Flask, scm: Scm, ours: Tenant, vendor: VendorServer) -> None:
    keys = [vendor.key(number) for number in (1, 2, 3)]
    for number in (1, 2, 3):
        vendor.add(number)
    know(app, ours, *keys)
    work(app)
    assert len(vendor.asked) == 1
    opened = vendor.opened
    assert states(app) == dict.fromkeys(keys, ("present", opened, ""))
    vendor.issues[2].status, vendor.issues[3].assignee, vendor.issues[3].title = "done", "ann", "Better \x1b title"
    work(app)
    assert len(vendor.asked) == 1
    pass_time(app, INTERVAL + 1)
    work(app)
    assert len(vendor.asked) == 2
    assert states(app) == {
        keys[0]: ("present", opened, ""),
        keys[1]: ("present", "done", ""),
        keys[2]: ("present", opened, "ann"),
    }
    listed = scm("ListExternalIssues", organization_id=ours.organization).issues
    assert [(row.key, row.status, row.assignee, row.title, row.state) for row in listed] == [
        (keys[0], opened, "", "Bug", 1),
        (keys[1], "done", "", "Bug", 1),
        (keys[2], opened, "ann", "Better title", 1),
    ]
    with app.app_context():
        age = database_now() - listed[0].state_time.ToDatetime(tzinfo=database_now().tzinfo)
    assert timedelta(0) <= age < timedelta(seconds=PATIENCE)


@ON_SQLITE
@every_vendor
def test_one_is_read_alone(app: Flask, ours: Tenant, vendor: VendorServer) -> None:
    vendor.add(7, status="done", assignee="ann")
    know(app, ours, vendor.key(7))
    work(app)
    assert states(app) == {vendor.key(7): ("present", "done", "ann")}
    [asked] = vendor.asked
    assert asked.startswith("GET ")


@every_vendor_and_database
def test_a_tracker_without_the_request_for_many(app: Flask, ours: Tenant, vendor: VendorServer) -> None:
    vendor.can_batch = False
    keys = [vendor.key(number) for number in range(1, 31)]
    for number in range(1, 31):
        vendor.add(number, assignee=f"a{number}")
    know(app, ours, *keys)
    work(app)
    assert states(app) == {key: ("present", vendor.opened, f"a{number}") for number, key in enumerate(keys, start=1)}
    assert len(vendor.asked) == 32


@pytest.mark.needs("time")
@every_vendor_and_database
def test_what_is_gone_is_known_and_is_not_looked_for_again_and_again(
    app: Flask, scm: Scm, ours: Tenant, vendor: VendorServer
) -> None:
    for number in (1, 2, 3):
        vendor.add(number, assignee="ann")
    keys = [vendor.key(number) for number in (1, 2, 3, 4)]
    know(app, ours, *keys)
    vendor.issues[2].refused = 410
    work(app)
    assert {key: state for key, (state, *_) in states(app).items()} == dict(
        zip(keys, ["present", "gone", "present", "gone"], strict=True)
    )
    for key in (keys[1], keys[3]):
        assert DAY - 60 < (seconds_until_read(app, key) or 0) <= DAY
    looks = 0
    for _ in range(9):
        pass_time(app, 8 * DAY)
        vendor.asked.clear()
        work(app)
        looks += len(vendor.asked) > 1
        assert len(vendor.asked) <= 3
    assert looks == 5
    assert seconds_until_read(app, keys[3]) is None
    listed = scm("ListExternalIssues", organization_id=ours.organization).issues
    assert [row.state for row in listed] == [1, 3, 1, 3]
    # Somebody says that it is there again.
    vendor.add(4, status="back")
    with app.app_context():
        assert issue_changed(ours.integration, keys[3]) == 1
        db.session.commit()
    work(app)
    assert states(app)[keys[3]] == ("present", "back", "")


MOVED = {"github": "n/m#9", "github_enterprise": "n/m#9", "gitlab": "x:n/m#9", "jira": "NEW-9", "jira_server": "NEW-9"}


@ON_SQLITE
@pytest.mark.parametrize("vendor", [*MOVED], indirect=True)
@pytest.mark.parametrize("others", [0, 2])
def test_what_was_moved_is_followed(app: Flask, scm: Scm, ours: Tenant, vendor: VendorServer, others: int) -> None:
    place = MOVED[vendor.kind].replace("x:", f"{vendor.host}:")
    vendor.add(1, moved_to=place, assignee="ann")
    for number in range(2, 2 + others):
        vendor.add(number)
    know(app, ours, *(vendor.key(number) for number in range(1, 2 + others)))
    work(app)
    [listed, *_] = scm("ListExternalIssues", organization_id=ours.organization).issues
    assert (listed.key, listed.state, listed.moved_to, listed.assignee) == (vendor.key(1), 2, place, "ann")
    assert listed.web_url.endswith(("/n/m/issues/9", "/n/m/-/issues/9", "/browse/NEW-9"))
    # A webhook calls it as it is called now, and so do people.
    with app.app_context():
        for name in (place, place.swapcase()):
            assert issue_changed(ours.integration, name) == 1
    linked = scm("LinkExternalIssue", group_id=ours.group, integration_id=ours.integration, external_key=place)
    assert linked.id == listed.id


def test_what_was_moved_out_of_the_projects_is_not_read(app: Flask, vendor: VendorServer) -> None:
    held = at_vendor(app, vendor, "held", projects="o/r")
    vendor.add(1, moved_to="n/m#9", assignee="secret", title="Secret")
    know(app, held, vendor.key(1))
    lines = work(app)
    assert states(app) == {"o/r#1": ("unread", "", "")}
    assert any("'n/m' is none of the projects" in line for line in lines)
    assert INTERVAL - 60 < (seconds_until_read(app, "o/r#1") or 0) <= INTERVAL


def test_a_redirect_that_leads_away_is_a_move(app: Flask, ours: Tenant, vendor: VendorServer) -> None:
    know(app, ours, "o/r#1", status="open")
    vendor.faults = [respond_with("301 Moved Permanently", "location: https://elsewhere.example/x")]
    work(app)
    assert states(app) == {"o/r#1": ("moved", "open", "")}
    assert DAY - 60 < (seconds_until_read(app, "o/r#1") or 0) <= DAY


def test_a_title_that_was_only_cut_stays_whole(app: Flask, ours: Tenant, vendor: VendorServer) -> None:
    whole = "word " * 100 + "end"
    know(app, ours, "o/r#1", title=whole)
    vendor.add(1, title=f"{whole[:254]}…")
    work(app)
    assert rows(app)["o/r#1"].title == whole
    vendor.issues[1].title = "Short"
    pass_time(app, INTERVAL + 1)
    work(app)
    assert rows(app)["o/r#1"].title == "Short"


def test_one_account_serves_organizations_which_do_not_see_each_other(
    app: Flask, ours: Tenant, vendor: VendorServer
) -> None:
    theirs = at_vendor(app, vendor, "theirs")
    with app.app_context():
        installation = db.session.scalars(
            sa.select(OrganizationIntegration).filter_by(organization_id=theirs.organization)
        ).one()
        installation.integration_id = ours.integration
        installation.config = {"repo": "o/r", "projects": "o/other"}
        db.session.commit()
    vendor.add(1, assignee="ann")
    know(app, ours, "o/r#1")
    know(app, theirs, "o/r#1", integration_id=ours.integration)
    work(app)
    with app.app_context():
        found = db.session.execute(
            sa.select(ExternalIssue.organization_id, ExternalIssue.assignee).order_by(ExternalIssue.id)
        ).all()
    assert [tuple(row) for row in found] == [(ours.organization, "ann"), (theirs.organization, "")]
    with app.app_context():
        assert issue_changed(ours.integration, "o/r#1") == 2


LIMITS = [
    ("429 Too Many Requests", ["retry-after: 1000"], b"{}", 1000),
    ("403 Forbidden", ["x-ratelimit-remaining: 0", "x-ratelimit-reset: {reset}"], b"{}", 900),
    ("403 Forbidden", [], b'{"message": "You have exceeded a secondary rate limit."}', 60),
]


@ON_SQLITE
@pytest.mark.parametrize(("status", "headers", "body", "seconds"), LIMITS)
@pytest.mark.parametrize("known", [1, 3])
def test_a_limit_holds_for_the_whole_account_and_nothing_hurries_it(
    app: Flask,
    ours: Tenant,
    vendor: VendorServer,
    status: str,
    headers: list[str],
    body: bytes,
    seconds: float,
    known: int,
) -> None:
    with app.app_context():
        reset = int(database_now().timestamp() + 900)
    limit = respond_with(status, *(header.format(reset=reset) for header in headers), body=body)

    def limit_and_call(peer: Peer, act: Callable[[], bytes]) -> None:
        # While the job runs: it is not done at once for that.
        with app.app_context():
            issue_changed(ours.integration, "o/r#1")
            db.session.commit()
        limit(peer, act)

    know(app, ours, *(f"o/r#{number}" for number in range(1, known + 1)))
    vendor.faults = [limit_and_call]
    work(app)
    with app.app_context():
        issue_changed(ours.integration, "o/r#1")
        db.session.commit()
        job = db.session.scalars(sa.select(Job).filter_by(kind=REFRESH_ISSUES)).one()
        wait = (job.due_at - database_now()).total_seconds()
        assert job.error
    assert seconds - 20 < wait <= seconds
    work(app)
    assert len(vendor.asked) == 1
    assert {state for state, *_ in states(app).values()} == {"unread"}
    vendor.add(1)
    pass_time(app, seconds)
    work(app)
    assert states(app)["o/r#1"][0] == "present"


# Name, fault, and how often the request is sent.
GARBAGE: list[tuple[str, Any, int]] = [
    ("refused", respond_with("403 Forbidden"), 1),
    ("no JSON", respond_with("200 OK", body=b"<html>"), 1),
    ("another thing", respond_with("200 OK", body=b'{"number": "x", "state": 7}'), 1),
    ("a text that cannot be stored", respond_with("200 OK", body=b'{"number": 1, "html_url": "https://a/\\ud800"}'), 1),
    ("5xx", respond_with("502 Bad Gateway"), 3),
    ("cut", cut_before, 3),
]


@ON_SQLITE
@pytest.mark.parametrize(("fault", "times"), [row[1:] for row in GARBAGE], ids=[row[0] for row in GARBAGE])
def test_one_that_cannot_be_read_lets_the_others_be_read(
    app: Flask, ours: Tenant, vendor: VendorServer, fault: Any, times: int
) -> None:
    vendor.can_batch = False
    for number in (1, 2, 3):
        vendor.add(number)
    know(app, ours, "o/r#1", "o/r#2", "o/r#3")
    vendor.faults = [answer, *[fault] * times]
    work(app)
    assert sorted(state for state, *_ in states(app).values()) == ["present", "present", "unread"]
    pass_time(app, 2 * INTERVAL)
    vendor.faults.clear()
    work(app)
    assert {state for state, *_ in states(app).values()} == {"present"}


def test_a_tracker_that_is_down_is_left_alone_and_the_age_is_honest(
    app: Flask, ours: Tenant, vendor: VendorServer
) -> None:
    for number in range(1, 11):
        vendor.add(number, status="open")
    know(app, ours, *(f"o/r#{number}" for number in range(1, 11)))
    work(app)
    before = rows(app)["o/r#1"].state_time
    for _ in range(5):
        pass_time(app, INTERVAL + 1)
        vendor.asked.clear()
        vendor.faults = [respond_with("503 Service Unavailable")] * 100
        work(app)
        assert len(vendor.asked) <= 10
    found = rows(app)["o/r#1"]
    assert before is not None
    assert found.state_time is not None
    assert (before - found.state_time).total_seconds() == pytest.approx(5 * (INTERVAL + 1), abs=1)
    assert (found.state, found.status) == (IssueState.PRESENT, "open")


def test_a_reading_does_not_replace_a_later_one(app: Flask, ours: Tenant, vendor: VendorServer) -> None:
    vendor.add(1)
    know(app, ours, "o/r#1")

    def slowly(peer: Peer, act: Callable[[], bytes]) -> None:
        response = act()
        with app.app_context():
            now = database_now() + timedelta(seconds=1)
            values = {
                "status": "newer",
                "state": IssueState.PRESENT,
                "state_time": now,
                "refresh_at": now + timedelta(days=1),
            }
            db.session.execute(sa.update(ExternalIssue).values(values))
            db.session.commit()
        peer.send(response)

    vendor.faults = [slowly]
    work(app)
    assert states(app)["o/r#1"][1] == "newer"


def test_one_that_changes_while_it_is_read_is_read_again(app: Flask, ours: Tenant, vendor: VendorServer) -> None:
    vendor.add(1)
    know(app, ours, "o/r#1")

    def change(peer: Peer, act: Callable[[], bytes]) -> None:
        response = act()
        vendor.issues[1].status = "completed"
        with app.app_context():
            issue_changed(ours.integration, "o/r#1")
            db.session.commit()
        peer.send(response)

    vendor.faults = [change]
    work(app)
    assert states(app)["o/r#1"][1] == "completed"
    assert len(vendor.asked) == 2


def test_what_is_due_soon_is_read_with_what_is_due(app: Flask, ours: Tenant, vendor: VendorServer) -> None:
    for number in (1, 2, 3):
        vendor.add(number)
    with app.app_context():
        now = database_now()
    know(app, ours, "o/r#1")
    know(app, ours, "o/r#2", refresh_at=now + timedelta(seconds=INTERVAL * 0.2))
    know(app, ours, "o/r#3", refresh_at=now + timedelta(seconds=INTERVAL * 0.5))
    work(app)
    assert [state for state, *_ in states(app).values()] == ["present", "present", "unread"]
    assert len(vendor.asked) == 1


def test_issues_that_exist_only_here_are_never_read(app: Flask, scm: Scm, ours: Tenant) -> None:
    with app.app_context():
        from tests.scm.support import add_tenant

        local = add_tenant("local")
    issue = scm("CreateExternalIssue", organization_id=local.organization, integration_id=local.integration, title="x")
    assert rows(app)[issue.key].refresh_at is None
    assert not issue.HasField("state_time")
    assert issue.state == 0
    assert work(app) == []


def test_a_webhook_for_what_nobody_knows(app: Flask, ours: Tenant) -> None:
    with app.app_context():
        assert issue_changed(ours.integration, "o/r#1") == 0
        assert issue_changed(999, "o/r#1") == 0
        db.session.commit()
    assert work(app) == []


def test_a_created_issue_is_read_soon_and_a_linked_one_is_known(
    app: Flask, scm: Scm, ours: Tenant, vendor: VendorServer
) -> None:
    vendor.add(5, status="not_planned", assignee="bob")
    issue = scm("LinkExternalIssue", group_id=ours.group, integration_id=ours.integration, external_key="o/r#5")
    assert (issue.status, issue.assignee, issue.state) == ("not_planned", "bob", 1)
    assert issue.HasField("state_time")
    vendor.issues.clear()
    created = scm("CreateExternalIssue", organization_id=ours.organization, integration_id=ours.integration, title="x")
    assert (created.status, created.state) == ("", 0)
    work(app)
    assert states(app)[created.key] == ("present", "open", "")


def test_a_limit_of_queries_is_one_of_the_account(app: Flask, ours: Tenant, vendor: VendorServer) -> None:
    know(app, ours, "o/r#1", "o/r#2")
    body = b'{"data": null, "errors": [{"type": "RATE_LIMITED", "message": "API rate limit exceeded"}]}'
    vendor.faults = [respond_with("200 OK", body=body)]
    lines = work(app)
    assert len(vendor.asked) == 1
    assert "refresh_issues 1: failed, and due again in 60 s: github limits the rate of queries" in lines


@pytest.mark.needs("time")
def test_a_tracker_that_is_slow_is_read_bit_by_bit(database: str, vendor: VendorServer) -> None:
    with disposed(tracking_app(database, 1.5)) as app:
        _read_slowly(app, at_vendor(app, vendor, "ours"), vendor)


def _read_slowly(app: Flask, ours: Tenant, vendor: VendorServer) -> None:
    vendor.can_batch = False
    for number in range(1, 8):
        vendor.add(number)

    def slowly(peer: Peer, act: Callable[[], bytes]) -> None:
        time.sleep(0.3)
        peer.send(act())

    know(app, ours, *(f"o/r#{number}" for number in range(1, 8)))
    vendor.faults = [slowly] * 30
    lines = work(app)
    assert {state for state, *_ in states(app).values()} == {"present"}
    assert not any("failed" in line for line in lines)


def test_a_reading_that_the_database_does_not_keep_is_no_reason_to_ask_again(
    app: Flask, ours: Tenant, vendor: VendorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    vendor.add(1)
    know(app, ours, "o/r#1")
    with app.app_context():
        engine = db.engine

    def keep_due(connection: Any, cursor: Any, text: str, parameters: Any, *more: Any) -> tuple[str, Any]:
        return (
            text.replace("WHERE", "WHERE 1 = 0 AND", 1) if text.startswith("UPDATE scm_external_issue SET") else text
        ), parameters

    sa.event.listen(engine, "before_cursor_execute", keep_due, retval=True)
    lines = work(app)
    assert len(vendor.asked) == 1
    assert any("issue o/r#1 is due still, though it was read" in line for line in lines)
