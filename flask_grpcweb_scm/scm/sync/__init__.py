"""Repositories and organizations kept as they are at their providers, by jobs.

:data:`KINDS` has what the jobs do: :func:`~flask_grpcweb_scm.scm.jobs.run_due` runs those that are due.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from flask_grpcweb_scm.rpc import RpcError, printable
from flask_grpcweb_scm.scm.database.db import database_now, db, release_connection
from flask_grpcweb_scm.scm.database.models import IssueOperation, OrganizationIntegration
from flask_grpcweb_scm.scm.jobs import (
    REFRESH_ISSUES,
    RESUME_OUTBOX,
    SYNC_ORGANIZATION,
    SYNC_REPOSITORY,
    Kind,
    Lease,
)
from flask_grpcweb_scm.scm.jobs.issues import schedule_integrations
from flask_grpcweb_scm.scm.providers import ProviderError
from flask_grpcweb_scm.scm.settings import current_settings
from flask_grpcweb_scm.scm.sync.issues import refresh_issues
from flask_grpcweb_scm.scm.sync.organization import sync_organization
from flask_grpcweb_scm.scm.sync.repository import sync_repository
from flask_grpcweb_scm.scm.trackers import outbox
from flask_grpcweb_scm.scm.trackers.announcements import has_announcements

__all__ = ["KINDS", "refresh_issues", "resume_outbox", "sync_organization", "sync_repository"]

OUTBOX_SECONDS = 60.0
"""Between two looks at the outbox, and from the first failure of an operation until it is tried again."""
LONGEST_OUTBOX_SECONDS = 3600.0
REFRESH_SECONDS = 60.0
"""Between two looks at which issues are due; each has an interval of its own."""


def resume_outbox(subject_id: int, lease: Lease) -> None:
    """Complete the operations of the outbox that no call has claimed, each more rarely the more often it has failed.

    One without an idempotency key is left to people: whoever has called may have called again, as for another issue.
    Integrations with issues that are due to be read, or links to tell of, have a job afterwards.
    """
    schedule_integrations(has_announcements(OrganizationIntegration.integration_id, database_now()))
    release_connection()
    now = database_now()
    due = [
        operation.id
        for operation in outbox.unfinished()
        if operation.idempotency_key is not None and _next_attempt(operation) <= now
    ]
    for operation_id in due:
        release_connection()
        lease.check()
        operation = db.session.get(IssueOperation, operation_id)
        if operation is None:  # a call was faster
            continue
        try:
            issue = outbox.resume(operation)
        except (ProviderError, RpcError) as error:
            # It is stored with the operation, and no reason to let others wait.
            text = error.private if isinstance(error, ProviderError) else error.message
            lease.note(f"outbox: operation {operation_id} is not complete: {printable(text)}")
        else:
            lease.note(f"outbox: operation {operation_id} is issue {printable(issue.key)}")


def _next_attempt(operation: IssueOperation) -> datetime:
    pause = min(OUTBOX_SECONDS * 2.0 ** min(operation.attempts - 1, 32), LONGEST_OUTBOX_SECONDS)
    after_pause = operation.claimed_until + timedelta(seconds=pause)
    return after_pause if operation.not_before is None else max(after_pause, operation.not_before)


def _sync_interval() -> float:
    return current_settings().scm_sync_interval


KINDS: Mapping[str, Kind] = {
    SYNC_ORGANIZATION: Kind(sync_organization, _sync_interval),
    SYNC_REPOSITORY: Kind(sync_repository, _sync_interval),
    RESUME_OUTBOX: Kind(resume_outbox, lambda: OUTBOX_SECONDS),
    REFRESH_ISSUES: Kind(refresh_issues, lambda: REFRESH_SECONDS),
}
"""By name."""
