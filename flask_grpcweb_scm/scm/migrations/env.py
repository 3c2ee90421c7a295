"""Run by ``flask db …``: the migrations of the SCM tables, in the database of the current app."""

from __future__ import annotations

from logging.config import fileConfig
from typing import Any

from alembic import context
from flask import current_app


def _include_object(item: object, name: str | None, *_: object) -> bool:
    # Not in the metadata, because only the database knows whether it can create the index.
    return name != "ix_scm_repository_name_trigrams"


def _run() -> None:
    assert context.config.config_file_name is not None
    fileConfig(context.config.config_file_name, disable_existing_loggers=False)
    migrate = current_app.extensions["migrate"]
    options: dict[str, Any] = {
        **migrate.configure_args,
        "target_metadata": migrate.db.metadata,
        "include_object": _include_object,
    }
    if context.is_offline_mode():
        # `--sql` prints the statements.
        context.configure(url=migrate.db.engine.url, literal_binds=True, **options)
        _migrate()
    else:
        with migrate.db.engine.connect() as connection:
            context.configure(connection=connection, **options)
            _migrate()


def _migrate() -> None:
    with context.begin_transaction():
        context.run_migrations()


_run()
