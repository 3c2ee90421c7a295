"""``flask grpc check`` looks at how the app is run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from flask_grpcweb_scm.cli.check_operation import operation_findings
from flask_grpcweb_scm.scm import db
from tests.scm.databases import disposed
from tests.scm.support import make_app

WORKERS = {"WEB_CONCURRENCY": "2"}
METRICS = {"GRPC_METRICS_PATH": "/metrics"}


def advice(uri: str, config: dict[str, Any], environment: dict[str, str] | None = None) -> list[str]:
    with disposed(make_app(uri, **config)) as app:
        return [*operation_findings(app, app.extensions["grpcweb_scm"].settings, environment or {})]


@pytest.mark.parametrize(
    ("config", "environment", "start"),
    [
        ({}, {}, ""),
        ({"GRPC_DRAIN_FILE": "/tmp/is-not-there", "GRPC_HEALTH_PATH": "/healthz"}, {}, ""),
        ({"GRPC_DRAIN_FILE": "/tmp/is-not-there", "GRPC_HEALTH": True}, {}, ""),
        ({"GRPC_DRAIN_FILE": "/tmp/is-not-there"}, {}, "GRPC_DRAIN_FILE is set, but nothing tells of it"),
        ({"GRPC_DRAIN_FILE": "/etc/hostname", "GRPC_HEALTH": True}, {}, "GRPC_DRAIN_FILE: '/etc/hostname' is there"),
        ({"GRPC_DRAIN_FILE": "/is/not/there", "GRPC_HEALTH": True}, {}, "GRPC_DRAIN_FILE: '/is/not/there' cannot"),
        (METRICS, {}, ""),
        ({"GRPC_RATE_LIMIT_STORAGE": "redis://127.0.0.1:1"}, {}, "GRPC_RATE_LIMIT_STORAGE does not respond"),
        ({"GRPC_RATE_LIMITS": "1/second"}, {}, ""),
        ({"GRPC_SCM_MIRRORS": "/tmp/is/not/there"}, {}, ""),
        ({"GRPC_SCM_MIRRORS": "/etc/hostname/mirrors"}, {}, "GRPC_SCM_MIRRORS: '/etc/hostname/mirrors' cannot be made"),
        ({}, WORKERS, ""),
        (METRICS, WORKERS, "GRPC_METRICS_PATH is set and WEB_CONCURRENCY is 2, but PROMETHEUS_MULTIPROC_DIR is not"),
        (METRICS, {**WORKERS, "PROMETHEUS_MULTIPROC_DIR": "/tmp"}, ""),
        (METRICS, {"PROMETHEUS_MULTIPROC_DIR": "/is/not/there"}, "PROMETHEUS_MULTIPROC_DIR is '/is/not/there', which"),
        (METRICS, {"WEB_CONCURRENCY": "many"}, ""),
    ],
)  # fmt: skip
def test_a_remark(config: dict[str, Any], environment: dict[str, str], start: str) -> None:
    lines = advice("sqlite://", config, environment)
    assert len(lines) == bool(start)
    assert all(line.startswith(start) for line in lines)


STATEMENTS = {
    "": "",
    "DROP TABLE scm_job": "it has no scm_job;",
    "ALTER TABLE scm_job DROP COLUMN claims": "it has no scm_job.claims;",
}


@pytest.mark.parametrize(("statement", "missing"), STATEMENTS.items())
def test_tables_that_are_behind_the_code(statement: str, missing: str, database: str) -> None:
    if statement:
        with disposed(make_app(database)) as app, app.app_context():
            db.session.execute(sa.text(statement))
            db.session.commit()
    lines = advice(database, {})
    assert len(lines) == bool(missing)
    assert all(line.startswith(f"The database is behind the code: {missing}") for line in lines)


def test_a_database_without_tables(empty_database: str) -> None:
    (line,) = advice(empty_database, {})
    assert re.search(r" and \d+ more; run flask db upgrade, or flask scm init-db", line)


def test_a_file_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    assert advice(f"sqlite:///{tmp_path}/scm.db", {}) == []
    assert [*tmp_path.iterdir()] == []


@pytest.mark.needs("PostgreSQL")
@pytest.mark.parametrize(
    ("environment", "processes", "threads"),
    [
        ({"WEB_CONCURRENCY": "3"}, 3, 16),
        ({"WEB_CONCURRENCY": "4"}, 4, 16),
        ({"WEB_CONCURRENCY": "2", "GUNICORN_CMD_ARGS": "--threads 40"}, 2, 40),
        ({"WEB_CONCURRENCY": "4", "GUNICORN_CMD_ARGS": "--threads=10"}, 4, 10),
    ],
)
def test_more_connections_than_there_are(
    environment: dict[str, str], processes: int, threads: int, postgresql_databases: Any
) -> None:
    uri = postgresql_databases.create()
    lines = advice(uri, {}, environment)
    postgresql_databases.drop(uri)
    assert len(lines) == (2 * processes * threads > 100)
    assert all(f"{processes} processes of {threads} threads may have {processes * threads}," in line for line in lines)


@pytest.mark.needs("PostgreSQL")
def test_a_database_that_cannot_be_reached() -> None:
    (line,) = advice("postgresql+psycopg://app:secret@127.0.0.1:1/nothing", {})
    assert line == "The database of SQLALCHEMY_DATABASE_URI cannot be looked at: OperationalError."
