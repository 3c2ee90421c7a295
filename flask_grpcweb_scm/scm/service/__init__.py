"""The functions of ScmService, by subject."""

from flask_grpcweb_scm.scm.service import (
    code_mappings,
    commit_contexts,
    commits,
    external_issues,
    projects,
    repositories,
    suspects,
)
from flask_grpcweb_scm.scm.service.definition import service

__all__ = [
    "code_mappings",
    "commit_contexts",
    "commits",
    "external_issues",
    "projects",
    "repositories",
    "service",
    "suspects",
]
