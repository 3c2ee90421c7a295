"""Commits, and the commits that last changed lines."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import TypeVar

from flask_grpcweb_scm.pb import scm_pb2
from flask_grpcweb_scm.rpc import CallContext, RpcError
from flask_grpcweb_scm.scm.queries.commits import find_commit
from flask_grpcweb_scm.scm.queries.tenancy import find_repository
from flask_grpcweb_scm.scm.service.commit_lookup import LineBlamer, commit_not_found, complete_sha, fetch_commit
from flask_grpcweb_scm.scm.service.definition import service
from flask_grpcweb_scm.scm.service.messages import commit_message
from flask_grpcweb_scm.scm.sources.open import open_source
from flask_grpcweb_scm.scm.validation import line_problem, path_problem, sha_problem, validate

__all__ = ["batch_get_commit_context", "get_commit", "get_commit_context"]

T = TypeVar("T")

MAX_LINES = 200  # of one BatchGetCommitContext


@service.rpc("GetCommit")
def get_commit(request: scm_pb2.GetCommitRequest, context: CallContext) -> scm_pb2.Commit:
    """Return a commit by SHA, stored first if only the source has it."""
    validate(commit_sha=sha_problem(request.commit_sha))
    repository = find_repository(context, request.repository_id)
    source = open_source(repository, context)
    sha = complete_sha(repository, source, request.commit_sha.lower())
    commit = find_commit(repository, sha) or fetch_commit(repository, source, sha)
    if commit is None:
        raise commit_not_found(repository, sha)
    return commit_message(commit)


@service.rpc("GetCommitContext")
def get_commit_context(request: scm_pb2.GetCommitContextRequest, context: CallContext) -> scm_pb2.CommitContext:
    """Return the commit that last changed a line, from the source or else from the stored file changes."""
    _check_line(request.commit_sha, request.filepath, request.line_number)
    repository = find_repository(context, request.repository_id)
    source = open_source(repository, context)
    sha = complete_sha(repository, source, request.commit_sha.lower())
    found = LineBlamer(repository, source).blame(sha, request.filepath, [request.line_number])[request.line_number]
    if isinstance(found, RpcError):
        raise found
    return found


@service.rpc("BatchGetCommitContext")
def batch_get_commit_context(
    request: scm_pb2.BatchGetCommitContextRequest, context: CallContext
) -> scm_pb2.BatchGetCommitContextResponse:
    """Return the response or the error of GetCommitContext for each line; lines of one file are read together."""
    validate(lines=_count_problem(len(request.lines)))
    repository = find_repository(context, request.repository_id)
    source = open_source(repository, context)
    blamer = LineBlamer(repository, source)
    lines = [(line.commit_sha or request.commit_sha, line.filepath, line.line_number) for line in request.lines]
    found: dict[tuple[str, str, int], scm_pb2.CommitContext | RpcError] = {}
    files: dict[tuple[str, str], list[int]] = {}
    for line in dict.fromkeys(lines):
        problem = _attempt(partial(_check_line, *line))
        if problem is not None:
            found[line] = problem
        else:
            files.setdefault(line[:2], []).append(line[2])
    complete = cache(lambda text: _attempt(partial(complete_sha, repository, source, text)))
    for (text, path), numbers in files.items():
        context.check_deadline()
        sha = complete(text.lower())
        blamed = sha if isinstance(sha, RpcError) else _attempt(partial(blamer.blame, sha, path, numbers))
        found.update({(text, path, n): blamed if isinstance(blamed, RpcError) else blamed[n] for n in numbers})
    return scm_pb2.BatchGetCommitContextResponse(outcomes=[_outcome(found[line]) for line in lines])


def _check_line(sha: str, path: str, number: int) -> None:
    validate(commit_sha=sha_problem(sha), filepath=path_problem(path), line_number=line_problem(number))


def _count_problem(number: int) -> str | None:
    if number == 0:
        return "is empty"
    return f"has {number} items; the limit is {MAX_LINES}" if number > MAX_LINES else None


def _attempt(function: Callable[[], T]) -> T | RpcError:
    """Return the result of a function, or the status that its error would end a call with."""
    try:
        return function()
    except RpcError as error:
        return error
    except Exception as error:
        status = service.declared_error(error)
        if status is None:
            raise
        return status


def _outcome(found: scm_pb2.CommitContext | RpcError) -> scm_pb2.CommitContextOutcome:
    if isinstance(found, RpcError):
        return scm_pb2.CommitContextOutcome(code=found.code, message=found.message)
    return scm_pb2.CommitContextOutcome(context=found)
