"""``flask scm demo``: rows, a history, and a bug whose commit is found."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_grpcweb_scm.scm import Commit, Organization, Repository, db
from tests.scm.cli.test_rows import add, failure_of, run
from tests.scm.databases import disposed
from tests.scm.support import Scm, make_app

CULPRIT = "A country without a rate is no longer free of taxes"


@pytest.fixture
def empty(empty_database: str) -> Iterator[Flask]:
    """An app without tables."""
    with disposed(make_app(empty_database)) as app:
        yield app


def demo(app: Flask, folder: Path) -> dict[str, Any]:
    return add(app, "demo", "--folder", str(folder))


def row_counts(app: Flask) -> dict[str, int]:
    with app.app_context():
        tables = db.metadata.sorted_tables
        return {table.name: db.session.scalars(sa.select(sa.func.count()).select_from(table)).one() for table in tables}


def test_it_fills_a_database_once_however_often(empty: Flask, tmp_path: Path) -> None:
    first = demo(empty, tmp_path)
    counts = row_counts(empty)
    assert demo(empty, tmp_path) == first
    assert row_counts(empty) == counts
    assert {name for name, count in counts.items() if not count} == {
        "scm_issue_operation",
        "scm_job",
        "scm_webhook_delivery",
    }
    assert (first["organization"], first["integration"], first["other_organization"]) == (1, 1, 123)
    # Ids of later rows do not come to the one that was given.
    for number in range(2):
        assert add(empty, "add-organization", f"next-{number}")["created"]
    with empty.app_context():
        assert db.session.scalars(sa.select(sa.func.max(Organization.id))).one() == 125


def test_what_was_deleted_is_there_again_and_what_was_changed_stays(app: Flask, tmp_path: Path) -> None:
    first = demo(app, tmp_path)
    assert run(app, "delete", "repository", "acme", "acme/web", "--yes").exit_code == 0
    assert run(app, "rename", "project", "acme", "web", "site").exit_code == 0
    assert run(app, "delete", "repository", "acme", "acme/shop", "--yes").exit_code == 0
    assert "nothing is changed" in failure_of(app, ["demo", "--folder", str(tmp_path)])
    assert run(app, "delete", "organization", "acme", "--yes").exit_code == 0
    (tmp_path / "traceback.txt").unlink()
    again = demo(app, tmp_path)
    assert again["other_organization"] == first["other_organization"]
    assert Path(again["traceback"]).read_text().endswith("KeyError: 'CH'\n")
    with app.app_context():
        assert db.session.scalars(sa.select(sa.func.count(Commit.id))).one() == 19


def test_the_planted_bug_is_found(app: Flask, tmp_path: Path) -> None:
    ids = demo(app, tmp_path)
    text = Path(ids["traceback"]).read_text()
    request = {"organization_id": ids["organization"], "project_id": ids["project"], "dry_run": True}
    found = Scm(app)("FindSuspectCommits", **request, stacktrace=text)
    first = found.suspects[0]
    assert (first.subject, first.author.name) == (CULPRIT, "Ben Okafor")
    assert first.url == f"https://gitlab.acme.example/acme/shop/-/commit/{first.commit_id}"
    derived = Scm(app)("DeriveCodeMappings", **request, frames=[outcome.frame for outcome in found.frames])
    assert [(mapping.stack_root, mapping.id) for mapping in derived.mappings] == [("/srv/shop/", 0)]
    # Two others came after that commit, and git blame names one of them.
    blame = ["git", "-C", str(tmp_path / "shop.git"), "blame", "-M", "-w", "--porcelain", "-L8,8", "main"]
    line = subprocess.run([*blame, "--", "shop/taxes.py"], capture_output=True, text=True, check=True).stdout
    assert "summary Taxes have a module of their own" in line


def test_its_stack_trace_is_that_of_its_program(app: Flask, tmp_path: Path) -> None:
    ids = demo(app, tmp_path)
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", tmp_path / "shop.git", clone], check=True)
    environ = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "app.py", "orders/chocolate.json"]
    done = subprocess.run(command, cwd=clone, env=environ, capture_output=True, text=True)
    frames = r'File "(?:/srv/shop|clone)/(.+)", line (\d+), in (\S+)\n +(.+)\n'
    printed = re.sub(r'"\S*?(\w+/)?app\.py"', f'"{clone}/app.py"', done.stderr).replace(str(clone), "clone")
    shipped = Path(ids["traceback"]).read_text()
    assert re.findall(frames, printed) == re.findall(frames, shipped) != []
    assert printed.splitlines()[-1] == shipped.splitlines()[-1]
    for order in ("tea", "books"):
        assert subprocess.run([*command[:2], f"orders/{order}.json"], cwd=clone, env=environ).returncode == 0


def test_an_organization_of_somebody_else_is_left_alone(app: Flask, tmp_path: Path) -> None:
    add(app, "add-organization", "acme")
    add(app, "add-repository", "acme", "acme/shop", "--url", "https://git.example/acme/shop")
    counts = row_counts(app)
    text = failure_of(app, ["demo", "--folder", str(tmp_path)])
    assert text.startswith("there is an organization 'acme' already, without the example's repository 'acme/shop'")
    assert (row_counts(app), list(tmp_path.iterdir())) == (counts, [])


def test_the_other_tenant_has_any_id_when_its_own_is_used(app: Flask, tmp_path: Path) -> None:
    with app.app_context():
        db.session.add(Organization(id=123, slug="mine"))
        db.session.commit()
    other = demo(app, tmp_path)["other_organization"]
    assert other != 123
    with app.app_context():
        names = db.session.scalars(sa.select(Repository.name).filter_by(organization_id=other)).all()
    assert names == ["example/repository"]


@pytest.mark.parametrize("kind", ["a file", "below a file"])
def test_a_folder_that_cannot_be_written_is_named(app: Flask, tmp_path: Path, kind: str) -> None:
    file = tmp_path / "file"
    file.touch()
    folder = file / "demo" if kind == "below a file" else tmp_path
    if kind == "a file":
        (tmp_path / "shop.git").mkdir()
        (tmp_path / "traceback.txt").mkdir()
    text = failure_of(app, ["demo", "--folder", str(folder)])
    assert re.fullmatch(rf"'{folder}' cannot be written: .+; name another by --folder", text)
