"""FindSuspectCommits: the commits that the frames of a stack trace are blamed on, ranked."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta, timezone

from flask_grpcweb_scm.pb import scm_pb2
from flask_grpcweb_scm.rpc import CallContext, RpcError, StatusCode
from flask_grpcweb_scm.scm.queries.repositories import repositories_by_id
from flask_grpcweb_scm.scm.queries.tenancy import find_project
from flask_grpcweb_scm.scm.ranking import BlamedFrame, Suspicion, exclusion, rank
from flask_grpcweb_scm.scm.service.blamed_frames import Checkout, blame_frames
from flask_grpcweb_scm.scm.service.commit_contexts import blame_options
from flask_grpcweb_scm.scm.service.definition import service
from flask_grpcweb_scm.scm.validation import MAX_PATH_CHARACTERS, invalid_argument, sha_problem, validate

__all__ = ["MAX_STACKTRACE_CHARACTERS", "MAX_STACKTRACE_LINES", "find_suspect_commits"]

MAX_FRAMES = 2000  # in one request; a Java virtual machine prints 1024 of an endless recursion
MAX_RELEASE_COMMITS = 1000
MAX_STACKTRACE_CHARACTERS = 2**18
MAX_STACKTRACE_LINES = 5000
NAMED_LINES = 3  # in the reason of a suspect


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
    checkouts = blame_frames(
        project,
        outcomes,
        releases,
        options=blame_options(request.blame_options) if request.HasField("blame_options") else None,
        dry_run=request.dry_run,
        context=context,
    )
    now = datetime.now(timezone.utc)
    first_seen = request.first_seen.ToDatetime(timezone.utc) if request.HasField("first_seen") else None
    max_age = request.max_age.ToTimedelta() if request.HasField("max_age") else None
    blamed = []
    for place, outcome in enumerate(outcomes):
        if outcome.HasField("blame"):
            frame = _blamed_frame(place, outcome.blame)
            outcome.no_suspect_reason = exclusion(frame, first_seen=first_seen, now=now, max_age=max_age)
            if not outcome.no_suspect_reason:
                blamed.append(frame)
    by_repository = {checkout.repository.id: checkout for checkout in checkouts}
    suspects = []
    for suspicion in rank(blamed, first_seen or now, seen=first_seen is not None):
        blame = outcomes[suspicion.frames[0].place].blame
        suspect = _suspect(suspicion, blame, by_repository[blame.repository_id])
        suspect.reason = _reason(suspicion, blame, seen=first_seen is not None)
        suspects.append(suspect)
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
    # Its patterns, and those of no other method, take a tenth of the start of a worker.
    from flask_grpcweb_scm.scm.code_mappings.tracebacks import LANGUAGES, TooManyLines, parse_failure

    try:
        found = parse_failure(text, max_lines=MAX_STACKTRACE_LINES)
    except TooManyLines:
        raise invalid_argument(
            {"stacktrace": f"has more than {MAX_STACKTRACE_LINES} lines: send the last stack trace alone"}
        ) from None
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


# --- Suspects ---


def _blamed_frame(place: int, blame: scm_pb2.CommitContext) -> BlamedFrame:
    return BlamedFrame(
        place,
        (blame.repository_id, blame.filename, blame.line_number),
        blame.blame_commit_id,
        blame.blame_date.ToDatetime(timezone.utc) if blame.HasField("blame_date") else None,
        blame.approximate,
    )


def _suspect(suspicion: Suspicion, blame: scm_pb2.CommitContext, checkout: Checkout) -> scm_pb2.SuspectCommit:
    suspect = scm_pb2.SuspectCommit(
        repository_id=blame.repository_id,
        commit_id=blame.blame_commit_id,
        author=blame.blame_author if blame.HasField("blame_author") else None,
        date=blame.blame_date if blame.HasField("blame_date") else None,
        subject=checkout.subjects.get(blame.blame_commit_id, ""),
        url=checkout.pages.commit(blame.blame_commit_id),
        frames=[frame.place for frame in suspicion.frames],
        score=suspicion.score,
    )
    if suspicion.age is not None:
        suspect.age.FromTimedelta(suspicion.age)
    return suspect


def _reason(suspicion: Suspicion, blame: scm_pb2.CommitContext, *, seen: bool) -> str:
    """Say in a sentence which lines of which frames a commit changed last, and when."""
    places: dict[str, list[int]] = {}
    for frame in suspicion.frames:
        _, path, number = frame.line
        places.setdefault(f"line {number} of {path}", []).append(frame.place)
    named = [f"{line} ({_frames_text(frames)})" for line, frames in [*places.items()][:NAMED_LINES]]
    if len(places) > NAMED_LINES:
        named.append(f"{len(places) - NAMED_LINES} more")
    lines = " and ".join([", ".join(named[:-1]), named[-1]] if len(named) > 1 else named)
    when = "at an unknown date" if suspicion.age is None else _age_text(suspicion.age, seen=seen)
    nearest = "the nearest to the failure"
    if suspicion.nearest:
        nearest = f"{suspicion.nearest} {'line' if suspicion.nearest == 1 else 'lines'} behind {nearest}"
    doubt = f"; approximately: {blame.approximate_reason}" if suspicion.approximate else ""
    return f"it last changed {lines}, {nearest}, {when}{doubt}"


def _frames_text(places: Sequence[int]) -> str:
    return f"frame {places[0]}" if len(places) == 1 else f"frames {places[-1]} to {places[0]}"


def _age_text(age: timedelta, *, seen: bool) -> str:
    hours = age.total_seconds() / 3600
    if age.days >= 2 * 365:
        text = f"{age.days / 365.25:.1f} years"
    elif age.days >= 2:
        text = f"{age.days} days"
    else:
        text = f"{int(hours)} hours" if hours >= 2 else "less than 2 hours"
    return f"{text} before the error was seen first" if seen else f"{text} ago"
