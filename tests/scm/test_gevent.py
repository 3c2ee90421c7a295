"""RPCs that run git, in gunicorn's gevent worker: it replaces threads, subprocess and sockets by its own."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from flask_grpcweb_scm import StatusCode
from flask_grpcweb_scm.client import Channel, ScmStub
from flask_grpcweb_scm.pb import scm_pb2
from flask_grpcweb_scm.scm import Repository, db
from flask_grpcweb_scm.testing import assert_rpc_error
from tests.combinations import ON_SQLITE
from tests.grpcweb import PROTO, body_of, read
from tests.scm.support import SERVICE, GitRepository, Tenant, processes_with, set_mirror
from tests.servers import ROOT, gunicorn
from tests.sockets.http1 import Connection, request
from tests.sockets.servers import complaints

pytestmark = pytest.mark.needs("server")

SECONDS = 60

Serve = Callable[..., contextlib.AbstractContextManager[int]]


@pytest.fixture
def serve(database: str, tmp_path: Path) -> Serve:
    """Serves the database in one worker; gives the port."""

    @contextlib.contextmanager
    def serving(*options: str, **config: object) -> Iterator[int]:
        log = tmp_path / "log"
        environ = {f"FLASK_{key}": str(value) for key, value in config.items()}
        environ["FLASK_SQLALCHEMY_DATABASE_URI"] = database
        options = ("--worker-class", "gevent", *options)
        with gunicorn("tests.scm.served_app:create_app", log, *options, environ=environ) as port:
            yield port
        assert complaints(log.read_text()) == []

    return serving


@contextlib.contextmanager
def stub_of(port: int) -> Iterator[ScmStub]:
    with Channel(f"http://127.0.0.1:{port}", timeout=SECONDS) as channel:
        yield ScmStub(channel)


def eventually(condition: Callable[[], object]) -> bool:
    stop = time.monotonic() + SECONDS
    while not condition() and time.monotonic() < stop:
        time.sleep(0.05)
    return bool(condition())


@pytest.mark.parametrize(
    ("databases", "options"),
    [("sqlite", ""), pytest.param("postgresql", "--preload", marks=pytest.mark.needs("PostgreSQL"))],
    indirect=["databases"],
)
def test_rpcs_that_run_git(
    app: Flask, ours: Tenant, mirrored: int, history: GitRepository, serve: Serve, options: str
) -> None:
    with app.app_context():
        # The files of several repositories are read at the same time.
        row = {"organization_id": ours.organization, "mirror_path": str(history.path / ".git")}
        db.session.add_all(Repository(**row, name=f"ours/{number}") for number in range(3))
        db.session.commit()
    first = history.git("rev-list", "--max-parents=0", "HEAD")
    line: dict[str, Any] = {"repository_id": mirrored, "commit_sha": history.head(), "filepath": "README"}
    lines = [{"filepath": "README", "line_number": number} for number in (1, 2, 3)]
    with serve(*options.split()) as port, stub_of(port) as stub:
        assert stub.get_commit(scm_pb2.GetCommitRequest(repository_id=mirrored, commit_sha=first[:10])).key == first
        context = stub.get_commit_context(scm_pb2.GetCommitContextRequest(**line, line_number=3))
        assert context.blame_commit_id == first
        batch = scm_pb2.BatchGetCommitContextRequest(repository_id=mirrored, commit_sha=history.head(), lines=lines)
        assert [outcome.code for outcome in stub.batch_get_commit_context(batch).outcomes] == [0, 0, 0]
        request = scm_pb2.DeriveCodeMappingsRequest(
            organization_id=ours.organization, project_id=ours.project, stacktrace_paths=["/srv/src/app.py"]
        )
        (outcome,) = stub.derive_code_mappings(request).outcomes
        assert outcome.outcome == scm_pb2.PathOutcome.OUTCOME_AMBIGUOUS


def commit_request(tenant: Tenant, *headers: tuple[str, str]) -> bytes:
    message = scm_pb2.GetCommitRequest(repository_id=tenant.repository, commit_sha="a" * 40)
    return request(SERVICE + "GetCommit", body_of(message), [("content-type", PROTO), *headers])


@ON_SQLITE
def test_git_is_killed_at_the_deadline_and_other_calls_are_served_while_it_runs(
    app: Flask, ours: Tenant, stuck: Path, serve: Serve, tmp_path: Path
) -> None:
    set_mirror(app, ours.repository, stuck)
    waiting = scm_pb2.GetCommitRequest(repository_id=ours.repository, commit_sha="a" * 40)
    listing = scm_pb2.ListRepositoriesRequest(organization_id=ours.organization)
    with serve() as port, stub_of(port) as stub, ThreadPoolExecutor(1) as pool:
        with Connection(port) as connection:
            connection.send(commit_request(ours, ("grpc-timeout", "2S")))
            response = connection.response()
            answer = read(response.status, response.headers, response.body)
            assert (answer.code, answer.message) == (4, "git cat-file did not end in time")
            assert processes_with(str(stuck)) == []
        call = pool.submit(stub.get_commit, waiting)
        assert eventually(lambda: processes_with(str(stuck)))
        assert len(stub.list_repositories(listing).repositories) == 1
        streaming = scm_pb2.StreamRepositoriesRequest(organization_id=ours.organization)
        assert len(list(stub.stream_repositories(streaming))) == 1
        assert not call.done()
        with (tmp_path / "pipe").open("w"):
            (tmp_path / "empty").touch()
            (tmp_path / "empty").replace(tmp_path / "pipe")
        with assert_rpc_error(StatusCode.NOT_FOUND):
            call.result()


@ON_SQLITE
def test_git_does_not_outlive_a_client_that_goes_away(app: Flask, ours: Tenant, stuck: Path, serve: Serve) -> None:
    set_mirror(app, ours.repository, stuck)
    with serve(GRPC_GIT_TIMEOUT=2) as port:
        with Connection(port) as connection:
            connection.send(commit_request(ours))
            assert eventually(lambda: processes_with(str(stuck)))
        assert eventually(lambda: not processes_with(str(stuck)))
        with stub_of(port) as stub:
            listing = scm_pb2.ListRepositoriesRequest(organization_id=ours.organization)
            assert len(stub.list_repositories(listing).repositories) == 1


KILL_GREENLET = """
from gevent import monkey; monkey.patch_all()
import sys, time, gevent.event
from flask_grpcweb_scm.scm.sources.git import run_git
has_started = gevent.event.Event()
def read():
    chunks = run_git(sys.argv[1], "cat-file", "--batch-check", deadline=time.monotonic() + 60)
    next(chunks)
    has_started.set()
    list(chunks)
reading = gevent.spawn(read)
has_started.wait()
reading.kill()
"""


def test_git_does_not_outlive_its_greenlet(stuck: Path) -> None:
    subprocess.run([sys.executable, "-c", KILL_GREENLET, str(stuck)], cwd=ROOT, timeout=SECONDS, check=True)
    assert processes_with(str(stuck)) == []
