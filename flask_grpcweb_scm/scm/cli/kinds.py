"""The kinds of rows that ``flask scm`` lists, shows, renames and deletes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from flask_grpcweb_scm.scm.cli.commands import fail, organization_named, project_named
from flask_grpcweb_scm.scm.database.db import Model, db
from flask_grpcweb_scm.scm.database.models import (
    CodeMapping,
    Commit,
    Group,
    Integration,
    Organization,
    OrganizationIntegration,
    Project,
    Repository,
)

__all__ = ["KINDS", "Arguments", "Kind", "group_numbered", "installation_named", "repository_named"]

PAGE_ROWS = 1000
Arguments = tuple[str, ...]


def repository_named(organization: str, name: str) -> Repository:
    """Return a repository of an organization by id or name, or end the command."""
    of_organization = sa.select(Repository).where(Repository.organization_id == organization_named(organization).id)
    row: Repository = _one(of_organization, Repository.id, Repository.name, "repository", organization, name)
    return row


def installation_named(organization: str, name: str) -> OrganizationIntegration:
    """Return an integration of an organization by id or name, or end the command."""
    installed = sa.select(OrganizationIntegration).join(OrganizationIntegration.integration)
    installed = installed.where(OrganizationIntegration.organization_id == organization_named(organization).id)
    row: OrganizationIntegration = _one(installed, Integration.id, Integration.name, "integration", organization, name)
    return row


def _one(statement: sa.Select[Any], key: Any, label: Any, kind: str, organization: str, name: str) -> Any:
    rows: Sequence[Any] = ()
    if (number := _number(name)) is not None:
        rows = db.session.scalars(statement.where(key == number)).all()
    rows = rows or db.session.scalars(statement.where(label == name).limit(10).order_by(key)).all()
    plural = KINDS[kind].plural
    if not rows:
        fail(f"{organization!r} has no {kind} {name!r}; see: flask scm list {plural} {organization}")
    if len(rows) > 1:
        ids = ", ".join(str(row.integration_id if kind == "integration" else row.id) for row in rows)
        fail(f"{organization!r} has several {plural} {name!r}; give an id: {ids}")
    return rows[0]


def _number(text: str) -> int | None:
    """Read a number that a column may have; None for any other text."""
    return int(text) if text.isascii() and text.isdecimal() and int(text) < 2**63 else None


def group_numbered(organization: str, project: str, number: str) -> Group:
    """Return a group of a project by its number there, or end the command."""
    row = None
    if (short_id := _number(number)) is not None:
        of_project = sa.select(Group).where(Group.project_id == project_named(organization, project).id)
        row = db.session.scalars(of_project.where(Group.short_id == short_id)).one_or_none()
    if row is None:
        fail(f"{project!r} has no group {number!r}; see: flask scm list groups {organization} {project}")
    return row


def _organization_facts(row: Organization) -> dict[str, Any]:
    return {"id": row.id, "slug": row.slug, "name": row.name}


def _project_facts(row: Project) -> dict[str, Any]:
    return {"id": row.id, "slug": row.slug, "name": row.name, "platform": row.platform or ""}


def _repository_facts(row: Repository) -> dict[str, Any]:
    return {
        "id": row.id,
        "name": row.name,
        "status": row.status.value,
        "provider": row.provider,
        "external_id": row.external_id or "",
        "url": row.url,
    }


def _integration_facts(row: OrganizationIntegration) -> dict[str, Any]:
    integration = row.integration
    return {
        "id": integration.id,
        "name": integration.name,
        "provider": integration.provider,
        "external_id": integration.external_id,
    }


def _group_facts(row: Group) -> dict[str, Any]:
    return {"id": row.id, "number": row.short_id, "title": row.title}


def _more_of_repository(row: Repository) -> dict[str, Any]:
    number = sa.select(sa.func.count())
    return {
        "remote": row.remote or "",
        "default_branch": row.default_branch,
        "mirror": row.mirror_path or "",
        "integration_id": row.integration_id or 0,
        "commits": db.session.scalar(number.select_from(Commit).where(Commit.repository_id == row.id)),
        "code_mappings": db.session.scalar(number.select_from(CodeMapping).where(CodeMapping.repository_id == row.id)),
    }


def _more_of_integration(row: OrganizationIntegration) -> dict[str, Any]:
    # Credentials are named there, and nothing else is secret.
    return {"settings": row.integration.metadata_, "organization_settings": row.config}


@dataclass(frozen=True, slots=True)
class Kind:
    """Rows of one kind, as commands name and show them."""

    plural: str
    arguments: Arguments
    """Names of the arguments that name a row, beginning with what names the list."""
    model: type[Model]
    find: Callable[..., Any]
    of: Callable[..., sa.ColumnElement[bool]]
    """Makes the condition on the rows of a list, from the arguments that name it."""
    facts: Callable[[Any], dict[str, Any]]
    more: Callable[[Any], dict[str, Any]] = lambda row: {}
    """Facts that only ``show`` shows."""
    key: Any = None
    """The column that a list is ordered by: the id, unless it is given."""

    def page(self, arguments: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Yield the facts of the rows of a list."""
        key = self.model.__table__.c.id if self.key is None else self.key
        statement = sa.select(self.model).where(self.of(*arguments)).order_by(key).limit(PAGE_ROWS)
        rows = db.session.scalars(statement).all()
        while rows:
            yield from map(self.facts, rows)
            last = getattr(rows[-1], "id" if self.key is None else self.key.key)
            db.session.expunge_all()
            rows = db.session.scalars(statement.where(key > last)).all()


KINDS = {
    "organization": Kind(
        "organizations", ("ORG",), Organization, organization_named, lambda: sa.true(), _organization_facts
    ),
    "project": Kind(
        *("projects", ("ORG", "PROJECT"), Project, project_named),
        lambda slug: Project.organization_id == organization_named(slug).id,
        _project_facts,
    ),
    "repository": Kind(
        *("repositories", ("ORG", "REPOSITORY"), Repository, repository_named),
        lambda slug: Repository.organization_id == organization_named(slug).id,
        _repository_facts,
        _more_of_repository,
    ),
    "integration": Kind(
        *("integrations", ("ORG", "INTEGRATION"), OrganizationIntegration, installation_named),
        lambda slug: OrganizationIntegration.organization_id == organization_named(slug).id,
        _integration_facts,
        _more_of_integration,
        key=OrganizationIntegration.integration_id,
    ),
    "group": Kind(
        *("groups", ("ORG", "PROJECT", "NUMBER"), Group, group_numbered),
        lambda slug, project: Group.project_id == project_named(slug, project).id,
        _group_facts,
    ),
}
