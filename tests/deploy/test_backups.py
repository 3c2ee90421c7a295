"""Backups while callers write, as docs/operations.md has them: nothing acknowledged is missing."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import time
from pathlib import Path

import pytest

from flask_grpcweb_scm import StatusCode
from tests.deploy.deployment import PATIENCE, TOKEN, deployed
from tests.deploy.load import Load
from tests.deploy.test_rolling_restart import add_rows, stored
from tests.documents import PAGES, block
from tests.faults.postgresql import ROLE, PostgresqlServer
from tests.faults.redis_server import RedisServer

pytestmark = pytest.mark.needs("deployment")

SECONDS = 2.0


def run(script: str, folder: Path, **environ: str) -> str:
    done = subprocess.run(
        ["sh", "-ec", script],
        cwd=folder,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_postgresql(postgresql: PostgresqlServer, redis: RedisServer, tmp_path: Path) -> None:
    script = block(PAGES["operations"], "sh", "pg_dump")
    with deployed(tmp_path, postgresql, redis) as deployment:
        with Load(
            deployment.url, TOKEN, certificate=deployment.nginx.certificate, mappings=add_rows(deployment.flask)
        ) as load:
            time.sleep(SECONDS)
            before = set(load.acknowledged)
            postgresql.execute("DROP DATABASE IF EXISTS restored", f"CREATE DATABASE restored OWNER {ROLE}")
            # As the page has it: as the user of the app.
            address = postgresql.uri.replace("+psycopg", "").rpartition("/")[0]
            run(
                script,
                tmp_path,
                PATH=f"{postgresql.programs}:{os.environ['PATH']}",
                DATABASE=f"{address}/faulty",
                EMPTY_DATABASE=f"{address}/restored",
            )
            after = set(load.acknowledged)
        assert load.calls.keys() == {StatusCode.OK}, load.failures
        restored = stored(postgresql, "restored")
        assert before
        assert before <= restored
        # Calls went on meanwhile.
        assert len(after) > len(before)
        # Sequences and constraints came along: it is written to as before.
        deployment.environ["FLASK_SQLALCHEMY_DATABASE_URI"] = postgresql.uri.replace("/faulty", "/restored")
        deployment.flask("scm", "add-repository", "acme", "after-the-restore")
        advice = deployment.flask("grpc", "check", exit_codes={0, 1})
        assert "database" not in advice
        assert (tmp_path / "scm.dump").stat().st_mode & 0o077 == 0
        # By another user it would be that user's.
        postgresql.execute(f"REASSIGN OWNED BY {ROLE} TO postgres", database="restored")
        assert "may not read and write scm_" in deployment.flask("grpc", "check", exit_codes={1})
        # A backup that fails leaves the last one.
        kept = (tmp_path / "scm.dump").read_bytes()
        with pytest.raises(AssertionError, match="pg_dump"):
            run(
                script,
                tmp_path,
                PATH=f"{postgresql.programs}:{os.environ['PATH']}",
                DATABASE=f"{address}/none",
                EMPTY_DATABASE="",
            )
        assert (tmp_path / "scm.dump").read_bytes() == kept


def test_sqlite(postgresql: PostgresqlServer, redis: RedisServer, tmp_path: Path) -> None:
    script = block(PAGES["operations"], "sh", "sqlite3 scm.db")
    database = f"sqlite:///{tmp_path}/scm.db"
    with deployed(
        tmp_path, postgresql, redis, WEB_CONCURRENCY="1", FLASK_SQLALCHEMY_DATABASE_URI=database
    ) as deployment:
        with Load(
            deployment.url, TOKEN, certificate=deployment.nginx.certificate, mappings=add_rows(deployment.flask)
        ) as load:
            time.sleep(SECONDS)
            before = set(load.acknowledged)
            assert run(script, tmp_path) == "ok\n"
            after = set(load.acknowledged)
            time.sleep(SECONDS)
        assert load.calls.keys() == {StatusCode.OK}, load.failures
        assert before
        assert before <= in_file(tmp_path / "copy.db")
        assert load.acknowledged <= in_file(tmp_path / "scm.db")
        assert len(load.acknowledged) > len(after)
        # The restore, as the page says it.
        for unit in deployment.units:
            unit.stop()
        for name in ("scm.db", "scm.db-wal", "scm.db-shm"):
            (tmp_path / name).unlink(missing_ok=True)
        (tmp_path / "copy.db").rename(tmp_path / "scm.db")
        for unit in deployment.units:
            unit.start()
        with Load(deployment.url, TOKEN, certificate=deployment.nginx.certificate, mappings=(1, 1)) as load:
            time.sleep(SECONDS)
        assert before <= in_file(tmp_path / "scm.db")


def in_file(path: Path) -> set[str]:
    connection = sqlite3.connect(path)
    try:
        return {root for (root,) in connection.execute("SELECT stack_root FROM scm_code_mapping")}
    finally:
        connection.close()
