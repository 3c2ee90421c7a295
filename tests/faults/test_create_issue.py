"""kill -9 during CreateExternalIssue, at every step: nothing acknowledged is missing, nothing is there twice."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_grpcweb_scm import StatusCode
from flask_grpcweb_scm.pb import scm_pb2
from flask_grpcweb_scm.scm import ExternalIssue, IssueOperation, db
from flask_grpcweb_scm.scm.trackers import outbox
from tests.faults.create_issue import create, create_and_die, set_up, tracked_app
from tests.forking import FORKSERVER
from tests.scm.databases import disposed
from tests.scm.trackers.github_server import Fault, GitHubServer, serve_github

pytestmark = pytest.mark.needs("processes that are killed")

SECONDS = 20


@pytest.fixture
def github() -> Iterator[GitHubServer]:
    with serve_github() as github:
        yield github


@pytest.fixture
def app(database: str, github: GitHubServer) -> Iterator[Flask]:
    with disposed(tracked_app(database)) as app:
        set_up(app, github.url)
        yield app


class Call:
    """A process that makes a call."""

    def __init__(self, database: str, point: str = "") -> None:
        self._answers, self._its_end = FORKSERVER.Pipe(duplex=False)
        self._process = FORKSERVER.Process(target=create_and_die, args=[database, point, self._its_end])

    def start(self) -> Call:
        self._process.start()
        self._its_end.close()
        return self

    def kill(self) -> None:
        self._process.kill()

    def end(self) -> str | None:
        """The answer; None when it was killed before it had one."""
        self._process.join(SECONDS)
        assert self._process.exitcode in {0, -signal.SIGKILL}
        answer = self._answers.recv() if self._answers.poll() and self._process.exitcode == 0 else None
        self._answers.close()
        self._process.close()
        return answer


def operations_of(app: Flask) -> int:
    with app.app_context():
        return len(outbox.unfinished())


def end_claims(app: Flask) -> None:
    """Have half a minute passed."""
    with app.app_context():
        then = datetime.now(timezone.utc) - timedelta(seconds=10)
        db.session.execute(sa.update(IssueOperation).values(claimed_until=then))
        db.session.commit()


def check_end(app: Flask, github: GitHubServer) -> None:
    """Whatever has happened, a retry with the same key comes to one issue, here and there."""
    if operations_of(app):
        assert create(app, timeout="2S").code == StatusCode.UNAVAILABLE
    end_claims(app)
    answer = create(app)
    assert answer.only(scm_pb2.ExternalIssue).key == "o/r#1"
    assert len(github.issues) == 1
    with app.app_context():
        assert db.session.scalars(sa.select(ExternalIssue.key).order_by(ExternalIssue.id)).all() == ["T-1", "o/r#1"]
        assert outbox.unfinished() == []
        if db.engine.dialect.name == "sqlite":
            assert db.session.execute(sa.text("PRAGMA integrity_check")).scalars().all() == ["ok"]
            assert db.session.execute(sa.text("PRAGMA foreign_key_check")).all() == []


POINTS = [
    # point, issues at the tracker then, operations
    ("before INSERT INTO scm_issue_operation", 0, 0),
    ("after INSERT INTO scm_issue_operation", 0, 0),
    ("commit 1", 0, 1),
    ("before INSERT INTO scm_external_issue", 1, 1),
    ("after INSERT INTO scm_external_issue", 1, 1),
    ("before DELETE FROM scm_issue_operation", 1, 1),
    ("after DELETE FROM scm_issue_operation", 1, 1),
    ("commit 2", 1, 0),
]


@pytest.mark.parametrize(("point", "at_tracker", "operations"), POINTS, ids=[point[0] for point in POINTS])
def test_a_process_that_is_killed_at_the_database(
    app: Flask, database: str, github: GitHubServer, point: str, at_tracker: int, operations: int
) -> None:
    assert Call(database, point).start().end() is None
    assert len(github.issues) == at_tracker
    assert operations_of(app) == operations
    check_end(app, github)


def kill_before(calls: list[Call]) -> Fault:
    return lambda peer, act: calls[-1].kill()


def kill_after(calls: list[Call]) -> Fault:
    def fault(peer: Any, act: Any) -> None:
        act()
        calls[-1].kill()

    return fault


def kill_with_half_an_answer(calls: list[Call]) -> Fault:
    def fault(peer: Any, act: Any) -> None:
        peer.send(act()[:30])
        calls[-1].kill()

    return fault


@pytest.mark.parametrize(("fault", "at_tracker"), [(kill_before, 0), (kill_after, 1), (kill_with_half_an_answer, 1)])
def test_a_process_that_is_killed_while_the_tracker_is_at_it(
    app: Flask, database: str, github: GitHubServer, fault: Any, at_tracker: int
) -> None:
    calls = [Call(database)]
    github.faults = [fault(calls)]
    assert calls[0].start().end() is None
    assert len(github.issues) == at_tracker
    check_end(app, github)


def test_one_that_is_killed_while_it_looks_for_what_another_left(
    app: Flask, database: str, github: GitHubServer
) -> None:
    calls: list[Call] = []
    github.faults = [kill_after(calls), kill_before(calls)]
    for _ in range(2):
        end_claims(app)
        calls.append(Call(database))
        assert calls[-1].start().end() is None
    check_end(app, github)


def test_what_was_acknowledged_is_there(app: Flask, database: str, github: GitHubServer) -> None:
    assert Call(database).start().end() == "o/r#1"
    check_end(app, github)
