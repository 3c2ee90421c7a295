"""Source code management: models, and the service ``sentry.integrations.scm.v1.ScmService``."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import sqlalchemy as sa
from flask import Flask, current_app
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from flask_grpcweb_scm.rpc import CallContext
from flask_grpcweb_scm.scm import jobs
from flask_grpcweb_scm.scm.database.db import db
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
    IssueState,
    Job,
    LinkedType,
    LinkRelationship,
    Organization,
    OrganizationIntegration,
    Project,
    Repository,
    RepositoryStatus,
    WebhookDelivery,
)
from flask_grpcweb_scm.scm.service import service
from flask_grpcweb_scm.scm.trackers import outbox
from flask_grpcweb_scm.transactions.deadlines import CallPool, ConnectTimeout, limit_call

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
    "db",
    "service",
]

logger = logging.getLogger(__name__)

FIGURES_SECONDS = 2.0
"""That a page of metrics waits for the database."""

PING_SECONDS = 0.35
"""That a check of health waits for a connection of the pool and a response, and then for one outside of the pool."""

MIGRATIONS = str(Path(__file__).with_name("migrations"))
"""The folder for Flask-Migrate: ``Migrate(app, db, directory=MIGRATIONS)``."""


def figures() -> Mapping[str, tuple[str, float]]:
    """Return figures for metrics that only the database has, by name, each with its meaning; none when it fails."""
    try:
        with limit_call(current_app.extensions["sqlalchemy"], CallContext(timeout=FIGURES_SECONDS)):
            return {**outbox.figures(), **jobs.figures()}
    except SQLAlchemyError as error:
        db.session.rollback()
        logger.warning("no figures of the outbox and of jobs: %s", type(error).__name__)
        return {}


def ping() -> None:
    """Reach the database.

    :raises SQLAlchemyError: when that fails within a moment.
    """
    pool = db.engine.pool
    if isinstance(pool, sa.StaticPool):
        # In memory: all threads share one connection, and what others have not committed.
        return
    sqlalchemy = current_app.extensions["sqlalchemy"]
    try:
        with limit_call(sqlalchemy, CallContext(timeout=PING_SECONDS)):
            db.session.execute(sa.text("SELECT 1"))
    except ConnectTimeout:
        raise
    except PoolTimeout:
        # All connections are busy: with work, or with waiting for a database that hangs.
        spare = pool.recreate()
        try:
            with limit_call(sqlalchemy, CallContext(timeout=PING_SECONDS)):
                spare.connect().close()
        finally:
            spare.dispose()


def init_app(app: Flask, host_db: SQLAlchemy | None = None) -> None:
    """Give an app the SCM tables: in its own SQLAlchemy instance when it has one, else in ours.

    :param host_db: the app's own instance, which is initialised here if it was not yet.
    """
    if host_db is not None and "sqlalchemy" not in app.extensions:
        host_db.init_app(app)
    db.init_app(app)
