"""Imported by a process that forks others: what each would do when it makes its first app and call is done here."""

from __future__ import annotations

import contextlib

import sqlalchemy as sa

from flask_grpcweb_scm.scm import db
from tests.scm.databases import disposed
from tests.scm.support import Scm, add_tenant, make_app

with contextlib.suppress(ImportError):  # not there where tests need no PostgreSQL
    # Without a connection: its dialect and its driver are imported.
    sa.create_engine("postgresql+psycopg://")

sa.orm.configure_mappers()
with disposed(make_app("sqlite://")) as app:
    with app.app_context():
        db.create_all()
        tenant = add_tenant("warm")
    ids = {"organization_id": tenant.organization, "integration_id": tenant.integration}
    Scm(app)("CreateExternalIssue", **ids, title="Warm")
    app.test_cli_runner().invoke(args=["scm", "list", "repositories", "warm"])
