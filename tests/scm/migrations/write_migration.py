"""``make migration MESSAGE=…``: write a new revision with what the models have and the last revision has not."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import flask_migrate

from flask_grpcweb_scm.scm import MIGRATIONS, db
from tests.scm.databases import disposed
from tests.scm.support import make_app


def revisions(directory: str = MIGRATIONS) -> list[Path]:
    """Return the files of the revisions, oldest first."""
    return sorted(Path(directory, "versions").glob("scm*.py"))


def write_migration(message: str, directory: str = MIGRATIONS) -> Path | None:
    """Write the next revision into a folder of migrations; None when the models have not changed."""
    before = revisions(directory)
    number = int(before[-1].name.partition("_")[0].removeprefix("scm")) + 1
    with tempfile.TemporaryDirectory() as folder, disposed(make_app(f"sqlite:///{folder}/head.db")) as app:
        flask_migrate.Migrate(app, db, process_revision_directives=_skip_without_changes)
        with app.app_context():
            flask_migrate.upgrade(directory)
            flask_migrate.migrate(directory, message, rev_id=f"scm{number:04}")
    written = set(revisions(directory)) - set(before)
    return written.pop() if written else None


def _skip_without_changes(context: Any, revision: Any, directives: list[Any]) -> None:
    if directives[0].upgrade_ops.is_empty():
        directives.clear()


if __name__ == "__main__":
    if not "".join(sys.argv[1:]):
        sys.exit("name the change: make migration MESSAGE='branches of repositories'")
    print(write_migration(" ".join(sys.argv[1:])) or "the models have not changed")  # noqa: T201  # for make
