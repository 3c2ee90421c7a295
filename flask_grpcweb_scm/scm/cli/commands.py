"""The group ``flask scm``, and what its commands have in common: output, errors, and the rows they are about."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn, TypeVar

import click
import sqlalchemy as sa
from flask.cli import with_appcontext
from sqlalchemy.exc import DBAPIError

from flask_grpcweb_scm.scm.database.db import db
from flask_grpcweb_scm.scm.database.models import Organization, Project
from flask_grpcweb_scm.scm.git_import.importer import ImportFailed
from flask_grpcweb_scm.scm.providers.errors import ProviderError
from flask_grpcweb_scm.scm.sources.git_process import GitError

__all__ = ["command", "fail", "fitting", "organization_named", "print_result", "project_named", "scm_cli"]

Command = TypeVar("Command", bound=Callable[..., object])


@click.group("scm")
def scm_cli() -> None:
    """Set up what ScmService serves."""


def command(name: str, group: click.Group = scm_cli) -> Callable[[Command], click.Command]:
    """Make a command with ``--json``, whose errors say the way out."""

    def decorate(function: Command) -> click.Command:
        @click.option("--json", "as_json", is_flag=True, help="Print an object.")
        @with_appcontext
        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> None:
            with _translated_errors():
                function(*args, **kwargs)

        return group.command(name)(run)

    return decorate


@contextmanager
def _translated_errors() -> Iterator[None]:
    try:
        yield
    except (GitError, ImportFailed, ProviderError) as error:
        raise click.ClickException(str(error)) from error
    except DBAPIError as error:
        db.session.rollback()
        if not sa.inspect(db.engine).has_table(Organization.__tablename__):
            raise click.ClickException("the tables do not exist yet; run: flask scm init-db") from error
        raise


def fail(text: str) -> NoReturn:
    """End the command with an error message."""
    raise click.ClickException(text)


def print_result(as_json: bool, text: str, **facts: Any) -> None:
    """Print the result for people, or as a JSON object."""
    click.echo(json.dumps(facts) if as_json else text)


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
