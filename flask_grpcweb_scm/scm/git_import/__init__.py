"""Import of the history of a local git repository, in batches."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass

import sqlalchemy as sa

from flask_grpcweb_scm.scm.database.db import db
from flask_grpcweb_scm.scm.database.models import MAX_FILE_CHANGES, CommitAuthor, Organization, Repository
from flask_grpcweb_scm.scm.git_import.commit_store import CommitRows, table_of
from flask_grpcweb_scm.scm.git_import.copying import store_for
from flask_grpcweb_scm.scm.git_import.destination import ImportFailed, find_destination
from flask_grpcweb_scm.scm.remotes import guess_provider, own_external_id, public_url
from flask_grpcweb_scm.scm.sources.git import GitFailed
from flask_grpcweb_scm.scm.sources.mirror import Mirror

__all__ = [
    "GitImport",
    "ImportFailed",
    "guess_provider",
    "own_external_id",
    "prepare_import",
    "prepare_next_import",
    "public_url",
]

FIRST_COMMITS = 250
"""Of the first batch: the database has nothing to do before it is read. Each of the next ones has twice as many."""
BATCH_COMMITS = 2000
MAX_BRANCH_CHARACTERS = 255
BATCH_WEIGHT = 8 * 2**20
ANALYZED_BATCHES = {2, 3, 6, 20, 100, 500}
"""Numbers of the batches before which PostgreSQL renews its statistics of authors."""
CHANGE_WEIGHT = 500  # bytes, roughly, that a file change takes while its batch is collected

Batch = list[CommitRows]


@dataclass(slots=True)
class GitImport:
    """An import of the commits of a branch that are not stored."""

    repository: Repository
    mirror: Mirror
    tip: str | None
    since: str | None
    total: int
    """Number of commits to read."""
    is_whole: bool
    """False for a shallow clone: its commits may have ancestors that are not stored."""
    stored: int = 0
    """Number of commits that were new."""
    truncated: int = 0
    """Number of commits that changed more files than are stored of one."""
    corrected: int = 0
    """Number of commits that were stored with another author, or with other file changes, than they have."""

    def run(self) -> Iterator[int]:
        """Store batch by batch; yield the size of each after its commit.

        After an interruption the next import continues after the last batch.

        :raises GitError: when the mirror cannot be read.
        :raises ImportFailed: for a partial clone without what changes are found by.
        """
        try:
            yield from self._run()
        except GitFailed as error:
            if not self.mirror.is_partial():
                raise
            text = "the partial clone has no trees; run in it: git fetch --refetch --filter=blob:none"
            raise ImportFailed(text) from error

    def _run(self) -> Iterator[int]:
        if self.tip is None:
            return
        store = store_for(self.repository)
        of_repository = sa.update(Repository).where(Repository.id == self.repository.id)
        batches = _batches(map(store.rows_of, self.mirror.log(self.tip, since=self.since)))
        with closing(batches), ThreadPoolExecutor(max_workers=1) as reader:
            batch, number = next(batches, None), 1
            while batch:
                _tune_postgresql(number)
                new = store.add_commits(batch)
                # Not earlier: the database is busiest now, and this thread waits for it.
                following = reader.submit(next, batches, None)
                store.add_file_changes(new, batch)
                self.corrected += store.correct(new, batch)
                # Not as an attribute: the row would be read anew for each batch.
                db.session.execute(of_repository.values(imported_key=batch[-1].sha if self.is_whole else None))
                db.session.commit()
                self.stored += len(new)
                self.truncated += sum(len(commit.changes) > MAX_FILE_CHANGES for commit in batch)
                yield len(batch)
                batch, number = following.result(), number + 1


def prepare_import(
    organization: Organization, mirror: Mirror, name: str, *, branch: str | None = None, is_chosen: bool = True
) -> GitImport:
    """Make the mirror the source of the organization's repository with its remote, or `name`; added if there is none.

    :param branch: default: the one that is checked out.
    :param is_chosen: False for a name that is only for a new repository, or one without a remote.
    :raises ImportFailed: when `name` is ambiguous, or of another remote's repository, or of one being deleted; and when
        there is nothing at the branch.
    :raises GitError: when the mirror cannot be read.
    """
    branch_name, tip = mirror.branch(branch)
    if tip is None and mirror.has_refs():
        raise ImportFailed(
            f"the branch {branch_name!r} that HEAD names does not exist; use --branch{mirror.other_branches()}"
        )
    _check_texts(
        name=(name, 200, "use another --name"),
        branch=(branch_name, MAX_BRANCH_CHARACTERS, "use another --branch"),
        path=(mirror.git_dir, 2**16, "move it"),
    )
    return _import_into(find_destination(organization, mirror, name, is_chosen=is_chosen), mirror, branch_name, tip)


def prepare_next_import(repository: Repository, mirror: Mirror) -> GitImport:
    """Prepare the import of what is new in the branch that HEAD of a repository's own mirror names.

    :raises ImportFailed: when its name cannot be stored.
    :raises GitError: when the mirror cannot be read.
    """
    branch, tip = mirror.branch()
    _check_texts(branch=(branch, MAX_BRANCH_CHARACTERS, "choose another default branch"))
    return _import_into(repository, mirror, branch, tip)


def _check_texts(**texts: tuple[str, int, str]) -> None:
    """Refuse what columns cannot have: by name, each text with its limit and the way out."""
    for what, (text, limit, way_out) in texts.items():
        if len(text) > limit or (not text.isascii() and text != text.encode("utf-8", "replace").decode()):
            raise ImportFailed(f"the {what} {text[:80]!r} is not UTF-8, or has more than {limit} characters; {way_out}")


def _import_into(repository: Repository, mirror: Mirror, branch: str, tip: str | None) -> GitImport:
    repository.default_branch = branch
    db.session.commit()
    is_whole = not mirror.is_shallow()
    since = _known_commit(repository, mirror)
    total = 0 if tip is None else mirror.count(tip, since=since)
    return GitImport(repository, mirror, tip, since, total, is_whole)


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
            analyze = sa.DDL("ANALYZE %(fullname)s")  # type: ignore[no-untyped-call]  # not typed by SQLAlchemy
            db.session.execute(analyze.against(table_of(CommitAuthor)))


def _known_commit(repository: Repository, mirror: Mirror) -> str | None:
    """Return the last commit of the last import; None when the mirror's history was rewritten without it."""
    key = repository.imported_key
    return key if key is not None and mirror.has_commit(key) else None


def _batches(commits: Iterable[CommitRows]) -> Generator[Batch, None, None]:
    """Collect lists of bounded length and memory."""
    batch: Batch = []
    weight, limit = 0, min(FIRST_COMMITS, BATCH_COMMITS)
    for commit in commits:
        batch.append(commit)
        weight += len(commit.values) + CHANGE_WEIGHT * len(commit.changes)
        if len(batch) == limit or weight >= BATCH_WEIGHT:
            yield batch
            batch, weight, limit = [], 0, min(2 * limit, BATCH_COMMITS)
    if batch:
        yield batch
