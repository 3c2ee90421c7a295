"""One ``flask scm worker``, for a process of its own that is killed at a step that it is told."""

from __future__ import annotations

import os
import signal

import sqlalchemy as sa

import tests.old_click  # noqa: F401
from flask_grpcweb_scm.scm import db
from tests.scm.databases import disposed
from tests.scm.support import make_app

# Each run of git is a step: with its number in the file "kill", the worker is killed once git has ended. Without
# processes beside git's: it runs some hundred times.
GIT = """\
#!/bin/sh
read -r run < "{folder}/runs"
read -r kill < "{folder}/kill"
run=$((run + 1))
echo $run > "{folder}/runs"
if [ $run = $kill ]; then
    "{git}" "$@"
    kill -9 $PPID
    exit
fi
exec "{git}" "$@"
"""


def run_worker(database: str, mirrors: str, path: str, commit: int | None) -> None:
    """Work until nothing is due.

    :param path: with the git that counts.
    :param commit: of the database, counted from 1: before it the process kills itself.
    """
    os.environ["PATH"] = path
    count = 0

    def step(connection: sa.Connection) -> None:
        nonlocal count
        count += 1
        if count == commit:
            os.kill(os.getpid(), signal.SIGKILL)

    with disposed(make_app(database, GRPC_SCM_MIRRORS=mirrors, GRPC_SCM_ALLOWED_HOSTS=["127.0.0.1"])) as app:
        with app.app_context():
            sa.event.listen(db.engine, "commit", step)
        result = app.test_cli_runner().invoke(args=["scm", "worker", "--until-idle"])
        assert result.exit_code == 0, result.output
