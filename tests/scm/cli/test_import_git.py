"""``flask scm import-git``."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_grpcweb_scm.scm import Repository, RepositoryStatus, db
from tests.combinations import ON_SQLITE
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


def gitfile(history: GitRepository, folder: Path) -> list[Path]:
    folder.mkdir()
    (folder / ".git").write_text(f"gitdir: {history.path / '.git'}\n")
    return [history.path / ".git"]


def linked_working_tree(history: GitRepository, folder: Path) -> list[Path]:
    shutil.copytree(history.path, folder.parent / "copy")
    GitRepository(folder.parent / "copy").git("worktree", "add", "--quiet", "--detach", str(folder))
    return [folder.parent / "copy/.git"]


def commondir(history: GitRepository, folder: Path) -> list[Path]:
    folder.mkdir()
    (folder / "HEAD").write_text((history.path / ".git/HEAD").read_text())
    (folder / "commondir").write_text(f"{history.path / '.git'}\n")
    return [history.path / ".git"]


def alternates(history: GitRepository, folder: Path) -> list[Path]:
    history.git("clone", "--quiet", "--shared", ".", str(folder))
    return [history.path / ".git/objects"]


def alternates_of_alternates(history: GitRepository, folder: Path) -> list[Path]:
    history.git("clone", "--quiet", "--shared", ".", str(folder.parent / "between"))
    GitRepository(folder.parent / "between").git("clone", "--quiet", "--shared", ".", str(folder))
    return [folder.parent / "between/.git/objects", history.path / ".git/objects"]


def quoted_alternates(history: GitRepository, folder: Path) -> list[Path]:
    (other,) = alternates(history, folder)
    path = str(other).replace("/", "\\057")
    (folder / ".git/objects/info/alternates").write_text(f'"{path}"\n')
    return [other]


def links_of_files(history: GitRepository, folder: Path) -> list[Path]:
    """To each object, and to a branch."""
    shutil.copytree(history.path, folder)
    names = [
        path.relative_to(folder) for top in ("objects", "refs/heads") for path in (folder / ".git" / top).rglob("*")
    ]
    files = [name for name in names if (folder / name).is_file()]
    for name in files:
        (folder / name).unlink()
        (folder / name).symlink_to(history.path / name)
    return [history.path / name for name in files]


def link(name: str) -> Callable[[GitRepository, Path], list[Path]]:
    def linked(history: GitRepository, folder: Path) -> list[Path]:
        shutil.copytree(history.path, folder)
        shutil.rmtree(folder / name)
        (folder / name).symlink_to(history.path / name)
        return [history.path / name]

    return linked


@ON_SQLITE
@pytest.mark.parametrize(
    "make",
    [
        *(gitfile, linked_working_tree, commondir, alternates, alternates_of_alternates),
        *(quoted_alternates, links_of_files),
        *(link(".git"), link(".git/objects"), link(".git/refs")),
    ],
)
def test_a_folder_that_leads_to_others_is_imported_only_when_that_is_said(
    app: Flask,
    history: GitRepository,
    tmp_path: Path,
    make: Callable[[GitRepository, Path], list[Path]],
) -> None:
    folder = tmp_path / "folder"
    others = make(history, folder)
    run(app, "add-organization", "demo")
    result = run(app, "import-git", "demo", str(folder))
    assert result.exit_code == 1
    assert all(str(other) in result.stderr for other in others)
    assert "if that is to be read, add --follow" in result.stderr
    with app.app_context():
        assert db.session.scalars(sa.select(Repository)).all() == []
    result = run(app, "import-git", "demo", str(folder), "--follow")
    assert result.exit_code == 0, result.output
    assert str(others[0]) in result.stderr


def test_links_to_a_folder_are_followed_as_named(app: Flask, history: GitRepository, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(history.path)
    run(app, "add-organization", "demo")
    for path in (tmp_path / "link", history.path / ".git"):
        assert run(app, "import-git", "demo", str(path)).exit_code == 0


def test_alternates_that_are_too_long_to_be_read_are_an_error(
    app: Flask, history: GitRepository, tmp_path: Path
) -> None:
    (other,) = alternates(history, tmp_path / "folder")
    (tmp_path / "folder/.git/objects/info/alternates").write_text("x\n" * 2**19 + f"{other}\n")
    run(app, "add-organization", "demo")
    result = run(app, "import-git", "demo", str(tmp_path / "folder"))
    assert (result.exit_code, result.stderr.splitlines()[-1]) == (
        1,
        "Error: info/alternates has more than 1048576 bytes",
    )
