"""Projects of an organization, its integrations, and groups of errors."""

from __future__ import annotations

from datetime import datetime, timezone

from google.protobuf.timestamp_pb2 import Timestamp

from flask_grpcweb_scm.pb import scm_pb2
from flask_grpcweb_scm.rpc import CallContext
from flask_grpcweb_scm.scm.database.models import Group, Project
from flask_grpcweb_scm.scm.database.values import provider_name
from flask_grpcweb_scm.scm.providers import is_configured
from flask_grpcweb_scm.scm.queries import projects
from flask_grpcweb_scm.scm.queries.paging import PageScope, RequestedPage
from flask_grpcweb_scm.scm.service.definition import service
from flask_grpcweb_scm.scm.sources import has_api
from flask_grpcweb_scm.scm.trackers import has_tracker
from flask_grpcweb_scm.scm.validation import text_problem, validate

__all__ = ["list_integrations", "list_projects", "read_instant", "upsert_group"]

MAX_TITLE_BYTES = 64 * 2**10


@service.ListProjects
def list_projects(request: scm_pb2.ListProjectsRequest, context: CallContext) -> scm_pb2.ListProjectsResponse:
    """Return one page of an organization's projects."""
    scope: PageScope = ["ListProjects", request.organization_id]
    page = RequestedPage.of(request.page_size, request.page_token, scope)
    rows = projects.page_of_projects(context, request.organization_id, after=page.after, limit=page.limit)
    return scm_pb2.ListProjectsResponse(
        projects=map(_project, rows[: page.size]), next_page_token=page.next_token(rows, lambda row: (row.slug,))
    )


def _project(row: Project) -> scm_pb2.Project:
    message = scm_pb2.Project(
        id=row.id,
        organization_id=row.organization_id,
        slug=row.slug,
        name=row.name,
        platform=row.platform or "",
    )
    message.date_added.FromDatetime(row.date_added)
    return message


@service.ListIntegrations
def list_integrations(
    request: scm_pb2.ListIntegrationsRequest, context: CallContext
) -> scm_pb2.ListIntegrationsResponse:
    """Return one page of the integrations that are installed in an organization."""
    scope: PageScope = ["ListIntegrations", request.organization_id]
    page = RequestedPage.of(request.page_size, request.page_token, scope)
    rows = projects.page_of_integrations(context, request.organization_id, after=page.after, limit=page.limit)
    return scm_pb2.ListIntegrationsResponse(
        integrations=map(_integration, rows[: page.size]),
        next_page_token=page.next_token(rows, lambda found: (found.row.integration_id,)),
    )


def _integration(found: projects.InstalledIntegration) -> scm_pb2.Integration:
    """Make an integration, without its settings: they name hosts of this network."""
    row, integration = found.row, found.row.integration
    provider = provider_name(integration.provider)
    message = scm_pb2.Integration(
        id=integration.id,
        organization_id=row.organization_id,
        provider=provider,
        name=integration.name if found.is_named else "",
        external_id=integration.external_id if found.is_named else "",
        has_tracker=has_tracker(provider) and is_configured(integration.metadata_),
        lists_repositories=has_api(integration),
    )
    message.date_added.FromDatetime(row.date_added)
    return message


@service.UpsertGroup
def upsert_group(request: scm_pb2.UpsertGroupRequest, context: CallContext) -> scm_pb2.Group:
    """Add an error group to a project, or change the one with its number."""
    first_seen, problem = read_instant(request.first_seen if request.HasField("first_seen") else None)
    validate(
        short_id=None if request.short_id >= 1 else f"must be 1 or more, got {request.short_id}",
        title=text_problem(request.title, limit=MAX_TITLE_BYTES, unit="bytes"),
        first_seen=problem,
    )
    group = projects.upsert_group(
        context,
        request.organization_id,
        request.project_id,
        request.short_id,
        title=request.title,
        first_seen=first_seen,
    )
    return _group(group, request.organization_id)


def _group(row: Group, organization_id: int) -> scm_pb2.Group:
    message = scm_pb2.Group(
        id=row.id,
        organization_id=organization_id,
        project_id=row.project_id,
        short_id=row.short_id or 0,
        title=row.title,
    )
    message.first_seen.FromDatetime(row.first_seen)
    return message


def read_instant(message: Timestamp | None) -> tuple[datetime | None, str | None]:
    """Return an instant, and what is wrong with it."""
    if message is None:
        return None, None
    try:
        return message.ToDatetime(tzinfo=timezone.utc), None
    except (ValueError, OverflowError):
        return None, "is in no calendar"
