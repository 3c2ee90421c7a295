"""An app for servers of their own processes, configured by environment variables."""

from __future__ import annotations

import os

import sqlalchemy as sa
from flask import Flask, jsonify
from flask.typing import ResponseReturnValue

from flask_grpcweb_scm import GrpcWebScm
from flask_grpcweb_scm.scm import db


def create_app() -> Flask:
    app = Flask(__name__)
    app.config.from_prefixed_env()
    app.config.setdefault("GRPC_REQUIRE_AUTH", "GRPC_AUTH_TOKENS" in app.config)
    GrpcWebScm(app)
    app.add_url_rule("/debug/process", view_func=_process)
    return app


def create_app_that_queries() -> Flask:
    app = create_app()
    with app.app_context():
        db.session.execute(sa.text("CREATE TEMPORARY TABLE of_the_factory (id INTEGER)"))
        db.session.commit()
    return app


def _process() -> ResponseReturnValue:
    """Which process this is, and whether its connection to the database is that of the factory."""
    names = set(sa.inspect(db.session.connection()).get_temp_table_names())
    return jsonify(pid=os.getpid(), shared="of_the_factory" in names)
