"""pytest-flask, which enters a request context around every test of the fixture `app`: calls are as without it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.test_pytest_plugin import CONFTEST, TESTS, run_pytest

CONTEXTS = """
from flask import g, has_request_context, request
from flask_grpcweb_scm.client import ScmGrpcClient
from flask_grpcweb_scm.scm import db

def test_contexts_are_apart(app, grpc_channel, scm_factory):
    organizations = [scm_factory.repository().organization_id for _ in range(3)]
    begun, ended = [], []

    @app.before_request
    def begin():
        begun.append((request.path.rpartition("/")[2], [*g], db.session() is here[2]))
        g.call = len(begun)

    @app.teardown_appcontext
    def end(error):
        ended.append([*g])

    assert has_request_context(), "pytest-flask does nothing"
    g.test = True
    here = request.path, vars(g._get_current_object()), db.session()
    scm = ScmGrpcClient.from_channel(grpc_channel)
    streams = [scm.stream_repositories(organization_id=organization) for organization in organizations]
    for stream in streams:
        next(stream)
        scm.list_repositories(organization_id=organizations[0])
    assert [repository for stream in streams for repository in stream] == []
    assert (request.path, vars(g._get_current_object()), db.session()) == here
    assert [*g] == ["test"]
    assert begun == [("StreamRepositories", [], False), ("ListRepositories", [], False)] * 3
    assert ended == [["call"]] * 6
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_app.py").write_text(TESTS)
    (tmp_path / "test_contexts.py").write_text(CONTEXTS)
    return tmp_path


def test_calls_are_apart_from_the_context_around_a_test(project: Path) -> None:
    done = run_pytest(project)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout
