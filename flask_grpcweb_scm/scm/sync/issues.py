"""The state of issues: read at their trackers when it is due, many at once where a tracker can.

Each step may be the last one: what was read is stored, and the rest is due still.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence

import sqlalchemy as sa

from flask_grpcweb_scm.rpc import printable
from flask_grpcweb_scm.scm.database.db import database_now, db, release_connection
from flask_grpcweb_scm.scm.database.models import IssueState
from flask_grpcweb_scm.scm.database.values import place_of
from flask_grpcweb_scm.scm.jobs import JobFailed, Lease, NoSubject
from flask_grpcweb_scm.scm.jobs.issues import (
    DueIssue,
    Reading,
    due_issues,
    has_issues,
    store_readings,
)
from flask_grpcweb_scm.scm.providers import (
    CredentialRefused,
    ProviderError,
    ProviderMisconfigured,
    ProviderNotFound,
    ProviderRateLimited,
    ProviderTimeout,
    ProviderUnavailable,
)
from flask_grpcweb_scm.scm.providers.reply import SECONDARY_LIMIT_SECONDS
from flask_grpcweb_scm.scm.queries.tenancy import installations_of
from flask_grpcweb_scm.scm.trackers import open_tracker
from flask_grpcweb_scm.scm.trackers.announcements import (
    announce,
    due_announcements,
    has_announcements,
    put_off,
    settle,
)
from flask_grpcweb_scm.scm.trackers.issues import FoundIssue
from flask_grpcweb_scm.scm.trackers.markup import shortened
from flask_grpcweb_scm.scm.trackers.tracker import MAX_TITLE_CHARACTERS, Tracker

__all__ = ["refresh_issues"]

MAX_DUE = 500
MAX_SINGLE = 20
"""Issues that are read alone, within the time of one call."""
MAX_FAILURES = 3
"""Of issues one after another, until the tracker counts as unavailable."""
MOVED = frozenset({301, 308})
BATCH_SHARE = 0.5
"""Of the time of one call, for the request for many."""
LAST_SHARE = 0.25
"""Of that time, in which no other issue is begun."""
# They are about the account: the next request would end in the same.
_ABOUT_ACCOUNT = (ProviderRateLimited, CredentialRefused)


def refresh_issues(integration_id: int, lease: Lease) -> None:
    """Do the job of an integration: tell of links, and read issues.

    :raises NoSubject: for an integration without such work, now or later.
    :raises ProviderError: see :func:`_read_due`.
    """
    if not has_issues(integration_id) and not db.session.scalar(sa.select(has_announcements(integration_id))):
        raise NoSubject
    try:
        _announce(integration_id, lease)
        _read_due(integration_id, lease)
    except ProviderRateLimited as error:
        error.retry_after = SECONDARY_LIMIT_SECONDS if error.retry_after is None else error.retry_after
        raise


def _read_due(integration_id: int, lease: Lease) -> None:
    """Read the issues of an integration that are due, in all its organizations.

    :raises ProviderError: for what is about the account or its host; for what is about an organization, when no other
        one had an issue that was due.
    """
    started, left_out = database_now(), set[int]()
    errors: list[ProviderError] = []
    is_any_read, first = False, None
    while due := due_issues(integration_id, started, left_out, MAX_DUE):
        lease.check()
        if due[0] == first:
            # A tracker is not asked again and again because the database does not keep when an issue is due.
            raise JobFailed(f"issue {first.place} is due still, though it was read")
        first = due[0]
        organization_id = due[0].organization_id
        tracker = None
        try:
            tracker = _tracker(integration_id, organization_id)
        except ProviderError as error:
            errors.append(error)
            lease.note(f"issues of organization {organization_id}: {printable(error.private)}")
        if tracker is None:
            left_out.add(organization_id)
        else:
            _refresh(tracker, due, lease)
            is_any_read = True
    if errors and not is_any_read:
        raise errors[0]


def _announce(integration_id: int, lease: Lease) -> None:
    """Tell the tracker of links that it may not have been told of."""
    for announcement in due_announcements(integration_id):
        lease.check()
        put_off(announcement)
        try:
            tracker = _tracker(integration_id, announcement.organization_id)
            release_connection()
            if tracker is None:
                settle(announcement)
            else:
                announce(tracker, announcement, is_first=False)
        except _ABOUT_ACCOUNT:
            raise
        except ProviderError as error:
            lease.note(f"link {announcement.link_id} has no comment: {printable(error.private)}")


def _tracker(integration_id: int, organization_id: int) -> Tracker | None:
    installation = installations_of(organization_id).get(integration_id)
    return None if installation is None else open_tracker(installation, None)


def _refresh(tracker: Tracker, due: Sequence[DueIssue], lease: Lease) -> None:
    """Read those of some issues that are of one project."""
    project = tracker.project_of(due[0].place)
    issues = [issue for issue in due if tracker.project_of(issue.place) == project]
    issues = issues[: max(tracker.batch_size, MAX_SINGLE)]
    read_at = database_now()
    release_connection()
    readings: list[Reading] = []
    try:
        for reading in _readings(tracker, issues, lease):
            readings.append(reading)  # of an iterator that may raise
    finally:
        store_readings(readings, read_at)
        release_connection()
    count = sum(reading.state is not None for reading in readings)
    lease.note(f"{tracker.kind}: {count} of {len(issues)} issues read{printable(f' of {project}') if project else ''}")


def _readings(tracker: Tracker, issues: Sequence[DueIssue], lease: Lease) -> Iterator[Reading]:
    """Read issues of one project, together, and alone what is not there.

    :raises ProviderError: for what is about all of them.
    """
    time_for_all = tracker.http.deadline - time.monotonic()
    seen, failures, alone = _read_many(tracker, issues, lease), 0, 0
    for issue in issues:
        found = seen.get(issue.place)
        if found is not None:
            yield _present(tracker, issue, found)
            continue
        left = tracker.http.deadline - time.monotonic()
        if alone == MAX_SINGLE or (alone and left < time_for_all * LAST_SHARE):
            # The others are due still.
            continue
        alone += 1
        lease.check()
        try:
            with tracker.reading():
                found = tracker.read(issue.place)
        except _ABOUT_ACCOUNT:
            raise
        except ProviderNotFound:
            yield Reading(issue, IssueState.GONE)
        except ProviderError as error:
            if error.status in MOVED:
                yield Reading(issue, IssueState.MOVED)
                continue
            lease.note(f"{printable(issue.place)}: {printable(error.private)}")
            yield Reading(issue)
            failures += isinstance(error, ProviderUnavailable | ProviderMisconfigured)
            if isinstance(error, ProviderTimeout) or failures == MAX_FAILURES:
                raise
        else:
            failures = 0
            yield _present(tracker, issue, found)


def _read_many(tracker: Tracker, issues: Sequence[DueIssue], lease: Lease) -> Mapping[str, FoundIssue]:
    """Return what one request says of some issues; none where the tracker has no such request, or refuses it."""
    if len(issues) == 1 or tracker.batch_size == 1:
        return {}
    deadline = tracker.http.deadline
    tracker.http.deadline -= (deadline - time.monotonic()) * (1 - BATCH_SHARE)
    try:
        with tracker.reading():
            return tracker.read_many([issue.place for issue in issues[: tracker.batch_size]])
    except _ABOUT_ACCOUNT:
        raise
    except ProviderError as error:
        lease.note(f"{tracker.kind}: issues are read one by one: {printable(error.private)}")
        return {}
    finally:
        tracker.http.deadline = deadline


def _present(tracker: Tracker, issue: DueIssue, found: FoundIssue) -> Reading:
    # Trackers and people write the names of owners and repositories as they like.
    is_moved = found.key.casefold() != issue.key.casefold()
    values = {"status": found.status, "assignee": found.assignee, "moved_to": found.key if is_moved else ""}
    values["place"] = place_of(found.key)
    if found.web_url:
        values["web_url"] = found.web_url
    if found.title.strip() not in {"", _as_sent(tracker, issue.title)}:
        values["title"] = found.title
    return Reading(issue, IssueState.MOVED if is_moved else IssueState.PRESENT, values=values)


def _as_sent(tracker: Tracker, title: str) -> str:
    """Return what a tracker has of a title that was not changed there: the whole of it is better."""
    return shortened(tracker.shown_title(title), MAX_TITLE_CHARACTERS).strip()
