"""Servers whose clocks differ, on one database: one issue for one key."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from flask_grpcweb_scm import RpcError, StatusCode
from flask_grpcweb_scm.client import Channel, ScmStub
from flask_grpcweb_scm.pb import scm_pb2
from tests.scm.support import Tenant
from tests.scm.trackers import github_server as faults
from tests.scm.trackers.github_server import GitHubServer
from tests.scm.trackers.tracking import PATIENCE, SECRET, app, github, ours
from tests.servers import gunicorn, serving

__all__ = ["app", "github", "ours"]  # fixtures

pytestmark = pytest.mark.needs("server")


@contextlib.contextmanager
def server_with_clock(seconds: float, app: Flask, log: Path) -> Iterator[ScmStub]:
    environ = {
        "CLOCK_SECONDS": str(seconds),
        "FLASK_SQLALCHEMY_DATABASE_URI": app.config["SQLALCHEMY_DATABASE_URI"],
        "FLASK_GRPC_SCM_CREDENTIALS": f'{{"bot": "{SECRET}"}}',
        "FLASK_GRPC_SCM_ALLOWED_HOSTS": "127.0.0.1",
        "FLASK_SECRET_KEY": app.config["SECRET_KEY"],
    }
    with (
        gunicorn("tests.scm.skewed_app:create_app", log, "--threads", "4", environ=environ) as port,
        Channel(f"http://127.0.0.1:{port}", timeout=PATIENCE) as channel,
    ):
        yield ScmStub(channel)


def test_one_issue_whatever_the_clocks_say(app: Flask, ours: Tenant, github: GitHubServer, tmp_path: Path) -> None:
    request = scm_pb2.CreateExternalIssueRequest(
        organization_id=ours.organization, integration_id=ours.integration, title="Bug"
    )
    key = {"idempotency-key": "k"}
    asked, go_on = threading.Event(), threading.Event()

    def wait(peer: Any, act: Any) -> None:
        asked.set()
        go_on.wait(PATIENCE)
        faults.answer(peer, act)

    github.faults = [wait]
    with (
        serving(app) as url,
        Channel(url, timeout=PATIENCE) as channel,
        server_with_clock(-60, app, tmp_path / "slow") as slow,
        server_with_clock(60, app, tmp_path / "fast") as fast,
        ThreadPoolExecutor(1) as pool,
    ):
        first = pool.submit(ScmStub(channel).create_external_issue, request, metadata=key)
        assert asked.wait(PATIENCE)
        for other in (slow, fast):
            with pytest.raises(RpcError) as caught:
                other.create_external_issue(request, metadata=key, timeout=1)
            assert caught.value.code in {StatusCode.UNAVAILABLE, StatusCode.DEADLINE_EXCEEDED}
        go_on.set()
        assert first.result().key == "o/r#1"
        for other in (slow, fast):
            assert other.create_external_issue(request, metadata=key) == first.result()
    assert len(github.issues) == 1
