"""kill -9 during CreateExternalIssue, at every step: nothing acknowledged is missing, nothing is there twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_grpcweb_scm.pb import scm_pb2
from flask_grpcweb_scm.scm import ExternalIssue, IssueOperation, db, outbox
from flask_grpcweb_scm.scm.trackers.tracker import Tracker
from tests.faults.create_issue import create, quick_app, set_up
from tests.scm.trackers.github_server import Fault, GitHubServer, serve_github

ROOT = Path(__file__).parent.parent.parent
SECONDS = 20


@pytest.fixture
def github() -> Iterator[GitHubServer]:
    with serve_github() as github:
        yield github


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/scm.db"


@pytest.fixture
def app(uri: str, github: GitHubServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Flask]:
    for owner, name in ((outbox, "GRACE_SECONDS"), (Tracker, "search_delay")):
        monkeypatch.setattr(owner, name, getattr(owner, name))  # undone afterwards
    app = quick_app(uri)
    set_up(app, github.url)
    yield app
    with app.app_context():
        db.engine.dispose()


def start(uri: str, point: str = "") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.faults.create_issue", uri, point],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )


def check_end(app: Flask, github: GitHubServer) -> None:
    """Whatever has happened, retries with the same key come to one issue, here and there."""
    deadline = time.monotonic() + SECONDS
    while (answer := create(app)).code == 14:  # UNAVAILABLE
        assert time.monotonic() < deadline, answer.message
        time.sleep(0.1)
    assert answer.only(scm_pb2.ExternalIssue).key == "o/r#1"
    assert len(github.issues) == 1
    with app.app_context():
        assert db.session.scalars(sa.select(ExternalIssue.key).order_by(ExternalIssue.id)).all() == ["T-1", "o/r#1"]
        assert db.session.scalars(sa.select(IssueOperation)).all() == []
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
    app: Flask, uri: str, github: GitHubServer, point: str, at_tracker: int, operations: int
) -> None:
    process = start(uri, point)
    assert process.communicate(timeout=SECONDS) == ("", None)
    assert process.returncode == -signal.SIGKILL
    assert len(github.issues) == at_tracker
    with app.app_context():
        assert len(outbox.unfinished()) == operations
    check_end(app, github)


def kill_before(process: Any) -> Fault:
    return lambda peer, act: process().kill()


def kill_after(process: Any) -> Fault:
    def fault(peer: Any, act: Any) -> None:
        act()
        process().kill()

    return fault


def kill_with_half_an_answer(process: Any) -> Fault:
    def fault(peer: Any, act: Any) -> None:
        peer.send(act()[:30])
        process().kill()

    return fault


@pytest.mark.parametrize(("fault", "at_tracker"), [(kill_before, 0), (kill_after, 1), (kill_with_half_an_answer, 1)])
def test_a_process_that_is_killed_while_the_tracker_is_at_it(
    app: Flask, uri: str, github: GitHubServer, fault: Any, at_tracker: int
) -> None:
    started: list[subprocess.Popen[str]] = []
    github.faults = [fault(lambda: started[0])]
    started.append(start(uri))
    assert started[0].communicate(timeout=SECONDS) == ("", None)
    assert started[0].returncode == -signal.SIGKILL
    assert len(github.issues) == at_tracker
    check_end(app, github)


def test_one_that_is_killed_while_it_looks_for_what_another_left(app: Flask, uri: str, github: GitHubServer) -> None:
    started: list[subprocess.Popen[str]] = []
    github.faults = [kill_after(lambda: started[-1]), kill_before(lambda: started[-1])]
    for _ in range(2):
        started.append(start(uri))
        started[-1].communicate(timeout=SECONDS)
        assert started[-1].returncode == -signal.SIGKILL
        time.sleep(1.2)  # its claim
    check_end(app, github)


def test_what_was_acknowledged_is_there(app: Flask, uri: str, github: GitHubServer) -> None:
    process = start(uri)
    assert process.communicate(timeout=SECONDS) == ("0 o/r#1\n", None)
    assert process.returncode == os.EX_OK
    check_end(app, github)
