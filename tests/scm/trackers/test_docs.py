"""docs/trackers.md and docs/demo.md say what is true: their commands run, their tables are complete."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import sqlalchemy as sa
from flask import Flask

from flask_grpcweb_scm.configuration import read_settings
from flask_grpcweb_scm.scm import ExternalIssue, Integration, Job, OrganizationIntegration, db
from flask_grpcweb_scm.scm.cli import scm_cli
from flask_grpcweb_scm.scm.jobs import REFRESH_ISSUES
from flask_grpcweb_scm.scm.trackers import TRACKERS, open_tracker
from flask_grpcweb_scm.settings import Settings
from tests.documents import PAGES, ROOT, block, blocks
from tests.scm.support import add_tenant, make_app
from tests.servers import free_port

PAGE = PAGES["trackers"]
DEMO = PAGES["demo"]


def commands() -> list[list[str]]:
    lines = "".join(blocks(PAGE, "sh")).replace("\\\n", "").splitlines()
    return [shlex.split(line, comments=True) for line in lines]


def table() -> Iterator[list[str]]:
    listed = PAGE.read_text().partition("<!-- trackers -->\n")[2].partition("<!-- /trackers -->")[0]
    for line in listed.splitlines()[2:]:
        yield [cell.strip() for cell in line.strip("|").split("|")]


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Flask]:
    config: dict[str, Any] = {}
    for code in blocks(PAGE, "python"):
        exec(code, config)
    keys = {key: value for key, value in config.items() if key.startswith("GRPC_")}
    app = make_app(f"sqlite:///{tmp_path}/scm.db", **keys)
    for command in ("init-db", "add-organization demo"):
        app.test_cli_runner().invoke(args=["scm", *command.split()])
    yield app
    with app.app_context():
        db.engine.dispose()


def test_every_tracker_is_listed_with_what_it_needs() -> None:
    rows = {row[0].partition("`")[2].partition("`")[0]: row for row in table()}
    assert set(rows) == set(TRACKERS)
    for provider, (_, needs, _, _, limit) in rows.items():
        tracker = TRACKERS[provider]
        base_url = [] if tracker.base_url else ["--base-url"]
        assert re.findall("`([^`]+)`", needs) == [*base_url, *tracker.required], provider
        assert limit == str(tracker.max_title_characters or ""), provider


def test_the_waits_are_those_of_the_code() -> None:
    waits = {tracker.kind: tracker.search_delay for tracker in TRACKERS.values()}
    assert (waits.pop("jira_server"), waits.pop("jira"), set(waits.values())) == (30, 120, {5})
    assert "(5 s, Jira 30 s, Jira Cloud 120 s)" in PAGE.read_text()


def test_every_integration_can_be_added_as_printed(app: Flask) -> None:
    added = [command[1:] for command in commands() if command[:3] == ["flask", "scm", "add-integration"]]
    assert {command[3] for command in added} == set(TRACKERS)
    for command in added:
        result = app.test_cli_runner().invoke(args=command)
        assert (result.exit_code, result.stderr) == (0, ""), command
    with app.app_context():
        installed = db.session.scalars(sa.select(OrganizationIntegration)).all()
        opened = {installation.integration.provider: open_tracker(installation, 1) for installation in installed}
        assert {provider: type(tracker) for provider, tracker in opened.items()} == TRACKERS
        for installation in installed:
            assert set(TRACKERS[installation.integration.provider].required) <= set(installation.config)
        assert db.session.scalar(sa.select(sa.func.count(Integration.id))) == len(TRACKERS)


def test_the_commands_of_the_outbox_exist(app: Flask) -> None:
    listed = [command[1:] for command in commands() if command[:3] == ["flask", "scm", "outbox"]]
    assert [command[2] for command in listed] == ["list", "resume", "discard"]
    assert [app.test_cli_runner().invoke(args=command).exit_code for command in listed] == [0, 1, 1]


def test_the_commands_of_issues_take_what_is_printed() -> None:
    printed = block(PAGE, "console", "flask scm issues search").splitlines()
    lines = [shlex.split(line.removeprefix("$ flask scm ")) for line in printed]
    for group, name, *arguments in lines:
        issues = scm_cli.commands[group]
        assert isinstance(issues, click.Group)
        assert issues.commands[name].make_context(name, arguments).params["organization"] == "demo"


def test_the_commands_of_issues_exist(app: Flask) -> None:
    listed = [command[1:] for command in commands() if command[:3] == ["flask", "scm", "issues"]]
    assert [command[2] for command in listed] == ["list", "refresh"]
    assert [app.test_cli_runner().invoke(args=command).exit_code for command in listed] == [0, 0]


def test_the_function_for_webhooks(app: Flask) -> None:
    names: dict[str, Any] = {}
    for code in blocks(PAGE, "python"):
        exec(code, names)
    with app.app_context():
        tenant = add_tenant("acme")
        ids = {"organization_id": tenant.organization, "integration_id": tenant.integration}
        db.session.add(ExternalIssue(**ids, key="acme/app#7"))
        db.session.commit()
        assert names["on_issue_event"](tenant.integration, "acme/app#7") == 1
        assert names["on_issue_event"](tenant.integration, "acme/app#8") == 0
        assert db.session.scalars(sa.select(Job.subject_id).filter_by(kind=REFRESH_ISSUES)).all() == [
            tenant.integration
        ]


def test_the_intervals_and_sizes_are_those_of_the_code() -> None:
    page = PAGE.read_text()
    assert Settings().scm_issue_interval == 600
    for words, kind in [
        ("GraphQL (GitHub, {})", "github"), ("`iids[]` (GitLab, {})", "gitlab"),
        ("`bulkfetch` (Jira Cloud, {})", "jira"),
        ("JQL (Jira Data Center, {})", "jira_server"), ("`workitemsbatch` (Azure DevOps, {})", "vsts"),
        ("by id (Roundup, {})", "roundup"),
    ]:  # fmt: skip
        assert words.format(TRACKERS[kind].batch_size) in page, kind


def test_the_credentials_in_the_environment_are_json() -> None:
    (text,) = [c[1].partition("=")[2] for c in commands() if c and c[0] == "export"]
    read_settings({"GRPC_SCM_CREDENTIALS": json.loads(text)})


@pytest.mark.parametrize("page", [PAGE, DEMO])
def test_every_key_exists(page: Path) -> None:
    named = set(re.findall(r"\b(?:FLASK_)?(GRPC_[A-Z_]+)", page.read_text()))
    assert named <= {f"GRPC_{name.upper()}" for name in Settings.__dataclass_fields__}


@pytest.mark.needs("server")
def test_the_demo_runs_as_printed(tmp_path: Path, shell_path: str) -> None:
    port = free_port()
    script = "".join(f"{code}\n" for code in blocks(DEMO, "sh")).replace("8917", str(port))
    script = script.replace("\nflask scm demo", f"\n{WAIT % port}\nflask scm demo")
    last = script.rindex("flask grpc call LinkExternalIssue")
    again = next(line for line in script.splitlines() if "CreateExternalIssue" in line)
    environment = {**os.environ, "PATH": shell_path, "TMPDIR": str(tmp_path)}
    process = subprocess.Popen(
        ["bash", "-euc", f"{STOP}\n{script[:last]}{again}\n{script[last:]}"],
        cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        out, errors = process.communicate(timeout=120)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, errors
    shown_blocks = blocks(DEMO, "")
    assert len(shown_blocks) == 2
    for shown in shown_blocks:
        pattern = re.escape(shown).replace("…\\\n", r"(?:.*\n)*").replace("…", ".*")
        assert re.search(pattern, out), shown
    (response,) = re.findall(r'^{\n  "suspects": .*?^}', out, re.MULTILINE | re.DOTALL)
    found = json.loads(response)
    assert found["suspects"][0]["commitId"] in DEMO.read_text()
    assert "rate = RATES[country]" in found["frames"][-1]["blame"]["codeSnippet"]
    # Twice created, linked, listed: the one issue.
    assert len(re.findall(rf'"webUrl": "http://127.0.0.1:{port}/issue1"', out)) == 4
    (answer,) = blocks(DEMO, "json")
    assert answer.strip().replace("8917", str(port)) in out


STOP = "trap 'kill %1 && wait %1 || true' EXIT"
"""Also when a command before the end fails."""
WAIT = "for i in $(seq 100); do (exec 3<>/dev/tcp/127.0.0.1/%d) 2>/dev/null && break; sleep 0.1; done"
