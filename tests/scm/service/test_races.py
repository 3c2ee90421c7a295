"""Calls at the same time: one row, and one answer that says so."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_grpcweb_scm import RpcError
from flask_grpcweb_scm.scm import (
    CodeMapping,
    Commit,
    CommitAuthor,
    CommitFileChange,
    ExternalIssue,
    GroupLink,
    Organization,
    Repository,
    db,
)
from flask_grpcweb_scm.scm.git_import import prepare_import
from flask_grpcweb_scm.scm.sources.mirror import Mirror
from tests.scm.support import GitRepository, Scm, Tenant, add_mapping

CALLERS = 8


def count(app: Flask, model: Any) -> int:
    with app.app_context():
        return db.session.scalar(sa.select(sa.func.count()).select_from(model)) or 0


def at_once(run: Callable[[int], str]) -> list[str]:
    with ThreadPoolExecutor(CALLERS) as pool:
        return sorted(pool.map(run, range(CALLERS)))


def outcomes(scm: Scm, method: str, **fields: Any) -> list[str]:
    """What calls at the same time are answered."""

    def one(_: int) -> str:
        try:
            scm(method, **fields)
        except RpcError as error:
            return error.code.name
        return "OK"

    return at_once(one)


@pytest.fixture
def mapped(app: Flask, ours: Tenant) -> Tenant:
    with app.app_context():
        return add_mapping(ours)


def test_of_creates_that_race_one_wins(app: Flask, scm: Scm, ours: Tenant) -> None:
    before = count(app, CodeMapping)
    fields = {"organization_id": ours.organization, "project_id": ours.project, "repository_id": ours.repository}
    assert outcomes(scm, "CreateCodeMapping", **fields, stack_root="/app") == ["ALREADY_EXISTS"] * 7 + ["OK"]
    assert count(app, CodeMapping) == before + 1


def test_of_links_that_race_one_wins(app: Flask, scm: Scm, ours: Tenant) -> None:
    fields = {"group_id": ours.group, "external_issue_id": ours.issue}
    assert outcomes(scm, "LinkExternalIssue", **fields) == ["ALREADY_EXISTS"] * 7 + ["OK"]
    assert count(app, GroupLink) == 1


def test_of_deletions_that_race_one_finds_the_row(scm: Scm, mapped: Tenant) -> None:
    fields = {"organization_id": mapped.organization, "code_mapping_id": mapped.mapping}
    assert outcomes(scm, "DeleteCodeMapping", **fields) == ["NOT_FOUND"] * 7 + ["OK"]


def test_issues_created_at_the_same_time_have_their_own_keys(app: Flask, scm: Scm, ours: Tenant) -> None:
    fields = {"organization_id": ours.organization, "integration_id": ours.integration, "title": "Bug"}
    assert outcomes(scm, "CreateExternalIssue", **fields) == ["OK"] * CALLERS
    assert count(app, ExternalIssue) == 1 + CALLERS


@pytest.mark.usefixtures("mirrored")
def test_commits_fetched_at_the_same_time_are_stored_once(
    app: Flask, scm: Scm, ours: Tenant, history: GitRepository
) -> None:
    fields = {"repository_id": ours.repository, "commit_sha": history.head()}
    assert outcomes(scm, "GetCommit", **fields) == ["OK"] * CALLERS
    assert count(app, Commit) == 1


def test_imports_at_the_same_time_store_every_commit_once(app: Flask, ours: Tenant, history: GitRepository) -> None:
    def run(_: int) -> str:
        with app.app_context():
            job = prepare_import(db.session.get_one(Organization, ours.organization), Mirror.find(history.path), "new")
            list(job.run())
            return "done"

    assert at_once(run) == ["done"] * CALLERS
    assert count(app, Repository) == 2
    assert count(app, Commit) == int(history.git("rev-list", "--count", "HEAD"))
    assert count(app, CommitAuthor) == len(set(history.git("log", "--format=%an %ae").lower().splitlines()))
    changes = history.git("log", "--raw", "--no-renames", "--format=").split("\n")
    assert count(app, CommitFileChange) == len([line for line in changes if line])
