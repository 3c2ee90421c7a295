"""Apps for ``flask --app tests.scm.migrated_app:… db …``."""

from __future__ import annotations

import os

from flask import Flask
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from flask_grpcweb_scm import GrpcWebScm
from flask_grpcweb_scm.scm import MIGRATIONS, db


def own() -> Flask:
    """An app with the extension's database, and its migrations."""
    app = _app()
    GrpcWebScm(app)
    Migrate(app, db, directory=MIGRATIONS)
    return app


def host() -> Flask:
    """An app with a database, a model and migrations of its own."""

    class Base(DeclarativeBase):
        pass

    host_db = SQLAlchemy(model_class=Base)

    class Team(host_db.Model):  # type: ignore[name-defined,misc]
        id: Mapped[int] = mapped_column(primary_key=True)
        name: Mapped[str]

    app = _app()
    GrpcWebScm(app, db=host_db)
    Migrate(app, host_db, directory=os.environ["HOST_MIGRATIONS"])
    return app


def _app() -> Flask:
    app = Flask(__name__)
    app.testing = True
    app.config.from_prefixed_env()
    return app
