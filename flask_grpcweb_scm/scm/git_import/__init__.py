"""Import of the history of a local git repository, in batches."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

import sqlalchemy as sa

from flask_grpcweb_scm.scm.database.db import db, insert_new
from flask_grpcweb_scm.scm.database.models import MAX_FILE_CHANGES, Organization, Repository
from flask_grpcweb_scm.scm.git_import.commit_store import CommitRows, CommitStore
from flask_grpcweb_scm.scm.queries.tenancy import EXISTING
from flask_grpcweb_scm.scm.sources.mirror import Mirror

__all__ = ["GitImport", "ImportFailed", "guess_provider", "own_external_id", "prepare_import", "public_url"]

BATCH_COMMITS = 1000
BATCH_WEIGHT = 8 * 2**20
ANALYZED_BATCHES = {2, 6, 20, 100, 500}
"""Numbers of the batches before which PostgreSQL renews its statistics of authors."""
CHANGE_WEIGHT = 500  # bytes, roughly, that a file change takes while its batch is collected

PROVIDERS_BY_HOST = {
    "github.com": "github",
    "gitlab.com": "gitlab",
    "bitbucket.org": "bitbucket",
    "dev.azure.com": "vsts",
    "ssh.dev.azure.com": "vsts",
}

# "[<user>@]<host>:/<path-to-git-repo>" (git-fetch, "Git URLs"); a slash before the colon makes it a local path.
_SCP_LIKE = re.compile(r"(?:(?P<user>[^@:/\s]+)@)?(?P<host>[^@:/\s]{2,}):(?!//)(?P<path>[^\s]+)")
_SCHEMES = {"https", "http", "ssh", "git", "git+ssh", "ssh+git"}

Batch = list[CommitRows]


class ImportFailed(Exception):
    """Raised when the history has no repository to go to; the text says why."""


@dataclass(slots=True)
class GitImport:
    """An import of the commits of a branch that are not stored."""

    repository: Repository
    mirror: Mirror
    tip: str | None
    since: str | None
    total: int
    """Number of commits to read."""
    stored: int = 0
    """Number of commits that were new."""
    truncated: int = 0
    """Number of commits that changed more files than are stored of one."""

    def run(self) -> Iterator[int]:
        """Store batch by batch; yield the size of each after its commit.

        After an interruption the next import continues after the last batch.

        :raises GitError: when the mirror cannot be read.
        """
        if self.tip is None:
            return
        store = CommitStore(self.repository)
        batches = _batches(map(store.rows_of, self.mirror.log(self.tip, since=self.since)))
        with closing(batches), ThreadPoolExecutor(max_workers=1) as reader:
            batch, number = next(batches, None), 1
            while batch:
                _tune_postgresql(number)
                new = store.add_commits(batch)
                # Not earlier: the database is busiest now, and this thread waits for it.
                following = reader.submit(next, batches, None)
                store.add_file_changes(new, batch)
                self.repository.imported_key = batch[-1].sha
                db.session.commit()
                self.stored += len(new)
                self.truncated += sum(len(commit.changes) > MAX_FILE_CHANGES for commit in batch)
                yield len(batch)
                batch, number = following.result(), number + 1


def prepare_import(organization: Organization, mirror: Mirror, name: str, *, branch: str | None = None) -> GitImport:
    """Make the mirror the source of the organization's repository `name`, added if there is none.

    :param branch: default: the one that is checked out.
    :raises ImportFailed: when `name` is ambiguous, or of a repository being deleted.
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
    """Make an external id for a row that no provider has numbered: its name, or a digest of a long name."""
    return name if len(name) <= limit else hashlib.sha256(name.encode()).hexdigest()


def _tune_postgresql(number: int) -> None:
    """Change the settings of PostgreSQL for the transaction of a batch."""
    if db.engine.dialect.name == "postgresql":
        # A batch that is lost in a crash of the server is read again: `imported_key` is lost with it.
        quick_commit = sa.func.set_config("synchronous_commit", "off", True)
        # A connection keeps its plans, for foreign keys too: reading a small table whole is no plan for a large one.
        lasting_plans = sa.func.set_config("enable_seqscan", "off", True)
        db.session.execute(sa.select(quick_commit, lasting_plans))
        if number in ANALYZED_BATCHES:
            # While it knows of few, it may look up an e-mail address in the index of all authors of an organization.
            db.session.execute(sa.text("ANALYZE scm_commit_author"))


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
    """Return the last commit of the last import; None when the mirror's history was rewritten without it."""
    key = repository.imported_key
    return key if key is not None and mirror.has_commit(key) else None


def _batches(commits: Iterable[CommitRows]) -> Generator[Batch, None, None]:
    """Collect lists of bounded length and memory."""
    batch: Batch = []
    weight = 0
    for commit in commits:
        batch.append(commit)
        weight += len(commit.values) + CHANGE_WEIGHT * len(commit.changes)
        if len(batch) == BATCH_COMMITS or weight >= BATCH_WEIGHT:
            yield batch
            batch, weight = [], 0
    if batch:
        yield batch


def public_url(remote: str) -> str:
    """Remove passwords and tokens from the URL of a remote; empty for a path of this machine."""
    if _SCP_LIKE.fullmatch(remote):
        return remote
    try:
        url = urlsplit(remote)
        host, port = url.hostname, url.port
    except ValueError:
        return ""
    if url.scheme not in _SCHEMES or not host:
        return ""
    place = f"[{host}]" if ":" in host else host
    user = f"{url.username}@" if "ssh" in url.scheme and url.username else ""
    return urlunsplit((url.scheme, f"{user}{place}{f':{port}' if port else ''}", url.path, "", ""))


def guess_provider(remote: str) -> str:
    """Return the provider of a remote's host; empty for an unknown one."""
    scp_like = _SCP_LIKE.fullmatch(remote)
    try:
        host = scp_like["host"] if scp_like else urlsplit(remote).hostname
    except ValueError:
        return ""
    host = (host or "").lower()
    return "vsts" if host.endswith(".visualstudio.com") else PROVIDERS_BY_HOST.get(host, "")
