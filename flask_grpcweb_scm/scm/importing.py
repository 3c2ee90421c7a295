"""``flask scm import-git``: the history of a local repository into the database."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import sqlalchemy as sa

from flask_grpcweb_scm.scm.commits import store_commits
from flask_grpcweb_scm.scm.db import db, insert_new
from flask_grpcweb_scm.scm.git import Mirror
from flask_grpcweb_scm.scm.git_log import GitCommit
from flask_grpcweb_scm.scm.models import Organization, Repository
from flask_grpcweb_scm.scm.queries import EXISTING
from flask_grpcweb_scm.scm.remotes import guess_provider, public_url

__all__ = ["ImportFailed", "ImportResult", "import_git", "own_external_id"]

BATCH_COMMITS = 1000
BATCH_WEIGHT = 8 * 2**20
CHANGE_WEIGHT = 500  # bytes, roughly, that a file change takes while its batch is collected


class ImportFailed(Exception):
    """The history has no repository to go to; the text says why."""


@dataclass(frozen=True, slots=True)
class ImportResult:
    """What an import did."""

    repository_id: int
    name: str
    commits: int
    """New ones."""
    seconds: float


def import_git(
    organization: Organization,
    mirror: Mirror,
    name: str,
    *,
    branch: str | None = None,
    begin: Callable[[int], Callable[[int], object]] = lambda total: lambda count: None,
) -> ImportResult:
    """Store the commits of a branch, and remember the mirror as the repository's source.

    Commits to the database as it goes on: after an interruption the next import continues there.

    :param branch: default: the one that is checked out.
    :param begin: called with the number of commits to read; what it returns is called with the size of each batch.
    :raises ImportFailed: when `name` does not say which repository to fill.
    :raises GitError: when the mirror cannot be read.
    """
    started = time.monotonic()
    branch_name, tip = mirror.branch(branch)
    repository = _repository(organization, mirror, name)
    repository.default_branch = branch_name
    db.session.commit()
    stored = 0
    if tip is not None:
        since = _known_commit(repository, mirror)
        advance = begin(mirror.count(tip, since=since))
        for batch in _batches(mirror.log(tip, since=since)):
            stored += store_commits(repository, batch)
            repository.imported_key = batch[-1].sha
            db.session.commit()
            advance(len(batch))
    return ImportResult(repository.id, repository.name, stored, time.monotonic() - started)


def own_external_id(name: str, limit: int) -> str:
    """An external id for what no provider has numbered: its name, or a digest of a name that is too long."""
    return name if len(name) <= limit else hashlib.sha256(name.encode()).hexdigest()


def _repository(organization: Organization, mirror: Mirror, name: str) -> Repository:
    """The organization's repository of that name, which is made if there is none, with the mirror as its source."""
    remote = mirror.remote_url()
    repository = _find_by_name(organization, name) or _add(organization, name, guess_provider(remote))
    repository.mirror_path = mirror.git_dir
    repository.url = public_url(remote) or repository.url
    return repository


def _find_by_name(organization: Organization, name: str) -> Repository | None:
    statement = sa.select(Repository).where(Repository.organization_id == organization.id, Repository.name == name)
    rows = db.session.scalars(statement.where(EXISTING).limit(2)).all()
    if len(rows) > 1:
        raise ImportFailed(f"organization {organization.slug!r} has several repositories {name!r}; use --name")
    return rows[0] if rows else None


def _add(organization: Organization, name: str, provider: str) -> Repository:
    values = {"organization_id": organization.id, "name": name, "provider": provider}
    db.session.execute(insert_new(Repository).values(**values, external_id=own_external_id(name, 64)))
    repository = _find_by_name(organization, name)
    if repository is None:
        raise ImportFailed(f"a repository {name!r} of {organization.slug!r} is being deleted; use another --name")
    return repository


def _known_commit(repository: Repository, mirror: Mirror) -> str | None:
    """Where the last import came to; None when the mirror's history was rewritten without it."""
    key = repository.imported_key
    return key if key is not None and mirror.has_commit(key) else None


def _batches(commits: Iterable[GitCommit]) -> Iterator[list[GitCommit]]:
    """Lists that are bounded in number and in memory."""
    batch: list[GitCommit] = []
    weight = 0
    for commit in commits:
        batch.append(commit)
        weight += len(commit.message) + CHANGE_WEIGHT * len(commit.changes)
        if len(batch) == BATCH_COMMITS or weight >= BATCH_WEIGHT:
            yield batch
            batch, weight = [], 0
    if batch:
        yield batch
