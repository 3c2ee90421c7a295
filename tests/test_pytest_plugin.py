"""The pytest plugin as users get it: in a run of its own, that finds it by its entry point."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = """
import pytest
from flask import Flask
from flask_grpcweb_scm import GrpcWebScm
from flask_grpcweb_scm.scm import db

@pytest.fixture
def app(tmp_path):
    app = Flask(__name__)
    app.config.update(TESTING=True, SQLALCHEMY_DATABASE_URI=f"sqlite:///{tmp_path}/test.db")
    GrpcWebScm(app)
    yield app
    with app.app_context():
        db.engine.dispose()
"""

TESTS = """
from flask_grpcweb_scm.client import ScmGrpcClient, StatusCode
from flask_grpcweb_scm.testing import assert_rpc_error

def test_rows_are_seen_by_calls(grpc_channel, scm_factory, grpc_recorder):
    repository = scm_factory.repository(name="one")
    client = ScmGrpcClient.from_channel(grpc_channel)
    assert client.get_repository(repository_id=repository.id).name == "one"
    with assert_rpc_error(StatusCode.NOT_FOUND, match="99"):
        client.get_repository(repository_id=99)
    assert [call.path.rpartition("/")[2] for call in grpc_recorder.calls] == ["GetRepository"] * 2

def test_nothing_is_left_of_it(grpc_recorder):
    assert grpc_recorder.calls == []
"""


def run_pytest(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments, str(folder)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_app.py").write_text(TESTS)
    return tmp_path


@pytest.mark.needs("pytest")
def test_the_fixtures_are_there_without_an_import(project: Path) -> None:
    done = run_pytest(project)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout


@pytest.mark.needs("pytest")
def test_the_fixture_app_is_the_users(project: Path) -> None:
    (project / "conftest.py").write_text("")
    done = run_pytest(project)
    assert "fixture 'app' not found" in done.stdout


@pytest.mark.needs("pytest")
def test_loading_it_imports_nothing_that_coverage_should_see(project: Path) -> None:
    (project / "conftest.py").write_text(
        "import sys\nassert {'flask', 'flask_grpcweb_scm.wire', 'flask_grpcweb_scm.rpc'}.isdisjoint(sys.modules)\n"
    )
    (project / "test_app.py").write_text("def test_nothing(): pass\n")
    done = run_pytest(project)
    assert done.returncode == 0, done.stdout + done.stderr
