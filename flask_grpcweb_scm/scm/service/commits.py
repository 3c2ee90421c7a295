"""Commits, and who last changed a line."""

from __future__ import annotations

from flask_grpcweb_scm.pb import scm_pb2
from flask_grpcweb_scm.rpc import CallContext, RpcError, StatusCode
from flask_grpcweb_scm.scm import queries
from flask_grpcweb_scm.scm.commits import commit_not_found, complete_sha, fetch_commit, open_source
from flask_grpcweb_scm.scm.conversion import author_message, commit_message
from flask_grpcweb_scm.scm.models import Repository
from flask_grpcweb_scm.scm.service.definition import service
from flask_grpcweb_scm.scm.source import Source
from flask_grpcweb_scm.scm.validation import line_problem, path_problem, sha_problem, validate

__all__ = ["get_commit", "get_commit_context"]


@service.rpc("GetCommit")
def get_commit(request: scm_pb2.GetCommitRequest, context: CallContext) -> scm_pb2.Commit:
    """A commit by SHA, which is stored first if only git has it."""
    validate(commit_sha=sha_problem(request.commit_sha))
    repository = queries.find_repository(context, request.repository_id)
    source = open_source(repository, context)
    sha = complete_sha(repository, source, request.commit_sha.lower())
    commit = queries.find_commit(repository, sha) or fetch_commit(repository, source, sha)
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
    source = open_source(repository, context)
    sha = complete_sha(repository, source, request.commit_sha.lower())
    answer = scm_pb2.CommitContext(
        repository_id=repository.id, commit_id=sha, filename=request.filepath, line_number=request.line_number
    )
    if source is not None and source.has_commit(sha):
        _blame_in_source(answer, repository, source)
    else:
        _blame_in_history(answer, repository)
    return answer


def _blame_in_source(answer: scm_pb2.CommitContext, repository: Repository, source: Source) -> None:
    path, number = answer.filename, answer.line_number
    lines = source.lines(answer.commit_id, path, [number])
    if lines is None:
        raise _file_not_found(answer)
    if number not in lines:
        raise RpcError(StatusCode.NOT_FOUND, f"{path} has no line {number} at commit {answer.commit_id}")
    blame = lines[number].blame
    author = queries.find_author(repository, blame.sha, blame.author_email)
    answer.blame_commit_id = blame.sha
    answer.blame_author.CopyFrom(
        author_message(author) or scm_pb2.CommitAuthor(name=blame.author_name, email=blame.author_email)
    )
    answer.code_snippet = lines[number].snippet


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
