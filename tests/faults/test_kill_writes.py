"""kill -9 of a server with 100 calls under way that write: nothing acknowledged is missing, nothing is there twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_grpcweb_scm import RpcError, StatusCode
from flask_grpcweb_scm.client import Channel
from flask_grpcweb_scm.pb import scm_pb2
from flask_grpcweb_scm.scm import CodeMapping, ExternalIssue, db
from tests.faults.integrity import check_integrity
from tests.scm.databases import disposed
from tests.scm.support import Tenant, add_tenant, make_app
from tests.servers import ROOT, command, free_port, wait_until_listening

pytestmark = pytest.mark.needs("server")

CALLERS = 100
ACKNOWLEDGED = 150
"""Calls that are answered before the server is killed."""
TOKEN = "t" * 32
SCM = scm_pb2.DESCRIPTOR.services_by_name["ScmService"]


@pytest.fixture
def app(database: str) -> Iterator[Flask]:
    with disposed(make_app(database)) as app:
        yield app


@contextmanager
def serving(uri: str, log: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A gunicorn, in a process group of its own; gives its URL."""
    port = free_port()
    environ = {"FLASK_SQLALCHEMY_DATABASE_URI": uri, "FLASK_GRPC_AUTH_TOKENS": TOKEN}
    with log.open("a") as output:
        process = subprocess.Popen(
            command("gunicorn", "example_app:create_app", port, sys.executable),
            cwd=ROOT,
            env={**os.environ, **environ},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            wait_until_listening(port, process, log)
            yield f"http://127.0.0.1:{port}", process
        finally:
            kill(process)


def kill(process: subprocess.Popen[bytes]) -> None:
    """The server with its workers, without any warning."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


class Writers:
    """Callers that write until their server is gone, and what they were told."""

    def __init__(self, url: str, tenant: Tenant) -> None:
        self.issues: Counter[str] = Counter()
        """Idempotency keys of acknowledged issues."""
        self.mappings: set[str] = set()
        """Stack roots of acknowledged mappings."""
        self.asked: set[str] = set()
        self.enough = threading.Event()
        self._url = url
        self._tenant = tenant
        self._lock = threading.Lock()

    def write(self, caller: int) -> None:
        with Channel(self._url, token=TOKEN, timeout=30) as channel:
            scm = channel.stub(SCM)
            for number in range(1000):
                name = f"{caller}-{number}"
                with self._lock:
                    self.asked.add(name)
                try:
                    scm.create_code_mapping(
                        scm_pb2.CreateCodeMappingRequest(
                            organization_id=self._tenant.organization,
                            project_id=self._tenant.project,
                            repository_id=self._tenant.repository,
                            stack_root=name,
                        )
                    )
                    with self._lock:
                        self.mappings.add(name)
                    self.create_issue(scm, name)
                except RpcError as error:
                    assert error.code is StatusCode.UNAVAILABLE
                    return

    def create_issue(self, scm: Any, name: str) -> None:
        tenant = self._tenant
        request = scm_pb2.CreateExternalIssueRequest(
            organization_id=tenant.organization, integration_id=tenant.integration, title=name
        )
        scm.create_external_issue(request, metadata={"idempotency-key": name})
        with self._lock:
            self.issues[name] += 1
            if len(self.issues) >= ACKNOWLEDGED:
                self.enough.set()


def test_what_was_acknowledged_is_there_and_what_is_retried_is_there_once(
    app: Flask, database: str, tmp_path: Path
) -> None:
    with app.app_context():
        tenant = add_tenant("ours")
    log = tmp_path / "server.log"
    with serving(database, log) as (url, process), ThreadPoolExecutor(CALLERS) as pool:
        writers = Writers(url, tenant)
        done = [pool.submit(writers.write, caller) for caller in range(CALLERS)]
        assert writers.enough.wait(60), log.read_text()
        kill(process)
        for future in done:
            future.result(60)

    check_integrity(app)
    with app.app_context():
        roots = Counter(db.session.scalars(sa.select(CodeMapping.stack_root)).all())
        titles = Counter(db.session.scalars(sa.select(ExternalIssue.title)).all())
    assert roots.keys() >= writers.mappings
    assert titles.keys() >= writers.issues.keys()
    assert {*roots.values(), *titles.values()} == {1}

    with serving(database, log) as (url, _), Channel(url, token=TOKEN, timeout=30) as channel:
        for name in sorted(writers.asked)[:200]:
            writers.create_issue(channel.stub(SCM), name)
    with app.app_context():
        titles = Counter(db.session.scalars(sa.select(ExternalIssue.title)).all())
    assert titles.keys() >= set(sorted(writers.asked)[:200])
    assert set(titles.values()) == {1}
