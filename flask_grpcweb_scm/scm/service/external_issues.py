"""External issues: create, list, and link them to error groups."""

from __future__ import annotations

import hashlib
import logging
import uuid
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from flask_grpcweb_scm.pb import scm_pb2
from flask_grpcweb_scm.rpc import CallContext, RpcError, StatusCode
from flask_grpcweb_scm.scm.database.db import commit_step, database_now, db, insert_new, release_connection
from flask_grpcweb_scm.scm.database.models import (
    ExternalIssue,
    Group,
    GroupLink,
    IssueState,
    LinkedType,
    OrganizationIntegration,
)
from flask_grpcweb_scm.scm.database.values import LOCAL_KEY
from flask_grpcweb_scm.scm.providers import ProviderError
from flask_grpcweb_scm.scm.queries import external_issues, tenancy
from flask_grpcweb_scm.scm.queries.paging import PageScope, RequestedPage
from flask_grpcweb_scm.scm.service.definition import already_exists, service
from flask_grpcweb_scm.scm.settings import current_settings
from flask_grpcweb_scm.scm.trackers import comments_on_link, issue_defaults, open_tracker, outbox
from flask_grpcweb_scm.scm.trackers.announcements import Announcement, announce, settle
from flask_grpcweb_scm.scm.trackers.issues import FoundIssue
from flask_grpcweb_scm.scm.trackers.tracker import Tracker
from flask_grpcweb_scm.scm.validation import failed_precondition, text_problem, validate
from flask_grpcweb_scm.transactions import TRY_AGAIN

__all__ = [
    "create_external_issue",
    "describe_tracker_fields",
    "link_external_issue",
    "list_external_issues",
    "search_external_issues",
    "unlink_external_issue",
]

logger = logging.getLogger(__name__)

MAX_IDEMPOTENCY_KEY_CHARACTERS = 255
MAX_TITLE_BYTES = 64 * 2**10
MAX_DESCRIPTION_BYTES = 2**20
MAX_METADATA_ENTRIES = 100
MAX_METADATA_KEY_CHARACTERS = 256
MAX_METADATA_BYTES = 64 * 2**10
MAX_EXTERNAL_KEY_CHARACTERS = 2000  # of an address
MAX_QUERY_CHARACTERS = 256
# Of the time that is left to the call: the response needs some too.
COMMENT_SHARE = 0.5
COMMENT_SECONDS = 5
# After it, until a worker looks for the comment.
GRACE_SECONDS = 10

_STATES = {
    IssueState.UNREAD: scm_pb2.EXTERNAL_ISSUE_STATE_UNSPECIFIED,
    IssueState.PRESENT: scm_pb2.EXTERNAL_ISSUE_STATE_PRESENT,
    IssueState.MOVED: scm_pb2.EXTERNAL_ISSUE_STATE_MOVED,
    IssueState.GONE: scm_pb2.EXTERNAL_ISSUE_STATE_GONE,
}


@service.CreateExternalIssue
def create_external_issue(request: scm_pb2.CreateExternalIssueRequest, context: CallContext) -> scm_pb2.ExternalIssue:
    """Create an issue at the integration's tracker, or a local one."""
    idempotency_key = context.metadata.get_text("idempotency-key") or None
    validate(
        title=text_problem(request.title, required=True, limit=MAX_TITLE_BYTES, unit="bytes"),
        description=text_problem(request.description, limit=MAX_DESCRIPTION_BYTES, unit="bytes"),
        metadata=_metadata_problem(request.metadata),
        idempotency_key=text_problem(idempotency_key or "", limit=MAX_IDEMPOTENCY_KEY_CHARACTERS),
    )
    installation = tenancy.find_installation(context, request.organization_id, request.integration_id)
    wanted = outbox.WantedIssue(
        organization_id=request.organization_id,
        integration_id=request.integration_id,
        title=request.title,
        description=request.description,
        metadata=dict(request.metadata),
        idempotency_key=idempotency_key,
        digest=hashlib.sha256(request.SerializeToString(deterministic=True)).hexdigest(),
    )
    first = outbox.first_result(wanted)
    if first is not None:
        return _message(first)
    tracker = open_tracker(installation, context.remaining())
    if tracker is None:
        return _message(_create_local_issue(wanted))
    return _message(outbox.create_at_tracker(tracker, wanted, issue_defaults(installation)))


def _metadata_problem(metadata: Mapping[str, str]) -> str | None:
    if len(metadata) > MAX_METADATA_ENTRIES:
        return f"has {len(metadata)} entries; the limit is {MAX_METADATA_ENTRIES}"
    longest = max(map(len, metadata), default=0)
    if longest > MAX_METADATA_KEY_CHARACTERS:
        return f"has a key of {longest} characters; the limit is {MAX_METADATA_KEY_CHARACTERS}"
    return text_problem("".join((*metadata, *metadata.values())), limit=MAX_METADATA_BYTES, unit="bytes")


def _create_local_issue(wanted: outbox.WantedIssue) -> ExternalIssue:
    statement = insert_new(ExternalIssue, "uq_scm_external_issue_idempotency_key").values(
        organization_id=wanted.organization_id,
        integration_id=wanted.integration_id,
        key=uuid.uuid4().hex,
        title=wanted.title,
        description=wanted.description,
        metadata_=wanted.metadata,
        idempotency_key=wanted.idempotency_key,
        request_digest=wanted.digest,
    )
    issue = db.session.scalars(statement.returning(ExternalIssue)).one_or_none()
    if issue is None:  # a concurrent call was faster
        first = outbox.first_result(wanted)
        if first is None:  # and its issue is deleted again
            raise RpcError(StatusCode.ABORTED, TRY_AGAIN)
        return first
    # No concurrent transaction can choose the number of this row.
    issue.key = f"{LOCAL_KEY}{issue.id}"
    return issue


@service.LinkExternalIssue
def link_external_issue(request: scm_pb2.LinkExternalIssueRequest, context: CallContext) -> scm_pb2.ExternalIssue:
    """Link an external issue to a group, and return it."""
    if request.integration_id or request.external_key:
        return _link_by_key(request, context)
    group, issue = external_issues.find_group_and_issue(context, request.group_id, request.external_issue_id)
    return _link(group, issue, context)


def _link(group: Group, issue: ExternalIssue, context: CallContext, *, by_key: bool = False) -> scm_pb2.ExternalIssue:
    installation = tenancy.installation_of(issue)
    is_told = installation is not None and comments_on_link(installation, default=by_key)
    seconds = _comment_seconds(context)
    values: dict[str, Any] = {"group_id": group.id, "project_id": group.project_id, "linked_id": issue.id}
    if is_told:
        values["announce_at"] = database_now() + timedelta(seconds=seconds + GRACE_SECONDS)
    statement = insert_new(GroupLink, "uq_scm_group_link_linked").values(**values, linked_type=LinkedType.ISSUE)
    link_id = db.session.scalars(statement.returning(GroupLink.id)).one_or_none()
    if link_id is None:
        text = f"external issue {issue.id} is linked to group {group.id} already"
        raise already_exists("ExternalIssue", issue.id, text)
    message = _message(issue)
    if installation is not None and is_told:
        place = issue.moved_to or issue.key
        _announce(installation, Announcement(link_id, group.id, group.title, place, issue.organization_id), seconds)
    return message


def _comment_seconds(context: CallContext) -> float:
    remaining = context.remaining()
    return COMMENT_SECONDS if remaining is None else min(COMMENT_SECONDS, remaining * COMMENT_SHARE)


def _announce(installation: OrganizationIntegration, announcement: Announcement, seconds: float) -> None:
    """Tell the tracker of a link, which stays when that fails."""
    try:
        tracker = open_tracker(installation, seconds)
        commit_step()
        if tracker is None:
            settle(announcement)
        else:
            announce(tracker, announcement, is_first=True)
    except ProviderError as error:
        logger.warning("linked, but there is no comment at the tracker: %s", error.private)


def _link_by_key(request: scm_pb2.LinkExternalIssueRequest, context: CallContext) -> scm_pb2.ExternalIssue:
    """Link an issue that its tracker has, and that need not be known here."""
    both = "names an issue, and so do integration_id and external_key: send one of the two"
    validate(
        external_issue_id=both if request.external_issue_id else None,
        integration_id=None if request.integration_id else "is needed with external_key",
        external_key=text_problem(request.external_key, required=True, limit=MAX_EXTERNAL_KEY_CHARACTERS),
    )
    group = external_issues.find_group(context, None, request.group_id)
    organization_id = group.project.organization_id
    _, tracker = _tracker(context, organization_id, request.integration_id)
    # Neither a transaction nor a connection is held while the tracker is asked, if only where its pages are.
    release_connection()
    key = tracker.key_of(request.external_key)
    issue = external_issues.issue_by_key(organization_id, request.integration_id, key)
    if issue is None:
        read_at = database_now()
        release_connection()
        with tracker.reading():
            found = tracker.read(key)
        # What was there before the request may have been deleted since.
        tenancy.find_installation(context, organization_id, request.integration_id)
        issue = external_issues.issue_by_key(organization_id, request.integration_id, found.key)
        issue = issue or _store_found(organization_id, request.integration_id, found, read_at)
    group = external_issues.find_group(context, organization_id, request.group_id)
    return _link(group, issue, context, by_key=True)


def _store_found(organization_id: int, integration_id: int, found: FoundIssue, read_at: datetime) -> ExternalIssue:
    statement = insert_new(ExternalIssue).values(
        organization_id=organization_id,
        integration_id=integration_id,
        key=found.key,
        title=found.title,
        web_url=found.web_url,
        status=found.status,
        assignee=found.assignee,
        state=IssueState.PRESENT,
        state_time=read_at,
        refresh_at=read_at + timedelta(seconds=current_settings().scm_issue_interval),
    )
    issue = db.session.scalars(statement.returning(ExternalIssue)).one_or_none()
    if issue is None:  # a concurrent call was faster
        issue = external_issues.issue_by_key(organization_id, integration_id, found.key)
    if issue is None:  # and its issue is deleted again
        raise RpcError(StatusCode.ABORTED, TRY_AGAIN)
    return issue


@service.DescribeTrackerFields
def describe_tracker_fields(
    request: scm_pb2.DescribeTrackerFieldsRequest, context: CallContext
) -> scm_pb2.DescribeTrackerFieldsResponse:
    """Return the fields that issues may have at the integration's tracker."""
    validate(metadata=_metadata_problem(request.metadata))
    installation, tracker = _tracker(context, request.organization_id, request.integration_id)
    defaults = issue_defaults(installation)
    release_connection()
    with tracker.reading():
        fields = tracker.describe({**defaults, **request.metadata})
        default_values = tracker.defaults_of(fields, defaults)
    return scm_pb2.DescribeTrackerFieldsResponse(
        fields=[
            scm_pb2.TrackerField(
                name=field.name,
                label=field.label,
                type=field.kind,
                required=field.required and field.name not in default_values,
                allowed_values=field.allowed,
                default_value=default_values.get(field.name, ""),
            )
            for field in fields
        ]
    )


@service.SearchExternalIssues
def search_external_issues(
    request: scm_pb2.SearchExternalIssuesRequest, context: CallContext
) -> scm_pb2.SearchExternalIssuesResponse:
    """Find issues at the integration's tracker."""
    validate(
        query=text_problem(request.query, required=True, limit=MAX_QUERY_CHARACTERS),
        metadata=_metadata_problem(request.metadata),
    )
    installation, tracker = _tracker(context, request.organization_id, request.integration_id)
    fields = {**issue_defaults(installation), **request.metadata}
    release_connection()
    with tracker.reading():
        found = tracker.search(request.query, fields)
    return scm_pb2.SearchExternalIssuesResponse(
        issues=[
            scm_pb2.FoundExternalIssue(
                key=issue.key, title=issue.title, web_url=issue.web_url, status=issue.status, assignee=issue.assignee
            )
            for issue in found
        ]
    )


def _tracker(
    context: CallContext, organization_id: int, integration_id: int
) -> tuple[OrganizationIntegration, Tracker]:
    """Return an integration as it is installed in an organization, and its tracker.

    :raises RpcError: NOT_FOUND; PERMISSION_DENIED for a caller that is held to some projects, whose issues a tracker
        does not know; FAILED_PRECONDITION for an integration without a tracker.
    """
    installation = tenancy.find_installation(context, organization_id, integration_id)
    if context.caller.projects is not None:
        text = "what a tracker has is for callers that may reach all projects of the organization"
        raise RpcError(StatusCode.PERMISSION_DENIED, text)
    tracker = open_tracker(installation, context.remaining())
    if tracker is None:
        text = f"integration {integration_id} has no tracker: its issues exist here only"
        raise failed_precondition("TRACKER", str(integration_id), text)
    return installation, tracker


@service.ListExternalIssues
def list_external_issues(
    request: scm_pb2.ListExternalIssuesRequest, context: CallContext
) -> scm_pb2.ListExternalIssuesResponse:
    """Return one page of an organization's external issues, or of a group's."""
    scope: PageScope = ["ListExternalIssues", request.organization_id, request.group_id]
    page = RequestedPage.of(request.page_size, request.page_token, scope)
    if request.group_id:
        group = external_issues.find_group(context, request.organization_id, request.group_id)
        organization_id = group.project.organization_id
    else:
        organization_id = tenancy.find_organization(context, request.organization_id).id
    rows, is_cut = external_issues.page_of_external_issues(
        context, organization_id, group_id=request.group_id or None, after=page.after, limit=page.limit
    )
    return scm_pb2.ListExternalIssuesResponse(
        issues=map(_message, rows[: page.size]),
        next_page_token=page.next_token(rows, lambda row: (row.id,), is_cut=is_cut),
    )


@service.UnlinkExternalIssue
def unlink_external_issue(
    request: scm_pb2.UnlinkExternalIssueRequest, context: CallContext
) -> scm_pb2.UnlinkExternalIssueResponse:
    """Unlink an external issue from a group."""
    link = external_issues.find_link(context, request.group_id, request.external_issue_id)
    # Of two concurrent calls one deletes the row, and the other finds it missing.
    gone = db.session.scalars(sa.delete(GroupLink).where(GroupLink.id == link.id).returning(GroupLink.id)).one_or_none()
    if gone is None:
        raise external_issues.link_not_found(request.group_id, request.external_issue_id)
    return scm_pb2.UnlinkExternalIssueResponse()


def _message(row: ExternalIssue) -> scm_pb2.ExternalIssue:
    """Make an external issue."""
    message = scm_pb2.ExternalIssue(
        id=row.id,
        organization_id=row.organization_id,
        integration_id=row.integration_id,
        key=row.key,
        title=row.title,
        description=row.description,
        web_url=row.web_url,
        metadata=row.metadata_,
        status=row.status,
        assignee=row.assignee,
        state=_STATES[row.state],
        moved_to=row.moved_to,
    )
    if row.state_time is not None:
        message.state_time.FromDatetime(row.state_time)
    return message
