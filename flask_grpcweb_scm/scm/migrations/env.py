"""Run by ``flask db …``: the migrations of the SCM tables, in the database of the current app."""

from __future__ import annotations

from logging.config import fileConfig
from typing import Any

from alembic import context
from flask import current_app

from flask_grpcweb_scm.scm import db
from flask_grpcweb_scm.scm.database.name_search import include_object


def _run() -> None:
    assert context.config.config_file_name is not None
    fileConfig(context.config.config_file_name, disable_existing_loggers=False)
    options: dict[str, Any] = {
        **current_app.extensions["migrate"].configure_args,
        "target_metadata": db.metadata,
        "include_object": include_object,
    }
    if context.is_offline_mode():
        # `--sql` prints what it would do.
        context.configure(url=db.engine.url, literal_binds=True, **options)
        _migrate()
    else:
        with db.engine.connect() as connection:
            context.configure(connection=connection, **options)
            _migrate()


def _migrate() -> None:
    with context.begin_transaction():
        context.run_migrations()


_run()
