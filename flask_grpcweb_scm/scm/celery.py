"""Jobs as tasks of Celery.

A task is a hint and carries nothing: which jobs are due stands in the database, where a job is claimed for a lease. So
it is no matter whether a task is lost with its broker, comes twice, or dies with its worker: Beat sends the next one.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable
from multiprocessing.sharedctypes import RawValue
from typing import Any

import sqlalchemy as sa
from celery import Celery, Task, signals
from flask import Flask
from kombu.exceptions import OperationalError
from sqlalchemy.exc import SQLAlchemyError

from flask_grpcweb_scm.scm.database.db import database_now, db, release_connection
from flask_grpcweb_scm.scm.database.models import Job
from flask_grpcweb_scm.scm.jobs import RESUME_OUTBOX, is_free, make_due, run_due
from flask_grpcweb_scm.scm.sync import KINDS
from flask_grpcweb_scm.transactions import reason_of

__all__ = ["add_jobs"]

logger = logging.getLogger(__name__)

PREFIX = "flask_grpcweb_scm."
SWEEP = f"{PREFIX}sweep"
SWEEP_SECONDS = 1.0
"""Between two looks of Beat at what is due."""
EXPIRES_SECONDS = 10.0
"""After which a task that no worker has taken is dropped: another one is there by then."""
MOST_HINTS = 8
"""For jobs of one kind, from one look: so many more processes work on them a second later."""
LONGEST_SECONDS = 60.0
"""From the start of a task until it begins no further job, so that other tasks have their turn."""


class _Stop:
    """Tells the jobs of a worker that it is to end, in whichever of its processes they run.

    A byte that they share, without a lock: one that is killed could not release it.
    """

    def __init__(self) -> None:
        self._is_set = RawValue("b", 0)

    def set(self) -> None:
        self._is_set.value = 1

    def is_set(self) -> bool:
        return bool(self._is_set.value)


def add_jobs(app: Flask) -> Celery:
    """Add a task for each kind of job to the Celery of an app, and to Beat's schedule the one that sends them.

    It is ``app.extensions["celery"]``, as Flask's documentation has it, or a new one, configured by
    ``app.config["CELERY"]``. Tasks have the names ``flask_grpcweb_scm.sync_repository`` and so on.
    """
    celery: Celery = app.extensions.get("celery") or _new(app)
    stop = _Stop()
    # A function of its own: before 5.6 the methods of two objects count as one receiver.
    signals.worker_shutting_down.connect(lambda **_: stop.set(), weak=False)

    def add(name: str, function: Callable[[], object]) -> Any:
        def run() -> None:
            with app.app_context():
                try:
                    function()
                except SQLAlchemyError as error:
                    # Of each task a traceback would say the same.
                    logger.warning("%s: the database failed: %s", name, reason_of(error))

        # No result, which would need a backend. The broker forgets a task that has begun. Those of this app alone.
        options = {"ignore_result": True, "acks_late": False, "shared": False}
        return celery.task(run, name=name, expires=EXPIRES_SECONDS, **options)

    tasks = {kind: add(f"{PREFIX}{kind}", functools.partial(_work, kind, stop)) for kind in KINDS}
    add(SWEEP, lambda: _sweep(tasks))
    celery.conf.beat_schedule = {
        **(celery.conf.beat_schedule or {}),
        SWEEP: {"task": SWEEP, "schedule": SWEEP_SECONDS, "options": {"expires": EXPIRES_SECONDS}},
    }
    return celery


def _new(app: Flask) -> Celery:
    """Make a Celery as https://flask.palletsprojects.com/en/stable/patterns/celery/ does."""

    class FlaskTask(Task):  # type: ignore[misc]
        def __call__(self, *args: object, **kwargs: object) -> object:
            with app.app_context():
                return self.run(*args, **kwargs)

    celery = Celery(app.name, task_cls=FlaskTask)
    celery.config_from_object(app.config["CELERY"])
    celery.set_default()
    app.extensions["celery"] = celery
    return celery


def _sweep(tasks: dict[str, Any]) -> None:
    """Send a task for each job that is due, though not for all of very many."""
    if db.session.scalars(sa.select(Job.id).where(Job.kind == RESUME_OUTBOX)).first() is None:
        make_due(RESUME_OUTBOX)
        release_connection()
    now = database_now()
    due = sa.select(Job.kind, sa.func.count()).where(Job.due_at <= now, is_free(now), Job.kind.in_(tasks))
    counts = db.session.execute(due.group_by(Job.kind)).all()
    release_connection()
    for kind, count in counts:
        for _ in range(min(count, MOST_HINTS)):
            try:
                tasks[kind].apply_async(retry=False)
            except OperationalError as error:
                logger.warning("the broker takes no task: %s", error)
                return


def _work(kind: str, stop: Any) -> None:
    """Run jobs of a kind until none is due, or this has taken long enough."""
    started = time.monotonic()
    while time.monotonic() - started < LONGEST_SECONDS and run_due({kind: KINDS[kind]}, limit=1, stop=stop):
        pass
