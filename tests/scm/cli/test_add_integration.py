"""``flask scm add-integration`` with the settings of a tracker."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_grpcweb_scm.pb import scm_pb2
from flask_grpcweb_scm.scm import Integration, OrganizationIntegration, db
from tests.grpcweb import call
from tests.scm.cli.test_rows import run
from tests.scm.support import SERVICE
from tests.scm.trackers.github_server import GitHubServer
from tests.scm.trackers.tracking import app, github

__all__ = ["app", "github"]  # fixtures


def test_the_settings_of_a_tracker_are_given_on_the_command_line(app: Flask, github: GitHubServer) -> None:
    run(app, "add-organization", "demo")
    add = ["add-integration", "demo", "github", "--name", "acme"]
    assert run(app, *add).stderr == ""
    more = ["--base-url", github.url, "--credentials", "bot", "--set", "repo=o/r", "--set", "labels=a=b,c"]
    result = run(app, *add, *more)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == "integration 'acme' exists already, with id 1, and has these settings now\n"
    with app.app_context():
        (integration,) = db.session.scalars(sa.select(Integration))
        (installation,) = db.session.scalars(sa.select(OrganizationIntegration))
        assert integration.metadata_ == {"base_url": github.url, "credentials": "bot"}
        assert installation.config == {"repo": "o/r", "labels": "a=b,c"}
    assert run(app, *add, "--set", "labels=").stderr == ""
    request = {"organization_id": 1, "integration_id": 1, "title": "Bug"}
    answer = call(
        app.test_client(),
        SERVICE + "CreateExternalIssue",
        scm_pb2.CreateExternalIssueRequest(**request),
    )
    assert answer.only(scm_pb2.ExternalIssue).key == "o/r#1"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--credentials", "nobody"], "GRPC_SCM_CREDENTIALS has no credentials named 'nobody'"),
        (["--credentials", "bot", "--base-url", "http://x.example"], "must begin with https://"),
        (["--credentials", "bot", "--set", "repo=acme"], "repo is not one that github has, got 'acme'"),
        (
            ["--credentials", "bot", "--set", "projects=acme/*", "--set", "repo=other/app"],
            "'other/app' is none of the projects that this organization may name",
        ),
        (["--credentials", "bot", "--set", "projects=,"], "must list at least one project"),
    ],
)
def test_settings_that_cannot_work_yet_are_a_warning(app: Flask, arguments: list[str], text: str) -> None:
    run(app, "add-organization", "demo")
    result = run(app, "add-integration", "demo", "github", "--name", "acme", *arguments)
    assert result.exit_code == 0
    assert text in result.stderr


@pytest.mark.parametrize("pair", ["repo", "=x", ""])
def test_a_setting_is_a_key_and_a_value(app: Flask, pair: str) -> None:
    run(app, "add-organization", "demo")
    result = run(app, "add-integration", "demo", "github", "--name", "acme", "--set", pair)
    assert result.exit_code == 2
    assert "is not KEY=VALUE" in result.stderr
