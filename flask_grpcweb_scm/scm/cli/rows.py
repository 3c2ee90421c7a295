"""``flask scm …``: tables, rows to begin with, and the import of git history."""

from __future__ import annotations

import functools
import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NoReturn, TextIO, TypeVar

import click
import sqlalchemy as sa
from flask.cli import with_appcontext
from sqlalchemy.exc import DBAPIError

from flask_grpcweb_scm.pb import scm_pb2
from flask_grpcweb_scm.rpc import CallContext, RpcError
from flask_grpcweb_scm.scm.code_mappings.derive import derive
from flask_grpcweb_scm.scm.code_mappings.tracebacks import TracebackFrame, parse_traceback
from flask_grpcweb_scm.scm.database.db import Model, db, insert_new
from flask_grpcweb_scm.scm.database.models import (
    CodeMapping,
    Group,
    Integration,
    IssueOperation,
    Organization,
    OrganizationIntegration,
    Project,
    Repository,
)
from flask_grpcweb_scm.scm.git_import.importer import ImportFailed, own_external_id, prepare_import
from flask_grpcweb_scm.scm.sources.git_process import GitError
from flask_grpcweb_scm.scm.sources.mirror import Mirror
from flask_grpcweb_scm.scm.trackers import TrackerError, TrackerMisconfigured, outbox
from flask_grpcweb_scm.scm.trackers.open import open_tracker

__all__ = ["scm_cli"]

Command = TypeVar("Command", bound=Callable[..., object])


def _text(limit: int, pattern: str = r"[^\0]+", wanted: str = "text") -> Callable[..., str | None]:
    """A callback for an argument or option that has to fit into a column."""

    def check(context: click.Context, param: click.Parameter, value: str | None) -> str | None:
        if value is not None and len(value) > limit:
            raise click.BadParameter(f"{value[:40]!r}… has {len(value)} characters; the limit is {limit}")
        if value is not None and re.fullmatch(pattern, value) is None:
            raise click.BadParameter(f"{value!r} is not {wanted}")
        return value

    return check


def _slug(limit: int) -> Callable[..., str | None]:
    # A slug of digits alone could be taken for an id.
    return _text(
        limit, r"(?!\d+$)[\w.-]+", "made of letters, digits and any of _ . - with at least one that is no digit"
    )


def _pairs(context: click.Context, param: click.Parameter, value: tuple[str, ...]) -> dict[str, str]:
    """A callback for an option of the form KEY=VALUE."""
    for pair in value:
        if re.fullmatch(r"[^=\0]+=[^\0]*", pair) is None:
            raise click.BadParameter(f"{pair!r} is not of the form KEY=VALUE")
    return dict(pair.split("=", 1) for pair in value)


@click.group("scm")
def scm_cli() -> None:
    """Set up what ScmService serves."""


@scm_cli.group("outbox")
def outbox_cli() -> None:
    """Issues that may have been created at a tracker, and are not known to be: list them, bring them to an end."""


def _command(name: str, group: click.Group = scm_cli) -> Callable[[Command], click.Command]:
    """A command with ``--json``, whose database errors say what to do."""

    def decorate(function: Command) -> click.Command:
        @click.option("--json", "as_json", is_flag=True, help="Print an object.")
        @with_appcontext
        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> None:
            with _plain_errors():
                function(*args, **kwargs)

        return group.command(name)(run)

    return decorate


@contextmanager
def _plain_errors() -> Iterator[None]:
    try:
        yield
    except (GitError, ImportFailed, TrackerError) as error:
        raise click.ClickException(str(error)) from error
    except DBAPIError as error:
        db.session.rollback()
        if not sa.inspect(db.engine).has_table(Organization.__tablename__):
            raise click.ClickException("the tables do not exist yet; run: flask scm init-db") from error
        raise


@_command("init-db")
def init_db(as_json: bool) -> None:
    """Create the tables that do not exist yet."""
    db.create_all()
    tables = sorted(db.metadata.tables)
    url = db.engine.url.render_as_string(hide_password=True)
    _print(as_json, f"{len(tables)} tables are in {url}", database=url, tables=tables)


@_command("add-organization")
@click.argument("slug", callback=_slug(64))
@click.option("--name", callback=_text(64), help="Default: the slug.")
def add_organization(slug: str, name: str | None, as_json: bool) -> None:
    """Add an organization; one that exists already is left as it is."""
    _add(as_json, f"organization {slug!r}", Organization, {"slug": slug}, name=name or slug)


@_command("add-project")
@click.argument("organization", metavar="ORG")
@click.argument("slug", callback=_slug(100))
@click.option("--name", callback=_text(200), help="Default: the slug.")
@click.option("--platform", callback=_text(64), help="Such as python.")
def add_project(organization: str, slug: str, name: str | None, platform: str | None, as_json: bool) -> None:
    """Add a project to an organization; one that exists already is left as it is."""
    unique = {"organization_id": _organization(organization).id, "slug": slug}
    _add(as_json, f"project {slug!r}", Project, unique, name=name or slug, platform=platform)


@_command("add-group")
@click.argument("organization", metavar="ORG")
@click.argument("project", metavar="PROJECT")
@click.option("--title", callback=_text(2000), required=True)
def add_group(organization: str, project: str, title: str, as_json: bool) -> None:
    """Add an error group to a project."""
    project_id = _project(organization, project).id
    number = sa.select(sa.func.coalesce(sa.func.max(Group.short_id), 0) + 1).where(Group.project_id == project_id)
    statement = insert_new(Group).values(project_id=project_id, title=title, short_id=number.scalar_subquery())
    group = None
    while group is None:  # another process may have taken the number
        group = db.session.scalars(statement.returning(Group)).one_or_none()
    db.session.commit()
    text = f"added group {title!r} with id {group.id}, number {group.short_id} of its project"
    _print(as_json, text, id=group.id, short_id=group.short_id)


@_command("add-integration")
@click.argument("organization", metavar="ORG")
@click.argument("provider", callback=_text(64))
@click.option("--name", callback=_text(200), required=True)
@click.option("--external-id", callback=_text(256), help="The provider's id of the account. Default: ORG/NAME.")
@click.option("--base-url", callback=_text(2000), help="Where its tracker is, unless all users of the kind share one.")
@click.option("--credentials", callback=_text(200), metavar="NAME", help="Of those in GRPC_SCM_CREDENTIALS.")
@click.option("--set", "pairs", callback=_pairs, multiple=True, metavar="KEY=VALUE", help="For issues: repo, project …")
def add_integration(
    organization: str,
    provider: str,
    name: str,
    external_id: str | None,
    base_url: str | None,
    credentials: str | None,
    pairs: dict[str, str],
    as_json: bool,
) -> None:
    """Install an integration in an organization.

    Organizations share an integration: one with the same provider and external id is installed, not made anew. The
    settings that are given replace the ones it has; those of --set are this organization's own.
    """
    organization_id = _organization(organization).id
    external_id = external_id or own_external_id(f"{organization}/{name}", 256)
    unique = {"provider": provider, "external_id": external_id}
    integration, _ = _get_or_add(Integration, unique, name=name)
    pair = {"organization_id": organization_id, "integration_id": integration.id}
    installation, created = _get_or_add(OrganizationIntegration, pair)
    given = {"base_url": base_url, "credentials": credentials}
    integration.metadata_ = {**integration.metadata_, **{key: value for key, value in given.items() if value}}
    installation.config = {**installation.config, **pairs}
    db.session.commit()
    _print_row(as_json, f"integration {name!r}", integration.id, created)
    try:
        open_tracker(installation, None)
    except TrackerMisconfigured as error:
        click.echo(f"Its tracker cannot be used so far: {error}", err=True)


@_command("add-repository")
@click.argument("organization", metavar="ORG")
@click.argument("name", callback=_text(200))
@click.option("--provider", callback=_text(64), help="Such as github or integrations:gitlab.")
@click.option("--external-id", callback=_text(64), help="The provider's id of the repository. Default: its name.")
@click.option("--url", default="", help="Where a person can look at it.")
@click.option("--integration", "integration_id", type=int, metavar="ID", help="An integration of the organization.")
def add_repository(
    organization: str,
    name: str,
    provider: str | None,
    external_id: str | None,
    url: str,
    integration_id: int | None,
    as_json: bool,
) -> None:
    """Add a repository to an organization; one with the same provider and external id is left as it is."""
    organization_id = _organization(organization).id
    if integration_id is not None:
        _check_installed(organization, organization_id, integration_id)
    unique = {
        "organization_id": organization_id,
        "provider": provider or "",
        "external_id": external_id or own_external_id(name, 64),
    }
    _add(as_json, f"repository {name!r}", Repository, unique, name=name, url=url, integration_id=integration_id)


@_command("import-git")
@click.argument("organization", metavar="ORG")
@click.argument("path", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--name", callback=_text(200), help="Name of the repository. Default: the directory's.")
@click.option("--branch", callback=_text(255), help="Default: the one that is checked out.")
def import_git_command(organization: str, path: Path, name: str | None, branch: str | None, as_json: bool) -> None:
    """Import the commits, authors and file changes of a local git repository.

    A second import adds what is new. The repository stays where it is: lines are blamed there.
    """
    started = time.monotonic()
    name = name or path.resolve().name.removesuffix(".git")
    job = prepare_import(_organization(organization), Mirror.find(path), name, branch=branch)
    with click.progressbar(length=job.total, label=f"importing {name}", file=sys.stderr) as bar:
        for count in job.run():
            bar.update(count)
    seconds = time.monotonic() - started
    row_id = job.repository.id
    text = f"imported {job.stored} commits into repository {name!r} with id {row_id} in {seconds:.1f} s"
    _print(as_json, text, id=row_id, name=name, commits=job.stored, seconds=round(seconds, 3))


@_command("derive")
@click.argument("organization", metavar="ORG")
@click.argument("project", metavar="PROJECT")
@click.option(
    "--traceback",
    "file",
    type=click.File(encoding="utf-8", errors="replace"),
    required=True,
    help="Text with stack traces of Python, Java, JavaScript or Go; - for standard input.",
)
@click.option("--dry-run", is_flag=True, help="Store nothing.")
def derive_command(organization: str, project: str, file: TextIO, dry_run: bool, as_json: bool) -> None:
    """Derive code mappings from pasted stack traces, and say of every frame what was found and why not."""
    row = _project(organization, project)
    frames = list(parse_traceback(file.read()))
    if not frames:
        _fail("the text has no frames of Python, Java, JavaScript or Go; give the stack trace as it was printed")
    ours = list(dict.fromkeys(frame.frame for frame in frames if not frame.not_ours))
    derivation = derive(row, ours, dry_run=dry_run, context=CallContext())
    db.session.commit()
    outcomes = dict(zip(ours, derivation.outcomes, strict=True))
    facts = [_frame_facts(frame, outcomes.get(frame.frame)) for frame in frames]
    mappings = [_mapping_facts(mapping) for mapping in derivation.mappings]
    text = "\n".join([*map(_frame_text, facts), "", *map(_mapping_text, derivation.mappings)])
    _print(as_json, text.rstrip(), frames=facts, mappings=mappings)


def _frame_facts(frame: TracebackFrame, outcome: scm_pb2.PathOutcome | None) -> dict[str, Any]:
    """What was found of a frame; without an outcome, nobody looked for it."""
    facts = {"place": str(frame), "path": frame.frame.text, "line": frame.line, "function": frame.function}
    if outcome is None:
        return {**facts, "outcome": "skipped", "source_path": "", "code_mapping_id": 0, "reason": frame.not_ours}
    name = scm_pb2.PathOutcome.Outcome.Name(outcome.outcome).removeprefix("OUTCOME_").lower().replace("_", " ")
    found = {"source_path": outcome.source_path, "code_mapping_id": outcome.code_mapping_id, "reason": outcome.reason}
    return {**facts, "outcome": name, **found}


def _frame_text(facts: dict[str, Any]) -> str:
    found = f"{facts['source_path']} ({facts['reason']})" if facts["source_path"] else facts["reason"]
    return f"{facts['place']}\n    {facts['outcome']}: {found}"


def _mapping_facts(mapping: CodeMapping) -> dict[str, Any]:
    names = ("repository_id", "stack_root", "source_root", "default_branch", "automatically_generated")
    return {"id": mapping.id or 0, **{name: getattr(mapping, name) for name in names}}


def _mapping_text(mapping: CodeMapping) -> str:
    name = f"code mapping {mapping.id}" if mapping.id else "a code mapping, not stored"
    return f"{name}: {mapping.stack_root!r} becomes {mapping.source_root!r} in repository {mapping.repository_id}"


@_command("list", outbox_cli)
def list_operations(as_json: bool) -> None:
    """List the operations that have not come to an end."""
    now = datetime.now(timezone.utc)
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
    lines = ["{id}  {added}  {organization}  {integration}  {title!r}: {state}".format(**fact) for fact in facts]
    _print(as_json, "\n".join(lines) or "nothing is left", operations=facts)


@_command("resume", outbox_cli)
@click.argument("operation_id", metavar="ID", type=int)
def resume_operation(operation_id: int, as_json: bool) -> None:
    """Find the issue of an operation at its tracker, or else create it, and store it."""
    try:
        issue = outbox.resume(_operation(operation_id))
    except RpcError as error:
        raise click.ClickException(error.message) from error
    _print(as_json, f"issue {issue.key} is external issue {issue.id}", id=issue.id, key=issue.key)


@_command("discard", outbox_cli)
@click.argument("operation_id", metavar="ID", type=int)
def discard_operation(operation_id: int, as_json: bool) -> None:
    """Forget an operation, once you have seen that its tracker has no issue of it, or do not want that."""
    outbox.discard(_operation(operation_id))
    _print(as_json, f"operation {operation_id} is forgotten", id=operation_id)


def _operation(operation_id: int) -> IssueOperation:
    row = db.session.get(IssueOperation, operation_id)
    if row is None:
        _fail(f"there is no operation {operation_id}; see: flask scm outbox list")
    return row


def _add(as_json: bool, what: str, model: type[Model], unique: dict[str, Any], **values: Any) -> None:
    row, created = _get_or_add(model, unique, **values)
    db.session.commit()
    _print_row(as_json, what, row.id, created)


def _get_or_add(model: type[Model], unique: dict[str, Any], **values: Any) -> tuple[Any, bool]:
    """The row with these unique values, and whether it was added just now."""
    statement = insert_new(model).values(**unique, **values)
    row = db.session.scalars(statement.returning(model)).one_or_none()
    if row is not None:
        return row, True
    return db.session.scalars(sa.select(model).filter_by(**unique)).one(), False


def _organization(slug: str) -> Organization:
    row = db.session.scalars(sa.select(Organization).filter_by(slug=slug)).one_or_none()
    if row is None:
        _fail(f"there is no organization {slug!r}; run: flask scm add-organization {slug}")
    return row


def _project(organization: str, slug: str) -> Project:
    of_organization = sa.select(Project).filter_by(organization_id=_organization(organization).id, slug=slug)
    row = db.session.scalars(of_organization).one_or_none()
    if row is None:
        _fail(f"{organization!r} has no project {slug!r}; run: flask scm add-project {organization} {slug}")
    return row


def _check_installed(slug: str, organization_id: int, integration_id: int) -> None:
    pair = {"organization_id": organization_id, "integration_id": integration_id}
    if db.session.scalars(sa.select(OrganizationIntegration).filter_by(**pair)).one_or_none() is None:
        _fail(
            f"{slug!r} has no integration {integration_id}; run: flask scm add-integration {slug} PROVIDER --name NAME"
        )


def _fail(text: str) -> NoReturn:
    raise click.ClickException(text)


def _print_row(as_json: bool, what: str, row_id: int, created: bool) -> None:
    text = f"added {what} with id {row_id}" if created else f"{what} exists already, with id {row_id}"
    _print(as_json, text, id=row_id, created=created)


def _print(as_json: bool, text: str, **facts: Any) -> None:
    click.echo(json.dumps(facts) if as_json else text)
