"""``flask scm import-git``: the history of a local repository into the database."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass

import sqlalchemy as sa

from flask_grpcweb_scm.scm.commits import store_commits, store_file_changes
from flask_grpcweb_scm.scm.db import db, insert_new
from flask_grpcweb_scm.scm.git import Mirror
from flask_grpcweb_scm.scm.git_log import GitCommit
from flask_grpcweb_scm.scm.models import Organization, Repository
from flask_grpcweb_scm.scm.queries import EXISTING
from flask_grpcweb_scm.scm.remotes import guess_provider, public_url

__all__ = ["GitImport", "ImportFailed", "own_external_id", "prepare_import"]

BATCH_COMMITS = 1000
BATCH_WEIGHT = 8 * 2**20
REPLANNED_BATCHES = {1, 5, 20, 100, 500}
"""After which of them a database plans anew for as many rows as there are."""
CHANGE_WEIGHT = 500  # bytes, roughly, that a file change takes while its batch is collected

Batch = list[GitCommit]


class ImportFailed(Exception):
    """The history has no repository to go to; the text says why."""


@dataclass(slots=True)
class GitImport:
    """Storing the commits of a branch that are not stored yet."""

    repository: Repository
    mirror: Mirror
    tip: str | None
    since: str | None
    total: int
    """How many commits there are to read."""
    stored: int = 0
    """How many turned out to be new."""

    def run(self) -> Iterator[int]:
        """Store batch by batch, giving the size of each when it is committed.

        After an interruption the next import goes on where this one came to.

        :raises GitError: when the mirror cannot be read.
        """
        if self.tip is None:
            return
        batches = _batches(self.mirror.log(self.tip, since=self.since))
        with closing(batches), ThreadPoolExecutor(max_workers=1) as reader:
            batch, number = next(batches, None), 1
            while batch:
                new = store_commits(self.repository, batch)
                # Not before: the database has its longest work now, and this thread none.
                following = reader.submit(next, batches, None)
                store_file_changes(new, batch)
                self.repository.imported_key = batch[-1].sha
                _tell_postgresql(number)
                db.session.commit()
                self.stored += len(new)
                yield len(batch)
                batch, number = following.result(), number + 1


def prepare_import(organization: Organization, mirror: Mirror, name: str, *, branch: str | None = None) -> GitImport:
    """Make the mirror the source of the organization's repository `name`, which is added if there is none.

    :param branch: default: the one that is checked out.
    :raises ImportFailed: when `name` does not say which repository to fill.
    :raises GitError: when the mirror cannot be read.
    """
    branch_name, tip = mirror.branch(branch)
    remote = mirror.remote_url()
    repository = _find_by_name(organization, name) or _add(organization, name, guess_provider(remote))
    repository.mirror_path = mirror.git_dir
    repository.url = public_url(remote) or repository.url
    repository.default_branch = branch_name
    db.session.commit()
    since = _known_commit(repository, mirror)
    total = 0 if tip is None else mirror.count(tip, since=since)
    return GitImport(repository, mirror, tip, since, total)


def own_external_id(name: str, limit: int) -> str:
    """An external id for what no provider has numbered: its name, or a digest of a name that is too long."""
    return name if len(name) <= limit else hashlib.sha256(name.encode()).hexdigest()


def _tell_postgresql(number: int) -> None:
    """What is good for a batch that is about to be committed, on a database that has such settings."""
    if db.engine.dialect.name == "postgresql":
        # A batch that a crash of the server takes back is read again: the note of how far the import came goes with it.
        db.session.execute(sa.text("SET LOCAL synchronous_commit = off"))
        if number in REPLANNED_BATCHES:
            # The number of authors decides whether they are looked up one by one in an index, or all read.
            db.session.execute(sa.text("ANALYZE scm_commit_author"))
            # A connection keeps plans that it made for small tables, for its foreign keys too.
            db.session.execute(sa.text("DISCARD PLANS"))


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


def _batches(commits: Iterable[GitCommit]) -> Generator[Batch, None, None]:
    """Lists that are bounded in number and in memory."""
    batch: Batch = []
    weight = 0
    for commit in commits:
        batch.append(commit)
        weight += len(commit.message) + CHANGE_WEIGHT * len(commit.changes)
        if len(batch) == BATCH_COMMITS or weight >= BATCH_WEIGHT:
            yield batch
            batch, weight = [], 0
    if batch:
        yield batch
