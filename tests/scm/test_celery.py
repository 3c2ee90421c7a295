"""Jobs as tasks of Celery: which ones there are, and what each does. tests/faults kills what runs them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from celery import Celery, signals
from flask import Flask

from flask_grpcweb_scm.scm import Job, db
from flask_grpcweb_scm.scm.celery import add_jobs
from flask_grpcweb_scm.scm.database.db import database_now
from flask_grpcweb_scm.scm.jobs import Kind, Lease, make_due
from flask_grpcweb_scm.scm.sync import KINDS
from tests.documents import PAGES, block, files
from tests.servers import free_port

NAMES = {f"flask_grpcweb_scm.{name}" for name in ("sweep", *KINDS)}


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What has run, with its subject; the kinds of jobs do nothing else."""
    ran: list[str] = []

    def kind_of(name: str) -> Kind:
        return Kind(lambda subject_id, lease: ran.append(f"{name} {subject_id}"), lambda: 3600.0)

    monkeypatch.setattr("flask_grpcweb_scm.scm.celery.KINDS", {name: kind_of(name) for name in KINDS})
    return ran


@pytest.fixture
def celery(app: Flask, ran: list[str]) -> Celery:
    """Runs each task where it is sent."""
    app.config["CELERY"] = {"broker_url": "memory://", "task_always_eager": True}
    return add_jobs(app)


def ours(celery: Celery) -> set[str]:
    return {name for name in celery.tasks if name.startswith("flask_grpcweb_scm.")}


def sweep(celery: Celery) -> None:
    celery.tasks["flask_grpcweb_scm.sweep"].apply(throw=True)


def make(app: Flask, *subjects: int, kind: str = "sync_repository") -> None:
    with app.app_context():
        for subject_id in subjects:
            make_due(kind, subject_id)
        db.session.commit()


def test_each_kind_of_job_is_a_task_and_beat_looks_for_what_is_due(app: Flask, celery: Celery) -> None:
    assert (ours(celery), app.extensions["celery"] is celery) == (NAMES, True)
    assert celery.conf.beat_schedule["flask_grpcweb_scm.sweep"]["schedule"] == 1.0


def test_a_celery_of_the_app_is_used_and_keeps_its_schedule(app: Flask) -> None:
    own = Celery("own")
    own.conf.beat_schedule = {"mine": {"task": "mine", "schedule": 60}}
    app.extensions["celery"] = own
    assert add_jobs(app) is own
    assert (ours(own), {*own.conf.beat_schedule}) == (NAMES, {"mine", "flask_grpcweb_scm.sweep"})


def test_what_is_due_runs_once(app: Flask, celery: Celery, ran: list[str]) -> None:
    make(app, 1, 2, 3)
    make(app, 7, kind="sync_organization")
    sweep(celery)
    expected = [*(f"sync_repository {number}" for number in (1, 2, 3)), "sync_organization 7", "resume_outbox 0"]
    assert sorted(ran) == sorted(expected)
    sweep(celery)
    assert len(ran) == len(expected)


def test_many_that_are_due_are_few_tasks(app: Flask, celery: Celery, ran: list[str]) -> None:
    make(app, *range(100))
    sweep(celery)
    assert len(ran) == 101


def test_what_another_worker_has_is_left_to_it(app: Flask, celery: Celery, ran: list[str]) -> None:
    make(app, 1)
    sweep(celery)
    ran.clear()
    with app.app_context():
        now = database_now()
        for claimed_until in (sa.text("'2999-01-01'"), now):
            db.session.execute(sa.update(Job).values(due_at=now, claimed_until=claimed_until))
            db.session.commit()
            for kind in KINDS:
                celery.tasks[f"flask_grpcweb_scm.{kind}"].apply(throw=True)
            assert bool(ran) == (claimed_until is now)


def test_an_end_of_the_worker_stops_the_job_that_is_under_way(
    app: Flask, celery: Celery, ran: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(subject_id: int, lease: Lease) -> None:
        ran.append("begun")
        signals.worker_shutting_down.send(sender=None, sig="TERM", how="Warm", exitcode=0)
        lease.check()
        ran.append("ended")

    kinds = {name: Kind(run if name == "sync_repository" else lambda *_: None, lambda: 3600.0) for name in KINDS}
    monkeypatch.setattr("flask_grpcweb_scm.scm.celery.KINDS", kinds)
    make(app, 1, 2)
    sweep(celery)
    assert ran == ["begun"]
    with app.app_context():
        jobs = db.session.scalars(sa.select(Job).filter_by(kind="sync_repository")).all()
        assert [(job.claimed_until, job.attempts, job.due_at <= database_now()) for job in jobs] == [
            (None, 0, True)
        ] * 2


@pytest.mark.needs("time")
@pytest.mark.parametrize("what", ["database", "broker"])
def test_an_outage_is_a_line_in_the_log(
    app: Flask, what: str, ran: list[str], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    app.config["CELERY"] = {"broker_url": f"redis://127.0.0.1:{free_port()}", "broker_connection_retry": False}
    celery = add_jobs(app)
    make(app, 1)
    if what == "database":
        with app.app_context():
            db.session.execute(sa.text("ALTER TABLE scm_job RENAME TO scm_job_elsewhere"))
            db.session.commit()
    sweep(celery)
    (line,) = [record.getMessage() for record in caplog.records if record.name.endswith("scm.celery")]
    assert ("the broker takes no task" if what == "broker" else "the database failed") in line


# docs/scaling.md


PAGE = PAGES["scaling"]


def test_the_function_of_the_page_for_another_engine(app: Flask) -> None:
    make(app, 4711)
    names: dict[str, Any] = {}
    exec(block(PAGE, "python", "def work"), names)
    names["work"](app)
    with app.app_context():
        # There is no such repository.
        assert db.session.scalars(sa.select(Job)).all() == []


@pytest.mark.needs("time")
def test_the_module_and_the_commands_of_the_page(tmp_path: Path, shell_path: str) -> None:
    (tmp_path / "own_app.py").write_text(files(PAGES["databases"])["own_app.py"])
    (tmp_path / "celery_app.py").write_text(files(PAGE)["celery_app.py"])
    environ = {**os.environ, "PATH": shell_path, "FLASK_SQLALCHEMY_DATABASE_URI": f"sqlite:///{tmp_path}/scm.db"}
    for line in block(PAGE, "sh", "celery --app").splitlines():
        command = [*line.partition("#")[0].split(), "--help"]
        done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
