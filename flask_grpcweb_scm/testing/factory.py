"""Rows of the SCM models, with the rows that they belong to."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping
from typing import Any, TypeVar

from flask import Flask

from flask_grpcweb_scm.scm import (
    CodeMapping,
    Commit,
    CommitAuthor,
    CommitFileChange,
    ExternalIssue,
    Group,
    GroupLink,
    Integration,
    Organization,
    OrganizationIntegration,
    Project,
    Repository,
    db,
)

__all__ = ["ScmFactory"]

Row = TypeVar("Row")

_numbers = itertools.count(1)


class ScmFactory:
    """Makes rows in the database of an app, and its missing tables.

    The arguments of a method are the rows that the new row belongs to, which it makes when they are not given; keyword
    arguments are column values, and replace the defaults, which differ for every row. Rows are committed, so that calls
    see them, and detached: their columns can be read anywhere, their relationships nowhere.
    """

    def __init__(self, app: Flask) -> None:
        self._app = app
        with app.app_context():
            db.create_all()

    def organization(self, **values: Any) -> Organization:
        """Make an organization."""
        return self._add(Organization, slug=f"organization-{next(_numbers)}", values=values)

    def project(self, organization: Organization | None = None, **values: Any) -> Project:
        """Make a project of an organization."""
        organization = organization or self.organization()
        return self._add(Project, organization_id=organization.id, slug=f"project-{next(_numbers)}", values=values)

    def group(self, project: Project | None = None, **values: Any) -> Group:
        """Make an error group of a project."""
        project = project or self.project()
        number = next(_numbers)
        return self._add(Group, project_id=project.id, short_id=number, title=f"Error {number}", values=values)

    def integration(self, organization: Organization | None = None, **values: Any) -> Integration:
        """Make an integration that is installed in an organization; of no tracker, unless `provider` names one."""
        organization = organization or self.organization()
        name = f"integration-{next(_numbers)}"
        integration = self._add(Integration, provider="example", external_id=name, name=name, values=values)
        pair = {"organization_id": organization.id, "integration_id": integration.id}
        self._add(OrganizationIntegration, values=pair)
        return integration

    def repository(self, organization: Organization | None = None, **values: Any) -> Repository:
        """Make a repository of an organization."""
        organization = organization or self.organization()
        name = f"example/repository-{next(_numbers)}"
        return self._add(Repository, organization_id=organization.id, name=name, external_id=name, values=values)

    def author(self, organization: Organization | None = None, **values: Any) -> CommitAuthor:
        """Make an author of commits."""
        organization = organization or self.organization()
        number = next(_numbers)
        email = f"author-{number}@example.com"
        return self._add(
            CommitAuthor, organization_id=organization.id, name=f"Author {number}", email=email, values=values
        )

    def commit(
        self,
        repository: Repository | None = None,
        *,
        author: CommitAuthor | None = None,
        files: Mapping[str, str] | None = None,
        **values: Any,
    ) -> Commit:
        """Make a commit of a repository.

        :param files: changes by path: ``A`` for added, ``M`` for modified, ``D`` for deleted.
        """
        repository = repository or self.repository()
        if author is None and "author_id" not in values:
            author = self.author(self._get(Organization, repository.organization_id))
        number = next(_numbers)
        commit = self._add(
            Commit,
            repository_id=repository.id,
            author_id=author and author.id,
            key=hashlib.sha1(str(number).encode(), usedforsecurity=False).hexdigest(),
            message=f"Change {number}",
            values=values,
        )
        for filename, kind in (files or {}).items():
            self._add(CommitFileChange, commit_id=commit.id, filename=filename, type=kind, values={})
        return commit

    def code_mapping(
        self, project: Project | None = None, repository: Repository | None = None, **values: Any
    ) -> CodeMapping:
        """Make a code mapping of a project, to a repository of its organization."""
        project = project or self.project()
        organization = self._get(Organization, project.organization_id)
        repository = repository or self.repository(organization)
        return self._add(
            CodeMapping,
            organization_id=organization.id,
            project_id=project.id,
            repository_id=repository.id,
            stack_root=f"app-{next(_numbers)}/",
            source_root="src/",
            values=values,
        )

    def external_issue(
        self, organization: Organization | None = None, integration: Integration | None = None, **values: Any
    ) -> ExternalIssue:
        """Make an external issue of an integration of an organization."""
        organization = organization or self.organization()
        integration = integration or self.integration(organization)
        key = f"T-{next(_numbers)}"
        return self._add(
            ExternalIssue,
            organization_id=organization.id,
            integration_id=integration.id,
            key=key,
            title=f"Issue {key}",
            values=values,
        )

    def link(self, group: Group, issue: ExternalIssue, **values: Any) -> GroupLink:
        """Link a group to an external issue."""
        return self._add(GroupLink, group_id=group.id, project_id=group.project_id, linked_id=issue.id, values=values)

    def _add(self, model: type[Row], *, values: Mapping[str, Any], **made_up: Any) -> Row:
        with self._app.app_context():
            row = model(**{**made_up, **values})
            db.session.add(row)
            db.session.commit()
            db.session.refresh(row)
            db.session.expunge(row)
            return row

    def _get(self, model: type[Row], row_id: int) -> Row:
        with self._app.app_context():
            row: Row = db.session.get_one(model, row_id)
            db.session.expunge(row)
            return row
