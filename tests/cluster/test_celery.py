"""Workers of Celery, their broker and the database, each killed during a sync: nothing is lost, nothing is twice."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sa
from flask import Flask
from sqlalchemy.exc import SQLAlchemyError

from flask_grpcweb_scm.scm import Commit, Job, Repository, db
from flask_grpcweb_scm.scm.database.db import database_now
from flask_grpcweb_scm.scm.jobs import SYNC_ORGANIZATION, SYNC_REPOSITORY, is_free, make_due
from tests.faults.integrity import check_integrity
from tests.faults.postgresql import PostgresqlServer, postgresql_of_our_own
from tests.faults.redis_server import RedisServer, redis_of_our_own
from tests.scm.databases import create_tables, disposed
from tests.scm.sources.providers import running
from tests.scm.support import make_app
from tests.scm.sync.hosts import TOKEN, GitHubHost
from tests.scm.sync.syncing import (
    add_installation,
    bare_repository,
    commits_of,
    extend,
    stored_commits,
    syncing_app,
    syncs_are_idle,
)
from tests.servers import ROOT, end

pytestmark = [
    pytest.mark.needs("processes that are killed"),
    pytest.mark.skipif("ROUNDS" not in os.environ, reason="it takes a minute: make cluster ROUNDS=1"),
]

REPOSITORIES = range(1, 7)
COMMITS = 300
LEASE = 3
PATIENCE = 180.0


class Celery:
    """A worker with two processes, and Beat."""

    def __init__(self, environment: dict[str, str], folder: Path) -> None:
        self._environment, self._folder = {**os.environ, **environment}, folder
        self.worker, self.beat = self.start_worker(), self.start_beat()

    def start_worker(self) -> subprocess.Popen[bytes]:
        return self.start("worker", "--concurrency", "2", "--pool", "prefork")

    def start_beat(self) -> subprocess.Popen[bytes]:
        return self.start("beat", "--schedule", str(self._folder / "schedule"))

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-W", "ignore", "-m", "celery", "--app", "tests.scm.celery_app", *arguments]
        with (self._folder / f"{arguments[0]}.log").open("ab") as log:
            return subprocess.Popen(command, cwd=ROOT, env=self._environment, stdout=log, stderr=log)

    def children(self) -> list[int]:
        pid = self.worker.pid
        return [*map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]

    def kill_a_child(self) -> None:
        for pid in self.children()[:1]:
            os.kill(pid, signal.SIGKILL)

    def kill_all(self) -> None:
        # The first one first, or it would start others.
        for pid in [self.worker.pid, *self.children()]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.worker.wait()
        self.worker = self.start_worker()

    def kill_beat(self) -> None:
        self.beat.kill()
        self.beat.wait()
        self.beat = self.start_beat()

    def restart_gently(self) -> None:
        self.worker.terminate()
        assert self.worker.wait(60) == 0
        self.worker = self.start_worker()

    def start_what_has_ended(self) -> None:
        """What systemd's ``Restart=always`` does: some versions of Celery end when their broker does."""
        if self.worker.poll() is not None:
            self.worker = self.start_worker()
        if self.beat.poll() is not None:
            self.beat = self.start_beat()

    def end(self) -> None:
        end(self.beat)
        end(self.worker)


@dataclass
class Setting:
    """An organization, and what syncs it."""

    app: Flask
    git: Path
    celery: Celery
    redis: RedisServer
    server: PostgresqlServer
    commits: int = COMMITS

    def push(self) -> None:
        """Give each repository something new, and have all of them synced."""
        for number in REPOSITORIES:
            extend(self.git / str(number), self.commits + 1, self.commits + COMMITS, seed=str(number))
        self.commits += COMMITS
        with self.app.app_context():
            for row in db.session.scalars(sa.select(Repository)):
                make_due(SYNC_REPOSITORY, row.id, organization_id=row.organization_id)
            db.session.commit()

    def wait(self, is_so: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while True:
            with self.app.app_context(), contextlib.suppress(SQLAlchemyError):
                if is_so():
                    return
            assert time.monotonic() < deadline, what
            self.celery.start_what_has_ended()
            time.sleep(0.02)

    def is_under_way(self) -> bool:
        running = sa.not_(is_free(database_now()))
        return db.session.scalars(sa.select(Job.id).where(Job.kind == SYNC_REPOSITORY, running)).first() is not None

    def is_idle(self) -> bool:
        return syncs_are_idle(len(REPOSITORIES))

    def check(self) -> None:
        """Everything is as git says, each commit once."""
        with self.app.app_context():
            counts = db.session.execute(sa.select(Commit.repository_id, sa.func.count()).group_by(Commit.repository_id))
            assert [count for _, count in counts] == [self.commits] * len(REPOSITORIES)
        for number in REPOSITORIES:
            assert stored_commits(self.app, str(number)) == commits_of(self.git / str(number))
        check_integrity(self.app)


@pytest.fixture
def setting(tmp_path: Path) -> Iterator[Setting]:
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(postgresql_of_our_own())
        server.reset()
        create_tables(server.uri)
        redis = stack.enter_context(redis_of_our_own())
        host = stack.enter_context(running(GitHubHost(prefix="/api/v3")))
        for number in REPOSITORIES:
            host.add(
                number, f"acme/r{number}", bare_repository(tmp_path / "git" / str(number), COMMITS, seed=str(number))
            )
        with syncing_app(server.uri, tmp_path) as app:
            add_installation(app, host, "github_enterprise")
            with app.app_context():
                make_due(SYNC_ORGANIZATION, 1, organization_id=1)
                db.session.commit()
        environment = {
            "FLASK_SQLALCHEMY_DATABASE_URI": server.uri,
            "FLASK_SECRET_KEY": "test",
            "FLASK_GRPC_REQUIRE_AUTH": "false",
            "FLASK_GRPC_SCM_CREDENTIALS": json.dumps({"bot": TOKEN}),
            "FLASK_GRPC_SCM_ALLOWED_HOSTS": "127.0.0.1",
            "FLASK_GRPC_SCM_MIRRORS": str(tmp_path / "mirrors"),
            "FLASK_GRPC_SCM_JOB_LEASE": str(LEASE),
            "BROKER_URL": redis.uri,
        }
        celery = Celery(environment, tmp_path)
        stack.callback(celery.end)
        app = stack.enter_context(disposed(make_app(server.uri)))
        yield Setting(app, tmp_path / "git", celery, redis, server)


def restart_redis(setting: Setting) -> None:
    # It stores nothing: all tasks are lost.
    setting.redis.end(signal.SIGKILL)
    time.sleep(2)
    setting.redis.start()


def restart_database(setting: Setting) -> None:
    setting.server.stop("immediate")
    time.sleep(1)
    setting.server.start()


FAULTS: dict[str, Callable[[Setting], object]] = {
    "a process of the worker is killed": lambda setting: setting.celery.kill_a_child(),
    "the worker is killed with all its processes": lambda setting: setting.celery.kill_all(),
    "the broker is killed and loses all tasks": restart_redis,
    "the database is killed": restart_database,
    "Beat is killed": lambda setting: setting.celery.kill_beat(),
    "the worker is restarted": lambda setting: setting.celery.restart_gently(),
}


def test_nothing_is_lost_and_nothing_is_twice(setting: Setting) -> None:
    setting.wait(setting.is_idle, "the first sync does not end")
    setting.check()
    for what, fault in FAULTS.items():
        setting.push()
        setting.wait(setting.is_under_way, f"{what}: no sync begins")
        fault(setting)
        setting.wait(setting.is_idle, f"{what}: the syncs do not end")
        setting.check()
