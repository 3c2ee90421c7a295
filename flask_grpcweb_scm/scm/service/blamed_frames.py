"""Frames of stack traces: from their files in repositories to the commits that last changed their lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field
from functools import partial

from flask_grpcweb_scm.pb import scm_pb2
from flask_grpcweb_scm.rpc import CallContext, RpcError, StatusCode
from flask_grpcweb_scm.scm.code_mappings.derive import derive
from flask_grpcweb_scm.scm.code_mappings.frames import NOT_IN_APP, StackFrame
from flask_grpcweb_scm.scm.code_mappings.repositories import READERS
from flask_grpcweb_scm.scm.database.models import Project, Repository
from flask_grpcweb_scm.scm.database.values import provider_name
from flask_grpcweb_scm.scm.pages import Pages
from flask_grpcweb_scm.scm.service.commit_contexts import BlamedLine, LineBlamer
from flask_grpcweb_scm.scm.service.commits import Naming, choose_sha, stored_shas
from flask_grpcweb_scm.scm.service.definition import attempt
from flask_grpcweb_scm.scm.sources import BloblessMirror
from flask_grpcweb_scm.scm.sources.blame import DEFAULT_BLAME, BlameOptions
from flask_grpcweb_scm.scm.sources.source import ApiSource, Source

__all__ = ["Checkout", "blame_frames"]

LOOK_THROUGH = BlameOptions(detect_moves=True, ignore_whitespace=True, pursue_moves=True)
"""Moves and changes of whitespace seldom break anything."""
MAX_FILES = 100  # to be blamed in one call

Outcome = scm_pb2.PathOutcome
Contexts = Mapping[BlamedLine, "scm_pb2.CommitContext | RpcError"]


@dataclass(slots=True, eq=False)
class Checkout:
    """A repository at the commit that ran, and the lines of it that frames name."""

    repository: Repository
    source: Source | None
    sha: str
    """Of the release, or the beginning of it; empty for the tip of the branch."""
    branch: str
    blamer: LineBlamer | None
    """None when the source cannot be opened."""
    problem: RpcError | None = None
    """Reason why no line can be read."""
    commit: str = ""
    """The full SHA, once it is known."""
    frames: list[tuple[int, str, int]] = field(default_factory=list)
    """Place, path and line."""
    problems: dict[str, RpcError] = field(default_factory=dict)
    """By path: reasons why its lines cannot be read."""

    @property
    def naming(self) -> Naming:
        """The commit, as it is named."""
        return self.repository, self.source, self.sha

    @property
    def pages(self) -> Pages:
        """The pages of the provider."""
        return Pages.of(self.repository.url, provider_name(self.repository.provider))

    @property
    def subjects(self) -> Mapping[str, str]:
        """The first lines of messages, by commit, of those that lines are blamed on."""
        return {} if self.blamer is None else self.blamer.subjects

    def read(self, stored: Mapping[tuple[int, str], Sequence[str]], context: CallContext) -> None:
        """Read the lines from the source; any thread may do it.

        :param stored: what the database knows of names of commits.
        """
        if self.blamer is None:
            return
        commit = attempt(partial(choose_sha, *self.naming, stored, self.branch))
        if isinstance(commit, RpcError):
            self.problem = commit
            return
        self.commit = commit
        files: dict[str, set[int]] = {}
        for _, path, line in self.frames:
            files.setdefault(path, set()).add(line)
        for path, lines in files.items():
            context.check_deadline()
            problem = attempt(partial(self.blamer.read, commit, path, sorted(lines)))
            if problem is not None:
                self.problems[path] = problem

    def describe(self, contexts: Contexts, outcomes: Sequence[scm_pb2.FrameOutcome]) -> None:
        """Set in the outcomes of the frames what was read."""
        pages = self.pages
        for place, path, line in self.frames:
            outcome = outcomes[place]
            found = self.problem or self.problems.get(path) or contexts[self.commit, path, line]
            outcome.commit_id = self.commit
            if isinstance(found, RpcError):
                outcome.code, outcome.message = found.code, found.message
                outcome.no_suspect_reason = found.message
                if found.code == StatusCode.NOT_FOUND and not self.sha and self.commit:
                    outcome.no_suspect_reason += "; it may have changed since: name what ran in release_commits"
            else:
                outcome.blame.CopyFrom(found)
            if outcome.code != StatusCode.NOT_FOUND:
                outcome.source_url = pages.file(path, sha=self.commit, line=line)


def blame_frames(
    project: Project,
    outcomes: Sequence[scm_pb2.FrameOutcome],
    releases: Mapping[int, str],
    *,
    options: BlameOptions | None,
    dry_run: bool,
    context: CallContext,
) -> list[Checkout]:
    """Set in the outcomes of frames their files, and the commits that last changed their lines.

    :param releases: SHAs, or beginnings of them, by repository.
    :param options: None for what is best where moves and whitespace can be looked through.
    :param dry_run: store no code mappings.
    """
    checkouts = _find_files(project, outcomes, releases, options=options, dry_run=dry_run, context=context)
    readable = [checkout for checkout in checkouts if checkout.blamer is not None]
    stored = stored_shas([checkout.naming for checkout in readable])
    _read_all(readable, stored, context)
    blamers = [checkout.blamer for checkout in checkouts if checkout.blamer is not None]
    found: dict[LineBlamer | None, Contexts] = {None: {}}
    if blamers:
        found.update(zip(blamers, LineBlamer.contexts_of(blamers), strict=True))
    for checkout in checkouts:
        checkout.describe(found[checkout.blamer], outcomes)
    return checkouts


def _read_all(
    checkouts: Sequence[Checkout], stored: Mapping[tuple[int, str], Sequence[str]], context: CallContext
) -> None:
    """Read the lines of several repositories at a time."""
    by_repository: dict[int, list[Checkout]] = {}
    for checkout in checkouts:
        by_repository.setdefault(checkout.repository.id, []).append(checkout)

    def read(of_repository: Sequence[Checkout]) -> None:
        # One after the other: they have one source.
        for checkout in of_repository:
            checkout.read(stored, context)

    jobs = [*by_repository.values()]
    if len(jobs) > 1:
        with ThreadPoolExecutor(min(READERS, len(jobs))) as pool:
            # In the context of the call: what it runs belongs to its span.
            contexts = [copy_context() for _ in jobs]
            list(pool.map(lambda copied, job: copied.run(read, job), contexts, jobs))
    else:
        for job in jobs:  # in this thread: starting another one is slow
            read(job)
    context.check_deadline()


def _find_files(
    project: Project,
    outcomes: Sequence[scm_pb2.FrameOutcome],
    releases: Mapping[int, str],
    *,
    options: BlameOptions | None,
    dry_run: bool,
    context: CallContext,
) -> list[Checkout]:
    """Set in the outcomes of frames which files they mean; return these by repository and commit."""
    ours = [place for place, outcome in enumerate(outcomes) if _may_be_ours(outcome)]
    frames = [_stack_frame(outcomes[place].frame, project) for place in ours]
    derivation = derive(project, frames, dry_run=dry_run, context=context)
    paths = derivation.outcomes
    if releases and paths:
        released = derive(project, frames, dry_run=True, context=context, commits=releases).outcomes
        paths = [
            then if then.repository_id in releases and _file(then) != _file(now) else now
            for now, then in zip(paths, released, strict=True)
        ]
    wanted: dict[tuple[int, str], list[tuple[int, str, int]]] = {}
    for place, path in zip(ours, paths, strict=True):
        outcome = outcomes[place]
        frame = outcome.frame
        outcome.path.CopyFrom(path)
        if path.outcome == Outcome.OUTCOME_UNSUPPORTED and not frame.HasField("in_app"):
            frame.in_app = False
        if not path.source_path:
            outcome.no_suspect_reason = _of_bundle(frame.path) + path.reason
            continue
        frame.in_app = True
        if frame.line < 1:
            outcome.no_suspect_reason = "its line is unknown"
            continue
        branch = "" if path.repository_id in releases else path.branch
        wanted.setdefault((path.repository_id, branch), []).append((place, path.source_path, frame.line))
    _limit_files(wanted, outcomes)
    sources = derivation.trees.sources({repository_id for repository_id, _ in wanted}) if wanted else {}
    checkouts = []
    for (repository_id, branch), lines in wanted.items():
        if repository_id not in sources:  # it was deleted a moment ago
            for place, _, _ in lines:
                outcomes[place].no_suspect_reason = f"repository {repository_id} does not exist any more"
            continue
        row, source = sources[repository_id]
        sha = releases.get(repository_id, "")
        checkout = Checkout(row, None, sha, branch or row.default_branch, None, frames=lines)
        if isinstance(source, Exception):
            checkout.problem = attempt(partial(_fail, source))
        else:
            # Providers know no options: with any, each commit of theirs would be approximate.
            best = DEFAULT_BLAME if isinstance(source, ApiSource | BloblessMirror) else LOOK_THROUGH
            checkout.source = source
            checkout.blamer = LineBlamer(row, source, best if options is None else options)
        checkouts.append(checkout)
    return checkouts


def _limit_files(
    wanted: dict[tuple[int, str], list[tuple[int, str, int]]], outcomes: Sequence[scm_pb2.FrameOutcome]
) -> None:
    """Leave out the frames of too many files, those farthest from the failure."""
    nearest = sorted(((place, key, path) for key, lines in wanted.items() for place, path, _ in lines), reverse=True)
    files = [*dict.fromkeys((key, path) for _, key, path in nearest)]
    if len(files) <= MAX_FILES:
        return
    blamed = set(files[:MAX_FILES])
    for key, lines in [*wanted.items()]:
        for place, path, _ in lines:
            if (key, path) not in blamed:
                outcomes[place].no_suspect_reason = f"{MAX_FILES} files are nearer to the failure; no more are blamed"
        wanted[key] = [line for line in lines if (key, line[1]) in blamed]
        if not wanted[key]:
            del wanted[key]


def _of_bundle(path: str) -> str:
    # As late as the reader of stack traces itself.
    from flask_grpcweb_scm.scm.code_mappings.tracebacks.javascript import is_bundle

    return "it is a bundle whose source map is missing; " if is_bundle(path) else ""


def _may_be_ours(outcome: scm_pb2.FrameOutcome) -> bool:
    """Tell whether a frame may be of the app; if not, set that in its outcome."""
    frame = outcome.frame
    if not frame.HasField("in_app") or frame.in_app:
        return True
    outcome.no_suspect_reason = outcome.no_suspect_reason or NOT_IN_APP
    path = Outcome(path=frame.path or frame.module, outcome=Outcome.OUTCOME_UNSUPPORTED)
    path.reason = outcome.no_suspect_reason
    outcome.path.CopyFrom(path)
    return False


def _file(path: scm_pb2.PathOutcome) -> tuple[int, str]:
    return path.repository_id, path.source_path


def _stack_frame(frame: scm_pb2.StackFrame, project: Project) -> StackFrame:
    read = StackFrame(frame.path, frame.module, frame.abs_path, frame.platform or project.platform or "")
    if read.names_module and frame.module and "." not in frame.module and "." in frame.abs_path:
        # A class without a package may be anywhere; what is in just one place is found by its name.
        return StackFrame(frame.abs_path)
    return read


def _fail(error: Exception) -> None:
    raise error
