"""Faults at each request to a tracker, and at each commit on the way: nothing is lost, and nothing is there twice.

A link by key, a search, a look at the fields, a reading of states and a comment of a worker, at stand-ins for all
vendors; each is repeated afterwards, as its caller or a worker would, and then the database and the tracker are
compared.
"""

from __future__ import annotations

import contextlib
import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from flask import Flask

from flask_grpcweb_scm import RpcError
from flask_grpcweb_scm.scm import ExternalIssue, GroupLink, Integration, Job, OrganizationIntegration, db
from flask_grpcweb_scm.scm.database.db import database_now
from flask_grpcweb_scm.scm.jobs import REFRESH_ISSUES, make_due, run_due
from flask_grpcweb_scm.scm.lru_cache import LruCache
from flask_grpcweb_scm.scm.sync import KINDS
from flask_grpcweb_scm.scm.trackers import jira
from tests.client.scripted import Peer, http
from tests.faults.create_issue import die_at
from tests.forking import FORKSERVER
from tests.scm.databases import disposed
from tests.scm.support import Scm, Tenant, add_tenant, make_app
from tests.scm.trackers import github_server as faults
from tests.scm.trackers.github_server import Fault
from tests.scm.trackers.vendors import VENDORS, VendorServer, respond_with, serve_vendor

__all__ = ["FAULTS", "OPERATIONS", "Outcome", "outcomes", "table"]

LEASE = 5.0
TIMEOUT = 0.7
SECONDS = 30
MAX_COMMITS = 30


def with_status_after(status: str) -> Fault:
    def fault(peer: Peer, act: Callable[[], bytes]) -> None:
        act()
        peer.send(http(b'{"message": "no"}', status=status, content_type="application/json"))

    return fault


def garbage(body: bytes) -> Fault:
    def fault(peer: Peer, act: Callable[[], bytes]) -> None:
        act()
        peer.send(http(body, content_type="application/json"))

    return fault


# Fault → what it may be, each at each request.
FAULTS: dict[str, list[Fault]] = {
    "connection cut": [faults.cut_before, faults.cut_after, faults.cut_in_the_answer],
    "no response in time": [faults.silent_before, faults.silent_after],
    "garbage": [garbage(b"<html>"), garbage(b"{}"), garbage(b"[7]"), garbage(b'{"id": "\\ud800"}')],
    "5xx": [respond_with("502 Bad Gateway"), with_status_after("503 Service Unavailable")],
    "rate limit": [respond_with("429 Too Many Requests", "retry-after: 30")],
    "killed at a request": [],
    "killed at a commit": [],
}
OPERATIONS = ("link by key", "search", "fields", "state of one", "state of many", "comment of a worker")
SAME = {ExternalIssue: "organization_id", GroupLink: "project_id"}


@dataclass
class Outcome:
    """What became of an operation, with all faults of a kind."""

    operation: str
    fault: str
    database: str
    runs: int = 0
    lost: int = 0
    twice: int = 0
    longest_claim: float = 0.0
    """Seconds from the fault to the end of a lease."""
    statuses: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Case:
    """An operation at a vendor."""

    operation: str
    tenant: Tenant
    key: str


def tracking_app(database: str) -> Flask:
    config = {"GRPC_SCM_CREDENTIALS": {"bot": "token"}, "GRPC_SCM_ALLOWED_HOSTS": "127.0.0.1"}
    return make_app(database, **config, GRPC_TRACKER_TIMEOUT=TIMEOUT, GRPC_SCM_JOB_LEASE=LEASE)


def set_up(app: Flask, vendor: VendorServer, operation: str, number: int) -> Case:
    """Make a tenant, and what the operation is about."""
    vendor.faults, vendor.asked = [], []
    vendor.issues.clear()
    # Else the fields of Jira are those of the case before.
    jira.known_fields = LruCache(2**22)
    issues = [vendor.add(each, status="done", assignee="ann") for each in (1, 2, 3)]
    with app.app_context():
        tenant = add_tenant(f"case{number}")
        integration = db.session.get_one(Integration, tenant.integration)
        integration.provider, integration.metadata_ = vendor.kind, {"base_url": vendor.base_url, "credentials": "bot"}
        installed = sa.select(OrganizationIntegration).filter_by(integration_id=tenant.integration)
        db.session.scalars(installed).one().config = dict(vendor.config)
        ids = {"organization_id": tenant.organization, "integration_id": tenant.integration}
        db.session.delete(db.session.get_one(ExternalIssue, tenant.issue))
        now = database_now()
        known = {"state of one": 1, "state of many": 4, "comment of a worker": 1}.get(operation, 0)
        for each in range(1, known + 1):
            db.session.add(ExternalIssue(**ids, key=vendor.key(each), refresh_at=now))
        db.session.flush()
        if operation == "comment of a worker":
            issue = db.session.scalars(sa.select(ExternalIssue).filter_by(**ids)).one()
            issue.refresh_at = None
            link = GroupLink(group_id=tenant.group, project_id=tenant.project, linked_id=issue.id, announce_at=now)
            db.session.add(link)
        if known:
            make_due(REFRESH_ISSUES, tenant.integration)
        db.session.commit()
    return Case(operation, tenant, issues[0] and vendor.key(1))


def perform(app: Flask, case: Case) -> str:
    """Do the operation once; returns its status."""
    tenant, scm = case.tenant, Scm(app)
    ids = {"organization_id": tenant.organization, "integration_id": tenant.integration}
    try:
        match case.operation:
            case "link by key":
                scm(
                    "LinkExternalIssue",
                    group_id=tenant.group,
                    integration_id=ids["integration_id"],
                    external_key=case.key,
                )
            case "search":
                assert len(scm("SearchExternalIssues", **ids, query="Bug").issues) == 3
            case "fields":
                scm("DescribeTrackerFields", **ids)
            case _:
                work(app, case)
    except RpcError as error:
        return error.code.name
    return "OK"


def work(app: Flask, case: Case) -> None:
    with app.app_context():
        run_due(KINDS, Job.kind == REFRESH_ISSUES, Job.subject_id == case.tenant.integration, note=lambda line: None)


def perform_and_die(database: str, case: Case, commit: int) -> None:
    """Do the operation in this process.

    :param commit: that the process kills itself after, counted from 1; 0 for none.
    """
    with disposed(tracking_app(database)) as app:
        if commit:
            with app.app_context():
                die_at(db.engine, f"commit {commit}")
        perform(app, case)


class Doomed:
    """A process that does an operation."""

    def __init__(self, database: str, case: Case, commit: int = 0) -> None:
        self.process = FORKSERVER.Process(target=perform_and_die, args=[database, case, commit])

    def killed(self, *, acts: bool) -> Fault:
        """A fault: the process is killed before or after the tracker has acted."""

        def fault(peer: Peer, act: Callable[[], bytes]) -> None:
            if acts:
                act()
            self.process.kill()
            peer.shut_down()

        return fault

    def is_killed(self) -> bool:
        """Run it to its end."""
        self.process.start()
        self.process.join(SECONDS)
        code = self.process.exitcode
        self.process.close()
        return code != 0


def pass_time(app: Flask, case: Case) -> None:
    """Have an hour passed for the rows of a case."""
    hour = timedelta(hours=1)
    places: list[tuple[Any, tuple[str, ...], sa.ColumnElement[bool]]] = [
        (Job, ("claimed_until", "due_at"), Job.subject_id == case.tenant.integration),
        (GroupLink, ("announce_at",), GroupLink.project_id == case.tenant.project),
        (ExternalIssue, ("refresh_at",), ExternalIssue.organization_id == case.tenant.organization),
    ]
    with app.app_context():
        for model, names, mine in places:
            for row in db.session.scalars(sa.select(model).where(mine)):
                for name in names:
                    if getattr(row, name) is not None:
                        setattr(row, name, getattr(row, name) - hour)
        db.session.commit()


def claimed_for(app: Flask, case: Case) -> float:
    """Return the seconds until the lease of the case's job ends."""
    with app.app_context():
        ends = db.session.scalars(sa.select(Job.claimed_until).filter_by(subject_id=case.tenant.integration)).all()
        return max(((end - database_now()).total_seconds() for end in ends if end is not None), default=0.0)


def check(app: Flask, vendor: VendorServer, case: Case, outcome: Outcome) -> None:
    """Compare the database and the tracker, once everything was repeated."""
    with app.app_context():
        rows = db.session.scalars(sa.select(ExternalIssue).filter_by(organization_id=case.tenant.organization)).all()
        links = db.session.scalars(sa.select(GroupLink).filter_by(project_id=case.tenant.project)).all()
        keys = Counter(row.key for row in rows)
        states = {row.key: (row.state.value, row.status) for row in rows}
        untold = [link.id for link in links if link.announce_at is not None]
    comments = sum(len(issue.comments) for issue in vendor.issues.values())
    there, gone = ("present", "done"), ("gone", "")
    wanted: dict[str, tuple[str, str]] = {}
    if case.operation in ("link by key", "state of one"):
        wanted = {case.key: there}
    elif case.operation == "state of many":
        wanted = {vendor.key(number): there for number in (1, 2, 3)} | {vendor.key(4): gone}
    is_linked = case.operation in ("link by key", "comment of a worker")
    if case.operation == "comment of a worker":
        wanted = {case.key: ("unread", "")}
    lost = sum(states.get(key) != state for key, state in wanted.items())
    lost += is_linked * ((not links) + (not comments) + bool(untold))
    twice = sum(count - 1 for count in keys.values()) + len(keys.keys() - wanted.keys())
    twice += max(0, len(links) - is_linked) + max(0, comments - is_linked)
    outcome.runs += 1
    outcome.lost += lost
    outcome.twice += twice
    if lost or twice or claimed_for(app, case) > 0:
        outcome.wrong.append(json.dumps([vendor.kind, states, len(links), comments, untold, claimed_for(app, case)]))


def finish(app: Flask, vendor: VendorServer, case: Case, outcome: Outcome) -> None:
    """Have time passed, and repeat the operation as its caller and workers do."""
    vendor.faults = []
    outcome.longest_claim = max(outcome.longest_claim, claimed_for(app, case))
    status = "UNAVAILABLE"
    for _ in range(2):
        pass_time(app, case)
        status = perform(app, case)
    with app.app_context():
        make_due(REFRESH_ISSUES, case.tenant.integration)
        db.session.commit()
    work(app, case)
    if status not in ("OK", "ALREADY_EXISTS"):
        outcome.wrong.append(f"{vendor.kind}: {status} without a fault")
    check(app, vendor, case, outcome)


def outcomes(
    database: str,
    name: str,
    operations: Iterable[str] = OPERATIONS,
    kinds: Iterable[str] = tuple(VENDORS),
    *,
    is_quick: bool = False,
) -> Iterator[Outcome]:
    """Have all faults happen to some operations, at some vendors.

    :param name: of the database, for the table.
    :param is_quick: of each kind of fault only one.
    """
    numbers = itertools.count()
    with contextlib.ExitStack() as stack:
        app = stack.enter_context(disposed(tracking_app(database)))
        vendors = [stack.enter_context(serve_vendor(kind)) for kind in kinds]
        for operation in operations:
            found = {fault: Outcome(operation, fault, name) for fault in FAULTS}
            for vendor in vendors:
                case = set_up(app, vendor, operation, next(numbers))
                assert perform(app, case) == "OK"
                stages = range(len(vendor.asked))
                for outcome in found.values():
                    for each in _runs(app, database, vendor, outcome, stages, numbers, is_quick=is_quick):
                        finish(app, vendor, each, outcome)
            yield from (outcome for outcome in found.values() if outcome.runs)


def _runs(
    app: Flask,
    database: str,
    vendor: VendorServer,
    outcome: Outcome,
    stages: Iterable[int],
    numbers: Iterator[int],
    *,
    is_quick: bool,
) -> Iterator[Case]:
    """Have a kind of fault happen at each stage; yields what was done, so far as it was."""
    for stage, fault in itertools.product(stages, FAULTS[outcome.fault][-1:] if is_quick else FAULTS[outcome.fault]):
        case = set_up(app, vendor, outcome.operation, next(numbers))
        # A GET is sent three times.
        vendor.faults = [faults.answer] * stage + [fault] * 3
        outcome.statuses[perform(app, case)] += 1
        yield case
    if outcome.fault == "killed at a request":
        for stage, acts in itertools.product(stages, [True] if is_quick else [False, True]):
            case = set_up(app, vendor, outcome.operation, next(numbers))
            doomed = Doomed(database, case)
            vendor.faults = [faults.answer] * stage + [doomed.killed(acts=acts)]
            assert doomed.is_killed()
            yield case
    if outcome.fault == "killed at a commit" and outcome.operation not in ("search", "fields"):
        for commit in range(2 if is_quick else 1, MAX_COMMITS, 3 if is_quick else 1):
            case = set_up(app, vendor, outcome.operation, next(numbers))
            is_killed = Doomed(database, case, commit).is_killed()
            yield case
            if not is_killed:
                break


def table(found: Iterable[Outcome]) -> str:
    """The table of some outcomes."""
    lines = [
        "| operation | fault | database | runs | lost | twice | longest claim | statuses |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in found:
        statuses = ", ".join(f"{count} {code}" for code, count in row.statuses.most_common()) or "-"
        cells = [row.operation, row.fault, row.database, row.runs, row.lost, row.twice]
        lines.append("| " + " | ".join(map(str, [*cells, f"{row.longest_claim:.1f} s", statuses])) + " |")
    return "\n".join(lines) + "\n"
