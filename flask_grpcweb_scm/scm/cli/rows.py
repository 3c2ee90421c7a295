"""``flask scm init-db``, and ``flask scm add-…``: the tables, and rows to begin with."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import click
import sqlalchemy as sa

from flask_grpcweb_scm.rpc import printable
from flask_grpcweb_scm.scm.cli.commands import command, fail, fitting, organization_named, print_result, project_named
from flask_grpcweb_scm.scm.database.db import Model, db, insert_new
from flask_grpcweb_scm.scm.database.models import (
    Group,
    Integration,
    Organization,
    OrganizationIntegration,
    Project,
    Repository,
)
from flask_grpcweb_scm.scm.database.values import provider_name, provider_spellings
from flask_grpcweb_scm.scm.git_import.destination import remote_at_provider, unnumbered_id
from flask_grpcweb_scm.scm.providers import ProviderForbidden, ProviderMisconfigured
from flask_grpcweb_scm.scm.remotes import own_external_id, remote_of
from flask_grpcweb_scm.scm.trackers import issue_defaults, open_tracker

__all__ = [
    "add_group",
    "add_integration",
    "add_organization",
    "add_project",
    "add_repository",
    "get_or_add",
    "init_db",
    "key_values",
    "slug_of",
]


def slug_of(limit: int) -> Callable[..., str | None]:
    """Make a callback for an argument that is a slug."""
    # A slug of digits alone would look like an id.
    return fitting(
        limit, r"(?!\d+$)[\w.-]+", "made of letters, digits and any of _ . - with at least one that is no digit"
    )


def key_values(context: click.Context, param: click.Parameter, value: tuple[str, ...]) -> dict[str, str]:
    """Parse the values KEY=VALUE of an option."""
    for pair in value:
        if re.fullmatch(r"[^=\0]+=[^\0]*", pair) is None:
            raise click.BadParameter(f"{pair!r} is not KEY=VALUE")
    return dict(pair.split("=", 1) for pair in value)


@command("init-db")
def init_db(as_json: bool) -> None:
    """Create the tables that do not exist yet."""
    db.create_all()
    tables = sorted(db.metadata.tables)
    url = db.engine.url.render_as_string(hide_password=True)
    print_result(as_json, f"{len(tables)} tables are in {url}", database=url, tables=tables)


@command("add-organization")
@click.argument("slug", callback=slug_of(64))
@click.option("--name", callback=fitting(64), help="Default: the slug.")
def add_organization(slug: str, name: str | None, as_json: bool) -> None:
    """Add an organization; one that exists already is left as it is."""
    _add(as_json, f"organization {slug!r}", Organization, {"slug": slug}, name=name or slug)


@command("add-project")
@click.argument("organization", metavar="ORG")
@click.argument("slug", callback=slug_of(100))
@click.option("--name", callback=fitting(200), help="Default: the slug.")
@click.option("--platform", callback=fitting(64), help="Such as python.")
def add_project(organization: str, slug: str, name: str | None, platform: str | None, as_json: bool) -> None:
    """Add a project to an organization; one that exists already is left as it is."""
    unique = {"organization_id": organization_named(organization).id, "slug": slug}
    _add(as_json, f"project {slug!r}", Project, unique, name=name or slug, platform=platform)


@command("add-group")
@click.argument("organization", metavar="ORG")
@click.argument("project", metavar="PROJECT")
@click.option("--title", callback=fitting(2000), required=True)
def add_group(organization: str, project: str, title: str, as_json: bool) -> None:
    """Add an error group to a project."""
    project_id = project_named(organization, project).id
    number = sa.select(sa.func.coalesce(sa.func.max(Group.short_id), 0) + 1).where(Group.project_id == project_id)
    statement = insert_new(Group).values(project_id=project_id, title=title, short_id=number.scalar_subquery())
    group = None
    while group is None:  # a concurrent process may have used the number
        group = db.session.scalars(statement.returning(Group)).one_or_none()
    db.session.commit()
    text = f"added group {title!r} with id {group.id}, number {group.short_id} of its project"
    print_result(as_json, text, id=group.id, short_id=group.short_id)


@command("add-integration")
@click.argument("organization", metavar="ORG")
@click.argument("provider", callback=fitting(64))
@click.option("--name", callback=fitting(200), required=True)
@click.option("--external-id", callback=fitting(256), help="The provider's id of the account. Default: ORG/NAME.")
@click.option("--base-url", callback=fitting(2000), help="URL of its host, unless that is github.com or gitlab.com.")
@click.option("--credentials", callback=fitting(200), metavar="NAME", help="Of those in GRPC_SCM_CREDENTIALS.")
@click.option(
    "--set",
    "pairs",
    callback=key_values,
    multiple=True,
    metavar="KEY=VALUE",
    help="A default for issues (repo, project, labels …), or projects, markup, comment_on_link. Can be repeated.",
)
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

    Organizations share an integration: one with the same provider and external id is installed, and not added again.
    Given settings replace the ones that it has; those of --set are this organization's own.
    """
    organization_id = organization_named(organization).id
    external_id = external_id or own_external_id(f"{organization}/{name}", 256)
    unique = {"provider": provider, "external_id": external_id}
    integration, _ = get_or_add(Integration, unique, name=name)
    pair = {"organization_id": organization_id, "integration_id": integration.id}
    installation, created = get_or_add(OrganizationIntegration, pair)
    given = {"base_url": base_url, "credentials": credentials}
    integration.metadata_ = {**integration.metadata_, **{key: value for key, value in given.items() if value}}
    installation.config = {**installation.config, **pairs}
    db.session.commit()
    settings = ", and has these settings now" if pairs or any(given.values()) else ""
    _print_row(as_json, f"integration {name!r}", integration.id, created=created, more=settings)
    try:
        tracker = open_tracker(installation, None)
        if tracker is not None:
            tracker.check_defaults(issue_defaults(installation))
    except (ProviderMisconfigured, ProviderForbidden) as error:
        click.echo(f"Its tracker cannot be used so far: {printable(error.private)}", err=True)


@command("add-repository")
@click.argument("organization", metavar="ORG")
@click.argument("name", callback=fitting(200))
@click.option("--provider", callback=fitting(64), help="Such as github or integrations:gitlab.")
@click.option("--external-id", callback=fitting(64), help="The provider's number of the repository.")
@click.option("--url", default="", help="Its URL, which is its remote too.")
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
    """Add a repository to an organization; one with the same provider and external id is left as it is.

    Without an external id it is known by the remote that its URL names, or else by its name. One that is known by its
    remote gets the provider and the external id.
    """
    organization_id = organization_named(organization).id
    if integration_id is not None:
        _check_installed(organization, organization_id, integration_id)
    provider, remote = provider or "", remote_of(url)
    number = external_id or unnumbered_id(remote, name)
    if remote is None:
        integration = None if integration_id is None else db.session.get(Integration, integration_id)
        remote = remote_at_provider(provider, integration, name)
    row = _known_repository(organization_id, provider, number, remote)
    if row is None and external_id is None:
        row = _unnumbered_repository(organization_id, provider, remote, name)
    if row is not None:
        if external_id is not None and row.external_id != external_id:
            row.external_id, row.provider = external_id, provider
            row.integration_id = integration_id or row.integration_id
        db.session.commit()
        _print_row(as_json, f"repository {row.name!r}", row.id, created=False)
        return
    unique = {"organization_id": organization_id, "provider": provider, "external_id": number}
    _add(as_json, f"repository {name!r}", Repository, unique, name=name, url=url, integration_id=integration_id)


def _known_repository(organization_id: int, provider: str, number: str, remote: str | None) -> Repository | None:
    """Return the repository with a number of a provider, whose name has two spellings, or the one with a remote."""
    mine = sa.select(Repository).where(Repository.organization_id == organization_id)
    numbered = mine.where(Repository.provider.in_(_spellings(provider)), Repository.external_id == number)
    row: Repository | None = db.session.scalars(numbered.order_by(Repository.id).limit(1)).one_or_none()
    if row is None and remote is not None:
        known = mine.where(Repository.remote == remote, Repository.external_id == unnumbered_id(remote, ""))
        row = db.session.scalars(known.order_by(Repository.id).limit(1)).one_or_none()
    return row


def _unnumbered_repository(organization_id: int, provider: str, remote: str | None, name: str) -> Repository | None:
    """Return the repository with a name that an import has given its remote since it was added by that name."""
    named = sa.select(Repository).where(Repository.organization_id == organization_id, Repository.name == name)
    rows: Sequence[Repository] = db.session.scalars(named.order_by(Repository.id).limit(20)).all()
    for row in rows:
        is_unnumbered = row.external_id == unnumbered_id(row.remote, row.name)
        is_there = not provider or row.provider in _spellings(provider)
        if is_unnumbered and is_there and remote in {None, row.remote}:
            return row
    return None


def _spellings(provider: str) -> tuple[str, ...]:
    return provider_spellings(provider_name(provider)) if provider else ("",)


def _add(as_json: bool, what: str, model: type[Model], unique: dict[str, Any], **values: Any) -> None:
    row, created = get_or_add(model, unique, **values)
    db.session.commit()
    _print_row(as_json, what, row.id, created=created)


def get_or_add(model: type[Model], unique: dict[str, Any], **values: Any) -> tuple[Any, bool]:
    """Return the row with these unique values, and whether it is new."""
    statement = insert_new(model).values(**unique, **values)
    row = db.session.scalars(statement.returning(model)).one_or_none()
    if row is not None:
        return row, True
    return db.session.scalars(sa.select(model).filter_by(**unique)).one(), False


def _check_installed(slug: str, organization_id: int, integration_id: int) -> None:
    pair = {"organization_id": organization_id, "integration_id": integration_id}
    if db.session.scalars(sa.select(OrganizationIntegration).filter_by(**pair)).one_or_none() is None:
        fail(
            f"{slug!r} has no integration {integration_id}; run: flask scm add-integration {slug} PROVIDER --name NAME"
        )


def _print_row(as_json: bool, what: str, row_id: int, *, created: bool, more: str = "") -> None:
    text = f"added {what} with id {row_id}" if created else f"{what} exists already, with id {row_id}{more}"
    print_result(as_json, text, id=row_id, created=created)
