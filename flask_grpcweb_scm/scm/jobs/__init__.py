"""Jobs: work that is due again and again stands in the database, and whoever has time claims it.

A schedule, not a queue: a job is a row for its kind and its subject, however often it is made due. A worker claims it
for a lease by the clock of the database, and renews the lease while it works. Whatever dies, the lease ends, and the
job is due again. So what a job does is idempotent; and one worker at a time does it.
"""

from __future__ import annotations

import functools
import logging
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from flask import current_app
from sqlalchemy.exc import SQLAlchemyError

from flask_grpcweb_scm.rpc import RpcError, printable
from flask_grpcweb_scm.scm.database.db import UtcDateTime, database_now, db, insert_new, release_connection
from flask_grpcweb_scm.scm.database.models import Job
from flask_grpcweb_scm.scm.database.values import (
    REFRESH_ISSUES,
    RESUME_OUTBOX,
    SYNC_ORGANIZATION,
    SYNC_REPOSITORY,
)
from flask_grpcweb_scm.scm.git_import import ImportFailed
from flask_grpcweb_scm.scm.providers import ProviderError
from flask_grpcweb_scm.scm.providers.reply import MAX_RETRY_SECONDS
from flask_grpcweb_scm.scm.settings import current_settings
from flask_grpcweb_scm.scm.sources.git import GitError
from flask_grpcweb_scm.transactions import is_outage, reason_of

__all__ = [
    "REFRESH_ISSUES",
    "RESUME_OUTBOX",
    "SYNC_ORGANIZATION",
    "SYNC_REPOSITORY",
    "JobFailed",
    "Kind",
    "Lease",
    "LeaseEnded",
    "NoSubject",
    "figures",
    "is_free",
    "make_due",
    "run_due",
]

logger = logging.getLogger(__name__)

FIRST_DELAY_SECONDS = 10.0
LONGEST_DELAY_SECONDS = 3600.0
JITTER = 0.1
"""Of intervals, so that jobs which became due together do not stay together."""
RENEWALS = 3
"""Of a lease, before it would end."""
MAX_ERROR_CHARACTERS = 2000


class NoSubject(Exception):
    """Raised by a job whose subject is gone, or needs it no longer: the job is deleted."""


class JobFailed(Exception):
    """Raised by a job that is to be tried again.

    :param message: is stored, and shown to operators: no credential.
    :param retry_after: seconds to wait at least; None for no minimum.
    """

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class LeaseEnded(Exception):
    """Raised in a job that is to stop where it is: its worker ends, or another one may have claimed it."""


@dataclass(eq=False, slots=True)
class Lease:
    """The claim of a job, while it runs."""

    job_id: int
    kind: str
    subject_id: int
    claims: int
    requests: int
    attempts: int
    note: Callable[[str], object]
    """Tells whoever watches the worker what happens: no credential."""
    stop: threading.Event
    """Is set when the worker is to end."""
    ended: threading.Event = field(default_factory=threading.Event)

    def check(self) -> None:
        """Go on only while the lease lasts. It is cheap: call it between steps, each of which may be the last.

        :raises LeaseEnded: when it is over, or the worker is to end.
        """
        if self.ended.is_set() or self.stop.is_set():
            raise LeaseEnded


@dataclass(frozen=True, slots=True)
class Kind:
    """The work of jobs of a kind, and how often it is due."""

    run: Callable[[int, Lease], object]
    """Is called with the id of the subject, in an app context, without a transaction; commits what it does. It raises
    :class:`NoSubject`, :class:`JobFailed`, :class:`ProviderError`, or any other error, of which only the log has
    more."""
    interval: Callable[[], float]
    """Seconds from a success until it is due again."""


def make_due(
    kind: str,
    subject_id: int = 0,
    *,
    organization_id: int | None = None,
    after: float = 0.0,
    is_patient: bool = False,
) -> datetime:
    """Have a job done soon, once, however often this is called until then; return when. The caller commits.

    One that is under way is done once more, for it may have seen only what was before. A wait that a provider has
    demanded is not shortened.

    :param organization_id: with whose deletion it is deleted.
    :param after: seconds from now.
    :param is_patient: leave a job that has failed to its next attempt.
    """
    when = database_now() + timedelta(seconds=after)
    values = {"kind": kind, "subject_id": subject_id, "organization_id": organization_id, "due_at": when}
    this = {"this_kind": kind, "this_subject": subject_id, "soon": when}
    update, insert = _steps_to_make_due(db.engine.dialect.name, is_patient)
    while True:
        # A worker may delete the row between the two.
        for step, given in ((update, this), (insert, values)):
            due_at: datetime | None = db.session.scalars(step, given).one_or_none()
            if due_at is not None:
                return due_at


@functools.cache
def _steps_to_make_due(dialect: str, is_patient: bool) -> tuple[sa.Executable, sa.Executable]:
    """Build the statements once, for webhooks come often."""
    job, soon = Job.__table__, sa.bindparam("soon", type_=UtcDateTime)
    assert isinstance(job, sa.Table)
    column = job.c
    this = sa.and_(column.kind == sa.bindparam("this_kind"), column.subject_id == sa.bindparam("this_subject"))
    is_sooner = sa.and_(column.due_at > soon, column.error == "") if is_patient else column.due_at > soon
    allowed = sa.case((column.not_before > soon, column.not_before), else_=soon)
    changes = {"due_at": sa.case((is_sooner, allowed), else_=column.due_at), "requests": column.requests + 1}
    update = sa.update(job).where(this).values(changes).returning(column.due_at)
    return update, insert_new(job, "uq_scm_job_subject").returning(column.due_at)


def run_due(
    kinds: Mapping[str, Kind],
    *only: sa.ColumnElement[bool],
    limit: int | None = None,
    stop: threading.Event | None = None,
    note: Callable[[str], object] = logger.info,
) -> int:
    """Run jobs one after another, the one that is due longest first, until none is; return how many.

    :param kinds: by name; jobs of other kinds are left to other workers.
    :param only: conditions on Job.
    :param limit: how many to run at most.
    :param stop: once it is set, the job that is under way stops where it is, and is due for others.
    :param note: is called with lines for whoever watches.
    :raises SQLAlchemyError: when no job can be claimed.
    """
    stop = stop or threading.Event()
    count = 0
    while (limit is None or count < limit) and not stop.is_set():
        lease = _claim(kinds, only, note, stop)
        if lease is None:
            break
        _run(kinds[lease.kind], lease)
        count += 1
    return count


def is_free(now: datetime | sa.ColumnElement[datetime]) -> sa.ColumnElement[bool]:
    """Build the condition on a Job that no worker has it at an instant."""
    return sa.or_(Job.claimed_until.is_(None), Job.claimed_until <= now)


def figures() -> Mapping[str, tuple[str, float]]:
    """Return the figures of jobs for metrics, by name, each with its meaning."""
    now = database_now()
    is_due, is_failing = Job.due_at <= now, sa.and_(Job.error != "", Job.attempts > 0)
    is_running = sa.not_(is_free(now))
    counts = [sa.func.count(sa.case((condition, 1))) for condition in (is_due, is_failing, is_running)]
    oldest = sa.func.min(sa.case((sa.and_(is_due, sa.not_(is_running)), Job.due_at)))
    due, failing, running, first = tuple(db.session.execute(sa.select(*counts, oldest)).one())
    age = 0.0 if first is None else (now - first).total_seconds()
    return {
        "scm_jobs_due": ("Jobs that are due.", due),
        "scm_jobs_failing": ("Jobs whose last attempt has failed.", failing),
        "scm_jobs_running": ("Jobs that a worker has claimed.", running),
        "scm_jobs_oldest_due_seconds": ("Time that the oldest due job has waited for a worker; 0 without one.", age),
    }


def _claim(
    kinds: Mapping[str, Kind],
    only: tuple[sa.ColumnElement[bool], ...],
    note: Callable[[str], object],
    stop: threading.Event,
) -> Lease | None:
    """Claim the job that is due longest; None when none is."""
    while True:
        now = database_now()
        due = sa.select(Job.id, Job.kind, Job.subject_id, Job.claims, Job.requests, Job.attempts)
        due = (
            due.where(Job.due_at <= now, is_free(now), Job.kind.in_(kinds), *only).order_by(Job.due_at, Job.id).limit(1)
        )
        # SQLite has no such locks: there another worker may be faster.
        row = db.session.execute(due.with_for_update(skip_locked=True)).one_or_none()
        if row is None:
            release_connection()
            return None
        lease = Lease(row.id, row.kind, row.subject_id, row.claims, row.requests, row.attempts, note, stop)
        claimed = _update(
            lease,
            claims=lease.claims + 1,
            claimed_until=now + timedelta(seconds=current_settings().scm_job_lease),
            attempts=lease.attempts + 1,
            # Should it end its worker, then others come first, and it comes more and more rarely.
            due_at=now + timedelta(seconds=_delay(lease.attempts)),
        )
        if claimed:
            lease.claims += 1
            return lease


def _run(kind: Kind, lease: Lease) -> None:
    """Run a job that is claimed, and store how it ends."""
    started = time.monotonic()
    subject = f"{lease.kind} {lease.subject_id}" if lease.subject_id else lease.kind
    try:
        with _renewed(lease):
            kind.run(lease.subject_id, lease)
    except NoSubject:
        is_ours, text = _complete(lease, 0.0, is_needed=False), "not needed any longer"
    except LeaseEnded:
        is_ours, text = _complete(lease, 0.0, attempts=lease.attempts), "stopped, and due again"
    except Exception as error:
        wait = _delay(lease.attempts + 1)
        demanded = min(getattr(error, "retry_after", None) or 0.0, MAX_RETRY_SECONDS)
        # Of an outage the traceback would say nothing, and every job would write one.
        if not (isinstance(error, _EXPECTED) or is_outage(error, db)):
            logger.exception("%s failed", subject)
        is_ours = _complete(lease, wait, demanded, error=_sentence(error)[:MAX_ERROR_CHARACTERS])
        text = f"failed, and due again in {max(wait, demanded):.0f} s: {_sentence(error)}"
    except BaseException:
        _complete(lease, 0.0, attempts=lease.attempts)
        raise
    else:
        wait = kind.interval() * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311  # no secret
        is_ours = _complete(lease, wait, attempts=0, error="", is_success=True)
        text = f"done in {time.monotonic() - started:.1f} s"
    lease.note(f"{subject}: {text if is_ours else 'its lease was over before its end, so that it is done again'}")


def _delay(attempts: int) -> float:
    """Return the seconds to wait after so many attempts without a success: exponentially more, with jitter."""
    if attempts == 0:
        return 0.0
    longest = min(FIRST_DELAY_SECONDS * 2.0 ** min(attempts - 1, 32), LONGEST_DELAY_SECONDS)
    return longest * random.uniform(0.5, 1)  # noqa: S311  # no secret


_EXPECTED = (JobFailed, ProviderError, RpcError, GitError, ImportFailed)


def _sentence(error: Exception) -> str:
    """Return what is stored of an error, without what may be a credential."""
    if isinstance(error, ProviderError):
        text = error.private
    elif isinstance(error, RpcError):
        text = error.message
    elif isinstance(error, SQLAlchemyError):
        text = f"the database failed: {reason_of(error)}"
    elif isinstance(error, _EXPECTED):
        text = str(error)
    else:
        text = f"{type(error).__name__} in the worker; its log has more"
    return printable(text)


def _complete(
    lease: Lease,
    wait: float,
    demanded: float = 0.0,
    *,
    is_needed: bool = True,
    is_success: bool = False,
    **values: Any,
) -> bool:
    """End a lease; the job is due after `wait` seconds, or at once if it was made due while it did not fail.

    :param demanded: seconds that a provider has the job wait.
    :return: False when the lease was another worker's already, or is not ended.
    """
    this = sa.and_(Job.id == lease.job_id, Job.claims == lease.claims)
    same = Job.requests == lease.requests
    try:
        db.session.rollback()
        if not is_needed and db.session.execute(sa.delete(Job).where(this, same).returning(Job.id)).one_or_none():
            release_connection()
            return True
        now = database_now()
        values |= {"succeeded_at": now} if is_success else {}
        due_at: Any = now + timedelta(seconds=max(wait, demanded))
        if not values.get("error"):
            due_at = sa.case((same, due_at), else_=now)
        not_before = now + timedelta(seconds=demanded) if demanded else None
        is_ours = _update(lease, due_at=due_at, not_before=not_before, claimed_until=None, **values)
        if not is_ours:
            logger.warning("job %d has been claimed by another worker meanwhile", lease.job_id)
    except SQLAlchemyError as error:
        db.session.rollback()
        logger.warning("job %d stays claimed until its lease ends: %s", lease.job_id, reason_of(error))
        return False
    return is_ours


def _update(lease: Lease, **values: Any) -> bool:
    """Change and commit the row of a job; return False when another worker has claimed it."""
    this = sa.and_(Job.id == lease.job_id, Job.claims == lease.claims)
    update = sa.update(Job).where(this).values(values).returning(Job.id)
    found = db.session.execute(update.execution_options(synchronize_session=False)).one_or_none()
    release_connection()
    return found is not None


@contextmanager
def _renewed(lease: Lease) -> Iterator[None]:
    """Renew a lease until the block ends, in a thread, because the work may wait for git or a provider."""
    app = current_app.app_context().app
    seconds, done = current_settings().scm_job_lease, threading.Event()

    def renew() -> None:
        end = time.monotonic() + seconds
        while not done.wait(seconds / RENEWALS):
            started = time.monotonic()
            try:
                with app.app_context():
                    claimed_until = database_now() + timedelta(seconds=seconds)
                    is_ours = _update(lease, claimed_until=claimed_until)
            except Exception as error:  # of the database, or of the app's own functions
                reason = reason_of(error) if isinstance(error, SQLAlchemyError) else type(error).__name__
                logger.warning("the lease of job %d was not renewed: %s", lease.job_id, reason)
                is_ours = started < end
            else:
                end = started + seconds
            if not is_ours:
                lease.ended.set()
                return

    thread = threading.Thread(target=renew, name=f"lease of job {lease.job_id}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
