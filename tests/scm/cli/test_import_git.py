"""``flask scm import-git``."""

from __future__ import annotations

from flask import Flask

from flask_grpcweb_scm.scm import (
    Repository,
    RepositoryStatus,
    db,
)
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
