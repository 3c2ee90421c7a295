"""The group ``flask scm``, and its commands for git history and the outbox."""

from __future__ import annotations

import functools
import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click
import sqlalchemy as sa
from flask.cli import with_appcontext
from sqlalchemy.exc import SQLAlchemyError

from flask_grpcweb_scm.rpc import RpcError, printable
from flask_grpcweb_scm.scm.database.db import database_now, db
from flask_grpcweb_scm.scm.database.models import (
    MAX_FILE_CHANGES,
    IssueOperation,
    Organization,
    Project,
)
from flask_grpcweb_scm.scm.git_import import ImportFailed, prepare_import
from flask_grpcweb_scm.scm.providers import ProviderError
from flask_grpcweb_scm.scm.settings import current_settings
from flask_grpcweb_scm.scm.sources.git import GitError
from flask_grpcweb_scm.scm.sources.mirror import Mirror
from flask_grpcweb_scm.scm.trackers import outbox
from flask_grpcweb_scm.transactions import is_full, lacks_schema, reason_of

__all__ = [
    "command",
    "discard_operation",
    "fail",
    "fitting",
    "import_git_command",
    "list_operations",
    "organization_named",
    "outbox_cli",
    "print_result",
    "project_named",
    "resume_operation",
    "scm_cli",
]

Command = TypeVar("Command", bound=Callable[..., object])


scm_cli = click.Group("scm")


def command(name: str, group: click.Group = scm_cli, **attributes: str) -> Callable[[Command], click.Command]:
    """Make a command with ``--json``, whose errors say the way out.

    :param attributes: of :class:`click.Command`.
    """

    def decorate(function: Command) -> click.Command:
        @click.option("--json", "as_json", is_flag=True, help="Print an object.")
        @with_appcontext
        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> None:
            with _translated_errors():
                function(*args, **kwargs)

        return group.command(name, **attributes)(run)

    return decorate


@contextmanager
def _translated_errors() -> Iterator[None]:
    try:
        yield
    except (GitError, ImportFailed) as error:
        raise click.ClickException(printable(str(error))) from error
    except ProviderError as error:
        raise click.ClickException(printable(error.private)) from error
    except SQLAlchemyError as error:
        raise click.ClickException(_sentence(error)) from error


def _sentence(error: SQLAlchemyError) -> str:
    reason = printable(reason_of(error))
    if lacks_schema(error):
        db.session.rollback()
        if sa.inspect(db.engine).has_table(Organization.__tablename__):
            return f"the tables are of another version ({reason}); run: flask db upgrade"
        return "the tables do not exist yet; run: flask scm init-db"
    if is_full(error):
        return f"the disk of the database is full ({reason}); make room, then run this again: what is stored stays"
    return f"the database failed: {reason}"


def fail(text: str) -> NoReturn:
    """End the command with an error message."""
    raise click.ClickException(printable(text))


def print_result(as_json: bool, text: str, **facts: Any) -> None:
    """Print the result for people, or as a JSON object.

    :param text: of lines; texts from elsewhere in it are :func:`printable`, or a line break would make one.
    """
    click.echo(json.dumps(facts) if as_json else "\n".join(map(printable, text.split("\n"))))


def fitting(limit: int, pattern: str = r"[^\0]+", wanted: str = "text") -> Callable[..., str | None]:
    """Make a callback for an argument or option that has to fit into a column."""

    def check(context: click.Context, param: click.Parameter, value: str | None) -> str | None:
        if value is not None and len(value) > limit:
            raise click.BadParameter(f"{value[:40]!r}… has {len(value)} characters; the limit is {limit}")
        if value is not None and re.fullmatch(pattern, value) is None:
            raise click.BadParameter(f"{value!r} is not {wanted}")
        return value

    return check


def organization_named(slug: str) -> Organization:
    """Return an organization, or end the command."""
    row = db.session.scalars(sa.select(Organization).filter_by(slug=slug)).one_or_none()
    if row is None:
        fail(f"there is no organization {slug!r}; run: flask scm add-organization {slug}")
    return row


def project_named(organization: str, slug: str) -> Project:
    """Return a project of an organization, or end the command."""
    of_organization = sa.select(Project).filter_by(organization_id=organization_named(organization).id, slug=slug)
    row = db.session.scalars(of_organization).one_or_none()
    if row is None:
        fail(f"{organization!r} has no project {slug!r}; run: flask scm add-project {organization} {slug}")
    return row


@command("import-git")
@click.argument("organization", metavar="ORG")
@click.argument("path", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--name", callback=fitting(200), help="Name of the repository. Default: the directory's.")
@click.option("--branch", callback=fitting(255), help="Default: the one that is checked out.")
@click.option("--follow", is_flag=True, help="Read also what it leads to: of a worktree, submodule or link.")
def import_git_command(
    organization: str, path: Path, name: str | None, branch: str | None, follow: bool, as_json: bool
) -> None:
    """Import the commits, authors and file changes of a local git repository.

    A second import adds what is new. The repository stays where it is: lines are blamed there. It is known by its
    remote, whatever the folder is called, or by its name without one.
    """
    started = time.monotonic()
    given, name = name, name or path.resolve().name.removesuffix(".git")
    row, mirror = organization_named(organization), Mirror.find(path, memory=current_settings().git_memory_bytes)
    _check_inside(path, mirror, follow=follow)
    job = prepare_import(row, mirror, name, branch=branch, is_chosen=given is not None)
    name = job.repository.name
    with click.progressbar(length=job.total, label=f"importing {printable(name)}", file=sys.stderr) as bar:
        for count in job.run():
            bar.update(count)
    seconds = time.monotonic() - started
    row_id = job.repository.id
    corrected = f", and corrected {job.corrected} stored ones," if job.corrected else ""
    text = f"imported {job.stored} commits{corrected} into repository {name!r} with id {row_id} in {seconds:.1f} s"
    facts = {"commits": job.stored, "seconds": round(seconds, 3)}
    if job.truncated:
        text += f"; {job.truncated} changed more files than the {MAX_FILE_CHANGES} that are stored of each"
        facts["truncated"] = job.truncated
    print_result(as_json, text, id=row_id, name=name, **facts)


def _check_inside(path: Path, mirror: Mirror, *, follow: bool) -> None:
    """Refuse a folder whose files lead to others, unless that is meant: whoever has made it chooses what is read."""
    outside = {folder for folder in mirror.folders() if not folder.is_relative_to(path.resolve())}
    if outside:
        tops = sorted(folder for folder in outside if outside.isdisjoint(folder.parents))
        names = ", ".join(repr(str(folder)) for folder in tops)
        if not follow:
            fail(f"{str(path)!r} leads to {names}; if that is to be read, add --follow")
        click.echo(f"{str(path)!r} leads to {names}", err=True)


@scm_cli.group("outbox")
def outbox_cli() -> None:
    """List and complete operations: issues that may have been created at a tracker, and are not known to be."""


@command("list", outbox_cli)
def list_operations(as_json: bool) -> None:
    """List the operations whose outcome is not known."""
    now = database_now()
    facts = [
        {
            "id": row.id,
            "organization": row.organization.slug,
            "integration": row.integration.name,
            "title": row.title,
            "added": row.date_added.isoformat(timespec="seconds"),
            "attempts": row.attempts,
            "state": "under way" if row.claimed_until > now else row.error or "killed",
        }
        for row in outbox.unfinished()
    ]
    line = "{id}  {added}  {organization}  {integration}  {title!r}: {state}"
    lines = [printable(line.format(**fact)) for fact in facts]
    print_result(as_json, "\n".join(lines) or "nothing is left", operations=facts)


@command("resume", outbox_cli)
@click.argument("operation_id", metavar="ID", type=int)
def resume_operation(operation_id: int, as_json: bool) -> None:
    """Find the issue of an operation at its tracker, or else create it, and store it."""
    try:
        issue = outbox.resume(_operation(operation_id))
    except RpcError as error:
        raise click.ClickException(printable(error.message)) from error
    print_result(as_json, f"issue {issue.key} is external issue {issue.id}", id=issue.id, key=issue.key)


@command("discard", outbox_cli)
@click.argument("operation_id", metavar="ID", type=int)
def discard_operation(operation_id: int, as_json: bool) -> None:
    """Delete an operation, once you have seen that its tracker has no issue of it, or do not want the issue."""
    outbox.discard(_operation(operation_id))
    print_result(as_json, f"operation {operation_id} is deleted", id=operation_id)


def _operation(operation_id: int) -> IssueOperation:
    row = db.session.get(IssueOperation, operation_id)
    if row is None:
        fail(f"there is no operation {operation_id}; see: flask scm outbox list")
    return row
