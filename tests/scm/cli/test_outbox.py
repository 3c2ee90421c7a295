"""``flask scm outbox``."""

from __future__ import annotations

import json
from typing import Any

from flask import Flask

from flask_grpcweb_scm.scm import Integration, db
from tests.scm.cli.test_rows import run
from tests.scm.support import Tenant
from tests.scm.trackers import github_server as faults
from tests.scm.trackers.github_server import GitHubServer
from tests.scm.trackers.tracking import Stored, app, create, github, ours, stored

__all__ = ["app", "github", "ours"]  # fixtures


def test_what_is_unfinished_is_listed_and_resumed(app: Flask, ours: Tenant, github: GitHubServer) -> None:
    assert run(app, "outbox", "list").stdout == "nothing is left\n"
    github.faults = [faults.cut_after, faults.cut_before]
    for title in ("One", "Two"):
        create(app, ours, title=title)
    lines = run(app, "outbox", "list").stdout.splitlines()
    assert [line.partition("'")[2] for line in lines] == [
        f"{title}': the connection to {github.url.removeprefix('http://')} broke" for title in ("One", "Two")
    ]
    listed = json.loads(run(app, "outbox", "list", "--json").stdout)["operations"]
    assert [(row["title"], row["organization"], row["attempts"]) for row in listed] == [
        ("One", "ours", 1),
        ("Two", "ours", 1),
    ]
    first, second = (str(row["id"]) for row in listed)
    result = run(app, "outbox", "resume", first)
    assert (result.exit_code, result.stdout[:12]) == (0, "issue o/r#1 ")
    assert json.loads(run(app, "outbox", "resume", second, "--json").stdout)["key"] == "o/r#2"
    assert stored(app, ours) == Stored({"o/r#1": "One", "o/r#2": "Two"}, [])


def test_what_fails_again_stays(app: Flask, ours: Tenant, github: GitHubServer) -> None:
    github.faults = [faults.cut_after, faults.status_before("401 No")]
    create(app, ours)
    (row,) = json.loads(run(app, "outbox", "list", "--json").stdout)["operations"]
    result = run(app, "outbox", "resume", str(row["id"]))
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: github responded with 401: no; operation ")
    with app.app_context():
        db.session.get_one(Integration, ours.integration).metadata_ = {}
        db.session.commit()
    assert "no tracker settings any more" in run(app, "outbox", "resume", str(row["id"])).stderr
    assert len(stored(app, ours).operations) == 1


def test_an_operation_can_be_forgotten(app: Flask, ours: Tenant, github: GitHubServer) -> None:
    github.faults = [faults.cut_before]
    create(app, ours)
    (row,) = json.loads(run(app, "outbox", "list", "--json").stdout)["operations"]
    assert run(app, "outbox", "discard", str(row["id"])).stdout == f"operation {row['id']} is deleted\n"
    assert stored(app, ours) == Stored({}, [])
    for command in ("resume", "discard"):
        assert "there is no operation" in run(app, "outbox", command, str(row["id"])).stderr


def test_an_operation_that_is_under_way_is_left_alone(app: Flask, ours: Tenant, github: GitHubServer) -> None:
    seen = []

    def look(peer: Any, act: Any) -> None:
        (row,) = json.loads(run(app, "outbox", "list", "--json").stdout)["operations"]
        seen.append((row["state"], run(app, "outbox", "resume", str(row["id"])).stderr))
        faults.answer(peer, act)

    github.faults = [look]
    assert create(app, ours).code == 0
    assert seen == [("under way", "Error: another call is creating this issue; try again\n")]
