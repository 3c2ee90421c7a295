"""The outbox: issues at trackers, of which none is lost and none is created twice.

A tracker and the database have no transaction in common. So an operation is committed before the request to the
tracker, and replaced by the issue after the response. Whatever fails in between, the operation stays, and the next call
that claims it searches the tracker for its marker first. Claims end by the clock of the database, which is one for all
servers.
"""

from __future__ import annotations

import contextlib
import logging
import math
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import joinedload

from flask_grpcweb_scm.rpc import RpcError, StatusCode, retry_info, unavailable
from flask_grpcweb_scm.scm.database.db import (
    commit_step,
    database_clock,
    database_now,
    db,
    insert_new,
    release_connection,
)
from flask_grpcweb_scm.scm.database.models import ExternalIssue, IssueOperation
from flask_grpcweb_scm.scm.providers import ProviderError, ProviderUnavailable
from flask_grpcweb_scm.scm.providers.reply import MAX_RETRY_SECONDS
from flask_grpcweb_scm.scm.queries.tenancy import installation_of
from flask_grpcweb_scm.scm.trackers import open_tracker
from flask_grpcweb_scm.scm.trackers.issues import NewIssue, TrackerIssue
from flask_grpcweb_scm.scm.trackers.tracker import Tracker
from flask_grpcweb_scm.scm.validation import failed_precondition

__all__ = [
    "WantedIssue",
    "create_at_tracker",
    "discard",
    "figures",
    "first_result",
    "resume",
    "unfinished",
]

logger = logging.getLogger(__name__)

# After the tracker's deadline, to store the issue.
GRACE_SECONDS = 10
# How far the tracker's clock may be behind ours.
CLOCK_SKEW = timedelta(minutes=10)
# Between two looks at the operation of another call: the first pause, and the longest.
PAUSE_SECONDS = 0.05, 0.5
# For a caller whose deadline comes first: when to try again, and how much of its time is left for the response.
RETRY_SECONDS = 1
RESPONSE_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class WantedIssue:
    """An issue that a caller requests."""

    organization_id: int
    integration_id: int
    title: str
    description: str
    metadata: dict[str, str]
    idempotency_key: str | None
    digest: str
    """SHA-256 in hex of the request."""


def create_at_tracker(tracker: Tracker, wanted: WantedIssue, defaults: Mapping[str, str]) -> ExternalIssue:
    """Create the issue that a caller requests, unless a call with its idempotency key has created it.

    Waits for such a call that is under way, without a connection to the database. Commits more than once, together with
    what the current transaction has done before.

    :param defaults: see :func:`issue_defaults`.
    :raises ProviderError: when the tracker did not create it, or may have.
    :raises RpcError: UNAVAILABLE, while another call has claimed the operation until the deadline of `tracker`;
        FAILED_PRECONDITION, when the key came with a different request.
    """
    now = database_now()
    operation = IssueOperation(
        organization_id=wanted.organization_id,
        integration_id=wanted.integration_id,
        marker=f"scm{uuid.uuid4().hex}",
        title=wanted.title,
        description=wanted.description,
        metadata_=wanted.metadata,
        fields={**defaults, **wanted.metadata},
        idempotency_key=wanted.idempotency_key,
        request_digest=wanted.digest,
        claimed_until=_lease_end(tracker, now),
        date_added=now,
    )
    tracker.check(operation.fields)
    while True:
        started = _insert(operation)
        # After the INSERT: it has waited for a transaction that turned an operation with this key into an issue.
        done = first_result(wanted)
        if done is not None:
            if started is not None:
                db.session.delete(started)
            return done
        if started is not None:
            return _run(tracker, started)
        free = _wait_for_operation(tracker, wanted)
        claimed = None if free is None else _claim(tracker, *free)
        if free is not None and claimed is not None:
            return _run(tracker, claimed, last_attempt=free.claimed_until)


def first_result(wanted: WantedIssue) -> ExternalIssue | None:
    """Return the issue that an earlier call with the same idempotency key has created.

    :raises RpcError: FAILED_PRECONDITION, when that was a different request.
    """
    if wanted.idempotency_key is None:
        return None
    same = sa.and_(
        ExternalIssue.organization_id == wanted.organization_id, ExternalIssue.idempotency_key == wanted.idempotency_key
    )
    issue = db.session.scalars(sa.select(ExternalIssue).where(same)).one_or_none()
    if issue is not None and issue.request_digest != wanted.digest:
        raise _key_reused(wanted.idempotency_key)
    return issue


def unfinished() -> Sequence[IssueOperation]:
    """Return all operations whose outcome is not known, oldest first."""
    both = joinedload(IssueOperation.organization), joinedload(IssueOperation.integration)
    return db.session.scalars(sa.select(IssueOperation).options(*both).order_by(IssueOperation.id)).all()


def figures() -> Mapping[str, tuple[str, float]]:
    """Return the figures of the outbox for metrics, by name, each with its meaning."""
    oldest, count = db.session.execute(sa.select(sa.func.min(IssueOperation.date_added), sa.func.count())).one()
    age = 0.0 if oldest is None else (database_now() - oldest).total_seconds()
    return {
        "scm_outbox_operations": ("Issues that may have been created at a tracker, and are not known to be.", count),
        "scm_outbox_oldest_age_seconds": ("Age of the oldest of them; 0 when there is none.", max(0.0, age)),
    }


def resume(operation: IssueOperation) -> ExternalIssue:
    """Complete an operation: find the issue at the tracker, or else create it.

    :raises ProviderError: as :func:`create_at_tracker`.
    :raises RpcError: UNAVAILABLE, while a call has claimed it.
    """
    installation = installation_of(operation)
    tracker = None if installation is None else open_tracker(installation, None)
    if installation is None or tracker is None:
        text = f"integration {operation.integration_id} has no tracker settings any more"
        raise failed_precondition("TRACKER", str(operation.integration_id), text)
    tracker.check(operation.fields)
    last_attempt = operation.claimed_until
    claimed = _claim(tracker, operation.id, last_attempt) if last_attempt <= database_now() else None
    if claimed is None:
        raise _busy()
    return _run(tracker, claimed, last_attempt=last_attempt)


def discard(operation: IssueOperation) -> None:
    """Delete an operation without its outcome, for somebody who has checked the tracker."""
    _delete(operation)


def _insert(operation: IssueOperation) -> IssueOperation | None:
    """Store a new operation; None when its idempotency key is in use."""
    columns = {
        column.key: getattr(operation, column.key)
        for column in sa.inspect(IssueOperation).column_attrs
        if getattr(operation, column.key) is not None
    }
    statement = insert_new(IssueOperation, "uq_scm_issue_operation_idempotency_key").values(columns)
    return db.session.scalars(statement.returning(IssueOperation)).one_or_none()


class _Free(NamedTuple):
    """An operation whose lease is over."""

    id: int
    claimed_until: datetime


def _wait_for_operation(tracker: Tracker, wanted: WantedIssue) -> _Free | None:
    """Return the operation with an idempotency key once it is free; None once there is none."""
    columns = IssueOperation.id, IssueOperation.claimed_until, IssueOperation.request_digest, database_clock()
    statement = sa.select(*columns).where(
        IssueOperation.organization_id == wanted.organization_id,
        IssueOperation.idempotency_key == wanted.idempotency_key,
    )
    pause, longest = PAUSE_SECONDS
    while True:
        row = db.session.execute(statement).one_or_none()
        # Before the pause: what waits here is to hold neither a transaction nor a connection.
        release_connection()
        if row is None:
            return None
        operation_id, claimed_until, digest, now = row
        if digest != wanted.digest:
            raise _key_reused(wanted.idempotency_key)
        if claimed_until <= now:
            return _Free(operation_id, claimed_until)
        if time.monotonic() + pause + RESPONSE_SECONDS >= tracker.http.deadline:
            raise _busy()
        time.sleep(pause)
        pause = min(pause * 2, longest)


def _claim(tracker: Tracker, operation_id: int, claimed_until: datetime) -> IssueOperation | None:
    """Claim an operation; None when another call was faster."""
    seen = sa.and_(IssueOperation.id == operation_id, IssueOperation.claimed_until == claimed_until)
    lease_end = _lease_end(tracker, database_now())
    claim = sa.update(IssueOperation).where(seen).returning(IssueOperation)
    claim = claim.values(claimed_until=lease_end, attempts=IssueOperation.attempts + 1, error="")
    return db.session.scalars(claim, execution_options={"populate_existing": True}).one_or_none()


def _run(tracker: Tracker, operation: IssueOperation, *, last_attempt: datetime | None = None) -> ExternalIssue:
    """Run an operation that this call has claimed.

    :param last_attempt: end of the last lease; None for a new operation.
    """
    # Out of the session: reading it must not begin a transaction during the requests to the tracker.
    db.session.expunge(operation)
    issue = _new_issue(operation)
    with _released(operation, last_attempt):
        commit_step()
        created = None if last_attempt is None else _find(tracker, operation, issue, last_attempt)
    if created is None:
        with _released(operation, None):
            created = _create(tracker, operation, issue)
    try:
        with _released(operation, None):
            return _complete(operation, created)
    except SQLAlchemyError as error:
        logger.error("operation %d: issue %s could not be stored: %s", operation.id, created.key, error)
        text = f"issue {created.key} was created, but could not be stored; operation {operation.id} is kept for that"
        raise unavailable(text) from error


@contextlib.contextmanager
def _released(operation: IssueOperation, claimed_until: datetime | None) -> Iterator[None]:
    """End the lease of an operation after an exception that is no error of the provider, such as the end of a thread.

    :param claimed_until: end of the lease then; None for now.
    """
    try:
        yield
    except ProviderError:
        raise
    except BaseException as error:
        try:
            db.session.rollback()
            _end_lease(operation, f"{type(error).__name__} in this server; its log has more", claimed_until)
        except SQLAlchemyError as second:
            logger.warning("operation %d stays claimed until its lease ends: %s", operation.id, second)
        raise


def _find(tracker: Tracker, operation: IssueOperation, issue: NewIssue, last_attempt: datetime) -> TrackerIssue | None:
    """Return the issue of an earlier attempt; None when it has certainly created none."""
    try:
        with tracker.reading():
            found = tracker.find(issue)
        wait = tracker.search_delay - (database_now() - last_attempt).total_seconds()
        commit_step()
        if found is None and wait > 0:
            text = f"whether an earlier attempt has created the issue is seen at {tracker.kind} in {math.ceil(wait)} s"
            raise ProviderUnavailable(text, provider=tracker.kind, retry_after=wait, may_have_acted=True)
    except ProviderError as error:
        _release(operation, error, claimed_until=last_attempt)
        raise
    return found


def _create(tracker: Tracker, operation: IssueOperation, issue: NewIssue) -> TrackerIssue:
    try:
        with tracker.reading():
            return tracker.create(issue)
    except ProviderError as error:
        if error.may_have_acted:
            _release(operation, error)
        else:
            _delete(operation)
        raise


def _complete(operation: IssueOperation, created: TrackerIssue) -> ExternalIssue:
    """Replace an operation by its issue, also after the deadline: the next call with its key finds it."""
    values = {
        "organization_id": operation.organization_id,
        "integration_id": operation.integration_id,
        "key": created.key,
        "title": operation.title,
        "description": operation.description,
        "metadata_": operation.metadata_,
        "web_url": created.web_url,
        "idempotency_key": operation.idempotency_key,
        "request_digest": operation.request_digest,
        # A worker reads its status.
        "refresh_at": database_clock(),
    }
    statement = insert_new(ExternalIssue).values(values).returning(ExternalIssue)
    issue = db.session.scalars(statement).one_or_none()
    if issue is None:  # it is there already
        issue = db.session.scalars(sa.select(ExternalIssue).where(_same_issue(operation, created)).limit(1)).one()
    _delete(operation)
    return issue


def _same_issue(operation: IssueOperation, created: TrackerIssue) -> sa.ColumnElement[bool]:
    same_key = sa.and_(ExternalIssue.integration_id == operation.integration_id, ExternalIssue.key == created.key)
    same_request = ExternalIssue.idempotency_key == operation.idempotency_key
    return sa.and_(ExternalIssue.organization_id == operation.organization_id, sa.or_(same_key, same_request))


def _delete(operation: IssueOperation) -> None:
    db.session.execute(sa.delete(IssueOperation).where(IssueOperation.id == operation.id))
    commit_step()


def _release(operation: IssueOperation, error: ProviderError, claimed_until: datetime | None = None) -> None:
    """End the lease of an operation whose outcome is not known, so that others may claim it."""
    _end_lease(operation, error.private, claimed_until, error.retry_after)
    error.add(f"operation {operation.id} is kept, because the issue may have been created")


def _end_lease(
    operation: IssueOperation, error: str, claimed_until: datetime | None, retry_after: float | None = None
) -> None:
    ours = sa.and_(IssueOperation.id == operation.id, IssueOperation.claimed_until == operation.claimed_until)
    now = database_now()
    not_before = None if retry_after is None else now + timedelta(seconds=min(retry_after, MAX_RETRY_SECONDS))
    values = {"claimed_until": claimed_until or now, "error": error, "not_before": not_before}
    db.session.execute(sa.update(IssueOperation).where(ours).values(values))
    commit_step()


def _new_issue(operation: IssueOperation) -> NewIssue:
    return NewIssue(
        title=operation.title,
        description=operation.description,
        fields=operation.fields,
        marker=operation.marker,
        since=operation.date_added - CLOCK_SKEW,
    )


def _lease_end(tracker: Tracker, now: datetime) -> datetime:
    return now + timedelta(seconds=tracker.http.deadline - time.monotonic() + GRACE_SECONDS)


def _busy() -> RpcError:
    details = [retry_info(RETRY_SECONDS)]
    return RpcError(StatusCode.UNAVAILABLE, "another call is creating this issue; try again", details=details)


def _key_reused(key: str | None) -> RpcError:
    text = f"idempotency-key {key!r} was used for a different request; use a new one"
    return failed_precondition("IDEMPOTENCY_KEY", key or "", text)
