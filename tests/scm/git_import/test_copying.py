"""Commits by COPY: they are stored as by INSERT, whoever else stores the same ones meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_grpcweb_scm.scm import Commit, CommitAuthor, CommitFileChange, Organization, Repository, db, git_import
from flask_grpcweb_scm.scm.git_import import prepare_import
from flask_grpcweb_scm.scm.git_import.commit_store import CommitStore
from flask_grpcweb_scm.scm.git_import.copying import COPY_FORMAT, CopyStore, copy_rows, store_for
from flask_grpcweb_scm.scm.sources.mirror import Mirror
from tests.combinations import ON_POSTGRESQL
from tests.scm.databases import disposed
from tests.scm.git_import.test_commit_store import NAMES, rows_in, stored, texts
from tests.scm.git_import.test_git_import import as_git_log_says
from tests.scm.git_import.test_git_import import stored as stored_commits
from tests.scm.support import GitRepository, Tenant, make_app

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


WITH_A_ROLE = (
    "CREATE ROLE importer",
    "GRANT ALL ON ALL TABLES IN SCHEMA public TO importer",
    "GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO importer",
)
NUMBERS = "CREATE SEQUENCE numbers START 1000 INCREMENT 7"
IDENTITY = (
    "ALTER TABLE scm_commit ALTER id DROP DEFAULT",
    "DROP SEQUENCE scm_commit_id_seq",
    "ALTER TABLE scm_commit ALTER id ADD GENERATED ALWAYS AS IDENTITY",
)
COPIED = {
    "as migrated": (),
    "identity": IDENTITY,
    "another name of the sequence": ('ALTER SEQUENCE scm_commit_id_seq RENAME TO "Commit\'s"',),
    "another schema": (
        'CREATE SCHEMA "Our tables"',
        'ALTER TABLE scm_commit SET SCHEMA "Our tables"',
        'ALTER TABLE scm_commit_file_change SET SCHEMA "Our tables"',
        'SET LOCAL search_path TO public, "Our tables"',
    ),
    "a role": (*WITH_A_ROLE, "SET LOCAL ROLE importer"),
}
INSERTED = {
    "row-level security": (
        *WITH_A_ROLE,
        "ALTER TABLE scm_commit_file_change ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY everything ON scm_commit_file_change USING (true)",
        "SET LOCAL ROLE importer",
    ),
    "a trigger that numbers": (
        NUMBERS,
        "CREATE FUNCTION number() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN NEW.id := nextval(''numbers''); RETURN NEW; END'",
        "CREATE TRIGGER number BEFORE INSERT ON scm_commit FOR EACH ROW EXECUTE FUNCTION number()",
    ),
    "a trigger that skips": (
        "CREATE FUNCTION skip() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN IF length(NEW.message) > 6 THEN RETURN NULL; END IF; RETURN NEW; END'",
        "CREATE TRIGGER skip BEFORE INSERT ON scm_commit FOR EACH ROW EXECUTE FUNCTION skip()",
    ),
    "a trigger of changes": (
        "CREATE FUNCTION shorten() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN NEW.filename := left(NEW.filename, 40); RETURN NEW; END'",
        "CREATE TRIGGER shorten BEFORE INSERT ON scm_commit_file_change FOR EACH ROW EXECUTE FUNCTION shorten()",
    ),
    "a rule": ("CREATE RULE none AS ON INSERT TO scm_commit_file_change DO INSTEAD NOTHING",),
    "a view": (
        "ALTER TABLE scm_commit_file_change RENAME TO changes",
        "CREATE VIEW scm_commit_file_change AS SELECT * FROM changes",
    ),
    "partitions": (
        "ALTER TABLE scm_commit_file_change RENAME TO changes",
        "CREATE TABLE scm_commit_file_change (LIKE changes) PARTITION BY HASH (filename)",
        "CREATE TABLE first PARTITION OF scm_commit_file_change FOR VALUES WITH (MODULUS 1, REMAINDER 0)",
    ),
    "numbers of another kind": ("ALTER TABLE scm_commit ALTER id SET DEFAULT nextval('scm_commit_id_seq') << 10 | 7",),
    "another sequence": (NUMBERS, "ALTER TABLE scm_commit ALTER id SET DEFAULT nextval('numbers')"),
    "a sequence of nobody's": ("ALTER SEQUENCE scm_commit_id_seq OWNED BY NONE",),
    "columns that are granted": (
        *WITH_A_ROLE,
        "REVOKE INSERT ON scm_commit FROM importer",
        "GRANT INSERT (author_id, key, message, repository_id, date_added) ON scm_commit TO importer",
        "SET LOCAL ROLE importer",
    ),
    "a sequence that is not granted": (
        *IDENTITY,
        *WITH_A_ROLE,
        "REVOKE USAGE ON SEQUENCE scm_commit_id_seq FROM importer",
        "SET LOCAL ROLE importer",
    ),
}


@pytest.mark.parametrize(
    ("way", "changes"),
    [(CopyStore, changes) for changes in COPIED.values()] + [(CommitStore, changes) for changes in INSERTED.values()],
    ids=[*COPIED, *INSERTED],
)
def test_tables_of_any_kind_have_the_rows_of_an_insert(
    app: Flask, ours: Tenant, history: GitRepository, way: type[CommitStore], changes: Sequence[str]
) -> None:
    with app.app_context():
        for statement in changes:
            db.session.connection().exec_driver_sql(statement)
        repository = db.session.get_one(Repository, ours.repository)
        store = store_for(repository)
        assert rows_by(store, history) == rows_by(CommitStore(repository), history)
        assert type(store) is way
        db.session.rollback()


def rows_by(store: CommitStore, history: GitRepository) -> list[tuple[object, ...]]:
    """The rows that a store adds for a moment; ids begin with the first one's, because sequences never go back."""
    mirror = Mirror.find(history.path)
    commits = [store.rows_of(commit) for commit in mirror.log(mirror.branch()[1] or "")]
    columns = sa.select(
        *(Commit.id - sa.select(sa.func.min(Commit.id)).scalar_subquery(), Commit.key, Commit.message),
        *(Commit.date_added, CommitAuthor.name, CommitFileChange.filename, CommitFileChange.type),
    )
    changes = columns.outerjoin(Commit.author).outerjoin(CommitFileChange, CommitFileChange.commit_id == Commit.id)
    with db.session.begin_nested() as savepoint:
        new = store.add_commits(commits)
        store.add_file_changes(new, commits)
        rows = db.session.execute(changes.order_by(Commit.key, CommitFileChange.filename)).all()
        savepoint.rollback()
    assert rows
    return [tuple(row) for row in rows]


def test_tables_in_the_schema_of_a_tenant_are_filled(
    empty_database: str, history: GitRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(git_import, "BATCH_COMMITS", 2)
    options = {"execution_options": {"schema_translate_map": {None: "tenant"}}}
    with disposed(make_app(empty_database, SQLALCHEMY_ENGINE_OPTIONS=options)) as app, app.app_context():
        db.session.connection().exec_driver_sql("CREATE SCHEMA tenant")
        db.session.commit()
        db.create_all()
        organization = Organization(slug="demo")
        db.session.add(organization)
        job = prepare_import(organization, Mirror.find(history.path), "history")
        assert sum(job.run()) == job.stored == job.total
        assert stored_commits(app) == as_git_log_says(history)


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
