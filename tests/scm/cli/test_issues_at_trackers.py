"""``flask scm trackers``, and what ``flask scm issues`` does at trackers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask

from flask_grpcweb_scm.scm import db
from flask_grpcweb_scm.testing.trackers import Vendor
from tests.scm.cli.test_rows import run
from tests.scm.support import make_app
from tests.scm.trackers.test_registry import SMALL, Install, install
from tests.scm.trackers.vendor_apps import jira_app

__all__ = ["install"]


@pytest.fixture
def jira() -> Iterator[Vendor]:
    with Vendor(jira_app("2")).serving() as vendor:
        yield vendor


@pytest.fixture
def app(tmp_path: Path, jira: Vendor) -> Iterator[Flask]:
    app = make_app(
        f"sqlite:///{tmp_path}/scm.db", GRPC_SCM_CREDENTIALS={"bot": "s3cret"}, GRPC_SCM_ALLOWED_HOSTS="127.0.0.1"
    )
    at = f"--base-url {jira.url}/jira --credentials bot --set project=ABC --set issuetype=Bug"
    for command in (
        "init-db",
        "add-organization demo",
        "add-project demo web",
        "add-group demo web --title KeyError",
        f"add-integration demo jira_server --name bugs {at}",
        "add-integration demo jira_server --name local",
    ):
        assert run(app, *command.split()).exit_code == 0
    yield app
    with app.app_context():
        db.engine.dispose()


def test_what_is_required_is_listed_then_created_found_and_linked(app: Flask, jira: Vendor) -> None:
    assert run(app, "issues", "fields", "demo", "bugs").stdout == "customfield_1  Severity, string, required\n"
    refused = run(app, "issues", "create", "demo", "bugs", "--title", "Broken")
    assert (refused.exit_code, "metadata.customfield_1: Severity is required." in refused.stderr) == (1, True)
    to = ("--set", "Severity=High", "--group", "web", "1", "--idempotency-key", "k")
    created = run(app, "issues", "create", "demo", "bugs", "--title", "Broken", *to)
    page = f"{jira.url}/jira/browse/ABC-1"
    assert created.stdout == f"created issue ABC-1, and linked to group 1 of 'web'; external issue 1 {page}\n"
    # Again after an end of the command that nobody has seen, also of the link.
    for more in (to[5:], to[2:]):
        again = run(
            app, "issues", "create", "demo", "bugs", "--title", "Broken", "--set", "Severity=High", *more, "--json"
        )
        assert json.loads(again.stdout) == {"id": 1, "key": "ABC-1", "url": page}
    run(app, "issues", "create", "demo", "bugs", "--title", "Another", "--set", "Severity=Low")
    assert run(app, "issues", "search", "demo", "bugs", "another").stdout == "ABC-2  To Do, Ann: Another\n"
    assert run(app, "issues", "search", "demo", "bugs", "nothing").stdout == "no issue has these words\n"
    linked = run(app, "issues", "link", "demo", "web", "1", "bugs", f"{jira.url}/jira/browse/ABC-2")
    assert linked.stdout == "issue ABC-2 'Another' is linked to group 1 of 'web'; external issue 2\n"
    twice = run(app, "issues", "link", "demo", "web", "1", "bugs", "ABC-2")
    assert (twice.exit_code, twice.stderr) == (1, "Error: external issue 2 is linked to group 1 already\n")


def test_what_names_nothing_is_said(app: Flask, jira: Vendor) -> None:
    jira.forget()
    for command, text in [
        ("fields demo nobody", "'demo' has no integration 'nobody'"),
        ("fields demo local", "has no tracker: its issues exist here only"),
        ("link demo web 9 bugs ABC-1", "'web' has no group '9'"),
        ("link demo web 1 bugs x", "'x' is no key of jira_server"),
        ("search demo bugs x --set project=../..", "is not one that jira_server has"),
    ]:
        result = run(app, "issues", *command.split())
        assert (result.exit_code, text in result.stderr) == (1, True), result.stderr
    assert jira.requests == []


def test_the_kinds_are_listed_with_what_is_wrong_with_them(app: Flask, install: Install) -> None:
    install("acme_own", SMALL, "own = acme_own:Own")
    install("acme_bad", "", "bad = acme_bad:Bad")
    lines = run(app, "trackers").stdout.splitlines()
    assert lines[:2] == ["github  repo", "github_enterprise  repo"]
    named = "the entry point 'bad = acme_bad:Bad' of acme_bad 1.0 cannot be loaded: AttributeError"
    assert any(line.startswith(f"bad  {named}") for line in lines)
    assert "own  the entry point 'own = acme_own:Own' of acme_own 1.0" in lines
    listed = json.loads(run(app, "trackers", "--json").stdout)["trackers"]
    assert listed[0] == {"provider": "github", "needs": ["repo"], "origin": "", "problem": ""}
