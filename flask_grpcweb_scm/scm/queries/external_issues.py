"""External issues in pages."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from flask_grpcweb_scm.scm.database.db import db
from flask_grpcweb_scm.scm.database.models import ExternalIssue, GroupLink, LinkedType
from flask_grpcweb_scm.scm.queries.paging import Position

__all__ = ["page_of_external_issues"]


def page_of_external_issues(
    organization_id: int, *, group_id: int | None, after: Position | None, limit: int
) -> Sequence[ExternalIssue]:
    """Return external issues of an organization in the order (id), beginning after a position.

    :param group_id: of the group that they must be linked to; None for all issues.
    """
    statement = sa.select(ExternalIssue).where(ExternalIssue.organization_id == organization_id)
    if after is not None:
        statement = statement.where(ExternalIssue.id > after[0])
    if group_id is not None:
        linked = sa.select(GroupLink.linked_id).where(
            GroupLink.group_id == group_id, GroupLink.linked_type == LinkedType.ISSUE
        )
        statement = statement.where(ExternalIssue.id.in_(linked))
    return db.session.scalars(statement.order_by(ExternalIssue.id).limit(limit)).all()
