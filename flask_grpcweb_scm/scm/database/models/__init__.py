"""The tables of the SCM service, and the unique constraints of each.

All are imported here, so that a foreign key of one, and a migration, find the others.
"""

from flask_grpcweb_scm.scm.database.models.issues import ExternalIssue, GroupLink, IssueOperation
from flask_grpcweb_scm.scm.database.models.jobs import Job, WebhookDelivery
from flask_grpcweb_scm.scm.database.models.repositories import (
    MAX_FILE_CHANGES,
    CodeMapping,
    Commit,
    CommitAuthor,
    CommitFileChange,
    Repository,
)
from flask_grpcweb_scm.scm.database.models.tenants import (
    Group,
    Integration,
    Organization,
    OrganizationIntegration,
    Project,
)
from flask_grpcweb_scm.scm.database.values import IssueState, LinkedType, LinkRelationship, RepositoryStatus

__all__ = [
    "MAX_FILE_CHANGES",
    "CodeMapping",
    "Commit",
    "CommitAuthor",
    "CommitFileChange",
    "ExternalIssue",
    "Group",
    "GroupLink",
    "Integration",
    "IssueOperation",
    "IssueState",
    "Job",
    "LinkRelationship",
    "LinkedType",
    "Organization",
    "OrganizationIntegration",
    "Project",
    "Repository",
    "RepositoryStatus",
    "WebhookDelivery",
]
