"""Commits, and those that last changed lines: from the database, from memory or from the source of a repository."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cache, partial
from typing import TypeVar

from flask_grpcweb_scm.observe import tell_of_cache
from flask_grpcweb_scm.pb import scm_pb2
from flask_grpcweb_scm.rpc import CallContext, RpcError, StatusCode
from flask_grpcweb_scm.scm.database.models import Commit, CommitAuthor, Repository
from flask_grpcweb_scm.scm.git_import.commit_store import CommitStore
from flask_grpcweb_scm.scm.lru_cache import LruCache, memory_of
from flask_grpcweb_scm.scm.queries.commits import (
    AuthorRow,
    LastChange,
    find_authors,
    find_commit,
    find_commits_starting_with,
    last_changes,
)
from flask_grpcweb_scm.scm.queries.tenancy import find_repository
from flask_grpcweb_scm.scm.service.definition import service
from flask_grpcweb_scm.scm.settings import current_settings, kept_in_app
from flask_grpcweb_scm.scm.sources import open_source
from flask_grpcweb_scm.scm.sources.source import Blame, Line, Source
from flask_grpcweb_scm.scm.validation import (
    failed_precondition,
    invalid_argument,
    line_problem,
    path_problem,
    sha_problem,
    validate,
)

__all__ = [
    "LineBlamer",
    "attempt",
    "batch_get_commit_context",
    "commit_not_found",
    "complete_sha",
    "fetch_commit",
    "get_commit",
    "get_commit_context",
]

T = TypeVar("T")

BlamedLine = tuple[str, str, int]
"""A commit, the path of a file, and the number of a line."""

MAX_LINES = 200  # of one BatchGetCommitContext


@service.GetCommit
def get_commit(request: scm_pb2.GetCommitRequest, context: CallContext) -> scm_pb2.Commit:
    """Return a commit by SHA, stored first if only the source has it."""
    validate(commit_sha=sha_problem(request.commit_sha))
    repository = find_repository(context, request.repository_id)
    source = open_source(repository, context)
    sha = complete_sha(repository, source, request.commit_sha.lower())
    found = find_commit(repository, sha) or fetch_commit(repository, source, sha)
    if found is None:
        raise commit_not_found(repository, sha)
    return _commit_message(*found)


@service.GetCommitContext
def get_commit_context(request: scm_pb2.GetCommitContextRequest, context: CallContext) -> scm_pb2.CommitContext:
    """Return the commit that last changed a line, from the source or else from the stored file changes."""
    _check_line(request.commit_sha, request.filepath, request.line_number)
    repository = find_repository(context, request.repository_id)
    source = open_source(repository, context)
    sha = complete_sha(repository, source, request.commit_sha.lower())
    blamer = LineBlamer(repository, source)
    blamer.read(sha, request.filepath, [request.line_number])
    (found,) = blamer.contexts().values()
    if isinstance(found, RpcError):
        raise found
    return found


@service.BatchGetCommitContext
def batch_get_commit_context(
    request: scm_pb2.BatchGetCommitContextRequest, context: CallContext
) -> scm_pb2.BatchGetCommitContextResponse:
    """Return the response or the error of GetCommitContext for each line; lines of one file are read together."""
    validate(lines=_count_problem(len(request.lines)))
    repository = find_repository(context, request.repository_id)
    source = open_source(repository, context)
    blamer = LineBlamer(repository, source)
    lines = [(line.commit_sha or request.commit_sha, line.filepath, line.line_number) for line in request.lines]
    found: dict[BlamedLine, scm_pb2.CommitContext | RpcError] = {}
    files: dict[tuple[str, str], list[int]] = {}
    for line in dict.fromkeys(lines):
        problem = attempt(partial(_check_line, *line))
        if problem is not None:
            found[line] = problem
        else:
            files.setdefault(line[:2], []).append(line[2])
    shas = {text.lower() for text, _ in files}
    if source is not None and len(shas) > 1:
        source.prepare(shas)
    complete = _complete_shas(repository, source, shas)
    for (text, path), numbers in files.items():
        context.check_deadline()
        sha = complete[text.lower()]
        problem = sha if isinstance(sha, RpcError) else attempt(partial(blamer.read, sha, path, numbers))
        if problem is not None:
            found.update({(text, path, number): problem for number in numbers})
    contexts = blamer.contexts()
    for text, path, number in lines:
        if (text, path, number) not in found:
            found[text, path, number] = contexts[str(complete[text.lower()]), path, number]
    return scm_pb2.BatchGetCommitContextResponse(outcomes=[_outcome(found[line]) for line in lines])


def _check_line(sha: str, path: str, number: int) -> None:
    validate(commit_sha=sha_problem(sha), filepath=path_problem(path), line_number=line_problem(number))


def _count_problem(number: int) -> str | None:
    if number == 0:
        return "is empty"
    return f"has {number} items; the limit is {MAX_LINES}" if number > MAX_LINES else None


def attempt(function: Callable[[], T]) -> T | RpcError:
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


def complete_sha(repository: Repository, source: Source | None, sha: str) -> str:
    """Return the full SHA for its first 7 or more digits, from the stored commits or else from the source.

    :raises RpcError: NOT_FOUND; INVALID_ARGUMENT for an ambiguous prefix.
    """
    return _choose_sha(repository, source, sha, find_commits_starting_with(repository, _prefixes([sha])))


def _complete_shas(repository: Repository, source: Source | None, shas: Collection[str]) -> dict[str, str | RpcError]:
    """Return the result of :func:`complete_sha`, or its error, for each SHA."""
    stored = find_commits_starting_with(repository, _prefixes(shas))
    return {sha: attempt(partial(_choose_sha, repository, source, sha, stored)) for sha in shas}


def _prefixes(shas: Iterable[str]) -> list[str]:
    return [sha for sha in shas if len(sha) not in {40, 64}]


def _choose_sha(repository: Repository, source: Source | None, sha: str, stored: Mapping[str, Sequence[str]]) -> str:
    if not _prefixes([sha]):
        return sha
    found = stored.get(sha, ())
    if not found and source is not None:
        found = source.commits_starting_with(sha)
    if len(found) > 1:
        raise invalid_argument({"commit_sha": f"{sha!r} begins the SHA of several commits; send more digits"})
    if not found:
        raise commit_not_found(repository, sha)
    return found[0]


def commit_not_found(repository: Repository, sha: str) -> RpcError:
    """Make the error for a commit that neither the database nor the source has."""
    return RpcError(StatusCode.NOT_FOUND, f"commit {sha} does not exist in repository {repository.id}")


def fetch_commit(repository: Repository, source: Source | None, sha: str) -> tuple[Commit, bool] | None:
    """Store a commit of the source, and return it as :func:`find_commit`; None when it has no such commit."""
    if source is None or not source.has_commit(sha):
        return None
    store = CommitStore(repository)
    commits = [store.rows_of(source.commit(sha))]
    store.add_file_changes(store.add_commits(commits), commits)
    return find_commit(repository, sha)


class LineBlamer:
    """Finds the commits that last changed lines of a repository, with no request made twice.

    Lines of any number of files are read first; what the database has about all of them takes few statements then.
    """

    def __init__(self, repository: Repository, source: Source | None) -> None:
        self._repository = repository
        self._source = source
        self._cache = _line_cache()
        self._has_commit = cache(lambda sha: source is not None and source.has_commit(sha))
        self._lines: dict[BlamedLine, Line | None] = {}
        """None for a line that its file does not have."""
        self._stored: dict[tuple[str, str], list[int]] = {}
        """Numbers of lines that the source does not know, by commit and path."""

    def read(self, sha: str, path: str, numbers: Sequence[int]) -> None:
        """Read lines of a file at a commit from the source, if that has the commit.

        :raises RpcError: when there is no such file.
        """
        if self._source is None or not self._has_commit(sha):
            self._stored.setdefault((sha, path), []).extend(numbers)
            return
        lines = self._cached_lines(self._source, sha, path, numbers)
        self._lines.update({(sha, path, number): lines.get(number) for number in numbers})

    def _cached_lines(self, source: Source, sha: str, path: str, numbers: Sequence[int]) -> dict[int, Line]:
        file = (self._repository.id, source.identity, sha, path)
        cached = {number: self._cache.get((*file, number)) for number in numbers}
        lines = {number: line for number, line in cached.items() if line is not None}
        missing = [number for number in numbers if number not in lines]
        tell_of_cache("lines", not missing)
        if missing:
            found = source.lines(sha, path, missing)
            if found is None:
                raise _file_not_found(sha, path)
            for number, line in found.items():
                lines[number] = line
                key = (*file, number)
                self._cache.put(key, line, memory_of(key, line))
        return lines

    def contexts(self) -> dict[BlamedLine, scm_pb2.CommitContext | RpcError]:
        """Return the context of each line that :meth:`read` was called for, or its error."""
        blamed = {_signature(line.blame) for line in self._lines.values() if line is not None}
        authors = find_authors(self._repository, blamed) if blamed else {}
        changes = last_changes(self._repository, self._stored) if self._stored else {}
        contexts = {key: self._of_line(key, line, authors) for key, line in self._lines.items()}
        for (sha, path), numbers in self._stored.items():
            changed = self._of_change(sha, path, changes)
            contexts.update({(sha, path, number): self._with_number(changed, number) for number in numbers})
        return contexts

    def _of_line(
        self, key: BlamedLine, line: Line | None, authors: Mapping[tuple[str, str, str], AuthorRow]
    ) -> scm_pb2.CommitContext | RpcError:
        sha, path, number = key
        if line is None:
            return RpcError(StatusCode.NOT_FOUND, f"{path} has no line {number} at commit {sha}")
        blame = line.blame
        known = _author_message(authors.get(_signature(blame)))
        author = known or scm_pb2.CommitAuthor(name=blame.author_name, email=blame.author_email)
        context = self._context(sha, path, blame.sha, author)
        context.line_number, context.code_snippet = number, line.snippet
        return context

    def _of_change(
        self, sha: str, path: str, changes: Mapping[tuple[str, str], LastChange | None]
    ) -> scm_pb2.CommitContext | RpcError:
        """Return the context of a file at a commit, by its last change, or its error."""
        if (sha, path) not in changes:
            return commit_not_found(self._repository, sha)
        change = changes[sha, path]
        if change is None:
            text = f"repository {self._repository.id} has no source to read, and no stored commit touched {path}"
            return failed_precondition("SOURCE", f"repository {self._repository.id}", text)
        if change.kind == "D":
            return _file_not_found(sha, path)
        return self._context(sha, path, change.sha, _author_message(change.author))

    def _context(self, sha: str, path: str, blamed: str, author: scm_pb2.CommitAuthor | None) -> scm_pb2.CommitContext:
        return scm_pb2.CommitContext(
            repository_id=self._repository.id,
            commit_id=sha,
            filename=path,
            blame_commit_id=blamed,
            blame_author=author,
        )

    @staticmethod
    def _with_number(found: scm_pb2.CommitContext | RpcError, number: int) -> scm_pb2.CommitContext | RpcError:
        if isinstance(found, RpcError):
            return found
        context = scm_pb2.CommitContext(line_number=number)
        context.MergeFrom(found)
        return context


def _line_cache() -> LruCache[Line]:
    """Return blamed lines by repository, source, commit, path and number."""
    return kept_in_app("lines", lambda: LruCache(current_settings().blame_cache_bytes))


def _signature(blame: Blame) -> tuple[str, str, str]:
    return blame.sha, blame.author_name, blame.author_email


def _file_not_found(sha: str, path: str) -> RpcError:
    return RpcError(StatusCode.NOT_FOUND, f"file {path} does not exist at commit {sha}")


def _commit_message(row: Commit, is_truncated: bool) -> scm_pb2.Commit:
    """Make a commit with its author."""
    message = scm_pb2.Commit(
        id=str(row.id),
        repository_id=row.repository_id,
        key=row.key,
        message=row.message,
        author=_author_message(row.author),
        more_changes=is_truncated,
    )
    message.date_added.FromDatetime(row.date_added)
    return message


def _author_message(row: CommitAuthor | AuthorRow | None) -> scm_pb2.CommitAuthor | None:
    """Make an author; None, which leaves the field unset, for none."""
    if row is None:
        return None
    return scm_pb2.CommitAuthor(name=row.name, email=row.email or "", external_id=row.external_id or "")
