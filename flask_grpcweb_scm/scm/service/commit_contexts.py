"""Commits that last changed lines: from memory, from the source of a repository, or else by its stored commits."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache, cached_property, partial

from flask_grpcweb_scm.observe import tell_of_cache
from flask_grpcweb_scm.pb import scm_pb2
from flask_grpcweb_scm.rpc import CallContext, RpcError, StatusCode
from flask_grpcweb_scm.scm.database.models import Repository
from flask_grpcweb_scm.scm.lru_cache import LruCache, memory_of
from flask_grpcweb_scm.scm.mirrors.on_demand import open_or_fetch_source
from flask_grpcweb_scm.scm.queries.commits import (
    AuthorRow,
    BlamedCommit,
    FileAtCommit,
    LastChange,
    find_authors,
    last_changes,
)
from flask_grpcweb_scm.scm.queries.tenancy import find_repository
from flask_grpcweb_scm.scm.service.commits import author_message, commit_not_found, complete_sha, complete_shas
from flask_grpcweb_scm.scm.service.definition import attempt, service
from flask_grpcweb_scm.scm.settings import current_settings, kept_in_app
from flask_grpcweb_scm.scm.sources.blame import (
    CUT_OFF,
    DEFAULT_BLAME,
    IGNORE_FILE,
    NOTHING_IGNORED,
    Blame,
    BlameOptions,
    IgnoredRevisions,
    Line,
    NoSuchCommit,
    summary,
)
from flask_grpcweb_scm.scm.sources.source import Source
from flask_grpcweb_scm.scm.validation import failed_precondition, line_problem, path_problem, sha_problem, validate

__all__ = [
    "BlamedLine",
    "LineBlamer",
    "batch_get_commit_context",
    "blame_options",
    "get_commit_context",
]

BlamedLine = tuple[str, str, int]
"""A commit, the path of a file, and the number of a line."""

MAX_LINES = 200  # of one BatchGetCommitContext
IGNORED_SHARE = 1 / 16  # of the memory for lines


@service.GetCommitContext
def get_commit_context(request: scm_pb2.GetCommitContextRequest, context: CallContext) -> scm_pb2.CommitContext:
    """Return the commit that last changed a line, from the source or else from the stored file changes."""
    _check_line(request.commit_sha, request.filepath, request.line_number)
    repository = find_repository(context, request.repository_id)
    source = open_or_fetch_source(repository, context)
    sha = complete_sha(repository, source, request.commit_sha.lower())
    blamer = LineBlamer(repository, source, blame_options(request.blame_options))
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
    source = open_or_fetch_source(repository, context)
    blamer = LineBlamer(repository, source, blame_options(request.blame_options))
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
        source.prepare(filter(None, shas))
    complete = complete_shas(repository, source, shas)
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


def blame_options(message: scm_pb2.BlameOptions) -> BlameOptions:
    """Read the options of a request; without any, all are off."""
    return BlameOptions(message.detect_moves, message.ignore_whitespace, message.include_ignored_revisions)


def _outcome(found: scm_pb2.CommitContext | RpcError) -> scm_pb2.CommitContextOutcome:
    if isinstance(found, RpcError):
        return scm_pb2.CommitContextOutcome(code=found.code, message=found.message)
    return scm_pb2.CommitContextOutcome(context=found)


class LineBlamer:
    """Finds the commits that last changed lines of a repository, with no request made twice.

    Lines of any number of files are read first; what the database has about all of them takes few statements then.
    """

    def __init__(self, repository: Repository, source: Source | None, options: BlameOptions = DEFAULT_BLAME) -> None:
        self._repository = repository
        self._source = source
        self._options = options
        self._cache = _line_cache()
        self._has_commit = cache(lambda sha: source is not None and source.has_commit(sha))
        self._absent: set[str] = set()
        """Commits that the source does not have."""
        self._lines: dict[BlamedLine, Line | None] = {}
        """None for a line that its file does not have."""
        self._stored: dict[tuple[str, str], list[int]] = {}
        """Numbers of lines that the source does not know, by commit and path."""
        self.subjects: dict[str, str] = {}
        """The first lines of the messages of blamed commits, by id, after :meth:`contexts`."""

    def read(self, sha: str, path: str, numbers: Sequence[int]) -> None:
        """Read lines of a file at a commit from the source, if that has the commit.

        :raises RpcError: when there is no such file.
        """
        if self._source is not None and sha not in self._absent:
            try:
                lines = self._cached_lines(self._source, sha, path, numbers)
            except NoSuchCommit:
                self._absent.add(sha)
            else:
                self._lines.update({(sha, path, number): lines.get(number) for number in numbers})
                return
        self._stored.setdefault((sha, path), []).extend(numbers)

    def _cached_lines(self, source: Source, sha: str, path: str, numbers: Sequence[int]) -> dict[int, Line]:
        # What is ignored is in the key of its own.
        options = replace(self._options, include_ignored_revisions=False)
        file = (self._repository.id, source.identity, sha, path, options, self._ignored.key)
        cached = {number: self._cache.get((*file, number)) for number in numbers}
        lines = {number: line for number, line in cached.items() if line is not None}
        missing = [number for number in numbers if number not in lines]
        tell_of_cache("lines", not missing)
        if missing:
            found = source.lines(sha, path, missing, self._options, self._ignored)
            if found is None:
                raise _file_not_found(sha, path)
            for number, line in found.items():
                lines[number] = line
                # A shallow clone may be deepened.
                if line.blame.approximate != CUT_OFF:
                    key = (*file, number)
                    self._cache.put(key, line, memory_of(key, line))
        elif not self._has_commit(sha):
            raise NoSuchCommit(sha)
        return lines

    @cached_property
    def _ignored(self) -> IgnoredRevisions:
        source, branch = self._source, self._repository.default_branch
        if source is None or self._options.include_ignored_revisions:
            return NOTHING_IGNORED
        if not source.tree_seconds:
            return source.ignored_revisions(branch)
        key = (self._repository.id, source.identity, branch, int(time.time() / source.tree_seconds))
        ignored = (cached := _ignored_cache().get(key)) or source.ignored_revisions(branch)
        if cached is None:
            _ignored_cache().put(key, ignored, memory_of(key, ignored))
        return ignored

    def contexts(self) -> dict[BlamedLine, scm_pb2.CommitContext | RpcError]:
        """Return the context of each line that :meth:`read` was called for, or its error."""
        return self.contexts_of([self])[0]

    @staticmethod
    def contexts_of(blamers: Sequence[LineBlamer]) -> list[dict[BlamedLine, scm_pb2.CommitContext | RpcError]]:
        """Return the result of :meth:`contexts` for each of several repositories of one organization."""
        blamed = {blamer._blamed(line.blame) for blamer in blamers for line in blamer._lines.values() if line}
        files = {(blamer._repository.id, *file) for blamer in blamers for file in blamer._stored}
        authors = find_authors(blamers[0]._repository.organization_id, blamed) if blamed else {}
        changes = last_changes(files)
        return [blamer._contexts(authors, changes) for blamer in blamers]

    def _contexts(
        self, authors: Mapping[BlamedCommit, AuthorRow], changes: Mapping[FileAtCommit, LastChange | None]
    ) -> dict[BlamedLine, scm_pb2.CommitContext | RpcError]:
        contexts = {key: self._of_line(key, line, authors) for key, line in self._lines.items()}
        for (sha, path), numbers in self._stored.items():
            changed = self._of_change(sha, path, changes)
            contexts.update({(sha, path, number): self._with_number(changed, number) for number in numbers})
        return contexts

    def _of_line(
        self, key: BlamedLine, line: Line | None, authors: Mapping[BlamedCommit, AuthorRow]
    ) -> scm_pb2.CommitContext | RpcError:
        sha, path, number = key
        if line is None:
            return RpcError(StatusCode.NOT_FOUND, f"{path} has no line {number} at commit {sha}")
        blame = line.blame
        known = author_message(authors.get(self._blamed(blame)))
        author = known or scm_pb2.CommitAuthor(name=blame.author_name, email=blame.author_email)
        reasons = [blame.approximate] if blame.approximate else []
        if self._ignored.is_cut:
            reasons.append(f"of {IGNORE_FILE}, only the beginning could be read")
        context = self._context(sha, path, blame.sha, author, "; ".join(reasons))
        context.line_number, context.code_snippet = number, line.snippet
        if blame.date is not None:
            context.blame_date.FromDatetime(blame.date)
        self.subjects[blame.sha] = blame.subject
        return context

    def _of_change(
        self, sha: str, path: str, changes: Mapping[FileAtCommit, LastChange | None]
    ) -> scm_pb2.CommitContext | RpcError:
        """Return the context of a file at a commit, by its last change, or its error."""
        file = (self._repository.id, sha, path)
        if file not in changes:
            return commit_not_found(self._repository, sha)
        change = changes[file]
        if change is None:
            text = f"repository {self._repository.id} has no source to read, and no stored commit touched {path}"
            return failed_precondition("SOURCE", f"repository {self._repository.id}", text)
        if change.kind == "D":
            return _file_not_found(sha, path)
        has_source = f"the source of repository {self._repository.id} does not have commit {sha}"
        reason = has_source if self._source else f"repository {self._repository.id} has no source to read"
        reason += ": this is the last of its stored commits that changed the file, perhaps elsewhere"
        context = self._context(sha, path, change.sha, author_message(change.author), reason)
        context.blame_date.FromDatetime(change.date)
        self.subjects[change.sha] = summary(change.message)
        return context

    def _context(
        self, sha: str, path: str, blamed: str, author: scm_pb2.CommitAuthor | None, reason: str
    ) -> scm_pb2.CommitContext:
        return scm_pb2.CommitContext(
            repository_id=self._repository.id,
            commit_id=sha,
            filename=path,
            blame_commit_id=blamed,
            blame_author=author,
            approximate=bool(reason),
            approximate_reason=reason,
        )

    def _blamed(self, blame: Blame) -> BlamedCommit:
        return BlamedCommit(self._repository.id, blame.sha, blame.author_name, blame.author_email)

    @staticmethod
    def _with_number(found: scm_pb2.CommitContext | RpcError, number: int) -> scm_pb2.CommitContext | RpcError:
        if isinstance(found, RpcError):
            return found
        context = scm_pb2.CommitContext(line_number=number)
        context.MergeFrom(found)
        return context


def _line_cache() -> LruCache[Line]:
    """Return blamed lines by repository, source, commit, path, what is looked through, and number."""
    return kept_in_app("lines", lambda: LruCache(current_settings().blame_cache_bytes))


def _ignored_cache() -> LruCache[IgnoredRevisions]:
    """Return the ignored revisions of providers, by repository, source, branch and minute."""
    return kept_in_app("ignored", lambda: LruCache(int(current_settings().blame_cache_bytes * IGNORED_SHARE)))


def _file_not_found(sha: str, path: str) -> RpcError:
    return RpcError(StatusCode.NOT_FOUND, f"file {path} does not exist at commit {sha}")
