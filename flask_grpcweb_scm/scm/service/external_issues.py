"""Issues in external trackers, and the error groups they belong to."""

from __future__ import annotations

import hashlib
import uuid

import sqlalchemy as sa

from flask_grpcweb_scm.pb import scm_pb2
from flask_grpcweb_scm.rpc import CallContext, RpcError, StatusCode
from flask_grpcweb_scm.scm import queries
from flask_grpcweb_scm.scm.conversion import external_issue_message
from flask_grpcweb_scm.scm.db import db, insert_new
from flask_grpcweb_scm.scm.models import ExternalIssue, GroupLink, LinkedType
from flask_grpcweb_scm.scm.service.definition import already_exists, service
from flask_grpcweb_scm.scm.validation import text_problem, validate

__all__ = ["create_external_issue", "link_external_issue"]

MAX_IDEMPOTENCY_KEY_CHARACTERS = 255


@service.rpc("CreateExternalIssue")
def create_external_issue(request: scm_pb2.CreateExternalIssueRequest, context: CallContext) -> scm_pb2.ExternalIssue:
    """An issue that exists only here."""
    idempotency_key = context.metadata.get_text("idempotency-key") or None
    validate(
        title=text_problem(request.title, required=True),
        description=text_problem(request.description),
        metadata=text_problem("".join((*request.metadata.keys(), *request.metadata.values()))),
        idempotency_key=text_problem(idempotency_key or "", limit=MAX_IDEMPOTENCY_KEY_CHARACTERS),
    )
    integration = queries.find_integration(context, request.organization_id, request.integration_id)
    digest = hashlib.sha256(request.SerializeToString(deterministic=True)).hexdigest()
    issue = _add_local_issue(request, integration.id, idempotency_key, digest)
    if issue is None:
        issue = _first_result(request.organization_id, idempotency_key)
        if issue.request_digest != digest:
            raise RpcError(
                StatusCode.FAILED_PRECONDITION,
                f"idempotency-key {idempotency_key!r} was used for a different request; use a new one",
            )
    return external_issue_message(issue)


def _add_local_issue(
    request: scm_pb2.CreateExternalIssueRequest, integration_id: int, idempotency_key: str | None, digest: str
) -> ExternalIssue | None:
    """A new issue; None when the idempotency key is taken."""
    statement = insert_new(ExternalIssue).values(
        organization_id=request.organization_id,
        integration_id=integration_id,
        key=uuid.uuid4().hex,
        title=request.title,
        description=request.description,
        metadata_=dict(request.metadata),
        idempotency_key=idempotency_key,
        request_digest=digest,
    )
    issue = db.session.scalars(statement.returning(ExternalIssue)).one_or_none()
    if issue is not None:
        # The row's own number is one that no other transaction can choose at the same time.
        issue.key = f"ISSUE-{issue.id}"
    return issue


def _first_result(organization_id: int, idempotency_key: str | None) -> ExternalIssue:
    same = sa.and_(ExternalIssue.organization_id == organization_id, ExternalIssue.idempotency_key == idempotency_key)
    return db.session.scalars(sa.select(ExternalIssue).where(same)).one()


@service.rpc("LinkExternalIssue")
def link_external_issue(request: scm_pb2.LinkExternalIssueRequest, context: CallContext) -> scm_pb2.ExternalIssue:
    """The external issue, now linked to the group."""
    group, issue = queries.find_group_and_issue(context, request.group_id, request.external_issue_id)
    values = {"group_id": group.id, "project_id": group.project_id, "linked_id": issue.id}
    statement = insert_new(GroupLink).values(**values, linked_type=LinkedType.ISSUE)
    if db.session.scalars(statement.returning(GroupLink.id)).one_or_none() is None:
        text = f"external issue {issue.id} is linked to group {group.id} already"
        raise already_exists("ExternalIssue", issue.id, text)
    return external_issue_message(issue)
