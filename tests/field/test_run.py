"""``make field``: it sees what is right, and what is not."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from flask_grpcweb_scm.scm import CommitAuthor, CommitFileChange, db
from tests.field import run
from tests.scm.support import GitRepository, build_history


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    # For each line, git runs six times.
    monkeypatch.setattr(run, "SAMPLE", 30)
    repository = GitRepository(tmp_path / "repos/history")
    build_history(repository)
    repository.write("src/shop/cart.py", "1\n")
    repository.write("src/main/java/com/acme/App.java", "class App {}\n")
    repository.commit("sources")
    (tmp_path / "repos/no-repository").mkdir()
    return tmp_path / "repos"


@pytest.mark.needs("time")
def test_a_real_repository_is_as_git_has_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(str(folder)) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("history: 10 commits, 4 authors, ")
    assert "as git has them" in printed
    assert " found" in printed


@pytest.mark.needs("time")
def test_differences_are_seen(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    compare = run.compare

    def damaged(app: run.Flask, *arguments: object) -> None:
        with app.app_context():
            db.session.execute(sa.update(CommitAuthor).where(CommitAuthor.name == "Sid").values(name="Sidney"))
            db.session.execute(sa.delete(CommitFileChange).where(CommitFileChange.filename == "link"))
            db.session.commit()
        compare(app, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(run, "compare", damaged)
    assert run.main(str(folder)) == 1
    printed = capsys.readouterr().out
    assert "DIFFERENCES" in printed
    assert "Sidney" in printed
    assert "'link', 'A') is missing" in printed


def test_a_folder_without_repositories_is_a_mistake(tmp_path: Path) -> None:
    assert run.main(str(tmp_path)) == 1
