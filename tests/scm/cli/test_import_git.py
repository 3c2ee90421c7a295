"""``flask scm import-git``."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from flask import Flask

from flask_grpcweb_scm.scm import Repository, RepositoryStatus, db
from tests.scm.cli.test_rows import add, run
from tests.scm.support import GitRepository


def test_import_fills_the_repository_of_that_name(app: Flask, history: GitRepository) -> None:
    run(app, "add-organization", "demo")
    added = add(app, "add-repository", "demo", "history", "--provider", "github", "--external-id", "5", "--url", "u")
    assert add(app, "import-git", "demo", str(history.path))["id"] == added["id"]
    with app.app_context():
        row = db.session.get_one(Repository, added["id"])
        assert (row.provider, row.external_id, row.url) == ("github", "5", "u")
        assert row.mirror_path == str(history.path / ".git")


def test_import_refuses_a_name_that_several_repositories_have(app: Flask, history: GitRepository) -> None:
    run(app, "add-organization", "demo")
    for number in "12":
        run(app, "add-repository", "demo", "history", "--provider", "github", "--external-id", number)
    result = run(app, "import-git", "demo", str(history.path))
    assert result.exit_code == 1
    assert "organization 'demo' has several repositories 'history'; use --name" in result.stderr


def test_import_refuses_a_repository_that_is_being_deleted(app: Flask, history: GitRepository) -> None:
    run(app, "add-organization", "demo")
    with app.app_context():
        gone = RepositoryStatus.PENDING_DELETION
        db.session.add(Repository(organization_id=1, name="history", external_id="history", status=gone))
        db.session.commit()
    result = run(app, "import-git", "demo", str(history.path))
    assert result.exit_code == 1
    assert "is being deleted; use another --name" in result.stderr


def test_two_organizations_may_import_the_same_repository(app: Flask, history: GitRepository) -> None:
    answers = []
    for slug in ("one", "two"):
        run(app, "add-organization", slug)
        answers.append(add(app, "import-git", slug, str(history.path)))
    assert answers[0]["commits"] == answers[1]["commits"] > 0
    assert answers[0]["id"] != answers[1]["id"]


FULL_POSTGRESQL = """
    CREATE FUNCTION fill() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = 'disk_full'; END $$;
    CREATE TRIGGER fill BEFORE INSERT ON scm_commit_file_change EXECUTE FUNCTION fill()
"""
EMPTIED_POSTGRESQL = "DROP TRIGGER fill ON scm_commit_file_change; DROP FUNCTION fill"


def test_a_full_disk_is_told_and_the_import_can_be_repeated(app: Flask, tmp_path: Path) -> None:
    run(app, "add-organization", "demo")
    repository = GitRepository(tmp_path / "git")
    for name in "abcd":
        repository.write(name, name)
        repository.commit(name * 100_000)

    def execute(postgresql: str, sqlite: str) -> None:
        with app.app_context():
            db.session.execute(sa.text(sqlite if db.engine.dialect.name == "sqlite" else postgresql))
            db.session.commit()

    execute(FULL_POSTGRESQL, "PRAGMA max_page_count = 1")
    result = run(app, "import-git", "demo", str(repository.path))
    assert result.exit_code == 1
    message = result.stderr.rpartition("Error: ")[2]
    assert message.startswith("the disk of the database is full (")
    assert message.endswith("); make room, then run this again: what is stored stays\n")
    execute(EMPTIED_POSTGRESQL, "PRAGMA max_page_count = 100000")
    assert add(app, "import-git", "demo", str(repository.path))["commits"] == 4


def test_a_database_that_fails_is_told(app: Flask, history: GitRepository) -> None:
    run(app, "add-organization", "demo")

    def fail(*_: object) -> None:
        raise sa.exc.OperationalError("COMMIT", {}, Exception("the server closed\nthe connection"))

    with app.app_context():
        engine = db.engine
    sa.event.listen(engine, "commit", fail)
    result = run(app, "import-git", "demo", str(history.path))
    assert (result.exit_code, result.stderr.splitlines()[-1]) == (1, "Error: the database failed: the server closed")
