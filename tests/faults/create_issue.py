"""One CreateExternalIssue in a process of its own, which kills itself at a point that it is told.

    python -m tests.faults.create_issue DATABASE POINT

A point is ``before`` or ``after`` and the beginning of an SQL statement, or ``commit`` and the number of one; empty for
none. What the caller would be answered goes to the standard output.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

import sqlalchemy as sa
from flask import Flask

from flask_grpcweb_scm.pb import scm_pb2
from flask_grpcweb_scm.scm import Integration, OrganizationIntegration, db, outbox
from flask_grpcweb_scm.scm.trackers.tracker import Tracker
from tests.grpcweb import Answer, call
from tests.scm.support import SERVICE, add_tenant, make_app

KEY = "the-key"


def quick_app(database: str) -> Flask:
    """Nobody waits for half a minute here: a claim ends a second after it began."""
    outbox.GRACE_SECONDS = 0.5
    Tracker.search_delay = 0.1
    return make_app(
        database,
        GRPC_SCM_CREDENTIALS={"bot": "token"},
        GRPC_SCM_ALLOWED_HOSTS="127.0.0.1",
        GRPC_TRACKER_TIMEOUT=0.5,
    )


def set_up(app: Flask, tracker: str) -> None:
    with app.app_context():
        db.create_all()
        tenant = add_tenant("ours")
        integration = db.session.get_one(Integration, tenant.integration)
        integration.provider = "github"
        integration.metadata_ = {"base_url": tracker, "credentials": "bot"}
        db.session.scalars(sa.select(OrganizationIntegration)).one().config = {"repo": "o/r"}
        db.session.commit()


def create(app: Flask) -> Answer:
    request = scm_pb2.CreateExternalIssueRequest(organization_id=1, integration_id=1, title="Bug")
    return call(app.test_client(), SERVICE + "CreateExternalIssue", request, headers={"idempotency-key": KEY})


def die(*ignored: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


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


def main(database: str, point: str) -> None:
    app = quick_app(database)
    if point:
        with app.app_context():
            die_at(db.engine, point)
    answer = create(app)
    sys.stdout.write(f"{answer.code} {answer.only(scm_pb2.ExternalIssue).key}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
