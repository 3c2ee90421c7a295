"""Finding rows that a caller may see.

Whose a row is gets decided in the query that looks for it, so that a row of another tenant and one that does not exist
take the same time and get the same answer.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.orm import contains_eager, joinedload

from flask_grpcweb_scm.rpc import CallContext, RpcError, StatusCode
from flask_grpcweb_scm.scm.database.db import Model, db
from flask_grpcweb_scm.scm.database.models import (
    CodeMapping,
    Commit,
    CommitAuthor,
    CommitFileChange,
    ExternalIssue,
    Group,
    GroupLink,
    IssueOperation,
    LinkedType,
    Organization,
    OrganizationIntegration,
    Project,
    Repository,
    RepositoryStatus,
)
from flask_grpcweb_scm.scm.queries.paging import Position

__all__ = [
    "EXISTING",
    "Statement",
    "active_repositories",
    "code_mappings_of",
    "find_author",
    "find_commit",
    "find_commits_starting_with",
    "find_group",
    "find_group_and_issue",
    "find_installation",
    "find_link",
    "find_organization",
    "find_project",
    "find_repository",
    "installation_of",
    "last_change_of_file",
    "link_not_found",
    "page_of_external_issues",
    "visible",
]

Row = TypeVar("Row", bound=Model)

AuthorRow = Any
"""A CommitAuthor, or a row with attributes of the same names."""

Statement = Any
"""SQLAlchemy 2.0 and 2.1 name the types of a statement's columns in different ways."""

EXISTING = Repository.status.in_([RepositoryStatus.ACTIVE, RepositoryStatus.DISABLED, RepositoryStatus.HIDDEN])

# Some statements are built once, because that takes as long as to run them; those that use a relationship not before
# they are needed, because that configures the mappers, of the app's own models too.
_AUTHOR = sa.select(CommitAuthor.name, CommitAuthor.email, CommitAuthor.external_id)
_AUTHOR_OF_COMMIT = _AUTHOR.join(Commit, Commit.author_id == CommitAuthor.id).where(
    Commit.repository_id == sa.bindparam("repository_id"), Commit.key == sa.bindparam("sha")
)
_AUTHOR_WITH_EMAIL = _AUTHOR.where(
    CommitAuthor.organization_id == sa.bindparam("organization_id"), CommitAuthor.email == sa.bindparam("email")
)


@functools.cache
def _code_mappings() -> Statement:
    statement = sa.select(CodeMapping).join(CodeMapping.repository)
    statement = statement.where(CodeMapping.project_id == sa.bindparam("project_id"), EXISTING)
    return statement.order_by(
        CodeMapping.automatically_generated, sa.func.length(CodeMapping.stack_root).desc(), CodeMapping.id
    )


@functools.cache
def _active_repositories() -> Statement:
    readable = sa.or_(Repository.mirror_path.is_not(None), Repository.integration_id.is_not(None))
    active = sa.and_(
        Repository.organization_id == sa.bindparam("organization_id"), Repository.status == RepositoryStatus.ACTIVE
    )
    statement = sa.select(Repository).options(joinedload(Repository.integration))
    return statement.where(active, readable).order_by(Repository.id)


def visible(context: CallContext) -> sa.ColumnElement[bool]:
    """For a query that has an Organization: that the caller may reach it."""
    allowed = context.caller.organizations
    if allowed is None:
        return sa.true()
    ids = [item for item in allowed if isinstance(item, int)]
    slugs = [item for item in allowed if isinstance(item, str)]
    return sa.or_(Organization.id.in_(ids), Organization.slug.in_(slugs))


def _one(statement: sa.Select[Row], missing: str) -> Row:
    row = db.session.scalars(statement).one_or_none()
    if row is None:
        raise RpcError(StatusCode.NOT_FOUND, missing)
    return row


def find_organization(context: CallContext, organization_id: int) -> Organization:
    """An organization by id.

    :raises RpcError: NOT_FOUND.
    """
    statement = sa.select(Organization).where(Organization.id == organization_id, visible(context))
    return _one(statement, f"organization {organization_id} does not exist")


def find_project(context: CallContext, organization_id: int, project_id: int) -> Project:
    """A project of an organization.

    :raises RpcError: NOT_FOUND.
    """
    statement = sa.select(Project).join(Project.organization)
    statement = statement.where(Project.id == project_id, Organization.id == organization_id, visible(context))
    return _one(statement, f"project {project_id} does not exist in organization {organization_id}")


def find_repository(context: CallContext, repository_id: int, *, organization_id: int | None = None) -> Repository:
    """A repository of any organization, or of one, unless it is being deleted.

    :raises RpcError: NOT_FOUND.
    """
    statement = sa.select(Repository).join(Repository.organization)
    statement = statement.where(Repository.id == repository_id, EXISTING, visible(context))
    if organization_id is None:
        return _one(statement, f"repository {repository_id} does not exist")
    statement = statement.where(Organization.id == organization_id)
    return _one(statement, f"repository {repository_id} does not exist in organization {organization_id}")


def find_installation(context: CallContext, organization_id: int, integration_id: int) -> OrganizationIntegration:
    """An integration as it is installed in an organization, with the integration itself.

    :raises RpcError: NOT_FOUND.
    """
    statement = sa.select(OrganizationIntegration).join(OrganizationIntegration.organization)
    statement = statement.options(joinedload(OrganizationIntegration.integration))
    pair = sa.and_(Organization.id == organization_id, OrganizationIntegration.integration_id == integration_id)
    return _one(
        statement.where(pair, visible(context)),
        f"integration {integration_id} is not installed in organization {organization_id}",
    )


def installation_of(row: ExternalIssue | IssueOperation | Repository) -> OrganizationIntegration | None:
    """How the integration of a row is installed in the row's organization; None when it is not, or not any more."""
    statement = sa.select(OrganizationIntegration).options(joinedload(OrganizationIntegration.integration))
    same = [
        OrganizationIntegration.organization_id == row.organization_id,
        OrganizationIntegration.integration_id == row.integration_id,
    ]
    return db.session.scalars(statement.where(*same)).one_or_none()


def find_group_and_issue(context: CallContext, group_id: int, issue_id: int) -> tuple[Group, ExternalIssue]:
    """A group and an external issue of one organization.

    :raises RpcError: NOT_FOUND, which does not tell which of the two is missing.
    """
    statement = (
        sa.select(Group, ExternalIssue)
        .join(Group.project)
        .join(Project.organization)
        .join(ExternalIssue, ExternalIssue.organization_id == Organization.id)
        .where(Group.id == group_id, ExternalIssue.id == issue_id, visible(context))
    )
    pair = db.session.execute(statement).one_or_none()
    if pair is None:
        raise RpcError(StatusCode.NOT_FOUND, f"no organization has both group {group_id} and external issue {issue_id}")
    return pair[0], pair[1]


def find_group(context: CallContext, organization_id: int, group_id: int) -> Group:
    """An error group of an organization, with its project.

    :raises RpcError: NOT_FOUND.
    """
    statement = sa.select(Group).join(Group.project).join(Project.organization)
    statement = statement.options(contains_eager(Group.project))
    statement = statement.where(Group.id == group_id, Organization.id == organization_id, visible(context))
    return _one(statement, f"group {group_id} does not exist in organization {organization_id}")


def find_link(context: CallContext, group_id: int, issue_id: int) -> GroupLink:
    """The link of a group and an external issue of one organization.

    :raises RpcError: NOT_FOUND, which does not tell whether group, issue or link are missing.
    """
    statement = (
        sa.select(GroupLink)
        .join(Group, Group.id == GroupLink.group_id)
        .join(Group.project)
        .join(Project.organization)
        .join(ExternalIssue, ExternalIssue.organization_id == Organization.id)
        .where(GroupLink.linked_type == LinkedType.ISSUE, GroupLink.linked_id == ExternalIssue.id)
        .where(Group.id == group_id, ExternalIssue.id == issue_id, visible(context))
    )
    link = db.session.scalars(statement).one_or_none()
    if link is None:
        raise link_not_found(group_id, issue_id)
    return link


def link_not_found(group_id: int, issue_id: int) -> RpcError:
    """The error for a group and an external issue that are not linked."""
    text = f"no organization has group {group_id} and external issue {issue_id} linked"
    return RpcError(StatusCode.NOT_FOUND, text)


def page_of_external_issues(
    organization_id: int, *, group_id: int | None, after: Position | None, limit: int
) -> Sequence[ExternalIssue]:
    """External issues of an organization in the order (id), from after a position on.

    :param group_id: of the group that they must be linked to; None for all issues.
    """
    statement = sa.select(ExternalIssue).where(ExternalIssue.organization_id == organization_id)
    if after is not None:
        statement = statement.where(ExternalIssue.id > after[0])
    if group_id is not None:
        linked = sa.select(GroupLink.linked_id).where(
            GroupLink.group_id == group_id, GroupLink.linked_type == LinkedType.ISSUE
        )
        statement = statement.where(ExternalIssue.id.in_(linked))
    return db.session.scalars(statement.order_by(ExternalIssue.id).limit(limit)).all()


def find_commit(repository: Repository, sha: str) -> Commit | None:
    """The stored commit with a full SHA, and its author."""
    statement = sa.select(Commit).options(joinedload(Commit.author))
    return db.session.scalars(statement.where(Commit.repository_id == repository.id, Commit.key == sha)).one_or_none()


def find_commits_starting_with(repository: Repository, prefix: str) -> Sequence[str]:
    """Up to two SHAs of stored commits: whether there is one, and whether there are more."""
    # A range, because SQLite uses no index for LIKE; "g" sorts after every hexadecimal digit.
    between = sa.and_(Commit.key >= prefix, Commit.key < prefix + "g")
    return db.session.scalars(
        sa.select(Commit.key).where(Commit.repository_id == repository.id, between).limit(2)
    ).all()


def find_author(repository: Repository, sha: str, email: str) -> AuthorRow | None:
    """The author of a stored commit, else the organization's author with an e-mail address."""
    of_commit = db.session.execute(_AUTHOR_OF_COMMIT, {"repository_id": repository.id, "sha": sha}).one_or_none()
    if of_commit is not None:
        return of_commit
    values = {"organization_id": repository.organization_id, "email": email}
    return db.session.execute(_AUTHOR_WITH_EMAIL, values).one_or_none()


def last_change_of_file(commit: Commit, path: str) -> tuple[Commit, str] | None:
    """The newest stored commit, at or before another by date, that touched a file, and how (A, D or M)."""
    statement = (
        sa.select(Commit, CommitFileChange.type)
        .join(CommitFileChange)
        .options(joinedload(Commit.author))
        .where(
            Commit.repository_id == commit.repository_id,
            Commit.date_added <= commit.date_added,
            CommitFileChange.filename == path,
        )
        # Of commits in the same second the one asked about is the newest.
        .order_by(Commit.date_added.desc(), sa.case((Commit.id == commit.id, 0), else_=1), Commit.id.desc())
        .limit(1)
    )
    row = db.session.execute(statement).one_or_none()
    return None if row is None else (row[0], row[1])


def code_mappings_of(project: Project) -> Sequence[CodeMapping]:
    """A project's code mappings in order of precedence: users' before generated ones, longer stack roots first."""
    mappings: Sequence[CodeMapping] = db.session.scalars(_code_mappings(), {"project_id": project.id}).all()
    return mappings


def active_repositories(organization_id: int) -> Sequence[Repository]:
    """An organization's active repositories whose contents may be read somewhere, oldest first."""
    rows: Sequence[Repository] = db.session.scalars(_active_repositories(), {"organization_id": organization_id}).all()
    return rows
