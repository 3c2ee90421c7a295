"""Commits by COPY: they are stored as by INSERT, whoever else stores the same ones meanwhile."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_grpcweb_scm.scm import Commit, Organization, Repository, db, git_import
from flask_grpcweb_scm.scm.git_import import prepare_import
from flask_grpcweb_scm.scm.git_import.commit_store import CommitStore
from flask_grpcweb_scm.scm.git_import.copying import COPY_FORMAT, CopyStore, copy_rows, store_for
from flask_grpcweb_scm.scm.sources.mirror import Mirror
from tests.combinations import ON_POSTGRESQL
from tests.scm.git_import.test_commit_store import NAMES, rows_in, stored, texts
from tests.scm.git_import.test_git_import import as_git_log_says
from tests.scm.git_import.test_git_import import stored as stored_commits
from tests.scm.support import GitRepository, Tenant

pytestmark = [pytest.mark.needs("PostgreSQL"), ON_POSTGRESQL]


def test_rows_are_copied_as_they_are(app: Flask, ours: Tenant) -> None:
    table, rows = Commit.__table__, rows_in(ours.repository, 100)
    assert isinstance(table, sa.Table)
    with app.app_context():
        for part in rows[:50], rows[50:], []:
            copy_rows(table, NAMES, texts(COPY_FORMAT, part))
        assert stored() == rows
        # Its errors are those of SQLAlchemy.
        with pytest.raises(sa.exc.IntegrityError, match="uq_scm_commit_key"):
            copy_rows(table, NAMES, texts(COPY_FORMAT, rows[:1]))


@pytest.mark.parametrize("other", [CommitStore, CopyStore])
def test_commits_that_another_transaction_stores_meanwhile_are_skipped(
    app: Flask, ours: Tenant, history: GitRepository, other: type[CommitStore]
) -> None:
    mirror = Mirror.find(history.path)
    commits = list(mirror.log(mirror.branch()[1] or ""))

    def store(store: CommitStore, count: int) -> list[str]:
        rows = [store.rows_of(commit) for commit in commits[:count]]
        new = store.add_commits(rows)
        store.add_file_changes(new, rows)
        assert store.correct(new, rows) == 0
        db.session.commit()
        return list(new)

    with app.app_context():
        slower = store_for(db.session.get_one(Repository, ours.repository))
        assert type(slower) is CopyStore
        with app.app_context():
            faster = other(db.session.get_one(Repository, ours.repository))
            assert store(faster, 3) == [commit.sha for commit in commits[:3]]
        assert store(slower, len(commits)) == [commit.sha for commit in commits[3:]]
        assert store(slower, len(commits)) == []
        assert type(store_for(db.session.get_one(Repository, ours.repository))) is CommitStore
    assert stored_commits(app) == as_git_log_says(history)


def test_with_row_level_security_nothing_is_copied(app: Flask, ours: Tenant) -> None:
    with app.app_context():
        assert type(store_for(db.session.get_one(Repository, ours.repository))) is CopyStore
        for statement in (
            "CREATE ROLE secured",
            "GRANT ALL ON ALL TABLES IN SCHEMA public TO secured",
            "ALTER TABLE scm_commit_file_change ENABLE ROW LEVEL SECURITY",
            "SET LOCAL ROLE secured",
        ):
            db.session.execute(sa.text(statement))
        assert type(store_for(db.session.get_one(Repository, ours.repository))) is CommitStore
        db.session.rollback()


def test_an_error_about_something_else_is_raised(app: Flask, ours: Tenant, history: GitRepository) -> None:
    mirror = Mirror.find(history.path)
    with app.app_context():
        store = CopyStore(db.session.get_one(Repository, ours.repository))
        rows = [store.rows_of(commit) for commit in mirror.log(mirror.branch()[1] or "")]
        with app.app_context():
            db.session.execute(sa.delete(Repository).where(Repository.id == ours.repository))
            db.session.commit()
        with pytest.raises(sa.exc.IntegrityError, match="foreign key"):
            store.add_commits(rows)


def test_two_imports_at_once_store_everything_once(
    app: Flask, history: GitRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(git_import, "BATCH_COMMITS", 2)
    with app.app_context():
        organization = Organization(slug="demo")
        db.session.add(organization)
        prepare_import(organization, Mirror.find(history.path), "history")
    start = Barrier(2, timeout=30)

    def run() -> int:
        with app.app_context():
            organization = db.session.scalars(sa.select(Organization)).one()
            job = prepare_import(organization, Mirror.find(history.path), "history")
            start.wait()
            assert sum(job.run()) == job.total
            return job.stored

    with ThreadPoolExecutor(2) as threads:
        jobs = [threads.submit(run) for _ in range(2)]
        stored = sum(job.result(60) for job in jobs)
    log = as_git_log_says(history)
    assert stored == len(log)
    assert stored_commits(app) == log
