"""FindSuspectCommits where a provider has the repository: its outage, and what it does not know."""

from __future__ import annotations

import time

import pytest
from flask import Flask

from flask_grpcweb_scm import StatusCode
from flask_grpcweb_scm.scm import CodeMapping, Integration, db
from tests.scm.service.test_suspects import Shop, add, find, shop
from tests.scm.sources.test_sources import Answer, FakeGitHub, app, connect, failing, github
from tests.scm.support import Scm, Tenant

__all__ = ["app", "github", "shop"]  # fixtures


@pytest.fixture
def at_github(app: Flask, ours: Tenant, github: FakeGitHub) -> int:
    """The id of a repository at GitHub, with a code mapping."""
    repository = connect(app, ours, "github", "o/r", base_url=github.url, credentials="bot")
    with app.app_context():
        mapping = CodeMapping(
            organization_id=ours.organization, project_id=ours.project, repository_id=repository,
            stack_root="/pay/", source_root="src/",
        )  # fmt: skip
        db.session.add(mapping)
        db.session.commit()
    return repository


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (failing(500), StatusCode.UNAVAILABLE),
        (failing(403), StatusCode.PERMISSION_DENIED),
        (failing(401), StatusCode.FAILED_PRECONDITION),
        (failing(429), StatusCode.RESOURCE_EXHAUSTED),
    ],
)
def test_the_outage_of_one_provider_is_that_of_its_frames(
    app: Flask, scm: Scm, ours: Tenant, shop: Shop, at_github: int, github: FakeGitHub, answer: Answer, code: StatusCode
) -> None:
    add(app, ours, "acme/shop", shop.git)
    github.always = lambda: answer
    frames = [{"path": "/app/shop/cart.py", "line": 2}, {"path": "/pay/app.py", "line": 7}]
    response = find(scm, ours, frames=frames)
    assert [suspect.commit_id for suspect in response.suspects] == [shop.culprit]
    assert [frame.code for frame in response.frames] == [0, code]
    assert response.frames[1].path.repository_id == at_github
    assert response.frames[1].message == response.frames[1].no_suspect_reason


def test_neither_a_branch_nor_a_blame_is_requested_again(
    scm: Scm, ours: Tenant, at_github: int, github: FakeGitHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now)
    frames = [{"path": "/pay/app.py", "line": 10}]
    first = find(scm, ours, frames=frames)
    github.requests.clear()
    again = find(scm, ours, frames=frames)
    assert again.suspects[0].commit_id == first.suspects[0].commit_id
    # Whether the commit is still there.
    assert [path for _, path in github.requests] == [f"/repos/o/r/git/commits/{first.frames[0].commit_id}"]


def test_settings_that_cannot_work_are_told_by_the_frames(app: Flask, scm: Scm, ours: Tenant, at_github: int) -> None:
    with app.app_context():
        for row in db.session.query(Integration).filter_by(provider="github"):
            row.metadata_ = {"credentials": "absent"}
        db.session.commit()
    response = find(scm, ours, frames=[{"path": "/pay/app.py", "line": 7}])
    assert "no credentials named 'absent'" in response.frames[0].message
    assert response.frames[0].code == StatusCode.FAILED_PRECONDITION


def test_moves_and_whitespace_which_a_provider_does_not_know_make_nothing_approximate(
    scm: Scm, ours: Tenant, at_github: int
) -> None:
    frames = [{"path": "/pay/app.py", "line": 10}]
    response = find(scm, ours, frames=frames)
    assert [suspect.author.name for suspect in response.suspects] == ["Bob"]
    assert not response.frames[0].blame.approximate
    response = find(scm, ours, frames=frames, blame_options={"detect_moves": True})
    assert response.frames[0].blame.approximate
    assert "; approximately: " in response.suspects[0].reason
