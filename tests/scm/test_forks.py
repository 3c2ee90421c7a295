"""Forks of a process that has an app: connections, transactions, git and caches stay the parent's."""

from __future__ import annotations

import gc
import json
import os
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from flask_sqlalchemy import SQLAlchemy

from flask_grpcweb_scm import GrpcWebScm, forks
from flask_grpcweb_scm.client import Channel, ScmStub
from flask_grpcweb_scm.pb import scm_pb2
from flask_grpcweb_scm.scm import Organization, db
from flask_grpcweb_scm.scm.code_mappings.trees import TreeCache
from flask_grpcweb_scm.scm.lru_cache import LruCache
from flask_grpcweb_scm.scm.sources.git import run_git
from flask_grpcweb_scm.testing import ScmFactory
from tests.forking import Child, alone
from tests.scm.support import GitRepository, make_app, numbered
from tests.servers import gunicorn
from tests.sockets.http1 import Connection, request
from tests.sockets.servers import complaints

QUERIES = 100
WORKERS = 2


def make_host_app(uri: str) -> Flask:
    """An app that has an SQLAlchemy instance already."""
    app = Flask(__name__)
    app.testing = True
    app.config["SQLALCHEMY_DATABASE_URI"] = uri
    SQLAlchemy(app)
    GrpcWebScm(app)
    return app


MakeApp = Callable[[str], Flask]
both_instances = pytest.mark.parametrize("make", [make_app, make_host_app])


def mark_connection() -> None:
    db.session.execute(sa.text("CREATE TEMPORARY TABLE marks (id INTEGER)"))
    db.session.commit()


def query(app: Flask, who: str) -> tuple[bool, int]:
    """Whether this process has the marked connection, and how many results were not meant for it."""
    wrong = 0
    for number in range(QUERIES):
        with app.app_context():
            wrong += db.session.scalar(sa.select(sa.literal(f"{who} {number}"))) != f"{who} {number}"
    with app.app_context():
        return "marks" in sa.inspect(db.session.connection()).get_temp_table_names(), wrong


def query_in_all_processes(make: MakeApp, uri: str) -> Any:
    app = make(uri)
    with app.app_context():
        mark_connection()
    children = [Child(query, app, f"child {number}") for number in range(3)]
    return query(app, "parent"), [child.result() for child in children]


@both_instances
def test_every_process_has_its_own_connection(database: str, make: MakeApp) -> None:
    parent, children = alone(query_in_all_processes, make, database)
    assert parent == (True, 0)
    assert children == [(False, 0)] * 3


def count_organizations() -> int:
    return db.session.scalar(sa.select(sa.func.count()).select_from(Organization)) or 0


def end_session(app: Flask) -> int:
    count = count_organizations()
    db.session.remove()
    return count


def end_interpreter(app: Flask) -> int:
    """As scripts end: it collects what is left."""
    if os.fork() == 0:
        sys.exit(min(count_organizations(), 1))
    return os.waitstatus_to_exitcode(os.wait()[1])


def fork_in_a_transaction(make: MakeApp, uri: str, work: Callable[[Flask], int]) -> tuple[int, int]:
    app = make(uri)
    with app.app_context():
        db.session.add(Organization(slug="mine"))
        db.session.flush()
        seen = Child(work, app).result()
        db.session.commit()
    with app.app_context():
        return seen, count_organizations()


@both_instances
@pytest.mark.parametrize("work", [end_session, end_interpreter])
def test_a_child_is_not_in_its_parents_transaction(database: str, make: MakeApp, work: Callable[[Flask], int]) -> None:
    assert alone(fork_in_a_transaction, make, database, work) == (0, 1)


def fork_with_a_database_in_memory(make: MakeApp) -> tuple[int, int]:
    app = make("sqlite://")
    with app.app_context():
        db.create_all()
        db.session.add(Organization(slug="mine"))
        db.session.commit()
        return Child(count_organizations).result(), count_organizations()


@both_instances
def test_a_child_has_a_copy_of_a_database_in_memory(make: MakeApp) -> None:
    assert alone(fork_with_a_database_in_memory, make) == (1, 1)


@both_instances
@pytest.mark.needs("time")
def test_apps_are_not_kept(make: MakeApp, tmp_path: Path) -> None:
    app = make(f"sqlite:///{tmp_path}/scm.db")
    with app.app_context():
        assert db.engine in forks._renewals
        kept = weakref.ref(app), weakref.ref(db.engine)
    del app
    for _ in range(2):  # the engine is in a cycle of its own
        gc.collect()
    assert [reference() for reference in kept] == [None, None]


def close(chunks: Any) -> None:
    chunks.close()


def fork_while_git_runs(git_dir: str, blob: str, work: Callable[[Any], Any]) -> int:
    chunks = run_git(git_dir, "cat-file", "blob", blob, deadline=None)
    first = next(chunks)
    if work is close:
        Child(close, chunks).result()
    elif os.fork() == 0:
        sys.exit()
    else:
        os.wait()
    return len(first) + sum(map(len, chunks))


@pytest.mark.parametrize("work", [close, sys.exit])
def test_a_child_does_not_end_its_parents_git(tmp_path: Path, work: Callable[[Any], Any]) -> None:
    repository = GitRepository(tmp_path)
    text = numbered(1, 500_000)
    repository.write("big", text)
    repository.commit()
    blob = repository.git("rev-parse", "HEAD:big")
    assert alone(fork_while_git_runs, str(tmp_path / ".git"), blob, work) == len(text)


def fork_with_a_cache() -> tuple[Any, Any]:
    def read() -> Any:
        before = cache.get("key"), cache.bytes
        cache.put("key", "new", 3)
        return *before, cache.get("key"), cache.bytes

    cache: LruCache[str] = LruCache(10)
    cache.put("key", "old", 5)
    quiet = Child(read)
    with cache._lock:  # as another thread, which no child has
        changing = Child(read)
    return quiet.result(), changing.result()


def test_a_cache_that_is_used_at_the_fork_begins_anew() -> None:
    assert alone(fork_with_a_cache) == (("old", 5, "new", 3), (None, 0, "new", 3))


def fork_with_a_tree_that_is_read() -> int:
    def files() -> list[str]:
        forked.append(Child(lambda: cache.get("key", lambda: ["src/app.py"], timeout=20).bytes))
        return ["src/app.py"]

    forked: list[Child] = []
    cache = TreeCache(2**20)
    assert cache.get("key", files).bytes == forked[0].result()
    with cache._lock:
        child = Child(lambda: cache.get("other", lambda: ["src/app.py"], timeout=20).bytes)
    return int(child.result())


def test_a_child_does_not_wait_for_a_tree_that_its_parent_reads() -> None:
    assert alone(fork_with_a_tree_that_is_read) > 0


@pytest.mark.needs("server")
@pytest.mark.parametrize(
    ("databases", "options"),
    [
        ("sqlite", ["gthread", "--threads=4"]),
        pytest.param("postgresql", ["gevent"], marks=pytest.mark.needs("PostgreSQL")),
        pytest.param("postgresql", ["gthread", "--threads=4"], marks=pytest.mark.needs("PostgreSQL")),
    ],
    indirect=["databases"],
)
def test_workers_that_share_a_factory(database: str, tmp_path: Path, options: list[str]) -> None:
    app = make_app(database)
    with app.app_context():
        factory = ScmFactory(app)
        organization = factory.organization()
        for _ in range(3):
            factory.repository(organization)
        listing = scm_pb2.ListRepositoriesRequest(organization_id=organization.id, page_size=1)
        db.engine.dispose()
    log = tmp_path / "log"
    options = ["--preload", f"--workers={WORKERS}", "--worker-class", *options]
    environ = {"FLASK_SQLALCHEMY_DATABASE_URI": database}
    shared: dict[int, bool] = {}
    with gunicorn("tests.scm.served_app:create_app_that_queries", log, *options, environ=environ) as port:
        while len(shared) < WORKERS:
            with Connection(port) as connection:
                connection.send(request("/debug/process", verb="GET", headers=[("connection", "close")]))
                process = json.loads(connection.response().body)
            shared[process["pid"]] = process["shared"]
        names = set()
        for _ in range(10):
            # Each over a connection of its own: any worker may get it, with a token that another one has signed.
            with Channel(f"http://127.0.0.1:{port}", timeout=20) as channel:
                page = ScmStub(channel).list_repositories(listing)
            names |= {repository.name for repository in page.repositories}
            listing.page_token = page.next_page_token
    assert set(shared.values()) == {False}
    assert len(names) == 3
    assert complaints(log.read_text()) == []
