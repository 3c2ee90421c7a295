"""One ``flask scm import-git``, for a process of its own that is killed."""

from __future__ import annotations

from multiprocessing.connection import Connection

import tests.old_click  # noqa: F401
from tests.scm.databases import disposed
from tests.scm.support import make_app


def import_git(database: str, repository: str, printed: Connection) -> None:
    """Send what the command prints."""
    with disposed(make_app(database)) as app:
        result = app.test_cli_runner().invoke(args=["scm", "import-git", "demo", repository, "--json"])
        assert result.exit_code == 0, result.output
        printed.send(result.stdout)
