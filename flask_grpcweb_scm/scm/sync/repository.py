"""The sync of a repository: its mirror fetched, and what is new in its history stored.

Each step may be the last one: the next sync begins where the mirror and the database are.
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from flask_grpcweb_scm.scm.database.db import database_now, db, release_connection
from flask_grpcweb_scm.scm.database.models import Repository, RepositoryStatus
from flask_grpcweb_scm.scm.git_import import prepare_next_import
from flask_grpcweb_scm.scm.jobs import JobFailed, Lease, NoSubject
from flask_grpcweb_scm.scm.mirrors import Limits, OwnMirror, places_below
from flask_grpcweb_scm.scm.mirrors.on_demand import remote_of_row
from flask_grpcweb_scm.scm.settings import current_settings
from flask_grpcweb_scm.scm.sources import is_blobless, own_mirror_path
from flask_grpcweb_scm.scm.sources.git import GitFailed
from flask_grpcweb_scm.scm.sources.mirror import Mirror, MirrorDamaged

__all__ = ["mirror_at", "sync_repository"]

SYNCED = frozenset({RepositoryStatus.ACTIVE, RepositoryStatus.DISABLED})


def sync_repository(repository_id: int, lease: Lease) -> None:
    """Fetch the mirror of a repository, and import what is new in its default branch.

    :raises NoSubject: when there is no such repository for callers.
    :raises JobFailed: when the service is to have no mirrors.
    :raises GitError: when it cannot be fetched or read.
    """
    row = db.session.get(Repository, repository_id, populate_existing=True)
    if row is None:
        release_connection()
        root = current_settings().scm_mirrors
        for left in [] if root is None else places_below(Path(root), repository_id):
            mirror_at(left, lease, left.name).discard()
        raise NoSubject
    if row.status not in SYNCED:
        raise NoSubject
    path = own_mirror_path(row)
    if path is None:
        raise JobFailed("the service has no folder for mirrors; set GRPC_SCM_MIRRORS to an absolute path")
    name, blobless, remote = row.name, is_blobless(row), remote_of_row(row)
    release_connection()
    mirror = mirror_at(path, lease, name)
    mirror.update(remote, blobless=blobless)
    lease.check()
    fetched = sa.update(Repository).where(Repository.id == repository_id).values(mirror_fetched_at=database_now())
    if db.session.execute(fetched.returning(Repository.id)).one_or_none() is None:
        raise NoSubject
    release_connection()
    try:
        _import(repository_id, path, lease)
    except (GitFailed, MirrorDamaged) as error:
        problem = mirror.problems()
        if not problem:
            raise
        mirror.discard()
        raise JobFailed(f"the mirror was damaged, and will be fetched anew: {problem}") from error


def mirror_at(path: Path, lease: Lease, name: str) -> OwnMirror:
    """Return the mirror of a repository, to be worked on while a lease lasts."""
    settings = current_settings()
    limits = Limits(
        timeout=settings.scm_fetch_timeout,
        memory=settings.git_memory_bytes,
        size=settings.scm_mirror_bytes,
        check=lease.check,
        note=lambda text: lease.note(f"{name}: {text}"),
    )
    return OwnMirror(path, limits)


def _import(repository_id: int, path: Path, lease: Lease) -> None:
    settings = current_settings()
    row = db.session.get(Repository, repository_id)
    if row is None:
        raise NoSubject
    name = row.name
    mirror = Mirror(str(path), timeout=settings.scm_fetch_timeout, memory=settings.git_memory_bytes)
    job = prepare_next_import(row, mirror)
    done = 0
    if job.total:
        for count in job.run():
            done += count
            lease.note(f"{name}: {done} of {job.total} commits")
            lease.check()
