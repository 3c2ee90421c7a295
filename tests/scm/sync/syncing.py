"""Apps whose organization is synced with a host of this machine."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from click.testing import Result
from flask import Flask

from flask_grpcweb_scm.scm import Commit, Integration, Job, Organization, OrganizationIntegration, Repository, db
from flask_grpcweb_scm.scm.database.db import database_now
from flask_grpcweb_scm.scm.jobs import SYNC_ORGANIZATION, SYNC_REPOSITORY
from tests.scm.cli.test_rows import run
from tests.scm.databases import disposed
from tests.scm.support import make_app
from tests.scm.sync.hosts import APP_ID, TOKEN, VendorHost, pem

__all__ = [
    "add_installation",
    "bare_repository",
    "commits_of",
    "extend",
    "kinds",
    "rows",
    "stored_commits",
    "sync",
    "sync_config",
    "syncing_app",
]


def sync_config(folder: Path) -> dict[str, Any]:
    """The configuration of an app whose mirrors are in a folder."""
    credentials = {
        "bot": TOKEN,
        "wrong": "gh0st",
        "app": {"app_id": APP_ID, "private_key": pem(), "installation_id": "77"},
    }
    return {
        "GRPC_SCM_CREDENTIALS": credentials,
        "GRPC_SCM_ALLOWED_HOSTS": "127.0.0.1",
        "GRPC_SCM_MIRRORS": str(folder / "mirrors"),
        "GRPC_SCM_JOB_LEASE": 3,
    }


@contextmanager
def syncing_app(database: str, folder: Path, **config: Any) -> Iterator[Flask]:
    """An app with the organization ``acme``."""
    with disposed(make_app(database, **{**sync_config(folder), **config})) as app:
        with app.app_context():
            db.session.add(Organization(slug="acme"))
            db.session.commit()
        yield app


def add_installation(
    app: Flask, host: VendorHost, provider: str, *, name: str = "main", credentials: str = "bot", **config: Any
) -> int:
    """Install an integration in the organization; returns its id."""
    with app.app_context():
        organization = db.session.scalars(sa.select(Organization)).one()
        metadata = {"base_url": host.url, "credentials": credentials}
        integration = Integration(provider=provider, external_id=name, name=name, metadata_=metadata)
        db.session.add(integration)
        db.session.flush()
        pair = {"organization_id": organization.id, "integration_id": integration.id}
        db.session.add(OrganizationIntegration(**pair, config=config))
        db.session.commit()
        return integration.id


def sync(app: Flask, *arguments: str) -> Any:
    """What ``flask scm sync acme --json`` prints, with its exit code."""
    result: Result = run(app, "sync", "acme", "--json", *arguments)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert result.stdout, result.stderr
    return {**json.loads(result.stdout), "exit_code": result.exit_code, "stderr": result.stderr}


def kinds(result: Any) -> list[tuple[str, str]]:
    """What was done with which repository."""
    return [(action["action"], action["name"]) for action in result["actions"]]


def rows(app: Flask, describe: Callable[[Repository], Any] | None = None) -> list[Any]:
    """The repositories of the organization by their ids, by default as (number, name, status)."""
    describe = describe or (lambda row: (row.external_id, row.name, row.status.value))
    with app.app_context():
        return [describe(row) for row in db.session.scalars(sa.select(Repository).order_by(Repository.id))]


def bare_repository(path: Path, commits: int = 2, *, seed: str = "x") -> Path:
    """A bare repository with a history of so many commits, made at once."""
    subprocess.run(["git", "init", "--quiet", "--bare", "--initial-branch=main", path], check=True, timeout=60)
    if commits:
        extend(path, 1, commits, seed=seed)
    return path


def extend(path: Path, first: int, last: int, *, seed: str = "x", branch: str = "main") -> None:
    """Add commits with these numbers, each of which changes a file."""
    lines = []
    for number in range(first, last + 1):
        text, message = f"{seed} {number}\n", f"{seed}: change {number}"
        who = f"Author {number % 7} <a{number % 7}@example.com> {1_600_000_000 + number} +0000"
        follows = [f"from refs/heads/{branch}^0"] if number == first and first > 1 else []
        lines += [
            f"commit refs/heads/{branch}", f"committer {who}", f"data {len(message)}", message, *follows,
            f"M 644 inline src/file{number % 5}.txt", f"data {len(text)}", text,
        ]  # fmt: skip
    stream = "\n".join([*lines, ""]).encode()
    subprocess.run(["git", "-C", path, "fast-import", "--quiet", "--force"], input=stream, check=True, timeout=600)


def commits_of(path: Path, branch: str = "main") -> list[str]:
    shown = subprocess.run(
        ["git", "-C", path, "rev-list", branch], check=True, capture_output=True, text=True, timeout=60
    )
    return sorted(shown.stdout.split())


def stored_commits(app: Flask, external_id: str) -> list[str]:
    with app.app_context():
        of_repository = sa.select(Commit.key).join(Repository).where(Repository.external_id == external_id)
        return sorted(db.session.scalars(of_repository))


def syncs_are_idle(repositories: int) -> bool:
    """True when the syncs of an organization and of so many repositories have succeeded, and none is due or claimed."""
    now = database_now()
    jobs = db.session.scalars(sa.select(Job).where(Job.kind.in_([SYNC_REPOSITORY, SYNC_ORGANIZATION]))).all()
    return len(jobs) == repositories + 1 and all(
        (job.claimed_until, job.error) == (None, "") and job.succeeded_at is not None and job.due_at > now
        for job in jobs
    )
