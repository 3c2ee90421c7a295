"""``flask scm mappings check``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from tests.scm.code_mappings.test_derive import AddRepository, add_mapping, add_repository, derive, stored
from tests.scm.support import Scm, Tenant, set_mirror

__all__ = ["add_repository"]  # a fixture

FILES = ["back/shop/a.py", "back/shop/b.py", "back/manage.py", "front/shop/a.py", "front/ui/c.ts", "conf/x.yaml"]


def check(app: Flask, *arguments: str) -> tuple[int, dict[str, Any]]:
    result = app.test_cli_runner().invoke(args=["scm", "mappings", "check", "ours", *arguments, "--json"])
    return result.exit_code, json.loads(result.stdout)


def problems(facts: dict[str, Any]) -> dict[str, str]:
    return {fact["stack_root"]: fact["problem"] for fact in facts["mappings"]}


def test_mappings_that_lead_to_files_are_right(
    app: Flask, scm: Scm, ours: Tenant, add_repository: AddRepository
) -> None:
    repository = add_repository("monolith", FILES)
    add_mapping(app, ours, "", "", repository_id=repository)
    add_mapping(app, ours, "/etc/shop/", "conf/", repository_id=repository)
    derive(scm, ours, "/app/shop/b.py", "/app/manage.py", "/app/ui/c.ts")
    code, facts = check(app)
    assert (code, facts["wrong"]) == (0, 0)
    assert len(facts["mappings"]) == 5
    assert check(app, "web") == (code, facts)


@pytest.mark.parametrize("generated", [True, False])
def test_a_mapping_without_files_is_wrong_and_deleted_when_it_was_generated(
    app: Flask, ours: Tenant, add_repository: AddRepository, generated: bool
) -> None:
    repository = add_repository("monolith", FILES)
    row = add_mapping(app, ours, "/old/", "gone/", repository_id=repository, automatically_generated=generated)
    code, facts = check(app)
    [fact] = facts["mappings"]
    assert (code, fact["id"], fact["problem"], fact["fixed"]) == (1, row, "nowhere", False)
    assert fact["reason"] == "no file is below 'gone/'"
    code, facts = check(app, "--fix")
    assert (code, facts["wrong"], facts["mappings"][0]["fixed"]) == ((0, 0, True) if generated else (1, 1, False))
    assert stored(app) == ([] if generated else [("/old/", "gone/")])


def test_an_empty_root_is_wrong_when_it_was_generated(app: Flask, ours: Tenant, add_repository: AddRepository) -> None:
    add_mapping(app, ours, "", "", repository_id=add_repository("monolith", FILES), automatically_generated=True)
    assert problems(check(app)[1]) == {"": "empty"}
    assert check(app, "--fix")[0] == 0
    assert stored(app) == []


def test_mappings_that_hide_others(app: Flask, ours: Tenant, add_repository: AddRepository) -> None:
    repository = add_repository("monolith", FILES)
    one = add_mapping(app, ours, "/app/", "back/", repository_id=repository)
    two = add_mapping(app, ours, "/app/shop/", "front/shop/", repository_id=repository, automatically_generated=True)
    three = add_mapping(app, ours, "/app/ui/", "front/ui/", repository_id=repository, automatically_generated=True)
    code, facts = check(app)
    assert code == 1
    by_id = {fact["id"]: fact for fact in facts["mappings"]}
    assert by_id[one]["hides"] == [{"id": two, "paths": 1, "example": "/app/shop/a.py"}]
    assert [by_id[row]["problem"] for row in (one, two, three)] == ["", "hidden", ""]
    assert check(app, "--fix")[0] == 0
    assert stored(app) == [("/app/", "back/"), ("/app/ui/", "front/ui/")]


def test_a_mapping_that_hides_a_part_is_named_and_not_wrong(
    app: Flask, ours: Tenant, add_repository: AddRepository
) -> None:
    repository = add_repository("monolith", FILES)
    one = add_mapping(app, ours, "/app/", "back/", repository_id=repository)
    add_mapping(app, ours, "/app/shop/", "front/shop/", repository_id=repository)
    result = app.test_cli_runner().invoke(args=["scm", "mappings", "check", "ours"])
    assert result.exit_code == 0
    assert f"hides 1 paths of code mapping {one}, such as /app/shop/a.py" in result.output
    assert result.output.endswith("2 code mappings, 0 wrong\n")


def test_a_repository_that_cannot_be_read_is_said(app: Flask, ours: Tenant, tmp_path: Path) -> None:
    set_mirror(app, ours.repository, tmp_path / "gone")
    add_mapping(app, ours, "/app/", "back/", automatically_generated=True)
    code, facts = check(app, "--fix")
    assert (code, problems(facts)) == (1, {"/app/": "unreadable"})
    assert "could not be searched: the git mirror" in facts["mappings"][0]["reason"]
    assert stored(app) == [("/app/", "back/")]


def test_a_repository_that_is_disabled_is_said(app: Flask, ours: Tenant, add_repository: AddRepository) -> None:
    repository = add_repository("monolith", FILES)
    add_mapping(app, ours, "/app/", "back/", repository_id=repository)
    app.test_cli_runner().invoke(args=["scm", "disable", "repository", "ours", "monolith"])
    code, facts = check(app)
    assert (code, problems(facts)) == (1, {"/app/": "unreadable"})
    assert facts["mappings"][0]["reason"] == "monolith is disabled, so its files are not read"


def test_names_are_printed_escaped(app: Flask, ours: Tenant, add_repository: AddRepository) -> None:
    repository = add_repository("monolith", FILES)
    add_mapping(app, ours, "/a\x1b]0;x\x07/", "gone/", repository_id=repository, automatically_generated=True)
    result = app.test_cli_runner().invoke(args=["scm", "mappings", "check", "ours"])
    assert result.exit_code == 1
    assert result.output.isprintable() or "\x1b" not in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["ours", "absent"], "run: flask scm add-project ours absent"), (["absent"], "run: flask scm add-organization")],
)
def test_what_cannot_work_says_the_way_out(app: Flask, ours: Tenant, arguments: list[str], message: str) -> None:
    result = app.test_cli_runner().invoke(args=["scm", "mappings", "check", *arguments])
    assert result.exit_code == 1
    assert message in result.output
