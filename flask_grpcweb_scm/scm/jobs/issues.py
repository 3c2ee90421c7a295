"""Issues that are to be read at their trackers: which are due, and what has been read.

Each has its time in ``ExternalIssue.refresh_at``. One job of an integration reads those of all organizations, so that a
pause which the tracker demands holds for all that its account asks. A reading never replaces one that began later.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import sqlalchemy as sa

from flask_grpcweb_scm.scm.database.db import database_now, db, insert_new
from flask_grpcweb_scm.scm.database.models import ExternalIssue, IssueState, Job, OrganizationIntegration
from flask_grpcweb_scm.scm.database.values import LOCAL_KEY, place_of
from flask_grpcweb_scm.scm.jobs import REFRESH_ISSUES, make_due
from flask_grpcweb_scm.scm.settings import current_settings

__all__ = [
    "DueIssue",
    "Reading",
    "due_issues",
    "has_issues",
    "is_tracked",
    "issue_changed",
    "make_all_due",
    "schedule_integrations",
    "store_readings",
]

EARLY_SHARE = 0.25
"""Of the interval: what is due so soon is read with what is due."""
GONE_SECONDS = 86400.0
"""Until an issue that is gone is looked for again; then twice as long each time."""
GONE_LOOKS = 5
LONGEST_FACTOR = 8
"""Of the interval, for what cannot be read."""


class DueIssue(NamedTuple):
    """An issue that is to be read."""

    id: int
    organization_id: int
    key: str
    moved_to: str
    title: str
    misses: int
    refresh_at: datetime

    @property
    def place(self) -> str:
        """The key that it has now."""
        return self.moved_to or self.key


class Reading(NamedTuple):
    """An issue as it was read; without a state, one that could not be read."""

    issue: DueIssue
    state: IssueState | None = None
    values: dict[str, Any] = {}  # noqa: RUF012  # is not changed


def issue_changed(integration_id: int, external_key: str) -> int:
    """Have an issue read soon that has changed at its tracker, as a webhook says; the caller commits.

    It may be called at any rate, and for issues that nobody knows here: an issue is read once, however often this is
    called until then, and not before a pause is over that the tracker has demanded.

    :param external_key: as ``ExternalIssue.key`` or ``moved_to`` has it, in any case; ``Tracker.key_of`` makes it of
        the address of a page.
    :return: the number of organizations that know the issue.
    """
    return _make_due(integration_id, _is_named(integration_id, external_key))


def make_all_due(integration_id: int, organization_id: int, keys: Collection[str] = ()) -> int:
    """Have the issues of an organization read now, or some of them, those that were given up too; the caller commits.

    :return: the number of issues.
    """
    mine = sa.and_(ExternalIssue.integration_id == integration_id, ExternalIssue.organization_id == organization_id)
    named = sa.or_(ExternalIssue.key.in_(keys), ExternalIssue.moved_to.in_(keys)) if keys else sa.true()
    return _make_due(integration_id, sa.and_(mine, named, is_tracked()), is_patient=False)


def _is_named(integration_id: int, key: str) -> sa.ColumnElement[bool]:
    """Build the condition on an ExternalIssue, for which there are indexes."""
    installed = sa.select(OrganizationIntegration.organization_id)
    organizations = installed.where(OrganizationIntegration.integration_id == integration_id)
    of_integration = ExternalIssue.integration_id == integration_id
    has_key = sa.and_(ExternalIssue.organization_id.in_(organizations), of_integration, ExternalIssue.key == key)
    return sa.or_(has_key, sa.and_(of_integration, ExternalIssue.place == place_of(key)))


def is_tracked() -> sa.ColumnElement[bool]:
    """Build the condition on an ExternalIssue that a tracker has it."""
    return ExternalIssue.key != sa.literal(LOCAL_KEY) + sa.cast(ExternalIssue.id, sa.String)


def _make_due(integration_id: int, which: sa.ColumnElement[bool], *, is_patient: bool = True) -> int:
    update = sa.update(ExternalIssue).where(which).values(refresh_at=database_now(), misses=0)
    found = db.session.scalars(update.returning(ExternalIssue.id), execution_options={"synchronize_session": False})
    count = len(found.all())
    if count:
        make_due(REFRESH_ISSUES, integration_id, is_patient=is_patient)
    return count


def schedule_integrations(*more: sa.Exists) -> None:
    """Have a job for each integration with issues that are due; the caller commits.

    :param more: conditions on an OrganizationIntegration which mean that there is other work.
    """
    now = database_now()
    installed = sa.select(OrganizationIntegration.integration_id).distinct()
    due = sa.exists().where(
        ExternalIssue.integration_id == OrganizationIntegration.integration_id, ExternalIssue.refresh_at <= now
    )
    has_work = sa.or_(*(each.correlate(OrganizationIntegration) for each in (due, *more)))
    for integration_id in db.session.scalars(installed.where(has_work)).all():
        values = {"kind": REFRESH_ISSUES, "subject_id": integration_id, "due_at": now}
        db.session.execute(insert_new(Job, "uq_scm_job_subject").values(values))


def has_issues(integration_id: int) -> bool:
    """Tell whether any issue of an integration is to be read, now or later."""
    mine = sa.and_(ExternalIssue.integration_id == integration_id, ExternalIssue.refresh_at.is_not(None))
    return db.session.scalar(sa.select(ExternalIssue.id).where(mine).limit(1)) is not None


def due_issues(integration_id: int, started: datetime, without: Collection[int], limit: int) -> Sequence[DueIssue]:
    """Return issues of one organization that are due, those first that have been longest.

    :param started: when the work on them began: what becomes due by it is not among them.
    :param without: organizations that are left out.
    """
    end = started + timedelta(seconds=current_settings().scm_issue_interval * EARLY_SHARE)
    columns = [getattr(ExternalIssue, name) for name in DueIssue._fields]
    rows = sa.select(*columns).where(ExternalIssue.integration_id == integration_id, ExternalIssue.refresh_at <= end)
    rows = rows.where(ExternalIssue.organization_id.not_in(without)) if without else rows
    rows = rows.order_by(ExternalIssue.refresh_at, ExternalIssue.id)
    first = db.session.execute(rows.limit(1)).one_or_none()
    if first is None or first.refresh_at > database_now():
        return []
    mine = rows.where(ExternalIssue.organization_id == first.organization_id).limit(limit)
    return [DueIssue(*row) for row in db.session.execute(mine)]


def store_readings(readings: Iterable[Reading], read_at: datetime) -> None:
    """Store what was read; the caller commits.

    :param read_at: before the first request.
    """
    readings = sorted(readings, key=lambda reading: reading.issue.id)
    if readings:
        db.session.connection().execute(_next_time(), [_times(reading, read_at) for reading in readings])
    by_names: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for reading in readings:
        if reading.state is not None:
            values = {**reading.values, "state": reading.state, "state_time": read_at}
            row = {f"new_{name}": value for name, value in values.items()}
            by_names.setdefault((*sorted(values),), []).append({**row, "this": reading.issue.id})
    for names, rows in by_names.items():
        db.session.connection().execute(_newest(names), rows)


def _times(reading: Reading, read_at: datetime) -> dict[str, Any]:
    issue, wait = reading.issue, _wait(reading)
    return {
        "this": issue.id,
        "before": issue.refresh_at,
        "new_refresh_at": None if wait is None else read_at + timedelta(seconds=wait),
        "new_misses": 0 if reading.values else issue.misses + 1,
    }


# Built once: there are two for each issue.


@functools.cache
def _next_time() -> sa.Update:
    issues = ExternalIssue.__table__
    assert isinstance(issues, sa.Table)
    update = sa.update(issues).values(refresh_at=sa.bindparam("new_refresh_at"), misses=sa.bindparam("new_misses"))
    # One that was made due meanwhile stays so.
    return update.where(issues.c.id == sa.bindparam("this"), issues.c.refresh_at == sa.bindparam("before"))


@functools.cache
def _newest(names: tuple[str, ...]) -> sa.Update:
    issues = ExternalIssue.__table__
    assert isinstance(issues, sa.Table)
    is_newest = sa.or_(issues.c.state_time.is_(None), issues.c.state_time <= sa.bindparam("new_state_time"))
    update = sa.update(issues).values({name: sa.bindparam(f"new_{name}") for name in names})
    return update.where(issues.c.id == sa.bindparam("this"), is_newest)


def _wait(reading: Reading) -> float | None:
    """Return the seconds until an issue is read again; None for never."""
    interval, misses = current_settings().scm_issue_interval, reading.issue.misses
    if reading.values:
        return interval
    if reading.state is None:
        return interval * min(2.0 ** min(misses, 8), LONGEST_FACTOR)
    return None if misses >= GONE_LOOKS else GONE_SECONDS * 2.0**misses
