"""Faults of databases and servers, each under load on each server, and their table in docs/reliability.md.

``python -m tests.faults.table`` runs all of them, which takes a few minutes, and writes the table.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.faults import trackers as tracker_faults
from tests.faults.load import Load, Outcome
from tests.faults.postgresql import DATABASE, ROLE, PostgresqlServer, postgresql_of_our_own
from tests.faults.redis_server import RedisServer, redis_of_our_own
from tests.faults.trackers import table
from tests.scm.databases import create_tables, disposed
from tests.scm.support import add_tenant, make_app
from tests.servers import ROOT, command, free_port, listening

PAGE = ROOT / "docs/reliability.md"
SERVERS = ["gunicorn", "granian", "waitress"]
BEFORE, AFTERWARDS = 0.7, 1.5
TERMINATE = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{DATABASE}'"


@dataclass(frozen=True)
class Setting:
    """The server and the database of a fault."""

    process: subprocess.Popen[bytes]
    postgresql: PostgresqlServer | None
    redis: RedisServer | None
    """Of the rate limits."""
    file: Path
    """Of the SQLite database."""
    disk: Path | None
    """A small file system that has the database; None where that cannot be made."""


Fault = Callable[[Setting], contextlib.AbstractContextManager[object]]


def restart(mode: str) -> Fault:
    @contextlib.contextmanager
    def fault(setting: Setting) -> Iterator[None]:
        server = postgresql(setting)
        server.stop(mode)
        yield
        server.start()

    return fault


@contextlib.contextmanager
def kill_backend(setting: Setting) -> Iterator[None]:
    server = postgresql(setting)
    os.kill(server.backends()[0], signal.SIGKILL)
    server.wait_until_ready()
    yield


def executed(begin: tuple[str, ...], end: tuple[str, ...] = ()) -> Fault:
    """Statements of an administrator, that begin and end a fault."""

    @contextlib.contextmanager
    def fault(setting: Setting) -> Iterator[None]:
        postgresql(setting).execute(*begin)
        yield
        if end:
            postgresql(setting).execute(*end)

    return fault


@contextlib.contextmanager
def lock_table(setting: Setting) -> Iterator[None]:
    with postgresql(setting).connect() as other, other.transaction():
        other.execute("LOCK TABLE scm_external_issue")
        yield


@contextlib.contextmanager
def lock_file(setting: Setting) -> Iterator[None]:
    with contextlib.closing(sqlite3.connect(setting.file, isolation_level=None, timeout=10)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


@contextlib.contextmanager
def fill_disk(setting: Setting) -> Iterator[None]:
    assert setting.disk is not None
    full = setting.disk / "full"
    with contextlib.suppress(OSError), full.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    try:
        yield
    finally:
        full.unlink()


@contextlib.contextmanager
def kill_worker(setting: Setting) -> Iterator[None]:
    pid = setting.process.pid
    workers = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    os.kill(int(workers[0]), signal.SIGKILL)
    yield


def restart_redis(number: signal.Signals) -> Fault:
    @contextlib.contextmanager
    def fault(setting: Setting) -> Iterator[None]:
        redis(setting).end(number)
        yield
        redis(setting).start()

    return fault


def postgresql(setting: Setting) -> PostgresqlServer:
    assert setting.postgresql is not None
    return setting.postgresql


def redis(setting: Setting) -> RedisServer:
    assert setting.redis is not None
    return setting.redis


READ_ONLY = "ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()"
WRITABLE = "ALTER SYSTEM RESET default_transaction_read_only", "SELECT pg_reload_conf()"
NO_CONNECTION = f"ALTER ROLE {ROLE} CONNECTION LIMIT 0", TERMINATE
CONNECTIONS = (f"ALTER ROLE {ROLE} CONNECTION LIMIT -1",)

REDIS = "Redis of the rate limits"

# Database → fault → what it is, and how many seconds it lasts
FAULTS: dict[str, dict[str, tuple[Fault, float]]] = {
    "PostgreSQL": {
        "restarted": (restart("fast"), 0.5),
        "shut down at once, started again": (restart("immediate"), 0.5),
        "a backend killed": (kill_backend, 0),
        "all connections terminated": (executed((TERMINATE,)), 0),
        "no connections left": (executed(NO_CONNECTION, CONNECTIONS), 0.5),
        "read-only": (executed(READ_ONLY, WRITABLE), 0.5),
        "a table locked": (lock_table, 2.5),
        "stopped (SIGSTOP)": (lambda setting: postgresql(setting).stopped(), 2.5),
        "disk full": (fill_disk, 0.5),
        "a worker killed": (kill_worker, 0),
    },
    "SQLite": {
        "file locked": (lock_file, 2.5),
        "disk full": (fill_disk, 2.5),
        "a worker killed": (kill_worker, 0),
    },
    REDIS: {
        "shut down, started again": (restart_redis(signal.SIGTERM), 0.5),
        "killed, started again": (restart_redis(signal.SIGKILL), 0.5),
        "stopped (SIGSTOP)": (lambda setting: redis(setting).stopped(), 2.5),
    },
}
ONLY_ON = {"a worker killed": {"gunicorn"}}
"""Servers with a second process that goes on serving."""


@dataclass(frozen=True)
class Row:
    """A fault on a server and a database."""

    fault: str
    server: str
    database: str
    outcome: Outcome
    log: str
    """Written by the server meanwhile."""

    @property
    def is_right(self) -> bool:
        """True when nothing was lost or doubled, nothing was an internal error, and the log has no traceback."""
        return self.outcome.is_right and "Traceback" not in self.log


def rows(server: str, database: str, faults: Iterable[str] | None = None, *, pause: float = 0.01) -> Iterator[Row]:
    """Have the faults happen, one after the other, under load.

    :param faults: names; None for all that this machine can have.
    :param pause: see :class:`Load`.
    """
    with contextlib.ExitStack() as stack:
        disk = stack.enter_context(_small_disk())
        folder = disk or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="faults-")))
        own = None
        if database == "PostgreSQL":
            own = stack.enter_context(postgresql_of_our_own(parent=folder))
            own.reset()
        uri = own.uri if own else f"sqlite:///{folder}/scm.db"
        create_tables(uri)
        with disposed(make_app(uri)) as app, app.app_context():
            tenant = add_tenant("ours")
        log = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="faults-"))) / "log"
        limits = stack.enter_context(redis_of_our_own()) if database == REDIS else None
        url, process = stack.enter_context(_serving(server, uri, log, limits))
        setting = Setting(process, own, limits, folder / "scm.db", disk)
        for name, (fault, seconds) in FAULTS[database].items():
            is_possible = server in ONLY_ON.get(name, {server}) and (disk is not None or fault is not fill_disk)
            if is_possible if faults is None else name in faults:
                written = len(log.read_text())
                outcome = _run(Load(url, tenant, name, pause=pause), fault(setting), seconds, uri)
                yield Row(name, server, database, outcome, log.read_text()[written:])


def _run(load: Load, fault: contextlib.AbstractContextManager[object], seconds: float, uri: str) -> Outcome:
    load.warm_up()
    with load.running():
        time.sleep(BEFORE)
        with fault:
            time.sleep(seconds)
        ended = time.monotonic()
        time.sleep(AFTERWARDS)
    return load.outcome(uri, ended)


@contextlib.contextmanager
def _serving(
    server: str, uri: str, log: Path, limits: RedisServer | None
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    port = free_port()
    arguments = command(server, "tests.scm.served_app:create_app", port, sys.executable)
    if server == "gunicorn":
        arguments += ["--workers", "2"]
    environ = {"FLASK_SQLALCHEMY_DATABASE_URI": uri, "PYTHONWARNINGS": "ignore"}
    if limits is not None:
        environ |= {"FLASK_GRPC_RATE_LIMITS": "1000000/minute", "FLASK_GRPC_RATE_LIMIT_STORAGE": limits.uri}
    with listening(arguments, port, log, environ) as process:
        yield f"http://127.0.0.1:{port}", process


@contextlib.contextmanager
def _small_disk() -> Iterator[Path | None]:
    # Not in a folder of pytest's, which only root can read.
    with tempfile.TemporaryDirectory(prefix="small-") as folder:
        os.chmod(folder, 0o755)  # for the user of PostgreSQL
        mount = ["mount", "-t", "tmpfs", "-o", "size=160m,mode=0777", "tmpfs", folder]
        if os.geteuid() != 0 or subprocess.run(mount, stderr=subprocess.DEVNULL, check=False).returncode:
            yield None
            return
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)


def markdown(found: Iterable[Row]) -> str:
    """The table of some rows."""
    lines = [
        "| fault | server | database | acknowledged | lost | twice | statuses | slowest call | recovered after |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in found:
        outcome = row.outcome
        statuses = ", ".join(f"{count} {code}" for code, count in outcome.statuses.most_common()) or "-"
        cells = [row.fault, row.server, row.database, outcome.acknowledged, outcome.lost, outcome.twice, statuses]
        cells += [f"{outcome.slowest:.1f} s", f"{outcome.recovery:.2f} s"]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run all faults, write the table, and fail where something is wrong."""
    found: list[Row] = []
    for database in FAULTS:
        for server in SERVERS:
            for row in rows(server, database):
                found.append(row)
                sys.stderr.write(markdown([row]).splitlines()[-1] + "\n")
                if not row.is_right:
                    sys.stderr.write(row.log)
    write("make faults", markdown(sorted(found, key=lambda row: (row.database, row.fault))))
    at_trackers = [*trackers()]
    write("make faults: trackers", table(at_trackers))
    wrong = [line for outcome in at_trackers for line in outcome.wrong]
    sys.stderr.write("\n".join([*wrong, ""]))
    sys.exit(bool(wrong) or not all(row.is_right for row in found))


def trackers() -> Iterator[tracker_faults.Outcome]:
    """Have the faults happen that are at trackers."""
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="faults-"))
        server = stack.enter_context(postgresql_of_our_own())
        server.reset()
        for name, uri in [("PostgreSQL", server.uri), ("SQLite", f"sqlite:///{folder}/scm.db")]:
            create_tables(uri)
            for outcome in tracker_faults.outcomes(uri, name):
                sys.stderr.write(table([outcome]).splitlines()[-1] + "\n")
                yield outcome


def write(name: str, text: str) -> None:
    """Put a table into its place on the page."""
    place = rf"(?<=<!-- {name} -->\n).*?(?=<!-- end -->)"
    PAGE.write_text(re.sub(place, lambda match: text, PAGE.read_text(), count=1, flags=re.DOTALL))


if __name__ == "__main__":
    main()
