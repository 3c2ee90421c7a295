"""Commits, and who last changed a line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from sys import getsizeof
from typing import TypeVar

from flask_grpcweb_scm.pb import scm_pb2
from flask_grpcweb_scm.rpc import CallContext, RpcError, StatusCode
from flask_grpcweb_scm.scm.caches import line_cache
from flask_grpcweb_scm.scm.commits import commit_not_found, complete_sha, fetch_commit, open_source
from flask_grpcweb_scm.scm.database.models import Commit, Repository
from flask_grpcweb_scm.scm.queries import tenancy as queries
from flask_grpcweb_scm.scm.service.definition import service
from flask_grpcweb_scm.scm.service.messages import author_message, commit_message
from flask_grpcweb_scm.scm.sources import Line, Source
from flask_grpcweb_scm.scm.validation import failed_precondition, line_problem, path_problem, sha_problem, validate

__all__ = ["batch_get_commit_context", "get_commit", "get_commit_context"]

T = TypeVar("T")

MAX_LINES = 200  # of one BatchGetCommitContext


@service.rpc("GetCommit")
def get_commit(request: scm_pb2.GetCommitRequest, context: CallContext) -> scm_pb2.Commit:
    """A commit by SHA, which is stored first if only the source has it."""
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
    """The commit that last changed a line, from the source or else from the stored file changes."""
    _check_line(request.commit_sha, request.filepath, request.line_number)
    repository = queries.find_repository(context, request.repository_id)
    source = open_source(repository, context)
    sha = complete_sha(repository, source, request.commit_sha.lower())
    answer = _Blamer(repository, source).blame(sha, request.filepath, [request.line_number])[request.line_number]
    if isinstance(answer, RpcError):
        raise answer
    return answer


@service.rpc("BatchGetCommitContext")
def batch_get_commit_context(
    request: scm_pb2.BatchGetCommitContextRequest, context: CallContext
) -> scm_pb2.BatchGetCommitContextResponse:
    """What GetCommitContext answers for each line; lines of one file are looked up together."""
    validate(lines=_count_problem(len(request.lines)))
    repository = queries.find_repository(context, request.repository_id)
    source = open_source(repository, context)
    blamer = _Blamer(repository, source)
    wanted = [(line.commit_sha or request.commit_sha, line.filepath, line.line_number) for line in request.lines]
    answers: dict[tuple[str, str, int], scm_pb2.CommitContext | RpcError] = {}
    files: dict[tuple[str, str], list[int]] = {}
    for line in dict.fromkeys(wanted):
        problem = _attempt(partial(_check_line, *line))
        if problem is not None:
            answers[line] = problem
        else:
            files.setdefault(line[:2], []).append(line[2])
    complete = cache(lambda text: _attempt(partial(complete_sha, repository, source, text)))
    for (text, path), numbers in files.items():
        context.check_deadline()
        sha = complete(text.lower())
        found = sha if isinstance(sha, RpcError) else _attempt(partial(blamer.blame, sha, path, numbers))
        answers.update({(text, path, n): found if isinstance(found, RpcError) else found[n] for n in numbers})
    return scm_pb2.BatchGetCommitContextResponse(outcomes=[_outcome(answers[line]) for line in wanted])


def _check_line(sha: str, path: str, number: int) -> None:
    validate(commit_sha=sha_problem(sha), filepath=path_problem(path), line_number=line_problem(number))


def _count_problem(number: int) -> str | None:
    if number == 0:
        return "is empty"
    return f"has {number} items; the limit is {MAX_LINES}" if number > MAX_LINES else None


def _attempt(function: Callable[[], T]) -> T | RpcError:
    """What a function returns, or the status that its error would have ended a call with."""
    try:
        return function()
    except RpcError as error:
        return error
    except Exception as error:
        status = service.declared_error(error)
        if status is None:
            raise
        return status


def _outcome(answer: scm_pb2.CommitContext | RpcError) -> scm_pb2.CommitContextOutcome:
    if isinstance(answer, RpcError):
        return scm_pb2.CommitContextOutcome(code=answer.code, message=answer.message)
    return scm_pb2.CommitContextOutcome(context=answer)


class _Blamer:
    """Finds who last changed lines of a repository, and asks nothing twice."""

    def __init__(self, repository: Repository, source: Source | None) -> None:
        self._repository = repository
        self._source = source
        self._known = line_cache()
        self._has_commit = cache(lambda sha: source is not None and source.has_commit(sha))
        self._find_author = cache(lambda sha, email: queries.find_author(repository, sha, email))

    def blame(self, sha: str, path: str, numbers: Sequence[int]) -> dict[int, scm_pb2.CommitContext | RpcError]:
        """An answer for each line of a file at a commit, or why there is none.

        :raises RpcError: when there is no answer for any.
        """
        if self._source is None or not self._has_commit(sha):
            changed = self._last_change(sha, path)
            author = author_message(changed.author)
            return {number: self._answer(sha, path, number, changed.key, author) for number in numbers}
        lines = self._lines(self._source, sha, path, numbers)
        return {number: self._of_line(sha, path, number, lines.get(number)) for number in numbers}

    def _lines(self, source: Source, sha: str, path: str, numbers: Sequence[int]) -> dict[int, Line]:
        """Lines of a file at a commit, from memory as far as they have been asked for before."""
        key = (self._repository.id, source.identity, sha, path)
        lines = self._known.get(key) or {}
        missing = [number for number in numbers if number not in lines]
        if missing:
            found = source.lines(sha, path, missing)
            if found is None:
                raise _file_not_found(sha, path)
            lines = {**lines, **found}
            self._known.put(key, lines, sum(map(_size, lines.values()), len(path)))
        return lines

    def _of_line(self, sha: str, path: str, number: int, line: Line | None) -> scm_pb2.CommitContext | RpcError:
        if line is None:
            return RpcError(StatusCode.NOT_FOUND, f"{path} has no line {number} at commit {sha}")
        blame = line.blame
        known = author_message(self._find_author(blame.sha, blame.author_email))
        author = known or scm_pb2.CommitAuthor(name=blame.author_name, email=blame.author_email)
        return self._answer(sha, path, number, blame.sha, author, line.snippet)

    def _last_change(self, sha: str, path: str) -> Commit:
        """The stored commit that touched the file last."""
        commit = queries.find_commit(self._repository, sha)
        if commit is None:
            raise commit_not_found(self._repository, sha)
        change = queries.last_change_of_file(commit, path)
        if change is None:
            text = f"repository {self._repository.id} has no source to read, and no stored commit touched {path}"
            raise failed_precondition("SOURCE", f"repository {self._repository.id}", text)
        changed, kind = change
        if kind == "D":
            raise _file_not_found(sha, path)
        return changed

    def _answer(
        self, sha: str, path: str, number: int, blamed: str, author: scm_pb2.CommitAuthor | None, snippet: str = ""
    ) -> scm_pb2.CommitContext:
        return scm_pb2.CommitContext(
            repository_id=self._repository.id,
            commit_id=sha,
            filename=path,
            line_number=number,
            blame_commit_id=blamed,
            blame_author=author,
            code_snippet=snippet,
        )


def _size(line: Line) -> int:
    """Bytes of memory, approximately."""
    return sum(map(getsizeof, (line.snippet, line.blame.sha, line.blame.author_name, line.blame.author_email)), 200)


def _file_not_found(sha: str, path: str) -> RpcError:
    return RpcError(StatusCode.NOT_FOUND, f"file {path} does not exist at commit {sha}")
