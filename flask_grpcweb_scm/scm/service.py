"""The eight functions of ScmService, in the order of its proto."""

from __future__ import annotations

import hashlib
import uuid

import sqlalchemy as sa
from google.rpc import error_details_pb2

from flask_grpcweb_scm.pb import scm_pb2
from flask_grpcweb_scm.rpc import CallContext, RpcError, Service, StatusCode
from flask_grpcweb_scm.scm import queries
from flask_grpcweb_scm.scm.code_mapping import covered_roots
from flask_grpcweb_scm.scm.commits import commit_not_found, complete_sha, fetch_commit, open_mirror
from flask_grpcweb_scm.scm.conversion import (
    author_message,
    code_mapping_message,
    commit_message,
    external_issue_message,
    provider_spellings,
    repository_message,
)
from flask_grpcweb_scm.scm.db import db, insert_new
from flask_grpcweb_scm.scm.git import Mirror
from flask_grpcweb_scm.scm.git_process import GitError, GitTimeout
from flask_grpcweb_scm.scm.models import CodeMapping, ExternalIssue, GroupLink, LinkedType, Repository
from flask_grpcweb_scm.scm.paging import Position, page_size, read_page_token, write_page_token
from flask_grpcweb_scm.scm.settings import current_settings
from flask_grpcweb_scm.scm.transaction import transaction
from flask_grpcweb_scm.scm.validation import (
    branch_problem,
    line_problem,
    path_problem,
    root_problem,
    sha_problem,
    text_problem,
    validate,
)

__all__ = ["service"]

MAX_NAME_CHARACTERS = 200
MAX_IDEMPOTENCY_KEY_CHARACTERS = 255

service = Service(scm_pb2.DESCRIPTOR.services_by_name["ScmService"])
service.declare_error(GitTimeout, StatusCode.DEADLINE_EXCEEDED)
service.declare_error(GitError, StatusCode.FAILED_PRECONDITION)
service.intercept(transaction)


@service.rpc("ListRepositories")
def list_repositories(
    request: scm_pb2.ListRepositoriesRequest, context: CallContext
) -> scm_pb2.ListRepositoriesResponse:
    """One page of an organization's active repositories."""
    settings = current_settings()
    known_provider = request.provider in scm_pb2.Provider.values()
    validate(
        provider=None if known_provider else f"must be one of the enum Provider, got {request.provider}",
        query=text_problem(request.query, limit=MAX_NAME_CHARACTERS),
    )
    size = page_size(request.page_size, settings)
    scope: list[str | int] = [request.organization_id, request.provider, request.query]
    after = read_page_token(request.page_token, scope, settings)
    organization = queries.find_organization(context, request.organization_id)
    rows = queries.page_of_repositories(
        organization,
        providers=provider_spellings(request.provider),
        query=request.query,
        after=after,
        limit=size + 1,  # one more says whether there is a next page
    )
    response = scm_pb2.ListRepositoriesResponse(repositories=map(repository_message, rows[:size]))
    if len(rows) > size:
        last = rows[size - 1]
        response.next_page_token = write_page_token(scope, Position(last.name, last.id), settings)
    return response


@service.rpc("GetRepository")
def get_repository(request: scm_pb2.GetRepositoryRequest, context: CallContext) -> scm_pb2.Repository:
    """A repository by id."""
    return repository_message(queries.find_repository(context, request.repository_id))


@service.rpc("GetCommit")
def get_commit(request: scm_pb2.GetCommitRequest, context: CallContext) -> scm_pb2.Commit:
    """A commit by SHA, which is stored first if only git has it."""
    validate(commit_sha=sha_problem(request.commit_sha))
    repository = queries.find_repository(context, request.repository_id)
    mirror = open_mirror(repository, context)
    sha = complete_sha(repository, mirror, request.commit_sha.lower())
    commit = queries.find_commit(repository, sha) or fetch_commit(repository, mirror, sha)
    if commit is None:
        raise commit_not_found(repository, sha)
    return commit_message(commit)


@service.rpc("GetCommitContext")
def get_commit_context(request: scm_pb2.GetCommitContextRequest, context: CallContext) -> scm_pb2.CommitContext:
    """The commit that last changed a line, from git or else from the stored file changes."""
    validate(
        commit_sha=sha_problem(request.commit_sha),
        filepath=path_problem(request.filepath),
        line_number=line_problem(request.line_number),
    )
    repository = queries.find_repository(context, request.repository_id)
    mirror = open_mirror(repository, context)
    sha = complete_sha(repository, mirror, request.commit_sha.lower())
    answer = scm_pb2.CommitContext(
        repository_id=repository.id, commit_id=sha, filename=request.filepath, line_number=request.line_number
    )
    if mirror is not None and mirror.has_commit(sha):
        _blame_in_mirror(answer, repository, mirror)
    else:
        _blame_in_history(answer, repository)
    return answer


def _blame_in_mirror(answer: scm_pb2.CommitContext, repository: Repository, mirror: Mirror) -> None:
    path, number = answer.filename, answer.line_number
    blob = mirror.find_file(answer.commit_id, path)
    if blob is None:
        raise _file_not_found(answer)
    snippet = mirror.snippet(blob, number)
    if snippet is None:
        raise RpcError(StatusCode.NOT_FOUND, f"{path} has no line {number} at commit {answer.commit_id}")
    blame = mirror.blame(answer.commit_id, path, number)
    author = queries.find_author(repository, blame.sha, blame.author_email)
    answer.blame_commit_id = blame.sha
    answer.blame_author.CopyFrom(
        author_message(author) or scm_pb2.CommitAuthor(name=blame.author_name, email=blame.author_email)
    )
    answer.code_snippet = snippet


def _blame_in_history(answer: scm_pb2.CommitContext, repository: Repository) -> None:
    commit = queries.find_commit(repository, answer.commit_id)
    if commit is None:
        raise commit_not_found(repository, answer.commit_id)
    change = queries.last_change_of_file(commit, answer.filename)
    if change is None:
        raise RpcError(
            StatusCode.FAILED_PRECONDITION,
            f"repository {repository.id} has no source to read, and no stored commit touched {answer.filename}",
        )
    changed, kind = change
    if kind == "D":
        raise _file_not_found(answer)
    answer.blame_commit_id = changed.key
    if author := author_message(changed.author):
        answer.blame_author.CopyFrom(author)


def _file_not_found(answer: scm_pb2.CommitContext) -> RpcError:
    return RpcError(StatusCode.NOT_FOUND, f"file {answer.filename} does not exist at commit {answer.commit_id}")


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
    return _already_exists(
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
        raise _already_exists("ExternalIssue", issue.id, text)
    return external_issue_message(issue)


def _already_exists(kind: str, row_id: int, text: str) -> RpcError:
    details = error_details_pb2.ResourceInfo(resource_type=kind, resource_name=str(row_id), description=text)
    return RpcError(StatusCode.ALREADY_EXISTS, text, details=[details])
