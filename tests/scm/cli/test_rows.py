"""``flask scm …``."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import sqlalchemy as sa
from click.testing import Result
from flask import Flask

from flask_grpcweb_scm.scm import (
    Group,
    Integration,
    Organization,
    OrganizationIntegration,
    Project,
    Repository,
    db,
)
from flask_grpcweb_scm.scm.cli import scm_cli
from tests.combinations import ON_SQLITE
from tests.scm.databases import disposed
from tests.scm.support import make_app
from tests.servers import free_port
from tests.tables import check_rows


def run(app: Flask, *arguments: str) -> Result:
    return app.test_cli_runner().invoke(args=["scm", *arguments])


def add(app: Flask, *arguments: str) -> dict[str, Any]:
    result = run(app, *arguments, "--json")
    assert result.exit_code == 0, result.output
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


@pytest.fixture
def empty(empty_database: str) -> Iterator[Flask]:
    """An app without tables."""
    with disposed(make_app(empty_database)) as app:
        yield app


def every_command(group: click.Group = scm_cli, *names: str) -> Iterator[list[str]]:
    """All commands but those that create or need no tables, each with values for what it requires."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from every_command(command, *names, name)
        elif name not in {"init-db", "demo", "trackers"}:
            yield [*names, name, *(text for param in command.params if param.required for text in given(param))]


def given(param: click.Parameter) -> list[str]:
    values = {"number": "1", "operation_id": "1", "path": ".", "provider": "jira", "file": "-"}
    value = values.get(param.name or "", "demo")
    return [param.opts[0], value] if isinstance(param, click.Option) else [value]


EVERY_COMMAND = list(every_command())


def failure_of(app: Flask, command: list[str]) -> str:
    """The sentence that a command ends with."""
    result = run(app, *command)
    assert (result.exit_code, type(result.exception)) == (1, SystemExit), result.exception
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    return line.removeprefix("Error: ")


def test_without_tables_every_command_says_what_to_run(empty: Flask) -> None:
    def check(command: list[str]) -> None:
        assert failure_of(empty, command) == "the tables do not exist yet; run: flask scm init-db"

    check_rows(check, ((command,) for command in EVERY_COMMAND))


@pytest.mark.parametrize("command", [["init-db"], ["demo"], *EVERY_COMMAND], ids=" ".join)
def test_without_its_database_every_command_says_so(tmp_path: Path, command: list[str]) -> None:
    nowhere = {f"sqlite:///{tmp_path}/none/scm.db": "unable to open database file"}
    if importlib.util.find_spec("psycopg"):
        nowhere[f"postgresql+psycopg://nobody:hush@127.0.0.1:{free_port()}/none"] = "onnection refused"
    for uri, reason in nowhere.items():
        with disposed(make_app(uri)) as app:
            text = failure_of(app, command)
        assert text.startswith("the database failed: ")
        assert reason in text
        assert "hush" not in text


@pytest.mark.parametrize(
    ("change", "command"),
    [
        ("ALTER TABLE scm_organization RENAME COLUMN name TO label", ["add-organization", "demo"]),
        ("DROP TABLE scm_issue_operation", ["outbox", "list"]),
    ],
)
def test_with_the_tables_of_another_version_a_command_says_what_to_run(
    app: Flask, change: str, command: list[str]
) -> None:
    with app.app_context():
        db.session.execute(sa.text(change))
        db.session.commit()
    text = failure_of(app, command)
    assert text.startswith("the tables are of another version (")
    assert text.endswith("); run: flask db upgrade")


def test_init_db_can_be_repeated(empty: Flask) -> None:
    for _ in range(2):
        assert "scm_organization" in add(empty, "init-db")["tables"]
    assert add(empty, "add-organization", "demo") == {"id": 1, "created": True}


def test_every_command_stores_what_it_was_given(app: Flask) -> None:
    organization = add(app, "add-organization", "demo", "--name", "Demo Inc.")["id"]
    project = add(app, "add-project", "demo", "web", "--name", "Web", "--platform", "python")["id"]
    group = add(app, "add-group", "demo", "web", "--title", "ValueError")
    integration = add(app, "add-integration", "demo", "github", "--name", "acme", "--external-id", "77")["id"]
    repository = add(
        app, "add-repository", "demo", "acme/app", "--provider", "integrations:github", "--external-id", "5",
        "--url", "https://github.com/acme/app", "--integration", str(integration),
    )["id"]  # fmt: skip
    with app.app_context():
        row: Any = db.session.get_one(Organization, organization)
        assert (row.slug, row.name) == ("demo", "Demo Inc.")
        row = db.session.get_one(Project, project)
        assert (row.organization_id, row.slug, row.name, row.platform) == (organization, "web", "Web", "python")
        row = db.session.get_one(Group, group["id"])
        assert (row.project_id, row.title, row.short_id) == (project, "ValueError", 1)
        row = db.session.get_one(Integration, integration)
        assert (row.provider, row.external_id, row.name) == ("github", "77", "acme")
        assert db.session.scalars(sa.select(OrganizationIntegration.integration_id)).all() == [integration]
        row = db.session.get_one(Repository, repository)
        assert (row.organization_id, row.integration_id, row.name) == (organization, integration, "acme/app")
        assert (row.provider, row.external_id, row.url) == ("integrations:github", "5", "https://github.com/acme/app")


@pytest.mark.parametrize(
    "command",
    [
        ["add-organization", "demo"],
        ["add-project", "demo", "web"],
        ["add-integration", "demo", "jira", "--name", "J"],
        ["add-repository", "demo", "r"],
        ["add-repository", "demo", "other name", "--provider", "github", "--external-id", "1"],
    ],
)
def test_what_exists_already_is_left_as_it_is(app: Flask, command: list[str]) -> None:
    run(app, "add-organization", "demo")
    first = add(app, *command)
    again = run(app, *command)
    assert again.exit_code == 0
    assert again.stdout.endswith(f"exists already, with id {first['id']}\n")
    assert add(app, *command) == {"id": first["id"], "created": False}


def test_groups_are_numbered_in_their_project(app: Flask) -> None:
    run(app, "add-organization", "demo")
    for project in ("web", "api"):
        run(app, "add-project", "demo", project)
    numbers = [add(app, "add-group", "demo", project, "--title", "T")["short_id"] for project in ("web", "web", "api")]
    assert numbers == [1, 2, 1]


def test_organizations_share_an_integration_of_the_same_account(app: Flask) -> None:
    for slug in ("one", "two"):
        run(app, "add-organization", slug)
    shared = [
        add(app, "add-integration", slug, "github", "--name", "acme", "--external-id", "7") for slug in ("one", "two")
    ]
    assert shared == [{"id": 1, "created": True}, {"id": 1, "created": True}]
    own = [add(app, "add-integration", slug, "jira", "--name", "acme")["id"] for slug in ("one", "two")]
    assert own[0] != own[1]


@ON_SQLITE
@pytest.mark.parametrize(
    ("command", "text"),
    [
        (["add-organization", "7"], "with at least one that is no digit"),
        (["add-organization", "a b"], "'a b' is not made of letters"),
        (["add-organization", ""], "is not made of letters"),
        (["add-organization", "x" * 65], "has 65 characters; the limit is 64"),
        (["add-project", "nobody", "web"], "there is no organization 'nobody'; run: flask scm add-organization nobody"),
        (
            ["add-group", "demo", "web", "--title", "T"],
            "'demo' has no project 'web'; run: flask scm add-project demo web",
        ),
        (["add-group", "demo", "web"], "Missing option '--title'"),
        (["add-integration", "demo", "p" * 65, "--name", "n"], "the limit is 64"),
        (["add-repository", "demo", "x" * 201], "the limit is 200"),
        (["add-repository", "demo", "x", "--integration", "9"], "'demo' has no integration 9"),
        (["add-repository", "demo", "x", "--external-id", "x" * 65], "the limit is 64"),
    ],
)
def test_a_mistake_says_the_way_out(app: Flask, command: list[str], text: str) -> None:
    run(app, "add-organization", "demo")
    result = run(app, *command)
    assert result.exit_code in {1, 2}
    assert text in result.stderr
    assert "Traceback" not in result.output


def test_an_integration_of_another_organization_is_refused(app: Flask) -> None:
    for slug in ("one", "two"):
        run(app, "add-organization", slug)
    integration = add(app, "add-integration", "one", "jira", "--name", "J")["id"]
    result = run(app, "add-repository", "two", "x", "--integration", str(integration))
    assert result.exit_code == 1
    assert f"'two' has no integration {integration}" in result.stderr
