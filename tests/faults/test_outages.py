"""Databases that are out, full or damaged: the status of a call, the line in the log, and the first call afterwards."""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import signal
import sqlite3
import subprocess
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from google.rpc.error_details_pb2 import RetryInfo

from flask_grpcweb_scm import StatusCode
from flask_grpcweb_scm.client import ScmGrpcClient
from flask_grpcweb_scm.pb import scm_pb2
from flask_grpcweb_scm.scm import db
from tests.faults.postgresql import DATABASE, ROLE, PostgresqlServer, postgresql_of_our_own
from tests.grpcweb import Answer, call
from tests.scm.databases import SqliteDatabases, create_tables, disposed
from tests.scm.support import SERVICE, Tenant, add_tenant, make_app
from tests.servers import serving

needs_postgresql = pytest.mark.needs("PostgreSQL")

TERMINATE = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{DATABASE}'"


@dataclass
class Caller:
    """Calls of an app, one that reads and one that writes."""

    app: Flask
    tenant: Tenant

    def read(self, repository: int | None = None) -> Answer:
        request = scm_pb2.GetRepositoryRequest(repository_id=repository or self.tenant.repository)
        return call(self.app.test_client(), SERVICE + "GetRepository", request)

    def write(self, **headers: str) -> Answer:
        tenant = self.tenant
        request = scm_pb2.CreateExternalIssueRequest(
            organization_id=tenant.organization, integration_id=tenant.integration, title="x"
        )
        return call(self.app.test_client(), SERVICE + "CreateExternalIssue", request, headers=headers)

    def once(self, event: str, action: Callable[[], object]) -> None:
        """Act at the next event of the engine, within a call; after the first statement on our tables, if it is one."""
        waiting = [action]

        def listener(*arguments: Any) -> None:
            if waiting and (event == "commit" or "scm_" in arguments[2]):
                waiting.pop()()

        with self.app.app_context():
            sa.event.listen(db.engine, event, listener)


@contextlib.contextmanager
def calling(uri: str) -> Iterator[Caller]:
    with disposed(make_app(uri)) as app:
        with app.app_context():
            tenant = add_tenant("ours")
        yield Caller(app, tenant)


@pytest.fixture
def caller(server: PostgresqlServer) -> Iterator[Caller]:
    with calling(server.uri) as caller:
        yield caller


def check(answer: Answer, code: StatusCode, caplog: pytest.LogCaptureFixture) -> None:
    """A status that is told to the caller, with a time to come back, and to the log in one line."""
    assert answer.code == code, answer.message
    retries = answer.details(RetryInfo)
    assert len(retries) == (code is StatusCode.UNAVAILABLE)
    for retry in retries:
        assert 0.5 <= retry.retry_delay.ToTimedelta().total_seconds() <= 1
    lines = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(lines) == (code is not StatusCode.DEADLINE_EXCEEDED), caplog.text
    assert "Traceback" not in caplog.text


Fault = Callable[[Caller, PostgresqlServer], object]


def kill(caller: Caller, server: PostgresqlServer) -> None:
    caller.once("after_cursor_execute", lambda: [os.kill(pid, signal.SIGKILL) for pid in server.backends()])


def pause(caller: Caller, server: PostgresqlServer) -> None:
    server.execute(f"ALTER ROLE {ROLE} SET idle_in_transaction_session_timeout = '50ms'")
    reconnect(caller)
    caller.once("after_cursor_execute", lambda: time.sleep(0.3))


def refuse(caller: Caller, server: PostgresqlServer) -> None:
    reconnect(caller)
    server.execute(f"ALTER ROLE {ROLE} CONNECTION LIMIT 0")


def become_a_standby(caller: Caller, server: PostgresqlServer) -> None:
    server.execute(f"ALTER ROLE {ROLE} SET default_transaction_read_only = on")
    reconnect(caller)


def limit_memory(caller: Caller, server: PostgresqlServer) -> None:
    def fill() -> None:
        db.session.execute(sa.text("SELECT count(*) FROM (SELECT generate_series(1, 200000) n ORDER BY 1) s"))

    server.execute(f"ALTER ROLE {ROLE} SET temp_file_limit = 64", f"ALTER ROLE {ROLE} SET work_mem = 64")
    reconnect(caller)
    caller.once("after_cursor_execute", fill)


def reconnect(caller: Caller) -> None:
    with caller.app.app_context():
        db.engine.dispose()


FAULTS: dict[str, tuple[Fault, StatusCode]] = {
    "stopped": (lambda caller, server: server.stop(), StatusCode.UNAVAILABLE),
    "stopped within a call": (
        lambda caller, server: caller.once("after_cursor_execute", server.stop), StatusCode.UNAVAILABLE,
    ),
    "shut down at once within a call": (
        lambda caller, server: caller.once("after_cursor_execute", lambda: server.stop("immediate")),
        StatusCode.UNAVAILABLE,
    ),
    "backends killed": (kill, StatusCode.UNAVAILABLE),
    "backends terminated": (
        lambda caller, server: caller.once("after_cursor_execute", lambda: server.execute(TERMINATE)),
        StatusCode.UNAVAILABLE,
    ),
    "backends terminated before COMMIT": (
        lambda caller, server: caller.once("commit", lambda: server.execute(TERMINATE)), StatusCode.UNAVAILABLE,
    ),
    "read-only": (become_a_standby, StatusCode.UNAVAILABLE),
    "too many connections": (refuse, StatusCode.UNAVAILABLE),
    "idle in a transaction": (pause, StatusCode.UNAVAILABLE),
    "temporary files at their limit": (limit_memory, StatusCode.RESOURCE_EXHAUSTED),
}  # fmt: skip


@needs_postgresql
@pytest.mark.parametrize("name", FAULTS)
def test_a_postgresql_that_is_out(
    name: str, caller: Caller, server: PostgresqlServer, caplog: pytest.LogCaptureFixture
) -> None:
    fault, code = FAULTS[name]
    assert caller.write().code == StatusCode.OK
    fault(caller, server)
    answer = caller.write()
    check(answer, code, caplog)
    assert ("may have been stored" in answer.message) == ("COMMIT" in name)


@needs_postgresql
@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_the_first_calls_after_a_restart_notice_nothing(caller: Caller, server: PostgresqlServer, mode: str) -> None:
    with caller.app.app_context():
        connections = [db.engine.connect() for _ in range(3)]
        for connection in connections:
            connection.close()
    server.stop(mode)
    server.start()
    server.wait_until_ready()
    assert [caller.read().code for _ in range(5)] == 5 * [0]


@needs_postgresql
def test_a_connection_that_is_lost_before_a_rollback_changes_nothing(
    caller: Caller, server: PostgresqlServer, caplog: pytest.LogCaptureFixture
) -> None:
    caller.once("after_cursor_execute", lambda: server.execute(TERMINATE))
    assert caller.read(4711).code == StatusCode.NOT_FOUND
    assert caller.read().code == StatusCode.OK
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@needs_postgresql
def test_an_outage_is_one_line_a_minute(
    caller: Caller, server: PostgresqlServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.stop()
    assert [caller.read().code for _ in range(10)] == 10 * [StatusCode.UNAVAILABLE]
    lines = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len([line for line in lines if "calls end with UNAVAILABLE" in line and "refused" in line]) == 1
    # The first call may have met a server that was saying farewell.
    assert len(lines) <= 2
    assert "Traceback" not in caplog.text


@needs_postgresql
@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_reads_of_our_own_client_outlast_a_restart(caller: Caller, server: PostgresqlServer, mode: str) -> None:
    over = threading.Event()
    reads: deque[None] = deque()  # whose appends are atomic

    def read_on() -> None:
        with ScmGrpcClient(url, timeout=20) as scm:
            while not over.is_set():
                scm.get_repository(repository_id=caller.tenant.repository)
                reads.append(None)

    with serving(caller.app) as url, ThreadPoolExecutor(6) as pool:
        readers = [pool.submit(read_on) for _ in range(6)]
        wait_until(lambda: len(reads) > 100)
        # From a server that refuses to one that is there again, it is half a second.
        server.stop(mode)
        server.start()
        wait_until(lambda: len(reads) > 250 or any(reader.done() for reader in readers))
        over.set()
        for reader in readers:
            reader.result()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@needs_postgresql
def test_a_lock_that_another_session_holds(
    caller: Caller, server: PostgresqlServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.execute(f"ALTER ROLE {ROLE} SET lock_timeout = '100ms'")
    reconnect(caller)
    with server.connect() as other, other.transaction():
        other.execute("LOCK TABLE scm_external_issue")
        check(caller.write(), StatusCode.UNAVAILABLE, caplog)
    assert caller.write().code == StatusCode.OK


@needs_postgresql
def test_a_sequence_that_is_behind_its_rows_is_a_conflict_until_it_has_caught_up(
    caller: Caller, server: PostgresqlServer, caplog: pytest.LogCaptureFixture
) -> None:
    assert caller.write().code == StatusCode.OK
    server.execute("SELECT setval('scm_external_issue_id_seq', 1, false)", database=DATABASE)
    check(caller.write(), StatusCode.ABORTED, caplog)
    assert "pk_scm_external_issue" in caplog.text
    assert caller.write(**{"idempotency-key": "k"}).code == StatusCode.ABORTED
    assert caller.write(**{"idempotency-key": "k"}).code == StatusCode.OK


@needs_postgresql
def test_a_disk_that_is_full(caplog: pytest.LogCaptureFixture) -> None:
    with small_disk("160m") as disk, postgresql_of_our_own(parent=disk) as server:
        server.reset()
        create_tables(server.uri)
        with calling(server.uri) as caller:
            # It writes no more WAL than it has files for.
            fill(disk)
            answer = caller.write()
            for _ in range(2000):
                if answer.code != StatusCode.OK:
                    break
                answer = caller.write()
            assert answer.code in {StatusCode.RESOURCE_EXHAUSTED, StatusCode.UNAVAILABLE}
            check(answer, StatusCode(answer.code), caplog)


@contextlib.contextmanager
def small_disk(size: str) -> Iterator[Path]:
    """A file system of its own, which only root can make."""
    # Not in a folder of pytest's, which only root can read.
    with tempfile.TemporaryDirectory(prefix="small-") as folder:
        os.chmod(folder, 0o755)
        mount = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0777", "tmpfs", folder]
        if os.geteuid() != 0 or subprocess.run(mount, stderr=subprocess.DEVNULL, check=False).returncode:
            pytest.skip("needs a root that may mount")
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)


def fill(disk: Path) -> None:
    with contextlib.suppress(OSError), (disk / "full").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


# SQLite


@pytest.fixture
def file(sqlite_databases: SqliteDatabases) -> Path:
    return Path(sqlite_databases.create().removeprefix("sqlite:///"))


def on_connect(action: Callable[[sqlite3.Connection], object]) -> Callable[[Caller, Path], Any]:
    def fault(caller: Caller, file: Path) -> contextlib.AbstractContextManager[None]:
        with caller.app.app_context():
            sa.event.listen(db.engine, "connect", lambda connection, record: action(connection) and None)
            db.engine.dispose()
        return contextlib.nullcontext()

    return fault


@contextlib.contextmanager
def no_writes(caller: Caller, file: Path) -> Iterator[None]:
    """Have every write to a file fail, beyond its first bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@contextlib.contextmanager
def no_folder(caller: Caller, file: Path) -> Iterator[None]:
    reconnect(caller)
    elsewhere = file.rename(file.with_suffix(".away"))
    file.mkdir()
    try:
        yield
    finally:
        file.rmdir()
        elsewhere.rename(file)


@contextlib.contextmanager
def garbage(caller: Caller, file: Path) -> Iterator[None]:
    reconnect(caller)
    content = file.read_bytes()
    file.write_bytes(content[:100] + os.urandom(len(content) - 100))
    yield
    file.write_bytes(content)


SQLITE_FAULTS: dict[str, tuple[Callable[[Caller, Path], Any], StatusCode]] = {
    "full": (on_connect(lambda connection: connection.execute("PRAGMA max_page_count = 1")), StatusCode.OK),
    "writes fail": (no_writes, StatusCode.UNAVAILABLE),
    "no file": (no_folder, StatusCode.UNAVAILABLE),
    "read-only": (on_connect(lambda connection: connection.execute("PRAGMA query_only = 1")), StatusCode.UNAVAILABLE),
    "damaged": (garbage, StatusCode.DATA_LOSS),
}


@pytest.mark.parametrize("name", [name for name in SQLITE_FAULTS if name != "full"])
def test_a_sqlite_that_is_out(name: str, file: Path, caplog: pytest.LogCaptureFixture) -> None:
    fault, code = SQLITE_FAULTS[name]
    with calling(f"sqlite:///{file}") as caller, fault(caller, file):
        caplog.clear()
        check(caller.write(), code, caplog)


def test_a_sqlite_that_is_full(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    with calling(f"sqlite:///{file}") as caller:
        SQLITE_FAULTS["full"][0](caller, file)
        for _ in range(500):
            answer = caller.write()
            if answer.code != StatusCode.OK:
                break
        check(answer, StatusCode.RESOURCE_EXHAUSTED, caplog)
