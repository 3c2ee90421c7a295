"""CreateExternalIssue at a tracker: whatever fails and whenever, no issue is lost and none is created twice."""

from __future__ import annotations

import contextlib
import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from google.protobuf.message import Message
from google.rpc import error_details_pb2

from flask_grpcweb_scm import RpcError, StatusCode
from flask_grpcweb_scm.pb import scm_pb2
from flask_grpcweb_scm.scm import ExternalIssue, Group, Integration, IssueOperation, OrganizationIntegration, db
from flask_grpcweb_scm.scm.database.db import database_now
from flask_grpcweb_scm.scm.jobs import RESUME_OUTBOX, make_due, run_due
from flask_grpcweb_scm.scm.providers import ProviderForbidden
from flask_grpcweb_scm.scm.queries.tenancy import installation_of
from flask_grpcweb_scm.scm.sync import KINDS
from flask_grpcweb_scm.scm.trackers import issue_defaults, open_tracker, outbox
from flask_grpcweb_scm.scm.trackers.tracker import Tracker
from tests.client.scripted import Peer, http, respond, serve
from tests.combinations import ON_SQLITE
from tests.grpcweb import Answer, call
from tests.scm.databases import disposed
from tests.scm.support import SERVICE, Tenant
from tests.scm.trackers import github_server as faults
from tests.scm.trackers.github_server import Fault, GitHubServer, serve_github
from tests.scm.trackers.tracking import (
    PATIENCE,
    SECRET,
    Stored,
    app,
    create,
    github,
    ours,
    stored,
    tracked,
    tracking_app,
)

__all__ = ["app", "github", "ours"]  # fixtures

# For what can only end by a timeout.
IMPATIENCE = 1.0


@pytest.fixture
def impatient(app: Flask, database: str) -> Iterator[Flask]:
    """The same app, that soon gives up waiting for a tracker."""
    with disposed(tracking_app(database, IMPATIENCE)) as impatient:
        yield impatient


def detail(answer: Answer, kind: type[Message]) -> Any:
    """The detail of this kind that a status has."""
    (found,) = answer.details(kind)
    return found


def test_an_issue_is_created_at_the_tracker_and_stored(app: Flask, ours: Tenant, github: GitHubServer) -> None:
    issue = create(app, ours, metadata={"labels": "bug", "other": "x"}).only(scm_pb2.ExternalIssue)
    assert (issue.key, issue.web_url) == ("o/r#1", "https://github.example/o/r/issues/1")
    assert (issue.title, issue.description) == ("Bug", "It breaks.")
    assert dict(issue.metadata) == {"labels": "bug", "other": "x"}
    (sent,) = github.issues
    assert (sent["title"], sent["labels"]) == ("Bug", ["bug"])
    assert sent["body"].startswith("It breaks.\n\nReference: scm")
    assert stored(app, ours) == Stored({"o/r#1": "Bug"}, [])


def test_a_request_decides_over_the_defaults(app: Flask, ours: Tenant, github: GitHubServer) -> None:
    assert create(app, ours, metadata={"repo": "other/one"}).only(scm_pb2.ExternalIssue).key == "other/one#1"


def test_a_request_does_not_decide_where_credentials_go(app: Flask, ours: Tenant, github: GitHubServer) -> None:
    metadata = {"base_url": "https://evil.example", "credentials": "other"}
    assert create(app, ours, metadata=metadata).only(scm_pb2.ExternalIssue).key == "o/r#1"


def test_what_is_missing_or_wrong_is_said_before_anything_is_stored(
    app: Flask, ours: Tenant, github: GitHubServer
) -> None:
    for repository in ("", "../..", "just-a-name"):
        answer = create(app, ours, "k", metadata={"repo": repository})
        assert answer.code == StatusCode.INVALID_ARGUMENT
        (violation,) = detail(answer, error_details_pb2.BadRequest).field_violations
        assert violation.field == "metadata.repo"
    assert (github.asked, stored(app, ours)) == ([], Stored({}, []))


# What the tracker can do, whether the issue is there afterwards, and the status.
MATRIX: list[tuple[str, Fault, int, StatusCode, bool]] = [
    # name, fault, issues at the tracker, status, whether the operation is kept
    ("400", faults.status_before("400 Bad"), 0, StatusCode.INVALID_ARGUMENT, False),
    ("401", faults.status_before("401 No"), 0, StatusCode.FAILED_PRECONDITION, False),
    ("403", faults.status_before("403 No"), 0, StatusCode.PERMISSION_DENIED, False),
    ("404", faults.status_before("404 No"), 0, StatusCode.NOT_FOUND, False),
    ("409", faults.status_before("409 No"), 0, StatusCode.ABORTED, False),
    ("422", faults.status_before("422 No"), 0, StatusCode.INVALID_ARGUMENT, False),
    ("429", faults.status_before("429 No", "Retry-After: 7"), 0, StatusCode.RESOURCE_EXHAUSTED, False),
    ("500 before", faults.status_before("500 No"), 0, StatusCode.UNAVAILABLE, True),
    ("500 after", faults.status_after("500 No"), 1, StatusCode.UNAVAILABLE, True),
    ("503 before", faults.status_before("503 No"), 0, StatusCode.UNAVAILABLE, True),
    ("503 after", faults.status_after("503 No"), 1, StatusCode.UNAVAILABLE, True),
    ("cut before", faults.cut_before, 0, StatusCode.UNAVAILABLE, True),
    ("cut after", faults.cut_after, 1, StatusCode.UNAVAILABLE, True),
    ("cut in the answer", faults.cut_in_the_answer, 1, StatusCode.UNAVAILABLE, True),
    ("timeout before", faults.silent_before, 0, StatusCode.DEADLINE_EXCEEDED, True),
    ("timeout after", faults.silent_after, 1, StatusCode.DEADLINE_EXCEEDED, True),
    ("nonsense after", faults.nonsense_after, 1, StatusCode.UNAVAILABLE, True),
]
matrix = pytest.mark.parametrize(
    ("fault", "at_tracker", "code", "kept"), [row[1:] for row in MATRIX], ids=[row[0] for row in MATRIX]
)


@matrix
def test_a_retry_with_the_same_key_ends_with_one_issue(
    app: Flask,
    impatient: Flask,
    ours: Tenant,
    github: GitHubServer,
    fault: Fault,
    at_tracker: int,
    code: StatusCode,
    kept: bool,
) -> None:
    github.faults = [fault]
    answer = create(impatient if code == StatusCode.DEADLINE_EXCEEDED else app, ours, "k")
    assert (answer.code, len(github.issues)) == (code, at_tracker)
    assert len(stored(app, ours).operations) == int(kept)
    first, second = (create(app, ours, "k").only(scm_pb2.ExternalIssue) for _ in range(2))
    assert first == second
    assert (first.key, first.title) == ("o/r#1", "Bug")
    assert len(github.issues) == 1
    assert stored(app, ours) == Stored({"o/r#1": "Bug"}, [])


@ON_SQLITE
@matrix
def test_without_a_key_nothing_is_retried_and_what_is_uncertain_can_be_resumed(
    app: Flask,
    impatient: Flask,
    ours: Tenant,
    github: GitHubServer,
    fault: Fault,
    at_tracker: int,
    code: StatusCode,
    kept: bool,
) -> None:
    github.faults = [fault]
    answer = create(impatient if code == StatusCode.DEADLINE_EXCEEDED else app, ours)
    assert answer.code == code
    assert len(github.asked) == 1
    assert stored(app, ours).issues == {}
    assert len(stored(app, ours).operations) == int(kept)
    assert ("is kept" in answer.message) is kept
    with app.app_context():
        for operation in outbox.unfinished():
            assert outbox.resume(operation).key == "o/r#1"
    assert len(github.issues) == int(kept)
    assert stored(app, ours) == Stored({"o/r#1": "Bug"} if kept else {}, [])


def test_the_job_of_the_outbox_completes_what_has_a_key_when_the_tracker_lets_it(
    app: Flask, ours: Tenant, github: GitHubServer
) -> None:
    def work() -> list[str]:
        lines: list[str] = []
        with app.app_context():
            long_ago = database_now() - timedelta(hours=2)
            db.session.execute(sa.update(IssueOperation).values(claimed_until=long_ago))
            make_due(RESUME_OUTBOX)
            db.session.commit()
            assert run_due({RESUME_OUTBOX: KINDS[RESUME_OUTBOX]}, note=lines.append) == 1
        return lines[:-1]

    github.faults = [faults.cut_after]
    assert create(app, ours, "k").code == StatusCode.UNAVAILABLE
    github.faults = [faults.cut_after]
    assert create(app, ours, title="Other").code == StatusCode.UNAVAILABLE
    github.faults = [faults.status_before("429 Too Many Requests", "Retry-After: 3000")]
    (line,) = work()
    assert "is not complete" in line
    with app.app_context():
        limited, other = outbox.unfinished()
        assert limited.not_before is not None
        assert 2900 < (limited.not_before - database_now()).total_seconds() <= 3000
        assert (other.idempotency_key, other.not_before) == (None, None)
    asked = len(github.asked)
    assert work() == []
    assert len(github.asked) == asked
    with app.app_context():
        db.session.execute(sa.update(IssueOperation).values(not_before=IssueOperation.date_added))
        db.session.commit()
    (line,) = work()
    assert line.endswith("is issue o/r#1")
    assert work() == []
    assert len(stored(app, ours).operations) == 1  # without a key, it is a person's
    assert len(github.issues) == 2


def test_a_tracker_that_is_not_there_has_done_nothing(app: Flask) -> None:
    with serve_github() as gone:
        url = gone.url
    tenant = tracked(app, "gone", url)
    assert create(app, tenant, "k").code == StatusCode.UNAVAILABLE
    assert stored(app, tenant) == Stored({}, [])


def test_a_search_that_fails_settles_nothing(app: Flask, ours: Tenant, github: GitHubServer) -> None:
    github.faults = [faults.cut_after, faults.status_before("401 No"), faults.status_before("404 No")]
    assert create(app, ours, "k").code == StatusCode.UNAVAILABLE
    assert create(app, ours, "k").code == StatusCode.FAILED_PRECONDITION
    assert create(app, ours, "k").code == StatusCode.NOT_FOUND
    assert len(stored(app, ours).operations) == 1
    assert create(app, ours, "k").only(scm_pb2.ExternalIssue).key == "o/r#1"
    assert len(github.issues) == 1


def move_claims(app: Flask, seconds: float) -> None:
    """Have the last attempts ended this long from now."""
    with app.app_context():
        until = datetime.now(timezone.utc) + timedelta(seconds=seconds)
        db.session.execute(sa.update(IssueOperation).values(claimed_until=until))
        db.session.commit()


def test_a_search_that_may_be_behind_is_not_believed(
    app: Flask, ours: Tenant, github: GitHubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Tracker, "search_delay", 60)
    github.faults = [faults.cut_after]
    create(app, ours, "k")
    move_claims(app, -20)
    hidden, github.issues = github.issues, []
    for _ in range(2):  # asking does not prolong the wait
        answer = create(app, ours, "k")
        assert answer.code == StatusCode.UNAVAILABLE
        assert 30 < detail(answer, error_details_pb2.RetryInfo).retry_delay.seconds <= 40
    assert github.issues == []
    github.issues = hidden
    assert create(app, ours, "k").only(scm_pb2.ExternalIssue).key == "o/r#1"


def test_a_search_that_finds_nothing_in_the_end_is_believed(
    app: Flask, ours: Tenant, github: GitHubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Tracker, "search_delay", 60)
    github.faults = [faults.cut_before]
    create(app, ours, "k")
    move_claims(app, -61)
    assert create(app, ours, "k").only(scm_pb2.ExternalIssue).key == "o/r#1"


def test_an_issue_is_looked_for_where_it_was_to_be_created(app: Flask, ours: Tenant, github: GitHubServer) -> None:
    github.faults = [faults.cut_after]
    create(app, ours, "k")
    with app.app_context():
        db.session.scalars(sa.select(OrganizationIntegration)).one().config = {"repo": "moved/on"}
        db.session.commit()
    assert create(app, ours, "k").only(scm_pb2.ExternalIssue).key == "o/r#1"
    assert create(app, ours, "k2").only(scm_pb2.ExternalIssue).key == "moved/on#2"


def test_calls_that_race_create_one_issue_and_all_have_it(app: Flask, ours: Tenant, github: GitHubServer) -> None:
    github.faults = [slowly(faults.answer)]
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: create(app, ours, "k"), range(50)))
    assert {answer.only(scm_pb2.ExternalIssue).key for answer in answers} == {"o/r#1"}
    assert len(github.issues) == len({answer.only(scm_pb2.ExternalIssue).id for answer in answers}) == 1
    assert stored(app, ours) == Stored({"o/r#1": "Bug"}, [])


def slowly(fault: Fault) -> Fault:
    """Do what `fault` does after half a second."""
    return lambda peer, act: (time.sleep(0.5), fault(peer, act))[1]


def test_calls_that_wait_for_another_hold_no_connection(
    app: Flask, ours: Tenant, database: str, github: GitHubServer
) -> None:
    one = {"pool_size": 1, "max_overflow": 0, "pool_timeout": PATIENCE}
    github.faults = [slowly(faults.answer)]
    with (
        disposed(tracking_app(database, PATIENCE, SQLALCHEMY_ENGINE_OPTIONS=one)) as app,
        ThreadPoolExecutor(8) as pool,
    ):
        answers = list(pool.map(lambda _: create(app, ours, "k"), range(8)))
    assert {answer.only(scm_pb2.ExternalIssue).key for answer in answers} == {"o/r#1"}
    assert len(github.issues) == 1


@pytest.mark.needs("time")
def test_calls_that_wait_for_one_that_fails_are_made_one_after_the_other(
    app: Flask, ours: Tenant, github: GitHubServer
) -> None:
    github.faults = [slowly(faults.status_before("422 No")), slowly(faults.cut_after)]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: create(app, ours, "k"), range(4)))
    assert sorted(answer.code for answer in answers) == [0, 0, StatusCode.INVALID_ARGUMENT, StatusCode.UNAVAILABLE]
    assert len(github.issues) == 1
    assert stored(app, ours) == Stored({"o/r#1": "Bug"}, [])


@pytest.mark.needs("time")
@pytest.mark.parametrize(("title", "code"), [("Bug", StatusCode.UNAVAILABLE), ("Another", 9)])
def test_while_a_call_is_under_way_another_waits_until_its_deadline(
    app: Flask, ours: Tenant, github: GitHubServer, title: str, code: int
) -> None:
    asked, go_on = threading.Event(), threading.Event()

    def wait(peer: Any, act: Any) -> None:
        asked.set()
        go_on.wait(PATIENCE)
        faults.answer(peer, act)

    github.faults = [wait]
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(create, app, ours, "k")
        assert asked.wait(PATIENCE)
        second = create(app, ours, "k", timeout="2S", title=title)
        go_on.set()
        assert first.result().only(scm_pb2.ExternalIssue).key == "o/r#1"
    assert second.code == code
    if code == StatusCode.UNAVAILABLE:
        assert detail(second, error_details_pb2.RetryInfo).retry_delay.seconds == 1
    assert len(github.issues) == 1


def test_no_database_connection_is_held_while_the_tracker_is_waited_for(
    app: Flask, ours: Tenant, github: GitHubServer
) -> None:
    held = []

    def count(peer: Any, act: Any) -> None:
        with app.app_context():
            held.append(db.engine.pool.checkedout())  # type: ignore[attr-defined]
        faults.answer(peer, act)

    github.faults = [count, faults.cut_after, count, count]
    create(app, ours, "k")
    create(app, ours, "k2")
    create(app, ours, "k2")
    assert held == [0, 0]


def test_an_idempotency_key_with_another_body_is_a_failed_precondition(
    app: Flask, ours: Tenant, github: GitHubServer
) -> None:
    github.faults = [faults.cut_after]
    assert create(app, ours, "unfinished").code == StatusCode.UNAVAILABLE
    create(app, ours, "finished")
    for key in ("unfinished", "finished"):
        answer = create(app, ours, key, title="Another")
        assert answer.code == StatusCode.FAILED_PRECONDITION
        (violation,) = detail(answer, error_details_pb2.PreconditionFailure).violations
        assert (violation.type, violation.subject) == ("IDEMPOTENCY_KEY", key)
    assert len(github.issues) == 2


def test_a_key_that_a_tracker_refused_may_come_with_a_better_request(
    app: Flask, ours: Tenant, github: GitHubServer
) -> None:
    github.faults = [faults.status_before("422 No")]
    assert create(app, ours, "k", title="Bad").code == StatusCode.INVALID_ARGUMENT
    assert create(app, ours, "k", title="Good").only(scm_pb2.ExternalIssue).title == "Good"


def test_a_first_result_is_answered_whatever_has_become_of_the_tracker(
    app: Flask, ours: Tenant, github: GitHubServer
) -> None:
    first = create(app, ours, "k").only(scm_pb2.ExternalIssue)
    with app.app_context():
        db.session.get_one(Integration, ours.integration).metadata_ = {"base_url": "https://x.example"}
        db.session.commit()
    assert create(app, ours, "k").only(scm_pb2.ExternalIssue) == first


def test_keys_of_organizations_do_not_meet(app: Flask, ours: Tenant, github: GitHubServer) -> None:
    theirs = tracked(app, "theirs", github.url)
    github.faults = [faults.cut_after]
    create(app, ours, "k")
    assert create(app, theirs, "k").only(scm_pb2.ExternalIssue).key == "o/r#2"


@pytest.mark.needs("time")
def test_a_claim_of_a_call_that_was_killed_ends(app: Flask, ours: Tenant, github: GitHubServer) -> None:
    github.faults = [faults.cut_after]
    create(app, ours, "k")
    for seconds, code in ((30, StatusCode.UNAVAILABLE), (-1, StatusCode.OK)):
        move_claims(app, seconds)
        assert create(app, ours, "k", timeout="2S" if code else "").code == code
    assert len(github.issues) == 1


def test_of_calls_that_have_seen_the_same_free_operation_one_takes_it(
    app: Flask, ours: Tenant, github: GitHubServer
) -> None:
    github.faults = [faults.cut_before]
    create(app, ours, "k")
    with app.app_context():
        (seen,) = outbox.unfinished()
        db.session.expunge(seen)
        refused = []

        def look(peer: Any, act: Any) -> None:
            with app.app_context():
                try:
                    outbox.resume(db.session.merge(seen, load=False))
                except RpcError as error:
                    refused.append(error.code)
            faults.answer(peer, act)

        github.faults = [look]
        assert create(app, ours, "k").code == 0
    assert refused == [StatusCode.UNAVAILABLE]
    assert len(github.issues) == 1


def test_an_operation_that_was_begun_although_the_issue_is_there_goes(
    app: Flask, ours: Tenant, github: GitHubServer
) -> None:
    """As it can happen between a call's look for a first result and its INSERT."""
    first = create(app, ours, "k").only(scm_pb2.ExternalIssue)
    with app.app_context():
        (issue,) = db.session.scalars(sa.select(ExternalIssue).where(ExternalIssue.id == first.id))
        installation = installation_of(issue)
        assert installation is not None
        tracker = open_tracker(installation, None)
        assert tracker is not None
        wanted = outbox.WantedIssue(ours.organization, ours.integration, "Bug", "", {}, "k", issue.request_digest or "")
        assert outbox.create_at_tracker(tracker, wanted, issue_defaults(installation)).id == first.id
        db.session.commit()
    assert len(github.issues) == 1
    assert stored(app, ours) == Stored({"o/r#1": "Bug"}, [])


# The database


def fail_on(app: Flask, statement: str, error: str = "disk I/O error") -> Any:
    """Have the database refuse a statement until the answer is called."""

    def refuse(connection: Any, cursor: Any, text: str, *more: Any) -> None:
        if text.startswith(statement):
            raise sa.exc.OperationalError(text, {}, Exception(error))

    with app.app_context():
        engine = db.engine
    sa.event.listen(engine, "before_cursor_execute", refuse)
    return lambda: sa.event.remove(engine, "before_cursor_execute", refuse)


@pytest.mark.parametrize(
    ("statement", "at_tracker", "operations"),
    [
        ("SELECT", 0, 0),
        ("INSERT INTO scm_issue_operation", 0, 0),
        ("INSERT INTO scm_external_issue", 1, 1),
        ("DELETE FROM scm_issue_operation", 1, 1),
    ],
)
@pytest.mark.parametrize("error", ["disk I/O error", "database is locked"])
def test_a_database_that_is_down_loses_and_doubles_nothing(
    app: Flask, ours: Tenant, github: GitHubServer, statement: str, at_tracker: int, operations: int, error: str
) -> None:
    restore = fail_on(app, statement, error)
    answer = create(app, ours, "k")
    restore()
    assert answer.code in {StatusCode.UNAVAILABLE, StatusCode.INTERNAL}
    assert "disk" not in answer.message
    assert len(github.issues) == at_tracker
    assert len(stored(app, ours).operations) == operations
    move_claims(app, 0)  # the call that failed has not ended its own
    assert create(app, ours, "k").only(scm_pb2.ExternalIssue).key == "o/r#1"
    assert len(github.issues) == 1
    assert stored(app, ours) == Stored({"o/r#1": "Bug"}, [])


def test_a_deadline_that_passes_meanwhile_does_not_lose_the_issue(
    app: Flask, ours: Tenant, github: GitHubServer
) -> None:
    github.faults = [faults.silent_after]
    assert create(app, ours, "k", timeout="1S").code == StatusCode.DEADLINE_EXCEEDED
    assert create(app, ours, "k").only(scm_pb2.ExternalIssue).key == "o/r#1"
    assert len(github.issues) == 1


@pytest.mark.parametrize("ending", [SystemExit, KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize("fault", [faults.silent_before, faults.silent_after])
def test_whatever_ends_a_call_ends_its_claim(
    app: Flask, ours: Tenant, github: GitHubServer, fault: Fault, ending: type[BaseException]
) -> None:
    """gunicorn ends a worker that is busy for too long by an exception out of a handler of signals."""

    def end(*_: object) -> None:
        raise ending

    def begin(peer: Peer, act: Callable[[], bytes]) -> None:
        # Now the call waits for the tracker.
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        fault(peer, act)

    before = signal.signal(signal.SIGALRM, end)
    try:
        github.faults = [begin]
        with contextlib.suppress(ending):
            assert create(app, ours, "k").code == StatusCode.INTERNAL
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert stored(app, ours).operations == [f"{ending.__name__} in this server; its log has more"]
    with app.app_context():
        assert db.session.scalars(sa.select(IssueOperation.claimed_until)).one() <= database_now()
    assert create(app, ours, "k").only(scm_pb2.ExternalIssue).key == "o/r#1"
    assert len(github.issues) == 1


HOSTILE = [
    b'{"number": 1, "html_url": "javascript:alert(1)"}',
    b'{"number": true, "html_url": "https://github.example/1"}',
    b'{"number": -1, "html_url": "https://github.example/1"}',
    b'{"number": 1' + b"0" * 3000 + b', "html_url": "https://github.example/1"}',
    b'{"number": 1, "html_url": "https://github.example/\\ud800"}',
    b'{"number": 1, "html_url": "https://github.example/' + b"x" * 300_000 + b'"}',
    b'{"number": {"number": 1}, "html_url": ["https://github.example/1"]}',
    b'[{"number": 1, "html_url": "https://github.example/1"}]',
    b'{"number": NaN, "html_url": "https://github.example/1"}',
    b'{"a":' * 100_000,
]


@ON_SQLITE
@pytest.mark.parametrize("body", HOSTILE, ids=lambda body: body[:40].decode())
def test_a_hostile_response_is_unavailable_and_leaves_no_claim(
    app: Flask, ours: Tenant, github: GitHubServer, body: bytes
) -> None:
    github.faults = [lambda peer, act: (act(), peer.send(http(body, status="201 Created")))[1]]
    answer = create(app, ours, "k")
    assert answer.code == StatusCode.UNAVAILABLE
    assert "unexpected response from github;" in answer.message
    assert "127.0.0.1" not in answer.message
    assert "127.0.0.1" in stored(app, ours).operations[0]
    assert create(app, ours, "k").only(scm_pb2.ExternalIssue).key == "o/r#1"
    assert len(github.issues) == 1


@pytest.mark.parametrize(
    "key", ["..", ".", "", "ABC-7/..", "a\0-1", "x" * 300_000, "ABC-" + "7" * 300, 7, None, ["ABC-7"]]
)
def test_a_hostile_key_is_unavailable(app: Flask, key: Any) -> None:
    script = respond(http(json.dumps({"id": "1", "key": key}).encode(), status="201 Created"))
    with serve(script) as server:
        tenant = tracked(app, "theirs", server.url, "jira", project="ABC", issuetype="Bug")
        assert create(app, tenant, "k").code == StatusCode.UNAVAILABLE
    with app.app_context():
        assert db.session.scalars(sa.select(IssueOperation.claimed_until)).one() <= database_now()


# Settings


@ON_SQLITE
@pytest.mark.parametrize(
    ("provider", "metadata", "text"),
    [
        ("bitbucket", {}, "use a Jira integration"),
        ("integrations:bitbucket_server", {}, "use a Jira integration"),
        ("github", {"base_url": "https://x.example"}, "names no credentials"),
        ("github", {"credentials": "nobody"}, "no credentials named 'nobody'"),
        ("github", {"credentials": "bot", "base_url": "ftp://x"}, "base_url"),
        ("github", {"credentials": "bot", "base_url": "http://localhost:1"}, "https://"),
        ("github", {"credentials": "bot", "base_url": "https://localhost:1"}, "no public address"),
        ("jra", {"credentials": "bot"}, "did you mean 'jira'"),
        ("jira", {"credentials": "bot"}, "base_url"),
    ],
)
def test_settings_that_cannot_work_are_a_failed_precondition(
    app: Flask, ours: Tenant, provider: str, metadata: dict[str, Any], text: str
) -> None:
    with app.app_context():
        integration = db.session.get_one(Integration, ours.integration)
        integration.provider, integration.metadata_ = provider, metadata
        db.session.commit()
    answer = create(app, ours)
    assert answer.code == StatusCode.FAILED_PRECONDITION
    assert text in answer.message
    (violation,) = detail(answer, error_details_pb2.PreconditionFailure).violations
    assert (violation.type, violation.description) == ("TRACKER", answer.message)
    assert stored(app, ours).issues == {}


def test_the_trackers_words_arrive_with_its_fields_and_its_pause(
    app: Flask, ours: Tenant, github: GitHubServer
) -> None:
    github.faults = [faults.status_before("429 No", "Retry-After: 7")]
    answer = create(app, ours)
    assert detail(answer, error_details_pb2.RetryInfo).retry_delay.seconds == 7
    assert answer.message == "github responded with 429: no"


# Comments at the tracker


def link(app: Flask, tenant: Tenant, issue: int) -> Answer:
    request = scm_pb2.LinkExternalIssueRequest(group_id=tenant.group, external_issue_id=issue)
    return call(app.test_client(), SERVICE + "LinkExternalIssue", request)


@ON_SQLITE
@pytest.mark.parametrize("wanted", [True, "true", False, "false", None])
def test_a_link_is_told_to_the_tracker_where_that_is_wanted(app: Flask, github: GitHubServer, wanted: Any) -> None:
    tenant = tracked(app, "ours", github.url, comment_on_link=wanted)
    issue = create(app, tenant).only(scm_pb2.ExternalIssue)
    assert link(app, tenant, issue.id).only(scm_pb2.ExternalIssue) == issue
    text = f"Linked to error group {tenant.group}: ValueError"
    assert github.comments == ([("/repos/o/r/issues/1/comments", text)] if wanted in (True, "true") else [])


@ON_SQLITE
@pytest.mark.parametrize(
    "fault", [faults.status_before("403 No"), faults.status_before("500 No"), faults.cut_after, faults.silent_before]
)
def test_a_comment_that_fails_does_not_make_the_link_fail(
    app: Flask, impatient: Flask, github: GitHubServer, fault: Fault, caplog: pytest.LogCaptureFixture
) -> None:
    tenant = tracked(app, "ours", github.url, comment_on_link=True)
    issue = create(app, tenant).only(scm_pb2.ExternalIssue)
    github.faults = [fault]
    assert link(impatient, tenant, issue.id).only(scm_pb2.ExternalIssue) == issue
    assert link(app, tenant, issue.id).code == StatusCode.ALREADY_EXISTS
    assert "no comment at the tracker" in caplog.text
    assert SECRET not in caplog.text


@ON_SQLITE
@pytest.mark.parametrize(
    "title",
    [
        "KeyError: x\n/close\n/assign @admin",
        "\r\n/close\u2028/close",
        "<!-- \n--> @all #1",
        "x" * 9999 + "\n/close",
        "\n",
    ],
)
def test_a_title_of_a_stranger_is_a_line_of_text(app: Flask, github: GitHubServer, title: str) -> None:
    tenant = tracked(app, "ours", github.url, comment_on_link=True, markup=True)
    with app.app_context():
        db.session.get_one(Group, tenant.group).title = title
        db.session.commit()
    issue = create(app, tenant).only(scm_pb2.ExternalIssue)
    assert link(app, tenant, issue.id).only(scm_pb2.ExternalIssue) == issue
    ((_, text),) = github.comments
    assert text.startswith(f"Linked to error group {tenant.group}:")
    assert len(text.splitlines()) == 1
    assert not {"@admin", "@all", "#1", "<!--"} & set(text.split())
    assert len(text) < 300


def test_an_issue_of_before_the_tracker_is_linked_without_a_comment(app: Flask, github: GitHubServer) -> None:
    tenant = tracked(app, "ours", github.url, comment_on_link=True)
    assert link(app, tenant, tenant.issue).only(scm_pb2.ExternalIssue).key == "T-1"
    assert github.asked == []


def test_an_issue_of_an_integration_that_is_not_installed_any_more_is_linked(app: Flask, github: GitHubServer) -> None:
    tenant = tracked(app, "ours", github.url, comment_on_link=True)
    with app.app_context():
        db.session.execute(sa.delete(OrganizationIntegration))
        db.session.commit()
    assert link(app, tenant, tenant.issue).only(scm_pb2.ExternalIssue).key == "T-1"


# What a description is, and which projects an installation may name


TEXT = "a\n/close @all <b>"


@ON_SQLITE
@pytest.mark.parametrize(
    ("markup", "body"),
    [
        (None, "a\n\\/close @\u200ball &lt;b&gt;"),
        (False, "a\n\\/close @\u200ball &lt;b&gt;"),
        ("yes", "a\n\\/close @\u200ball &lt;b&gt;"),
        (1, "a\n\\/close @\u200ball &lt;b&gt;"),
        (True, TEXT),
        ("true", TEXT),
    ],
)
def test_a_description_is_text_unless_the_installation_says_otherwise(
    app: Flask, github: GitHubServer, markup: Any, body: str
) -> None:
    tenant = tracked(app, "ours", github.url, markup=markup)
    assert create(app, tenant, description=TEXT).only(scm_pb2.ExternalIssue).description == TEXT
    assert github.issues[0]["body"].rpartition("\n\nReference: ")[0] == body


def test_a_long_title_is_whole_in_our_row(app: Flask, ours: Tenant, github: GitHubServer) -> None:
    title = "KeyError: " + "@all " * 100
    assert create(app, ours, title=title).only(scm_pb2.ExternalIssue).title == title
    (sent,) = github.issues
    assert (sent["title"][:14], sent["title"][-1], len(sent["title"]) <= 256) == ("KeyError: @all", "…", True)
    assert sent["body"].startswith("KeyError: @\u200ball @\u200ball ")
    assert "\n\nIt breaks.\n\nReference: scm" in sent["body"]


@ON_SQLITE
@pytest.mark.parametrize("projects", [["o/*"], ["O/R", "x/y"], "x/y, o/r", ["*"], ["*/r"]])
@pytest.mark.parametrize("repo", [{}, {"repo": "o/r"}, {"repo": "O/r"}])
def test_a_project_that_may_be_named(app: Flask, github: GitHubServer, projects: Any, repo: dict[str, str]) -> None:
    tenant = tracked(app, "ours", github.url, projects=projects)
    assert create(app, tenant, metadata=repo).only(scm_pb2.ExternalIssue).key.lower() == "o/r#1"


@ON_SQLITE
@pytest.mark.parametrize(
    "repo",
    [
        "team-b/app", "team-ab/app", "xteam-a/app", "team-b/team-a", "TEAM-B/app", "team-a/../team-b",
        "team-a%2Fapp/../b",
        "team-a/..", "team-a/%2e%2e", "team-a//app", "/team-a/app", "team-a/app/", "team-a\\app", "team-a", "team-a/",
        "*",
        "team-a/*", "team-\u0430/app", "team-\uff41/app", "\u017fteam-a/app", "team-a /app", "team-a/app\n",
        "team-a/a?b=c",
        "team-a/app#1", "team-a/" + "x" * 300_000,
    ],
)  # fmt: skip
def test_a_project_that_may_not_be_named(app: Flask, github: GitHubServer, repo: str) -> None:
    """A name that the tracker cannot have is 3, and any other 7; either way nothing is sent, and nothing is stored."""
    tenant = tracked(app, "ours", github.url, projects=["team-a/*"], repo="team-a/app")
    answer = create(app, tenant, "k", metadata={"repo": repo})
    assert answer.code in {StatusCode.PERMISSION_DENIED, StatusCode.INVALID_ARGUMENT}
    assert (github.asked, stored(app, tenant)) == ([], Stored({}, []))
    assert create(app, tenant, "k").only(scm_pb2.ExternalIssue).key == "team-a/app#1"


@ON_SQLITE
@pytest.mark.parametrize("projects", [[], "", " , ", [""], [7], {"team-a/*": True}, None, 7, True])
def test_a_list_of_projects_that_names_none_allows_none(app: Flask, github: GitHubServer, projects: Any) -> None:
    tenant = tracked(app, "ours", github.url, projects=projects)
    answer = create(app, tenant)
    assert (answer.code, "must list at least one project" in answer.message) == (StatusCode.FAILED_PRECONDITION, True)
    assert github.asked == []


def test_a_narrower_list_is_for_what_is_kept_and_for_comments_too(
    app: Flask, github: GitHubServer, caplog: pytest.LogCaptureFixture
) -> None:
    tenant = tracked(app, "ours", github.url, comment_on_link=True)
    issue = create(app, tenant).only(scm_pb2.ExternalIssue)
    github.faults = [faults.cut_before]
    assert create(app, tenant, title="Other").code == StatusCode.UNAVAILABLE
    with app.app_context():
        installation = db.session.scalars(sa.select(OrganizationIntegration)).one()
        installation.config = {**installation.config, "projects": ["other/*"]}
        db.session.commit()
        github.asked.clear()
        with pytest.raises(ProviderForbidden):
            outbox.resume(db.session.scalars(sa.select(IssueOperation)).one())
    assert link(app, tenant, issue.id).only(scm_pb2.ExternalIssue) == issue
    assert "no comment at the tracker" in caplog.text
    assert (github.asked, github.comments) == ([], [])
