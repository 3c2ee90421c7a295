"""Code mappings: create, derive, list, delete."""

from __future__ import annotations

from collections.abc import Iterable, Sized

import sqlalchemy as sa

from flask_grpcweb_scm.pb import scm_pb2
from flask_grpcweb_scm.rpc import CallContext, RpcError, StatusCode
from flask_grpcweb_scm.scm.code_mappings.derive import derive
from flask_grpcweb_scm.scm.code_mappings.frames import StackFrame
from flask_grpcweb_scm.scm.database.db import db, insert_new
from flask_grpcweb_scm.scm.database.models import CodeMapping
from flask_grpcweb_scm.scm.queries.code_mappings import CodeMappingRow, page_of_code_mappings, precedence
from flask_grpcweb_scm.scm.queries.paging import PageScope, RequestedPage
from flask_grpcweb_scm.scm.queries.tenancy import find_organization, find_project, find_repository, visible_mapping
from flask_grpcweb_scm.scm.service.definition import already_exists, service
from flask_grpcweb_scm.scm.validation import MAX_PATH_CHARACTERS, branch_problem, root_problem, validate
from flask_grpcweb_scm.transactions import TRY_AGAIN

__all__ = ["create_code_mapping", "delete_code_mapping", "derive_code_mappings", "list_code_mappings"]

MAX_FRAMES = 1000  # in one request


@service.CreateCodeMapping
def create_code_mapping(request: scm_pb2.CreateCodeMappingRequest, context: CallContext) -> scm_pb2.CodeMapping:
    """Store a user's code mapping."""
    validate(
        stack_root=root_problem(request.stack_root),
        source_root=root_problem(request.source_root),
        default_branch=branch_problem(request.default_branch),
    )
    project = find_project(context, request.organization_id, request.project_id)
    repository = find_repository(context, request.repository_id, organization_id=request.organization_id)
    statement = insert_new(CodeMapping, "uq_scm_code_mapping_stack_root").values(
        organization_id=project.organization_id,
        project_id=project.id,
        repository_id=repository.id,
        stack_root=request.stack_root,
        source_root=request.source_root,
        default_branch=request.default_branch,
    )
    mapping = db.session.scalars(statement.returning(CodeMapping)).one_or_none()
    if mapping is None:
        raise _mapping_exists(context, project.id, request.stack_root)
    return _message(mapping)


def _mapping_exists(context: CallContext, project_id: int, stack_root: str) -> RpcError:
    same = sa.and_(CodeMapping.project_id == project_id, CodeMapping.stack_root == stack_root)
    row = db.session.execute(sa.select(CodeMapping.id, visible_mapping(context)).where(same)).one_or_none()
    if row is None:  # it was deleted a moment ago
        return RpcError(StatusCode.ABORTED, TRY_AGAIN)
    mapping_id, is_visible = row
    if not is_visible:
        return RpcError(StatusCode.ALREADY_EXISTS, f"project {project_id} has a code mapping with this stack_root")
    return already_exists(
        "CodeMapping", mapping_id, f"code mapping {mapping_id} of project {project_id} has stack_root {stack_root!r}"
    )


@service.DeriveCodeMappings
def derive_code_mappings(
    request: scm_pb2.DeriveCodeMappingsRequest, context: CallContext
) -> scm_pb2.DeriveCodeMappingsResponse:
    """Return the code mappings that cover any of the paths and frames; missing ones are derived."""
    count = len(request.stacktrace_paths) + len(request.frames)
    validate(
        stacktrace_paths=_texts_problem(request.stacktrace_paths, request.stacktrace_paths, count),
        frames=_texts_problem(request.frames, (text for frame in request.frames for text in _texts(frame)), count),
    )
    project = find_project(context, request.organization_id, request.project_id)
    paths = [StackFrame(path) for path in request.stacktrace_paths]
    frames = [
        StackFrame(frame.path, frame.module, frame.abs_path, frame.platform or project.platform or "")
        for frame in request.frames
    ]
    derivation = derive(project, [*paths, *frames], dry_run=request.dry_run, context=context)
    return scm_pb2.DeriveCodeMappingsResponse(mappings=map(_message, derivation.mappings), outcomes=derivation.outcomes)


def _texts(frame: scm_pb2.StackFrame) -> tuple[str, ...]:
    return frame.path, frame.module, frame.abs_path, frame.platform


def _texts_problem(items: Sized, texts: Iterable[str], count: int) -> str | None:
    if items and count > MAX_FRAMES:
        return f"makes it {count} paths and frames; the limit is {MAX_FRAMES}"
    longest = max(map(len, texts), default=0)
    if longest > MAX_PATH_CHARACTERS:
        return f"has a text of {longest} characters; the limit is {MAX_PATH_CHARACTERS}"
    return None


@service.ListCodeMappings
def list_code_mappings(
    request: scm_pb2.ListCodeMappingsRequest, context: CallContext
) -> scm_pb2.ListCodeMappingsResponse:
    """Return one page of a project's code mappings."""
    scope: PageScope = ["ListCodeMappings", request.organization_id, request.project_id]
    page = RequestedPage.of(request.page_size, request.page_token, scope)
    rows = page_of_code_mappings(
        context, request.organization_id, request.project_id, after=page.after, limit=page.limit
    )
    return scm_pb2.ListCodeMappingsResponse(
        mappings=map(_message, rows[: page.size]),
        next_page_token=page.next_token(rows, precedence),
    )


@service.DeleteCodeMapping
def delete_code_mapping(
    request: scm_pb2.DeleteCodeMappingRequest, context: CallContext
) -> scm_pb2.DeleteCodeMappingResponse:
    """Delete a code mapping."""
    organization = find_organization(context, request.organization_id)
    mapping = sa.and_(CodeMapping.id == request.code_mapping_id, CodeMapping.organization_id == organization.id)
    # Of two concurrent calls one finds the row.
    delete = sa.delete(CodeMapping).where(mapping, visible_mapping(context))
    deleted = db.session.scalars(delete.returning(CodeMapping.id)).one_or_none()
    if deleted is None:
        text = f"code mapping {request.code_mapping_id} does not exist in organization {organization.id}"
        raise RpcError(StatusCode.NOT_FOUND, text)
    return scm_pb2.DeleteCodeMappingResponse()


def _message(row: CodeMapping | CodeMappingRow) -> scm_pb2.CodeMapping:
    """Make a code mapping."""
    return scm_pb2.CodeMapping(**{name: getattr(row, name) for name in CodeMappingRow._fields})
