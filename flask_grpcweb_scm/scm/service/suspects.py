"""FindSuspectCommits: from the frames of a stack trace to the commits that their lines are blamed on."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from functools import partial

from flask_grpcweb_scm.pb import scm_pb2
from flask_grpcweb_scm.rpc import CallContext, RpcError, StatusCode
from flask_grpcweb_scm.scm.code_mappings.derive import derive
from flask_grpcweb_scm.scm.code_mappings.frames import StackFrame
from flask_grpcweb_scm.scm.code_mappings.repositories import READERS
from flask_grpcweb_scm.scm.code_mappings.tracebacks import LANGUAGES, parse_failure
from flask_grpcweb_scm.scm.database.models import Project, Repository, provider_name
from flask_grpcweb_scm.scm.pages import Pages
from flask_grpcweb_scm.scm.providers import ProviderError
from flask_grpcweb_scm.scm.queries.repositories import repositories_by_id
from flask_grpcweb_scm.scm.queries.tenancy import find_project
from flask_grpcweb_scm.scm.ranking import BlamedFrame, Suspicion, exclusion, rank
from flask_grpcweb_scm.scm.service.commit_contexts import LineBlamer, blame_options
from flask_grpcweb_scm.scm.service.commits import complete_sha
from flask_grpcweb_scm.scm.service.definition import attempt, service
from flask_grpcweb_scm.scm.sources.blame import DEFAULT_BLAME, BlameOptions
from flask_grpcweb_scm.scm.sources.source import ApiSource, Source
from flask_grpcweb_scm.scm.validation import MAX_PATH_CHARACTERS, sha_problem, validate

__all__ = ["find_suspect_commits"]

MAX_FRAMES = 1000  # in one request
MAX_RELEASE_COMMITS = 1000
MAX_STACKTRACE_CHARACTERS = 2**19
NAMED_LINES = 3  # in the reason of a suspect

LOOK_THROUGH = BlameOptions(detect_moves=True, ignore_whitespace=True)
"""Moves and changes of whitespace seldom break anything."""

Outcome = scm_pb2.PathOutcome


@service.FindSuspectCommits
def find_suspect_commits(
    request: scm_pb2.FindSuspectCommitsRequest, context: CallContext
) -> scm_pb2.FindSuspectCommitsResponse:
    """Return the commits that the frames of a stack trace are blamed on, and what became of each frame."""
    validate(
        frames=_frames_problem(request),
        stacktrace=_stacktrace_problem(request.stacktrace),
        release_commits=_releases_problem(request.release_commits),
        first_seen=_instant_problem(request),
        max_age=_duration_problem(request),
    )
    project = find_project(context, request.organization_id, request.project_id)
    releases = _find_releases(context, request)
    if request.frames:
        outcomes = [scm_pb2.FrameOutcome(frame=frame) for frame in request.frames]
    else:
        outcomes = _outcomes_in(request.stacktrace, context)
    checkouts = _find_files(project, outcomes, releases, request, context)
    _read(list(checkouts.values()), context)
    now = datetime.now(timezone.utc)
    first_seen = request.first_seen.ToDatetime(timezone.utc) if request.HasField("first_seen") else None
    max_age = request.max_age.ToTimedelta() if request.HasField("max_age") else None
    blamed = []
    for checkout in checkouts.values():
        for place, outcome in checkout.blame(outcomes):
            frame = _blamed_frame(place, outcome.blame)
            outcome.no_suspect_reason = exclusion(frame, first_seen=first_seen, now=now, max_age=max_age)
            if not outcome.no_suspect_reason:
                blamed.append(frame)
    blamed.sort(key=lambda frame: frame.place)
    pages = {checkout.repository.id: checkout.pages for checkout in checkouts.values()}
    subjects = {key: text for checkout in checkouts.values() for key, text in checkout.subjects().items()}
    suspects = [
        _suspect(suspicion, outcomes, pages, subjects, seen=first_seen is not None)
        for suspicion in rank(blamed, first_seen or now, seen=first_seen is not None)
    ]
    return scm_pb2.FindSuspectCommitsResponse(suspects=suspects, frames=outcomes)


# --- The request ---


def _frames_problem(request: scm_pb2.FindSuspectCommitsRequest) -> str | None:
    frames = request.frames
    if not frames:
        return None if request.stacktrace else "is empty, and so is stacktrace; send one of them"
    if request.stacktrace:
        return "is there beside stacktrace; send one of them"
    if len(frames) > MAX_FRAMES:
        return f"has {len(frames)} items; the limit is {MAX_FRAMES}: leave out those farthest from the failure"
    longest = max(len(text) for frame in frames for text in (frame.path, frame.module, frame.abs_path, frame.platform))
    if longest > MAX_PATH_CHARACTERS:
        return f"has a text of {longest} characters; the limit is {MAX_PATH_CHARACTERS}"
    return None


def _stacktrace_problem(text: str) -> str | None:
    if len(text) > MAX_STACKTRACE_CHARACTERS:
        limit = f"the limit is {MAX_STACKTRACE_CHARACTERS}: send the last stack trace alone"
        return f"has {len(text)} characters; {limit}"
    return None


def _releases_problem(releases: Collection[scm_pb2.ReleaseCommit]) -> str | None:
    if len(releases) > MAX_RELEASE_COMMITS:
        return f"has {len(releases)} items; the limit is {MAX_RELEASE_COMMITS}"
    named: set[int] = set()
    for release in releases:
        problem = sha_problem(release.commit_sha) if release.commit_sha else "is empty"
        if problem is not None:
            return f"of repository {release.repository_id}: commit_sha {problem}"
        if release.repository_id in named:
            return f"has repository {release.repository_id} twice; name the one commit that ran"
        named.add(release.repository_id)
    return None


def _instant_problem(request: scm_pb2.FindSuspectCommitsRequest) -> str | None:
    try:
        request.first_seen.ToDatetime(timezone.utc)
    except (ValueError, OverflowError):
        return f"is in no calendar: {request.first_seen.seconds} s and {request.first_seen.nanos} ns since 1970"
    return None


def _duration_problem(request: scm_pb2.FindSuspectCommitsRequest) -> str | None:
    age = request.max_age
    try:
        is_right = age.ToTimedelta() > timedelta() or not request.HasField("max_age")
    except (ValueError, OverflowError):
        is_right = False
    return None if is_right else f"must be more than nothing, got {age.seconds} s and {age.nanos} ns"


def _find_releases(context: CallContext, request: scm_pb2.FindSuspectCommitsRequest) -> Mapping[int, str]:
    """Return the commits that ran by repository.

    :raises RpcError: NOT_FOUND, when one of these is not the organization's.
    """
    wanted = {release.repository_id: release.commit_sha.lower() for release in request.release_commits}
    found = repositories_by_id(context, request.organization_id, wanted) if wanted else {}
    for row_id in wanted:
        if row_id not in found:
            text = f"repository {row_id} does not exist in organization {request.organization_id}"
            raise RpcError(StatusCode.NOT_FOUND, text)
    return wanted


def _outcomes_in(text: str, context: CallContext) -> list[scm_pb2.FrameOutcome]:
    """Return outcomes for the frames of the last stack trace in a text, of a deep one those nearest to the failure."""
    found = parse_failure(text)
    context.check_deadline()
    validate(stacktrace=None if found else f"has no frames of {LANGUAGES}; send the stack trace as it was printed")
    outcomes = []
    for each in found[-MAX_FRAMES:]:
        frame = scm_pb2.StackFrame(function=each.function, line=each.line)
        for name in ("path", "module", "abs_path", "platform"):
            setattr(frame, name, getattr(each.frame, name)[:MAX_PATH_CHARACTERS])
        if each.not_ours:
            frame.in_app = False
        outcomes.append(scm_pb2.FrameOutcome(frame=frame, no_suspect_reason=each.not_ours))
    return outcomes


# --- From frames to files, and to the commits that changed their lines ---


@dataclass(slots=True)
class _Checkout:
    """A repository at the commit that ran, and lines of it."""

    repository: Repository
    source: Source | None
    branch: str
    sha: str
    """Of the release; empty for the tip of the branch."""
    options: BlameOptions | None
    """None for what is best for suspects."""
    frames: list[tuple[int, str, int]]
    """Place, path and line."""
    pages: Pages = field(init=False)
    commit: str | RpcError = ""
    """At which the files are read: the full SHA, or why it is not known."""
    blamer: LineBlamer | None = None
    problems: dict[str, RpcError] = field(default_factory=dict)
    """By path."""

    def __post_init__(self) -> None:
        self.pages = Pages.of(self.repository.url, provider_name(self.repository.provider))

    def prepare(self) -> None:
        """Do what needs the database, before :meth:`read`."""
        if self.commit:
            return
        options = self.options
        if options is None:
            # Providers know no options: each commit of theirs would be an approximation.
            options = DEFAULT_BLAME if isinstance(self.source, ApiSource) else LOOK_THROUGH
        self.blamer = LineBlamer(self.repository, self.source, options)
        if self.sha or self.source is None:
            self.commit = attempt(partial(complete_sha, self.repository, self.source, self.sha))

    def read(self, context: CallContext) -> None:
        """Read the lines; any thread may do it."""
        if not self.commit and self.source is not None:
            self.commit = attempt(partial(self._tip, self.source))
        if isinstance(self.commit, RpcError) or self.blamer is None:
            return
        files: dict[str, set[int]] = {}
        for _, path, line in self.frames:
            files.setdefault(path, set()).add(line)
        for path, lines in files.items():
            context.check_deadline()
            problem = attempt(partial(self.blamer.read, self.commit, path, sorted(lines)))
            if problem is not None:
                self.problems[path] = problem

    def _tip(self, source: Source) -> str:
        tip = source.tip(self.branch)
        if tip is None:
            raise RpcError(StatusCode.NOT_FOUND, f"repository {self.repository.id} has no commits")
        return tip

    def blame(self, outcomes: Sequence[scm_pb2.FrameOutcome]) -> Iterable[tuple[int, scm_pb2.FrameOutcome]]:
        """Set in the outcomes of frames what was read; yield those with a commit to blame."""
        contexts = {} if self.blamer is None else self.blamer.contexts()
        for place, path, line in self.frames:
            outcome = outcomes[place]
            if isinstance(self.commit, RpcError):
                found: scm_pb2.CommitContext | RpcError = self.commit
            else:
                outcome.commit_id = self.commit
                outcome.source_url = self.pages.file(path, sha=self.commit, line=line)
                found = self.problems.get(path) or contexts[self.commit, path, line]
            if isinstance(found, RpcError):
                outcome.code, outcome.message = found.code, found.message
                outcome.no_suspect_reason = found.message
            else:
                outcome.blame.CopyFrom(found)
                yield place, outcome

    def subjects(self) -> dict[tuple[int, str], str]:
        """Return the first lines of messages, by repository and commit."""
        subjects = {} if self.blamer is None else self.blamer.subjects
        return {(self.repository.id, sha): subject for sha, subject in subjects.items()}


def _find_files(
    project: Project,
    outcomes: Sequence[scm_pb2.FrameOutcome],
    releases: Mapping[int, str],
    request: scm_pb2.FindSuspectCommitsRequest,
    context: CallContext,
) -> dict[tuple[int, str], _Checkout]:
    """Set in the outcomes which files the frames mean; return those to read, by repository and branch."""
    ours = []
    for place, outcome in enumerate(outcomes):
        frame = outcome.frame
        if frame.HasField("in_app") and not frame.in_app:
            text = frame.path or frame.module
            outcome.no_suspect_reason = outcome.no_suspect_reason or "it is not the app's own code: in_app is false"
            outcome.path.CopyFrom(
                Outcome(path=text, outcome=Outcome.OUTCOME_UNSUPPORTED, reason=outcome.no_suspect_reason)
            )
        else:
            ours.append(place)
    derivation = derive(
        project,
        [_stack_frame(outcomes[place].frame, project) for place in ours],
        dry_run=request.dry_run,
        context=context,
    )
    wanted: dict[tuple[int, str], list[tuple[int, str, int]]] = {}
    for place, path in zip(ours, derivation.outcomes, strict=True):
        outcome = outcomes[place]
        outcome.path.CopyFrom(path)
        if path.outcome == Outcome.OUTCOME_UNSUPPORTED and not outcome.frame.HasField("in_app"):
            outcome.frame.in_app = False
        if not path.source_path:
            outcome.no_suspect_reason = path.reason
            continue
        outcome.frame.in_app = True
        if outcome.frame.line < 1:
            outcome.no_suspect_reason = "its line is unknown"
            continue
        branch = "" if path.repository_id in releases else path.branch
        wanted.setdefault((path.repository_id, branch), []).append((place, path.source_path, outcome.frame.line))
    found = derivation.trees.sources({repository_id for repository_id, _ in wanted}) if wanted else {}
    options = blame_options(request.blame_options) if request.HasField("blame_options") else None
    checkouts = {}
    for (repository_id, branch), frames in wanted.items():
        row, source = found[repository_id]
        checkout = _Checkout(row, None, branch or row.default_branch, releases.get(repository_id, ""), options, frames)
        if isinstance(source, ProviderError):
            checkout.commit = service.declared_error(source) or RpcError(StatusCode.UNAVAILABLE, str(source))
        else:
            checkout.source = source
        checkouts[repository_id, branch] = checkout
    return checkouts


def _stack_frame(frame: scm_pb2.StackFrame, project: Project) -> StackFrame:
    return StackFrame(frame.path, frame.module, frame.abs_path, frame.platform or project.platform or "")


def _read(checkouts: Sequence[_Checkout], context: CallContext) -> None:
    for checkout in checkouts:
        checkout.prepare()
    if len(checkouts) > 1:
        with ThreadPoolExecutor(min(READERS, len(checkouts))) as pool:
            contexts = [copy_context() for _ in checkouts]
            list(pool.map(lambda copied, checkout: copied.run(checkout.read, context), contexts, checkouts))
    else:
        for checkout in checkouts:
            checkout.read(context)
    context.check_deadline()


# --- Suspects ---


def _blamed_frame(place: int, blame: scm_pb2.CommitContext) -> BlamedFrame:
    return BlamedFrame(
        place,
        (blame.repository_id, blame.filename, blame.line_number),
        blame.blame_commit_id,
        blame.blame_date.ToDatetime(timezone.utc) if blame.HasField("blame_date") else None,
        blame.approximate,
    )


def _suspect(
    suspicion: Suspicion,
    outcomes: Sequence[scm_pb2.FrameOutcome],
    pages: Mapping[int, Pages],
    subjects: Mapping[tuple[int, str], str],
    *,
    seen: bool,
) -> scm_pb2.SuspectCommit:
    nearest = outcomes[suspicion.frames[0].place].blame
    suspect = scm_pb2.SuspectCommit(
        repository_id=nearest.repository_id,
        commit_id=nearest.blame_commit_id,
        author=nearest.blame_author if nearest.HasField("blame_author") else None,
        date=nearest.blame_date if nearest.HasField("blame_date") else None,
        subject=subjects.get(suspicion.frames[0].commit, ""),
        url=pages[nearest.repository_id].commit(nearest.blame_commit_id),
        frames=[frame.place for frame in suspicion.frames],
        score=suspicion.score,
        reason=_reason(suspicion, nearest, seen=seen),
    )
    if suspicion.age is not None:
        suspect.age.FromTimedelta(suspicion.age)
    return suspect


def _reason(suspicion: Suspicion, nearest: scm_pb2.CommitContext, *, seen: bool) -> str:
    """Say in a sentence which lines of which frames a commit changed last, and when."""
    places: dict[str, list[int]] = {}
    for frame in suspicion.frames:
        _, path, number = frame.line
        places.setdefault(f"line {number} of {path}", []).append(frame.place)
    named = [f"{line} ({_frames_text(frames)})" for line, frames in [*places.items()][:NAMED_LINES]]
    more = len(places) - len(named)
    lines = ", ".join(named) + (f" and {more} more" if more > 0 else "")
    where = "the nearest to the failure" if not suspicion.nearest else f"behind {suspicion.nearest} nearer to it"
    when = "at an unknown date" if suspicion.age is None else _age_text(suspicion.age, seen=seen)
    doubt = f"; approximately: {nearest.approximate_reason}" if suspicion.approximate else ""
    return f"it last changed {lines}, {where}, {when}{doubt}"


def _frames_text(places: Sequence[int]) -> str:
    return f"frame {places[0]}" if len(places) == 1 else f"frames {places[-1]} to {places[0]}"


def _age_text(age: timedelta, *, seen: bool) -> str:
    hours = age.total_seconds() / 3600
    if age.days >= 2 * 365:
        text = f"{age.days / 365.25:.1f} years"
    elif age.days >= 2:
        text = f"{age.days} days"
    else:
        text = f"{hours:.0f} hours" if hours >= 2 else "less than 2 hours"
    return f"{text} before the error was seen first" if seen else f"{text} ago"
