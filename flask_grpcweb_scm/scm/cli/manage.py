"""``flask scm list``, ``show``, ``rename``, ``disable``, ``enable`` and ``delete``: the rows that there are."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

import click
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from flask_grpcweb_scm.rpc import printable
from flask_grpcweb_scm.scm.cli.commands import (
    command,
    fail,
    fitting,
    organization_named,
    print_result,
    project_named,
    scm_cli,
)
from flask_grpcweb_scm.scm.cli.kinds import (
    KINDS,
    Arguments,
    Kind,
    group_numbered,
    installation_named,
    repository_named,
)
from flask_grpcweb_scm.scm.cli.rows import slug_of
from flask_grpcweb_scm.scm.database.db import db
from flask_grpcweb_scm.scm.database.deletion import count, delete_with, dependents_of
from flask_grpcweb_scm.scm.database.models import Group, Repository, RepositoryStatus
from flask_grpcweb_scm.scm.git_import.destination import unnumbered_id
from flask_grpcweb_scm.scm.remotes import key_of_remote, public_url, without_credentials
from flask_grpcweb_scm.transactions import reason_of

__all__ = ["delete_cli", "disable_cli", "enable_cli", "list_cli", "rename_cli", "show_cli"]

DELETED = {RepositoryStatus.PENDING_DELETION, RepositoryStatus.DELETION_IN_PROGRESS}


class KindGroup(click.Group):
    """Commands by kind, in the singular or in the plural."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Find a command."""
        other = {kind.plural: name for name, kind in KINDS.items()} | {
            name: kind.plural for name, kind in KINDS.items()
        }
        found = super().get_command(ctx, cmd_name) or super().get_command(ctx, other.get(cmd_name, cmd_name))
        if found is None and cmd_name in other:
            raise click.UsageError(f"{ctx.info_name} is for {', '.join(self.commands)}, not for {cmd_name}", ctx)
        return found


def _group(verb: str, text: str) -> click.Group:
    group = KindGroup(verb, help=text)
    scm_cli.add_command(group)
    return group


list_cli = _group("list", "List organizations, and the rows of one.")
show_cli = _group("show", "Show a row, and what there is of it.")
rename_cli = _group("rename", "Give a row another name.")
disable_cli = _group("disable", "Take a repository out of lists for callers, and out of the search for code mappings.")
enable_cli = _group("enable", "Undo what disable has done.")
delete_cli = _group("delete", "Delete a row with all that depends on it.")


def _takes(arguments: Arguments) -> Callable[[Callable[..., None]], Callable[..., None]]:
    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        for name in reversed(arguments):
            function = click.argument(name.lower(), metavar=name)(function)
        return function

    return decorate


def _name(kind: str, row: Any) -> str:
    """Name a row in a message."""
    facts = KINDS[kind].facts(row)
    label = facts.get("slug") or facts.get("name") or facts.get("title")
    return f"{kind} {label!r} with id {facts['id']}"


def _text(facts: dict[str, Any]) -> str:
    return "  ".join(printable(str(value)) or "-" for value in facts.values())


def _add_list(kind: Kind) -> None:
    @command(kind.plural, list_cli, help=f"List {kind.plural}.")
    @_takes(kind.arguments[:-1])
    def list_rows(as_json: bool, **arguments: str) -> None:
        rows = kind.page([*arguments.values()])
        if as_json:
            print_result(as_json, "", **{kind.plural: [*rows]})
            return
        is_empty = True
        for facts in rows:
            is_empty = False
            click.echo(_text(facts))
        if is_empty:
            click.echo(f"there are no {kind.plural}", err=True)


def _add_show(name: str, kind: Kind) -> None:
    @command(name, show_cli, help=f"Show {_article(name)}.")
    @_takes(kind.arguments)
    def show(as_json: bool, **arguments: str) -> None:
        row = kind.find(*arguments.values())
        facts = {**kind.facts(row), **kind.more(row), "date_added": _date(row)}
        counts = count(dependents_of(row)) if name != "repository" else {}
        facts |= {text.replace(" ", "_"): number for text, number in counts.items()}
        width = max(map(len, facts))
        print_result(
            as_json, "\n".join(f"{key:{width}}  {printable(str(value))}" for key, value in facts.items()), **facts
        )


def _add_delete(name: str, kind: Kind) -> None:
    @command(name, delete_cli, help=f"Delete {_article(name)} with all that depends on it.")
    @_takes(kind.arguments)
    @click.option("--yes", is_flag=True, help="Do not ask.")
    def delete(as_json: bool, yes: bool, **arguments: str) -> None:
        row = kind.find(*arguments.values())
        what, row_id = _name(name, row), kind.facts(row)["id"]
        dependents = dependents_of(row)
        counts = count(dependents)
        kept = {part.name for part in dependents if part.is_kept} & counts.keys()
        lost = [f"{number} {text}" for text, number in counts.items() if text not in kept]
        click.echo(f"{what} has {', '.join(lost) or 'nothing'} that would be deleted with it.", err=True)
        for text in kept:
            click.echo(f"{counts[text]} {text} would stay, without it.", err=True)
        if not yes:
            _confirm()
        try:
            with click.progressbar(length=sum(counts.values()), label=f"deleting {name}", file=sys.stderr) as bar:
                for size in delete_with(row, dependents):
                    bar.update(size)
        except IntegrityError as error:
            db.session.rollback()
            fail(f"{what} is not deleted, because other rows refer to it: {reason_of(error)}")
        deleted = {text.replace(" ", "_"): number for text, number in counts.items() if text not in kept}
        print_result(as_json, f"deleted {what}", id=row_id, deleted=deleted)


def _article(name: str) -> str:
    return f"{'an' if name[0] in 'aio' else 'a'} {name}"


def _date(row: Any) -> str:
    moment = row.first_seen if isinstance(row, Group) else row.date_added
    return str(moment.isoformat(timespec="seconds"))


def _confirm() -> None:
    try:
        click.confirm("Delete it?", abort=True, err=True)
    except click.Abort:
        fail("nothing is deleted; answer with y, or give --yes")


for _kind_name, _kind in KINDS.items():
    _add_list(_kind)
    _add_show(_kind_name, _kind)
    _add_delete(_kind_name, _kind)


# Renaming


def _renamed(as_json: bool, kind: str, row: Any, before: str, place: str = "") -> None:
    """Commit, and say so; a name that another row has is an error."""
    row_id = KINDS[kind].facts(row)["id"]
    try:
        db.session.commit()
    except IntegrityError:
        db.session.rollback()
        fail(f"another {kind} has that name; see: flask scm list {KINDS[kind].plural}")
    print_result(as_json, f"{before} is {_name(kind, row)} now{place}", id=row_id, **_changed(kind, row))


def _changed(kind: str, row: Any) -> dict[str, Any]:
    facts = KINDS[kind].facts(row)
    return {key: facts[key] for key in ("slug", "name", "title", "url") if key in facts}


@command("organization", rename_cli)
@click.argument("organization", metavar="ORG")
@click.argument("slug", callback=slug_of(64))
@click.option("--name", callback=fitting(64), help="Default: the slug, if the name was the slug.")
def rename_organization(organization: str, slug: str, name: str | None, as_json: bool) -> None:
    """Give an organization another slug. Tokens that name it by the old one need the new one."""
    row = organization_named(organization)
    before = _name("organization", row)
    row.name = name or (slug if row.name == row.slug else row.name)
    row.slug = slug
    _renamed(as_json, "organization", row, before)


@command("project", rename_cli)
@click.argument("organization", metavar="ORG")
@click.argument("project", metavar="PROJECT")
@click.argument("slug", callback=slug_of(100))
@click.option("--name", callback=fitting(200), help="Default: the slug, if the name was the slug.")
def rename_project(organization: str, project: str, slug: str, name: str | None, as_json: bool) -> None:
    """Give a project another slug."""
    row = project_named(organization, project)
    before = _name("project", row)
    row.name = name or (slug if row.name == row.slug else row.name)
    row.slug = slug
    _renamed(as_json, "project", row, before)


@command("repository", rename_cli)
@click.argument("organization", metavar="ORG")
@click.argument("repository", metavar="REPOSITORY")
@click.argument("name", callback=fitting(200), required=False)
@click.option("--url", callback=fitting(2000), help="The URL of its remote, after the repository has moved.")
def rename_repository(organization: str, repository: str, name: str | None, url: str | None, as_json: bool) -> None:
    """Give a repository another name, or another remote.

    One that is read at its provider is read there by its name, unless its configuration has another one.
    """
    row = repository_named(organization, repository)
    before = _name("repository", row)
    if not name and not url:
        fail("give a new name, or --url URL")
    is_numbered = row.external_id not in {None, unnumbered_id(row.remote, row.name), unnumbered_id(None, row.name)}
    if url:
        row.url, row.remote = public_url(url), key_of_remote(url, os.getcwd())
        same = sa.select(Repository.id).where(Repository.organization_id == row.organization_id)
        with db.session.no_autoflush:
            others = [*db.session.scalars(same.where(Repository.remote == row.remote, Repository.id != row.id))]
        if others:
            fail(f"{without_credentials(url)!r} is repository {others[0]} of {organization!r} already")
    row.name = name or row.name
    if not is_numbered:
        row.external_id = unnumbered_id(row.remote, row.name)
    _renamed(as_json, "repository", row, before, f", at {row.url}" if url else "")


@command("integration", rename_cli)
@click.argument("organization", metavar="ORG")
@click.argument("integration", metavar="INTEGRATION")
@click.argument("name", callback=fitting(200))
def rename_integration(organization: str, integration: str, name: str, as_json: bool) -> None:
    """Give an integration another name, in all organizations that share it."""
    row = installation_named(organization, integration)
    before = _name("integration", row)
    row.integration.name = name
    _renamed(as_json, "integration", row, before)


@command("group", rename_cli)
@click.argument("organization", metavar="ORG")
@click.argument("project", metavar="PROJECT")
@click.argument("number", metavar="NUMBER")
@click.argument("title", callback=fitting(2000))
def rename_group(organization: str, project: str, number: str, title: str, as_json: bool) -> None:
    """Give an error group another title."""
    row = group_numbered(organization, project, number)
    before = _name("group", row)
    row.title = title
    _renamed(as_json, "group", row, before)


# Repositories that are not to be found


@command("repository", disable_cli)
@click.argument("organization", metavar="ORG")
@click.argument("repository", metavar="REPOSITORY")
def disable_repository(organization: str, repository: str, as_json: bool) -> None:
    """Disable a repository: callers find it in no list, and no new code mapping leads to it.

    By its id it is served as before. No sync enables it.
    """
    _set_status(as_json, repository_named(organization, repository), RepositoryStatus.DISABLED)


@command("repository", enable_cli)
@click.argument("organization", metavar="ORG")
@click.argument("repository", metavar="REPOSITORY")
def enable_repository(organization: str, repository: str, as_json: bool) -> None:
    """Enable a repository that is disabled or hidden, whoever has done that.

    One that is archived or gone at its provider stays enabled until it is there again; then syncs go on.
    """
    _set_status(as_json, repository_named(organization, repository), RepositoryStatus.ACTIVE)


def _set_status(as_json: bool, row: Repository, status: RepositoryStatus) -> None:
    what, row_id = _name("repository", row), row.id
    if row.status in DELETED:
        fail(f"{what} is being deleted; to finish that, run: flask scm delete repository")
    # Another one, so that syncs leave the status as it is.
    synced = RepositoryStatus.ACTIVE if status is RepositoryStatus.DISABLED else RepositoryStatus.DISABLED
    this = sa.update(Repository).where(Repository.id == row_id)
    db.session.execute(this.values(status=status, synced_status=synced))
    db.session.commit()
    print_result(as_json, f"{what} is {status.value}", id=row_id, status=status.value)
