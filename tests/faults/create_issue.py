"""One CreateExternalIssue, for a process of its own that kills itself at a point that it is told."""

from __future__ import annotations

import os
import signal
from multiprocessing.connection import Connection
from typing import Any

import sqlalchemy as sa
from flask import Flask

from flask_grpcweb_scm.pb import scm_pb2
from flask_grpcweb_scm.scm import Integration, OrganizationIntegration, db
from tests.grpcweb import Answer, call
from tests.scm.databases import disposed
from tests.scm.support import SERVICE, add_tenant, make_app


def tracked_app(database: str) -> Flask:
    return make_app(database, GRPC_SCM_CREDENTIALS={"bot": "token"}, GRPC_SCM_ALLOWED_HOSTS="127.0.0.1")


def set_up(app: Flask, tracker: str) -> None:
    with app.app_context():
        tenant = add_tenant("ours")
        integration = db.session.get_one(Integration, tenant.integration)
        integration.provider = "github"
        integration.metadata_ = {"base_url": tracker, "credentials": "bot"}
        db.session.scalars(sa.select(OrganizationIntegration)).one().config = {"repo": "o/r"}
        db.session.commit()


def create(app: Flask, timeout: str = "60S") -> Answer:
    request = scm_pb2.CreateExternalIssueRequest(organization_id=1, integration_id=1, title="Bug")
    headers = {"idempotency-key": "k", "grpc-timeout": timeout}
    return call(app.test_client(), SERVICE + "CreateExternalIssue", request, headers=headers)


def create_and_die(database: str, point: str, answers: Connection) -> None:
    """Send the key of the issue, unless the point comes before.

    :param point: ``before`` or ``after`` and the beginning of an SQL statement, or ``commit`` and the number of one;
        empty for none.
    """
    with disposed(tracked_app(database)) as app:
        if point:
            with app.app_context():
                die_at(db.engine, point)
        answers.send(create(app).only(scm_pb2.ExternalIssue).key)


def die_at(engine: sa.Engine, point: str) -> None:
    kind, _, what = point.partition(" ")
    if kind == "commit":
        commits = iter(range(1, 100))
        sa.event.listen(sa.orm.Session, "after_commit", lambda session: next(commits) == int(what) and die())
        return

    def at_statement(connection: Any, cursor: Any, statement: str, *more: Any) -> None:
        if statement.startswith(what):
            die()

    sa.event.listen(engine, f"{kind}_cursor_execute", at_statement)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
