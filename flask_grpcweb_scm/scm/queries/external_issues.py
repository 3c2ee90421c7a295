"""External issues, and their links to error groups."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.orm import contains_eager

from flask_grpcweb_scm.rpc import CallContext, RpcError, StatusCode
from flask_grpcweb_scm.scm.database.db import db
from flask_grpcweb_scm.scm.database.models import ExternalIssue, Group, GroupLink, LinkedType, Organization, Project
from flask_grpcweb_scm.scm.database.values import place_of
from flask_grpcweb_scm.scm.queries import is_one_of
from flask_grpcweb_scm.scm.queries.paging import PAGE_BYTES, Position
from flask_grpcweb_scm.scm.queries.tenancy import find_one, visible, visible_issue

__all__ = [
    "find_group",
    "find_group_and_issue",
    "find_link",
    "issue_by_key",
    "link_not_found",
    "page_of_external_issues",
]


def page_of_external_issues(
    context: CallContext, organization_id: int, *, group_id: int | None, after: Position | None, limit: int
) -> tuple[Sequence[ExternalIssue], bool]:
    """Return the external issues of an organization that the caller may reach, in the order (id), after a position.

    Also returns whether there are fewer than the limit because they have :data:`PAGE_BYTES` together.

    :param group_id: of the group that they must be linked to; None for all issues.
    """
    first = 0 if after is None else int(after[0])
    statement = sa.select(ExternalIssue.id, _bytes().label("bytes"))
    statement = statement.where(ExternalIssue.organization_id == organization_id)
    if group_id is not None:
        ids = db.session.scalars(_linked(organization_id, group_id, first).limit(limit)).all()
        statement = statement.where(is_one_of(ExternalIssue.id, ids)) if ids else statement.where(sa.false())
    else:
        statement = statement.where(visible_issue(context))
    sizes = statement.where(ExternalIssue.id > first).order_by(ExternalIssue.id).limit(limit).cte("sizes").c
    before = sa.func.sum(sizes.bytes).over(order_by=sizes.id) - sizes.bytes
    page = sa.select(sizes.id, before.label("before")).subquery("page").c
    chosen = sa.select(page.id).where(page.before < PAGE_BYTES)
    last = sa.select(sa.func.max(sizes.id)).scalar_subquery()
    rows = sa.select(ExternalIssue, last).where(_is_among(chosen)).order_by(ExternalIssue.id)
    found = db.session.execute(rows).all()
    return [issue for issue, _ in found], any(issue.id != last_id for issue, last_id in found[-1:])


def _is_among(ids: sa.Select[int]) -> sa.ColumnElement[bool]:
    if db.engine.dialect.name == "postgresql":
        # Not IN, for which it may read all issues.
        array = sa.func.array(ids.scalar_subquery(), type_=sa.ARRAY(ExternalIssue.id.type))
        return ExternalIssue.id == sa.any_(array)
    return ExternalIssue.id.in_(ids)


def _bytes() -> sa.ColumnElement[int]:
    """Build the number of bytes of a row's texts, of which the database reads as little as it can."""
    texts = (ExternalIssue.title, ExternalIssue.description, sa.cast(ExternalIssue.metadata_, sa.Text))
    if db.engine.dialect.name == "postgresql":
        sizes = [sa.func.octet_length(text) for text in texts]
    else:  # SQLite has octet_length() since 3.43
        sizes = [sa.func.length(sa.cast(text, sa.LargeBinary)) for text in texts]
    return sizes[0] + sizes[1] + sizes[2]


def _linked(organization_id: int, group_id: int, first: int) -> sa.Select[int]:
    """Build the SELECT for the ids of a group's issues after the first one, in their order."""
    # Not a join, for which PostgreSQL may read all issues up to these: each is looked up.
    owner = sa.select(ExternalIssue.organization_id).where(ExternalIssue.id == GroupLink.linked_id).correlate(GroupLink)
    return (
        sa.select(GroupLink.linked_id)
        .where(GroupLink.group_id == group_id, GroupLink.linked_type == LinkedType.ISSUE, GroupLink.linked_id > first)
        .where(owner.scalar_subquery() == organization_id)
        .order_by(GroupLink.linked_id)
    )


def find_group(context: CallContext, organization_id: int | None, group_id: int) -> Group:
    """Return an error group of an organization, or of any, with its project.

    :raises RpcError: NOT_FOUND.
    """
    statement = sa.select(Group).join(Group.project).join(Project.organization)
    statement = statement.options(contains_eager(Group.project))
    statement = statement.where(Group.id == group_id, visible(context, Project))
    if organization_id is None:
        return find_one(statement, f"group {group_id} does not exist")
    missing = f"group {group_id} does not exist in organization {organization_id}"
    return find_one(statement.where(Organization.id == organization_id), missing)


def issue_by_key(organization_id: int, integration_id: int, key: str) -> ExternalIssue | None:
    """Return the issue of an organization that has a key at a tracker, or has it since it was moved; None for none.

    The key may be in another case.
    """
    same = ExternalIssue.organization_id == organization_id, ExternalIssue.integration_id == integration_id
    issues = sa.select(ExternalIssue).where(*same)
    same_place = issues.where(ExternalIssue.place == place_of(key)).order_by(ExternalIssue.id)
    found = db.session.scalars(issues.where(ExternalIssue.key == key)).one_or_none()
    return found or db.session.scalars(same_place.limit(1)).one_or_none()


def find_group_and_issue(context: CallContext, group_id: int, issue_id: int) -> tuple[Group, ExternalIssue]:
    """Return a group and an external issue of one organization.

    :raises RpcError: NOT_FOUND, which does not tell which of the two is missing.
    """
    statement = (
        sa.select(Group, ExternalIssue)
        .join(Group.project)
        .join(Project.organization)
        .join(ExternalIssue, ExternalIssue.organization_id == Organization.id)
        .where(Group.id == group_id, ExternalIssue.id == issue_id)
        .where(visible(context, Project), visible_issue(context, new=True))
    )
    pair = db.session.execute(statement).one_or_none()
    if pair is None:
        raise RpcError(StatusCode.NOT_FOUND, f"no organization has both group {group_id} and external issue {issue_id}")
    return pair[0], pair[1]


def find_link(context: CallContext, group_id: int, issue_id: int) -> GroupLink:
    """Return the link of a group and an external issue of one organization.

    :raises RpcError: NOT_FOUND, which does not tell whether group, issue or link are missing.
    """
    statement = (
        sa.select(GroupLink)
        .join(Group, Group.id == GroupLink.group_id)
        .join(Group.project)
        .join(Project.organization)
        .join(ExternalIssue, ExternalIssue.organization_id == Organization.id)
        .where(GroupLink.linked_type == LinkedType.ISSUE, GroupLink.linked_id == ExternalIssue.id)
        .where(Group.id == group_id, ExternalIssue.id == issue_id, visible(context, Project))
    )
    link = db.session.scalars(statement).one_or_none()
    if link is None:
        raise link_not_found(group_id, issue_id)
    return link


def link_not_found(group_id: int, issue_id: int) -> RpcError:
    """Make the error for a group and an external issue that are not linked."""
    text = f"no organization has group {group_id} and external issue {issue_id} linked"
    return RpcError(StatusCode.NOT_FOUND, text)
