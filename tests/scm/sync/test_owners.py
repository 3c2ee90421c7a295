"""Repositories that several integrations see: who has one, and who gets it."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_grpcweb_scm.scm import Integration, OrganizationIntegration, Repository, db
from tests.combinations import ON_SQLITE
from tests.scm.cli.test_rows import run
from tests.scm.sync.hosts import GitHubHost, forbidden
from tests.scm.sync.syncing import add_installation, kinds, rows, sync


@pytest.fixture
def other(app: Flask, github: GitHubHost, installed: int) -> int:
    """The id of a second integration, which sees what the first one sees."""
    return add_installation(app, github, "github_enterprise", name="other", credentials="app")


def owners(app: Flask) -> list[tuple[str, int | None, str]]:
    found: list[tuple[str, int | None, str]] = rows(app, lambda row: (row.name, row.integration_id, row.status.value))
    return found


def configure(app: Flask, integration_id: int, metadata: dict[str, Any] | None = None, **config: Any) -> None:
    """Change the settings of an integration, and of its installation."""
    with app.app_context():
        row = db.session.scalars(sa.select(OrganizationIntegration).filter_by(integration_id=integration_id)).one()
        row.config = {**row.config, **config}
        row.integration.metadata_ = {**row.integration.metadata_, **(metadata or {})}
        db.session.commit()


@ON_SQLITE
def test_it_goes_to_the_other_one_when_its_own_loses_sight_of_it(
    app: Flask, github: GitHubHost, installed: int, other: int
) -> None:
    for number in (1, 2):
        github.add(number, f"acme/{number}")
    assert kinds(sync(app)) == [("add", "acme/1"), ("add", "acme/2")]
    # The token loses sight of it, and the app does not.
    github.repositories[1].private, github.repositories[1].sees = True, {"app"}
    assert kinds(sync(app)) == [("hand over", "acme/1")]
    assert owners(app) == [("acme/1", other, "active"), ("acme/2", installed, "active")]
    assert kinds(sync(app)) == []


@ON_SQLITE
def test_one_outside_of_every_border_is_hidden(app: Flask, github: GitHubHost, installed: int, other: int) -> None:
    for number in (1, 2, 3):
        github.add(number, f"acme/{number}")
    sync(app)
    configure(app, installed, projects="acme/1")
    configure(app, other, projects="acme/2")
    assert kinds(sync(app)) == [("hand over", "acme/2"), ("hide", "acme/3")]
    assert owners(app) == [
        *[("acme/1", installed, "active"), ("acme/2", other, "active"), ("acme/3", installed, "hidden")]
    ]
    for _ in range(2):
        assert kinds(sync(app)) == []
        assert kinds(sync(app, "--integration", "other")) == []
        assert kinds(sync(app, "--integration", "main")) == []
    # Renamed to where the other one's border is.
    github.repositories[1].name = "acme/2"
    github.repositories[2].name = "acme/two"
    assert kinds(sync(app)) == [("hand over", "acme/1"), ("rename", "acme/2"), ("hide", "acme/2")]
    assert owners(app) == [("acme/2", other, "active"), ("acme/2", other, "hidden"), ("acme/3", installed, "hidden")]
    assert kinds(sync(app)) == []


@ON_SQLITE
def test_a_border_that_cannot_be_read_is_none(app: Flask, github: GitHubHost, installed: int, other: int) -> None:
    github.add(1, "acme/1")
    sync(app)
    configure(app, other, projects=[])
    github.organizations = ("nobody",)
    configure(app, installed, owner="nobody")
    done = sync(app)
    assert kinds(done) == [("hide", "acme/1")]
    assert "projects of the installation must list" in done["errors"][0]


LOST: dict[str, tuple[dict[str, Any], bool]] = {
    "no settings at all": ({"base_url": None, "credentials": None}, False),
    "no credentials": ({"credentials": None}, True),
    "credentials that nobody has configured": ({"credentials": "absent"}, True),
    "credentials that are refused": ({"credentials": "wrong"}, True),
}


@ON_SQLITE
@pytest.mark.needs("time")
@pytest.mark.parametrize("case", LOST)
def test_it_goes_to_the_other_one_when_its_own_cannot_be_listed(
    app: Flask, github: GitHubHost, installed: int, other: int, case: str
) -> None:
    github.add(1, "acme/1")
    github.add(2, "acme/2", sees={"token"})
    sync(app)
    metadata, is_error = LOST[case]
    with app.app_context():
        row = db.session.get_one(Integration, installed)
        row.metadata_ = {name: value for name, value in {**row.metadata_, **metadata}.items() if value is not None}
        db.session.commit()
    done = sync(app)
    assert (done["exit_code"], kinds(done)) == (int(is_error), [("update", "acme/1")])
    # What nobody lists stays: perhaps it is there.
    assert owners(app) == [("acme/1", other, "active"), ("acme/2", installed, "active")]
    assert kinds(sync(app)) == []
    configure(app, installed, {"base_url": github.url, "credentials": "bot"})
    assert kinds(sync(app)) == []
    github.refusals.clear()


@ON_SQLITE
@pytest.mark.parametrize("is_deleted", [True, False])
def test_it_goes_to_the_other_one_when_its_own_is_uninstalled(
    app: Flask, github: GitHubHost, installed: int, other: int, is_deleted: bool
) -> None:
    github.add(1, "acme/1")
    sync(app)
    if is_deleted:
        assert run(app, "delete", "integration", "acme", "main", "--yes").exit_code == 0
    else:
        with app.app_context():
            db.session.execute(sa.delete(OrganizationIntegration).filter_by(integration_id=installed))
            db.session.commit()
    assert kinds(sync(app)) == [("update", "acme/1")]
    assert owners(app) == [("acme/1", other, "active")]


@ON_SQLITE
def test_it_stays_while_its_own_integration_only_fails(
    app: Flask, github: GitHubHost, installed: int, other: int
) -> None:
    github.add(1, "acme/1")
    sync(app)
    github.faults = [lambda request: forbidden("Server Error", 500)] * 3
    done = sync(app)
    assert (done["exit_code"], kinds(done)) == (1, [])
    assert owners(app) == [("acme/1", installed, "active")]


@ON_SQLITE
def test_what_another_one_saw_before_it_failed_is_not_hidden(
    app: Flask, github: GitHubHost, installed: int, other: int
) -> None:
    github.add(1, "acme/1")
    sync(app)
    github.repositories[1].private, github.repositories[1].sees = True, {"app"}
    listed = "/installation/repositories"
    github.faults = [lambda request: forbidden("?", 500) if request.path.endswith(listed) else None] * 20
    assert kinds(sync(app)) == [("hand over", "acme/1")]
    github.faults = []
    assert kinds(sync(app)) == []
    del github.repositories[1]
    assert kinds(sync(app)) == [("hide", "acme/1")]


@ON_SQLITE
def test_numbers_of_a_host_whose_integration_is_gone_are_not_anothers(app: Flask, github: GitHubHost) -> None:
    with app.app_context():
        url = "https://ghe.example/acme/other.git"
        row = Repository(organization_id=1, name="acme/other", url=url, provider="github_enterprise", external_id="1")
        db.session.add(row)
        db.session.commit()
    add_installation(app, github, "github_enterprise")
    github.add(1, "acme/1")
    assert kinds(sync(app)) == [("add", "acme/1")]
    host = github.url.removeprefix("http://")
    assert rows(app, lambda row: (row.name, row.external_id)) == [("acme/other", "1"), ("acme/1", f"{host}:1")]
    assert kinds(sync(app)) == []
