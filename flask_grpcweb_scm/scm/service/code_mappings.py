"""Code mappings: how paths of stack traces become paths of files."""

from __future__ import annotations

import sqlalchemy as sa

from flask_grpcweb_scm.pb import scm_pb2
from flask_grpcweb_scm.rpc import CallContext, RpcError
from flask_grpcweb_scm.scm import queries
from flask_grpcweb_scm.scm.code_mapping import covered_roots
from flask_grpcweb_scm.scm.conversion import code_mapping_message
from flask_grpcweb_scm.scm.db import db, insert_new
from flask_grpcweb_scm.scm.models import CodeMapping
from flask_grpcweb_scm.scm.service.definition import already_exists, service
from flask_grpcweb_scm.scm.validation import branch_problem, root_problem, validate

__all__ = ["create_code_mapping", "derive_code_mappings"]


@service.rpc("CreateCodeMapping")
def create_code_mapping(request: scm_pb2.CreateCodeMappingRequest, context: CallContext) -> scm_pb2.CodeMapping:
    """A user's code mapping."""
    validate(
        stack_root=root_problem(request.stack_root),
        source_root=root_problem(request.source_root),
        default_branch=branch_problem(request.default_branch),
    )
    project = queries.find_project(context, request.organization_id, request.project_id)
    repository = queries.find_repository(context, request.repository_id, organization_id=request.organization_id)
    statement = insert_new(CodeMapping).values(
        organization_id=project.organization_id,
        project_id=project.id,
        repository_id=repository.id,
        stack_root=request.stack_root,
        source_root=request.source_root,
        default_branch=request.default_branch,
    )
    mapping = db.session.scalars(statement.returning(CodeMapping)).one_or_none()
    if mapping is None:
        raise _mapping_exists(project.id, request.stack_root)
    return code_mapping_message(mapping)


def _mapping_exists(project_id: int, stack_root: str) -> RpcError:
    taken = sa.and_(CodeMapping.project_id == project_id, CodeMapping.stack_root == stack_root)
    mapping_id = db.session.scalars(sa.select(CodeMapping.id).where(taken)).one()
    return already_exists(
        "CodeMapping", mapping_id, f"code mapping {mapping_id} of project {project_id} has stack_root {stack_root!r}"
    )


@service.rpc("DeriveCodeMappings")
def derive_code_mappings(
    request: scm_pb2.DeriveCodeMappingsRequest, context: CallContext
) -> scm_pb2.DeriveCodeMappingsResponse:
    """The stored code mappings that cover any of the paths."""
    project = queries.find_project(context, request.organization_id, request.project_id)
    mappings = queries.code_mappings_of(project)
    covering = covered_roots(request.stacktrace_paths, (mapping.stack_root for mapping in mappings))
    return scm_pb2.DeriveCodeMappingsResponse(
        mappings=[code_mapping_message(mapping) for mapping in mappings if mapping.stack_root in covering]
    )
