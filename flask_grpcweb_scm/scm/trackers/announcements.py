"""Comments that tell trackers of links: each once, whatever is cut off on the way.

A link is stored with the time from which a worker sees to its comment; the call that links sends it first, and takes
the time away afterwards. A worker that comes later looks for the comment before it sends it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from flask_grpcweb_scm.scm.database.db import database_now, db, release_connection
from flask_grpcweb_scm.scm.database.models import ExternalIssue, Group, GroupLink, LinkedType
from flask_grpcweb_scm.scm.providers import (
    CredentialRefused,
    ProviderForbidden,
    ProviderMisconfigured,
    ProviderNotFound,
    ProviderRejected,
)
from flask_grpcweb_scm.scm.trackers.markup import one_line, shortened
from flask_grpcweb_scm.scm.trackers.tracker import Tracker

__all__ = ["Announcement", "announce", "due_announcements", "has_announcements", "put_off", "settle"]

logger = logging.getLogger(__name__)

MAX_TITLE_CHARACTERS = 200
MAX_DUE = 100
# Of refusals that another attempt would end in too.
_REFUSED = (ProviderRejected, ProviderForbidden, ProviderNotFound, ProviderMisconfigured)
LONGEST = timedelta(days=1)
"""From a link, for its comment."""
PAUSE = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Announcement:
    """A comment that is to be at a tracker."""

    link_id: int
    group_id: int
    title: str
    """Of the error group."""
    key: str
    organization_id: int


def announce(tracker: Tracker, announcement: Announcement, *, is_first: bool) -> None:
    """Add the comment, unless it is there, without a transaction.

    :param is_first: nobody has tried it before.
    :raises ProviderError: when that fails; a worker tries it again, unless it was refused.
    """
    # Letters and digits, which no markup changes.
    words = f"Linked to error group {announcement.group_id}:"
    try:
        with tracker.reading():
            if tracker.project_field is not None and tracker.projects is not None:
                if project := tracker.project_of(announcement.key):
                    tracker.check_project(project)
                else:  # no part of a key, but shown with the issue
                    tracker.read(announcement.key)
            comments = () if is_first else tracker.comments(announcement.key)
            if comments is not None and not any(words in text for text in comments):
                title = shortened(one_line(announcement.title), MAX_TITLE_CHARACTERS)
                tracker.comment(announcement.key, f"{words} {title}")
    except _REFUSED as error:
        if not error.may_have_acted and not isinstance(error, CredentialRefused):
            settle(announcement)
        raise
    settle(announcement)


def settle(announcement: Announcement) -> None:
    """Have no comment sent any more; commits."""
    try:
        _update(announcement, None)
    except SQLAlchemyError as error:
        # A worker sees that the comment is there.
        db.session.rollback()
        logger.warning("the comment of link %d is looked for again: %s", announcement.link_id, error)


def put_off(announcement: Announcement) -> None:
    """Have others leave a comment alone for a while, before it is tried; commits."""
    _update(announcement, database_now() + PAUSE)


def _update(announcement: Announcement, announce_at: datetime | None) -> None:
    update = sa.update(GroupLink).where(GroupLink.id == announcement.link_id).values(announce_at=announce_at)
    db.session.execute(update.execution_options(synchronize_session=False))
    release_connection()


def has_announcements(integration_id: sa.SQLColumnExpression[int] | int, now: datetime | None = None) -> sa.Exists:
    """Build the condition that an integration has comments to send, by an instant or ever."""
    pending = sa.exists().where(_of(integration_id), GroupLink.announce_at.is_not(None))
    return pending if now is None else pending.where(GroupLink.announce_at <= now)


def _of(integration_id: sa.SQLColumnExpression[int] | int) -> sa.ColumnElement[bool]:
    is_linked = sa.and_(GroupLink.linked_type == LinkedType.ISSUE, GroupLink.linked_id == ExternalIssue.id)
    return sa.and_(is_linked, ExternalIssue.integration_id == integration_id)


def due_announcements(integration_id: int) -> list[Announcement]:
    """Return comments of an integration that a worker is to see to; those that are too old are given up."""
    now = database_now()
    mine = _of(integration_id), Group.id == GroupLink.group_id, GroupLink.announce_at <= now
    key = sa.case((ExternalIssue.moved_to != "", ExternalIssue.moved_to), else_=ExternalIssue.key)
    columns = GroupLink.id, Group.id, Group.title, key, ExternalIssue.organization_id, GroupLink.date_added
    rows = db.session.execute(sa.select(*columns).where(*mine).order_by(GroupLink.announce_at).limit(MAX_DUE)).all()
    found = [(Announcement(*row[:5]), row[5]) for row in rows]
    for announcement, added in found:
        if added < now - LONGEST:
            logger.warning("link %d has no comment at its tracker, which was tried for a day", announcement.link_id)
            _update(announcement, None)
    return [announcement for announcement, added in found if added >= now - LONGEST]
