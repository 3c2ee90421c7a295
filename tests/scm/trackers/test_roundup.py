"""From the command line and an RPC to an issue in a real tracker, and back: Roundup, in this process."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import urllib3
from flask import Flask

from flask_grpcweb_scm import StatusCode
from flask_grpcweb_scm.pb import scm_pb2
from flask_grpcweb_scm.scm import ExternalIssue, IssueOperation, db
from flask_grpcweb_scm.scm.providers import Credential
from flask_grpcweb_scm.scm.trackers import outbox
from flask_grpcweb_scm.scm.trackers.issues import NewIssue
from flask_grpcweb_scm.scm.trackers.roundup import Roundup
from tests.grpcweb import Answer, call
from tests.scm.support import SERVICE, make_app
from tests.scm.trackers.roundup_server import PASSWORD, RoundupServer, serve_roundup

pytestmark = pytest.mark.needs("time")


@pytest.fixture(scope="module")
def roundup(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RoundupServer]:
    with serve_roundup(tmp_path_factory.mktemp("roundup")) as roundup:
        yield roundup


@pytest.fixture
def app(tmp_path: Path, roundup: RoundupServer) -> Iterator[Flask]:
    credentials = {name: {"user": "admin", "password": word} for name, word in (("bot", PASSWORD), ("wrong", "x"))}
    app = make_app(f"sqlite:///{tmp_path}/scm.db", GRPC_SCM_CREDENTIALS=credentials, GRPC_SCM_ALLOWED_HOSTS="127.0.0.1")
    at = f"add-integration demo roundup --base-url {roundup.url}"
    for command in (
        "init-db",
        "add-organization demo",
        "add-project demo web",
        "add-group demo web --title ZeroDivisionError",
        f"{at} --name bugs --credentials bot --set comment_on_link=true",
        f"{at} --name locked --credentials wrong",
    ):
        result = app.test_cli_runner().invoke(args=["scm", *command.split()])
        assert (result.exit_code, result.stderr) == (0, ""), result.output
    yield app
    with app.app_context():
        db.engine.dispose()


def create(app: Flask, key: str = "", *, integration: int = 1, **fields: Any) -> Answer:
    request = scm_pb2.CreateExternalIssueRequest(
        **{"organization_id": 1, "integration_id": integration, "title": "Division by zero", **fields}
    )
    headers = {"idempotency-key": key} if key else {}
    return call(app.test_client(), SERVICE + "CreateExternalIssue", request, headers=headers)


def titled(roundup: RoundupServer, title: str) -> list[dict[str, Any]]:
    return [row for row in roundup.rows("issue") if row["title"] == title]


def texts(roundup: RoundupServer, issue: dict[str, Any]) -> list[str]:
    return [row["content"] for row in roundup.rows("msg") if row["id"] in issue["messages"]]


def test_an_issue_is_created_linked_and_shown(app: Flask, roundup: RoundupServer) -> None:
    fields = {"description": "In <b>ü</b>\nline 7", "metadata": {"priority": "bug"}}
    issue = create(app, **fields).only(scm_pb2.ExternalIssue)
    request = scm_pb2.LinkExternalIssueRequest(group_id=1, external_issue_id=issue.id)
    assert call(app.test_client(), SERVICE + "LinkExternalIssue", request).only(scm_pb2.ExternalIssue) == issue
    (row,) = titled(roundup, "Division by zero")
    assert (issue.key, issue.web_url) == (f"issue{row['id']}", f"{roundup.url}issue{row['id']}")
    description, comment = texts(roundup, row)
    assert re.fullmatch(r"In <b>ü</b>\nline 7\n\nReference: scm[0-9a-f]{32}", description)
    assert comment == "Linked to error group 1: ZeroDivisionError"
    page = urllib3.request("GET", issue.web_url, headers=urllib3.make_headers(basic_auth=f"admin:{PASSWORD}"))
    assert "Division by zero" in page.data.decode()


def test_what_becomes_of_issues_is_read(app: Flask, roundup: RoundupServer) -> None:
    keys = [create(app, title=f"State {n}").only(scm_pb2.ExternalIssue).key for n in (1, 2)]
    request = scm_pb2.LinkExternalIssueRequest(group_id=1, integration_id=1, external_key=keys[0])
    call(app.test_client(), SERVICE + "LinkExternalIssue", request)
    tracker = Roundup(
        roundup.url,
        Credential(user="admin", password=PASSWORD),
        deadline=time.monotonic() + 20,
        allowed_hosts=["127.0.0.1"],
    )
    assert tracker.comments(keys[0])[-1] == "Linked to error group 1: ZeroDivisionError"
    assert tracker.comments(keys[1])[-1].startswith("Reference: ")
    path = f"/rest/data/issue/{keys[1].removeprefix('issue')}"
    version = tracker.http.get(path).json()["data"]["@etag"]
    tracker.http.request("PATCH", path, json={"@etag": version, "status": "resolved", "assignedto": "admin"})
    found = tracker.read_many([*keys, "issue99999"])
    assert {key: (each.key, each.title) for key, each in found.items()} == {
        key: (key, f"State {n}") for n, key in enumerate(keys, start=1)
    }
    result = app.test_cli_runner().invoke(args=["scm", "issues", "refresh", "demo", "--key", keys[1]])
    assert result.stdout.startswith(f"{keys[1]}  resolved, admin, read ")


def test_what_was_created_before_a_crash_is_found(app: Flask, roundup: RoundupServer) -> None:
    tracker = Roundup(
        roundup.url,
        Credential(user="admin", password=PASSWORD),
        deadline=time.monotonic() + 20,
        allowed_hosts=["127.0.0.1"],
    )
    now = datetime.fromtimestamp(time.time() - 60, timezone.utc)
    for title, crashed_in in (("After the message", "msg"), ("After the issue", "issue")):
        wanted = NewIssue(title, "", {}, f"scm{crashed_in}", now)
        if crashed_in == "issue":
            tracker.create(wanted)
        else:
            tracker._write(tracker.body(wanted), messageid=wanted.marker)
        with app.app_context():
            operation = IssueOperation(
                organization_id=1,
                integration_id=1,
                title=title,
                marker=wanted.marker,
                request_digest="",
                claimed_until=now,
                date_added=now,
            )
            db.session.add(operation)
            db.session.commit()
            key = outbox.resume(operation).key
            assert db.session.scalars(sa.select(ExternalIssue.key).where(ExternalIssue.title == title)).all() == [key]
        (row,) = titled(roundup, title)
        assert key == f"issue{row['id']}"
        assert texts(roundup, row) == [f"Reference: {wanted.marker}"]


def test_a_retry_creates_nothing_anew(app: Flask, roundup: RoundupServer) -> None:
    first, second = (create(app, "k", title="Retried").only(scm_pb2.ExternalIssue) for _ in range(2))
    assert first == second
    assert len(titled(roundup, "Retried")) == 1


def test_what_the_tracker_refuses_is_said_in_its_words(app: Flask, roundup: RoundupServer) -> None:
    answer = create(app, title="Refused", metadata={"priority": "nonsense"})
    assert answer.code == StatusCode.INVALID_ARGUMENT
    assert answer.message == "roundup responded with 400: property priority: 'nonsense' is not a priority."
    answer = create(app, title="Refused", integration=2)
    assert answer.code == StatusCode.FAILED_PRECONDITION
    assert titled(roundup, "Refused") == []
    with app.app_context():
        assert outbox.unfinished() == []
