"""Source code management: models, and the service ``sentry.integrations.scm.v1.ScmService``."""

from __future__ import annotations

from pathlib import Path

from flask import Flask
from flask_sqlalchemy import SQLAlchemy

from flask_grpcweb_scm.scm.cli import scm_cli
from flask_grpcweb_scm.scm.database.db import db
from flask_grpcweb_scm.scm.database.deadlines import CallPool
from flask_grpcweb_scm.scm.database.models import (
    CodeMapping,
    Commit,
    CommitAuthor,
    CommitFileChange,
    ExternalIssue,
    Group,
    GroupLink,
    Integration,
    IssueOperation,
    LinkedType,
    LinkRelationship,
    Organization,
    OrganizationIntegration,
    Project,
    Repository,
    RepositoryStatus,
)
from flask_grpcweb_scm.scm.service import service

__all__ = [
    "MIGRATIONS",
    "CallPool",
    "CodeMapping",
    "Commit",
    "CommitAuthor",
    "CommitFileChange",
    "ExternalIssue",
    "Group",
    "GroupLink",
    "Integration",
    "IssueOperation",
    "LinkRelationship",
    "LinkedType",
    "Organization",
    "OrganizationIntegration",
    "Project",
    "Repository",
    "RepositoryStatus",
    "db",
    "init_app",
    "scm_cli",
    "service",
]

MIGRATIONS = str(Path(__file__).with_name("migrations"))
"""The folder for Flask-Migrate: ``Migrate(app, db, directory=MIGRATIONS)``."""


def init_app(app: Flask, host_db: SQLAlchemy | None = None) -> None:
    """Give an app the SCM tables: in its own SQLAlchemy instance when it has one, else in ours.

    :param host_db: the app's own instance, which is initialised here if it was not yet.
    """
    if host_db is not None and "sqlalchemy" not in app.extensions:
        host_db.init_app(app)
    db.init_app(app)
