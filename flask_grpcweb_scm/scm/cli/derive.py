"""``flask scm derive``: from a stack trace to files, code mappings and suspected commits."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, TextIO

import click
import sqlalchemy as sa

from flask_grpcweb_scm.pb import scm_pb2
from flask_grpcweb_scm.rpc import CallContext, RpcError, printable
from flask_grpcweb_scm.scm.cli.commands import command, fail, print_result, project_named
from flask_grpcweb_scm.scm.code_mappings.derive import derive
from flask_grpcweb_scm.scm.code_mappings.frames import StackFrame
from flask_grpcweb_scm.scm.code_mappings.tracebacks import LANGUAGES, TracebackFrame, parse_traceback
from flask_grpcweb_scm.scm.database.db import db
from flask_grpcweb_scm.scm.database.models import CodeMapping, Project, Repository
from flask_grpcweb_scm.scm.service.suspects import MAX_STACKTRACE_CHARACTERS, MAX_STACKTRACE_LINES, find_suspect_commits

__all__ = ["derive_command"]

SHORT_SHA = 12
NO_FRAMES = f"the text has no frames of {LANGUAGES}; give the stack trace as it was printed"


class Release(click.ParamType):  # type: ignore[type-arg]  # generic in newer versions of click only
    """``REPOSITORY=SHA``."""

    name = "release"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """Read the text of an option."""
        repository, equals, sha = str(value).rpartition("=")
        if not equals:
            self.fail(f"{value!r} is not REPOSITORY=SHA", param, ctx)
        return repository, sha


class Instant(click.ParamType):  # type: ignore[type-arg]  # see above
    """A date, or a date with time, of ISO 8601."""

    name = "instant"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Read the text of an option."""
        try:
            moment = datetime.fromisoformat(str(value).replace("Z", "+00:00"))
            return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).astimezone(timezone.utc)
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is no date as 2026-01-31 or 2026-01-31T12:00:00Z", param, ctx)


@command("derive")
@click.argument("organization", metavar="ORG")
@click.argument("project", metavar="PROJECT")
@click.argument("paths", metavar="[PATH[:LINE]]...", nargs=-1)
@click.option(
    "--traceback",
    "file",
    type=click.File(encoding="utf-8", errors="replace"),
    help=f"Text with stack traces of {LANGUAGES}; - for standard input.",
)
@click.option("--dry-run", is_flag=True, help="Store nothing.")
@click.option("--suspects", is_flag=True, help="Find the commits that probably broke it, too.")
@click.option(
    "--release", type=Release(), multiple=True, metavar="REPOSITORY=SHA",
    help="The commit that ran, of a repository by id or name. Default: the newest. Can be repeated.",
)  # fmt: skip
@click.option("--first-seen", type=Instant(), metavar="TIME", help="When it failed first: no suspect is younger.")
@click.option(
    "--max-age", type=click.FloatRange(min=0, min_open=True), metavar="DAYS", help="No suspect is older then."
)
def derive_command(
    organization: str,
    project: str,
    paths: Sequence[str],
    file: TextIO | None,
    dry_run: bool,
    suspects: bool,
    release: Sequence[tuple[str, str]],
    first_seen: datetime | None,
    max_age: float | None,
    as_json: bool,
) -> None:
    """Derive code mappings from pasted stack traces, and say of every frame what was found and why not.

    With --suspects it is the last stack trace of the text, or PATH:LINE of each frame with the failing one last.
    """
    row = project_named(organization, project)
    if (file is None) == (not paths):
        raise click.UsageError("give either --traceback with a file, - for standard input, or paths of frames")
    if not suspects and (release or first_seen or max_age):
        raise click.UsageError("--release, --first-seen and --max-age are for --suspects; add it")
    if not suspects:
        _derive(row, _frames(file, paths), dry_run=dry_run, as_json=as_json)
        return
    request = scm_pb2.FindSuspectCommitsRequest(
        organization_id=row.organization_id,
        project_id=row.id,
        stacktrace="" if file is None else _end_of(file.read()),
        frames=[_frame_message(frame) for frame in _frames(None, paths)] if paths else [],
        release_commits=[
            scm_pb2.ReleaseCommit(repository_id=_repository_id(row, name), commit_sha=sha) for name, sha in release
        ],
        dry_run=dry_run,
    )
    if first_seen is not None:
        request.first_seen.FromDatetime(first_seen)
    if max_age is not None:
        request.max_age.FromSeconds(int(max_age * 86400))
    try:
        response = find_suspect_commits(request, CallContext())
    except RpcError as error:
        fail(error.message)
    db.session.commit()
    _print_suspects(response, as_json=as_json)


def _frames(file: TextIO | None, paths: Sequence[str]) -> list[TracebackFrame]:
    if file is None:
        found = [re.fullmatch(r"(?s)(?P<path>.*?)(?::(?P<line>\d{1,9}))?", path) for path in paths]
        return [TracebackFrame(StackFrame(each["path"]), int(each["line"] or 0), "") for each in found if each]
    frames = list(parse_traceback(file.read()))
    if not frames:
        fail(NO_FRAMES)
    return frames


def _end_of(text: str) -> str:
    """Return as much of the end of a log as may be sent: the last stack trace counts."""
    if not text.strip():
        fail(NO_FRAMES)
    end = text[-MAX_STACKTRACE_CHARACTERS:]
    return "".join(end.splitlines(keepends=True)[-MAX_STACKTRACE_LINES:])


def _frame_message(frame: TracebackFrame) -> scm_pb2.StackFrame:
    return scm_pb2.StackFrame(path=frame.frame.path, line=frame.line)


def _repository_id(project: Project, name: str) -> int:
    of_organization = sa.select(Repository.id).where(Repository.organization_id == project.organization_id)
    named = sa.or_(Repository.name == name, Repository.id == int(name)) if name.isdecimal() else Repository.name == name
    ids = db.session.scalars(of_organization.where(named)).all()
    if len(ids) != 1:
        fail(f"there are {len(ids)} repositories {name!r}; give the id that flask scm list repositories shows")
    return int(ids[0])


# --- Files and mappings ---


def _derive(project: Project, frames: Sequence[TracebackFrame], *, dry_run: bool, as_json: bool) -> None:
    ours = list(dict.fromkeys(frame.frame for frame in frames if not frame.not_ours))
    derivation = derive(project, ours, dry_run=dry_run, context=CallContext())
    db.session.commit()
    outcomes = dict(zip(ours, derivation.outcomes, strict=True))
    names = _repository_names({outcome.repository_id for outcome in derivation.outcomes})
    facts = [_frame_facts(frame, outcomes.get(frame.frame), names) for frame in frames]
    for fact, frame in zip(facts, frames, strict=True):
        if frame.bundle and not fact["source_path"]:
            fact["reason"] = f"it is a bundle whose source map is missing; {fact['reason']}".removesuffix("; ")
    mappings = [_mapping_facts(mapping) for mapping in derivation.mappings]
    text = "\n".join([*map(_frame_text, facts), "", *map(_mapping_text, derivation.mappings)])
    print_result(as_json, text.rstrip(), frames=facts, mappings=mappings)


def _repository_names(ids: Collection[int]) -> dict[int, str]:
    return {row.id: row.name for row in db.session.scalars(sa.select(Repository).where(Repository.id.in_(ids)))}


def _frame_facts(
    frame: TracebackFrame, outcome: scm_pb2.PathOutcome | None, names: Mapping[int, str]
) -> dict[str, Any]:
    """Describe the outcome of a frame; without one, it was not searched for."""
    facts = {"place": str(frame), "path": frame.frame.text, "line": frame.line, "function": frame.function}
    if outcome is None:
        outcome = scm_pb2.PathOutcome(reason=frame.not_ours)
    name = scm_pb2.PathOutcome.Outcome.Name(outcome.outcome).removeprefix("OUTCOME_").lower().replace("_", " ")
    kept = ("source_path", "code_mapping_id", "repository_id", "branch", "source_url", "reason")
    return {
        **facts,
        "outcome": name if outcome.outcome else "skipped",
        "repository": names.get(outcome.repository_id, ""),
        **{field: getattr(outcome, field) for field in kept},
    }


def _frame_text(facts: dict[str, Any]) -> str:
    found = f"{facts['source_path']} ({facts['reason']})" if facts["source_path"] else facts["reason"]
    return f"{printable(facts['place'])}\n    {facts['outcome']}: {printable(found)}"


def _mapping_facts(mapping: CodeMapping) -> dict[str, Any]:
    names = ("repository_id", "stack_root", "source_root", "default_branch", "automatically_generated")
    return {"id": mapping.id or 0, **{name: getattr(mapping, name) for name in names}}


def _mapping_text(mapping: CodeMapping) -> str:
    name = f"code mapping {mapping.id}" if mapping.id else "a code mapping, not stored"
    return f"{name}: {mapping.stack_root!r} becomes {mapping.source_root!r} in repository {mapping.repository_id}"


# --- Suspects ---


def _print_suspects(response: scm_pb2.FindSuspectCommitsResponse, *, as_json: bool) -> None:
    names = _repository_names({frame.path.repository_id for frame in response.frames})
    frames = [_blamed_facts(outcome, names) for outcome in response.frames]
    suspects = [_suspect_facts(suspect, names) for suspect in response.suspects]
    lines = [line for rank, facts in enumerate(suspects, 1) for line in _suspect_lines(rank, facts)]
    lines += [] if suspects else ["no commit is suspected", ""]
    lines += [line for place, facts in enumerate(frames) for line in _blamed_lines(place, facts)]
    print_result(as_json, "\n".join(lines), suspects=suspects, frames=frames)


def _blamed_facts(outcome: scm_pb2.FrameOutcome, names: Mapping[int, str]) -> dict[str, Any]:
    frame = outcome.frame
    place = StackFrame(frame.path, frame.module, frame.abs_path, frame.platform)
    blame = outcome.blame
    return {
        **_frame_facts(TracebackFrame(place, frame.line, frame.function), outcome.path, names),
        "source_url": outcome.source_url or outcome.path.source_url,
        "commit_id": outcome.commit_id,
        "blame_commit_id": blame.blame_commit_id,
        "blame_author": _author_facts(blame.blame_author),
        "code": outcome.code,
        "message": outcome.message,
        "no_suspect_reason": outcome.no_suspect_reason,
    }


def _blamed_lines(place: int, facts: dict[str, Any]) -> Iterator[str]:
    yield printable(f"frame {place}: {facts['place']}")
    if facts["source_path"]:
        where = f" at {facts['commit_id'][:SHORT_SHA]}" if facts["commit_id"] else ""
        yield printable(f"    {facts['source_path']} in {facts['repository']}{where}")
    if facts["blame_commit_id"]:
        author = _author_text(facts["blame_author"])
        yield printable(f"    last changed by {facts['blame_commit_id'][:SHORT_SHA]}, {author}")
    if facts["no_suspect_reason"]:
        yield printable(f"    no suspect: {facts['no_suspect_reason']}")


def _suspect_facts(suspect: scm_pb2.SuspectCommit, names: Mapping[int, str]) -> dict[str, Any]:
    known = suspect.HasField("date")
    return {
        "commit_id": suspect.commit_id,
        "repository_id": suspect.repository_id,
        "repository": names.get(suspect.repository_id, ""),
        "author": _author_facts(suspect.author),
        "date": suspect.date.ToDatetime(timezone.utc).isoformat() if known else "",
        "subject": suspect.subject,
        "url": suspect.url,
        "frames": list(suspect.frames),
        "score": suspect.score,
        "reason": suspect.reason,
    }


def _suspect_lines(rank: int, facts: dict[str, Any]) -> Iterator[str]:
    yield printable(f"suspect {rank}: {facts['commit_id']} {facts['subject']}".rstrip())
    yield printable(
        f"    {', '.join(filter(None, [_author_text(facts['author']), facts['date'], facts['repository']]))}"
    )
    yield printable(f"    {facts['reason']}")
    if facts["url"]:
        yield printable(f"    {facts['url']}")
    yield ""


def _author_facts(author: scm_pb2.CommitAuthor) -> dict[str, str]:
    return {"name": author.name, "email": author.email}


def _author_text(author: Mapping[str, str]) -> str:
    return f"{author['name']} <{author['email']}>" if author["email"] else author["name"]
